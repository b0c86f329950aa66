//! What a guest is told of an HTTP request.

use super::{Refused, bad};
use crate::{
    codec::{Body, Field, Fields, File, Request},
    sessions,
};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, StatusCode, header, request::Parts, uri::Authority};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use std::{convert::Infallible, error::Error};
use url::form_urlencoded;

/// Reads a request with its body of up to `max_body` bytes. `authority` is what it is for, and `secure` says that it
/// came over TLS.
///
/// Text that is not UTF-8 inside a query or a form is replaced, as browsers' own parsers do it.
///
/// Cancel safe: no, what was read of the body is lost.
pub(crate) async fn read_request<B>(
    parts: &Parts,
    authority: Option<Authority>,
    body: B,
    secure: bool,
    max_body: usize,
) -> Result<Request, Refused>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let url = url(parts, authority, secure)?;
    let headers = headers(&parts.headers);
    let too_large = || {
        let reason = format!("the request's body has more than {max_body} bytes");
        Refused { status: StatusCode::PAYLOAD_TOO_LARGE, reason }
    };
    // One that says so is not waited for.
    if body.size_hint().lower() > max_body as u64 {
        return Err(too_large());
    }
    let bytes = match Limited::new(body, max_body).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(too_large()),
        Err(error) => return Err(bad(format!("the request's body broke off: {error}"))),
    };
    Ok(Request {
        url,
        body: body_of(stated_type(&parts.headers)?, bytes).await?,
        path: Vec::new(),
        query: pairs(parts.uri.query().unwrap_or_default().as_bytes()),
        headers,
        cookies: cookies(&parts.headers),
    })
}

/// The URL that the client asked for (RFC 9112 section 3.3).
fn url(parts: &Parts, authority: Option<Authority>, secure: bool) -> Result<String, Refused> {
    let authority = authority.ok_or_else(|| bad("the request has no Host"))?;
    let scheme = if secure { "https" } else { "http" };
    let path = match parts.uri.path_and_query().map_or("", |path| path.as_str()) {
        // An OPTIONS request for the whole server.
        "*" => "",
        path => path,
    };
    Ok(format!("{scheme}://{authority}{path}"))
}

/// Names are lower case already. A value that is not UTF-8 is ISO 8859-1, as it once was in all of HTTP (RFC 9110 section
/// 5.5).
fn headers(headers: &HeaderMap) -> Fields {
    let text = |value: &http::HeaderValue| match str::from_utf8(value.as_bytes()) {
        Ok(value) => value.to_owned(),
        Err(_) => value.as_bytes().iter().copied().map(char::from).collect(),
    };
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

fn cookies(headers: &HeaderMap) -> Fields {
    sessions::cookies(headers).map(|cookie| (cookie.name().to_owned(), cookie.value().to_owned())).collect()
}

fn pairs(encoded: &[u8]) -> Fields {
    form_urlencoded::parse(encoded).into_owned().collect()
}

fn stated_type(headers: &HeaderMap) -> Result<Option<&str>, Refused> {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    match (types.next(), types.next()) {
        (Some(_), Some(_)) => Err(bad("the request has more than one Content-Type")),
        (None, _) => Ok(None),
        (Some(stated), None) => str::from_utf8(stated.as_bytes()).map(Some).map_err(|error| bad(error.to_string())),
    }
}

async fn body_of(stated: Option<&str>, bytes: Bytes) -> Result<Body, Refused> {
    if bytes.is_empty() {
        return Ok(Body::None);
    }
    let full = stated.unwrap_or("application/octet-stream");
    let (essence, parameters) = full.split_once(';').unwrap_or((full, ""));
    let essence = essence.trim().to_ascii_lowercase();
    match (essence.as_str(), str::from_utf8(&bytes)) {
        ("application/x-www-form-urlencoded", _) => {
            Ok(Body::Form(pairs(&bytes).into_iter().map(|(name, value)| (name, Field::Text(value))).collect()))
        }
        ("multipart/form-data", _) => form(full, bytes)
            .await
            .map(Body::Form)
            .map_err(|error| bad(format!("the request's body is not a valid form of the type {full:?}: {error}"))),
        (json, Ok(text)) if json == "application/json" || json.ends_with("+json") => Ok(Body::Json(text.to_owned())),
        (json, Err(error)) if json == "application/json" || json.ends_with("+json") => {
            Err(bad(format!("the request's body is not valid JSON, which must be UTF-8: {error}")))
        }
        ("text/plain", Ok(text)) if is_utf8(parameters) => Ok(Body::Text(text.to_owned())),
        (_, Ok(text)) if stated.is_none() => Ok(Body::Text(text.to_owned())),
        _ => Ok(Body::Blob { mime: full.to_owned(), bytes }),
    }
}

/// Whether the parameters of a type name no other charset; ASCII is UTF-8.
fn is_utf8(parameters: &str) -> bool {
    parameters.split(';').filter_map(|parameter| parameter.split_once('=')).all(|(name, value)| {
        let charset = value.trim().trim_matches('"').to_ascii_lowercase();
        !name.trim().eq_ignore_ascii_case("charset") || matches!(charset.as_str(), "utf-8" | "utf8" | "us-ascii")
    })
}

async fn form(full: &str, bytes: Bytes) -> Result<Vec<(String, Field)>, Box<dyn Error + Send + Sync>> {
    let boundary = multer::parse_boundary(full)?;
    let mut parts = multer::Multipart::new(stream::iter([Ok::<_, Infallible>(bytes)]), boundary);
    let mut fields = Vec::new();
    while let Some(part) = parts.next_field().await? {
        let name = part.name().map(unescaped).ok_or("a part has no name")?;
        let field = match part.file_name().map(unescaped) {
            None => Field::Text(part.text().await?),
            Some(file) => {
                // RFC 7578 section 4.4.
                let mime = part.headers().get(header::CONTENT_TYPE).map_or(Ok("text/plain"), |mime| mime.to_str())?;
                let mime = mime.to_owned();
                Field::File(File { name: file, mime, bytes: part.bytes().await? })
            }
        };
        fields.push((name, field));
    }
    Ok(fields)
}

/// A name as it was before the client put it into quotes.
fn unescaped(name: &str) -> String {
    name.replace("%22", "\"").replace("%0D", "\r").replace("%0A", "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use http_body::Frame;
    use http_body_util::{Full, StreamBody};
    use proptest::{collection::vec, prelude::*};

    /// Reads without waiting for anything, since all of the body is there.
    fn read(head: http::request::Builder, body: impl Into<Bytes>) -> Result<Request, Refused> {
        let (parts, body) = head.body(Full::new(body.into())).unwrap().into_parts();
        read_request(&parts, authority(), body, false, 10_000).now_or_never().unwrap()
    }

    fn post(stated: &str) -> http::request::Builder {
        head().header(header::CONTENT_TYPE, stated)
    }

    fn head() -> http::request::Builder {
        http::Request::builder().uri("/").header(header::HOST, "h.test")
    }

    fn authority() -> Option<Authority> {
        Some(Authority::from_static("h.test"))
    }

    fn body(stated: &str, body: impl Into<Bytes>) -> Body {
        read(post(stated), body).unwrap().body
    }

    fn reason(refused: Result<impl std::fmt::Debug, Refused>) -> String {
        let refused = refused.unwrap_err();
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        assert_eq!(refused.response().status(), StatusCode::BAD_REQUEST);
        refused.reason
    }

    fn owned(fields: &[(&str, &str)]) -> Fields {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_request_is_told_in_sections() {
        let head = http::Request::builder()
            .uri("/a%20b?x=1&y=a+b%26c&x=%C3%A9&z")
            .header("Host", "h.test")
            .header("X-Many", "one")
            .header("X-Many", "two")
            .header("Cookie", "a=b; c=d=e")
            .header("Cookie", "f=g");
        let request = read(head, "").unwrap();
        assert_eq!(request.url, "http://h.test/a%20b?x=1&y=a+b%26c&x=%C3%A9&z");
        assert_eq!(request.body, Body::None);
        assert_eq!(request.path, []);
        assert_eq!(request.query, owned(&[("x", "1"), ("y", "a b&c"), ("x", "é"), ("z", "")]));
        let headers = [("host", "h.test"), ("x-many", "one"), ("x-many", "two")];
        assert_eq!(request.headers, owned(&[&headers[..], &[("cookie", "a=b; c=d=e"), ("cookie", "f=g")]].concat()));
        assert_eq!(request.cookies, owned(&[("a", "b"), ("c", "d=e"), ("f", "g")]));
    }

    #[test]
    fn a_header_field_of_another_charset_is_latin() {
        let latin = http::HeaderValue::from_bytes(b"caf\xE9 \xFF").unwrap();
        let request = read(head().header("X-A", latin).header("X-B", "café"), "").unwrap();
        assert_eq!(request.headers[1..], owned(&[("x-a", "café ÿ"), ("x-b", "café")]));
    }

    #[test]
    fn the_url_is_what_the_client_asked_for() {
        let asked = |uri: &str, authority: &'static str, secure| {
            let parts = http::Request::builder().uri(uri).body(()).unwrap().into_parts().0;
            url(&parts, Some(Authority::from_static(authority)), secure).unwrap()
        };
        assert_eq!(asked("/a", "h.test:8080", true), "https://h.test:8080/a");
        assert_eq!(asked("*", "h.test", false), "http://h.test");
        assert_eq!(asked("http://other.test/b?c", "other.test", false), "http://other.test/b?c");
        // HTTP/1.0 may name no host.
        let parts = http::Request::new(()).into_parts().0;
        assert_eq!(reason(url(&parts, None, false)), "the request has no Host");
    }

    #[test]
    fn the_type_decides_what_the_body_is() {
        let text = |text: &str| Body::Text(text.to_owned());
        let blob = |mime: &str, bytes: &'static [u8]| Body::Blob { mime: mime.to_owned(), bytes: bytes.into() };
        for stated in ["text/plain", "Text/Plain; charset=UTF-8", "text/plain;charset=\"utf-8\"; format=flowed"] {
            assert_eq!(body(stated, "é"), text("é"));
        }
        assert_eq!(body("text/plain; charset=latin1", "e"), blob("text/plain; charset=latin1", b"e"));
        assert_eq!(body("text/plain", &b"\xFF"[..]), blob("text/plain", b"\xFF"));
        assert_eq!(body("text/html; charset=utf-8", "e"), blob("text/html; charset=utf-8", b"e"));
        assert_eq!(body("image/png", ""), Body::None);
        assert_eq!(read(head(), "é").unwrap().body, text("é"));
        assert_eq!(read(head(), &b"\xFF"[..]).unwrap().body, blob("application/octet-stream", b"\xFF"));
        for stated in ["application/json", "application/json; charset=utf-8", "application/problem+JSON"] {
            assert_eq!(body(stated, "{}"), Body::Json("{}".to_owned()));
            assert!(reason(read(post(stated), &b"\xFF"[..])).starts_with("the request's body is not valid JSON"));
        }
        let form =
            Body::Form(owned(&[("a", "1"), ("b", " &é")]).into_iter().map(|(n, v)| (n, Field::Text(v))).collect());
        assert_eq!(body("application/x-www-form-urlencoded", "a=1&b=+%26%C3%A9"), form);
    }

    #[test]
    fn files_of_a_form_have_names_and_types() {
        let sent = "--B\r\nContent-Disposition: form-data; name=\"t\"\r\n\r\nvé\r\n\
            --B\r\nContent-Disposition: form-data; name=\"f%22\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\n\
            \0\r\n\r\n--B\r\nContent-Disposition: form-data; name=\"f%22\"; filename=\"\"\r\n\r\n\r\n--B--\r\n";
        let file = |name: &str, mime: &str, bytes: &'static str| {
            Field::File(File { name: name.to_owned(), mime: mime.to_owned(), bytes: bytes.into() })
        };
        let expected = [
            ("t".to_owned(), Field::Text("vé".to_owned())),
            ("f\"".to_owned(), file("a.png", "image/png", "\0\r\n")),
            ("f\"".to_owned(), file("", "text/plain", "")),
        ];
        assert_eq!(body("multipart/form-data; boundary=B", sent), Body::Form(expected.to_vec()));
        let said = |stated: &str, sent: &str| reason(read(post(stated), sent.to_owned()));
        for (stated, sent) in [
            ("multipart/form-data", sent),
            ("multipart/form-data; boundary=C", sent),
            ("multipart/form-data; boundary=B", &sent[..sent.len() - 8]),
            ("multipart/form-data; boundary=B", "--B\r\nContent-Disposition: form-data\r\n\r\n\r\n--B--"),
        ] {
            let said = said(stated, sent);
            assert!(
                said.starts_with(&format!("the request's body is not a valid form of the type {stated:?}: ")),
                "{said}"
            );
        }
    }

    #[test]
    fn what_is_too_long_or_broken_is_refused() {
        let refused = read(head(), vec![b'a'; 10_001]).unwrap_err();
        assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(refused.reason, "the request's body has more than 10000 bytes");
        assert_eq!(read(head(), vec![b'a'; 10_000]).unwrap().body, Body::Text("a".repeat(10_000)));
        let (parts, ()) = head().body(()).unwrap().into_parts();
        let broken = StreamBody::new(stream::iter([Ok(Frame::data(Bytes::from_static(b"a"))), Err("reset")]));
        let refused = read_request(&parts, authority(), broken, false, 10_000).now_or_never().unwrap();
        assert_eq!(reason(refused), "the request's body broke off: reset");
        let twice = post("text/plain").header(header::CONTENT_TYPE, "text/plain");
        assert_eq!(reason(read(twice, "a")), "the request has more than one Content-Type");
    }

    #[test]
    fn reading_can_move_between_threads() {
        fn check(_: impl Send) {}
        let (parts, body) = head().body(Full::new(Bytes::new())).unwrap().into_parts();
        check(read_request(&parts, authority(), body, false, 1));
    }

    /// As browsers send it.
    fn multipart(fields: &[(String, Field)]) -> Vec<u8> {
        let escaped = |name: &str| name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A");
        let mut sent = Vec::new();
        for (name, field) in fields {
            let name = escaped(name);
            sent.extend(format!("--B0undary\r\nContent-Disposition: form-data; name=\"{name}\"").into_bytes());
            match field {
                Field::Text(text) => sent.extend(format!("\r\n\r\n{text}").into_bytes()),
                Field::File(File { name, mime, bytes }) => {
                    let name = escaped(name);
                    sent.extend(format!("; filename=\"{name}\"\r\nContent-Type: {mime}\r\n\r\n").into_bytes());
                    sent.extend(bytes);
                }
            }
            sent.extend(b"\r\n");
        }
        sent.extend(b"--B0undary--\r\n");
        sent
    }

    proptest! {
        #[test]
        fn forms_come_back(
            texts in vec(("[a-zé=;\"\r\n ]{0,6}", "[^\u{FEFF}]{0,20}"), 1..4),
            files in vec(("[a-zé;]{0,4}", "[a-zé\"; ]{0,6}", "[a-z]{1,5}/[a-z]{1,5}", vec(any::<u8>(), 0..40)), 0..4),
        ) {
            let text = |(name, text): &(String, String)| (name.clone(), Field::Text(text.clone()));
            let plain: Vec<_> = texts.iter().map(text).collect();
            let encoded = form_urlencoded::Serializer::new(String::new()).extend_pairs(&texts).finish();
            prop_assert_eq!(body("application/x-www-form-urlencoded", encoded.clone()), Body::Form(plain.clone()));
            let request = read(http::Request::builder().uri(format!("/?{encoded}")).header("Host", "h"), "").unwrap();
            prop_assert_eq!(request.query, texts);
            let files = files.into_iter().map(|(name, file, mime, bytes)| {
                (name, Field::File(File { name: file, mime, bytes: bytes.into() }))
            });
            let both: Vec<_> = plain.into_iter().chain(files).collect();
            prop_assert_eq!(body("multipart/form-data; boundary=B0undary", multipart(&both)), Body::Form(both));
        }

        #[test]
        fn whatever_comes_ends_in_a_request_or_a_reason(
            stated in prop_oneof![
                Just("multipart/form-data; boundary=B".to_owned()),
                Just("application/x-www-form-urlencoded".to_owned()),
                "[ -~]{0,20}",
            ],
            parts in vec(prop_oneof![
                Just(b"--B\r\n".to_vec()),
                Just(b"--B--".to_vec()),
                Just(b"\r\n".to_vec()),
                Just(b"Content-Disposition: form-data; name=\"".to_vec()),
                Just(b"; filename=\\\"".to_vec()),
                vec(any::<u8>(), 0..8),
            ], 0..12),
            host in "[ -~]{0,6}",
        ) {
            let head = http::Request::builder().uri("/?%zz=%FF").header("Host", host).header("Content-Type", stated);
            if let Err(refused) = read(head, parts.concat()) {
                prop_assert_eq!(refused.status, StatusCode::BAD_REQUEST);
            }
        }
    }
}
