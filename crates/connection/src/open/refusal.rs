//! A response other than the expected one, as text for people: its status, its location and its body.

use crate::{ConnectError, Error, Reason, drive::transport::Transport};
use bytes::BytesMut;
use http::{HeaderMap, StatusCode, header};
use std::time::Duration;
use tokio::{io::AsyncReadExt, time::timeout};
use websocket_protocol::handshake::{ResponseHead, elements};

/// How much of a refusal's body is shown, in bytes.
const MAX_BODY: usize = 1024;
/// How much of a refusal's body is read, in bytes. Chunks may be empty.
const MAX_RAW_BODY: usize = 64 * 1024;
/// How long the body of a refusal may take after its head.
const BODY_WAIT: Duration = Duration::from_secs(1);

/// How the end of a body is found (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
    /// The end is unknown, so that nobody waits for it: what has arrived is all that is shown.
    Unknown,
    /// The fields contradict each other, so that nobody knows which bytes are the body.
    Invalid,
}

/// Turns the answer of `who` into a failure: status, location and the beginning of the body for the guest, the status for
/// operators. `unfollowed` says why the location is not followed. `limit` is that of the whole connect: a body that stalls
/// must not turn the status into a timeout.
pub(crate) async fn refusal(
    head: ResponseHead,
    who: &str,
    unfollowed: &str,
    transport: &mut impl Transport,
    mut input: BytesMut,
    limit: Duration,
) -> ConnectError {
    let code = head.status.as_u16();
    let usual = head.status.canonical_reason().unwrap_or_default();
    let own = printable(&String::from_utf8_lossy(&head.reason));
    let answer = |reason: &str| format!("{who} answered {code} {reason}").trim_end().to_owned();
    let mut text = answer(if own.is_empty() { usual } else { &own });
    let location = head.fields.get(header::LOCATION).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let location = printable(&without_credentials(&location.unwrap_or_default()));
    if !location.is_empty() {
        text.push_str(&format!(" with the location {location} ({unfollowed})"));
    }
    text.push_str(&body(&head, transport, &mut input, BODY_WAIT.min(limit / 4)).await);
    let error = match code {
        401 | 403 | 407 => Error::AuthenticationFailed(text),
        _ => Error::ConnectionFailed(text),
    };
    let detail = Some(answer(usual));
    ConnectError::quoting(Reason::Refused { status: head.status, headers: head.fields }, error, detail)
}

/// The body as it is appended to the status, or why it is not shown; empty where there is none.
async fn body(head: &ResponseHead, transport: &mut impl Transport, input: &mut BytesMut, wait: Duration) -> String {
    let framing = framing(head);
    let codings = codings(&head.fields);
    match framing {
        Framing::Length(0) => return String::new(),
        Framing::Invalid => return " (its body is not shown: its Content-Length is invalid)".to_owned(),
        _ if !codings.is_empty() => {
            return format!(" (its body is not shown: it is compressed with {})", codings.join(", "));
        }
        _ => {}
    }
    // A body that ends early, or stalls, is shown as far as it arrived: the status is what matters.
    let _ = timeout(wait, async {
        while !framing.content(input).1 && input.len() < MAX_RAW_BODY {
            if !matches!(transport.read_buf(input).await, Ok(1..)) {
                break;
            }
        }
    })
    .await;
    let stated = head.fields.get(header::CONTENT_TYPE).map(|stated| String::from_utf8_lossy(stated.as_bytes()));
    match readable(&framing.content(input).0, stated.as_deref().unwrap_or_default()) {
        Ok(text) if text.is_empty() => String::new(),
        Ok(text) => format!(": {text}"),
        Err(why) => match stated.map(|stated| printable(&stated)) {
            Some(stated) if !stated.is_empty() => {
                format!(" (its body is not shown: {why}; its Content-Type is {stated})")
            }
            _ => format!(" (its body is not shown: {why})"),
        },
    }
}

fn framing(head: &ResponseHead) -> Framing {
    let no_content =
        [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT, StatusCode::NOT_MODIFIED].contains(&head.status);
    if no_content || head.status.is_informational() {
        return Framing::Length(0);
    }
    // `identity` says that there is no coding, in the words of RFC 2616 section 3.6; RFC 9112 has no such coding.
    let mut codings = elements(&head.fields, header::TRANSFER_ENCODING).peekable();
    let names_codings = codings.peek().is_some();
    match codings.filter(|coding| !coding.eq_ignore_ascii_case(b"identity")).last() {
        Some(last) if last.eq_ignore_ascii_case(b"chunked") => return Framing::Chunked,
        Some(_) => return Framing::UntilClose,
        None => {}
    }
    // The same length, several times, is that length.
    let mut lengths = elements(&head.fields, header::CONTENT_LENGTH);
    let Some(first) = lengths.next() else {
        return match head.fields.contains_key(header::CONTENT_LENGTH) {
            true => Framing::Invalid,
            false if names_codings => Framing::Unknown,
            false => Framing::UntilClose,
        };
    };
    if !first.iter().all(u8::is_ascii_digit) || lengths.any(|other| other != first) {
        return Framing::Invalid;
    }
    let length = str::from_utf8(first).ok().and_then(|digits| digits.parse().ok());
    Framing::Length(length.unwrap_or(usize::MAX))
}

/// What the body is compressed with.
fn codings(fields: &HeaderMap) -> Vec<String> {
    elements(fields, header::CONTENT_ENCODING)
        .chain(elements(fields, header::TRANSFER_ENCODING))
        .map(|coding| printable(&String::from_utf8_lossy(coding)).to_ascii_lowercase())
        .filter(|coding| !["identity", "chunked", ""].contains(&coding.as_str()))
        .collect()
}

impl Framing {
    /// The first [`MAX_BODY`] bytes of the content as far as they arrived, and whether no more are needed.
    fn content(self, raw: &[u8]) -> (Vec<u8>, bool) {
        let most = match self {
            Framing::Length(length) => length.min(MAX_BODY),
            Framing::Invalid => 0,
            Framing::Chunked | Framing::UntilClose | Framing::Unknown => MAX_BODY,
        };
        let (mut content, ended) = if self == Framing::Chunked { dechunk(raw) } else { (raw.to_vec(), false) };
        content.truncate(most);
        let ended = ended || self == Framing::Unknown || content.len() == most;
        (content, ended)
    }
}

/// The content of a chunked body (RFC 9112 section 7.1) as far as it arrived, and whether no more can follow.
fn dechunk(mut raw: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        match httparse::parse_chunk_size(raw) {
            Ok(httparse::Status::Complete((_, 0))) | Err(_) => return (body, true),
            Ok(httparse::Status::Partial) => return (body, false),
            Ok(httparse::Status::Complete((start, size))) => {
                let rest = &raw[start..];
                let size = usize::try_from(size).unwrap_or(usize::MAX);
                body.extend_from_slice(&rest[..size.min(rest.len())]);
                match rest.get(size.saturating_add(2)..) {
                    Some(next) => raw = next,
                    None => return (body, false),
                }
            }
        }
    }
}

/// The text of a body of this type, or why it is not shown: more than a tenth of it is not text.
fn readable(content: &[u8], stated: &str) -> Result<String, &'static str> {
    let text = if is_latin(stated) {
        content.iter().copied().map(char::from).collect()
    } else {
        // The limit may cut a character in two.
        let cut = str::from_utf8(content).err().filter(|error| error.error_len().is_none());
        String::from_utf8_lossy(&content[..cut.map_or(content.len(), |error| error.valid_up_to())]).into_owned()
    };
    let text = text.trim_start_matches('\u{FEFF}');
    let count = |is_odd: fn(char) -> bool| text.chars().filter(|c| is_odd(*c)).count();
    let undecodable = count(|c| c == char::REPLACEMENT_CHARACTER);
    let controls = count(|c| c.is_control() && !c.is_whitespace());
    match (undecodable + controls) * 10 > text.chars().count() {
        false => Ok(printable(text)),
        true if undecodable > 0 => Err("it is not UTF-8 text"),
        true => Err("it is not text: it has control characters"),
    }
}

/// A URL without the user and the password of its authority (RFC 3986 section 3.2.1).
fn without_credentials(url: &str) -> String {
    let (scheme, rest) = match url.split_once("//") {
        Some((scheme, rest)) if scheme.trim().is_empty() || scheme.ends_with(':') => (scheme, rest),
        _ => return url.to_owned(),
    };
    let (authority, path) = rest.split_at(rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}//{host}{path}")
}

/// Whether a Content-Type names ISO 8859-1, or Windows-1252, which has the same letters.
fn is_latin(stated: &str) -> bool {
    let parameters = stated.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let mut charsets = parameters.filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
    charsets.next().is_some_and(|(_, charset)| {
        let charset = charset.trim().trim_matches('"').to_ascii_lowercase();
        ["iso-8859-1", "latin1", "windows-1252"].contains(&charset.as_str())
    })
}

/// Text that a terminal shows as it is: control characters, line ends, and characters that turn the direction of text
/// become spaces.
fn printable(text: &str) -> String {
    let steers = |c: char| {
        c.is_control() || matches!(c, '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
    };
    text.replace(steers, " ").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open::head::read_head;
    use proptest::prelude::*;
    use std::time::Instant;
    use tokio::io::AsyncWriteExt;

    /// What becomes of an answer after which the peer ends its direction, or keeps silent for as long as this.
    async fn failure(answer: &[u8], silent: bool) -> ConnectError {
        let (mut near, mut far) = tokio::io::duplex(1 << 18);
        far.write_all(answer).await.unwrap();
        let _far = silent.then_some(far);
        let mut input = BytesMut::new();
        let head = read_head(&mut near, &mut input).await.unwrap();
        super::refusal(head, "it", "redirects are not followed", &mut near, input, 10 * BODY_WAIT).await
    }

    async fn refusal(answer: &[u8]) -> Error {
        failure(answer, false).await.into()
    }

    /// The text of a refusal for which nobody waits.
    async fn at_once(answer: impl AsRef<[u8]>) -> String {
        let begun = Instant::now();
        let text = failure(answer.as_ref(), true).await.to_string();
        assert!(begun.elapsed() < BODY_WAIT, "it waited for a body: {text}");
        text.strip_prefix("connection failed: ").unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_refusal_shows_status_location_and_body() {
        let text = "it answered 302 Found with the location wss://b/ (redirects are not followed): go there";
        for answer in [
            "HTTP/1.1 302 Found\r\nLocation: wss://b/\r\nContent-Length: 8\r\n\r\ngo there and more",
            "HTTP/1.1 302 Found\r\nLocation: wss://b/\r\nContent-Length: 8\r\nContent-Length: 8, 8\r\n\r\n\
             go there more",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 302 Found\r\nLocation: wss://b/\r\n\r\ngo\nthere",
            "HTTP/1.1 302\r\nLocation:\r\n wss://b/\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ngo \r\n5;x=y\r\nthere\r\n\
             0\r\n\r\n",
            "HTTP/1.1 302 \r\nLocation: wss://b/\r\nTransfer-Encoding: , Chunked ,\r\nContent-Length: 3\r\n\r\n\
             8\r\ngo there\r\n0\r\nTrailer: x\r\n\r\n",
        ] {
            assert_eq!(refusal(answer.as_bytes()).await, Error::ConnectionFailed(text.to_owned()), "{answer}");
        }
    }

    #[tokio::test]
    async fn a_body_that_cannot_come_or_has_ended_is_not_waited_for() {
        for (answer, shown) in [
            ("204 No Content\r\n\r\n", "it answered 204 No Content"),
            ("204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", "it answered 204 No Content"),
            ("205 Reset Content\r\n\r\n", "it answered 205 Reset Content"),
            ("304 Not Modified\r\nContent-Length: 5\r\n\r\n", "it answered 304 Not Modified"),
            ("101 Up\r\nContent-Length: 5\r\n\r\n", "it answered 101 Up"),
            ("500 X\r\nContent-Length: 0\r\n\r\n", "it answered 500 X"),
            ("500 X\r\nContent-Length: 2\r\n\r\nno", "it answered 500 X: no"),
            ("500 X\r\nTransfer-Encoding: identity\r\n\r\n", "it answered 500 X"),
            ("500 X\r\nTransfer-Encoding: Identity\r\n\r\nno", "it answered 500 X: no"),
            ("500 X\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nno", "it answered 500 X: no"),
            ("500 X\r\nTransfer-Encoding: chunked, identity\r\n\r\n2\r\nno\r\n0\r\n\r\n", "it answered 500 X: no"),
            ("500 X\r\nTransfer-Encoding: CHUNKED\r\n\r\n2\r\nno\r\n0\r\n\r\n", "it answered 500 X: no"),
            ("500 X\r\nTransfer-Encoding: chunked\r\n\r\n2 ; a=b\r\nno\r\n00\r\n", "it answered 500 X: no"),
            ("500 X\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\nno size\r\n", "it answered 500 X: no"),
        ] {
            assert_eq!(at_once(format!("HTTP/1.1 {answer}")).await, shown);
        }
    }

    #[tokio::test]
    async fn the_reason_phrase_is_the_server_s_for_the_guest_and_the_standard_s_for_operators() {
        for (line, shown, detail) in [
            ("522 Origin Down", "it answered 522 Origin Down", "it answered 522"),
            ("522", "it answered 522", "it answered 522"),
            ("404 ", "it answered 404 Not Found", "it answered 404 Not Found"),
            ("404 gibt es für dich nicht", "it answered 404 gibt es für dich nicht", "it answered 404 Not Found"),
            ("404 \u{1b}[2Ja\u{9b}b\u{202e}c", "it answered 404 [2Ja b c", "it answered 404 Not Found"),
        ] {
            let failure = failure(format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n").as_bytes(), true).await;
            assert_eq!(failure.error(), &Error::ConnectionFailed(shown.to_owned()));
            assert_eq!(failure.detail(), Some(detail));
        }
    }

    #[tokio::test]
    async fn a_location_is_shown_in_any_script_and_without_control_characters() {
        for (location, shown) in [
            (&b"/\xC3\xBCber"[..], "/über"),
            (b"http://a/\xFF", "http://a/\u{FFFD}"),
            (b"/a\x1b]0;b\x07", "/a ]0;b"),
            (b"/a\xE2\x80\xAEb", "/a b"),
            (b"http://me:secret@host", "http://host"),
            (b"wss://me:se@cret@host:1/a@b?c@d", "wss://host:1/a@b?c@d"),
            (b"//me:secret@host/", "//host/"),
            (b"http://me:secret@host\\a", "http://host\\a"),
            (b"/a//b@c", "/a//b@c"),
        ] {
            let answer = [b"HTTP/1.1 301 X\r\nContent-Length: 0\r\nLocation: ", location, b"\r\n\r\n"].concat();
            let expected = format!("it answered 301 X with the location {shown} (redirects are not followed)");
            assert_eq!(at_once(answer).await, expected);
        }
    }

    #[tokio::test]
    async fn an_empty_location_is_left_out() {
        for location in ["", " ", "\t"] {
            let answer = format!("HTTP/1.1 301 X\r\nContent-Length: 0\r\nLocation:{location}\r\n\r\n");
            assert_eq!(at_once(answer).await, "it answered 301 X");
        }
    }

    #[tokio::test]
    async fn a_body_that_cannot_be_shown_says_why() {
        let compressed = |with| format!("it answered 500 X (its body is not shown: it is compressed with {with})");
        for (fields, body, expected) in [
            ("Content-Encoding: gzip", &b"\x1f\x8b"[..], compressed("gzip")),
            ("Content-Encoding: BR", b"x", compressed("br")),
            ("Content-Encoding: identity, deflate\r\nContent-Encoding: gzip", b"x", compressed("deflate, gzip")),
            ("Transfer-Encoding: gzip, chunked", b"1\r\nx\r\n0\r\n\r\n", compressed("gzip")),
            (
                "Content-Length: 3, 4",
                b"abcd",
                "it answered 500 X (its body is not shown: its Content-Length is invalid)".into(),
            ),
            (
                "Content-Length: -1",
                b"",
                "it answered 500 X (its body is not shown: its Content-Length is invalid)".into(),
            ),
            (
                "Content-Length: 16\r\nContent-Type: image/png",
                b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
                "it answered 500 X (its body is not shown: it is not UTF-8 text; its Content-Type is image/png)".into(),
            ),
            (
                "Content-Length: 4\r\nContent-Type: text/html; charset=windows-1251",
                b"\xED\xE5\xF2!",
                "it answered 500 X (its body is not shown: it is not UTF-8 text; its Content-Type is text/html; \
                 charset=windows-1251)"
                    .into(),
            ),
            (
                "Content-Length: 8",
                b"\x1f\x8b\x08\0\0\0\0\0",
                "it answered 500 X (its body is not shown: it is not UTF-8 text)".into(),
            ),
            (
                "Content-Length: 4\r\nContent-Type: text/plain; charset=utf-16",
                b"\0n\0o",
                "it answered 500 X (its body is not shown: it is not text: it has control characters; its Content-Type \
                 is text/plain; charset=utf-16)"
                    .into(),
            ),
            (
                "Content-Length: 5\r\nContent-Type: text/html; Charset=\"ISO-8859-1\"",
                b"\xFCber!",
                "it answered 500 X: über!".into(),
            ),
            (
                "Content-Length: 8\r\nContent-Encoding: identity",
                b"\xEF\xBB\xBFa\tb\r\n",
                "it answered 500 X: a b".into(),
            ),
            (
                "Content-Length: 14",
                b"a quiet \x1bbell\x07",
                "it answered 500 X (its body is not shown: it is not text: it has control characters)".into(),
            ),
            (
                "Content-Length: 25",
                b"a longer body, one \x07 bell",
                "it answered 500 X: a longer body, one   bell".into(),
            ),
        ] {
            let answer = [format!("HTTP/1.1 500 X\r\n{fields}\r\n\r\n").as_bytes(), body].concat();
            assert_eq!(at_once(&answer).await, expected, "{fields}");
        }
    }

    #[tokio::test]
    async fn authentication_has_an_error_of_its_own() {
        for status in [401, 403, 407] {
            let answer = format!("HTTP/1.1 {status} No\r\n\r\n");
            assert!(matches!(refusal(answer.as_bytes()).await, Error::AuthenticationFailed(_)));
        }
    }

    #[tokio::test]
    async fn a_body_is_shown_up_to_one_kibibyte_and_no_character_is_cut() {
        for (letter, count) in [("b", MAX_BODY), ("ü", MAX_BODY / 2), ("語", MAX_BODY / 3)] {
            let answer = format!("HTTP/1.1 500 X\r\n\r\n{}", letter.repeat(5000));
            let text = at_once(answer).await;
            assert_eq!(text, format!("it answered 500 X: {}", letter.repeat(count)));
        }
    }

    #[tokio::test]
    async fn a_body_that_never_decodes_is_not_read_without_end() {
        for body in [&b"no size\r\n"[..], b"1;an extension without end", b""] {
            let (mut near, mut far) = tokio::io::duplex(4096);
            let answer = [b"HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n", body].concat();
            let refused = async {
                let mut input = BytesMut::new();
                let head = read_head(&mut near, &mut input).await.unwrap();
                let error = Error::from(
                    super::refusal(head, "it", "redirects are not followed", &mut near, input, BODY_WAIT).await,
                );
                drop(near);
                error
            };
            let flood = async {
                far.write_all(&answer).await.unwrap();
                let mut taken = 0;
                while taken < 16 * MAX_RAW_BODY && far.write_all(&[b'x'; 1024]).await.is_ok() {
                    taken += 1024;
                }
                taken
            };
            let (error, taken) = tokio::join!(refused, flood);
            assert_eq!(error, Error::ConnectionFailed("it answered 500 X".to_owned()));
            assert!(taken <= 2 * MAX_RAW_BODY, "{taken} bytes were read");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn chunks_are_joined_as_far_as_they_arrived(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..10), cut: usize,
        ) {
            let mut raw = Vec::new();
            for chunk in &chunks {
                raw.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                raw.extend_from_slice(chunk);
                raw.extend_from_slice(b"\r\n");
            }
            raw.extend_from_slice(b"0\r\n\r\n");
            let body = chunks.concat();
            prop_assert_eq!(dechunk(&raw), (body.clone(), true));
            prop_assert!(body.starts_with(&dechunk(&raw[..cut % raw.len()]).0));
        }

        #[test]
        fn no_byte_of_an_answer_steers_a_terminal(
            reason in "[^\r\n]{0,8}", location in proptest::collection::vec(any::<u8>(), 0..20),
            stated in "[^\r\n]{0,8}", coding in prop_oneof![Just(""), Just("gzip"), Just("\u{1b}[1m"), Just("\u{7}")],
            body in prop_oneof![".*".prop_map(String::into_bytes), proptest::collection::vec(any::<u8>(), 0..40)],
        ) {
            let head = format!("HTTP/1.1 302 {reason}\r\nContent-Type: {stated}\r\nContent-Encoding: {coding}\r\n");
            let location: Vec<u8> = location.into_iter().filter(|byte| !b"\r\n".contains(byte)).collect();
            let answer = [head.as_bytes(), b"Location: ", &location, b"\r\n\r\n", &body].concat();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let failure = runtime.block_on(failure(&answer, false));
            let text = failure.to_string() + failure.detail().unwrap_or_default();
            prop_assert!(!text.contains(char::is_control), "{:?}", text);
        }
    }
}
