//! Command lines that cannot work are refused with a reason.

use crate::*;

#[tokio::test]
async fn command_lines_that_cannot_work_are_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = transport_path("transport");
    let module = path.to_str().unwrap();
    let other = folder.path().join("other.wasm");
    std::fs::write(&other, wat::parse_str(r#"(module (func (export "_water_init")))"#).unwrap()).unwrap();
    let other = other.to_str().unwrap();
    let large = folder.path().join("large");
    std::fs::write(&large, vec![0; (1 << 20) + 1]).unwrap();
    let large = large.to_str().unwrap();
    let (tcp, ws, remote) = ("tcp://127.0.0.1:0", "wss://127.0.0.1:0/t", "tcp://127.0.0.1:9");
    for (args, code, said) in [
        (
            &["dial", other, "--local", tcp, "--remote", remote][..],
            1,
            "does not export `memory`; it does not export `_water_v0`",
        ),
        (&["dial", module, "--local", ws, "--remote", remote], 2, "write tcp://HOST:PORT"),
        (&["listen", module, "--local", ws, "--remote", remote], 2, "needs a certificate"),
        (&["dial", module, "--local", "127.0.0.1:0", "--remote", remote], 2, "write tcp://HOST:PORT"),
        (&["dial", module, "--local", tcp, "--remote", remote, "--config-file", "/does/not/exist"], 1, "No such file"),
        (
            &["dial", module, "--local", tcp, "--remote", remote, "--config-file", "/"],
            1,
            "configuration /; give --config-file",
        ),
        // It can be opened, and not be read.
        (
            &["dial", module, "--local", tcp, "--remote", remote, "--config-file", "/proc/self/mem"],
            1,
            "configuration /proc",
        ),
        (&["dial", module, "--local", tcp, "--remote", remote, "--config-file", large], 1, "is larger than 1.0 MiB"),
        (&["fly", module], 2, "fly"),
    ] {
        let output = soon(program().arg("watm").args(args).output()).await.unwrap();
        let why = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(code) && why.contains(said), "{args:?}: {why}");
    }
    let wrong = config(&folder, "sideways");
    let server = echo().await;
    let dialer = Watm::start("dial", tcp, &server, &["--config-file", wrong.to_str().unwrap()]).await;
    assert!(matches!(soon(dialer.connect().await.read(&mut [0; 8])).await, Ok(0) | Err(_)));
    let (_, log) = dialer.program.interrupt().await;
    assert!(log.contains("`_water_init` of the transport gave -28"), "{log}");
    let output = soon(program().args(["inspect", module]).output()).await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("a transport of WATM v0 that can dial, listen, relay"), "{said}");
    let output = soon(program().args(["run", module]).output()).await.unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().contains("use `websocket-provider watm`"));
}
