//! The opening handshake of a client over a transport. `websocket_protocol::handshake` has its rules.

use crate::{
    ConnectError, Error, Reason,
    drive::transport::Transport,
    open::{head::read_head, opening::HeaderLines, refusal::refusal, request::Request},
};
use bytes::BytesMut;
use http::{HeaderValue, StatusCode};
use tokio::io::AsyncWriteExt;
use websocket_protocol::{
    deflate::{Compression, NegotiationError, Offer},
    handshake::{AnswerError, ClientHandshake},
};

/// What a server that does not refuse answers.
#[derive(Debug)]
pub(crate) enum Answer {
    Accepted {
        subprotocol: Option<String>,
        headers: HeaderLines,
        compression: Option<Compression>,
        /// The bytes behind the answer.
        input: BytesMut,
    },
    /// This request is to be made instead.
    Redirected(Request),
}

/// Asks the server to upgrade, and offers it compression.
///
/// # Errors
/// [`Error::AuthenticationFailed`] and [`Error::ConnectionFailed`] for a refusal,
/// [`Error::Protocol`] for an answer that RFC 6455 section 4.1 does not allow.
pub(crate) async fn handshake(
    request: &Request,
    offer: Option<Offer>,
    transport: &mut impl Transport,
) -> Result<Answer, ConnectError> {
    let (target, authority) = (request.target(), request.authority());
    let mut handshake = ClientHandshake::new(&target, &authority, rand::random());
    (handshake.subprotocols, handshake.headers) = (&request.subprotocols, &request.headers);
    // It consists of tokens and digits.
    handshake.extensions = offer.as_ref().and_then(|offer| HeaderValue::from_str(offer.header()).ok());
    // `Request` has checked every part already.
    let ask = handshake.encode().map_err(|error| ConnectError::invalid_request(Error::Protocol(error.to_string())))?;
    let failed = |error: std::io::Error| ConnectError::transport("the handshake cannot be sent", error);
    transport.write_all(&ask).await.map_err(failed)?;
    transport.flush().await.map_err(failed)?;
    let mut input = BytesMut::new();
    let head = read_head(transport, &mut input).await?;
    if head.status != StatusCode::SWITCHING_PROTOCOLS {
        return match request.redirected(&head) {
            Ok(next) => Ok(Answer::Redirected(next)),
            Err(why) => Err(refusal(head, "the server", &why, transport, input, request.timeout).await),
        };
    }
    let agreement = handshake.check(&head).map_err(broken)?;
    let compression = match offer {
        // Without an offer, the check has refused every extension.
        None => None,
        Some(offer) => offer.accept(agreement.extensions.iter().map(String::as_bytes)).map_err(not_agreed)?,
    };
    let headers = HeaderLines::from(&head.fields);
    Ok(Answer::Accepted { subprotocol: agreement.subprotocol, headers, compression, input })
}

/// An answer that breaks the rules. Operators read it without the values that the server wrote: these may repeat a token
/// that the guest offered as a subprotocol.
fn broken(error: AnswerError) -> ConnectError {
    let quoting = Error::Protocol(error.to_string());
    let detail = Error::Protocol(error.redacted().to_string());
    ConnectError::quoting(Reason::Protocol, quoting, Some(detail.to_string()))
}

/// An answer that does not fit the offer of compression. It quotes what the server wrote.
fn not_agreed(error: NegotiationError) -> ConnectError {
    let error =
        Error::Protocol(format!("the server's handshake does not fit the offer: {error} (RFC 7692 section 7.1)"));
    let detail = "the server's handshake does not fit the offer of compression (RFC 7692 section 7.1)";
    ConnectError::quoting(Reason::Protocol, error, Some(detail.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ConnectConfig, Settings};
    use tokio::io::AsyncReadExt;
    use websocket_protocol::handshake::accept_value;

    /// The head of the request as the server reads it, and the outcome of an answer with these lines. `ACCEPT` stands for
    /// the right value.
    async fn answer(lines: &str) -> (String, Result<Option<String>, ConnectError>) {
        let config = ConnectConfig {
            subprotocols: vec!["chat".to_owned(), "log".to_owned()],
            headers: [("X-A", "1"), ("x-b", "2"), ("X-A", "3")].map(|(n, v)| (n.to_owned(), v.to_owned())).into(),
            ..ConnectConfig::new("ws://example.com:8080/a?b")
        };
        let mut settings = Settings::default();
        settings.set("user-agent", "agent/1").unwrap();
        let request = Request::new(config, &settings).unwrap();
        let (mut near, mut far) = tokio::io::duplex(4096);
        let server = async {
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                far.read_buf(&mut asked).await.unwrap();
            }
            let asked = String::from_utf8(asked).unwrap();
            let key = asked.split("Key: ").nth(1).and_then(|rest| rest.lines().next()).unwrap();
            let lines = lines.replace("ACCEPT", &accept_value(key.as_bytes())).replace('\n', "\r\n");
            far.write_all(format!("HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n\r\n").as_bytes()).await.unwrap();
            asked.replace(key, "KEY")
        };
        let (outcome, asked) = tokio::join!(handshake(&request, None, &mut near), server);
        let subprotocol = |answer| match answer {
            Answer::Accepted { subprotocol, .. } => subprotocol,
            Answer::Redirected(_) => panic!("nothing redirects"),
        };
        (asked, outcome.map(subprotocol))
    }

    const GOOD: &str = "Upgrade: WebSocket\nConnection: keep-alive, upgrade\nSec-WebSocket-Accept: ACCEPT";

    #[tokio::test]
    async fn the_request_has_the_headers_of_the_guest_and_the_answer_is_checked() {
        let (asked, outcome) = answer(&format!("{GOOD}\nSec-WebSocket-Protocol: log")).await;
        assert_eq!(
            asked,
            "GET /a?b HTTP/1.1\r\nHost: example.com:8080\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: KEY\r\nSec-WebSocket-Protocol: chat, log\r\n\
             User-Agent: agent/1\r\nX-A: 1\r\nx-b: 2\r\nX-A: 3\r\n\r\n"
        );
        assert_eq!(outcome.unwrap(), Some("log".to_owned()));
    }

    #[tokio::test]
    async fn a_wrong_answer_is_quoted_to_the_guest_and_not_to_operators() {
        for (lines, error, detail) in [
            (
                format!("{GOOD}\nSec-WebSocket-Protocol: t0k3n"),
                "the server's handshake chooses a subprotocol that was not offered: \"t0k3n\" (RFC 6455 section 4.1)",
                "the server's handshake chooses a subprotocol that was not offered (RFC 6455 section 4.1)",
            ),
            (
                format!("{GOOD}\nSec-WebSocket-Extensions: permessage-deflate"),
                "the server's handshake uses an extension that was not offered: \"permessage-deflate\" (RFC 6455 section 4.1)",
                "the server's handshake uses an extension that was not offered (RFC 6455 section 4.1)",
            ),
            (
                GOOD.replace("ACCEPT", "bm8="),
                "the server's handshake has a wrong Sec-WebSocket-Accept (RFC 6455 section 4.1)",
                "the server's handshake has a wrong Sec-WebSocket-Accept (RFC 6455 section 4.1)",
            ),
        ] {
            let failure = answer(&lines).await.1.unwrap_err();
            assert_eq!(*failure.reason(), Reason::Protocol);
            assert_eq!(failure.to_string(), format!("protocol error: {error}"));
            assert_eq!(failure.detail(), Some(&*format!("protocol error: {detail}")));
        }
    }
}
