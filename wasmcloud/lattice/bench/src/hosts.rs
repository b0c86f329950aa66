//! The three hosts, and a guest in each that measures calls.

use anyhow::{Context, Result, ensure};
use lattice_tests::{COMPONENT, Lattice, measure};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    net::{TcpListener, TcpStream},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::{sleep, timeout},
};

/// What a round may take.
const LIMIT: Duration = Duration::from_secs(120);

fn built(file: &str) -> Result<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..").join(file);
    path.canonicalize().with_context(|| format!("{} is missing: run `make bench-wasmcloud`", path.display()))
}

/// The stand-alone program, with a command.
pub(crate) struct Program {
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Program {
    pub(crate) async fn start() -> Result<Program> {
        let mut process = Command::new(built("target/debug/websocket-provider")?)
            .args(["run", "--allow", "localhost"])
            .arg(built("wasmcloud/target/wasm32-wasip2/release/measure-guest.wasm")?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdin = process.stdin.take().context("the program has a standard input")?;
        let stdout = process.stdout.take().context("the program has a standard output")?;
        Ok(Program { stdin, lines: BufReader::new(stdout).lines(), _process: process })
    }

    pub(crate) async fn measure(&mut self, url: &str, count: u32) -> Result<String> {
        self.stdin.write_all(format!("{url} {count}\n").as_bytes()).await?;
        let mut said = String::new();
        for _ in 0..2 {
            let line = timeout(LIMIT, self.lines.next_line()).await.context("the program takes too long")??;
            said += &line.context("the program ended")?;
            said.push('\n');
        }
        Ok(said)
    }
}

/// wasmCloud's host with the plugin, with a component that answers HTTP.
pub(crate) struct Plugin {
    http: SocketAddr,
    _process: Child,
}

impl Plugin {
    pub(crate) async fn start(url: &str) -> Result<Plugin> {
        // The host cannot say which port it was given, so that it is given one that was free just now.
        let http = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
        let mut process = Command::new(built("wasmcloud/target/debug/wasmcloud-websocket-host")?)
            .args(["--listen", &http.to_string(), "--set", "allow=localhost", "--env", &format!("WS_URL={url}")])
            .arg(built("wasmcloud/target/wasm32-wasip2/release/http_guest.wasm")?)
            .stdout(Stdio::piped())
            // Each line of its log is a connection.
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        // It says where it serves.
        let stdout = process.stdout.take().context("the host has a standard output")?;
        timeout(LIMIT, BufReader::new(stdout).lines().next_line()).await?.context("wasmCloud's host does not serve")?;
        Ok(Plugin { http, _process: process })
    }

    pub(crate) async fn measure(&self, count: u32) -> Result<String> {
        let mut tcp = TcpStream::connect(self.http).await?;
        tcp.write_all(format!("GET /measure/{count} HTTP/1.0\r\nHost: {}\r\n\r\n", self.http).as_bytes()).await?;
        let mut answer = String::new();
        timeout(LIMIT, tcp.read_to_string(&mut answer)).await.context("wasmCloud's host takes too long")??;
        let (head, body) = answer.split_once("\r\n\r\n").context("wasmCloud's host does not answer")?;
        ensure!(head.contains(" 200 "), "wasmCloud's host answers {answer:?}");
        Ok(body.to_owned())
    }
}

/// wasmCloud's 1.x host, NATS and one replica of the provider.
pub(crate) struct OnLattice(Lattice);

impl OnLattice {
    pub(crate) async fn start(url: &str) -> Result<OnLattice> {
        let lattice = Lattice::start(1).await;
        lattice.link(COMPONENT, "default", &[("allow", "localhost")]).await;
        for host in &lattice.hosts {
            lattice.start_provider(host).await;
            lattice.start_component(host).await;
        }
        lattice.replicas(1, COMPONENT, "default").await;
        // The host says that it will start the component: until then nobody takes the call.
        let answers = async {
            while measure(&lattice, url, 1).await.is_err() {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(LIMIT, answers).await.context("the component does not answer")?;
        Ok(OnLattice(lattice))
    }

    pub(crate) async fn measure(&self, url: &str, count: u32) -> Result<String> {
        timeout(LIMIT, measure(&self.0, url, count)).await.context("the lattice takes too long")?
    }
}
