//! A guest with third-party servers, directly and behind proxies that terminate TLS. tests/peers/README.md says
//! what each does, and tests/guests/interop what the guest checks.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tempfile::TempDir;
use test_peer::{Authority, soon};
use tests::{guest_path, program, skipped, target};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    net::{TcpListener, TcpStream},
    process::{Child, ChildStdout, Command},
    time::{sleep, timeout},
};

const INSTALL: &str = "scripts/peers installs it, and says what that needs";

/// A server or a proxy, killed when it is dropped.
struct Peer {
    port: u16,
    lines: Option<Lines<BufReader<ChildStdout>>>,
    _process: Child,
    _files: Option<TempDir>,
}

impl Peer {
    /// Starts a server of tests/peers, over TLS if given the files of a certificate; `None` where its library
    /// is not installed.
    async fn server(program: &str, script: &str, library: &str, certificate: &[String]) -> Option<Peer> {
        let installed = target().join("peers");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(script);
        if !installed.join(library).exists() {
            skipped(&format!("{library} is missing: {INSTALL}"));
            return None;
        }
        let mut command = Command::new(program);
        command.arg(script).args(certificate).env("NODE_PATH", installed.join("node_modules"));
        command.env("PYTHONPATH", installed.join("python")).env("PYTHONDONTWRITEBYTECODE", "1");
        let Ok(mut process) = command.stdout(Stdio::piped()).kill_on_drop(true).spawn() else {
            skipped(&format!("{program} is missing: {INSTALL}"));
            return None;
        };
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let first = soon(lines.next_line()).await.unwrap().expect("the server starts");
        let port = first.strip_prefix("listening on ").expect("it says where it listens").parse().unwrap();
        Some(Peer { port, lines: Some(lines), _process: process, _files: None })
    }

    /// Starts a proxy of this name with a configuration file; `None` where it is not installed.
    async fn proxy(name: &str, configuration: impl FnOnce(u16, &Path) -> String, args: &[&str]) -> Option<Peer> {
        Peer::proxy_with(name, |command, port, folder| {
            let file = folder.join("configuration");
            std::fs::write(&file, configuration(port, folder)).unwrap();
            command.args(args).arg(file);
        })
        .await
    }

    /// Starts a proxy of this name, which is told the port and a folder; `None` where it is not installed.
    async fn proxy_with(name: &str, configure: impl FnOnce(&mut Command, u16, &Path)) -> Option<Peer> {
        let folders = ["/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin"].map(PathBuf::from);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut folders = std::env::split_paths(&path).chain(folders);
        let Some(program) = folders.find_map(|folder| Some(folder.join(name)).filter(|file| file.is_file())) else {
            skipped(&format!(
                "{name} is missing: install it with the system's packages, such as apt-get install {name}"
            ));
            return None;
        };
        let files = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let mut command = Command::new(program);
        configure(&mut command, port, files.path());
        command.current_dir(files.path());
        let mut process = command.kill_on_drop(true).spawn().unwrap();
        // It does not report when it listens.
        let listening = async {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                assert!(process.try_wait().unwrap().is_none(), "{name} ended");
                sleep(Duration::from_millis(20)).await;
            }
        };
        soon(listening).await;
        Some(Peer { port, lines: None, _process: process, _files: Some(files) })
    }

    /// What the server tells of its close frames, until it got this one.
    async fn got_close(&mut self, expected: &str) {
        let lines = self.lines.as_mut().expect("it is a server");
        while !soon(lines.next_line()).await.unwrap().expect("the server runs").starts_with(expected) {}
    }
}

/// Lets the guest talk to this URL; returns what it found wrong.
async fn talk(url: &str, options: &[&str]) -> Result<(), String> {
    let mut guest = program();
    guest.args(["run", "--allow", "localhost", "--receive-wait", "200ms"]).args(options);
    guest.args(["--keepalive-interval", "1s"]).arg(guest_path("interop")).args(["--", url]);
    let output = timeout(Duration::from_secs(120), guest.output()).await.expect("this takes seconds").unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    if output.status.success() { Ok(()) } else { Err(errors) }
}

/// Talks directly, in plain text and over TLS.
async fn talks_to(program: &str, script: &str, library: &str) {
    let Some(mut server) = Peer::server(program, script, library, &[]).await else { return };
    talk(&format!("ws://localhost:{}", server.port), &[]).await.unwrap();
    server.got_close("closed 4123 grüße vom Gast").await;

    let authority = Authority::new("test");
    let certificate: [String; 2] = authority.issue_files("localhost").into();
    let mut server = Peer::server(program, script, library, &certificate).await.expect("it was there just now");
    let (url, ca) = (format!("wss://localhost:{}", server.port), authority.file("ca.pem"));
    talk(&url, &["--ca-cert", &ca]).await.unwrap();
    server.got_close("closed 4123 grüße vom Gast").await;
}

#[tokio::test]
async fn npm_ws() {
    talks_to("node", "ws.cjs", "node_modules/ws").await;
}

#[tokio::test]
async fn pypi_websockets() {
    talks_to("python3", "websockets_server.py", "python/websockets").await;
}

#[tokio::test]
async fn pypi_aiohttp() {
    talks_to("python3", "aiohttp_server.py", "python/aiohttp").await;
}

/// Talks through a proxy that terminates TLS, with the host's keep-alive and without.
async fn talks_through(name: &str, configuration: impl FnOnce(u16, u16, &Path) -> String, args: &[&str]) {
    let Some(mut server) = Peer::server("node", "ws.cjs", "node_modules/ws", &[]).await else { return };
    let authority = Authority::new("test");
    let (certificate, key) = authority.issue_files("localhost");
    let prepare = |port: u16, folder: &Path| {
        let both = [certificate, key].map(|file| std::fs::read_to_string(file).unwrap()).concat();
        std::fs::write(folder.join("both.pem"), both).unwrap();
        configuration(port, server.port, folder)
    };
    let Some(proxy) = Peer::proxy(name, prepare, args).await else { return };
    let (url, ca) = (format!("wss://localhost:{}", proxy.port), authority.file("ca.pem"));
    talk(&url, &["--ca-cert", &ca]).await.unwrap();
    server.got_close("closed 4123 grüße vom Gast").await;
    // The proxy closes silent connections.
    let why = talk(&url, &["--ca-cert", &ca, "--keepalive", "false"]).await.unwrap_err();
    assert!(why.contains("keep-alive: a silent connection gave"), "{why}");
}

#[tokio::test]
async fn nginx_with_tls() {
    let configuration = |port, server, folder: &Path| {
        let folder = folder.display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|kind| format!("{kind}_temp_path {folder}/{kind};\n"))
            .collect();
        format!(
            "daemon off; master_process off; pid {folder}/pid; error_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n\
             {temporary}server {{\nlisten 127.0.0.1:{port} ssl;\nssl_certificate {folder}/both.pem;\n\
             ssl_certificate_key {folder}/both.pem;\nlocation / {{\nproxy_pass http://127.0.0.1:{server};\n\
             proxy_http_version 1.1;\nproxy_set_header Upgrade $http_upgrade;\nproxy_set_header Connection upgrade;\n\
             proxy_read_timeout 2s;\nproxy_send_timeout 2s;\n}}\n}}\n}}\n"
        )
    };
    talks_through("nginx", configuration, &["-e", "stderr", "-c"]).await;
}

#[tokio::test]
async fn haproxy_with_tls() {
    let configuration = |port, server, folder: &Path| {
        format!(
            "defaults\nmode http\ntimeout connect 5s\ntimeout client 2s\ntimeout server 2s\ntimeout tunnel 2s\n\
             frontend tls\nbind 127.0.0.1:{port} ssl crt {}/both.pem\ndefault_backend peer\n\
             backend peer\nserver peer 127.0.0.1:{server}\n",
            folder.display()
        )
    };
    talks_through("haproxy", configuration, &["-q", "-f"]).await;
}

/// Directly and over TLS, with names resolved on either side of the proxy, which knows its users.
#[tokio::test]
async fn microsocks() {
    let configure = |command: &mut Command, port: u16, _: &Path| {
        command.args(["-i", "127.0.0.1", "-p", &port.to_string(), "-u", "me", "-P", "s3cret"]);
    };
    let Some(proxy) = Peer::proxy_with("microsocks", configure).await else { return };
    let authority = Authority::new("test");
    let (certificate, ca) = (<[String; 2]>::from(authority.issue_files("localhost")), authority.file("ca.pem"));
    for certificate in [&[][..], &certificate] {
        let Some(mut server) = Peer::server("node", "ws.cjs", "node_modules/ws", certificate).await else { return };
        let url = format!("{}://localhost:{}", if certificate.is_empty() { "ws" } else { "wss" }, server.port);
        for scheme in ["socks5", "socks5h"] {
            let through = format!("{scheme}://me:s3cret@127.0.0.1:{}", proxy.port);
            talk(&url, &["--ca-cert", &ca, "--proxy", &through]).await.unwrap();
            server.got_close("closed 4123 grüße vom Gast").await;
        }
        let stranger = format!("socks5h://me:wrong@127.0.0.1:{}", proxy.port);
        let why = talk(&url, &["--ca-cert", &ca, "--proxy", &stranger]).await.unwrap_err();
        assert!(why.contains("refuses the user or the password"), "{why}");
    }
}
