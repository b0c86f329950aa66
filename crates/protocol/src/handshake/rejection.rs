//! Why a server does not upgrade a request, and what it answers.

use super::MAX_HEAD;
use http::{HeaderValue, Response, StatusCode, header};

/// Why a request does not become a WebSocket: the rule that it breaks. The text is for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// The head is larger than [`MAX_HEAD`], or has more fields than can be kept.
    #[error("the head of the request is larger than {MAX_HEAD} bytes")]
    HeadTooLarge,
    /// A line does not end with CRLF (RFC 9112 section 2.2).
    #[error("a line of the request does not end with CR and LF")]
    LineEnd,
    /// The head contains a control character other than a tab (RFC 9110 section 5.5).
    #[error("the head of the request contains a control character")]
    ControlCharacter,
    /// The request line is invalid (RFC 9112 section 3).
    #[error("the request does not begin with a method, a target and a version of HTTP")]
    RequestLine,
    /// The version of HTTP is neither 1.0 nor 1.1.
    #[error("the version of HTTP here is 1.1")]
    HttpVersion,
    /// A field line is invalid: white space before the colon, or a folded line (RFC 9112 section 5).
    #[error("a line of the request's head is not a header field")]
    FieldLine,
    /// There is a transfer coding other than `chunked`.
    #[error("the only transfer coding here is `chunked`, once")]
    TransferCoding,
    /// `Host` is repeated (RFC 9112 section 3.2).
    #[error("the request has more than one Host")]
    RepeatedHost,
    /// `Host` is missing.
    #[error("the request has no Host")]
    NoHost,
    /// `Host` is invalid.
    #[error("the request's Host is not a host name or an IP address with an optional port")]
    Host,
    /// The target is `*`, and the method is not OPTIONS.
    #[error("the target `*` is only for OPTIONS")]
    AsteriskTarget,
    /// The target of CONNECT is a path.
    #[error("the target of CONNECT is a host and a port")]
    ConnectTarget,
    /// The target has neither a scheme nor a leading slash.
    #[error("the request's target is not a path")]
    TargetPath,
    /// The target is for TLS, and the request came without.
    #[error("the request's target is for TLS, and the request came without")]
    TargetOverTls,
    /// The scheme of the target is not that of HTTP or of a WebSocket.
    #[error("the scheme of the request's target is not that of HTTP")]
    TargetScheme,
    /// The target has another form.
    #[error("the request's target is neither a path nor an absolute URL")]
    TargetForm,
    /// The method is not GET.
    #[error("a WebSocket begins with GET")]
    Method,
    /// The version is not HTTP/1.1.
    #[error("a WebSocket begins with HTTP/1.1")]
    NotHttp11,
    /// `Upgrade` does not list `websocket`, or `Connection` does not list `Upgrade`.
    #[error("this is a WebSocket; ask for an upgrade")]
    NoUpgrade,
    /// There is a body. Frames follow at once; it would be taken for them.
    #[error("a request for an upgrade has no body")]
    Body,
    /// There is an `Expect`.
    #[error("a request for an upgrade has no body to expect anything for")]
    Expect,
    /// `Sec-WebSocket-Version` is not 13, or is missing (RFC 6455 section 4.4).
    #[error("the WebSocket version is 13")]
    WebSocketVersion,
    /// `Sec-WebSocket-Version` is repeated.
    #[error("the request has more than one Sec-WebSocket-Version")]
    RepeatedVersion,
    /// `Sec-WebSocket-Key` is missing, invalid or repeated.
    #[error("Sec-WebSocket-Key is not one key of 16 bytes in base64")]
    Key,
    /// `Sec-WebSocket-Protocol` is invalid.
    #[error("Sec-WebSocket-Protocol is not a list of distinct tokens")]
    Subprotocols,
    /// `Sec-WebSocket-Extensions` is invalid.
    #[error("Sec-WebSocket-Extensions is not a list of extensions")]
    Extensions,
}

impl Rejection {
    /// The status that the request is answered with: 400, 405, 417, 421, 426, 431, 501 or 505.
    pub fn status(self) -> StatusCode {
        match self {
            Rejection::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Rejection::HttpVersion => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Rejection::TransferCoding => StatusCode::NOT_IMPLEMENTED,
            Rejection::TargetOverTls => StatusCode::MISDIRECTED_REQUEST,
            Rejection::Method => StatusCode::METHOD_NOT_ALLOWED,
            Rejection::NoUpgrade | Rejection::WebSocketVersion => StatusCode::UPGRADE_REQUIRED,
            Rejection::Expect => StatusCode::EXPECTATION_FAILED,
            Rejection::LineEnd
            | Rejection::ControlCharacter
            | Rejection::RequestLine
            | Rejection::FieldLine
            | Rejection::RepeatedHost
            | Rejection::NoHost
            | Rejection::Host
            | Rejection::AsteriskTarget
            | Rejection::ConnectTarget
            | Rejection::TargetPath
            | Rejection::TargetScheme
            | Rejection::TargetForm
            | Rejection::NotHttp11
            | Rejection::Body
            | Rejection::RepeatedVersion
            | Rejection::Key
            | Rejection::Subprotocols
            | Rejection::Extensions => StatusCode::BAD_REQUEST,
        }
    }

    /// Whether the connection ends with the response: the two ends may not agree where the next request begins. After other
    /// rejections, a server may read the next request.
    pub fn closes(self) -> bool {
        !matches!(
            self,
            Rejection::Method
                | Rejection::NotHttp11
                | Rejection::NoUpgrade
                | Rejection::Expect
                | Rejection::WebSocketVersion
                | Rejection::RepeatedVersion
                | Rejection::Key
                | Rejection::Subprotocols
                | Rejection::Extensions
        )
    }

    /// The response that tells the client (RFC 6455 section 4.2.2).
    pub fn response(self) -> Response<String> {
        refusal(self.status(), &self.to_string(), self.closes())
    }
}

/// The response that refuses a request: `reason` is its body, and `closes` adds `Connection: close`. A 426 names the
/// WebSocket version (RFC 6455 section 4.4), and a 405 the method.
pub fn refusal(status: StatusCode, reason: &str, closes: bool) -> Response<String> {
    let mut response = Response::new(format!("{reason}\n"));
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if closes {
        fields.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if status == StatusCode::UPGRADE_REQUIRED {
        fields.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        fields.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        fields.insert(header::ALLOW, HeaderValue::from_static("GET"));
    }
    response
}

/// The bytes of a response, for a server that writes it itself. After a 101, frames follow. Every other response ends the
/// connection: its length and `Connection: close` are added. A 204 and a 304 have neither a length nor a body (RFC 9110
/// sections 6.4.1 and 8.6).
pub fn encode_response(response: &Response<String>) -> Vec<u8> {
    let (status, body) = (response.status(), response.body());
    let mut fields = response.headers().clone();
    let switches = status == StatusCode::SWITCHING_PROTOCOLS;
    let has_body = !switches && !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if !switches {
        fields.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if has_body {
        fields.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    } else {
        fields.remove(header::CONTENT_LENGTH);
    }
    let reason = status.canonical_reason().unwrap_or_default();
    let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
    for (name, value) in &fields {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            bytes.extend_from_slice(part);
        }
    }
    bytes.extend_from_slice(b"\r\n");
    if has_body {
        bytes.extend_from_slice(body.as_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_written_with_its_length_and_ends_the_connection() {
        let bytes = encode_response(&Rejection::WebSocketVersion.response());
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            "HTTP/1.1 426 Upgrade Required\r\ncontent-type: text/plain; charset=utf-8\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nconnection: close\r\ncontent-length: 28\r\n\r\nthe WebSocket version is 13\n"
        );
        let bytes = String::from_utf8(encode_response(&Rejection::Method.response())).unwrap();
        assert!(bytes.starts_with("HTTP/1.1 405 Method Not Allowed\r\n") && bytes.contains("\r\nallow: GET\r\n"));
        let bytes = String::from_utf8(encode_response(&refusal(StatusCode::FORBIDDEN, "é", true))).unwrap();
        assert!(bytes.contains("\r\nconnection: close\r\ncontent-length: 3\r\n"), "{bytes}");
        assert_eq!(bytes.matches("close").count(), 1);
    }

    #[test]
    fn a_response_that_never_has_a_body_is_written_without_length_and_body() {
        for (status, line) in [(204, "204 No Content"), (304, "304 Not Modified")] {
            let response = Response::builder().status(status).header("content-length", "4").body("body".to_owned());
            let bytes = encode_response(&response.unwrap());
            assert_eq!(String::from_utf8(bytes).unwrap(), format!("HTTP/1.1 {line}\r\nconnection: close\r\n\r\n"));
        }
    }

    #[test]
    fn rejections_of_the_upgrade_alone_keep_the_connection() {
        let response = Rejection::Key.response();
        assert_eq!((response.status(), response.headers().get(header::CONNECTION)), (StatusCode::BAD_REQUEST, None));
        assert_eq!(Rejection::Body.response().headers()[header::CONNECTION], "close");
    }
}
