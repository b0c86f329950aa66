//! One host with a guest that keeps working, while guests in other stores start, misbehave and end.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use test_peer::soon;
use tests::{
    Behaviour, Host, Limits, Seen, Server,
    faults::comes_true,
    kernel::sockets,
    probe::{Config, Message},
};
use tokio::{
    runtime::{Builder, Handle},
    sync::{oneshot, watch},
    task::JoinHandle,
};

/// A guest that misbehaves, and what ends it.
#[derive(Clone, Copy)]
enum End {
    /// Itself.
    Own,
    /// A trap that says this.
    Trap(&'static str, Limits),
    /// Its host, which drops the guest while it misbehaves.
    Host,
}

const FREE: Limits = Limits { memory: None, time_slices: None };
const LITTLE_MEMORY: Limits = Limits { memory: Some(32 << 20), ..FREE };
const LITTLE_TIME: Limits = Limits { time_slices: Some(50), ..FREE };

const WAYS: [(&str, End); 14] = [
    ("loop", End::Host),
    ("loop", End::Trap("interrupt", LITTLE_TIME)),
    ("receive", End::Host),
    ("receive", End::Trap("interrupt", LITTLE_TIME)),
    ("flood", End::Host),
    ("flood", End::Trap("interrupt", LITTLE_TIME)),
    ("memory", End::Trap("memory", LITTLE_MEMORY)),
    ("panic", End::Trap("unreachable", FREE)),
    ("recurse", End::Trap("call stack exhausted", FREE)),
    ("timers", End::Trap("handle limit", FREE)),
    ("random", End::Trap("exceeds limit", FREE)),
    ("return", End::Own),
    ("trap", End::Trap("unreachable", FREE)),
    ("drop", End::Host),
];

/// Guests that misbehave in the same way at the same time.
const AT_ONCE: usize = 3;

#[test]
fn guests_that_misbehave_do_not_affect_others_and_leave_nothing_behind() {
    // As the library's README advises: with more guests that compute than threads, sockets have their turn
    // after every time slice.
    let mut runtime = Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).event_interval(1).enable_all().build().unwrap();
    runtime.block_on(misbehave());
}

async fn misbehave() {
    let host = Host::new(&[("receive-wait", "100ms"), ("close-timeout", "5s")]);
    let unruly = host.guest("unruly");
    let echo = Server::start(Behaviour::Echo).await;
    let mut server = Server::start(Behaviour::Silent).await;
    let mut work = Work::begin(&host, &echo.url).await;
    let tasks = Handle::current().metrics();
    let before = tasks.num_alive_tasks();
    for (way, end) in WAYS {
        let connections = if way == "panic" { 2 } else { 1 };
        let guests = [(); AT_ONCE].map(|()| {
            let endpoint = host.endpoint().for_guest();
            (unruly.run(&endpoint, &[way, &server.url], end.limits()), endpoint)
        });
        let mut tally = Tally::default();
        while tally.opened < AT_ONCE * connections {
            tally.see(&mut server, way).await;
        }
        work.goes_on().await;
        for (guest, endpoint) in guests {
            end.comes_to(guest, way).await;
            soon(endpoint.closed()).await;
        }
        while tally.went_away < AT_ONCE * connections {
            tally.see(&mut server, way).await;
        }
        work.goes_on().await;
        comes_true(&format!("{way} leaves tasks"), || tasks.num_alive_tasks() == before).await;
        comes_true(&format!("{way} leaves sockets"), || sockets_of(&server) == 0).await;
    }
    work.done().await;
}

/// On one thread, so that the guest has gone as far as it can when the server sees what it sent.
#[tokio::test]
async fn a_receive_that_waits_ends_with_its_guest() {
    let cases = [("1h", End::Host), ("300ms", End::Trap("interrupt", Limits { time_slices: Some(10), ..FREE }))];
    let mut server = Server::start(Behaviour::Silent).await;
    let tasks = Handle::current().metrics();
    let before = tasks.num_alive_tasks();
    for (wait, end) in cases {
        let host = Host::new(&[("receive-wait", wait)]);
        let unruly = host.guest("unruly");
        let guest = unruly.run(host.endpoint(), &["receive", &server.url], end.limits());
        while !matches!(server.seen().await, Seen::Message(_)) {}
        end.comes_to(guest, wait).await;
        assert_eq!(server.close_code().await, Some(1001), "{wait}");
        soon(host.endpoint().closed()).await;
        comes_true(&format!("{wait} leaves tasks"), || tasks.num_alive_tasks() == before).await;
        comes_true(&format!("{wait} leaves sockets"), || sockets_of(&server) == 0).await;
    }
}

/// What a server saw of guests that misbehave.
#[derive(Default)]
struct Tally {
    opened: usize,
    went_away: usize,
}

impl Tally {
    async fn see(&mut self, server: &mut Server, way: &str) {
        match server.seen().await {
            Seen::Opened(_) => self.opened += 1,
            Seen::Closed(Some(frame)) if u16::from(frame.code) == 1001 => self.went_away += 1,
            Seen::Closed(other) => panic!("{way}: {other:?}"),
            Seen::Message(_) => {}
        }
    }
}

impl End {
    fn limits(self) -> Limits {
        match self {
            End::Trap(_, limits) => limits,
            End::Own | End::Host => FREE,
        }
    }

    async fn comes_to(self, guest: JoinHandle<wasmtime::Result<()>>, way: &str) {
        if let End::Host = self {
            guest.abort();
        }
        let ended = soon(guest).await;
        match self {
            End::Own => ended.unwrap().unwrap(),
            End::Trap(why, _) => {
                let trap = format!("{:?}", ended.unwrap().unwrap_err());
                assert!(trap.contains(why), "{way}: {trap}");
            }
            End::Host => assert!(ended.unwrap_err().is_cancelled(), "{way}"),
        }
    }
}

/// A guest that echoes without end.
struct Work {
    echoed: watch::Receiver<u64>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Work {
    async fn begin(host: &Host, url: &str) -> Work {
        let (mut guest, _running) = host.probe();
        let open = guest.connect(Config { url: url.to_owned(), ..Config::default() }).await.unwrap();
        let (counted, echoed) = watch::channel(0);
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            while stopped.try_recv().is_err() {
                let message = Message::Text(counted.borrow().to_string());
                guest.send(open, message.clone()).await.unwrap();
                assert_eq!(guest.receive(open).await, Ok(message));
                counted.send_modify(|count| *count += 1);
            }
        });
        Work { echoed, stop, task }
    }

    /// Waits for ten more echoes.
    async fn goes_on(&mut self) {
        let goal = *self.echoed.borrow() + 10;
        soon(self.echoed.wait_for(|count| *count >= goal)).await.unwrap();
    }

    async fn done(self) {
        self.stop.send(()).unwrap();
        soon(self.task).await.unwrap();
    }
}

/// The sockets of both ends that have to do with a server.
fn sockets_of(server: &Server) -> usize {
    let port: u16 = server.url.trim_end_matches('/').rsplit_once(':').unwrap().1.parse().unwrap();
    sockets().iter().filter(|socket| [socket.local.port(), socket.remote.port()].contains(&port)).count()
}
