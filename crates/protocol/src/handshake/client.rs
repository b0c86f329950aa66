//! The opening handshake of a client (RFC 6455 section 4.1). The caller's header fields are sent as given, in order, and
//! every answer is checked.

use super::{
    fields::{Repeated, elements, extensions, is_handshake_field, is_token, lists, single},
    key,
    response::{FieldFault, ResponseHead},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use std::{collections::HashSet, fmt};

/// A client's request for a WebSocket: what it asks for, and then the check of the answer.
#[derive(Clone)]
#[non_exhaustive]
pub struct ClientHandshake<'a> {
    /// The request target: path and query of the URL, in visible ASCII.
    pub target: &'a str,
    /// Host and port of the URL as the `Host` field has them: the port only where it is not the scheme's.
    pub authority: &'a str,
    /// The `Sec-WebSocket-Key`.
    pub key: String,
    /// The subprotocols to offer, most wanted first: distinct tokens.
    pub subprotocols: &'a [String],
    /// The value of `Sec-WebSocket-Extensions`; `None` offers no extension.
    pub extensions: Option<HeaderValue>,
    /// More header fields, sent in this order under names as they are written here. Names may be repeated.
    pub headers: &'a [(String, HeaderValue)],
}

/// Shows what is no secret: neither the target nor the header fields.
impl fmt::Debug for ClientHandshake<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientHandshake").field("authority", &self.authority).finish_non_exhaustive()
    }
}

/// What the client and the server agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Agreement {
    /// The subprotocol that the server chose, one of those offered.
    pub subprotocol: Option<String>,
    /// The extensions that the server uses, each with its parameters, in order; empty where none was offered. The caller
    /// checks them against the offer: whatever it did not offer fails the handshake (RFC 6455 section 4.1).
    pub extensions: Vec<String>,
}

/// Why a request cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRequest {
    /// The target is empty, or has a character other than visible ASCII.
    #[error("the request target is empty, or has a character that is not visible ASCII")]
    Target,
    /// The authority is empty, or has a character other than visible ASCII.
    #[error("the authority is empty, or has a character that is not visible ASCII")]
    Authority,
    /// The key is not base64 of 16 bytes.
    #[error("the key is not 16 bytes in base64")]
    Key,
    /// A subprotocol is not a token (RFC 9110 section 5.6.2).
    #[error("the subprotocol {0:?} is not a token")]
    Subprotocol(String),
    /// A subprotocol is offered twice.
    #[error("the subprotocol {0:?} is offered twice")]
    RepeatedSubprotocol(String),
    /// The name of a header field is not a token, or the field belongs to the handshake ([`is_handshake_field`]).
    #[error("the header field {0:?} has an invalid name, or belongs to the opening handshake")]
    Header(String),
}

/// Why a client must fail the connection because of the server's answer (RFC 6455 section 4.1).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// The status is not 101. What the server means is in the response.
    #[error("the server's handshake has the status {} and not 101 (RFC 6455 section 4.1)", .0.as_u16())]
    Status(StatusCode),
    /// A field that the handshake depends on is malformed.
    #[error("the server's handshake has {} `{field}` (RFC 6455 section 4.1)", fault_text(*.fault))]
    Malformed {
        /// The name of the field.
        field: HeaderName,
        /// What is wrong with it.
        fault: FieldFault,
    },
    /// `Upgrade` is missing or names something else. Several protocols are layers, each over the one before it (RFC 9110
    /// section 7.8), so that there may be only one.
    #[error("the server's handshake does not upgrade to websocket, once and alone (RFC 6455 section 4.1)")]
    Upgrade,
    /// `Connection` does not list `Upgrade`.
    #[error("the server's handshake has no `Connection: Upgrade` (RFC 6455 section 4.1)")]
    Connection,
    /// `Sec-WebSocket-Accept` is missing, or is not made of the key.
    #[error("the server's handshake has a wrong Sec-WebSocket-Accept (RFC 6455 section 4.1)")]
    Accept,
    /// `Sec-WebSocket-Accept` is repeated.
    #[error("the server's handshake has more than one Sec-WebSocket-Accept (RFC 6455 section 4.1)")]
    RepeatedAccept,
    /// The server uses an extension although none was offered. This is the first value of the field, unless redacted.
    #[error("the server's handshake uses an extension that was not offered{} (RFC 6455 section 4.1)", quote(.0))]
    Extension(Option<HeaderValue>),
    /// `Sec-WebSocket-Extensions` is not a list of extensions with their parameters.
    #[error("the server's handshake has an invalid list of extensions (RFC 6455 section 4.1)")]
    InvalidExtensions,
    /// The server chose a subprotocol that was not offered. This is its name, unless redacted.
    #[error("the server's handshake chooses a subprotocol that was not offered{} (RFC 6455 section 4.1)", quote(.0))]
    Subprotocol(Option<HeaderValue>),
    /// `Sec-WebSocket-Protocol` is repeated.
    #[error("the server's handshake chooses more than one subprotocol (RFC 6455 section 4.1)")]
    RepeatedSubprotocol,
}

fn fault_text(fault: FieldFault) -> &'static str {
    match fault {
        FieldFault::Control => "a control character in",
        FieldFault::SpaceBeforeColon => "white space before the colon of",
    }
}

fn quote(value: &Option<HeaderValue>) -> String {
    value.as_ref().map(|value| format!(": {value:?}")).unwrap_or_default()
}

impl AnswerError {
    /// The same error without values that the server wrote: they may repeat a secret that was offered as a subprotocol.
    pub fn redacted(self) -> Self {
        match self {
            AnswerError::Extension(_) => AnswerError::Extension(None),
            AnswerError::Subprotocol(_) => AnswerError::Subprotocol(None),
            other => other,
        }
    }
}

impl<'a> ClientHandshake<'a> {
    /// A request that offers nothing, with a key made of 16 random bytes. They are new for each request (RFC 6455 section
    /// 4.1).
    pub fn new(target: &'a str, authority: &'a str, random: [u8; 16]) -> Self {
        ClientHandshake { target, authority, key: key::key(random), subprotocols: &[], extensions: None, headers: &[] }
    }

    /// The bytes of the request.
    ///
    /// # Errors
    /// [`InvalidRequest`] for a part that would make it another request, or none.
    pub fn encode(&self) -> Result<Vec<u8>, InvalidRequest> {
        self.check_request()?;
        let mut head = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: {}\r\n",
            self.target, self.authority, self.key,
        )
        .into_bytes();
        let mut field = |name: &str, value: &[u8]| {
            for part in [name.as_bytes(), b": ", value, b"\r\n"] {
                head.extend_from_slice(part);
            }
        };
        if !self.subprotocols.is_empty() {
            field("Sec-WebSocket-Protocol", self.subprotocols.join(", ").as_bytes());
        }
        if let Some(offer) = &self.extensions {
            field("Sec-WebSocket-Extensions", offer.as_bytes());
        }
        for (name, value) in self.headers {
            field(name, value.as_bytes());
        }
        head.extend_from_slice(b"\r\n");
        Ok(head)
    }

    fn check_request(&self) -> Result<(), InvalidRequest> {
        let is_visible = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_visible(self.target) {
            return Err(InvalidRequest::Target);
        }
        if !is_visible(self.authority) {
            return Err(InvalidRequest::Authority);
        }
        if !key::is_key(self.key.as_bytes()) {
            return Err(InvalidRequest::Key);
        }
        let mut seen = HashSet::new();
        for name in self.subprotocols {
            if !is_token(name) {
                return Err(InvalidRequest::Subprotocol(name.clone()));
            }
            if !seen.insert(name) {
                return Err(InvalidRequest::RepeatedSubprotocol(name.clone()));
            }
        }
        for (name, _) in self.headers {
            match HeaderName::from_bytes(name.as_bytes()) {
                Ok(field) if !is_handshake_field(&field) => {}
                _ => return Err(InvalidRequest::Header(name.clone())),
            }
        }
        Ok(())
    }

    /// Checks the answer to this request.
    ///
    /// # Errors
    /// [`AnswerError`] where RFC 6455 section 4.1 tells a client to fail the connection.
    pub fn check(&self, answer: &ResponseHead) -> Result<Agreement, AnswerError> {
        let fields = &answer.fields;
        if answer.status != StatusCode::SWITCHING_PROTOCOLS {
            return Err(AnswerError::Status(answer.status));
        }
        if let Some((field, fault)) = answer.malformed.iter().find(|(name, _)| is_essential(name)) {
            return Err(AnswerError::Malformed { field: field.clone(), fault: *fault });
        }
        let mut protocols = elements(fields, header::UPGRADE);
        match (protocols.next(), protocols.next()) {
            (Some(protocol), None) if protocol.eq_ignore_ascii_case(b"websocket") => {}
            _ => return Err(AnswerError::Upgrade),
        }
        if !lists(fields, header::CONNECTION, "upgrade") {
            return Err(AnswerError::Connection);
        }
        match single(fields, header::SEC_WEBSOCKET_ACCEPT) {
            Ok(Some(accept)) if *accept == key::accept_value(self.key.as_bytes()) => {}
            Ok(_) => return Err(AnswerError::Accept),
            Err(Repeated) => return Err(AnswerError::RepeatedAccept),
        }
        let extensions = self.chosen_extensions(fields)?;
        Ok(Agreement { subprotocol: self.chosen_subprotocol(fields)?, extensions })
    }

    fn chosen_extensions(&self, fields: &HeaderMap) -> Result<Vec<String>, AnswerError> {
        if self.extensions.is_none() && elements(fields, header::SEC_WEBSOCKET_EXTENSIONS).next().is_some() {
            return Err(AnswerError::Extension(fields.get(header::SEC_WEBSOCKET_EXTENSIONS).cloned()));
        }
        extensions(fields).ok_or(AnswerError::InvalidExtensions)
    }

    fn chosen_subprotocol(&self, fields: &HeaderMap) -> Result<Option<String>, AnswerError> {
        match single(fields, header::SEC_WEBSOCKET_PROTOCOL) {
            Ok(None) => Ok(None),
            Ok(Some(name)) => match self.subprotocols.iter().find(|own| own.as_bytes() == name.as_bytes()) {
                Some(name) => Ok(Some(name.clone())),
                None => Err(AnswerError::Subprotocol(Some(name.clone()))),
            },
            Err(Repeated) => Err(AnswerError::RepeatedSubprotocol),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handshake::ResponseReader;
    use bytes::BytesMut;

    fn request<'a>(subprotocols: &'a [String], headers: &'a [(String, HeaderValue)]) -> ClientHandshake<'a> {
        let mut request = ClientHandshake::new("/a?b", "example.com:8080", *b"the sample nonce");
        (request.subprotocols, request.headers) = (subprotocols, headers);
        request
    }

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn fields(list: &[(&str, &'static str)]) -> Vec<(String, HeaderValue)> {
        list.iter().map(|(name, value)| ((*name).to_owned(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn headers_are_sent_as_given_in_order_with_duplicates() {
        let (offered, headers) = (owned(&["chat", "log"]), fields(&[("X-A", "1"), ("x-b", "2"), ("X-A", "3")]));
        let mut request = request(&offered, &headers);
        let head = |request: &ClientHandshake<'_>| String::from_utf8(request.encode().unwrap()).unwrap();
        let begin = "GET /a?b HTTP/1.1\r\nHost: example.com:8080\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let end = "X-A: 1\r\nx-b: 2\r\nX-A: 3\r\n\r\n";
        assert_eq!(head(&request), format!("{begin}Sec-WebSocket-Protocol: chat, log\r\n{end}"));
        request.subprotocols = &[];
        request.extensions = Some(HeaderValue::from_static("permessage-deflate; client_max_window_bits"));
        let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
        assert_eq!(head(&request), format!("{begin}{offer}{end}"));
    }

    #[test]
    fn a_request_that_would_be_another_one_is_not_encoded() {
        for target in ["", "/a b", "/\r\nX: y", "/\u{e9}", "/\x7f"] {
            let request = ClientHandshake::new(target, "a", [0; 16]);
            assert_eq!(request.encode(), Err(InvalidRequest::Target), "{target:?}");
        }
        for authority in ["", "a b", "a\r\nX: y", "\u{e9}"] {
            let request = ClientHandshake::new("/", authority, [0; 16]);
            assert_eq!(request.encode(), Err(InvalidRequest::Authority), "{authority:?}");
        }
        let mut own_key = ClientHandshake::new("/", "a", [0; 16]);
        own_key.key = "a\r\nX: y".to_owned();
        assert_eq!(own_key.encode(), Err(InvalidRequest::Key));
        for name in ["", "a b", "a,b", "a\r\n"] {
            let error = InvalidRequest::Subprotocol(name.to_owned());
            assert_eq!(request(&owned(&["ok", name]), &[]).encode(), Err(error));
        }
        let twice = InvalidRequest::RepeatedSubprotocol("a".to_owned());
        assert_eq!(request(&owned(&["a", "b", "a"]), &[]).encode(), Err(twice));
        for name in ["", "a b", "a:", "a\r\nb", "Host", "upgrade", "Connection", "Sec-WebSocket-Key", "Content-Length"]
        {
            let error = InvalidRequest::Header(name.to_owned());
            assert_eq!(request(&[], &fields(&[("x", "y"), (name, "v")])).encode(), Err(error), "{name:?}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let (offered, headers) = (owned(&["t0k3n"]), fields(&[("Authorization", "t0k3n")]));
        let mut request = request(&offered, &headers);
        request.target = "/?t0k3n";
        let shown = format!("{request:?}");
        assert!(shown.contains("example.com:8080") && !shown.contains("t0k3n"), "{shown}");
    }

    /// The outcome of an answer with these lines to this request. `ACCEPT` stands for the right value.
    fn answer_to(request: &ClientHandshake<'_>, lines: &str) -> Result<Agreement, AnswerError> {
        let lines = lines.replace("ACCEPT", &key::accept_value(request.key.as_bytes())).replace('\n', "\r\n");
        let head = format!("HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n\r\n");
        request.check(&ResponseReader::new().read(&mut BytesMut::from(head.as_bytes())).unwrap().unwrap())
    }

    /// The same, to a request that offers two subprotocols.
    fn answer(lines: &str) -> Result<Option<String>, AnswerError> {
        let offered = owned(&["chat", "log"]);
        let agreement = answer_to(&request(&offered, &[]), lines)?;
        assert!(agreement.extensions.is_empty());
        Ok(agreement.subprotocol)
    }

    const GOOD: &str = "Upgrade: WebSocket\nConnection: keep-alive, upgrade\nSec-WebSocket-Accept: ACCEPT";

    #[test]
    fn an_answer_within_the_rfc_is_accepted() {
        assert_eq!(answer(GOOD), Ok(None));
        assert_eq!(answer(&format!("{GOOD}\nSec-WebSocket-Protocol: log")), Ok(Some("log".to_owned())));
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
            assert_eq!(answer(&lines), Ok(None), "{lines:?}");
        }
    }

    #[test]
    fn an_answer_outside_the_rfc_is_an_error() {
        use AnswerError::{Accept, Connection, RepeatedAccept, RepeatedSubprotocol, Upgrade};
        let malformed = |field, fault| AnswerError::Malformed { field, fault };
        let control = |field| malformed(field, FieldFault::Control);
        let spaced = |field| malformed(field, FieldFault::SpaceBeforeColon);
        let quoted = |value: &'static str| Some(HeaderValue::from_static(value));
        let subprotocol = |value| AnswerError::Subprotocol(quoted(value));
        for (lines, expected) in [
            (GOOD.replace("ACCEPT", "bm8="), Accept),
            (GOOD.replace("WebSocket\n", "h2c\n"), Upgrade),
            (GOOD.replace("upgrade", "close"), Connection),
            (
                format!("{GOOD}\nSec-WebSocket-Extensions: permessage-deflate"),
                AnswerError::Extension(quoted("permessage-deflate")),
            ),
            (format!("{GOOD}\nSec-WebSocket-Protocol: Chat"), subprotocol("Chat")),
            (format!("{GOOD}\nSec-WebSocket-Protocol: chat, log"), subprotocol("chat, log")),
            (format!("{GOOD}\nSec-WebSocket-Protocol: chat\nSec-WebSocket-Protocol: log"), RepeatedSubprotocol),
            (format!("{GOOD}\nSec-WebSocket-Protocol: chat\nSec-WebSocket-Protocol: chat"), RepeatedSubprotocol),
            (format!("{GOOD}\nSec-WebSocket-Protocol: chat\n log"), subprotocol("chat log")),
            (format!("{GOOD}\nSec-WebSocket-Protocol:"), subprotocol("")),
            // A field that the handshake depends on, twice.
            (format!("{GOOD}\nSec-WebSocket-Accept: ACCEPT"), RepeatedAccept),
            (format!("{GOOD}\nSec-WebSocket-Accept: bm8="), RepeatedAccept),
            (format!("Sec-WebSocket-Accept: bm8=\n{GOOD}"), RepeatedAccept),
            (format!("{GOOD}\nsec-websocket-accept:"), RepeatedAccept),
            // White space before the colon of one.
            (GOOD.replace("Accept: ", "Accept : "), spaced(header::SEC_WEBSOCKET_ACCEPT)),
            (GOOD.replace("Connection: ", "Connection\t: "), spaced(header::CONNECTION)),
            (GOOD.replace("Upgrade: ", "Upgrade : "), spaced(header::UPGRADE)),
            (format!("{GOOD}\nSec-WebSocket-Protocol : chat"), spaced(header::SEC_WEBSOCKET_PROTOCOL)),
            (format!("{GOOD}\nSec-WebSocket-Extensions :"), spaced(header::SEC_WEBSOCKET_EXTENSIONS)),
            (format!("{GOOD}\nSec-WebSocket-Accept: \x01"), control(header::SEC_WEBSOCKET_ACCEPT)),
            (format!("{GOOD}\nUpgrade: websocket"), Upgrade),
            (format!("{GOOD}\nUpgrade: h2c"), Upgrade),
            (GOOD.replace("WebSocket\n", "h2c, websocket\n"), Upgrade),
            (GOOD.replace("WebSocket\n", "websocket/13\n"), Upgrade),
            // An invalid value in one.
            (GOOD.replace("WebSocket\n", "websocket\x01\n"), control(header::UPGRADE)),
            (GOOD.replace("WebSocket\n", "websocket\u{e9}\n"), Upgrade),
            (GOOD.replace("upgrade", "upgrade\x7f"), control(header::CONNECTION)),
            (GOOD.replace("ACCEPT", "ACCEPT\x00"), control(header::SEC_WEBSOCKET_ACCEPT)),
            (GOOD.replace("ACCEPT", "\rACCEPT"), control(header::SEC_WEBSOCKET_ACCEPT)),
            (format!("{GOOD}\nSec-WebSocket-Protocol: chat\x0b"), control(header::SEC_WEBSOCKET_PROTOCOL)),
            (format!("{GOOD}\nSec-WebSocket-Extensions: \x08"), control(header::SEC_WEBSOCKET_EXTENSIONS)),
            (
                format!("{GOOD}\nSec-WebSocket-Extensions: \u{e9}"),
                AnswerError::Extension(HeaderValue::from_bytes("\u{e9}".as_bytes()).ok()),
            ),
            // Names and values that are broken in two.
            (GOOD.replace("ACCEPT", "\n\tACCEPT,"), Accept),
            (GOOD.replace("Sec-WebSocket-Accept", "Sec-WebSocket\n -Accept"), Accept),
            (GOOD.replace("Upgrade: ", "Upgrade\n : "), Upgrade),
        ] {
            assert_eq!(answer(&lines), Err(expected), "{lines}");
        }
    }

    #[test]
    fn extensions_are_returned_to_a_client_that_offers_some() {
        let mut request = request(&[], &[]);
        request.extensions = Some(HeaderValue::from_static("a, b; c"));
        let chosen = |value: &str| answer_to(&request, &format!("{GOOD}\nSec-WebSocket-Extensions: {value}"));
        assert_eq!(chosen("b; c=1, a").unwrap().extensions, ["b; c=1", "a"]);
        assert_eq!(answer_to(&request, GOOD).unwrap().extensions, [""; 0]);
        assert_eq!(chosen("b;"), Err(AnswerError::InvalidExtensions));
        assert_eq!(chosen("\u{e9}"), Err(AnswerError::InvalidExtensions));
    }

    #[test]
    fn only_101_is_an_answer() {
        let mut input = BytesMut::from(&b"HTTP/1.1 200 OK\r\n\r\n"[..]);
        let head = ResponseReader::new().read(&mut input).unwrap().unwrap();
        let error = request(&[], &[]).check(&head).unwrap_err();
        assert_eq!(error, AnswerError::Status(StatusCode::OK));
        assert_eq!(error.to_string(), "the server's handshake has the status 200 and not 101 (RFC 6455 section 4.1)");
    }

    #[test]
    fn the_texts_of_errors_quote_the_server_unless_they_are_redacted() {
        let value = || Some(HeaderValue::from_static("t\"0"));
        for (error, what, redacted) in [
            (
                AnswerError::Malformed { field: header::UPGRADE, fault: FieldFault::Control },
                "has a control character in `upgrade`",
                "has a control character in `upgrade`",
            ),
            (
                AnswerError::Malformed { field: header::CONNECTION, fault: FieldFault::SpaceBeforeColon },
                "has white space before the colon of `connection`",
                "has white space before the colon of `connection`",
            ),
            (
                AnswerError::Extension(value()),
                "uses an extension that was not offered: \"t\\\"0\"",
                "uses an extension that was not offered",
            ),
            (
                AnswerError::Subprotocol(value()),
                "chooses a subprotocol that was not offered: \"t\\\"0\"",
                "chooses a subprotocol that was not offered",
            ),
            (AnswerError::Connection, "has no `Connection: Upgrade`", "has no `Connection: Upgrade`"),
        ] {
            assert_eq!(error.to_string(), format!("the server's handshake {what} (RFC 6455 section 4.1)"));
            let text = error.redacted().to_string();
            assert_eq!(text, format!("the server's handshake {redacted} (RFC 6455 section 4.1)"));
        }
    }
}
