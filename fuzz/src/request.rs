//! A client's request, in pieces, to a server without an HTTP library: the head is read, checked and answered as httparse and
//! tungstenite do it.

use bytes::BytesMut;
use http::{HeaderValue, Request, header};
use httparse::{EMPTY_HEADER, Status};
use tungstenite::handshake::server::create_response;
use websocket_protocol::handshake::{MAX_HEAD, Rejection, RequestReader, ServerHandshake, encode_response};

/// Runs one case: a byte with the size of the pieces, and the bytes of the client.
pub fn request(data: &[u8]) {
    let [cut, wire @ ..] = data else { return };
    let mut rest = BytesMut::from(wire);
    let outcome = RequestReader::new().read(&mut rest);
    check_pieces(usize::from(*cut) + 1, wire, &outcome, &rest);
    let mut fields = vec![EMPTY_HEADER; wire.iter().filter(|byte| **byte == b'\n').count()];
    let mut other = httparse::Request::new(&mut fields);
    let other_outcome = other.parse(wire);
    match &outcome {
        Ok(Some(request)) => {
            let length = wire.len() - rest.len();
            assert_eq!(other_outcome, Ok(Status::Complete(length)), "the other reader has another end");
            compare(request, &other);
            answer(request);
        }
        Ok(None) => assert!(!matches!(other_outcome, Ok(Status::Complete(_))), "an end is missed"),
        Err(rejection) => {
            if let Ok(Status::Complete(length)) = other_outcome {
                assert!(is_stricter(*rejection, &wire[..length], &other), "{rejection:?} rejects a valid head");
            }
            check_rejection(*rejection);
        }
    }
}

/// The outcome is the same however the bytes are cut.
fn check_pieces(cut: usize, wire: &[u8], whole: &Result<Option<Request<()>>, Rejection>, rest: &[u8]) {
    let (mut reader, mut input, mut outcome) = (RequestReader::new(), BytesMut::new(), Ok(None));
    for piece in wire.chunks(cut) {
        input.extend_from_slice(piece);
        if matches!(outcome, Ok(None)) {
            outcome = reader.read(&mut input);
        }
    }
    match (outcome, whole) {
        (Ok(Some(request)), Ok(Some(whole))) => {
            assert_eq!((request.method(), request.uri()), (whole.method(), whole.uri()));
            assert_eq!((request.version(), request.headers()), (whole.version(), whole.headers()));
            assert_eq!(input, rest);
        }
        (Ok(None), Ok(None)) => {}
        (Err(rejection), Err(whole)) => assert_eq!(rejection, *whole),
        (outcome, whole) => panic!("{outcome:?} in pieces, {whole:?} at once"),
    }
}

fn compare(request: &Request<()>, other: &httparse::Request<'_, '_>) {
    assert_eq!(Some(request.method().as_str()), other.method);
    assert_eq!(format!("{:?}", request.version()), format!("HTTP/1.{}", other.version.expect("a version")));
    let target = other.path.expect("a target");
    assert_eq!(*request.uri(), *target, "{target}");
    assert_eq!(request.headers().len(), other.headers.len());
    for name in request.headers().keys() {
        let of_name = other.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name.as_str()));
        let values = request.headers().get_all(name).iter().map(HeaderValue::as_bytes);
        assert!(values.eq(of_name.map(|field| field.value)), "{name}");
    }
}

/// Whether this is a rule that httparse does not have.
fn is_stricter(rejection: Rejection, head: &[u8], other: &httparse::Request<'_, '_>) -> bool {
    let target = other.path.unwrap_or_default();
    match rejection {
        Rejection::LineEnd => head.split_inclusive(|byte| *byte == b'\n').any(|line| !line.ends_with(b"\r\n")),
        Rejection::RequestLine => target.contains('#') || !target.is_ascii() || target.parse::<http::Uri>().is_err(),
        Rejection::HeadTooLarge => head.len() > MAX_HEAD,
        _ => false,
    }
}

/// Checks that every request is upgraded or refused as tungstenite does it, with a valid HTTP response.
fn answer(request: &Request<()>) {
    let other = create_response(request);
    match (ServerHandshake::new(request, false), other) {
        (Ok(handshake), Ok(other)) => {
            let response = handshake.response(handshake.subprotocols().first().map(String::as_str), None);
            assert_eq!(response.headers()[header::SEC_WEBSOCKET_ACCEPT], other.headers()[header::SEC_WEBSOCKET_ACCEPT]);
            check_response(&encode_response(&response), 101);
        }
        (Ok(_), Err(error)) => {
            // tungstenite reads only one field, and no lists of upgrades.
            let is_list = |name| {
                let values: Vec<_> = request.headers().get_all(name).iter().map(HeaderValue::as_bytes).collect();
                values.len() > 1 || values.concat().iter().any(|byte| b",\t\x80".contains(byte) || !byte.is_ascii())
            };
            assert!(is_list(header::UPGRADE) || is_list(header::CONNECTION), "{error} for an upgrade");
        }
        (Err(rejection), other) => {
            // tungstenite takes blanks for commas, and does not read the fields of these rules.
            let has_rule = !matches!(
                rejection,
                Rejection::Method | Rejection::NotHttp11 | Rejection::WebSocketVersion | Rejection::Key
            );
            let is_repeated = request.headers().get_all(header::SEC_WEBSOCKET_KEY).iter().count() > 1;
            let has_blank =
                request.headers().get_all(header::CONNECTION).iter().any(|value| value.as_bytes().contains(&b' '));
            let is_stricter = match rejection {
                Rejection::NoUpgrade => has_blank,
                Rejection::Key => is_repeated,
                _ => has_rule,
            };
            assert!(other.is_err() || is_stricter, "{rejection:?} rejects an upgrade");
            check_rejection(rejection);
        }
    }
}

fn check_rejection(rejection: Rejection) {
    check_response(&encode_response(&rejection.response()), rejection.status().as_u16());
}

fn check_response(bytes: &[u8], status: u16) {
    let mut fields = [EMPTY_HEADER; 16];
    let mut response = httparse::Response::new(&mut fields);
    assert!(matches!(response.parse(bytes), Ok(Status::Complete(_))), "{}", bytes.escape_ascii());
    assert_eq!(response.code, Some(status));
}
