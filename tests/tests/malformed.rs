//! Components that no compiler writes: each breaks the canonical ABI or asks for what nobody has, and is ended
//! with a trap while its connection closes in order.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::process::Output;
use tests::{Behaviour, Server, run};

/// A component that imports the client and whose `call` has this body, with `$open`, which connects and gives
/// the handle; `realloc` is what the host calls for room. Memory: a URL from 64 on, what calls give from 1024.
fn client(url: &str, realloc: &str, body: &str) -> Vec<u8> {
    wat::parse_str(format!(
        r#"(component
            (import "wasmcloud:websocket/client@0.1.0-draft" (instance $client
                (type $error' (variant
                    (case "connection-failed" string) (case "invalid-url" string) (case "protocol-error" string)
                    (case "connection-closed") (case "authentication-failed" string) (case "timeout")
                    (case "invalid-message" string) (case "io-error" string)))
                (export "websocket-error" (type $error (eq $error')))
                (type $info' (record (field "code" u16) (field "reason" (option string))))
                (export "close-info" (type $info (eq $info')))
                (type $message' (variant
                    (case "text" string) (case "binary" (list u8)) (case "ping" (list u8)) (case "pong" (list u8))
                    (case "close" $info)))
                (export "message" (type $message (eq $message')))
                (type $field' (record (field "name" string) (field "value" string)))
                (export "websocket-headers" (type $field (eq $field')))
                (type $config' (record
                    (field "url" string)
                    (field "subprotocols" (option (list string)))
                    (field "headers" (option (list $field)))
                    (field "timeout-ms" (option u32))
                    (field "max-message-size" (option u32))
                    (field "enable-keepalive" (option bool))
                    (field "keepalive-interval-ms" (option u32))))
                (export "client-config" (type $config (eq $config')))
                (export "connection" (type $connection (sub resource)))
                (export "connect" (func (param "config" $config) (result (result (own $connection) (error $error)))))
                (export "[method]connection.send" (func
                    (param "self" (borrow $connection)) (param "message" $message) (result (result (error $error)))))
                (export "[method]connection.receive" (func
                    (param "self" (borrow $connection)) (result (result (option $message) (error $error)))))
                (export "[method]connection.get-url" (func
                    (param "self" (borrow $connection)) (result string)))))
            (alias export $client "connection" (type $connection))
            (core module $room
                (memory (export "memory") 2)
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) {realloc}))
            (core instance $room (instantiate $room))
            (core func $connect (canon lower (func $client "connect")
                (memory $room "memory") (realloc (func $room "realloc"))))
            (core func $send (canon lower (func $client "[method]connection.send")
                (memory $room "memory") (realloc (func $room "realloc"))))
            (core func $receive (canon lower (func $client "[method]connection.receive")
                (memory $room "memory") (realloc (func $room "realloc"))))
            (core func $url (canon lower (func $client "[method]connection.get-url")
                (memory $room "memory") (realloc (func $room "realloc"))))
            (core func $drop (canon resource.drop $connection))
            (core module $m
                (import "room" "memory" (memory 2))
                (import "host" "connect" (func $connect (param
                    i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
                (import "host" "send" (func $send (param i32 i32 i32 i32 i32 i32 i32)))
                (import "host" "receive" (func $receive (param i32 i32)))
                (import "host" "url" (func $url (param i32 i32)))
                (import "host" "drop" (func $drop (param i32)))
                (data (i32.const 0) "\08\00\00\00\05\00\00\00hello")
                (data (i32.const 64) "{url}")
                (func $offer (param $some i32) (param $list i32) (param $length i32)
                    (call $connect
                        (i32.const 64) (i32.const {length})
                        (local.get $some) (local.get $list) (local.get $length)
                        (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
                        (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1024)))
                (func $open (result i32)
                    (call $offer (i32.const 0) (i32.const 0) (i32.const 0))
                    (if (i32.load8_u (i32.const 1024)) (then unreachable))
                    (i32.load (i32.const 1028)))
                (func (export "call") (result i32) (local $h i32) (local $i i32) {body} (i32.const 0)))
            (core instance $i (instantiate $m
                (with "room" (instance $room))
                (with "host" (instance
                    (export "connect" (func $connect)) (export "send" (func $send)) (export "receive" (func $receive))
                    (export "url" (func $url)) (export "drop" (func $drop))))))
            (func $call (result string) (canon lift (core func $i "call") (memory $room "memory")))
            (instance $interface (export "call" (func $call)))
            (export "test:text/a" (instance $interface)))"#,
        length = url.len()
    ))
    .expect("the text is a component")
}

/// How `run` ends with these options and this component.
async fn run_bytes(options: &[&str], bytes: &[u8]) -> Output {
    let file = tempfile::Builder::new().suffix(".wasm").tempfile().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    run(options, file.path()).await
}

/// A `realloc` that always returns the same memory, from 64 KiB on.
const ROOM: &str = "i32.const 65536";
const OPEN: &str = "(local.set $h (call $open))";

#[tokio::test]
async fn calls_that_break_the_abi_trap() {
    let receive = "(call $receive (local.get $h) (i32.const 1024))";
    let drop = "(call $drop (local.get $h))";
    let send = |what: &str| format!("(call $send (local.get $h) {what} (i32.const 0) (i32.const 0) (i32.const 1024))");
    let url = "(call $url (local.get $h) (i32.const 1024))";
    let cases = [
        ("use after drop", ROOM, format!("{drop} {receive}"), "unknown handle index"),
        ("dropped twice", ROOM, format!("{drop} {drop}"), "unknown handle index"),
        (
            "no such handle",
            ROOM,
            "(call $receive (i32.const 1234) (i32.const 1024))".to_owned(),
            "unknown handle index",
        ),
        (
            "text that is not UTF-8",
            ROOM,
            format!(
                "(i32.store8 (i32.const 500) (i32.const 255)) {}",
                send("(i32.const 0) (i32.const 500) (i32.const 1)")
            ),
            "utf-8",
        ),
        ("list out of bounds", ROOM, send("(i32.const 1) (i32.const 131072) (i32.const 1)"), "out of bounds"),
        ("list without end", ROOM, send("(i32.const 1) (i32.const 0) (i32.const -1)"), "out of bounds"),
        ("no such case", ROOM, send("(i32.const 5) (i32.const 0) (i32.const 0)"), "discriminant"),
        ("result out of bounds", ROOM, "(call $receive (local.get $h) (i32.const -4))".to_owned(), "out of bounds"),
        ("room out of bounds", "i32.const 131072", url.to_owned(), "beyond end of memory"),
        ("room that traps", "unreachable", url.to_owned(), "unreachable"),
    ];
    for (what, realloc, body, trap) in cases {
        let mut server = Server::start(Behaviour::Silent).await;
        let bytes = client(&server.url, realloc, &format!("{OPEN} {body}"));
        let output = run_bytes(&["--allow", "localhost", "--timeout", "10s"], &bytes).await;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{what}: {errors}");
        assert!(errors.contains(trap), "{what}: {errors}");
        assert_eq!(server.close_code().await, Some(1001), "{what}");
    }
}

#[tokio::test]
async fn calls_that_ask_for_too_much_end_within_the_limits() {
    // Eight thousand strings that share 64 KiB are half a GiB to the host.
    let shared = "(loop $next
            (i32.store (i32.add (i32.const 65536) (i32.shl (local.get $i) (i32.const 3))) (i32.const 64))
            (i32.store (i32.add (i32.const 65540) (i32.shl (local.get $i) (i32.const 3))) (i32.const 65000))
            (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 8000))))
        (call $offer (i32.const 1) (i32.const 65536) (i32.const 8000))";
    let hoard = "(loop $next (call $offer (i32.const 0) (i32.const 0) (i32.const 0)) (br $next))";
    let url = "(call $url (local.get $h) (i32.const 1024))";
    let cases = [
        ("strings that share their bytes", ROOM, shared, "fuel"),
        ("room that takes for ever", "(loop $on (br $on)) unreachable", url, "raise --timeout"),
        ("handles without end", ROOM, hoard, "raise --timeout"),
    ];
    for (what, realloc, body, message) in cases {
        let mut server = Server::start(Behaviour::Silent).await;
        let bytes = client(&server.url, realloc, &format!("{OPEN} {body}"));
        let output = run_bytes(&["--allow", "localhost", "--timeout", "1s", "--max-connections", "3"], &bytes).await;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{what}: {errors}");
        assert!(errors.contains(message), "{what}: {errors}");
        assert!(errors.matches("WARN").count() <= 10, "{what} fills the log with {} bytes", errors.len());
        assert_eq!(server.close_code().await, Some(1001), "{what}");
    }
}

#[tokio::test]
async fn instances_that_ask_for_too_much_end_within_the_limits() {
    let limits = ["--timeout", "1s", "--memory-limit", "64MiB"];
    let table = "(table $t 0 funcref)
        (func $start (loop $on (drop (table.grow $t (ref.null func) (i32.const 1000000))) (br $on))) (start $start)";
    let cases = [
        ("a start that never ends", "(func $start (loop $on (br $on))) (start $start)", "raise --timeout"),
        ("a memory that is too large from the start", "(memory 1025)", "raise --memory-limit"),
        ("a table that is too large from the start", "(table 100000000 funcref)", "raise --memory-limit"),
        ("a table that grows", table, "raise --memory-limit"),
    ];
    for (what, module, message) in cases {
        let text = format!(
            r#"(component
                (core module $m {module})
                (core instance $bad (instantiate $m))
                (core module $n
                    (memory (export "memory") 1)
                    (func (export "call") (result i32) unreachable))
                (core instance $i (instantiate $n))
                (func $call (result string) (canon lift (core func $i "call") (memory $i "memory")))
                (instance $interface (export "call" (func $call)))
                (export "test:text/a" (instance $interface)))"#
        );
        let output = run_bytes(&limits, &wat::parse_str(text).unwrap()).await;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{what}: {errors}");
        assert!(errors.contains(message), "{what}: {errors}");
    }
}
