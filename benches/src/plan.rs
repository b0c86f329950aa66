//! The cases, their contenders, and the number of messages.

use crate::contenders::Contender::{
    self, CoreCompressed, FastWebsockets, Guest, GuestBatches, InGuest, Instances, Native, NativeBursts, NativeRing,
    PlainTransport, PythonWebsockets, Relay, ReversingTransport, Sockudo, Tcp, TokioWebsockets, Ws,
};
use bench_exchange::Mode;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// One exchange, with its contenders.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) mode: Mode,
    pub(crate) size: usize,
    /// Messages in one round, of all connections together.
    pub(crate) count: u64,
    pub(crate) connections: usize,
    pub(crate) tls: bool,
    pub(crate) contenders: Vec<Contender>,
}

impl Case {
    /// The name in tables.
    pub(crate) fn name(&self) -> String {
        let mode = match self.mode {
            Mode::PingPong => "ping-pong",
            Mode::Window => "plain loop",
            Mode::Burst => "bursts",
            Mode::Up => "one way up",
            Mode::Down => "one way down",
        };
        let tls = if self.tls { ", wss" } else { "" };
        let connections = match self.connections {
            1 => String::new(),
            many => format!(", {many} connections"),
        };
        format!("{mode}, {}{tls}{connections}", size(self.size))
    }
}

fn size(bytes: usize) -> String {
    match bytes {
        0..KIB => format!("{bytes} B"),
        KIB..MIB => format!("{} KiB", bytes / KIB),
        _ => format!("{} MiB", bytes / MIB),
    }
}

/// How many messages of each size a round has: enough for about a fifth of a second.
fn counts(mode: Mode) -> [(usize, u64); 4] {
    let counts = match mode {
        Mode::PingPong => [5000, 5000, 2000, 150],
        Mode::Window | Mode::Burst => [100_000, 60_000, 3000, 200],
        Mode::Up | Mode::Down => [300_000, 150_000, 6000, 400],
    };
    std::array::from_fn(|index| ([64, KIB, 64 * KIB, MIB][index], counts[index]))
}

/// Everything over WebSockets.
pub(crate) fn websockets() -> Vec<Case> {
    let mut cases = Vec::new();
    for mode in [Mode::PingPong, Mode::Window, Mode::Burst, Mode::Up, Mode::Down] {
        for (size, count) in counts(mode) {
            let mut contenders = vec![Guest, Native, FastWebsockets, TokioWebsockets, InGuest, Tcp];
            if matches!(mode, Mode::Burst | Mode::Up) {
                contenders.insert(2, NativeBursts);
            }
            if matches!(mode, Mode::Window | Mode::Burst) {
                contenders.insert(1, GuestBatches);
            }
            cases.push(Case { mode, size, count, connections: 1, tls: false, contenders });
        }
    }
    for mode in [Mode::PingPong, Mode::Window] {
        for (size, count) in [counts(mode)[0], counts(mode)[2]] {
            let contenders = vec![Guest, Native, NativeRing, TokioWebsockets];
            cases.push(Case { mode, size, count, connections: 1, tls: true, contenders });
        }
    }
    for connections in [64, 256] {
        let contenders = vec![Instances, Native, FastWebsockets, TokioWebsockets];
        cases.push(Case { mode: Mode::PingPong, size: 64, count: 51_200, connections, tls: false, contenders });
    }
    cases
}

/// Compressed text over WebSockets.
pub(crate) fn compressed() -> Vec<Case> {
    let counts = [
        (Mode::PingPong, KIB, 3000),
        (Mode::PingPong, 64 * KIB, 150),
        (Mode::Up, KIB, 8000),
        (Mode::Up, 64 * KIB, 300),
        (Mode::Down, KIB, 8000),
        (Mode::Down, 64 * KIB, 300),
    ];
    let contenders = vec![CoreCompressed, Sockudo, Ws, PythonWebsockets];
    let case =
        |(mode, size, count)| Case { mode, size, count, connections: 1, tls: false, contenders: contenders.clone() };
    counts.map(case).into()
}

/// Everything over transports.
pub(crate) fn transports() -> Vec<Case> {
    let contenders = vec![Tcp, Relay, PlainTransport, ReversingTransport];
    let case =
        |mode, (size, count)| Case { mode, size, count, connections: 1, tls: false, contenders: contenders.clone() };
    let [small, _, medium, large] = counts(Mode::PingPong);
    vec![
        case(Mode::PingPong, small),
        case(Mode::PingPong, medium),
        case(Mode::PingPong, large),
        case(Mode::Window, (64 * KIB, 3000)),
        case(Mode::Up, (64 * KIB, 6000)),
    ]
}
