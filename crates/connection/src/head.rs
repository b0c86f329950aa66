//! Heads of HTTP/1.1 responses: of proxies and of servers that are asked to upgrade.

use crate::{ConnectError, Error, Reason, transport::Transport};
use bytes::{Buf, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use std::{io, time::Duration};
use tokio::{io::AsyncReadExt, time::timeout};

/// The largest head that is read, in bytes.
const MAX_HEAD: usize = 64 * 1024;
/// The most header fields of one head.
const MAX_FIELDS: usize = 128;
/// How much of a refusal's body is shown, in bytes.
const MAX_BODY: usize = 1024;
/// How long a refusal's body may take after its head at the most.
const BODY_WAIT: Duration = Duration::from_secs(1);

/// A response without its body.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) fields: HeaderMap,
}

impl Head {
    /// Reads the next response's head; what follows it stays in `input`. Interim responses
    /// (RFC 9110 section 15.2) other than 101 are passed over.
    ///
    /// # Errors
    /// [`Error::ConnectionFailed`] where the transport ends, [`Error::Protocol`] for what is not HTTP.
    pub(crate) async fn read(transport: &mut impl Transport, input: &mut BytesMut) -> Result<Head, ConnectError> {
        loop {
            if let Some(head) = Head::parse(input).map_err(ConnectError::protocol)? {
                if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS {
                    continue;
                }
                return Ok(head);
            }
            if input.len() >= MAX_HEAD {
                let why = format!("the response's head is larger than {MAX_HEAD} bytes");
                return Err(ConnectError::protocol(Error::Protocol(why)));
            }
            let read = match transport.read_buf(input).await {
                Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the peer closed the connection")),
                read => read,
            };
            read.map_err(|error| ConnectError::transport("no response to the handshake", error))?;
        }
    }

    fn parse(input: &mut BytesMut) -> Result<Option<Head>, Error> {
        let broken = |what: String| Error::Protocol(format!("the peer's answer is not HTTP/1.1: {what}"));
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        let length = match response.parse(input) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return Err(broken(error.to_string())),
        };
        let status = StatusCode::from_u16(response.code.unwrap_or_default()).map_err(|e| broken(e.to_string()))?;
        if response.version != Some(1) && status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(broken("HTTP/1.0 cannot upgrade".to_owned()));
        }
        let mut map = HeaderMap::new();
        for field in response.headers {
            let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|e| broken(e.to_string()))?;
            let value = HeaderValue::from_bytes(field.value).map_err(|e| broken(e.to_string()))?;
            map.append(name, value);
        }
        input.advance(length);
        Ok(Some(Head { status, fields: map }))
    }

    /// A field's value as text, where there is one.
    pub(crate) fn text(&self, name: HeaderName) -> Option<&str> {
        self.fields.get(name).and_then(|value| value.to_str().ok())
    }

    /// Turns this answer, which is not the one that was hoped for, into a failure: status, location and
    /// the beginning of the body for the guest, the status for operators. `limit` is that of the whole connect: a body that stalls must not turn
    /// the status into a timeout.
    pub(crate) async fn refusal(
        self,
        who: &str,
        transport: &mut impl Transport,
        mut input: BytesMut,
        limit: Duration,
    ) -> ConnectError {
        let answer = format!("{who} answered {}", self.status);
        let mut text = answer.clone();
        if let Some(location) = self.text(header::LOCATION) {
            text.push_str(&format!(" with the location {location} (redirects are not followed)"));
        }
        let body = self.read_body(transport, &mut input, BODY_WAIT.min(limit / 4)).await;
        if !body.trim().is_empty() {
            text.push_str(": ");
            text.extend(body.trim().chars().map(|c| if c.is_control() { ' ' } else { c }));
        }
        let error = match self.status.as_u16() {
            401 | 403 | 407 => Error::AuthenticationFailed(text),
            _ => Error::ConnectionFailed(text),
        };
        let reason = Reason::Refused { status: self.status, headers: self.fields };
        ConnectError::quoting(reason, error, Some(answer))
    }

    /// At most [`MAX_BODY`] bytes of the body, as far as it arrives in time.
    async fn read_body(&self, transport: &mut impl Transport, input: &mut BytesMut, wait: Duration) -> String {
        let chunked = self.text(header::TRANSFER_ENCODING).is_some_and(|coding| coding.ends_with("chunked"));
        let length: Option<usize> = self.text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
        let done = |input: &BytesMut| {
            let body = if chunked { dechunk(input) } else { (input.to_vec(), false) };
            body.1 || body.0.len() >= length.filter(|_| !chunked).unwrap_or(MAX_BODY).min(MAX_BODY)
        };
        // What ends the body early, time included, is no news beside the status: show what is there.
        let _ = timeout(wait, async {
            // Chunks may never yield any content, so what is read is limited, too.
            while !done(input) && input.len() < MAX_HEAD {
                if !matches!(transport.read_buf(input).await, Ok(1..)) {
                    break;
                }
            }
        })
        .await;
        let mut body = if chunked { dechunk(input).0 } else { input.to_vec() };
        body.truncate(length.filter(|_| !chunked).unwrap_or(MAX_BODY).min(MAX_BODY));
        String::from_utf8_lossy(&body).into_owned()
    }
}

/// The content of a chunked body (RFC 9112 section 7.1) as far as it is there, and whether that is all.
fn dechunk(mut raw: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Ok(httparse::Status::Complete((start, size))) = httparse::parse_chunk_size(raw) {
        if size == 0 {
            return (body, true);
        }
        let rest = &raw[start..];
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        body.extend_from_slice(&rest[..size.min(rest.len())]);
        match rest.get(size.saturating_add(2)..) {
            Some(next) => raw = next,
            None => break,
        }
    }
    (body, false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;

    async fn refusal(answer: &[u8]) -> Error {
        let (mut near, mut far) = tokio::io::duplex(1 << 16);
        far.write_all(answer).await.unwrap();
        drop(far);
        let mut input = BytesMut::new();
        let head = Head::read(&mut near, &mut input).await.unwrap();
        head.refusal("it", &mut near, input, BODY_WAIT).await.into()
    }

    #[tokio::test]
    async fn a_refusal_shows_status_location_and_body() {
        let text = "it answered 302 Found with the location wss://b/ (redirects are not followed): go there";
        for answer in [
            "HTTP/1.1 302 Found\r\nLocation: wss://b/\r\nContent-Length: 8\r\n\r\ngo there and more",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 302 Found\r\nLocation: wss://b/\r\n\r\ngo\nthere",
            "HTTP/1.1 302 Found\r\nLocation: wss://b/\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ngo \r\n5;x=y\r\nthere\r\n0\r\n\r\n",
        ] {
            assert_eq!(refusal(answer.as_bytes()).await, Error::ConnectionFailed(text.to_owned()), "{answer}");
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
    async fn a_body_is_shown_up_to_one_kibibyte() {
        let answer = format!("HTTP/1.1 500 X\r\n\r\n{}", "b".repeat(5000));
        let text = refusal(answer.as_bytes()).await.to_string();
        assert_eq!(text.matches('b').count(), MAX_BODY, "{text}");
    }

    #[tokio::test]
    async fn a_body_that_never_decodes_is_not_read_without_end() {
        for body in [&b"no size\r\n"[..], b"1;an extension without end", b""] {
            let (mut near, mut far) = tokio::io::duplex(4096);
            let answer = [b"HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n", body].concat();
            let refused = async {
                let mut input = BytesMut::new();
                let head = Head::read(&mut near, &mut input).await.unwrap();
                let error = Error::from(head.refusal("it", &mut near, input, BODY_WAIT).await);
                drop(near);
                error
            };
            let flood = async {
                far.write_all(&answer).await.unwrap();
                let mut taken = 0;
                while taken < 16 * MAX_HEAD && far.write_all(&[b'x'; 1024]).await.is_ok() {
                    taken += 1024;
                }
                taken
            };
            let (error, taken) = tokio::join!(refused, flood);
            assert_eq!(error, Error::ConnectionFailed("it answered 500 Internal Server Error".to_owned()));
            assert!(taken <= 2 * MAX_HEAD, "{taken} bytes were read");
        }
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
            let (mut input, mut head) = (BytesMut::new(), None);
            for part in wire.chunks(cut) {
                input.extend_from_slice(part);
                if head.is_none() {
                    head = Head::parse(&mut input).unwrap();
                }
            }
            let head = head.unwrap();
            prop_assert_eq!(head.status.as_u16(), status);
            prop_assert_eq!(&input[..], &rest[..]);
            prop_assert_eq!(head.fields.len(), fields.len());
            for name in head.fields.keys() {
                let read: Vec<_> = head.fields.get_all(name).iter().map(HeaderValue::as_bytes).collect();
                let said = fields.iter().filter(|(other, _)| other == name.as_str()).map(|(_, value)| value.as_bytes());
                prop_assert_eq!(read, said.collect::<Vec<_>>());
            }
        }

        #[test]
        fn chunks_are_joined_and_what_is_there_of_them_is_shown(
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
    }

    #[tokio::test]
    async fn what_is_not_http_is_a_protocol_error() {
        for answer in [&b"SSH-2.0-x\r\n\r\n"[..], b"\x15\x03\x01\x00\x02", b"HTTP/1.0 101 Up\r\n\r\n"] {
            let (mut near, mut far) = tokio::io::duplex(1 << 16);
            far.write_all(answer).await.unwrap();
            drop(far);
            let error = Head::read(&mut near, &mut BytesMut::new()).await.unwrap_err();
            assert!(matches!(error.error(), Error::Protocol(_)), "{error}");
        }
    }
}
