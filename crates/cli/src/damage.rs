//! Every kind of file that a command opens, damaged at random: each is used or refused, and none makes this program panic.

use crate::{
    Command, Program,
    engine::{Calls, engine},
    guest::{Guest, entries},
    precompiled::{self, Trusted},
};
use clap::Parser;
use std::{fs, path::Path};
use tempfile::TempDir;
use test_peer::{Authority, damaged};
use wasmtime::{Engine, component::Component};
use websocket_abi_bridge as payload;
use websocket_connection::Endpoint;
use websocket_listener::tls;
use websocket_watm as watm;

const CASES: u64 = 1000;

/// Does something with a file for each way to damage it; gives how often it succeeded.
fn with_damage(name: &str, bytes: &[u8], cases: u64, mut works: impl FnMut(&Path, &[u8]) -> bool) -> u64 {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    assert!(works(&path, bytes), "{name} is whole");
    (0..cases)
        .filter(|seed| {
            let damaged = damaged(bytes, *seed);
            fs::write(&path, &damaged).unwrap();
            works(&path, &damaged)
        })
        .count() as u64
}

const COMPONENT: &str = r#"(component
    (import "wasi:cli/environment@0.2.0" (instance $environment
        (export "get-arguments" (func (result (list string))))))
    (core module $m
        (memory (export "memory") 1)
        (table 4 funcref) (elem (i32.const 0) $fill $call)
        (global $next (mut i32) (i32.const 64))
        (data (i32.const 0) "\08\00\00\00\05\00\00\00hello")
        (func (export "realloc") (param i32 i32 i32 i32) (result i32)
            (global.set $next (i32.add (global.get $next) (local.get 3))) (i32.sub (global.get $next) (local.get 3)))
        (func $fill (param $to i32)
            (loop $more (i32.store8 (local.get $to) (i32.const 120)) (br_if $more (i32.lt_u (local.get $to) (i32.const 9)))))
        (func $call (export "call") (result i32)
            (block $end (br_table $end $end (i32.const 0))) (call $fill (i32.const 13)) i32.const 0))
    (core instance $i (instantiate $m))
    (func $call (result string) (canon lift (core func $i "call") (memory $i "memory")))
    (instance $interface (export "call" (func $call)))
    (export "test:text/hello" (instance $interface)))"#;

/// Whether a guest file can be read, and what it is can be compiled.
fn guest(path: &Path, engines: &[Engine; 2]) -> bool {
    match Guest::read(path) {
        Ok(Guest::Component(bytes)) => {
            let engine = &engines[usize::from(Calls::of(&bytes) == Calls::Concurrent)];
            Component::new(engine, bytes).is_ok_and(|component| entries(engine, &component).len() < 10)
        }
        Ok(Guest::Precompiled(bytes)) => precompiled::load(&bytes, &Trusted::own()).is_ok(),
        Ok(Guest::Module(module)) => {
            let transport = watm::Module::load(&engines[0], &module.bytes).is_ok();
            let page = payload::Module::load(&engines[0], &module.bytes).is_ok();
            transport || page || module.advice(path).is_empty()
        }
        Err(_) => false,
    }
}

#[test]
fn guests() {
    let engines = [Calls::Sequential, Calls::Concurrent].map(|calls| engine(calls).unwrap());
    let component = wat::parse_str(COMPONENT).unwrap();
    let echo = wat::parse_str(include_str!("../../../tests/guests/echo-shipped.wat")).unwrap();
    for (name, bytes) in [("component.wasm", component), ("module.wasm", echo)] {
        let used = with_damage(name, &bytes, CASES, |path, _| guest(path, &engines));
        assert!(used < CASES, "{name}: {used}");
    }
}

#[test]
fn machine_code() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("hello.cwasm");
    let engine = engine(Calls::Sequential).unwrap();
    precompiled::write(&path, engine.precompile_component(&wat::parse_str(COMPONENT).unwrap()).unwrap()).unwrap();
    let whole = fs::read(&path).unwrap();
    // No damage may get as far as the machine code.
    with_damage("hello.cwasm", &whole, 2 * CASES, |path, bytes| {
        let read = fs::read(path).unwrap();
        let loaded = precompiled::component(&engine, &read, &Trusted::own()).is_ok();
        assert_eq!(loaded, bytes == whole);
        Guest::read(path).is_ok() && loaded
    });
}

#[test]
fn configuration() {
    let text = "allow = [\"localhost\", \"*.example.com:443\", \"10.0.0.0/8\"]\nreceive-wait = \"5s\"\nmax-message-size = 4096\n\
                keepalive = false\nproxy = \"http://me:secret@proxy.example.com:3128\"\ninbound-buffer = \"64KiB\"\n";
    with_damage("settings.toml", text.as_bytes(), CASES, |path, _| {
        let arguments = ["websocket-provider", "run", "--config", path.to_str().unwrap(), "guest.wasm"];
        let Command::Run(run) = Program::try_parse_from(arguments).ok().unwrap().command else { panic!("it is `run`") };
        run.settings.settings().is_ok_and(|settings| Endpoint::new(settings).is_ok())
    });
}

#[test]
fn certificates_and_keys() {
    let authority = Authority::new("test");
    let (certificate, key) = authority.issue_files("localhost");
    let (certificate, key) = (Path::new(&certificate), Path::new(&key));
    let read = |path: &Path| fs::read(path).unwrap();
    with_damage("certificate.pem", &read(certificate), CASES / 4, |path, _| tls::from_files(path, key).is_ok());
    with_damage("key.pem", &read(key), CASES / 4, |path, _| tls::from_files(certificate, path).is_ok());
    with_damage("ca.pem", &read(certificate), CASES / 4, |path, _| {
        let mut settings = websocket_connection::Settings::default();
        settings.set("ca-cert", path.to_str().unwrap()).unwrap();
        Endpoint::new(settings).is_ok()
    });
}
