//! Tokens, lists and single values in header fields (RFC 9110 section 5.6), and the fields that belong to the handshake.

use super::extensions::parse;
use http::{HeaderMap, HeaderName, HeaderValue};

/// The header fields that the opening handshake itself writes, besides `Sec-WebSocket-*`; or that announce a body.
const HANDSHAKE_FIELDS: [&str; 5] = ["host", "connection", "upgrade", "content-length", "transfer-encoding"];

/// Whether a header field of this name belongs to the opening handshake, so that the caller of a client cannot add it.
pub fn is_handshake_field(name: &HeaderName) -> bool {
    HANDSHAKE_FIELDS.contains(&name.as_str()) || name.as_str().starts_with("sec-websocket-")
}

/// Whether text is a token (RFC 9110 section 5.6.2). A subprotocol is one.
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// Whether a token may contain this byte.
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The elements of a list field, from all fields of that name; empty elements are ignored (RFC 9110 section 5.6.1).
pub fn elements(fields: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    let values = fields.get_all(name).into_iter();
    values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(trim).filter(|part| !part.is_empty())
}

/// Whether a list field has an element, without regard to case.
pub(super) fn lists(fields: &HeaderMap, name: HeaderName, element: &str) -> bool {
    elements(fields, name).any(|part| part.eq_ignore_ascii_case(element.as_bytes()))
}

/// The value of a field that must not be repeated: an error where it is.
pub(super) fn single(fields: &HeaderMap, name: HeaderName) -> Result<Option<&HeaderValue>, Repeated> {
    let mut values = fields.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        (_, Some(_)) => Err(Repeated),
    }
}

/// A field that must not be repeated is there more than once.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Repeated;

/// The elements of `Sec-WebSocket-Extensions` as text; `None` if one is not an extension with its parameters (RFC 6455
/// section 9.1). A value in quotes is a token as well, so no element contains a comma.
pub(super) fn extensions(fields: &HeaderMap) -> Option<Vec<String>> {
    elements(fields, http::header::SEC_WEBSOCKET_EXTENSIONS)
        .map(|element| parse(element).and_then(|_| str::from_utf8(element).ok()).map(str::to_owned))
        .collect()
}

pub(super) fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Bytes without the spaces and tabs at both ends.
pub(super) fn trim(bytes: &[u8]) -> &[u8] {
    let Some(first) = bytes.iter().position(|byte| !is_blank(byte)) else { return &[] };
    let last = bytes.iter().rposition(|byte| !is_blank(byte)).unwrap_or(first);
    &bytes[first..=last]
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header;

    #[test]
    fn lists_are_of_all_fields_without_empty_elements() {
        let name = HeaderName::from_static("x");
        let mut fields = HeaderMap::new();
        for value in ["a, ,b,", "", ",", "\tc\t,,"] {
            fields.append(&name, HeaderValue::from_static(value));
        }
        assert_eq!(elements(&fields, name.clone()).collect::<Vec<_>>(), [b"a", b"b", b"c"]);
        assert!(lists(&fields, name.clone(), "B"));
        assert!(!lists(&fields, name.clone(), "") && !lists(&fields, name.clone(), "ab"));
        assert_eq!(single(&fields, name), Err(Repeated));
        assert_eq!(single(&fields, header::HOST), Ok(None));
    }

    #[test]
    fn extensions_are_tokens_with_parameters() {
        let list = |value: &str| {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            extensions(&HeaderMap::from_iter([(header::SEC_WEBSOCKET_EXTENSIONS, value)]))
        };
        for (value, expected) in [
            ("permessage-deflate", &["permessage-deflate"][..]),
            ("a; b; c=1, d;e=\"f\"", &["a; b; c=1", "d;e=\"f\""]),
            (" , a ;b = c", &["a ;b = c"]),
            ("a;b=\"f\\g\"", &["a;b=\"f\\g\""]),
            ("", &[]),
        ] {
            assert_eq!(list(value).unwrap(), expected, "{value}");
        }
        for bad in
            [";;\"", "a b c", "a;", "a; =1", "a; b=", "a; b=\"", "a; b=\"c d\"", "a; b=c=d", "a, b;", "a;\u{2003}b"]
        {
            assert_eq!(list(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_fields_of_the_handshake_are_known_in_any_case() {
        for (name, belongs) in [
            ("Host", true),
            ("UPGRADE", true),
            ("connection", true),
            ("Content-Length", true),
            ("Transfer-Encoding", true),
            ("Sec-WebSocket-Anything", true),
            ("Origin", false),
            ("Sec-Websocket", false),
        ] {
            assert_eq!(is_handshake_field(&HeaderName::from_bytes(name.as_bytes()).unwrap()), belongs, "{name}");
        }
    }
}
