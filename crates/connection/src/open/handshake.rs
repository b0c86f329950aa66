//! The opening handshake of a client (RFC 6455 section 4.1). It is written here so that the guest's
//! header fields leave as given, in order, and so that every answer is checked.

use crate::{
    ConnectError, Error, Reason,
    drive::transport::Transport,
    open::{
        head::{Fault, Head, Repeated, elements, lists, single},
        request::Request,
    },
};
use bytes::BytesMut;
use http::{HeaderName, HeaderValue, StatusCode, header};
use tokio::io::AsyncWriteExt;
use websocket_protocol::handshake::{self, accept_value};

/// Asks the server to upgrade. Gives the subprotocol that it chose, and the bytes that it sent after
/// its answer.
///
/// # Errors
/// [`Error::AuthenticationFailed`] and [`Error::ConnectionFailed`] for a refusal,
/// [`Error::Protocol`] for an answer that RFC 6455 section 4.1 does not allow.
pub(crate) async fn handshake(
    request: &Request,
    transport: &mut impl Transport,
) -> Result<(Option<String>, BytesMut), ConnectError> {
    let key = handshake::key(rand::random());
    let failed = |error: std::io::Error| ConnectError::transport("the handshake cannot be sent", error);
    transport.write_all(&compose(request, &key)).await.map_err(failed)?;
    transport.flush().await.map_err(failed)?;
    let mut input = BytesMut::new();
    let head = Head::read(transport, &mut input).await?;
    if head.status != StatusCode::SWITCHING_PROTOCOLS {
        return Err(head.refusal("the server", transport, input, request.timeout).await);
    }
    Ok((check(&head, &key, &request.subprotocols)?, input))
}

fn compose(request: &Request, key: &str) -> Vec<u8> {
    let mut head = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: {key}\r\n",
        request.target(),
        request.authority(),
    )
    .into_bytes();
    if !request.subprotocols.is_empty() {
        head.extend_from_slice(format!("Sec-WebSocket-Protocol: {}\r\n", request.subprotocols.join(", ")).as_bytes());
    }
    for (name, value) in &request.headers {
        head.extend_from_slice(name.as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// The fields that an opening handshake depends on: none may be malformed.
fn is_essential(name: &HeaderName) -> bool {
    [
        header::UPGRADE,
        header::CONNECTION,
        header::SEC_WEBSOCKET_ACCEPT,
        header::SEC_WEBSOCKET_EXTENSIONS,
        header::SEC_WEBSOCKET_PROTOCOL,
    ]
    .contains(name)
}

fn check(head: &Head, key: &str, offered: &[String]) -> Result<Option<String>, ConnectError> {
    // What the server wrote may repeat a token that the guest offered as a subprotocol.
    let broken = |what: &str, value: Option<&HeaderValue>| {
        let shown = value.map(|value| format!(": {value:?}")).unwrap_or_default();
        let say = |shown: &str| Error::Protocol(format!("the server's handshake {what}{shown} (RFC 6455 section 4.1)"));
        Err(ConnectError::quoting(Reason::Protocol, say(&shown), Some(say("").to_string())))
    };
    let fields = &head.fields;
    if let Some((name, fault)) = head.malformed.iter().find(|(name, _)| is_essential(name)) {
        let fault = match fault {
            Fault::Control => "a control character in",
            Fault::SpaceBeforeColon => "white space before the colon of",
        };
        return broken(&format!("has {fault} `{name}`"), None);
    }
    // Several protocols are layers, each over the one before it (RFC 9110 section 7.8).
    let mut protocols = elements(fields, header::UPGRADE);
    match (protocols.next(), protocols.next()) {
        (Some(protocol), None) if protocol.eq_ignore_ascii_case(b"websocket") => {}
        _ => return broken("does not upgrade to websocket, once and alone", None),
    }
    if !lists(fields, header::CONNECTION, "upgrade") {
        return broken("has no `Connection: Upgrade`", None);
    }
    match single(fields, header::SEC_WEBSOCKET_ACCEPT) {
        Ok(Some(accept)) if *accept == accept_value(key.as_bytes()) => {}
        Ok(_) => return broken("has a wrong Sec-WebSocket-Accept", None),
        Err(Repeated) => return broken("has more than one Sec-WebSocket-Accept", None),
    }
    if elements(fields, header::SEC_WEBSOCKET_EXTENSIONS).next().is_some() {
        let first = fields.get(header::SEC_WEBSOCKET_EXTENSIONS);
        return broken("uses an extension that was not offered", first);
    }
    match single(fields, header::SEC_WEBSOCKET_PROTOCOL) {
        Ok(None) => Ok(None),
        Ok(Some(name)) => match offered.iter().find(|own| own.as_bytes() == name.as_bytes()) {
            Some(name) => Ok(Some(name.clone())),
            None => broken("chooses a subprotocol that was not offered", Some(name)),
        },
        Err(Repeated) => broken("chooses more than one subprotocol", None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ConnectConfig, Settings};

    fn request() -> Request {
        let config = ConnectConfig {
            subprotocols: vec!["chat".to_owned(), "log".to_owned()],
            headers: [("X-A", "1"), ("x-b", "2"), ("X-A", "3")].map(|(n, v)| (n.to_owned(), v.to_owned())).into(),
            ..ConnectConfig::new("ws://example.com:8080/a?b")
        };
        let mut settings = Settings::default();
        settings.set("user-agent", "agent/1").unwrap();
        Request::new(config, &settings).unwrap()
    }

    #[test]
    fn headers_leave_as_given_in_order_with_duplicates() {
        let head = String::from_utf8(compose(&request(), "KEY")).unwrap();
        assert_eq!(
            head,
            "GET /a?b HTTP/1.1\r\nHost: example.com:8080\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: KEY\r\nSec-WebSocket-Protocol: chat, log\r\n\
             User-Agent: agent/1\r\nX-A: 1\r\nx-b: 2\r\nX-A: 3\r\n\r\n"
        );
    }

    /// The outcome of an answer with these lines, `ACCEPT` standing for the right key.
    async fn answer(lines: &str) -> Result<Option<String>, Error> {
        let (mut near, mut far) = tokio::io::duplex(4096);
        let lines = lines.to_owned();
        let server = async move {
            let mut asked = BytesMut::new();
            while !asked.ends_with(b"\r\n\r\n") {
                tokio::io::AsyncReadExt::read_buf(&mut far, &mut asked).await.unwrap();
            }
            let asked = String::from_utf8_lossy(&asked).into_owned();
            let key = asked.split("Key: ").nth(1).and_then(|rest| rest.lines().next()).unwrap();
            let lines = lines.replace("ACCEPT", &accept_value(key.as_bytes()));
            let head = format!("HTTP/1.1 101 Switching Protocols\r\n{}\r\n\r\n", lines.replace('\n', "\r\n"));
            far.write_all(head.as_bytes()).await.unwrap();
            far
        };
        let request = request();
        let (outcome, _) = tokio::join!(handshake(&request, &mut near), server);
        outcome.map(|(subprotocol, _)| subprotocol).map_err(Error::from)
    }

    const GOOD: &str = "Upgrade: WebSocket\nConnection: keep-alive, upgrade\nSec-WebSocket-Accept: ACCEPT";

    #[tokio::test]
    async fn an_answer_within_the_rfc_is_accepted() {
        assert_eq!(answer(GOOD).await, Ok(None));
        assert_eq!(answer(&format!("{GOOD}\nSec-WebSocket-Protocol: log")).await, Ok(Some("log".to_owned())));
        for lines in [
            GOOD.replace("WebSocket\n", ",websocket, ,\n"),
            GOOD.replace("keep-alive, upgrade", ", ,Upgrade,"),
            GOOD.replace("keep-alive, upgrade", "keep-alive\nConnection:\nConnection: Upgrade"),
            GOOD.replace(": ", ":\n\t"),
            format!("{GOOD}\nX-A : y\nServer\t: z"),
            GOOD.replace("\n", "\nSet-Cookie: a=b;\n Path=/\n"),
            GOOD.replace("\n", "\nSet-Cookie: id=a\x01b\x00\x7f\n\x1b[1m\n"),
            format!("Sec-WebSocket-Accept-Not: ACCEPT\n{GOOD}\nSec-WebSocket-Extensions: , ,\nContent-Length: 0"),
            format!("{GOOD}{}", "\nX: y".repeat(1000)),
        ] {
            assert_eq!(answer(&lines).await, Ok(None), "{lines:?}");
        }
    }

    #[tokio::test]
    async fn an_answer_outside_the_rfc_is_a_protocol_error() {
        for lines in [
            GOOD.replace("ACCEPT", "bm8="),
            GOOD.replace("WebSocket\n", "h2c\n"),
            GOOD.replace("upgrade", "close"),
            format!("{GOOD}\nSec-WebSocket-Extensions: permessage-deflate"),
            format!("{GOOD}\nSec-WebSocket-Protocol: Chat"),
            format!("{GOOD}\nSec-WebSocket-Protocol: chat, log"),
            format!("{GOOD}\nSec-WebSocket-Protocol: chat\nSec-WebSocket-Protocol: log"),
            format!("{GOOD}\nSec-WebSocket-Protocol: chat\nSec-WebSocket-Protocol: chat"),
            format!("{GOOD}\nSec-WebSocket-Protocol: chat\n log"),
            format!("{GOOD}\nSec-WebSocket-Protocol:"),
            // A field that the handshake depends on, twice.
            format!("{GOOD}\nSec-WebSocket-Accept: ACCEPT"),
            format!("{GOOD}\nSec-WebSocket-Accept: bm8="),
            format!("Sec-WebSocket-Accept: bm8=\n{GOOD}"),
            format!("{GOOD}\nsec-websocket-accept:"),
            // White space before the colon of one.
            GOOD.replace("Accept: ", "Accept : "),
            GOOD.replace("Connection: ", "Connection\t: "),
            GOOD.replace("Upgrade: ", "Upgrade : "),
            format!("{GOOD}\nSec-WebSocket-Protocol : chat"),
            format!("{GOOD}\nSec-WebSocket-Extensions :"),
            format!("{GOOD}\nSec-WebSocket-Accept: \x01"),
            format!("{GOOD}\nUpgrade: websocket"),
            format!("{GOOD}\nUpgrade: h2c"),
            GOOD.replace("WebSocket\n", "h2c, websocket\n"),
            GOOD.replace("WebSocket\n", "websocket/13\n"),
            // An invalid value in one.
            GOOD.replace("WebSocket\n", "websocket\x01\n"),
            GOOD.replace("WebSocket\n", "websocket\u{e9}\n"),
            GOOD.replace("upgrade", "upgrade\x7f"),
            GOOD.replace("ACCEPT", "ACCEPT\x00"),
            GOOD.replace("ACCEPT", "\rACCEPT"),
            format!("{GOOD}\nSec-WebSocket-Protocol: chat\x0b"),
            format!("{GOOD}\nSec-WebSocket-Extensions: \x08"),
            format!("{GOOD}\nSec-WebSocket-Extensions: \u{e9}"),
            // Names and values that are broken in two.
            GOOD.replace("ACCEPT", "\n\tACCEPT,"),
            GOOD.replace("Sec-WebSocket-Accept", "Sec-WebSocket\n -Accept"),
            GOOD.replace("Upgrade: ", "Upgrade\n : "),
        ] {
            assert!(matches!(answer(&lines).await, Err(Error::Protocol(_))), "{lines}");
        }
    }
}
