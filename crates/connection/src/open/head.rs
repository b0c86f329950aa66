//! Reading the head of a response from a transport: of a proxy, or of a server that is asked to upgrade.

use crate::{ConnectError, Error, drive::transport::Transport};
use bytes::BytesMut;
use std::io;
use tokio::io::AsyncReadExt;
use websocket_protocol::handshake::{ResponseHead, ResponseReader};

/// Reads the head of the next final response; the bytes that follow it stay in `input`.
///
/// # Errors
/// [`Error::ConnectionFailed`] where the transport ends, [`Error::Protocol`] for bytes that are not HTTP.
pub(crate) async fn read_head(
    transport: &mut impl Transport,
    input: &mut BytesMut,
) -> Result<ResponseHead, ConnectError> {
    let mut reader = ResponseReader::new();
    loop {
        let head = reader.read(input).map_err(|error| ConnectError::protocol(Error::Protocol(error.to_string())))?;
        if let Some(head) = head {
            return Ok(head);
        }
        let read = match transport.read_buf(input).await {
            Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the peer closed the connection")),
            read => read,
        };
        read.map_err(|error| ConnectError::transport("no response to the handshake", error))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    /// The head that is read from these bytes through a small buffer, and the bytes behind it.
    async fn read(answer: &[u8]) -> Result<(ResponseHead, Vec<u8>), Error> {
        let (mut near, mut far) = tokio::io::duplex(7);
        let write = async move {
            let _ = far.write_all(answer).await;
        };
        let read = async move {
            let mut input = BytesMut::new();
            let head = read_head(&mut near, &mut input).await?;
            let mut rest = input.to_vec();
            near.read_to_end(&mut rest).await.unwrap();
            Ok::<_, ConnectError>((head, rest))
        };
        let (outcome, ()) = tokio::join!(read, write);
        Ok(outcome?)
    }

    #[tokio::test]
    async fn a_head_arrives_in_pieces_and_the_bytes_behind_it_are_kept() {
        let (head, rest) = read(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 Up\r\nX: y\r\n\r\nframes").await.unwrap();
        assert_eq!((head.status.as_u16(), &head.fields["x"], &rest[..]), (101, &"y".parse().unwrap(), &b"frames"[..]));
    }

    #[tokio::test]
    async fn bytes_that_are_not_http_are_a_protocol_error() {
        for answer in [&b"SSH-2.0-x\r\n\r\n"[..], b"HTTP/1.1 10 Up\r\n\r\n", &b"\r\n".repeat(1 << 16)] {
            let error = read(answer).await.unwrap_err();
            assert!(matches!(error, Error::Protocol(_)), "{error}");
        }
    }

    #[tokio::test]
    async fn a_transport_that_ends_first_is_a_failed_connection() {
        for cut in [&b""[..], b"\r", b"\r\n", b"HTTP/1.1 101 Up\r\nX: y\r\n", b"HTTP/1.1 101 Up\r\nX: y\r\n\r"] {
            let error = read(cut).await.unwrap_err();
            let text = "connection failed: no response to the handshake: the peer closed the connection";
            assert_eq!(error.to_string(), text, "{cut:?}");
        }
    }
}
