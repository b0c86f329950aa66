//! The guest `probe`, which makes the calls that a test asks for, in the program or in a host of the test's
//! own.

#[path = "../guests/probe/src/protocol.rs"]
mod protocol;

pub use protocol::{Answer, Ask, Config, Failure, Message, State};

use crate::{guest_path, interrupt, program, second_host, soon};
use std::{
    fmt::Debug,
    process::{ExitStatus, Stdio},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, Lines},
    process::Child,
    task::JoinHandle,
};

/// A guest that waits for commands.
pub struct Probe {
    input: Box<dyn AsyncWrite + Send + Unpin>,
    output: Lines<BufReader<Box<dyn AsyncRead + Send + Unpin>>>,
    /// The program and its whole log, where it runs in one.
    program: Option<(Child, JoinHandle<String>)>,
}

impl Probe {
    /// Starts the program with these options of `run`, and all of this machine allowed.
    pub fn start(options: &[&str]) -> Probe {
        Probe::start_with_rules(&[&["--allow", "localhost"], options].concat())
    }

    /// Starts the program with no more options than these; or the second host, where the tests are run on it.
    pub fn start_with_rules(options: &[&str]) -> Probe {
        let mut command = second_host::command(options).unwrap_or_else(|| {
            let mut command = program();
            command.arg("run").args(options).arg(guest_path("probe"));
            command
        });
        command.env("RUST_LOG", "trace,wasmtime=off,cranelift=off,regalloc2=off");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let input = Box::new(child.stdin.take().expect("it is piped"));
        let output = Box::new(child.stdout.take().expect("it is piped"));
        let mut errors = child.stderr.take().expect("it is piped");
        let log = tokio::spawn(async move {
            let mut log = String::new();
            errors.read_to_string(&mut log).await.expect("its log is text");
            log
        });
        Probe { program: Some((child, log)), ..Probe::over(input, output) }
    }

    /// A probe whose standard input and output these are.
    pub fn over(input: Box<dyn AsyncWrite + Send + Unpin>, output: Box<dyn AsyncRead + Send + Unpin>) -> Probe {
        Probe { input, output: BufReader::new(output).lines(), program: None }
    }

    /// Sends a command to the guest; [`Probe::answer`] returns the result.
    pub async fn ask(&mut self, ask: &Ask) {
        let mut line = serde_json::to_vec(ask).expect("an ask is JSON");
        line.push(b'\n');
        soon(self.input.write_all(&line)).await.expect("the guest listens");
    }

    /// The result of the last command.
    pub async fn answer(&mut self) -> Answer {
        match soon(self.output.next_line()).await.expect("its output can be read") {
            Some(line) => serde_json::from_str(&line).expect("the probe answers in its protocol"),
            None => panic!("the guest is gone: {:?}", self.ended().await),
        }
    }

    async fn done(&mut self, ask: Ask) -> Result<(), Failure> {
        self.ask(&ask).await;
        self.outcome().await
    }

    /// The answer to [`Ask::Send`], [`Ask::Burst`] and the like.
    pub async fn outcome(&mut self) -> Result<(), Failure> {
        match self.answer().await {
            Answer::Done(outcome) => outcome,
            other => panic!("this gave {other:?}"),
        }
    }

    /// `connect`; gives the number of the connection.
    pub async fn connect(&mut self, config: Config) -> Result<u32, Failure> {
        self.ask(&Ask::Connect(config)).await;
        match self.answer().await {
            Answer::Connected(outcome) => outcome,
            other => panic!("connect gave {other:?}"),
        }
    }

    /// `send`.
    pub async fn send(&mut self, on: u32, message: Message) -> Result<(), Failure> {
        self.done(Ask::Send(on, message)).await
    }

    /// `close`.
    pub async fn close(&mut self, on: u32, code: Option<u16>, reason: Option<&str>) -> Result<(), Failure> {
        self.done(Ask::Close(on, code, reason.map(str::to_owned))).await
    }

    /// `receive`, once.
    pub async fn receive_once(&mut self, on: u32) -> Result<Option<Message>, Failure> {
        self.ask(&Ask::Receive(on)).await;
        self.received().await
    }

    /// The answer to [`Ask::Receive`].
    pub async fn received(&mut self) -> Result<Option<Message>, Failure> {
        match self.answer().await {
            Answer::Received(outcome) => outcome,
            other => panic!("receive gave {other:?}"),
        }
    }

    /// The next result of `receive` other than `none`.
    pub async fn receive(&mut self, on: u32) -> Result<Message, Failure> {
        loop {
            if let Some(message) = self.receive_once(on).await.transpose() {
                return message;
            }
        }
    }

    /// Asserts that there is nothing more to come, now and later.
    pub async fn is_over(&mut self, on: u32) {
        for _ in 0..2 {
            assert_eq!(self.receive_once(on).await, Err(Failure::ConnectionClosed));
        }
    }

    /// `get-state`.
    pub async fn state(&mut self, on: u32) -> State {
        self.ask(&Ask::State(on)).await;
        match self.answer().await {
            Answer::State(state) => state,
            other => panic!("get-state gave {other:?}"),
        }
    }

    /// Waits for a state, which nothing announces to a guest.
    pub async fn reaches(&mut self, on: u32, state: State) {
        soon(async { while self.state(on).await != state {} }).await;
    }

    /// `get-url`.
    pub async fn url(&mut self, on: u32) -> String {
        self.ask(&Ask::Url(on)).await;
        match self.answer().await {
            Answer::Text(Some(url)) => url,
            other => panic!("get-url gave {other:?}"),
        }
    }

    /// `get-subprotocol`.
    pub async fn subprotocol(&mut self, on: u32) -> Option<String> {
        self.ask(&Ask::Subprotocol(on)).await;
        match self.answer().await {
            Answer::Text(subprotocol) => subprotocol,
            other => panic!("get-subprotocol gave {other:?}"),
        }
    }

    /// Drops a connection.
    pub async fn drop_connection(&mut self, on: u32) {
        self.done(Ask::Drop(on)).await.expect("dropping cannot fail");
    }

    /// The process of the program.
    pub fn process(&self) -> u32 {
        second_host::must_not_run();
        let (child, _) = self.program.as_ref().expect("it runs in the program");
        child.id().expect("it runs")
    }

    /// Sends SIGINT to the program; returns how it ended and its log.
    pub async fn interrupt(mut self) -> (ExitStatus, String) {
        let (child, _) = self.program.as_ref().expect("it runs in the program");
        interrupt(child).await;
        self.ended().await
    }

    /// Ends the guest's input, and so the guest; returns how the program ended and its log.
    pub async fn end(mut self) -> (ExitStatus, String) {
        self.input = Box::new(tokio::io::sink());
        self.ended().await
    }

    async fn ended(&mut self) -> (ExitStatus, String) {
        let (child, log) = self.program.as_mut().expect("it runs in the program");
        let status = soon(child.wait()).await.expect("it ends");
        (status, soon(log).await.expect("its log was read"))
    }
}

/// A value's case as the WIT package writes it.
pub fn case(value: &impl Debug) -> String {
    let text = format!("{value:?}");
    let name = text.split(|c: char| !c.is_alphanumeric()).next().unwrap();
    let mut case = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !case.is_empty() {
            case.push('-');
        }
        case.push(c.to_ascii_lowercase());
    }
    case
}
