//! Reading the head of a request, as a server does that has no HTTP library.
//!
//! The parser is strict, since a proxy in front of the server may understand a lenient head in another way: every line ends
//! with CRLF, no field line is folded, no white space is before a colon, and no control character is anywhere.

use super::{MAX_HEAD, Rejection, fields::trim};
use bytes::{Buf, BytesMut};
use http::{HeaderName, HeaderValue, Method, Request, Uri, Version};

/// Reads the head of one request from bytes that arrive in pieces.
#[derive(Debug)]
pub struct RequestReader {
    /// How many bytes the head may still have.
    left: usize,
    /// How many bytes of the input are checked, and do not contain the end of the head.
    searched: usize,
}

impl Default for RequestReader {
    fn default() -> Self {
        RequestReader::new()
    }
}

impl RequestReader {
    /// A reader for one request.
    pub fn new() -> Self {
        RequestReader { left: MAX_HEAD, searched: 0 }
    }

    /// Takes the head from the beginning of `input`, and leaves the bytes that follow it. `None` means that more bytes are
    /// needed: append them to `input`, and call this again. After an error, the input has no meaning. Whether the request has
    /// one `Host`, [`ServerHandshake::new`](super::ServerHandshake::new) and [`check_request`](super::check_request) check.
    ///
    /// # Errors
    /// [`Rejection`] for bytes that are not HTTP/1, as soon as they show it, and for a head over [`MAX_HEAD`]. The
    /// connection ends with its response.
    pub fn read(&mut self, input: &mut BytesMut) -> Result<Option<Request<()>>, Rejection> {
        // Empty lines ahead of a request are ignored (RFC 9112 section 2.2).
        while input.starts_with(b"\r\n") {
            self.left = self.left.checked_sub(2).ok_or(Rejection::HeadTooLarge)?;
            input.advance(2);
            self.searched = 0;
        }
        match self.end_of_head(input)? {
            Some(length) => parse(&input.split_to(length)).map(Some),
            None => Ok(None),
        }
    }

    /// The length of the head with which `input` begins; `None` while it is incomplete.
    fn end_of_head(&mut self, input: &[u8]) -> Result<Option<usize>, Rejection> {
        for (at, byte) in input.iter().enumerate().take(self.left).skip(self.searched) {
            let follows_cr = input[..at].last() == Some(&b'\r');
            match byte {
                b'\n' if !follows_cr => return Err(Rejection::LineEnd),
                b'\n' if input[..at].ends_with(b"\r\n\r") => return Ok(Some(at + 1)),
                b'\n' => {}
                _ if follows_cr => return Err(Rejection::LineEnd),
                b'\r' | b'\t' => {}
                byte if byte.is_ascii_control() => return Err(Rejection::ControlCharacter),
                _ => {}
            }
        }
        if input.len() >= self.left {
            return Err(Rejection::HeadTooLarge);
        }
        self.searched = input.len();
        Ok(None)
    }
}

/// Parses a whole head, its empty line included. Every line of it ends with CRLF.
fn parse(head: &[u8]) -> Result<Request<()>, Rejection> {
    let mut lines = head.split(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\r"));
    let (method, target, version) = lines.next().and_then(request_line).ok_or(Rejection::RequestLine)?;
    let mut request = Request::new(());
    *request.version_mut() = match version {
        (1, 0) => Version::HTTP_10,
        (1, 1) => Version::HTTP_11,
        _ => return Err(Rejection::HttpVersion),
    };
    (*request.method_mut(), *request.uri_mut()) = (method, target);
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = field(line).ok_or(Rejection::FieldLine)?;
        request.headers_mut().try_append(name, value).map_err(|_| Rejection::HeadTooLarge)?;
    }
    Ok(request)
}

/// The method, the target and the version, with one space between them (RFC 9112 section 3).
fn request_line(line: &[u8]) -> Option<(Method, Uri, (u8, u8))> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (method, target, version) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    // `Uri` would drop a fragment, and it accepts UTF-8.
    let is_target = target.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#');
    let version = match version.strip_prefix(b"HTTP/")? {
        [major @ b'0'..=b'9', b'.', minor @ b'0'..=b'9'] => (major - b'0', minor - b'0'),
        _ => return None,
    };
    Some((Method::from_bytes(method).ok()?, Uri::try_from(target).ok().filter(|_| is_target)?, version))
}

/// A field line. A line that is folded, or has white space before the colon, has no valid name.
fn field(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = line.split_at(colon);
    Some((HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(trim(&value[1..])).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Result<Option<Request<()>>, Rejection> {
        RequestReader::new().read(&mut BytesMut::from(bytes))
    }

    /// A head with this line among its fields.
    fn with(line: &[u8]) -> Result<Option<Request<()>>, Rejection> {
        read(&[b"GET / HTTP/1.1\r\nHost: a\r\n", line, b"\r\nX: y\r\n\r\n"].concat())
    }

    #[test]
    fn a_head_is_read_and_the_bytes_behind_it_are_left() {
        let mut input =
            BytesMut::from(&b"\r\n\r\nGET /a?b HTTP/1.1\r\nHOST:a\r\nx:\t y z \t\r\nX:\r\n\r\n\n\0more"[..]);
        let request = RequestReader::new().read(&mut input).unwrap().unwrap();
        assert_eq!((request.method(), request.version()), (&Method::GET, Version::HTTP_11));
        assert_eq!((request.uri(), request.headers()["host"].as_bytes()), (&Uri::from_static("/a?b"), &b"a"[..]));
        assert_eq!(request.headers().get_all("x").iter().collect::<Vec<_>>(), ["y z", ""]);
        assert_eq!(input, "\n\0more");
        let request = read(b"OPTIONS http://a/ HTTP/1.0\r\n\r\n").unwrap().unwrap();
        assert_eq!((request.method(), request.version()), (&Method::OPTIONS, Version::HTTP_10));
    }

    #[test]
    fn a_request_line_has_three_parts() {
        for line in [
            "GET  / HTTP/1.1",
            " GET / HTTP/1.1",
            "GET / HTTP/1.1 ",
            "GET\t/\tHTTP/1.1",
            "GET / a HTTP/1.1",
            "GET /",
            "GET",
            "G:T / HTTP/1.1",
            "GET  HTTP/1.1",
            "GET /a#b HTTP/1.1",
            "GET /\u{e9} HTTP/1.1",
            "GET http:// HTTP/1.1",
            "GET / http/1.1",
            "GET / HTTP/1",
            "GET / HTTP/1.10",
            "GET / HTTP/x.1",
        ] {
            let head = format!("{line}\r\nHost: a\r\n\r\n");
            assert_eq!(read(head.as_bytes()).map(|_| ()), Err(Rejection::RequestLine), "{line:?}");
        }
        for version in ["2.0", "1.2", "0.9"] {
            let head = format!("PRI * HTTP/{version}\r\n\r\n");
            assert_eq!(read(head.as_bytes()).map(|_| ()), Err(Rejection::HttpVersion), "{version}");
        }
    }

    #[test]
    fn a_field_line_is_strict() {
        assert!(with(b"a: b\tc\xE9").is_ok());
        for (line, rejection) in [
            (&b"no colon"[..], Rejection::FieldLine),
            (b": no name", Rejection::FieldLine),
            (b"a : b", Rejection::FieldLine),
            (b"a\t: b", Rejection::FieldLine),
            (b" folded", Rejection::FieldLine),
            (b"\tfolded: too", Rejection::FieldLine),
            (b"a b: c", Rejection::FieldLine),
            (b"n\xE9me: x", Rejection::FieldLine),
            (b"a: b\nc: d", Rejection::LineEnd),
            (b"a: b\rc: d", Rejection::LineEnd),
            (b"a: b\r\tc", Rejection::LineEnd),
            (b"a: b\r", Rejection::LineEnd),
            (b"a: b\0", Rejection::ControlCharacter),
            (b"a: b\x7F", Rejection::ControlCharacter),
            (b"\x1Ba: b", Rejection::ControlCharacter),
        ] {
            assert_eq!(with(line).map(|_| ()), Err(rejection), "{line:?}");
        }
    }

    #[test]
    fn other_protocols_are_recognized_at_once() {
        assert_eq!(read(b"\x16\x03\x01").map(|_| ()), Err(Rejection::ControlCharacter));
        assert_eq!(read(b"GET / HTTP/1.1\n").map(|_| ()), Err(Rejection::LineEnd));
        assert_eq!(read(b"\n").map(|_| ()), Err(Rejection::LineEnd));
        assert_eq!(read(b"\r\r").map(|_| ()), Err(Rejection::LineEnd));
        for cut in [&b""[..], b"\r", b"\r\n\r", b"GET / HTTP/1.1\r", b"GET / HTTP/1.1\r\nHost: a\r\n\r"] {
            assert!(matches!(read(cut), Ok(None)), "{cut:?}");
        }
    }

    #[test]
    fn a_head_has_at_most_64_kib() {
        let head = |size: usize| {
            let begin = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
            format!("{begin}{}\r\n\r\n", "y".repeat(size - begin.len() - 4)).into_bytes()
        };
        assert!(read(&[head(MAX_HEAD), b"more".to_vec()].concat()).unwrap().is_some());
        for too_large in [
            head(MAX_HEAD + 1),
            [b"\r\n".to_vec(), head(MAX_HEAD - 1)].concat(),
            b"\r\n".repeat(MAX_HEAD),
            vec![b'G'; MAX_HEAD],
        ] {
            assert_eq!(read(&too_large).map(|_| ()), Err(Rejection::HeadTooLarge));
        }
        assert!(matches!(read(&[b'G'; MAX_HEAD - 1]), Ok(None)));
        let fields: String = (0..8000).map(|number| format!("{number}:\r\n")).collect();
        let request = read(format!("GET / HTTP/1.1\r\n{fields}\r\n").as_bytes()).unwrap().unwrap();
        assert_eq!(request.headers().len(), 8000);
    }

    /// Pieces of heads, and other bytes.
    fn pieces() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            4 => Just(b"\r\n".to_vec()),
            2 => Just(b"GET / HTTP/1.1\r\n".to_vec()),
            2 => Just(b"Host: a\r\n".to_vec()),
            1 => Just(b"\n".to_vec()),
            1 => Just(b"\r".to_vec()),
            1 => Just(b": ".to_vec()),
            1 => "[ -~]{0,8}".prop_map(String::into_bytes),
            1 => proptest::collection::vec(any::<u8>(), 0..4),
        ];
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn a_head_is_read_however_it_is_cut(
            fields in proptest::collection::vec(("[a-zA-Z][a-z0-9-]{0,20}", "([!-~]([ -~]{0,40}[!-~])?)?"), 0..20),
            rest in proptest::collection::vec(any::<u8>(), 0..50),
            cut in 1usize..200,
        ) {
            let mut wire = b"GET /path HTTP/1.1\r\n".to_vec();
            for (name, value) in &fields {
                wire.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
            }
            wire.extend_from_slice(b"\r\n");
            wire.extend_from_slice(&rest);
            let (mut reader, mut input, mut head) = (RequestReader::new(), BytesMut::new(), None);
            for piece in wire.chunks(cut) {
                input.extend_from_slice(piece);
                if head.is_none() {
                    head = reader.read(&mut input).unwrap();
                }
            }
            let request = head.unwrap();
            prop_assert_eq!(&input[..], &rest[..]);
            prop_assert_eq!(request.headers().len(), fields.len());
            for name in request.headers().keys() {
                let read: Vec<_> = request.headers().get_all(name).iter().map(HeaderValue::as_bytes).collect();
                let said = fields.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name.as_str()));
                prop_assert_eq!(read, said.map(|(_, value)| value.as_bytes()).collect::<Vec<_>>());
            }
        }

        #[test]
        fn any_bytes_have_one_outcome_however_they_are_cut(bytes in pieces(), cut in 1usize..20) {
            let mut whole = BytesMut::from(&bytes[..]);
            let expected = RequestReader::new().read(&mut whole);
            let (mut reader, mut input) = (RequestReader::new(), BytesMut::new());
            let mut outcome = Ok(None);
            for piece in bytes.chunks(cut) {
                input.extend_from_slice(piece);
                if matches!(outcome, Ok(None)) {
                    outcome = reader.read(&mut input);
                }
            }
            let shown = |outcome: &Result<_, Rejection>| format!("{outcome:?}");
            prop_assert_eq!(shown(&outcome), shown(&expected));
            if matches!(expected, Ok(Some(_))) {
                prop_assert_eq!(input, whole);
            }
        }
    }
}
