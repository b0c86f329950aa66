//! Messages in pieces and frame by frame, in both directions, over a live connection with or without compression, mixed with
//! whole messages.

use crate::{
    case::text,
    messages::{deflated, payload},
    peer::{Order, frame, peer},
    reference::{BINARY, Compression, End, PING, PONG, Stream, TEXT, decode_compressed},
};
use arbitrary::{Arbitrary, Result, Unstructured};
use std::{future::Future, sync::LazyLock, time::Duration};
use tokio::{
    io::duplex,
    runtime::Builder,
    sync::mpsc::unbounded_channel,
    time::{sleep, timeout},
};
use websocket_connection::{
    AcceptConfig, Connection, ConnectionState, Endpoint, Error, Established, Frame, Message, MessageKind, Opcode,
    ReceiveStream, Role, SendStream, Settings,
};
use websocket_protocol::deflate::{self, MemoryBudget, Offer, Options};

// An endpoint reads the certificates of the system, which takes longer than all of this.
static ENDPOINTS: LazyLock<[Endpoint; 2]> = LazyLock::new(|| {
    // A piece has as many bytes as the inbound buffer at most, and the guest takes them one by one.
    ["1KiB", "1MiB"].map(|inbound_buffer| {
        let mut settings = Settings::default();
        settings.set("inbound-buffer", inbound_buffer).expect("a size");
        Endpoint::new(settings).expect("good settings")
    })
});

/// The most steps of one run.
const STEPS: usize = 100;
/// More than any message here has.
const LARGEST: usize = 1 << 24;
/// How long a call may wait before it is given up.
const PATIENCE: Duration = Duration::from_millis(10);

#[derive(Debug)]
struct Case {
    is_client: bool,
    streams: bool,
    small_inbox: bool,
    compression: bool,
    /// How the guest receives the remaining data after its last step.
    last: Step,
    pipe: usize,
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
enum Step {
    /// A frame of the peer.
    Frame(u8, Vec<u8>),
    Receive,
    ReceiveFrame,
    /// Begins a stream, or takes its next piece.
    ReceivePiece,
    DropReceiveStream,
    Send(MessageKind, Vec<u8>),
    SendFrame(u8, Vec<u8>),
    SendStream(MessageKind),
    Write(Vec<u8>),
    Finish,
    DropSendStream,
}

impl Arbitrary<'_> for Case {
    fn arbitrary(data: &mut Unstructured<'_>) -> Result<Self> {
        let [flags, pipe]: [u8; 2] = data.arbitrary()?;
        let last = match flags >> 4 & 3 {
            0 => Step::Receive,
            1 => Step::ReceiveFrame,
            _ => Step::ReceivePiece,
        };
        let mut case = Case {
            is_client: flags & 1 == 0,
            small_inbox: flags & 2 != 0,
            streams: flags & 4 == 0,
            compression: flags & 8 == 0,
            last,
            // Fewer bytes take too many turns.
            pipe: 1 << (8 + pipe % 12),
            steps: Vec::new(),
        };
        while !data.is_empty() && case.steps.len() < STEPS {
            let step = Step::read(data.arbitrary()?, data)?;
            case.steps.push(step);
        }
        Ok(case)
    }
}

impl Step {
    fn read(step: u8, data: &mut Unstructured<'_>) -> Result<Step> {
        Ok(match step % 12 {
            0 => Step::Frame(data.arbitrary()?, payload(data)?),
            1 => {
                let first: u8 = data.arbitrary()?;
                Step::Frame(first, deflated(&payload(data)?, first & 0x10 != 0))
            }
            2 => Step::Receive,
            3 => Step::ReceiveFrame,
            4 => Step::ReceivePiece,
            5 => Step::DropReceiveStream,
            6 => Step::Send(kind(data)?, payload(data)?),
            7 => Step::SendFrame(data.arbitrary()?, payload(data)?),
            8 => Step::SendStream(kind(data)?),
            9 => Step::Write(payload(data)?),
            10 => Step::Finish,
            _ => Step::DropSendStream,
        })
    }
}

fn kind(data: &mut Unstructured<'_>) -> Result<MessageKind> {
    Ok(if data.arbitrary::<u8>()? & 1 == 0 { MessageKind::Text } else { MessageKind::Binary })
}

/// What the guest took of data messages, in order.
#[derive(Debug)]
enum Taken {
    Whole(u8, Vec<u8>),
    /// With whether it must be one frame of the wire.
    Frame(Frame, bool),
    Begin(u8),
    Piece(Vec<u8>),
    End,
    /// The rest of the message is discarded.
    Discard,
}

struct Guest {
    connection: Connection,
    streams: bool,
    taken: Vec<Taken>,
    receiving: Option<ReceiveStream>,
    /// A `receive` waited, so a message may have been assembled that is then taken as one frame.
    has_waited: bool,
    failure: Option<Error>,
    over: bool,
    sent: Vec<(u8, Vec<u8>)>,
    /// The message that is being sent in pieces: its kind, and the bytes that were sent.
    sending: Option<(SendStream, u8, Vec<u8>)>,
    /// The message that is sent frame by frame.
    frames: Option<(u8, Vec<u8>)>,
    /// A message was cut short, which closes the connection.
    has_cut: bool,
}

/// Runs one case.
pub fn streams(data: &[u8]) {
    let Ok(case) = Case::arbitrary(&mut Unstructured::new(data)) else { return };
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(play(case));
}

async fn play(case: Case) {
    let (near, far) = duplex(case.pipe);
    let mut established = Established::new(if case.is_client { Role::Client } else { Role::Server });
    established.config = AcceptConfig::new();
    established.config.streams = case.streams;
    established.config.max_message_size = Some(LARGEST);
    if case.compression {
        established.compression = Some(negotiated(case.is_client));
    }
    let connection = ENDPOINTS[usize::from(!case.small_inbox)].adopt(near, established).expect("a slot");
    let (orders, received) = unbounded_channel();
    let peer = tokio::spawn(peer(far, received));
    let order = |order| orders.send(order).expect("the peer follows orders until there are no more");
    let mut guest = Guest {
        connection,
        streams: case.streams,
        taken: Vec::new(),
        receiving: None,
        has_waited: false,
        failure: None,
        over: false,
        sent: Vec::new(),
        sending: None,
        frames: None,
        has_cut: false,
    };
    for step in case.steps {
        match step {
            Step::Frame(first, payload) => order(Order::Say(frame(first, &payload, !case.is_client))),
            step => guest.act(step).await,
        }
    }
    guest.act(Step::DropSendStream).await;
    guest.connection.flush_batch();
    sleep(PATIENCE).await;
    let all_sent = guest.connection.state() == ConnectionState::Open;
    order(Order::End);
    let mut turns = 0;
    while !guest.over || guest.receiving.is_some() {
        // Other calls wait for the end of a message that is taken in parts.
        let step = match guest.taken.last() {
            _ if guest.receiving.is_some() => Step::ReceivePiece,
            Some(Taken::Frame(frame, _)) if !frame.is_final => Step::ReceiveFrame,
            _ => case.last.clone(),
        };
        guest.act(step).await;
        turns += 1;
        assert!(turns < 100_000, "the end does not come");
    }
    drop(guest.connection);
    drop(guest.receiving);
    drop(orders);
    let wire = peer.await.expect("the peer reads to the end");
    let compression = case.compression.then_some(Compression { takeover: true });
    let said = decode_compressed(&wire.said, !case.is_client, LARGEST, compression);
    check_taken(&guest.taken, guest.failure.as_ref(), guest.has_cut, &said);
    let heard = decode_compressed(&wire.heard, case.is_client, LARGEST, compression);
    assert!(
        !matches!(heard.end, End::Broken(_) | End::TooLargeOrInvalid),
        "what is sent breaks the rules: {:?}",
        heard.end
    );
    let heard: Vec<_> = heard.messages.into_iter().filter(|(kind, _)| matches!(*kind, TEXT | BINARY)).collect();
    assert!(guest.sent.starts_with(&heard), "{heard:?} is heard, and {:?} was sent", guest.sent);
    assert!(!all_sent || heard.len() == guest.sent.len(), "{heard:?} is heard, and {:?} was sent", guest.sent);
}

/// Compression with context takeover in both directions.
fn negotiated(is_client: bool) -> deflate::Compression {
    let budget = MemoryBudget::new(1 << 20);
    let mut options = Options::default();
    (options.compress_takeover, options.inflate_takeover, options.min_size) = (true, true, 16);
    let offer = Offer::new(options, &budget);
    let answer = deflate::answer([offer.header().as_bytes()], options, &budget).expect("an offer").expect("an answer");
    if is_client {
        offer.accept([answer.header.as_bytes()]).expect("an answer").expect("it is accepted")
    } else {
        answer.compression
    }
}

/// What a call gives soon; one that waits is given up.
async fn soon<T>(call: impl Future<Output = T>) -> Option<T> {
    timeout(PATIENCE, call).await.ok()
}

impl Guest {
    async fn act(&mut self, step: Step) {
        match step {
            Step::Frame(..) => {}
            Step::Receive => match soon(self.connection.receive()).await {
                None | Some(Ok(None)) => self.has_waited = true,
                Some(Ok(Some(Message::Text(text)))) => self.took(Taken::Whole(TEXT, text.into_bytes())),
                Some(Ok(Some(Message::Binary(data)))) => self.took(Taken::Whole(BINARY, data.into())),
                Some(Ok(Some(_))) => {}
                Some(Err(error)) => self.failed(error),
            },
            Step::ReceiveFrame => match soon(self.connection.receive_frame()).await {
                None => {}
                Some(Ok(Some(frame))) if frame.opcode.is_control() => {}
                Some(Ok(Some(frame))) => self.took(Taken::Frame(frame, self.streams && !self.has_waited)),
                Some(Ok(None)) => self.over = true,
                Some(Err(error)) => self.failed(error),
            },
            Step::ReceivePiece => self.receive_piece().await,
            Step::DropReceiveStream => {
                if self.receiving.take().is_some() {
                    self.taken.push(Taken::Discard);
                }
            }
            Step::Send(kind, payload) => self.send(kind, payload).await,
            Step::SendFrame(first, payload) => self.send_frame(first, payload).await,
            Step::SendStream(kind) if self.sending.is_none() => match soon(self.connection.send_stream(kind)).await {
                None => assert!(self.frames.is_some(), "send_stream waits for nothing"),
                Some(Ok(stream)) => self.sending = Some((stream, opcode(kind), Vec::new())),
                Some(Err(error)) => self.send_failed(&error),
            },
            Step::SendStream(_) => {}
            Step::Write(payload) => {
                let Some((stream, kind, sent)) = &mut self.sending else { return };
                match soon(stream.write(&payload)).await {
                    None => {}
                    Some(Ok(count)) => sent.extend(&payload[..count]),
                    Some(Err(Error::InvalidMessage(_))) => {
                        let text = [&sent[..], &payload].concat();
                        assert!(*kind == TEXT && !is_beginning(&text), "valid text is refused");
                    }
                    Some(Err(error)) => self.send_failed(&error),
                }
            }
            Step::Finish => {
                let Some((stream, kind, sent)) = self.sending.take() else { return };
                match soon(stream.finish()).await {
                    Some(Ok(())) => self.sent.push((kind, sent)),
                    Some(Err(Error::InvalidMessage(_))) => {
                        assert!(kind == TEXT && String::from_utf8(sent).is_err(), "valid text is refused");
                        self.has_cut = true;
                    }
                    Some(Err(error)) => self.send_failed(&error),
                    None => self.has_cut = true,
                }
            }
            Step::DropSendStream => {
                let Some((stream, _, sent)) = self.sending.take() else { return };
                drop(stream);
                if !sent.is_empty() {
                    assert_ne!(self.connection.state(), ConnectionState::Open, "a message is cut short");
                    self.has_cut = true;
                }
            }
        }
    }

    /// A call takes what follows a stream only after the stream's last piece, whether or not its end was asked for.
    fn took(&mut self, part: Taken) {
        if self.receiving.take().is_some() {
            self.taken.push(Taken::End);
        }
        self.taken.push(part);
    }

    async fn receive_piece(&mut self) {
        let Some(stream) = &mut self.receiving else {
            match soon(self.connection.receive_stream()).await {
                None => {}
                Some(Ok(Some(stream))) => {
                    self.taken.push(Taken::Begin(opcode(stream.kind())));
                    self.receiving = Some(stream);
                }
                Some(Ok(None)) => self.over = true,
                Some(Err(error)) => self.failed(error),
            }
            return;
        };
        match soon(stream.next()).await {
            None => {}
            Some(Ok(Some(piece))) => {
                assert!(!piece.is_empty(), "an empty piece");
                self.taken.push(Taken::Piece(piece.into()));
            }
            Some(Ok(None)) => {
                self.taken.push(Taken::End);
                self.receiving = None;
            }
            Some(Err(error)) => {
                self.receiving = None;
                // Only a later call says that the connection is closed.
                if error != Error::ConnectionClosed {
                    self.failed(error);
                }
            }
        }
    }

    fn failed(&mut self, error: Error) {
        match error {
            Error::ConnectionClosed => self.over = true,
            error if self.over => panic!("{error:?} after the end"),
            error => assert_eq!(self.failure.replace(error), None, "a second failure"),
        }
    }

    async fn send(&mut self, kind: MessageKind, payload: Vec<u8>) {
        let payload = if kind == MessageKind::Text { text(payload).into_bytes() } else { payload };
        let sent = match str::from_utf8(&payload) {
            Ok(text) if kind == MessageKind::Text => soon(self.connection.send(text)).await,
            _ => soon(self.connection.send(&payload[..])).await,
        };
        match sent {
            // The peer reads, so only another message can be in the way.
            None => assert!(self.sending.is_some() || self.frames.is_some(), "send waits for nothing"),
            Some(Ok(())) => self.sent.push((opcode(kind), payload)),
            Some(Err(error)) => self.send_failed(&error),
        }
    }

    async fn send_frame(&mut self, first: u8, payload: Vec<u8>) {
        let opcode = match first & 0x0F {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            PING => Opcode::Ping,
            PONG => Opcode::Pong,
            _ => Opcode::Binary,
        };
        let is_final = first & 0x80 != 0;
        let frame = Frame { opcode, is_final, payload: payload.clone().into() };
        let is_valid = match (&self.frames, opcode) {
            (_, Opcode::Ping | Opcode::Pong) => is_final && payload.len() <= 125,
            (Some((kind, sent)), Opcode::Continuation) => {
                *kind == BINARY || is_text(&[sent, &payload[..]].concat(), is_final)
            }
            (Some(_), _) | (None, Opcode::Continuation) => false,
            (None, opcode) => opcode == Opcode::Binary || self.sending.is_some() || is_text(&payload, is_final),
        };
        match soon(self.connection.send_frame(&frame)).await {
            None => assert!(self.sending.is_some(), "send_frame waits for nothing"),
            Some(Ok(())) => {
                assert!(is_valid, "an invalid frame is sent");
                if opcode.is_control() {
                    return;
                }
                let kind = if opcode == Opcode::Text { TEXT } else { BINARY };
                let (_, sent) = self.frames.get_or_insert((kind, Vec::new()));
                sent.extend(payload);
                self.sent.extend(self.frames.take_if(|_| is_final));
            }
            Some(Err(Error::InvalidMessage(_))) => assert!(!is_valid, "a valid frame is refused"),
            Some(Err(error)) => self.send_failed(&error),
        }
    }

    fn send_failed(&mut self, error: &Error) {
        assert_eq!(*error, Error::ConnectionClosed);
        assert_ne!(self.connection.state(), ConnectionState::Open);
    }
}

fn opcode(kind: MessageKind) -> u8 {
    match kind {
        MessageKind::Text => TEXT,
        MessageKind::Binary => BINARY,
    }
}

fn is_text(data: &[u8], is_whole: bool) -> bool {
    if is_whole { str::from_utf8(data).is_ok() } else { is_beginning(data) }
}

fn is_beginning(text: &[u8]) -> bool {
    str::from_utf8(text).map_or_else(|error| error.error_len().is_none(), |_| true)
}

/// Holds what the guest took to what the peer said.
fn check_taken(taken: &[Taken], failure: Option<&Error>, has_cut: bool, said: &Stream) {
    let is_data = |(kind, _): &&(u8, Vec<u8>)| matches!(*kind, TEXT | BINARY);
    let messages: Vec<_> = said.messages.iter().filter(is_data).collect();
    // The message that the guest is at, how much of it was taken, and in how many frames.
    let (mut at, mut offset, mut count) = (0, 0, 0);
    let mut has_begun = false;
    for part in taken {
        let message = messages.get(at).map(|(kind, data)| (*kind, Some(data)));
        let cut = said.cut.as_ref().map(|(kind, data)| (*kind, data.as_ref()));
        let Some((kind, data)) = message.or(cut.filter(|_| at == messages.len())) else {
            panic!("{part:?} after {at} messages");
        };
        let mut take = |piece: &[u8]| {
            let rest = data.map(|data| &data[offset..]);
            assert!(rest.is_none_or(|rest| rest.starts_with(piece)), "{piece:?} of {rest:?}");
            offset += piece.len();
        };
        let ends = match part {
            Taken::Whole(of_kind, whole) => {
                assert!(!has_begun && *of_kind == kind, "a message within another");
                take(whole);
                true
            }
            Taken::Begin(of_kind) => {
                assert!(!has_begun && *of_kind == kind, "a message within another");
                false
            }
            Taken::Piece(piece) => {
                take(piece);
                false
            }
            Taken::Frame(frame, is_exact) => {
                let is_first = frame.opcode != Opcode::Continuation;
                assert_eq!(is_first, !has_begun, "{frame:?}");
                assert!(!is_first || (frame.opcode == Opcode::Text) == (kind == TEXT), "{frame:?}");
                take(&frame.payload);
                let fragments = said.fragments.get(at);
                // The frames of a compressed message have other payloads on the wire.
                if let (Some(fragments), Some(data), true) = (fragments, data, *is_exact)
                    && fragments.concat() == *data
                {
                    assert_eq!(fragments[count], frame.payload, "not a frame of the wire");
                    assert_eq!(frame.is_final, count + 1 == fragments.len());
                }
                count += 1;
                frame.is_final
            }
            Taken::End => true,
            Taken::Discard if at == messages.len() => return,
            Taken::Discard => {
                (at, offset, count, has_begun) = (at + 1, 0, 0, false);
                continue;
            }
        };
        has_begun = !ends;
        if ends {
            assert!(at < messages.len(), "the end of a message that does not end");
            assert_eq!(Some(offset), data.map(Vec::len), "a message ends early");
            (at, offset, count) = (at + 1, 0, 0);
        }
    }
    if has_cut {
        return;
    }
    assert_eq!(at, messages.len(), "{failure:?} before the end");
    match (said.end, failure) {
        (End::Closed, None) | (End::Cut, Some(Error::Io(_))) => {}
        (End::Broken(1002 | 1007), Some(Error::Protocol(_))) => {}
        (_, Some(Error::Protocol(_))) if said.within_compressed => {}
        (end, failure) => panic!("{failure:?} instead of {end:?}"),
    }
}
