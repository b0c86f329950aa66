//! Guests that break the ABI, trap or take too long: the instance ends, its sockets close with 1011, the log says
//! which call and what was wrong, a new instance takes its place, and other instances go on.

use super::*;
use tests::Serving;

/// A way to violate the ABI when a message arrives, and the log's message about it.
const MISUSES: [(&str, &str); 17] = [
    ("unreachable", "`websocketMessage`: wasm trap: wasm `unreachable` instruction executed"),
    ("(call $hold) (drop (i32.load (i32.const -4)))", "out of bounds memory access"),
    (
        "(call $receive (i32.const 39321598) (call $length))",
        "`receive`: 17 bytes at 39321598 are not within the memory",
    ),
    ("(call $receive (i32.const -1) (call $length))", "`receive`: 17 bytes at 4294967295 are not within"),
    ("(call $receive (i32.const 0) (i32.const 16))", "`receive`: the length is 16, and the payload has 17 bytes"),
    ("(call $receive (i32.const 0) (i32.const -1))", "`receive`: the length is 4294967295, and the payload has 17"),
    (
        "(call $send (i32.const 39321596) (i32.const 8))",
        "`send`: 8 bytes at 39321596 are not within the memory, which has 39321600",
    ),
    ("(call $send (i32.const 8) (i32.const -8))", "`send`: 4294967288 bytes at 8 are not within"),
    ("(call $websocketSend)", "`websocketSend`: at byte 0 of the payload"),
    (
        "(call $send (i32.const 1024) (i32.const 12)) (call $websocketSend)",
        "`websocketSend`: at byte 12 of the payload",
    ),
    (
        "(call $hold) (i32.store (i32.const 1032) (i32.const 2)) (call $send (i32.const 1024) (i32.const 17)) (call $websocketSend)",
        "`websocketSend`: at byte 8 of the payload: no kind of message is 2",
    ),
    (
        "(call $hold) (i32.store (i32.const 1036) (i32.const 9)) (call $send (i32.const 1024) (i32.const 17)) (call $websocketSend)",
        "`websocketSend`: at byte 16 of the payload",
    ),
    (
        "(call $hold) (call $send (i32.const 1024) (i32.const 18)) (call $websocketSend)",
        "`websocketSend`: at byte 17 of the payload: 1 bytes more",
    ),
    (
        "(call $hold) (i32.store8 (i32.const 1040) (i32.const 255)) (call $send (i32.const 1024) (i32.const 17)) (call $websocketSend)",
        "`websocketSend`: at byte 16 of the payload: the text is not UTF-8",
    ),
    (
        "(call $hold) (i64.store (i32.const 1024) (i64.const 77)) (call $send (i32.const 1024) (i32.const 17)) (call $websocketSend)",
        "`websocketSend`: at byte 0 of the payload: no socket of this instance has the number 77",
    ),
    (
        "(i64.store (i32.const 1024) (i64.const 78)) (call $send (i32.const 1024) (i32.const 8)) (call $websocketClose)",
        "`websocketClose`: at byte 0 of the payload: no socket of this instance has the number 78",
    ),
    (
        "(call $send (i32.const 1024) (i32.const 7)) (call $websocketClose)",
        "`websocketClose`: at byte 0 of the payload",
    ),
];

#[tokio::test]
async fn a_violation_of_the_abi_ends_only_its_instance() {
    // The first byte of a message selects the way.
    let ways: String = MISUSES
        .iter()
        .enumerate()
        .map(|(way, (body, _))| {
            format!("(if (i32.eq (i32.load8_u (i32.const 1040)) (i32.const {})) (then {body}))", way + 65)
        })
        .collect();
    let message =
        format!("(call $hold) {ways} (call $hold) (call $send (i32.const 1024) (call $length)) (call $websocketSend)");
    let module = guest(&[("websocketMessage", &message)]);
    let serving = Serving::start(module, &["--instances", "2"]).await;
    // The server picks the instance with the fewest sockets.
    let (mut one, mut other) = (serving.dial().await, serving.dial().await);
    for (way, (body, _)) in MISUSES.iter().enumerate() {
        let letter = char::from(b'A' + way as u8).to_string();
        soon(one.send(text(&letter))).await.unwrap();
        assert_eq!(close_code(&mut one).await, 1011, "{body}");
        while soon(one.next()).await.is_some() {}
        echoes(&mut other, text("not touched")).await;
        one = serving.dial().await;
        echoes(&mut one, text("a new instance")).await;
    }
    drop((one, other));
    let (status, log) = serving.interrupt().await;
    assert!(status.success(), "{status}: {log}");
    for (body, said) in MISUSES {
        assert!(log.contains(said), "{body} is not in the log as {said}: {log}");
    }
}

#[tokio::test]
async fn the_proposal_s_pointers_are_checked_as_well() {
    for (call, said) in [
        ("(call $websocketSend (i32.const -1))", "`websocketSend`: 16 bytes at 4294967295 are not within the memory"),
        ("(call $websocketSend (i32.const 65532))", "`websocketSend`: 16 bytes at 65532 are not within the memory"),
        (
            "(i32.store (i32.const 12) (i32.const -1)) (call $websocketSend (i32.const 0))",
            "`websocketSend`: 4294967295 bytes at 0 are not within the memory",
        ),
        ("(call $websocketClose (i32.const 65529))", "`websocketClose`: 8 bytes at 65529 are not within the memory"),
        (
            "(i64.store (i32.const 0) (i64.const 9)) (call $websocketClose (i32.const 0))",
            "`websocketClose`: at byte 0 of the payload: no socket of this instance has the number 9",
        ),
    ] {
        let module = format!(
            r#"(module
                (import "env" "websocketSend" (func $websocketSend (param i32)))
                (import "env" "websocketClose" (func $websocketClose (param i32)))
                (memory (export "memory") 1)
                (func (export "websocketOpen"))
                (func (export "websocketMessage") {call})
                (func (export "websocketClose")))"#
        );
        let serving = Serving::start(module, &["--close-timeout", "300ms"]).await;
        let mut client = serving.dial().await;
        soon(client.send(text("go"))).await.unwrap();
        assert_eq!(close_code(&mut client).await, 1011, "{call}");
        let (_, log) = serving.interrupt().await;
        assert!(log.contains(said), "{call} is not in the log as {said}: {log}");
    }
}

/// The exports that the host calls, and whether a request is then answered with 500.
const CALLS: [(&str, bool); 8] = [
    ("newRequest", true),
    ("get", true),
    ("finalizeRequest", true),
    ("sendResponse", true),
    ("finalizeResponse", true),
    ("websocketOpen", false),
    ("websocketMessage", false),
    ("websocketClose", false),
];

#[tokio::test]
async fn a_trap_in_any_call_leaves_a_server_that_works() {
    for (call, answers) in CALLS {
        // Once: the new instance finds its memory as it was, so it counts in a request's URL.
        let trap = "(call $hold) (if (i32.eq (i32.load8_u (i32.const 1045)) (i32.const 33)) (then unreachable))";
        let body = match call {
            "newRequest" => format!("{trap} (i32.const 11)"),
            "get" => format!("{trap} (i32.const 22)"),
            _ => format!("{trap} {}", plain(call)),
        };
        let (more, serving);
        if answers {
            // The 22nd byte of a request's payload is within its URL, `http://here.test/!`.
            more = body.replace("1045", "1049");
            serving = Serving::start(guest(&[(call, &more)]), &["--close-timeout", "300ms"]).await;
            let refused = serving.ask("GET", "/!", "", "").await;
            assert_eq!(refused.status, 500, "{call}: {refused:?}");
            assert!(refused.text().contains("the guest failed"), "{call}: {refused:?}");
        } else {
            // A callback has no more than the number of its socket to go by: the second socket's traps.
            more = format!(
                "(call $hold) (if (i64.eq (i64.load (i32.const 1024)) (i64.const 1)) (then unreachable)) {}",
                plain(call)
            );
            serving = Serving::start(guest(&[(call, &more)]), &["--close-timeout", "300ms"]).await;
            let (mut first, mut second) = (serving.dial().await, serving.dial().await);
            // Either may have ended already.
            let _ = second.send(text("?")).await;
            if call == "websocketClose" {
                let _ = second.close(None).await;
            }
            assert_eq!(close_code(&mut first).await, 1011, "{call}");
        }
        let mut client = serving.dial().await;
        echoes(&mut client, text("a new instance")).await;
        let (status, log) = serving.interrupt().await;
        assert!(status.success(), "{call}: {status}");
        assert!(log.contains(&format!("in `{call}`")) && log.contains("unreachable"), "{call}: {log}");
    }
}

/// What the plain body of a call does that later calls need.
fn plain(call: &str) -> &'static str {
    match call {
        "sendResponse" => {
            "(call $upgrade (global.get $next)) (global.set $next (i64.add (global.get $next) (i64.const 1)))"
        }
        "websocketMessage" => "(call $send (i32.const 1024) (call $length)) (call $websocketSend)",
        _ => "",
    }
}

#[tokio::test]
async fn an_invalid_response_ends_the_instance() {
    for (payload, said) in [
        (&[][..], "at byte 0 of the payload"),
        (&[8, 0, 0, 0], "at byte 0 of the payload: no kind of response is 8"),
        (&[1, 0, 0, 0, 200, 0, 0, 0, b'x'], "at byte 8 of the payload: the JSON needs 200 bytes, and 1 are left"),
        (&[7, 0, 0, 0, 1, 0, 0, 0], "at byte 4 of the payload"),
        (&[6, 0, 0, 0, 1, 0, 0, 0, 0xFF], "at byte 8 of the payload: the URI is not UTF-8"),
    ] {
        let serving = Serving::start(answering(payload), &[]).await;
        for _ in 0..2 {
            assert_eq!(serving.ask("GET", "/", "", "").await.status, 500);
        }
        let (status, log) = serving.interrupt().await;
        assert!(status.success() && log.contains(said), "{said}: {log}");
    }
}

#[tokio::test]
async fn a_module_that_cannot_start_is_refused_with_a_reason() {
    for (module, said) in [
        (guest(&[("start", "unreachable")]), "it does not start: in `_start`"),
        (guest(&[("start", "(call $hold) (call $websocketClose)")]), "`websocketClose`: at byte 0 of the payload"),
        (guest(&[]).replace("\"memory\"", "\"mem\""), "it does not export `memory`"),
        (guest(&[]).replace("\"websocketOpen\"", "\"open\""), "it does not export `websocketOpen`"),
        (guest(&[]).replace("(memory (export \"memory\") 600)", "(memory (export \"memory\") 60000)"), "memory"),
        ("(module)".to_owned(), "it does not export `memory`"),
        ("(component)".to_owned(), "use `run`"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("guest.wasm");
        std::fs::write(&file, wat::parse_str(&module).unwrap()).unwrap();
        let output =
            soon(tests::program().args(["serve", "--listen", "127.0.0.1:0"]).arg(&file).output()).await.unwrap();
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}: {complaint}");
        assert!(complaint.contains(said) && complaint.contains("guest.wasm"), "{said}: {complaint}");
        assert!(output.stdout.is_empty(), "{said}: it does not listen");
    }
}
