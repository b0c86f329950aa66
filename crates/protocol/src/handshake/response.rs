//! Reading the head of a response, as a client does: of a server that is asked to upgrade, or of a proxy.
//!
//! The parser accepts every head that browsers accept: lines may end with a bare LF, the reason phrase may be missing,
//! field lines may be folded, and lines that are not fields are ignored. A field value with a control character is kept
//! with spaces in its place, white space between a field's name and its colon is removed, and both are noted in
//! [`ResponseHead::malformed`]: callers that depend on that field must refuse it.

use super::{
    MAX_HEAD,
    fields::{is_blank, trim},
};
use bytes::{Buf, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// A response without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResponseHead {
    /// The status.
    pub status: StatusCode,
    /// The server's own reason phrase, as sent; often empty.
    pub reason: Vec<u8>,
    /// The header fields.
    pub fields: HeaderMap,
    /// The names of the fields that HTTP forbids as they were sent, and what is wrong with each.
    pub malformed: Vec<(HeaderName, FieldFault)>,
}

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FieldFault {
    /// The value has a character that RFC 9110 section 5.5 forbids.
    Control,
    /// There is white space before the colon, which RFC 9112 section 5.1 forbids.
    SpaceBeforeColon,
}

/// Why bytes are not the head of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResponseError {
    /// The first bytes are those of another protocol.
    #[error("the peer's answer is not HTTP/1.1: it does not begin with `HTTP/1.`")]
    Protocol,
    /// The status line is invalid (RFC 9112 section 4).
    #[error("the peer's answer is not HTTP/1.1: its status line is not a version, three digits and a reason")]
    StatusLine,
    /// A 101 of HTTP/1.0, which has no upgrades.
    #[error("the peer's answer is not HTTP/1.1: HTTP/1.0 cannot upgrade")]
    UpgradeOfHttp10,
    /// There are more fields than a [`HeaderMap`] can keep.
    #[error("the peer's answer is not HTTP/1.1: it has more header fields than can be kept")]
    Fields,
    /// The head, with the interim responses before it, is larger than [`MAX_HEAD`].
    #[error("the head of the response is larger than {MAX_HEAD} bytes")]
    TooLarge,
}

/// Reads the head of the final response from bytes that arrive in pieces. Interim responses (RFC 9110 section 15.2) other
/// than 101 are skipped.
#[derive(Debug)]
pub struct ResponseReader {
    /// How many bytes the head may still have.
    left: usize,
    /// How many bytes of the input do not contain the end of the head.
    searched: usize,
}

impl Default for ResponseReader {
    fn default() -> Self {
        ResponseReader::new()
    }
}

impl ResponseReader {
    /// A reader for one final response.
    pub fn new() -> Self {
        ResponseReader { left: MAX_HEAD, searched: 0 }
    }

    /// Takes the head from the beginning of `input`, and leaves the bytes that follow it. `None` means that more bytes are
    /// needed: append them to `input`, and call this again. After an error, the input has no meaning.
    ///
    /// # Errors
    /// [`ResponseError`] for bytes that are not HTTP/1, as soon as they show it, and for a head over [`MAX_HEAD`].
    pub fn read(&mut self, input: &mut BytesMut) -> Result<Option<ResponseHead>, ResponseError> {
        while let Some(length) = self.find_head(input)? {
            let head = ResponseHead::parse(&input.split_to(length))?;
            if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(Some(head));
            }
            self.left -= length;
            self.searched = 0;
        }
        Ok(None)
    }

    /// The length of the head with which `input` begins, at most [`Self::left`]; `None` while it is incomplete.
    fn find_head(&mut self, input: &mut BytesMut) -> Result<Option<usize>, ResponseError> {
        // Empty lines ahead of a response are ignored (RFC 9112 section 2.2).
        while let Some(empty) = empty_line(input) {
            self.left = self.left.checked_sub(empty).ok_or(ResponseError::TooLarge)?;
            input.advance(empty);
            self.searched = 0;
        }
        if !may_begin_response(input) {
            return Err(ResponseError::Protocol);
        }
        match end_of_head(input, self.searched) {
            Some(length) if length <= self.left => Ok(Some(length)),
            None if input.len() < self.left => {
                // The end may have begun to arrive: "\n\r".
                self.searched = input.len().saturating_sub(2);
                Ok(None)
            }
            _ => Err(ResponseError::TooLarge),
        }
    }
}

impl ResponseHead {
    /// Parses a whole head, its empty line included.
    fn parse(head: &[u8]) -> Result<ResponseHead, ResponseError> {
        let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let (minor, status, reason) = lines.next().and_then(status_line).ok_or(ResponseError::StatusLine)?;
        if minor == 0 && status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(ResponseError::UpgradeOfHttp10);
        }
        // `None` for a line that is not a field: it is ignored, and so are the lines that are folded into it.
        let mut read: Vec<Option<Field>> = Vec::new();
        for line in lines.take_while(|line| !line.is_empty()) {
            if !is_blank(&line[0]) {
                read.push(field(line));
            } else if let Some(Some(field)) = read.last_mut() {
                // RFC 9112 section 5.2.
                field.value.push(b' ');
                field.value.extend_from_slice(trim(line));
            }
        }
        let (mut fields, mut malformed) = (HeaderMap::new(), Vec::new());
        for Field { name, value, has_space_before_colon } in read.into_iter().flatten() {
            if has_space_before_colon {
                malformed.push((name.clone(), FieldFault::SpaceBeforeColon));
            }
            let value = trim(&value);
            let value = HeaderValue::from_bytes(value).or_else(|_| {
                malformed.push((name.clone(), FieldFault::Control));
                let spaced: Vec<u8> = value.iter().map(|b| if b.is_ascii_control() { b' ' } else { *b }).collect();
                HeaderValue::from_bytes(&spaced)
            });
            let value = value.map_err(|_| ResponseError::Fields)?;
            fields.try_append(name, value).map_err(|_| ResponseError::Fields)?;
        }
        Ok(ResponseHead { status, reason: reason.to_vec(), fields, malformed })
    }
}

/// The length of an empty line at the beginning.
fn empty_line(input: &[u8]) -> Option<usize> {
    match input {
        [b'\n', ..] => Some(1),
        [b'\r', b'\n', ..] => Some(2),
        _ => None,
    }
}

/// Whether these can be the first bytes of a response, so that a peer of another protocol is recognized at once.
fn may_begin_response(input: &[u8]) -> bool {
    input == b"\r" || input.iter().zip(b"HTTP/1.").all(|(byte, expected)| byte == expected)
}

/// The length of the head that `input` begins with. No head ends before `from`.
fn end_of_head(input: &[u8], from: usize) -> Option<usize> {
    (from..input.len()).find_map(|at| match &input[at..] {
        [b'\n', b'\n', ..] => Some(at + 2),
        [b'\n', b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

/// The minor version, the status and the reason phrase, which may be missing.
fn status_line(line: &[u8]) -> Option<(u8, StatusCode, &[u8])> {
    let [minor @ b'0'..=b'9', b' ', rest @ ..] = line.strip_prefix(b"HTTP/1.")? else { return None };
    let (code, reason) = trim(rest).split_at_checked(3)?;
    let complete = reason.first().is_none_or(is_blank);
    let status = StatusCode::from_bytes(code).ok().filter(|_| complete)?;
    Some((minor - b'0', status, trim(reason)))
}

/// A field line. White space before the colon is removed, as proxies must (RFC 9112 section 5.1).
struct Field {
    name: HeaderName,
    value: Vec<u8>,
    has_space_before_colon: bool,
}

fn field(line: &[u8]) -> Option<Field> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = line.split_at(colon);
    Some(Field {
        name: HeaderName::from_bytes(trim(name)).ok()?,
        value: value[1..].to_vec(),
        has_space_before_colon: name.last().is_some_and(is_blank),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The head that is read from these bytes, if it is whole, and the bytes behind it.
    fn read(answer: &[u8]) -> Result<(Option<ResponseHead>, BytesMut), ResponseError> {
        let mut input = BytesMut::from(answer);
        Ok((ResponseReader::new().read(&mut input)?, input))
    }

    /// The head that is read from bytes that are nothing else.
    fn parsed(answer: &[u8]) -> ResponseHead {
        let (head, rest) = read(answer).unwrap();
        assert!(rest.is_empty(), "{rest:?}");
        head.unwrap()
    }

    fn value<'a>(head: &'a ResponseHead, name: &str) -> &'a [u8] {
        head.fields.get(name).map_or(b"none", HeaderValue::as_bytes)
    }

    #[test]
    fn a_folded_line_is_one_value_with_spaces() {
        let folds = [
            "Set-Cookie: a=b;\r\n Path=/\r\n",
            "Set-Cookie: a=b;  \r\n\t  Path=/ \r\n",
            "Set-Cookie:\r\n a=b;\r\n Path=/\r\n",
            "Set-Cookie: a=b;\n Path=/\n",
            "Set-Cookie: a=b; Path=/\r\n  \r\n",
        ];
        for (number, fold) in folds.into_iter().enumerate() {
            for answer in [format!("{fold}X: y\r\n"), format!("X: y\r\n{fold}"), format!("X:\r\n y\r\n{fold}")] {
                let head = parsed(format!("HTTP/1.1 101 Up\r\n{answer}\r\n").as_bytes());
                let cookie = String::from_utf8_lossy(value(&head, "set-cookie"));
                assert_eq!(cookie.split_whitespace().collect::<Vec<_>>(), ["a=b;", "Path=/"], "fold {number}");
                assert_eq!((value(&head, "x"), head.fields.len()), (&b"y"[..], 2), "fold {number}");
            }
        }
    }

    #[test]
    fn lines_that_are_not_fields_are_ignored_with_the_lines_folded_into_them() {
        for line in [
            &b"no colon"[..],
            b": no name",
            b"a name: with a space",
            b"n\x01me: x",
            b"n\xE9me: x",
            b"\x00",
            b"\r",
            b"a\r: x",
            b"no colon\r\n X: folded",
            b": \r\n\tX: folded\r\n X: again",
        ] {
            let head = parsed(&[b"HTTP/1.1 101 Up\r\n", line, b"\r\nX: y\r\n\r\n"].concat());
            assert_eq!((value(&head, "x"), head.fields.len()), (&b"y"[..], 1), "{line:?}");
            assert!(head.malformed.is_empty());
        }
        // Ahead of the first field (RFC 9112 section 2.2).
        let head = parsed(b"HTTP/1.1 101 Up\r\n Upgrade: websocket\r\nX: y\r\n\r\n");
        assert_eq!((value(&head, "x"), head.fields.len()), (&b"y"[..], 1));
    }

    #[test]
    fn control_characters_in_a_value_become_spaces_and_name_the_field() {
        for byte in (0..32).chain([127]).filter(|byte| !b"\t\n".contains(byte)) {
            let head = parsed(&[b"HTTP/1.1 101 Up\r\nA: b\r\nX: id=a", &[byte][..], b"b\r\n\r\n"].concat());
            assert_eq!((value(&head, "x"), value(&head, "a")), (&b"id=a b"[..], &b"b"[..]), "{byte}");
            assert_eq!(head.malformed, [(HeaderName::from_static("x"), FieldFault::Control)], "{byte}");
        }
        // Neither a tab nor a byte of another charset is one.
        let head = parsed(b"HTTP/1.1 101 Up\r\nX: a\tb\xE9\xFF\r\n\r\n");
        assert_eq!((value(&head, "x"), head.malformed.len()), (&b"a\tb\xE9\xFF"[..], 0));
    }

    #[test]
    fn a_status_line_is_read_as_clients_read_it() {
        for (line, status, reason) in [
            ("HTTP/1.1 101 Switching Protocols", 101, "Switching Protocols"),
            ("HTTP/1.1 101 ", 101, ""),
            ("HTTP/1.1 101", 101, ""),
            ("HTTP/1.1  101   Up ", 101, "Up"),
            ("HTTP/1.2 101 Up", 101, "Up"),
            ("HTTP/1.0 200 Connection established", 200, "Connection established"),
            ("HTTP/1.1 522 Zeit überschritten", 522, "Zeit überschritten"),
            ("HTTP/1.1 522 a\x1bb", 522, "a\x1bb"),
            ("\r\n\n\r\nHTTP/1.1 999", 999, ""),
        ] {
            for end in ["\n", "\r\n"] {
                for fields in ["", "X: y", "X : y", "X\t:\ty  "] {
                    let fields = if fields.is_empty() { String::new() } else { format!("{fields}{end}") };
                    let head = parsed(format!("{line}{end}{fields}{end}").as_bytes());
                    assert_eq!((head.status.as_u16(), &head.reason[..]), (status, reason.as_bytes()), "{line:?}");
                    assert_eq!(value(&head, "x"), if fields.is_empty() { &b"none"[..] } else { b"y" }, "{fields:?}");
                }
            }
        }
    }

    #[test]
    fn bytes_that_are_not_http_are_an_error_as_soon_as_they_show_it() {
        use ResponseError::{Protocol, StatusLine, UpgradeOfHttp10};
        for (answer, expected) in [
            (&b"SSH-2.0-x\r\n\r\n"[..], Protocol),
            (b"S", Protocol),
            (b"\x15\x03\x01\x00\x02", Protocol),
            (b"HTTP/2 101 Up\r\n\r\n", Protocol),
            (b"\rHTTP/1.1 101 Up\r\n\r\n", Protocol),
            (b" HTTP/1.1 101 Up\r\n\r\n", Protocol),
            (b"http/1.1 101 Up\r\n\r\n", Protocol),
            (b"HTTP/1.0 101 Up\r\n\r\n", UpgradeOfHttp10),
            (b"HTTP/1.x 101 Up\r\n\r\n", StatusLine),
            (b"HTTP/1.11 101 Up\r\n\r\n", StatusLine),
            (b"HTTP/1.1 1010 Up\r\n\r\n", StatusLine),
            (b"HTTP/1.1 10 Up\r\n\r\n", StatusLine),
            (b"HTTP/1.1 099 Up\r\n\r\n", StatusLine),
            (b"HTTP/1.1 +11 Up\r\n\r\n", StatusLine),
            (b"HTTP/1.1101 Up\r\n\r\n", StatusLine),
            (b"HTTP/1.1\r\n\r\n", StatusLine),
        ] {
            assert_eq!(read(answer), Err(expected), "{answer:?}");
        }
        for cut in [&b""[..], b"\r", b"\r\n", b"HTTP/1.1 101 Up\r\nX: y\r\n", b"HTTP/1.1 101 Up\r\nX: y\r\n\r"] {
            assert_eq!(read(cut).unwrap().0, None, "{cut:?}");
        }
    }

    /// A head of exactly so many bytes, made of as many fields as fit.
    fn head_of(size: usize, status: &str) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {status}\r\n").into_bytes();
        while head.len() + 12 <= size {
            head.extend_from_slice(format!("x{}:\r\n", head.len() % 10).as_bytes());
        }
        head.extend_from_slice(format!("y:{}\r\n\r\n", "z".repeat(size - head.len() - 6)).as_bytes());
        assert_eq!(head.len(), size);
        head
    }

    #[test]
    fn a_head_has_64_kib_with_its_interim_responses_however_many_fields_these_are() {
        let (head, rest) = read(&[&head_of(MAX_HEAD, "101"), &b"more"[..]].concat()).unwrap();
        assert!(head.unwrap().fields.len() > 10_000 && rest == "more");
        let head = parsed(&[head_of(MAX_HEAD / 2, "103"), head_of(MAX_HEAD / 2, "101")].concat());
        assert_eq!(head.status, 101);
        for too_large in [
            head_of(MAX_HEAD + 1, "101"),
            [&b"\r\n"[..], &head_of(MAX_HEAD - 1, "101")].concat(),
            [head_of(MAX_HEAD / 2, "103"), head_of(MAX_HEAD / 2 + 1, "101")].concat(),
            b"HTTP/1.1 100 Continue\r\n\r\n".repeat(4096),
            b"\r\n".repeat(MAX_HEAD),
            [&b"HTTP/1.1 101 "[..], &[b'x'; MAX_HEAD]].concat(),
        ] {
            assert_eq!(read(&too_large), Err(ResponseError::TooLarge));
        }
    }

    #[test]
    fn the_texts_of_errors_say_what_is_wrong() {
        let not_http = "the peer's answer is not HTTP/1.1: ";
        for (error, text) in [
            (ResponseError::Protocol, format!("{not_http}it does not begin with `HTTP/1.`")),
            (
                ResponseError::StatusLine,
                format!("{not_http}its status line is not a version, three digits and a reason"),
            ),
            (ResponseError::UpgradeOfHttp10, format!("{not_http}HTTP/1.0 cannot upgrade")),
            (ResponseError::Fields, format!("{not_http}it has more header fields than can be kept")),
            (ResponseError::TooLarge, "the head of the response is larger than 65536 bytes".to_owned()),
        ] {
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn interim_responses_are_skipped_and_101_is_not() {
        let head =
            parsed(b"HTTP/1.1 100 Continue\r\n\r\n\r\nHTTP/1.1 103 Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 101\r\n\r\n");
        assert_eq!((head.status.as_u16(), head.fields.len()), (101, 0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_head_is_read_however_it_is_cut(
            status in 200u16..600,
            fields in proptest::collection::vec(("[a-z][a-z0-9-]{0,20}", "([!-~]([ -~]{0,40}[!-~])?)?"), 0..20),
            rest in proptest::collection::vec(any::<u8>(), 0..50),
            cut in 1usize..200,
        ) {
            let mut wire = format!("HTTP/1.1 {status} Reason\r\n").into_bytes();
            for (name, value) in &fields {
                wire.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
            }
            wire.extend_from_slice(b"\r\n");
            wire.extend_from_slice(&rest);
            let (mut reader, mut input) = (ResponseReader::new(), BytesMut::new());
            let mut head = None;
            for piece in wire.chunks(cut) {
                input.extend_from_slice(piece);
                if head.is_none() {
                    head = reader.read(&mut input).unwrap();
                }
            }
            let head = head.unwrap();
            prop_assert_eq!(head.status.as_u16(), status);
            prop_assert_eq!(&input[..], &rest[..]);
            prop_assert_eq!(head.fields.len(), fields.len());
            prop_assert!(head.malformed.is_empty());
            for name in head.fields.keys() {
                let read: Vec<_> = head.fields.get_all(name).iter().map(HeaderValue::as_bytes).collect();
                let said = fields.iter().filter(|(other, _)| other == name.as_str()).map(|(_, value)| value.as_bytes());
                prop_assert_eq!(read, said.collect::<Vec<_>>());
            }
        }

        #[test]
        fn no_bytes_panic(
            begin in prop_oneof![Just(&b""[..]), Just(&b"HTTP/1.1 "[..]), Just(&b"HTTP/1.1 101 Up\r\n"[..])],
            parts in proptest::collection::vec(prop_oneof![
                Just(b"\r\n".to_vec()), Just(b"\n".to_vec()), Just(b"\r".to_vec()), Just(b": ".to_vec()),
                Just(b" ".to_vec()), Just(b"Upgrade".to_vec()), proptest::collection::vec(any::<u8>(), 0..8),
            ], 0..40),
        ) {
            let answer = [begin, &parts.concat(), b"\r\n\r\n"].concat();
            let _ = read(&answer);
        }

        #[test]
        fn other_lines_never_change_the_fields_that_are_used(
            before in junk(), between in junk(), after in junk(), lf in any::<bool>(),
        ) {
            let mut answer = b"HTTP/1.1 101 Up\r\n".to_vec();
            for part in [&before[..], b"Upgrade: a\r\n", &between, b"Connection: b\r\n", &after, b"\r\n"] {
                answer.extend_from_slice(part);
            }
            if lf {
                answer = String::from_utf8_lossy(&answer).replace("\r\n", "\n").into_bytes();
            }
            let head = parsed(&answer);
            prop_assert_eq!(value(&head, "upgrade"), b"a");
            prop_assert_eq!(value(&head, "connection"), b"b");
            prop_assert!(!head.malformed.iter().any(|(name, _)| name == "upgrade" || name == "connection"));
        }
    }

    /// Lines of any bytes, none of them a field of the handshake, a fold or an empty line.
    fn junk() -> impl Strategy<Value = Vec<u8>> {
        let line = proptest::collection::vec(any::<u8>().prop_filter("the line goes on", |byte| *byte != b'\n'), 0..20);
        proptest::collection::vec(line, 0..5)
            .prop_map(|lines| lines.into_iter().flat_map(|line| [&b"x"[..], &line, b"\r\n"].concat()).collect())
    }
}
