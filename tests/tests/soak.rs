//! Guests that talk for a long time, with faults: memory stays flat, descriptors are closed, and every message
//! is accounted for. `make soak` runs the long form; `SOAK_SECONDS` and `SOAK_CONNECTS` say how long.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use futures_util::{SinkExt, StreamExt};
use std::{
    collections::{BTreeMap, HashMap},
    process::Stdio,
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant},
};
use test_peer::{TEXT, frame};
use tests::{guest_path, kernel, program, soak_message::Rng};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    sync::Mutex,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{ErrorResponse, Request, Response},
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

/// By how many bytes a process may grow after its warm-up: allocators return memory late.
const SLACK: usize = 8 << 20;

fn variable<T: FromStr>(name: &str, default: T) -> T {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

/// Samples of a process over its life.
#[derive(Default)]
struct Samples(Vec<(usize, usize)>);

impl Samples {
    fn take(&mut self, process: u32) {
        self.0.push((kernel::resident_bytes(process), kernel::descriptors(process)));
    }

    /// Fails when memory went on growing after a third of the time.
    fn check(&self) {
        let third = self.0.len() / 3;
        let most = |samples: &[(usize, usize)]| samples.iter().map(|sample| sample.0).max().unwrap_or_default();
        let (middle, end) = (most(&self.0[third..2 * third]), most(&self.0[2 * third..]));
        let [first, last] = [self.0.first(), self.0.last()].map(|sample| sample.expect("samples were taken"));
        println!(
            "resident KiB: first {}, last {}, most {}; descriptors: first {}, last {}",
            first.0 / 1024,
            last.0 / 1024,
            most(&self.0) / 1024,
            first.1,
            last.1
        );
        assert!(third > 0 && end <= middle + SLACK, "memory grows: {:?}", self.0);
    }
}

#[tokio::test]
async fn connects_and_closes_through_one_instance_leave_memory_and_descriptors_as_they_were() {
    let count = variable("SOAK_CONNECTS", 1000_u32);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://localhost:{}/", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut socket = tokio_tungstenite::accept_async(tcp).await.unwrap();
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_text() {
                        socket.send(message).await.unwrap();
                    }
                }
            });
        }
    });
    let mut guest = program();
    guest.args(["run", "--allow", "localhost"]).arg(guest_path("soak")).args(["--", "churn", &url, &count.to_string()]);
    let mut guest = guest.stdout(Stdio::piped()).spawn().unwrap();
    let process = guest.id().unwrap();
    let mut lines = BufReader::new(guest.stdout.take().unwrap()).lines();
    let (mut samples, begun) = (Samples::default(), Instant::now());
    while let Some(line) = timeout(Duration::from_secs(60), lines.next_line()).await.expect("it goes on").unwrap() {
        assert!(line.starts_with("done "), "{line}");
        // It may have ended with its last line.
        if !line.ends_with(&count.to_string()) {
            samples.take(process);
        }
    }
    assert!(guest.wait().await.unwrap().success());
    println!("{count} connects in {:.1?}", begun.elapsed());
    samples.check();
    let [first, last] = [samples.0.first(), samples.0.last()].map(|sample| sample.unwrap().1);
    // The last connection may be on its way out.
    assert!(last <= first + 2, "descriptors grow from {first} to {last}");
}

/// What the server does to one connection, after some messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// Continues until the guest closes.
    Talks,
    Refuses,
    Closes,
    Resets,
    CutsMidFrame,
    BreaksTheRules,
    Stalls,
    EndsTcp,
}

const FATES: [Fate; 8] = [
    Fate::Talks,
    Fate::Refuses,
    Fate::Closes,
    Fate::Resets,
    Fate::CutsMidFrame,
    Fate::BreaksTheRules,
    Fate::Stalls,
    Fate::EndsTcp,
];

/// The account of a connection at one end.
#[derive(Debug, Clone)]
struct Account {
    /// Messages of the guest: those that `send` took, or those that the server got.
    up: u64,
    /// Messages of the server: those that it wrote whole, or those that the guest received.
    down: u64,
    end: String,
}

type Accounts = HashMap<String, Account>;

/// Serves guests with a fate for each connection, and keeps the accounts by the query of their URL.
async fn serve(listener: TcpListener, seed: u64, accounts: Arc<Mutex<Accounts>>) {
    while let Ok((tcp, _)) = listener.accept().await {
        let accounts = Arc::clone(&accounts);
        tokio::spawn(async move {
            tcp.set_nodelay(true).unwrap();
            let mut life = String::new();
            let mut fate = Fate::Talks;
            #[allow(clippy::result_large_err, reason = "the signature is tungstenite's")]
            let handshake = |request: &Request, response: Response| {
                life = request.uri().query().expect("a guest says who it is").to_owned();
                fate = FATES[Rng::new(seed ^ hash(&life)).below(FATES.len() as u64) as usize];
                match fate {
                    Fate::Refuses => {
                        let mut refusal = ErrorResponse::new(Some("not now".to_owned()));
                        *refusal.status_mut() = tokio_tungstenite::tungstenite::http::StatusCode::SERVICE_UNAVAILABLE;
                        Err(refusal)
                    }
                    _ => Ok(response),
                }
            };
            let mut account = Account { up: 0, down: 0, end: String::new() };
            if let Ok(mut socket) = accept_hdr_async(tcp, handshake).await {
                let messages = Rng::new(hash(&life)).below(300);
                talk(&mut socket, fate, messages, &mut account).await;
            }
            account.end = format!("{fate:?}");
            accounts.lock().await.insert(life, account);
        });
    }
}

fn hash(text: &str) -> u64 {
    text.bytes().fold(17, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()))
}

/// Echoes this many messages, in varied ways, then applies the fate.
async fn talk(socket: &mut WebSocketStream<TcpStream>, fate: Fate, messages: u64, account: &mut Account) {
    while fate == Fate::Talks || account.down < messages {
        match socket.next().await {
            Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                account.up += 1;
                // The guest may leave while the server sends.
                if echo(socket, message, account.up).await.is_err() {
                    return;
                }
                account.down += 1;
            }
            Some(Ok(_)) => {}
            _ => return,
        }
    }
    // The guest reports how the connection ends.
    let _ = match fate {
        Fate::Closes => {
            let _ = socket.close(Some(CloseFrame { code: CloseCode::Away, reason: "enough".into() })).await;
            drain(socket, account).await;
            Ok(())
        }
        Fate::Resets => socket.get_ref().set_zero_linger(),
        Fate::CutsMidFrame => socket.get_mut().write_all(&frame(TEXT, "cut")[..3]).await,
        Fate::BreaksTheRules => {
            let _ = socket.get_mut().write_all(&frame(0xF1, "")).await;
            drain(socket, account).await;
            Ok(())
        }
        Fate::Stalls => {
            // Not even pongs: tungstenite is not asked.
            let mut silent = [0; 4096];
            while !matches!(tokio::io::AsyncReadExt::read(socket.get_mut(), &mut silent).await, Ok(0) | Err(_)) {}
            Ok(())
        }
        Fate::Talks | Fate::Refuses | Fate::EndsTcp => Ok(()),
    };
}

/// Hears the guest out, and answers nothing.
async fn drain(socket: &mut WebSocketStream<TcpStream>, account: &mut Account) {
    while let Some(Ok(message)) = socket.next().await {
        account.up += u64::from(message.is_text() || message.is_binary());
    }
}

/// Sends a message back: as it is, in fragments around a ping, or in small pieces.
async fn echo(socket: &mut WebSocketStream<TcpStream>, message: Message, number: u64) -> Result<(), Error> {
    let (opcode, data) = (if message.is_text() { 1 } else { 2 }, message.clone().into_data());
    match number % 10 {
        1 if data.len() < 5000 => {
            let middle = data.len() / 2;
            let parts = [frame(opcode, &data[..middle]), frame(0x89, "still there?"), frame(0x80, &data[middle..])];
            socket.get_mut().write_all(&parts.concat()).await?;
        }
        2 if data.len() < 500 => {
            for byte in frame(0x80 | opcode, data) {
                socket.get_mut().write_all(&[byte]).await?;
                tokio::task::yield_now().await;
            }
        }
        _ => socket.send(message).await?,
    }
    Ok(())
}

type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traffic_through_faults_is_accounted_for_and_leaves_memory_and_descriptors_as_they_were() {
    let (seconds, guests) = (variable("SOAK_SECONDS", 8_u64), variable("SOAK_GUESTS", 40_u64));
    let seed = variable("SOAK_SEED", u64::from(std::process::id()));
    println!("SOAK_SEED={seed}");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://localhost:{}/", listener.local_addr().unwrap().port());
    let served: Arc<Mutex<Accounts>> = Arc::default();
    let server = tokio::spawn(serve(listener, seed, Arc::clone(&served)));
    let mut host = Command::new(env!("CARGO_BIN_EXE_soak_host"));
    host.args([&url, &guests.to_string(), &seconds.to_string()]).kill_on_drop(true);
    let mut host = host.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (lives, samples, ready) = watch(&mut host, Duration::from_secs(seconds + 120)).await;
    let process = host.id().unwrap();
    let sockets = kernel::sockets().into_iter().filter(|socket| url.contains(&format!(":{}/", socket.remote.port())));
    assert_eq!(sockets.count(), 0, "the host has sockets left");
    let (memory, descriptors) = (kernel::resident_bytes(process), kernel::descriptors(process));
    host.stdin.take().unwrap().write_all(b"\n").await.unwrap();
    assert!(host.wait().await.unwrap().success(), "a guest failed");
    server.abort();
    // A connection's account is kept after the guest has seen its end.
    let settled = async {
        while served.lock().await.len() < lives.len() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(30), settled).await.expect("the server knows of every connection");
    settle(&lives, &*served.lock().await);
    println!("at the end: resident KiB {}, descriptors {descriptors}", memory / 1024);
    samples.check();
    assert!(descriptors <= ready, "{ready} descriptors before, and {descriptors} after");
}

/// Reads what guests say of their connections until the host has closed all, and samples it once a second. Gives
/// the descriptors that it had before its guests as well.
async fn watch(host: &mut Child, limit: Duration) -> (Accounts, Samples, usize) {
    let process = host.id().unwrap();
    let mut lines = BufReader::new(host.stdout.take().unwrap()).lines();
    let (mut lives, mut samples, begun) = (Accounts::new(), Samples::default(), Instant::now());
    let mut ready = 0;
    let mut second = tokio::time::interval(Duration::from_secs(1));
    loop {
        let line = tokio::select! {
            line = lines.next_line() => line.unwrap().expect("the host says when it is done"),
            _ = second.tick() => {
                samples.take(process);
                assert!(begun.elapsed() < limit, "it does not end");
                if samples.0.len() % 10 == 0 {
                    let (memory, descriptors) = samples.0[samples.0.len() - 1];
                    let messages: u64 = lives.values().map(|life| life.up + life.down).sum();
                    println!(
                        "{:4} s: {} connections ended, {messages} messages, resident KiB {}, descriptors {descriptors}",
                        samples.0.len(), lives.len(), memory / 1024
                    );
                }
                continue;
            }
        };
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["ready"] => ready = kernel::descriptors(process),
            ["closed"] => return (lives, samples, ready),
            ["life", guest, life, up, down, end] => {
                let account = Account { up: up.parse().unwrap(), down: down.parse().unwrap(), end: end.to_owned() };
                assert!(lives.insert(format!("{guest}-{life}"), account).is_none());
            }
            _ => panic!("{line}"),
        }
    }
}

/// Compares the accounts of the guests with those of the server, and prints how connections ended.
fn settle(lives: &Accounts, served: &Accounts) {
    let mut ends = BTreeMap::<(&str, &str), (u64, u64, u64)>::new();
    for (name, guest) in lives {
        let server = served.get(name).unwrap_or_else(|| panic!("the server does not know {name}"));
        let entry = ends.entry((&server.end, &guest.end)).or_default();
        *entry = (entry.0 + 1, entry.1 + guest.up, entry.2 + guest.down);
        let why = format!("{name}: the guest says {guest:?}, the server {server:?}");
        assert!(server.up <= guest.up && guest.down <= server.down + 1, "{why}");
        let clean = guest.end.starts_with("close-");
        if clean || guest.end == "protocol-error" {
            assert_eq!(guest.down, server.down, "{why}");
        }
        if clean && server.end == "Talks" {
            assert_eq!(guest.up, server.up, "{why}");
        }
        let expected: &[&str] = match server.end.as_str() {
            "Talks" => &["close-1000"],
            "Refuses" => &["connection-failed"],
            "Closes" => &["close-1001", "close-1000"],
            "BreaksTheRules" => &["protocol-error", "close-1000"],
            "Stalls" => &["timeout", "close-1000"],
            _ => &["io-error", "close-1000"],
        };
        assert!(expected.contains(&&*guest.end), "{why}");
    }
    println!("server | guest | connections | sent | received");
    for ((server, guest), (count, up, down)) in ends {
        println!("{server} | {guest} | {count} | {up} | {down}");
    }
}
