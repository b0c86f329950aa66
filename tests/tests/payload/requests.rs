//! Requests as a guest sees them, each kind of response, sessions and stores.

use super::*;
use tests::{Answered, Serving};
use websocket_abi_bridge::codec::{Body, Field, File, Generation, Request, Response};

/// A guest that answers every method with the request's payload as it came, under this import.
pub(crate) fn mirror(import: &str) -> String {
    let module = guest_with(
        import,
        &[
            ("newRequest", "(call $receive (i32.const 2008) (call $length)) (i32.const 11)"),
            (
                "sendResponse",
                "(i32.store (i32.const 2000) (i32.const 2)) (i32.store (i32.const 2004) (call $length))
                 (i32.store (i32.add (i32.const 2008) (call $length)) (i32.const 0))
                 (call $send (i32.const 2000) (i32.add (call $length) (i32.const 12)))",
            ),
        ],
    );
    let all: String = ["post", "put", "delete", "options", "patch"]
        .map(|method| format!(r#"(func (export "{method}") (param i32) (result i32) (i32.const 22))"#))
        .concat();
    format!("{}{all})", module.trim_end().strip_suffix(')').unwrap())
}

const OLDER: &str =
    r#"(import "primate" "newSession" (func $newSession)) (import "primate" "getSession" (func $getSession))"#;

async fn told(
    serving: &Serving,
    method: &str,
    path: &str,
    fields: &str,
    body: &[u8],
    generation: Generation,
) -> Request {
    let answered = serving.ask(method, path, fields, body).await;
    assert_eq!(answered.status, 200, "{answered:?}");
    assert_eq!(answered.values("content-type"), ["application/octet-stream"]);
    Request::decode(&answered.body, generation).unwrap()
}

fn owned(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn a_guest_sees_every_part_of_a_request() {
    let serving = Serving::start(mirror(""), &[]).await;
    for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let fields = "X-Twice: a\r\nX-Twice: b\r\nX-Empty:\r\nCookie: one=1; two=2\r\n";
        let request = told(&serving, method, "/a/b?c=d%20e&f=&g=%C3%A9", fields, b"", Generation::Newer).await;
        assert_eq!(request.url, "http://here.test/a/b?c=d%20e&f=&g=%C3%A9");
        assert_eq!(request.query, owned(&[("c", "d e"), ("g", "é")]));
        assert_eq!(request.cookies, owned(&[("one", "1"), ("two", "2")]));
        assert!(request.headers.contains(&("host".to_owned(), "here.test".to_owned())));
        let twice: Vec<_> = request.headers.iter().filter(|(name, _)| name == "x-twice").collect();
        assert_eq!(twice.len(), 2);
        assert!(!request.headers.iter().any(|(name, _)| name == "x-empty"), "entries with an empty value are left out");
        assert_eq!((request.path, request.body), (vec![], Body::None));
    }
}

#[tokio::test]
async fn every_kind_of_body_reaches_a_newer_guest() {
    let serving = Serving::start(mirror(""), &[]).await;
    let form = "--X\r\nContent-Disposition: form-data; name=\"t\"\r\n\r\nvalue\r\n--X\r\nContent-Disposition: form-data; \
        name=\"f\"; filename=\"a.bin\"\r\nContent-Type: image/png\r\n\r\n\0\u{1}\r\n--X--\r\n";
    let file =
        Field::File(File { name: "a.bin".into(), mime: "image/png".into(), bytes: Bytes::from_static(b"\0\x01") });
    let text = |text: &str| Field::Text(text.to_owned());
    for (kind, sent, body) in [
        ("text/plain", &b"h\xC3\xA9"[..], Body::Text("hé".to_owned())),
        ("application/json", b"{\"a\":1}", Body::Json("{\"a\":1}".to_owned())),
        ("image/png", b"\x89\0", Body::Blob { mime: "image/png".to_owned(), bytes: Bytes::from_static(b"\x89\0") }),
        (
            "application/x-www-form-urlencoded",
            b"a=1&b=%C3%A9+x&a=2",
            Body::Form(vec![("a".into(), text("1")), ("b".into(), text("é x")), ("a".into(), text("2"))]),
        ),
        (
            "multipart/form-data; boundary=X",
            form.as_bytes(),
            Body::Form(vec![("t".into(), text("value")), ("f".into(), file)]),
        ),
    ] {
        let fields = format!("Content-Type: {kind}\r\n");
        let request = told(&serving, "POST", "/", &fields, sent, Generation::Newer).await;
        assert_eq!(request.body, body, "{kind}");
    }
}

#[tokio::test]
async fn an_older_guest_gets_only_bodies_that_it_knows_and_files_are_counted() {
    let serving = Serving::start(mirror(OLDER), &[]).await;
    let form = "--X\r\nContent-Disposition: form-data; name=\"t\"\r\n\r\nvalue\r\n--X\r\nContent-Disposition: form-data; \
        name=\"f\"; filename=\"a.bin\"\r\nContent-Type: image/png\r\n\r\n\0\u{1}\r\n--X--\r\n";
    let fields = "Content-Type: multipart/form-data; boundary=X\r\n";
    let request = told(&serving, "POST", "/", fields, form.as_bytes(), Generation::Older).await;
    let file = Field::File(File { bytes: Bytes::from_static(b"\0\x01"), ..File::default() });
    assert_eq!(request.body, Body::Form(vec![("t".into(), Field::Text("value".into())), ("f".into(), file)]));
    let json = told(&serving, "POST", "/", "Content-Type: application/json\r\n", b"{}", Generation::Older).await;
    assert_eq!(json.body, Body::Text("{}".to_owned()));
    let refused = serving.ask("POST", "/", "Content-Type: image/png\r\n", b"\x89\0").await;
    assert_eq!(refused.status, 415, "{refused:?}");
}

async fn answer_to(response: Response) -> Answered {
    let serving = Serving::start(answering(&response.encode()), &[]).await;
    let answered = serving.ask("GET", "/", "", "").await;
    let (status, _) = serving.interrupt().await;
    assert!(status.success());
    answered
}

#[tokio::test]
async fn every_kind_of_response_becomes_http() {
    let text = |status, headers: &str| Response::Text { body: "bödy".into(), status, headers: headers.into() };
    let answered =
        answer_to(text(201, r#"{"X-One": "1", "content-type": "text/html", "set-cookie": ["a=1", "b=2"]}"#)).await;
    assert_eq!((answered.status, answered.text()), (201, "bödy"));
    assert_eq!((answered.values("x-one"), answered.values("content-type")), (vec!["1"], vec!["text/html"]));
    assert_eq!(answered.values("set-cookie"), ["a=1", "b=2"]);
    let answered = answer_to(Response::Json("[1]".into())).await;
    assert_eq!((answered.status, answered.text()), (200, "[1]"));
    assert_eq!(answered.values("content-type"), ["application/json"]);
    let blob = Response::Blob { bytes: Bytes::from_static(b"\0\xFF"), content_type: Some("image/png".into()) };
    let answered = answer_to(blob).await;
    assert_eq!((answered.body.as_slice(), answered.values("content-type")), (&b"\0\xFF"[..], vec!["image/png"]));
    let view = Response::View { name: "index.html".into(), props: "{}".into(), options: "{}".into() };
    let answered = answer_to(view).await;
    assert_eq!(answered.status, 501);
    assert!(answered.text().contains("index.html") && answered.text().contains("view"), "{answered:?}");
    let answered = answer_to(Response::Error { body: Some("gone".into()), status: 410, page: None }).await;
    assert_eq!((answered.status, answered.text().trim()), (410, "gone"));
    let answered = answer_to(Response::Error { body: None, status: 404, page: Some("error.html".into()) }).await;
    assert_eq!((answered.status, answered.text().trim()), (404, "Not Found"));
    for (status, expected) in [(None, 302), (Some(308), 308)] {
        let answered = answer_to(Response::Redirect { location: "/there?a=b".into(), status }).await;
        assert_eq!((answered.status, answered.values("location")), (expected, vec!["/there?a=b"]));
    }
    let answered = answer_to(Response::Uri("https://example.com/".into())).await;
    assert_eq!((answered.status, answered.values("location")), (302, vec!["https://example.com/"]));
    // Values that HTTP does not allow are the guest's fault, and the instance keeps running.
    for response in [text(99, "{}"), text(200, "nothing"), text(200, r#"{"content-length": "5"}"#)] {
        assert_eq!(answer_to(response.clone()).await.status, 500, "{response:?}");
    }
}

#[tokio::test]
async fn methods_without_a_handler_are_not_allowed_and_head_is_a_get() {
    let serving = Serving::start(answering(&Response::Json("[1, 2]".into()).encode()), &[]).await;
    for method in ["POST", "BREW"] {
        let answered = serving.ask(method, "/", "", "").await;
        assert_eq!((answered.status, answered.values("allow")), (405, vec!["GET"]), "{answered:?}");
    }
    let answered = serving.ask("HEAD", "/", "", "").await;
    assert_eq!((answered.status, answered.values("content-length"), answered.body.len()), (200, vec!["6"], 0));
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_and_a_broken_one_400() {
    let serving = Serving::start(mirror(""), &["--max-message-size", "1KiB"]).await;
    let answered = serving.ask("POST", "/", "", vec![b'x'; 1025]).await;
    assert_eq!(answered.status, 413, "{answered:?}");
    let answered = serving.ask("POST", "/", "Content-Type: multipart/form-data; boundary=X\r\n", "--Y").await;
    assert_eq!(answered.status, 400, "{answered:?}");
}

/// A guest that keeps a session and answers with what it is told of it: `newer` ones have it in `sessionGet`.
fn keeping(newer: bool) -> String {
    let (import, has) = if newer {
        (
            r#"(import "primate" "sessionNew" (func $new)) (import "primate" "sessionGet" (func $get))
               (import "primate" "sessionSet" (func $set)) (import "primate" "sessionExists" (func $exists (result i32)))"#,
            // The first time it begins with `[]`; then it is set to the bare `[1]`.
            "(if (call $exists)
                (then (call $send (i32.const 3100) (i32.const 3)) (call $set))
                (else (call $send (i32.const 3000) (i32.const 6)) (call $new)))",
        )
    } else {
        (
            OLDER,
            // Older ones are told whether it is new: where its id is empty, there is none.
            "(call $getSession) (if (i32.eq (call $length) (i32.const 14))
                (then (call $send (i32.const 3000) (i32.const 6)) (call $newSession)))",
        )
    };
    let get = if newer { "(call $get)" } else { "(call $getSession)" };
    let more = format!(r#"{import} (data (i32.const 3000) "\02\00\00\00[]") (data (i32.const 3100) "[1]")"#);
    let send = format!(
        "{has} {get} (call $receive (i32.const 2008) (call $length))
         (i32.store (i32.const 2000) (i32.const 2)) (i32.store (i32.const 2004) (call $length))
         (i32.store (i32.add (i32.const 2008) (call $length)) (i32.const 0))
         (call $send (i32.const 2000) (i32.add (call $length) (i32.const 12)))"
    );
    guest_with(&more, &[("sendResponse", &send)])
}

#[tokio::test]
async fn a_session_lives_in_a_cookie_across_instances() {
    use websocket_abi_bridge::codec::Session;
    for generation in [Generation::Older, Generation::Newer] {
        let serving = Serving::start(keeping(generation == Generation::Newer), &["--instances", "2"]).await;
        let first = serving.ask("GET", "/", "", "").await;
        let cookie = first.values("set-cookie")[0].to_owned();
        assert!(
            cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax") && !cookie.contains("Secure"),
            "{cookie}"
        );
        let session = Session::decode(&first.body, generation).unwrap().unwrap();
        assert_eq!(session.data, "[]");
        assert_eq!(session.is_new, generation == Generation::Older);
        let (pair, _) = cookie.split_once(';').unwrap();
        assert!(pair.ends_with(&session.id), "{pair} {session:?}");
        for _ in 0..2 {
            let again = serving.ask("GET", "/", &format!("Cookie: other=1; {pair}\r\n"), "").await;
            assert!(again.values("set-cookie").is_empty(), "{again:?}");
            let same = Session::decode(&again.body, generation).unwrap().unwrap();
            assert_eq!((same.id, same.is_new), (session.id.clone(), false));
            assert_eq!(same.data, if generation == Generation::Newer { "[1]" } else { "[]" });
        }
        // A client does not choose its session.
        for cookies in ["session_id=chosen", "session_id=chosen; session_id=chosen", "session_id=\"chosen\""] {
            let chosen = serving.ask("GET", "/", &format!("Cookie: {cookies}\r\n"), "").await;
            let made = Session::decode(&chosen.body, generation).unwrap().unwrap();
            assert!(!chosen.values("set-cookie")[0].contains("chosen") && made.id.len() == 32, "{chosen:?}");
            assert_ne!(made.id, session.id);
        }
    }
}

/// A guest that begins a session at each request, as one that logs somebody in does, and sends back what a socket says
/// once it has set the data of the socket's session.
fn renewing() -> String {
    let more = r#"(import "primate" "sessionNew" (func $new)) (import "primate" "sessionGet" (func $get))
        (import "primate" "sessionSet" (func $set))
        (data (i32.const 3000) "\02\00\00\00[]") (data (i32.const 3100) "[1]")"#;
    let told = "(i32.store (i32.const 0) (i32.const 2)) (call $receive (i32.const 8) (call $length))
        (i32.store (i32.const 4) (call $length)) (i32.store (i32.add (i32.const 8) (call $length)) (i32.const 0))
        (call $send (i32.const 0) (i32.add (call $length) (i32.const 12)))";
    // The request's URL is behind eight bytes: `http://here.test/` and the first letter of its path.
    let send = format!(
        "(if (i32.eq (i32.load8_u (i32.const 1049)) (i32.const 0x73)) (then (call $upgrade (i64.const 1)))
         (else (call $get)
            (if (i32.ne (i32.load8_u (i32.const 1049)) (i32.const 0x67))
                (then (call $send (i32.const 3000) (i32.const 6)) (call $new)))
            {told}))"
    );
    let message = "(call $hold) (call $send (i32.const 3100) (i32.const 3)) (call $set)
        (call $send (i32.const 1024) (i32.const 17)) (call $websocketSend)";
    guest_with(more, &[("sendResponse", &send), ("websocketMessage", message)])
}

#[tokio::test]
async fn a_new_session_ends_the_one_before_and_its_sockets_go_on() {
    use websocket_abi_bridge::codec::Session;
    let serving = Serving::start(renewing(), &[]).await;
    let ask = async |path: &str, cookie: &str| {
        let fields = if cookie.is_empty() { String::new() } else { format!("Cookie: {cookie}\r\n") };
        let answered = serving.ask("GET", path, &fields, "").await;
        let session = Session::decode(&answered.body, Generation::Newer).unwrap().map(|session| session.id);
        (session, answered.values("set-cookie").first().map(|cookie| cookie.split(';').next().unwrap().to_owned()))
    };
    let (_, before) = ask("/new", "").await;
    let before = before.expect("a session begins");
    assert!(before.ends_with(&ask("/get", &before).await.0.expect("it is there")));
    let request = format!(
        "GET /socket HTTP/1.1\r\nHost: here.test\r\nCookie: {before}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let mut tcp = tokio::net::TcpStream::connect(&serving.address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut tcp, request.as_bytes()).await.unwrap();
    assert!(test_peer::read_head(&mut tcp).await.starts_with("HTTP/1.1 101"));
    let role = tokio_tungstenite::tungstenite::protocol::Role::Client;
    let mut socket = Client::from_raw_socket(tcp, role, None).await;
    echoes(&mut socket, text("1")).await;

    let (_, after) = ask("/new", &before).await;
    let after = after.expect("the id changes");
    assert_ne!(after, before);
    assert_eq!(ask("/get", &before).await, (None, None), "whoever knows the id from before has no session");
    assert!(after.ends_with(&ask("/get", &after).await.0.expect("it is there")));
    // Setting the data has no effect, which is not an error of the guest.
    echoes(&mut socket, text("2")).await;
    let (status, log) = serving.interrupt().await;
    assert!(status.success() && log.is_empty(), "{log}");
}
