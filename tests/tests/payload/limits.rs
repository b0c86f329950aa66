//! The limits of an instance and its clients: time, memory, connections, message sizes.

use super::*;
use std::time::{Duration, Instant};
use tests::{Serving, kernel::resident_bytes};
use tokio_tungstenite::tungstenite::Error;

/// A guest that computes for ever on the text `spin`, and sends back everything else.
fn spinning() -> String {
    let message = "(call $hold)
        (if (i32.eq (i32.load (i32.const 1040)) (i32.const 0x6e697073)) (then (loop (br 0))))
        (call $send (i32.const 1024) (call $length)) (call $websocketSend)";
    guest(&[("websocketMessage", message)])
}

#[tokio::test]
async fn a_callback_that_takes_too_long_ends_its_instance_while_others_go_on() {
    let options = ["--instances", "2", "--callback-timeout", "500ms", "--close-timeout", "300ms"];
    let serving = Serving::start(spinning(), &options).await;
    let (mut one, mut other) = (serving.dial().await, serving.dial().await);
    let began = Instant::now();
    soon(one.send(text("spin"))).await.unwrap();
    let mut trips = 0;
    while began.elapsed() < Duration::from_millis(300) {
        echoes(&mut other, text("?")).await;
        trips += 1;
    }
    assert!(trips > 10, "{trips} messages went through beside an instance that computes");
    assert_eq!(close_code(&mut one).await, 1011);
    let mut again = serving.dial().await;
    echoes(&mut again, text("a new instance")).await;
    let (_, log) = serving.interrupt().await;
    assert!(log.contains("`websocketMessage` took longer than 500ms"), "{log}");
}

#[tokio::test]
async fn a_request_that_waits_too_long_gets_503() {
    // Each message takes 0.4 s, a callback may take 1 s, and a request waits for at most six of these.
    let more = r#"(import "wasi_snapshot_preview1" "clock_time_get" (func $now (param i32 i64 i32) (result i32)))"#;
    let nap = "(drop (call $now (i32.const 1) (i64.const 0) (i32.const 8)))
        (loop
            (drop (call $now (i32.const 1) (i64.const 0) (i32.const 16)))
            (br_if 0 (i64.lt_u
                (i64.sub (i64.load (i32.const 16)) (i64.load (i32.const 8)))
                (i64.const 400000000))))";
    let module = guest_with(more, &[("websocketMessage", nap)]);
    let serving = Serving::start(module, &["--callback-timeout", "1s", "--close-timeout", "300ms"]).await;
    let mut client = serving.dial().await;
    for _ in 0..60 {
        soon(client.send(text("?"))).await.unwrap();
    }
    // Requests that come before most of the messages are answered.
    for _ in 0..10 {
        let began = Instant::now();
        let answered = serving.ask("GET", "/", "", "").await;
        assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
        if answered.status == 503 {
            return assert!(answered.text().contains("the guest is overloaded"), "{answered:?}");
        }
        assert_eq!(answered.status, 426, "{answered:?}");
    }
    panic!("no request was answered with 503");
}

#[tokio::test]
async fn memory_beyond_the_limit_is_refused() {
    // Grows the memory by as many pages as the message's first byte says, and sends the result back.
    let grow = "(call $hold)
        (i32.store8 (i32.const 1040) (i32.add (i32.const 49) (i32.lt_s (memory.grow (i32.mul (i32.const 16) (i32.sub (i32.load8_u (i32.const 1040)) (i32.const 48)))) (i32.const 0))))
        (call $send (i32.const 1024) (call $length)) (call $websocketSend)";
    let serving = Serving::start(guest(&[("websocketMessage", grow)]), &["--memory-limit", "40MiB"]).await;
    let mut client = serving.dial().await;
    for (megabytes, outcome) in [("2", "1"), ("9", "2"), ("0", "1")] {
        soon(client.send(text(megabytes))).await.unwrap();
        assert_eq!(soon(client.next()).await.unwrap().unwrap(), text(outcome), "{megabytes} MiB more");
    }
}

#[tokio::test]
async fn clients_over_the_limit_get_503_and_the_guest_is_not_called() {
    let serving = Serving::start(guest(&[]), &["--max-connections", "2"]).await;
    let (mut one, mut two) = (serving.dial().await, serving.dial().await);
    match serving.try_dial("/").await {
        Err(Error::Http(response)) => assert_eq!(response.status(), 503),
        other => panic!("{other:?}"),
    }
    echoes(&mut one, text("1")).await;
    soon(two.close(None)).await.unwrap();
    while soon(two.next()).await.is_some() {}
    drop(two);
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut three = loop {
        match serving.try_dial("/").await {
            Ok(client) => break client,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    };
    echoes(&mut three, text("3")).await;
}

#[tokio::test]
async fn a_message_over_the_limit_closes_with_1009() {
    let serving = Serving::start(guest(&[]), &["--max-message-size", "1KiB"]).await;
    let mut client = serving.dial().await;
    echoes(&mut client, binary(vec![1; 1024])).await;
    soon(client.send(binary(vec![1; 1025]))).await.unwrap();
    assert_eq!(close_code(&mut client).await, 1009);
}

#[tokio::test]
async fn a_message_of_the_guest_over_the_limit_closes_its_socket_alone() {
    let large = "(call $hold)
        (if (i32.eq (call $length) (i32.const 16)) (then
            (i32.store (i32.const 1032) (i32.const 1)) (i32.store (i32.const 1036) (i32.const 2000))
            (call $send (i32.const 1024) (i32.const 2016)))
        (else (call $send (i32.const 1024) (call $length))))
        (call $websocketSend)";
    let serving = Serving::start(guest(&[("websocketMessage", large)]), &["--max-message-size", "1KiB"]).await;
    let (mut one, mut other) = (serving.dial().await, serving.dial().await);
    soon(one.send(text(""))).await.unwrap();
    assert_eq!(close_code(&mut one).await, 1011);
    echoes(&mut other, text("not touched")).await;
    let (_, log) = serving.interrupt().await;
    assert!(log.contains("2000 bytes are more than"), "{log}");
}

#[tokio::test]
async fn five_thousand_sockets_of_one_guest_are_cheap() {
    const SOCKETS: usize = 5000;
    let most = SOCKETS.to_string();
    let options = ["--max-connections", &most, "--max-connections-total", &most];
    let serving = Serving::start(guest(&[]), &options).await;
    let mut clients = vec![serving.dial().await];
    echoes(&mut clients[0], text("warm")).await;
    let before = resident_bytes(serving.process());
    while clients.len() < SOCKETS {
        clients.push(serving.dial().await);
    }
    for client in &mut clients {
        echoes(client, text("?")).await;
    }
    let each = (resident_bytes(serving.process()) - before) / SOCKETS;
    println!("{SOCKETS} sockets of one guest: {each} bytes of resident memory for each");
    assert!(each < 32 * 1024, "{each} bytes each");
}

#[tokio::test]
async fn a_client_gets_back_a_burst_that_it_reads_late() {
    const BURST: usize = 64;
    let serving = Serving::start(guest(&[]), &[]).await;
    let (mut sink, mut stream) = serving.dial().await.split();
    let sending = async {
        for number in 0..BURST {
            sink.send(binary(vec![number as u8; 1 << 20])).await.unwrap();
        }
    };
    let reading = async {
        for number in 0..BURST {
            let back = soon(stream.next()).await.unwrap().unwrap();
            assert!(back == binary(vec![number as u8; 1 << 20]), "message {number}");
        }
    };
    tokio::join!(sending, reading);
}

#[tokio::test]
async fn a_flood_to_all_reaches_clients_that_read_and_closes_one_that_does_not() {
    const BURST: usize = 40;
    // Sockets 0, 1 and 2 get every message.
    let all = "(call $hold)
        (call $send (i32.const 1024) (call $length)) (call $websocketSend)
        (i64.store (i32.const 1024) (i64.const 1)) (call $send (i32.const 1024) (call $length)) (call $websocketSend)
        (if (i32.eqz (global.get $gone)) (then
            (i64.store (i32.const 1024) (i64.const 2)) (call $send (i32.const 1024) (call $length)) (call $websocketSend)))";
    let gone =
        "(call $hold) (if (i64.eq (i64.load (i32.const 1024)) (i64.const 2)) (then (global.set $gone (i32.const 1))))";
    let more = "(global $gone (mut i32) (i32.const 0))";
    let module = guest_with(more, &[("websocketMessage", all), ("websocketClose", gone)]);
    let serving = Serving::start(module, &["--close-timeout", "300ms"]).await;
    let (mut sink, mut echoed) = serving.dial().await.split();
    let (_, mut heard) = serving.dial().await.split();
    let deaf = serving.dial().await;
    let sending = async {
        for number in 0..BURST {
            sink.send(binary(vec![number as u8; 1 << 20])).await.unwrap();
        }
    };
    let reading = async {
        for number in 0..BURST {
            for stream in [&mut echoed, &mut heard] {
                let back = soon(stream.next()).await.unwrap().unwrap();
                assert!(back == binary(vec![number as u8; 1 << 20]), "message {number}");
            }
        }
    };
    tokio::join!(sending, reading);
    drop(deaf);
    let (_, log) = serving.interrupt().await;
    assert!(log.is_empty(), "{log}");
}
