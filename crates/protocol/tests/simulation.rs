//! Two ends talk over a pipe that delays, cuts into pieces and ends at random, in virtual time. Each seed is one run, and
//! every run repeats exactly. Messages are sent whole, in fragments, in pieces and frame by frame, and received whole, in
//! pieces and frame by frame, whatever the other end does. Half of the runs negotiate compression.
//!
//! Checked in each run: messages arrive in order, whole and once; without a fault none is lost; each end is reported once;
//! memory stays bounded, also where larger messages pass; and no wake-up is lost, because an application that has to wait tries again only when
//! [`Connection::take_changes`] says so.
//!
//! `SIMULATION_SEEDS` sets how many seeds run, and `SIMULATION_SEED` runs a single one.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use bytes::BufMut;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{
    collections::VecDeque,
    io,
    task::Poll,
    time::{Duration, Instant},
};
use websocket_protocol::{
    CloseInfo, Config, Connection, Failure, Message, MessageKind, MessageRef, Role,
    connection::{BATCH_DELAY, Outcome, ReceiveError, SendError, Sent, State},
    deflate::{self, Compression, MemoryBudget, Offer, Options},
    frame::{Frame, Opcode},
};

const MAX_MESSAGE: usize = 200_000;
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// A run without a fault takes less than this: a lost wake-up would last until the keep-alive.
const QUICK: Duration = Duration::from_secs(25);
/// The most that buffers may hold: unread messages, a message being assembled (16 times what has arrived), reads and output.
const MAX_BUFFERED: usize = 2 * MAX_MESSAGE + (64 << 10) + 4 * (64 << 10) + 2 * MAX_MESSAGE;

/// The most that they may hold at an end that sends and receives in pieces only, however large the messages are: the inbox and
/// one fragment, what is read ahead of a fragment, reads, and output.
const MAX_STREAMED: usize = 2 * (64 << 10) + 2 * (64 << 10) + 4 * (64 << 10) + 4 * (64 << 10);
/// The most that compression holds: an inflater, and earlier messages for both directions.
const MAX_COMPRESSION: usize = (48 << 10) + (32 << 10) + (4 << 10);
/// The size of a message that only passes in pieces.
const LARGE_MESSAGE: usize = 2 << 20;

/// How the ends of a run take their messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// As a whole.
    Whole,
    /// Each message in another way.
    Mixed,
    /// In pieces.
    Pieces,
}

/// A message that an end is within.
enum Progress {
    Pieces(Vec<u8>),
    Frames(Vec<u8>),
}

/// One direction of the transport.
struct Pipe {
    /// Bytes on their way, with the time of their arrival.
    segments: VecDeque<(Instant, Vec<u8>)>,
    in_flight: usize,
    capacity: usize,
    /// The writer ended its direction, which arrives at this time.
    ended: Option<Instant>,
    last_arrival: Instant,
}

impl Pipe {
    fn new(capacity: usize, now: Instant) -> Self {
        Pipe { segments: VecDeque::new(), in_flight: 0, capacity, ended: None, last_arrival: now }
    }

    fn arrival(&mut self, now: Instant, random: &mut StdRng) -> Instant {
        let delay = Duration::from_micros(random.random_range(0..20_000));
        self.last_arrival = self.last_arrival.max(now + delay);
        self.last_arrival
    }
}

/// One end: the connection, what its application does, and what its driver knows.
struct End {
    connection: Connection,
    style: Style,
    to_send: VecDeque<Message>,
    sent: Vec<Message>,
    /// `None` for a message whose rest was discarded.
    received: Vec<Option<Message>>,
    /// What is left of the message that is sent in parts, and what has arrived of the one that is received in parts.
    sending: Option<Progress>,
    receiving: Option<(MessageKind, Progress)>,
    may_cancel: bool,
    /// The application waits until it is woken.
    send_waits: bool,
    receive_waits: bool,
    /// The application does nothing until then.
    busy_until: Instant,
    is_slow: bool,
    has_closed: bool,
    failure: Option<Failure>,
    has_ended: bool,
    flush_at: Option<Instant>,
    /// The driver asks for these only when `take_changes` says so.
    timeout: Option<Instant>,
    may_read: bool,
}

impl End {
    /// `styles` are its own and that of the other end.
    fn new(
        role: Role,
        styles: [Style; 2],
        largest: usize,
        may_cancel: bool,
        compression: Option<Compression>,
        random: &mut StdRng,
        now: Instant,
    ) -> Self {
        let style = styles[0];
        let mut config = Config::new(role);
        config.streams = style != Style::Whole;
        if random.random_bool(0.3) {
            config.fragment_size = random.random_range(20 + largest / 500..20_000);
        }
        config.max_message_size = MAX_MESSAGE;
        // A slow application that takes small pieces is done in time as well.
        let least = if config.streams { 1 + largest / 200 } else { 1 };
        config.inbound_buffer = random.random_range(least..64 << 10);
        config.keep_alive = Some(KEEP_ALIVE);
        let mut masks = StdRng::seed_from_u64(random.random());
        let mut connection = Connection::new(config, Box::new(move || masks.random()), now);
        if let Some(compression) = compression {
            connection = connection.with_compression(compression);
        }
        let count = random.random_range(0..30);
        let largest = if styles == [Style::Pieces; 2] { largest } else { largest.min(MAX_MESSAGE - 8) };
        End {
            timeout: connection.poll_timeout(),
            connection,
            style,
            to_send: (0..count).map(|number| message(number, largest, random)).collect(),
            sent: Vec::new(),
            received: Vec::new(),
            sending: None,
            receiving: None,
            may_cancel,
            send_waits: false,
            receive_waits: false,
            busy_until: now,
            is_slow: random.random_bool(0.3),
            has_closed: false,
            failure: None,
            has_ended: false,
            flush_at: None,
            may_read: true,
        }
    }

    /// Acts on the changes of the last calls, as every driver must.
    fn note_changes(&mut self) {
        let changes = self.connection.take_changes();
        if changes.callers {
            (self.send_waits, self.receive_waits) = (false, false);
        }
        if changes.driver {
            self.timeout = self.connection.poll_timeout();
            self.may_read = true;
        }
        let buffered = self.connection.buffered();
        let most = if self.style == Style::Pieces { MAX_STREAMED } else { MAX_BUFFERED };
        assert!(buffered <= most + MAX_COMPRESSION, "{buffered} bytes are buffered");
    }

    /// The application sends and receives until it has to wait or pauses; returns whether it did anything.
    fn act(&mut self, now: Instant, random: &mut StdRng) -> bool {
        let mut acted = false;
        while now >= self.busy_until && !(self.has_ended || self.send_waits && self.receive_waits) {
            acted = true;
            if !self.send_waits && !self.has_closed && random.random_bool(0.5) {
                self.send(now, random);
            } else if !self.receive_waits {
                self.receive(random);
            } else {
                self.send(now, random);
            }
            self.note_changes();
            let is_within = self.sending.is_some() || self.receiving.is_some();
            if random.random_bool(if self.is_slow && !is_within { 0.3 } else { 0.02 }) {
                self.busy_until = now + Duration::from_micros(random.random_range(1..100_000));
            }
        }
        // It waits, or it computes while a batch is due.
        if now >= self.busy_until {
            self.connection.flush();
            self.flush_at = None;
        }
        acted
    }

    fn send(&mut self, now: Instant, random: &mut StdRng) {
        let Some(message) = self.to_send.front() else {
            self.send_waits = true;
            return;
        };
        let is_data = MessageRef::from(message).is_data();
        let way = if is_data { random.random_range(0..4) } else { 0 };
        let (connection, sending) = (&mut self.connection, &mut self.sending);
        // Whether that was the end of the message.
        let outcome = match sending {
            None if self.style == Style::Pieces && is_data || self.style == Style::Mixed && way == 1 => {
                connection.send_stream(kind(message)).map_ok(|()| {
                    *sending = Some(Progress::Pieces(payload(message)));
                    (false, Sent::Batched)
                })
            }
            None if self.style == Style::Mixed && way == 2 => {
                let mut rest = payload(message);
                send_frame(connection, kind(message).opcode(), &mut rest, now, random).map_ok(|sent| {
                    *sending = (!sent.0).then_some(Progress::Frames(rest));
                    sent
                })
            }
            None if way == 3 => connection.send_uncompressed(MessageRef::from(message)).map_ok(|sent| (true, sent)),
            None => connection.send(MessageRef::from(message)).map_ok(|sent| (true, sent)),
            Some(Progress::Pieces(_)) if self.may_cancel && random.random_bool(0.01) => {
                self.to_send.clear();
                return connection.cancel_send(now);
            }
            Some(Progress::Pieces(rest)) => {
                let count = rest.len().min(random.random_range(0..100_000));
                let is_last = count == rest.len() && random.random_bool(0.8);
                connection.send_piece(&rest[..count], is_last).map_ok(|(sent, pacing)| {
                    rest.drain(..sent);
                    (is_last && sent == count, pacing)
                })
            }
            Some(Progress::Frames(rest)) => send_frame(connection, Opcode::Continuation, rest, now, random),
        };
        match outcome {
            Poll::Ready(Ok((is_end, sent))) => {
                if is_end {
                    self.sending = None;
                    self.sent.extend(self.to_send.pop_front());
                }
                if sent == Sent::BatchBegun {
                    self.flush_at.get_or_insert(now + BATCH_DELAY);
                }
            }
            Poll::Ready(Err(SendError::Closed | SendError::Write(_))) => {
                assert_ne!(self.connection.state(), State::Open, "a failed send leaves the connection open");
                self.to_send.clear();
            }
            Poll::Ready(Err(error)) => panic!("a valid message was refused: {error}"),
            Poll::Pending => self.send_waits = true,
        }
    }

    fn receive(&mut self, random: &mut StdRng) {
        let way = random.random_range(0..4);
        let outcome = match self.receiving.take() {
            None if self.style == Style::Pieces || self.style == Style::Mixed && way == 1 => {
                self.connection.receive_stream().map_ok(|kind| match kind {
                    Some(kind) => self.receiving = Some((kind, Progress::Pieces(Vec::new()))),
                    None => self.received.push(self.connection.closure().received.clone().map(Message::Close)),
                })
            }
            None if self.style == Style::Mixed && way == 2 => {
                self.connection.receive_frame().map_ok(|frame| self.frame_received(frame, None))
            }
            None => self.connection.receive().map_ok(|message| self.received.push(Some(message))),
            Some((_, Progress::Pieces(_))) if random.random_bool(0.02) => {
                self.connection.discard_stream();
                self.received.push(None);
                return;
            }
            Some((kind, Progress::Pieces(mut data))) => match self.connection.receive_piece() {
                Poll::Ready(Ok(piece)) => {
                    data.extend_from_slice(&piece.data);
                    if piece.is_last {
                        self.received.push(Some(whole(kind, data)));
                    } else {
                        self.receiving = Some((kind, Progress::Pieces(data)));
                    }
                    return;
                }
                Poll::Pending => {
                    self.receiving = Some((kind, Progress::Pieces(data)));
                    Poll::Pending
                }
                Poll::Ready(Err(ReceiveError::Closed)) => return,
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            },
            Some((kind, Progress::Frames(data))) => match self.connection.receive_frame() {
                Poll::Ready(outcome) => {
                    Poll::Ready(outcome.map(|frame| self.frame_received(frame, Some((kind, data)))))
                }
                Poll::Pending => {
                    self.receiving = Some((kind, Progress::Frames(data)));
                    Poll::Pending
                }
            },
        };
        match outcome {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(ReceiveError::Failed(failure))) => {
                assert!(self.failure.replace(failure).is_none(), "a second failure was reported");
            }
            Poll::Ready(Err(_)) => self.has_ended = true,
            Poll::Pending => self.receive_waits = true,
        }
    }

    /// `before` is what was received of the message.
    fn frame_received(&mut self, frame: Frame, before: Option<(MessageKind, Vec<u8>)>) {
        let keep = |before: Option<(MessageKind, Vec<u8>)>| before.map(|(kind, data)| (kind, Progress::Frames(data)));
        let (kind, mut data) = match (frame.opcode, before) {
            (Opcode::Ping, before) => {
                self.receiving = keep(before);
                return self.received.push(Some(Message::Ping(frame.payload)));
            }
            (Opcode::Pong, before) => return self.receiving = keep(before),
            (Opcode::Close, _) => {
                return self.received.push(self.connection.closure().received.clone().map(Message::Close));
            }
            (Opcode::Text, None) => (MessageKind::Text, Vec::new()),
            (Opcode::Binary, None) => (MessageKind::Binary, Vec::new()),
            (Opcode::Continuation, Some(before)) => before,
            (opcode, _) => panic!("{opcode:?} is out of sequence"),
        };
        data.extend_from_slice(&frame.payload);
        if frame.is_final {
            self.received.push(Some(whole(kind, data)));
        } else {
            self.receiving = Some((kind, Progress::Frames(data)));
        }
    }

    /// Moves bytes between the connection and the pipes; returns whether any moved.
    fn drive(&mut self, out: &mut Pipe, into: &mut Pipe, broken: bool, now: Instant, random: &mut StdRng) -> bool {
        let mut moved = false;
        if self.flush_at.is_some_and(|at| at <= now) {
            self.connection.flush();
            self.flush_at = None;
        }
        loop {
            let before = moved;
            moved |= self.write(out, broken, now, random);
            moved |= self.read(into, broken, now, random);
            self.note_changes();
            if self.timeout.is_some_and(|due| due <= now) {
                self.connection.handle_timeout(now);
                self.timeout = self.connection.poll_timeout();
                self.note_changes();
                moved = true;
            }
            if moved == before || self.connection.state() == State::Closed {
                break;
            }
            moved = true;
            if !self.connection.wants_write() || out.in_flight >= out.capacity {
                break;
            }
        }
        moved
    }

    fn write(&mut self, out: &mut Pipe, broken: bool, now: Instant, random: &mut StdRng) -> bool {
        let mut moved = false;
        while !self.connection.transmit().is_empty() {
            if broken {
                self.connection.write_failed(io::ErrorKind::ConnectionReset.into(), now);
                self.timeout = self.connection.poll_timeout();
                return true;
            }
            let free = out.capacity - out.in_flight;
            if free == 0 {
                return moved;
            }
            let bytes = self.connection.transmit();
            let scale = random.random_range(0..20);
            let count = bytes.len().min(free).min(random.random_range(1..=1 << scale));
            let segment = bytes[..count].to_vec();
            self.connection.transmitted(count);
            let arrival = out.arrival(now, random);
            out.segments.push_back((arrival, segment));
            out.in_flight += count;
            moved = true;
        }
        if self.connection.wants_flush() {
            self.connection.flushed();
        }
        if self.connection.wants_half_close() && !self.connection.wants_flush() && out.ended.is_none() {
            out.ended = Some(out.arrival(now, random));
            self.connection.half_closed(now);
            moved = true;
        }
        if self.connection.wants_linger() {
            self.connection.linger(now);
        }
        if self.connection.state() == State::Closed && out.ended.is_none() {
            out.ended = Some(out.arrival(now, random));
            moved = true;
        }
        moved
    }

    fn read(&mut self, into: &mut Pipe, broken: bool, now: Instant, random: &mut StdRng) -> bool {
        let mut moved = false;
        if self.may_read {
            self.connection.resume(now);
        }
        while self.may_read && self.connection.state() != State::Closed {
            let ready = into.segments.front().is_some_and(|(arrival, _)| *arrival <= now);
            let Some(mut buffer) = self.connection.read_buffer() else {
                self.may_read = self.connection.wants_resume();
                break;
            };
            if !ready {
                let over = into.segments.is_empty() && into.ended.is_some_and(|ended| ended <= now);
                if broken {
                    self.connection.read_failed(io::ErrorKind::ConnectionReset.into());
                } else if over {
                    self.connection.input_ended();
                } else {
                    self.connection.read_blocked();
                    break;
                }
                // Nothing more comes; what is left to do is told by changes and timeouts.
                self.may_read = false;
                self.timeout = self.connection.poll_timeout();
                return true;
            }
            let (arrival, mut segment) = into.segments.pop_front().unwrap();
            let space = buffer.chunk_mut().len();
            let count = segment.len().min(space).min(random.random_range(1..=1 << 16));
            buffer.put_slice(&segment[..count]);
            self.connection.received(count, now);
            self.timeout = self.connection.poll_timeout();
            into.in_flight -= count;
            if count < segment.len() {
                into.segments.push_front((arrival, segment.split_off(count)));
            }
            moved = true;
        }
        moved
    }
}

/// What the client and the server agree on.
fn negotiate(budget: &MemoryBudget, random: &mut StdRng) -> [Compression; 2] {
    let [client, server] = [(); 2].map(|()| {
        let mut options = Options::default();
        options.compress_takeover = random.random_bool(0.5);
        options.inflate_takeover = random.random_bool(0.5);
        options.compress_window_bits = random.random_range(9..=15);
        options.inflate_window_bits = random.random_range(9..=15);
        // The faster levels: thousands of runs.
        options.level = random.random_range(1..=3);
        options.min_size = random.random_range(0..300);
        options
    });
    let offer = Offer::new(client, budget);
    let answer = deflate::answer([offer.header().as_bytes()], server, budget).unwrap().unwrap();
    [offer.accept([answer.header.as_bytes()]).unwrap().unwrap(), answer.compression]
}

fn message(number: usize, largest: usize, random: &mut StdRng) -> Message {
    let size = match random.random_range(0..100) {
        0 => random.random_range(0..largest),
        1..10 => random.random_range(0..5000.min(largest)),
        _ => random.random_range(0..100),
    };
    match random.random_range(0..10) {
        0 => Message::Ping(number.to_be_bytes().to_vec().into()),
        1..5 => Message::Text(format!("{number:08}{}", "é".repeat(size / 2))),
        5 => {
            let mut noise = number.to_be_bytes().to_vec();
            noise.extend((0..size).map(|_| random.random::<u8>()));
            Message::Binary(noise.into())
        }
        _ => Message::Binary([&number.to_be_bytes()[..], &vec![number as u8; size]].concat().into()),
    }
}

fn kind(message: &Message) -> MessageKind {
    if matches!(message, Message::Text(_)) { MessageKind::Text } else { MessageKind::Binary }
}

fn payload(message: &Message) -> Vec<u8> {
    match message {
        Message::Text(text) => text.clone().into_bytes(),
        Message::Binary(data) => data.to_vec(),
        other => panic!("{other:?} is sent whole"),
    }
}

fn whole(kind: MessageKind, data: Vec<u8>) -> Message {
    match kind {
        MessageKind::Text => Message::Text(String::from_utf8(data).expect("text arrives as UTF-8")),
        MessageKind::Binary => Message::Binary(data.into()),
    }
}

/// Sends a frame with a part of `rest`; returns whether it is the last one.
fn send_frame(
    connection: &mut Connection,
    opcode: Opcode,
    rest: &mut Vec<u8>,
    now: Instant,
    random: &mut StdRng,
) -> Poll<Result<(bool, Sent), SendError>> {
    let count = rest.len().min(random.random_range(0..60_000));
    let is_final = count == rest.len() && random.random_bool(0.8);
    let frame = Frame { opcode, is_final, payload: rest[..count].to_vec().into() };
    connection.send_frame(&frame, now).map_ok(|sent| {
        rest.drain(..count);
        (is_final, sent)
    })
}

fn is_data(message: &&Message) -> bool {
    MessageRef::from(*message).is_data()
}

/// What was received of text and binary messages.
fn data_received(end: &End) -> Vec<Option<&Message>> {
    let is_data = |message: &Option<&Message>| message.is_none_or(|message| MessageRef::from(message).is_data());
    end.received.iter().map(Option::as_ref).filter(is_data).collect()
}

/// Runs one seed to its end.
fn run(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let start = Instant::now();
    let mut now = start;
    let faulty = random.random_bool(0.5);
    let styles = match random.random_range(0..10) {
        0 => [Style::Pieces; 2],
        _ => [(); 2].map(|()| if random.random_bool(0.5) { Style::Mixed } else { Style::Whole }),
    };
    let capacity = random.random_range(1..128 << 10);
    // It passes in time.
    let largest = LARGE_MESSAGE.min(200 * capacity);
    let budget = MemoryBudget::new(random.random_range(0..100_000));
    let granted = budget.remaining();
    let [client_side, server_side] = match random.random_bool(0.5) {
        true => negotiate(&budget, &mut random).map(Some),
        false => [None, None],
    };
    let mut client = End::new(Role::Client, styles, largest, faulty, client_side, &mut random, now);
    let mut server = End::new(Role::Server, [styles[1], styles[0]], largest, faulty, server_side, &mut random, now);
    let (mut up, mut down) = (Pipe::new(capacity, now), Pipe::new(capacity, now));
    // When the transport breaks, or is silent from then on.
    let fault_at = now + Duration::from_micros(random.random_range(0..400_000));
    let is_silent = random.random_bool(0.3);
    let expected = [client.to_send.len(), server.to_send.len()];
    for step in 0.. {
        assert!(step < 200_000, "the run does not end");
        let broken = faulty && !is_silent && now >= fault_at;
        if faulty && is_silent && now >= fault_at {
            // Nothing arrives any more, and nothing that was sent is taken.
            for pipe in [&mut up, &mut down] {
                pipe.segments.iter_mut().for_each(|(arrival, _)| *arrival = now + Duration::from_secs(3600));
                pipe.last_arrival = now + Duration::from_secs(3600);
            }
        }
        // The client closes in order once everything has arrived at both ends.
        let all = client.sent.len() == expected[0] && server.sent.len() == expected[1];
        let arrived = |end: &End, from: &End| data_received(end).len() == from.sent.iter().filter(is_data).count();
        if !client.has_closed && all && arrived(&client, &server) && arrived(&server, &client) {
            client.has_closed = true;
            client.connection.close(Some(&CloseInfo { code: 1000, reason: Some("done".to_owned()) }), now);
            client.note_changes();
        }
        let mut progress = client.act(now, &mut random) | server.act(now, &mut random);
        progress |= client.drive(&mut up, &mut down, broken, now, &mut random);
        progress |= server.drive(&mut down, &mut up, broken, now, &mut random);
        if client.has_ended && server.has_ended {
            break;
        }
        if progress {
            continue;
        }
        let arrivals = [&up, &down]
            .into_iter()
            .flat_map(|pipe| pipe.segments.front().map(|(at, _)| *at).into_iter().chain(pipe.ended));
        let timers =
            [&client, &server].into_iter().flat_map(|end| [end.timeout, end.flush_at, Some(end.busy_until)]).flatten();
        let fault = faulty.then_some(fault_at);
        now = arrivals.chain(timers).chain(fault).filter(|at| *at > now).min().unwrap_or_else(|| {
            panic!(
                "nothing happens any more: client {:?}, server {:?}",
                client.connection.state(),
                server.connection.state()
            )
        });
    }
    for (to, from) in [(&client, &server), (&server, &client)] {
        let received = data_received(to);
        let sent = from.sent.iter().filter(is_data).collect::<Vec<_>>();
        let discarded = received.iter().filter(|message| message.is_none()).count();
        // Of a message that was discarded, the end may be missing.
        assert!(sent.len() + discarded >= received.len());
        for (received, sent) in received.iter().zip(&sent) {
            assert!(received.is_none_or(|received| received == *sent), "messages arrive in order, whole and once");
        }
        let messages = to.connection.stats().received.messages as usize;
        assert!(messages <= received.len() && (messages == received.len() || faulty && discarded > 0));
        assert!(to.connection.closure().outcome.is_some());
        if !faulty {
            assert_eq!(
                received.len(),
                sent.len(),
                "no message is lost: {:?} {:?}",
                to.connection.closure(),
                to.failure
            );
            assert_eq!(to.connection.closure().outcome, Some(Outcome::Clean));
            assert!(to.failure.is_none());
            assert!(matches!(to.received.last(), Some(Some(Message::Close(_)))), "the close frame comes last");
            assert_eq!(to.connection.stats().keep_alive_pings, 0, "a wake-up was lost");
        } else if to.connection.closure().outcome != Some(Outcome::Clean) {
            // A close frame that could not be answered is reported as a message.
            assert!(to.failure.is_some() || to.connection.closure().received.is_some(), "a failure is reported");
        }
    }
    drop((client, server));
    assert_eq!(budget.remaining(), granted, "context takeover returns its memory");
    if !faulty {
        assert!(now - start < QUICK, "the run took {:?}", now - start);
    }
}

#[test]
fn two_ends_agree_whatever_the_transport_does() {
    if let Some(seed) = std::env::var("SIMULATION_SEED").ok().and_then(|seed| seed.parse().ok()) {
        return run(seed);
    }
    let seeds = std::env::var("SIMULATION_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(10_000);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for first in 0..threads {
            scope.spawn(move || {
                for seed in (first as u64..seeds).step_by(threads) {
                    if let Err(panic) = std::panic::catch_unwind(|| run(seed)) {
                        eprintln!("seed {seed} failed; SIMULATION_SEED={seed} runs it alone");
                        std::panic::resume_unwind(panic);
                    }
                }
            });
        }
    });
}
