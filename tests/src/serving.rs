//! The program's `serve` with a module under test, and its clients.

use crate::{Running, soon};
use std::process::ExitStatus;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Error, protocol::WebSocketConfig},
};

/// A third-party client.
pub type Client = WebSocketStream<TcpStream>;

/// A module that is served.
pub struct Serving {
    program: Running,
    /// Where it listens: host and port.
    pub address: String,
    _folder: TempDir,
}

/// The response to an HTTP client.
#[derive(Debug)]
pub struct Answered {
    /// The status.
    pub status: u16,
    /// The head as it came.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Serving {
    /// Serves a module that is given as text or bytes, on a free port.
    pub async fn start(module: impl AsRef<[u8]>, options: &[&str]) -> Serving {
        Serving::start_in(&[], module, options).await
    }

    /// Does so by a command that ends with the program and its arguments.
    pub async fn start_in(wrapper: &[&str], module: impl AsRef<[u8]>, options: &[&str]) -> Serving {
        let folder = TempDir::new().expect("a folder can be made");
        let file = folder.path().join("guest.wasm");
        let bytes = wat::parse_bytes(module.as_ref()).expect("the module is well-formed");
        std::fs::write(&file, bytes).expect("the module can be written");
        let file = file.to_str().expect("the path is UTF-8");
        let args = [&["serve", "--listen", "127.0.0.1:0"], options, &[file]].concat();
        let mut program = if wrapper.is_empty() { Running::start(&args) } else { Running::start_in(wrapper, &args) };
        let url = program.line("listening on ").await;
        let (_, address) = url.split_once("://").expect("it prints a URL");
        Serving { program, address: address.trim_end_matches('/').to_owned(), _folder: folder }
    }

    /// Opens a WebSocket.
    pub async fn dial(&self) -> Client {
        self.try_dial("/").await.expect("the guest upgrades")
    }

    /// Asks for a WebSocket at a path.
    pub async fn try_dial(&self, path: &str) -> Result<Client, Error> {
        let tcp = TcpStream::connect(&self.address).await.expect("it listens");
        tcp.set_nodelay(true).expect("it is TCP");
        let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        let url = format!("ws://{}{path}", self.address);
        soon(client_async_with_config(url, tcp, Some(config))).await.map(|(client, _)| client)
    }

    /// Sends a request, whose head ends its connection, and reads all of the answer.
    pub async fn ask(&self, method: &str, path: &str, fields: &str, body: impl AsRef<[u8]>) -> Answered {
        let mut tcp = TcpStream::connect(&self.address).await.expect("it listens");
        let body = body.as_ref();
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let head = format!("{method} {path} HTTP/1.1\r\nHost: here.test\r\nConnection: close\r\n{length}{fields}\r\n");
        tcp.write_all(head.as_bytes()).await.expect("it can be asked");
        // A server that rejects a body may not read it.
        let _ = tcp.write_all(body).await;
        let mut all = Vec::new();
        // It may also reset the connection because of unread bytes.
        let _ = soon(tcp.read_to_end(&mut all)).await;
        Answered::parse(all).expect("an answer has a head")
    }

    /// Requests a page; `None` if the program ends before it answers.
    pub async fn try_ask(&self, path: &str) -> Option<Answered> {
        let mut tcp = TcpStream::connect(&self.address).await.ok()?;
        let head = format!("GET {path} HTTP/1.1\r\nHost: here.test\r\nConnection: close\r\n\r\n");
        tcp.write_all(head.as_bytes()).await.ok()?;
        let mut all = Vec::new();
        soon(tcp.read_to_end(&mut all)).await.ok()?;
        Answered::parse(all)
    }

    /// Waits for a line on its standard output with this prefix; returns the remainder.
    pub async fn prints(&mut self, prefix: &str) -> String {
        self.program.line(prefix).await
    }

    /// Sends SIGINT, as Ctrl-C does; returns the exit status and the log.
    pub async fn interrupt(self) -> (ExitStatus, String) {
        self.program.interrupt().await
    }

    /// The number of the process.
    pub fn process(&self) -> u32 {
        self.program.process()
    }
}

impl Answered {
    /// `None` where the head is not whole.
    fn parse(mut all: Vec<u8>) -> Option<Answered> {
        let end = all.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = String::from_utf8(all[..end].to_vec()).expect("a head is text");
        let status = head.get(9..12).and_then(|status| status.parse().ok()).expect("a head begins with a status");
        Some(Answered { status, head, body: all.split_off(end + 4) })
    }

    /// The values of a header field, whose name is in lower case.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        fields.filter(|(field, _)| *field == name).map(|(_, value)| value).collect()
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }
}
