//! The example host as a program.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

const GUEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/wasm32-wasip2/release/http_guest.wasm");

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_wasmcloud-websocket-host"))
}

/// Ends the program with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn it_serves_the_guest_with_the_settings_of_its_flags() {
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (http, nobody) = (free(), free());
    for (rule, outcome) in [("127.0.0.1", "ConnectionFailed"), ("example.com", "AuthenticationFailed")] {
        let (listen, allow, url) = (http.to_string(), format!("allow={rule}"), format!("WS_URL=ws://{nobody}"));
        let mut command = program();
        command.args(["--listen", &listen, "--set", &allow, "--env", &url, GUEST]).stdout(Stdio::piped());
        let mut running = Running(command.spawn().unwrap());
        let mut line = String::new();
        BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, format!("serving {GUEST} at http://{http}\n"));

        let mut tcp = TcpStream::connect(http).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        tcp.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains(outcome), "{answer}");
    }
}

#[test]
fn it_refuses_a_flag_that_sets_nothing() {
    let output = program().args(["--set", "recieve-wait=5s", GUEST]).output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, "--set recieve-wait: there is no setting `recieve-wait`; did you mean `receive-wait`?\n");
}
