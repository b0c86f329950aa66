//! What a client is answered for what a guest answers.

use super::plain;
use crate::codec;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Map, Value};

/// The fields of a connection, which the host writes itself (RFC 9110 section 7.6.1), and of a message's length.
const OWN: [HeaderName; 7] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
/// How many header fields a guest may give; a map of fields has room for more, and panics where that ends.
const MAX_FIELDS: usize = 1000;

/// The response of any kind but an upgrade. An error says what HTTP cannot carry.
pub(crate) fn write_response(response: codec::Response) -> Result<Response<Full<Bytes>>, String> {
    match response {
        codec::Response::Text { body, status, headers } => {
            let mut response = plain(status_of(status)?, body);
            // A type that the guest gives replaces the host's.
            response.headers_mut().extend(fields(&headers)?);
            Ok(response)
        }
        codec::Response::Json(json) => Ok(typed(HeaderValue::from_static("application/json"), json)),
        codec::Response::Blob { bytes, content_type } => {
            let stated = content_type.as_deref().unwrap_or("application/octet-stream");
            Ok(typed(value("the blob's type", stated)?, bytes))
        }
        codec::Response::View { name, .. } => {
            let reason = "this host renders no views; have the guest answer with text, JSON or a blob";
            Ok(plain(StatusCode::NOT_IMPLEMENTED, format!("the guest answered with the view {name:?}, and {reason}\n")))
        }
        codec::Response::Error { body, status, page } => {
            if let Some(page) = page {
                tracing::debug!(page, status, "the page of an error is not rendered: this host renders no pages");
            }
            let status = status_of(status)?;
            Ok(plain(status, body.unwrap_or_else(|| status.canonical_reason().unwrap_or(status.as_str()).to_owned())))
        }
        codec::Response::Redirect { location, status } => {
            let status = status_of(status.unwrap_or(302))?;
            if !status.is_redirection() {
                return Err(format!("the status {} of a redirect is not of 300 to 399", status.as_u16()));
            }
            redirect(status, &location)
        }
        codec::Response::Uri(uri) => redirect(StatusCode::FOUND, &uri),
        codec::Response::Upgrade(id) => Err(format!("the upgrade to the WebSocket {id} is a connection, no response")),
    }
}

fn typed(stated: HeaderValue, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    response.headers_mut().insert(header::CONTENT_TYPE, stated);
    response
}

fn redirect(status: StatusCode, location: &str) -> Result<Response<Full<Bytes>>, String> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response.headers_mut().insert(header::LOCATION, value("the location", location)?);
    Ok(response)
}

fn status_of(status: u32) -> Result<StatusCode, String> {
    let final_status = u16::try_from(status).ok().filter(|status| (200..600).contains(status));
    final_status
        .and_then(|status| StatusCode::from_u16(status).ok())
        .ok_or_else(|| format!("the status {status} is not of 200 to 599"))
}

fn value(what: &str, text: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_bytes(text.as_bytes()).map_err(|_| format!("{what} is {text:?}, which no header field can carry"))
}

/// The fields of a JSON object: text, numbers, booleans, and lists of these, which are fields of one name.
fn fields(json: &str) -> Result<HeaderMap, String> {
    let members: Map<String, Value> =
        serde_json::from_str(json).map_err(|error| format!("the headers are not a JSON object: {error}"))?;
    let mut fields = HeaderMap::new();
    for (name, member) in members {
        let field = HeaderName::try_from(&name).map_err(|_| format!("no header field can have the name {name:?}"))?;
        if OWN.contains(&field) {
            return Err(format!("the header field {name:?} is the host's to write; leave it out"));
        }
        let values = match member {
            Value::Array(values) => values,
            value => vec![value],
        };
        for member in values {
            let text = match member {
                Value::String(text) => text,
                Value::Number(_) | Value::Bool(_) => member.to_string(),
                other => return Err(format!("the header field {name:?} is {other}, not text, a number or a boolean")),
            };
            let value = value(&format!("the header field {name:?}"), &text)?;
            if fields.len() == MAX_FIELDS {
                return Err(format!("the guest gives over {MAX_FIELDS} header fields, which is the limit"));
            }
            fields.append(&field, value);
        }
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Response as Answer;
    use futures_util::FutureExt;
    use http_body_util::BodyExt;
    use proptest::{collection::vec, option::of, prelude::*};
    use serde_json::json;

    /// Status, type and body.
    fn written(answer: Answer) -> (u16, String, String) {
        let (parts, body) = write_response(answer).unwrap().into_parts();
        let body = body.collect().now_or_never().unwrap().unwrap().to_bytes();
        let stated = parts.headers.get(header::CONTENT_TYPE).map_or("", |stated| stated.to_str().unwrap()).to_owned();
        (parts.status.as_u16(), stated, String::from_utf8(body.to_vec()).unwrap())
    }

    fn text(status: u32, headers: Value) -> Answer {
        Answer::Text { body: "hé".to_owned(), status, headers: headers.to_string() }
    }

    fn expected(status: u16, stated: &str, body: &str) -> (u16, String, String) {
        (status, stated.to_owned(), body.to_owned())
    }

    const PLAIN: &str = "text/plain; charset=utf-8";

    #[test]
    fn every_kind_has_its_status_type_and_body() {
        assert_eq!(written(text(201, json!({}))), expected(201, PLAIN, "hé"));
        assert_eq!(written(text(200, json!({"Content-Type": "text/html"}))), expected(200, "text/html", "hé"));
        assert_eq!(written(Answer::Json("[1]".to_owned())), expected(200, "application/json", "[1]"));
        let blob = |stated: Option<&str>| {
            written(Answer::Blob { bytes: Bytes::from_static(b"b"), content_type: stated.map(str::to_owned) })
        };
        assert_eq!(blob(None), expected(200, "application/octet-stream", "b"));
        assert_eq!(blob(Some("image/png")), expected(200, "image/png", "b"));
        let error = |body: Option<&str>, status| {
            written(Answer::Error { body: body.map(str::to_owned), status, page: Some("error.html".to_owned()) })
        };
        assert_eq!(error(Some("no"), 404), expected(404, PLAIN, "no"));
        assert_eq!(error(None, 404), expected(404, PLAIN, "Not Found"));
        assert_eq!(error(None, 599), expected(599, PLAIN, "599"));
        let view = Answer::View { name: "Home.svelte".to_owned(), props: "{}".to_owned(), options: "{}".to_owned() };
        let (status, stated, body) = written(view);
        assert_eq!((status, stated.as_str()), (501, PLAIN));
        assert!(body.contains(r#"the view "Home.svelte""#) && body.contains("have the guest answer with"), "{body}");
    }

    #[test]
    fn redirects_say_where_to() {
        let to = |answer| {
            let response = write_response(answer).unwrap();
            (response.status().as_u16(), response.headers()[header::LOCATION].to_str().unwrap().to_owned())
        };
        let redirect = |status| Answer::Redirect { location: "/a?b=c".to_owned(), status };
        assert_eq!(to(redirect(None)), (302, "/a?b=c".to_owned()));
        assert_eq!(to(redirect(Some(308))), (308, "/a?b=c".to_owned()));
        assert_eq!(to(Answer::Uri("https://x.test/".to_owned())), (302, "https://x.test/".to_owned()));
        let error = write_response(redirect(Some(200))).unwrap_err();
        assert_eq!(error, "the status 200 of a redirect is not of 300 to 399");
    }

    #[test]
    fn header_fields_are_text_numbers_booleans_and_lists() {
        let headers =
            json!({"X-Text": "é", "x-number": 1.5, "x-bool": true, "Set-Cookie": ["a=1", "b=2"], "x-none": []});
        let response = write_response(text(200, headers)).unwrap();
        let all = |name: &str| -> Vec<_> {
            response.headers().get_all(name).iter().map(|value| str::from_utf8(value.as_bytes()).unwrap()).collect()
        };
        assert_eq!(all("x-text"), ["é"]);
        assert_eq!(all("x-number"), ["1.5"]);
        assert_eq!(all("x-bool"), ["true"]);
        assert_eq!(all("set-cookie"), ["a=1", "b=2"]);
        assert_eq!(all("x-none"), [""; 0]);
        assert_eq!(all("content-type"), [PLAIN]);
    }

    #[test]
    fn what_http_cannot_carry_is_named() {
        let said = |answer| write_response(answer).unwrap_err();
        for status in [0, 101, 199, 600, u32::from(u16::MAX) + 200] {
            assert_eq!(said(text(status, json!({}))), format!("the status {status} is not of 200 to 599"));
        }
        for own in ["Content-Length", "transfer-encoding", "Connection", "upgrade", "Keep-Alive", "trailer"] {
            let expected = format!("the header field {own:?} is the host's to write; leave it out");
            assert_eq!(said(text(200, json!({own: 1}))), expected);
        }
        assert!(said(text(200, json!([]))).starts_with("the headers are not a JSON object"));
        assert_eq!(said(text(200, json!({"a b": 1}))), r#"no header field can have the name "a b""#);
        assert!(said(text(200, json!({"a": "\r\n"}))).contains(r#"the header field "a" is "\r\n""#));
        for member in [json!(null), json!({}), json!([[1]])] {
            assert!(said(text(200, json!({"a": member}))).contains("not text, a number or a boolean"));
        }
        assert!(said(Answer::Uri("a\nb".to_owned())).contains("the location"));
        let blob = Answer::Blob { bytes: Bytes::new(), content_type: Some("\0".to_owned()) };
        assert!(said(blob).contains("the blob's type"));
        assert!(said(Answer::Upgrade(7)).contains("the WebSocket 7"));
    }

    #[test]
    fn header_fields_are_limited_in_number() {
        let names = |count: usize| (0..count).map(|n| (format!("x-{n}"), json!("1"))).collect::<Map<_, _>>();
        assert_eq!(write_response(text(200, names(MAX_FIELDS).into())).unwrap().headers().len(), MAX_FIELDS + 1);
        for headers in [names(MAX_FIELDS + 1).into(), names(1 << 16).into(), json!({"a": vec![1; MAX_FIELDS + 1]})] {
            let error = write_response(text(200, headers)).map(|_| ()).unwrap_err();
            assert_eq!(error, "the guest gives over 1000 header fields, which is the limit");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(
            texts in vec(".*", 3),
            status: u32,
            near in 190u32..610,
            name in "[a-z-]{0,4}|.{0,4}",
            stated in of(".*"),
        ) {
            let [a, b, c] = <[String; 3]>::try_from(texts).unwrap();
            let headers = json!({name: a.clone()}).to_string();
            for answer in [
                Answer::Text { body: a.clone(), status: near, headers },
                Answer::Text { body: a.clone(), status, headers: b.clone() },
                Answer::Json(a.clone()),
                Answer::Blob { bytes: Bytes::from(a.clone()), content_type: stated.clone() },
                Answer::View { name: a.clone(), props: b.clone(), options: c.clone() },
                Answer::Error { body: stated.clone(), status: near, page: stated },
                Answer::Redirect { location: a.clone(), status: Some(near) },
                Answer::Uri(c),
            ] {
                if let Ok(response) = write_response(answer) {
                    prop_assert!((200..600).contains(&response.status().as_u16()));
                    prop_assert!(OWN.iter().all(|own| !response.headers().contains_key(own)));
                }
            }
        }
    }
}
