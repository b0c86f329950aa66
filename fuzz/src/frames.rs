//! Frames off the wire into a live connection, between whatever a guest does with it.

use crate::reference::{CLOSE, End, PONG, TEXT, decode};
use arbitrary::{Arbitrary, Unstructured};
use std::{sync::LazyLock, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex, split},
    runtime::Builder,
    time::{sleep, timeout},
};
use websocket_connection::{CloseInfo, ConnectConfig, Connection, Endpoint, Error, Message, Settings};

#[derive(Debug, Arbitrary)]
struct Case {
    is_client: bool,
    largest: u8,
    small_inbox: bool,
    steps: Vec<Step>,
}

#[derive(Debug, Arbitrary)]
enum Step {
    /// Bytes of the peer.
    Wire(Vec<u8>),
    /// A frame of the peer, with a right length and mask.
    Frame(u8, Vec<u8>),
    Receive,
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, Option<String>),
    /// Lets time pass, in milliseconds.
    Pause(u16),
}

/// Longer than all pauses and every limit of the connection together.
const LONG: Duration = Duration::from_secs(365 * 24 * 3600);

/// Runs one case; fails where the connection does not do as the contract says.
pub fn frames(data: &[u8]) {
    let Ok(case) = Case::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(async { timeout(LONG, play(case)).await.expect("nothing waits for ever") });
}

/// What the guest saw.
#[derive(Default)]
struct Seen {
    messages: Vec<(u8, Vec<u8>)>,
    failure: Option<Error>,
    over: bool,
}

impl Seen {
    async fn receive(&mut self, connection: &Connection) {
        let outcome = connection.receive().await;
        assert!(!self.over || outcome == Err(Error::ConnectionClosed), "{outcome:?} after the end");
        match outcome {
            Ok(None) => {}
            Ok(Some(message)) => {
                assert!(self.failure.is_none(), "{message:?} after {:?}", self.failure);
                self.messages.push(flat(message));
            }
            Err(Error::ConnectionClosed) => self.over = true,
            Err(error) => {
                assert!(self.failure.is_none(), "{error} after {:?}", self.failure);
                self.failure = Some(error);
            }
        }
    }
}

fn flat(message: Message) -> (u8, Vec<u8>) {
    match message {
        Message::Text(text) => (TEXT, text.into_bytes()),
        Message::Binary(data) => (2, data.into()),
        Message::Ping(data) => (9, data.into()),
        Message::Pong(data) => (PONG, data.into()),
        Message::Close(CloseInfo { code: 1005, reason: None }) => (CLOSE, vec![]),
        Message::Close(info) => {
            (CLOSE, [&info.code.to_be_bytes()[..], info.reason.unwrap_or_default().as_bytes()].concat())
        }
    }
}

async fn play(case: Case) {
    // An endpoint reads the certificates of the system, which takes longer than all of this.
    static ENDPOINTS: LazyLock<[Endpoint; 2]> = LazyLock::new(|| {
        ["1", "1MiB"].map(|inbound_buffer| {
            let mut settings = Settings::default();
            settings.set("inbound-buffer", inbound_buffer).expect("a size");
            settings.set("keepalive", "false").expect("a choice");
            Endpoint::new(settings).expect("good settings")
        })
    });
    let (largest, endpoint) = (usize::from(case.largest) + 1, &ENDPOINTS[usize::from(!case.small_inbox)]);
    let config = ConnectConfig {
        url: "ws://localhost/".to_owned(),
        max_message_size: Some(largest),
        ..ConnectConfig::default()
    };
    let (near, far) = duplex(1 << 20);
    let connection = endpoint.over(near, case.is_client, config).expect("good wishes");
    let (mut from, mut to) = split(far);
    let heard = tokio::spawn(async move {
        let mut heard = Vec::new();
        // How the connection ends is not the question here.
        let _ = from.read_to_end(&mut heard).await;
        heard
    });
    let (mut wire, mut sent, mut seen) = (Vec::new(), Vec::new(), Seen::default());
    let (mut closed, mut state) = (false, connection.state());
    for step in case.steps {
        match step {
            Step::Wire(bytes) => say(&mut to, &mut wire, &bytes).await,
            Step::Frame(first, payload) => say(&mut to, &mut wire, &frame(first, &payload, !case.is_client)).await,
            Step::Receive => seen.receive(&connection).await,
            Step::Text(text) => send(&connection, Message::Text(text), largest, &mut sent).await,
            Step::Binary(data) => send(&connection, Message::Binary(data.into()), largest, &mut sent).await,
            Step::Ping(data) => send(&connection, Message::Ping(data.into()), 125, &mut sent).await,
            Step::Pong(data) => send(&connection, Message::Pong(data.into()), 125, &mut sent).await,
            Step::Close(code, reason) => closed |= connection.close(code, reason).is_ok(),
            Step::Pause(millis) => sleep(Duration::from_millis(millis.into())).await,
        }
        let now = connection.state();
        assert!(state <= now, "from {state:?} to {now:?}");
        state = now;
    }
    // The peer ends what it says, and the guest takes the rest.
    let _ = to.shutdown().await;
    while !seen.over {
        seen.receive(&connection).await;
    }
    drop(connection);
    let expected = decode(&wire, !case.is_client, largest, true);
    assert!(expected.messages.starts_with(&seen.messages), "{:?} instead of {:?}", seen.messages, expected.messages);
    if !closed {
        assert_eq!(seen.messages, expected.messages);
        match (expected.end, &seen.failure) {
            (End::Closed, None) | (End::Cut, Some(Error::Io(_))) => {}
            (End::Broken, Some(Error::Protocol(_) | Error::InvalidMessage(_))) => {}
            (end, failure) => panic!("{failure:?} instead of {end:?}"),
        }
    }
    let heard = decode(&heard.await.expect("it hears to the end"), case.is_client, usize::MAX, false);
    assert_ne!(heard.end, End::Broken, "what is sent breaks the rules");
    // Pongs are the guest's and the answers to pings.
    let data = |messages: &[(u8, Vec<u8>)]| {
        messages.iter().filter(|(kind, _)| *kind != PONG && *kind != CLOSE).cloned().collect::<Vec<_>>()
    };
    assert!(data(&sent).starts_with(&data(&heard.messages)), "what is heard is not what was sent");
    let closes = heard.messages.iter().filter(|(kind, _)| *kind == CLOSE).count();
    assert!(closes <= 1 && (closes == 0 || heard.messages.last().is_some_and(|(kind, _)| *kind == CLOSE)));
}

/// Writes what the peer says, as far as the connection takes it.
async fn say(to: &mut (impl AsyncWriteExt + Unpin), wire: &mut Vec<u8>, bytes: &[u8]) {
    // Once the connection is gone nobody hears it.
    if to.write_all(bytes).await.is_ok() {
        wire.extend(bytes);
    }
}

async fn send(connection: &Connection, message: Message, most: usize, sent: &mut Vec<(u8, Vec<u8>)>) {
    let (fits, said) = (message.len() <= most, flat(message.clone()));
    match connection.send(message).await {
        Ok(()) => {
            assert!(fits, "too much was sent");
            sent.push(said);
        }
        Err(Error::InvalidMessage(_)) => assert!(!fits, "too little was refused"),
        // A send that fails says that the end is near, and takes nothing from what is received.
        Err(Error::ConnectionClosed | Error::Io(_)) => {}
        Err(error) => panic!("send gave {error}"),
    }
}

fn frame(first: u8, payload: &[u8], masked: bool) -> Vec<u8> {
    let mut frame = vec![first];
    let bit = if masked { 0x80 } else { 0 };
    match payload.len() {
        length @ ..=125 => frame.push(bit | length as u8),
        length @ ..=65_535 => {
            frame.push(bit | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(bit | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    if masked {
        let key = [0x12, 0x34, 0x56, 0x78];
        frame.extend(key);
        frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    } else {
        frame.extend(payload);
    }
    frame
}
