//! One run: every contender of a case in each round, one after the other, so that other load on the machine
//! affects all of them.

use crate::{
    contenders::{Contender, between, broadcaster, compressing},
    endpoints::{COUNTED, json},
    plan::Case,
    process::{Measured, Place, Process, Processors},
    report::{Figure, Row, Unit},
    server::Addresses,
    targets,
};
use anyhow::{Context, Result};
use bench_exchange::{Job, Mode, Target};
use std::{collections::BTreeMap, time::Duration};

/// How much of the plan to run: all of it, or only enough to check that it runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    pub(crate) rounds: usize,
    /// The factor for the number of rounds in a case that targets depend on.
    pub(crate) repeats: usize,
    /// The divisor for every count of messages.
    pub(crate) divisor: u64,
    /// How many idle connections, and instances, the memory is measured for.
    pub(crate) held: [usize; 2],
    /// The same for connections with and without compression.
    pub(crate) idle: usize,
}

pub(crate) struct Run {
    processors: Processors,
    extent: Extent,
    addresses: Addresses,
    _server: Process,
    processes: BTreeMap<Contender, Process>,
}

impl Run {
    pub(crate) fn start(processors: Processors, extent: Extent) -> Result<Run> {
        let mut server = Process::own(processors, Place::Peer, &["server"])?;
        let addresses = serde_json::from_str(&server.line()?)?;
        Ok(Run { processors, extent, addresses, _server: server, processes: BTreeMap::new() })
    }

    /// Exchanges messages as a case says, over WebSockets or raw TCP.
    pub(crate) fn exchange(&mut self, case: &Case) -> Result<Vec<Row>> {
        let mut rows: Vec<_> = case.contenders.iter().map(|who| Row::new(case.name(), *who)).collect();
        for _ in 0..self.rounds(&case.name()) {
            for row in &mut rows {
                let target = self.target(row.contender, case);
                let measured = self.measure(row.contender, case, target, None)?;
                row.add(&measured, self.messages(case));
            }
        }
        Ok(rows)
    }

    /// The same with a relay or a transport between the client and its server.
    pub(crate) fn relay(&mut self, case: &Case) -> Result<Vec<Row>> {
        let remote = self.target(Contender::Tcp, case);
        let mut between_them = Vec::new();
        for who in &case.contenders {
            between_them.push((Row::new(case.name(), *who), between(*who, self.processors, &remote.url)?));
        }
        for _ in 0..self.extent.rounds {
            for (row, between) in &mut between_them {
                let target = between.as_ref().map_or_else(|| remote.clone(), |(_, url)| plain(url));
                let behind = between.as_ref().map(|(process, _)| process);
                let measured = self.measure(row.contender, case, target, behind)?;
                row.add(&measured, self.messages(case));
            }
        }
        Ok(between_them.into_iter().map(|(row, _)| row).collect())
    }

    fn measure(&mut self, who: Contender, case: &Case, target: Target, behind: Option<&Process>) -> Result<Measured> {
        let count = self.messages(case) / case.connections as u64;
        let (mode, size, connections) = (case.mode, case.size, case.connections);
        let of = |count: u64| {
            let mut target = target.clone();
            if target.url.starts_with("ws") {
                target.url.push_str(&mode.path(size, count));
            }
            Job::Exchange { target, mode, size, count, connections }
        };
        let process = self.process(who)?;
        // A new connection is slower at first.
        let warmed = process.measure(&of((count / 10).max(1)), None);
        let measured = warmed.and_then(|_| process.measure(&of(count), behind));
        measured.with_context(|| format!("{} in \"{}\"", who.name(), case.name()))
    }

    fn rounds(&self, case: &str) -> usize {
        self.extent.rounds * if targets::are_at_stake_in(case) { self.extent.repeats } else { 1 }
    }

    /// Messages of a case in one round, of all its connections together.
    fn messages(&self, case: &Case) -> u64 {
        let each = (case.count / self.extent.divisor / case.connections as u64).max(4);
        each * case.connections as u64
    }

    fn process(&mut self, who: Contender) -> Result<&mut Process> {
        if !self.processes.contains_key(&who) {
            let process = who.start(self.processors, &self.addresses.authority)?;
            self.processes.insert(who, process);
        }
        self.processes.get_mut(&who).context("it was started")
    }

    fn target(&self, who: Contender, case: &Case) -> Target {
        let addresses = &self.addresses;
        match (who, case.mode) {
            (Contender::Tcp, Mode::Up) => plain(&addresses.tcp_sink),
            (Contender::Tcp, Mode::Down) => plain(&addresses.tcp_source),
            (Contender::Tcp, _) => plain(&addresses.tcp_echo),
            _ if case.tls => Target { url: addresses.wss.clone(), authority: Some(addresses.authority.clone()) },
            _ => plain(&addresses.ws),
        }
    }

    /// How fast connections open and close, one after the other.
    pub(crate) fn connect(&mut self) -> Result<Vec<Row>> {
        let count = 2000 / self.extent.divisor;
        let case = "connect and close, one after the other".to_owned();
        let mut rows = [Contender::Guest, Contender::Native].map(|who| Row::new(case.clone(), who));
        let target = Target { url: format!("{}/echo", self.addresses.ws), authority: None };
        for _ in 0..self.rounds(&case) {
            for row in &mut rows {
                let job = Job::Connect { target: target.clone(), size: 0, count };
                row.add(&self.process(row.contender)?.measure(&job, None)?, count);
            }
        }
        Ok(rows.into())
    }

    /// How long an instance takes to start, to be called, and to end.
    pub(crate) fn instantiate(&mut self) -> Result<Vec<Row>> {
        let count = 10_000 / self.extent.divisor;
        let mut row = Row::new("instantiate and call".to_owned(), Contender::Instances);
        for _ in 0..self.extent.rounds {
            let process = self.process(row.contender)?;
            process.measure(&Job::Start { count: count / 10 }, None)?;
            row.add(&process.measure(&Job::Start { count }, None)?, count);
        }
        Ok(vec![row])
    }

    /// The resident memory of connections, or of instances that wait on one each.
    pub(crate) fn memory(&mut self) -> Result<Vec<Figure>> {
        let mut figures = Vec::new();
        let kinds = [
            (Contender::Guest, "an idle connection"),
            (Contender::Native, "an idle connection"),
            (Contender::Instances, "an instance that waits in receive"),
        ];
        for (who, what) in kinds {
            for connections in self.extent.held {
                // A separate process: memory that earlier cases used is not returned.
                let mut process = who.start(self.processors, &self.addresses.authority)?;
                let target = Target { url: format!("{}/echo", self.addresses.ws), authority: None };
                let hold = |connections| Job::Hold { target: target.clone(), size: 0, connections };
                process.measure(&hold(1), None)?;
                let before = process.resident()?;
                process.prepare(&hold(connections))?;
                let held = process.resident()?.saturating_sub(before);
                figures.push(Figure {
                    case: format!("{what}, of {connections}"),
                    contender: who,
                    value: held as f64 / connections as f64,
                    unit: Unit::Bytes,
                });
                process.go()?;
            }
        }
        Ok(figures)
    }

    /// The cost of a message that a guest sends to many clients: the same for all, or one for each.
    pub(crate) fn broadcast(&mut self) -> Result<Vec<Row>> {
        let (connections, count) = (self.extent.held[0], (50 / self.extent.divisor).max(1));
        let mut all = Vec::new();
        for (name, settings, options) in [("", "", &[][..]), (", compressed", "compress=true", &["--compress", "true"])]
        {
            let case = format!("broadcast to {connections}, 1 KiB{name}");
            let mut rows = [Contender::Copies, Contender::Broadcast].map(|who| Row::new(case.clone(), who));
            for _ in 0..self.rounds(&case) {
                for row in &mut rows {
                    let (server, url, _file) = broadcaster(self.processors, options)?;
                    let mut clients = Process::own(self.processors, Place::Peer, &["core-clients", settings])?;
                    let differ = row.contender == Contender::Copies;
                    let job = Job::Broadcast { target: plain(&url), size: 1024, count, connections, differ };
                    row.add(&clients.measure(&job, Some(&server))?, count * connections as u64);
                }
            }
            all.extend(rows);
        }
        Ok(all)
    }

    /// Clients that exchange compressed text with a server of the core.
    pub(crate) fn compressed(&mut self, cases: &[Case]) -> Result<Vec<Row>> {
        let mut server = Process::own(self.processors, Place::Peer, &["core-server", "compress=true"])?;
        let address = server.line()?;
        let texts: BTreeMap<_, _> = cases.iter().map(|case| (case.size, json(case.size))).collect();
        let mut file = tempfile::NamedTempFile::new()?;
        serde_json::to_writer(&mut file, &texts)?;
        let mut processes = BTreeMap::new();
        for who in cases.iter().flat_map(|case| &case.contenders) {
            if !processes.contains_key(who) {
                processes.insert(*who, compressing(*who, self.processors, file.path())?);
            }
        }
        let mut all = Vec::new();
        for case in cases {
            let name = format!("{}, compressed", case.name());
            eprintln!("{name}");
            let installed = case.contenders.iter().filter(|who| processes.get(who).is_some_and(Option::is_some));
            let mut rows: Vec<_> = installed.map(|who| Row::new(name.clone(), *who)).collect();
            for _ in 0..self.extent.rounds {
                for row in &mut rows {
                    let Some(Some(process)) = processes.get_mut(&row.contender) else { continue };
                    let (mode, size, count) = (case.mode, case.size, self.messages(case));
                    let mut exchange = |count| {
                        let target = plain(&format!("{address}{}{COUNTED}", mode.path(size, count)));
                        let job = Job::Exchange { target, mode, size, count, connections: 1 };
                        let measured = process.measure(&job, None).with_context(|| row.contender.name())?;
                        // Sent by the server when the connection is closed.
                        Ok::<_, anyhow::Error>((measured, server.line()?.parse::<u64>()?))
                    };
                    exchange((count / 10).max(1))?;
                    let (measured, bytes) = exchange(count)?;
                    row.add(&measured, count);
                    row.wire.push(bytes as f64 / count as f64);
                }
            }
            all.extend(rows);
        }
        Ok(all)
    }

    /// The resident memory of idle connections that have exchanged a few messages: without compression, with it, and with
    /// context takeover.
    pub(crate) fn idle(&mut self) -> Result<Vec<Figure>> {
        let mut figures = Vec::new();
        for (name, settings) in targets::IDLE {
            let mut server = Process::own(self.processors, Place::Peer, &["core-server", settings])?;
            let target = plain(&server.line()?);
            let mut clients = Process::own(self.processors, Place::Measured, &["core-clients", settings])?;
            let hold = |connections| Job::Hold { target: target.clone(), size: 1024, connections };
            clients.measure(&hold(1), None)?;
            let before = [clients.resident()?, server.resident()?];
            clients.prepare(&hold(self.extent.idle))?;
            let held = [clients.resident()?, server.resident()?];
            for (index, contender) in [Contender::CoreClients, Contender::CoreServer].into_iter().enumerate() {
                let value = held[index].saturating_sub(before[index]) as f64 / self.extent.idle as f64;
                let case = format!("an idle connection {name}, of {}", self.extent.idle);
                figures.push(Figure { case, contender, value, unit: Unit::Bytes });
            }
            clients.go()?;
        }
        Ok(figures)
    }

    /// The cost of a connection through a relay or a transport, before and between its messages.
    pub(crate) fn relayed_connections(&mut self) -> Result<(Vec<Row>, Vec<Figure>)> {
        let (count, held) = (500 / self.extent.divisor, self.extent.held[0]);
        let (mut rows, mut figures) = (Vec::new(), Vec::new());
        for who in [Contender::Tcp, Contender::Relay, Contender::PlainTransport] {
            let between = between(who, self.processors, &self.addresses.tcp_echo)?;
            let url = between.as_ref().map_or(&self.addresses.tcp_echo, |(_, url)| url);
            let target = plain(url);
            let mut row = Row::new("connect, and a first byte echoed".to_owned(), who);
            let mut client = who.start(self.processors, &self.addresses.authority)?;
            for _ in 0..self.extent.rounds {
                let job = Job::Connect { target: target.clone(), size: 1, count: count.max(1) };
                let behind = between.as_ref().map(|(process, _)| process);
                row.add(&client.measure(&job, behind)?, count.max(1));
            }
            rows.push(row);
            let Some((process, _)) = between else { continue };
            let before = process.resident()?;
            client.prepare(&Job::Hold { target, size: 1, connections: held })?;
            let value = process.resident()?.saturating_sub(before) as f64 / held as f64;
            let case = format!("an idle connection, of {held}");
            figures.push(Figure { case, contender: who, value, unit: Unit::Bytes });
            let idle = process.cpu()?;
            std::thread::sleep(IDLE);
            let share = (process.cpu()? - idle).as_secs_f64() / IDLE.as_secs_f64();
            let case = format!("processor time of {held} idle connections");
            figures.push(Figure { case, contender: who, value: share, unit: Unit::Share });
            client.go()?;
        }
        Ok((rows, figures))
    }
}

/// For how long idle connections are watched.
const IDLE: Duration = Duration::from_secs(2);

fn plain(url: &str) -> Target {
    Target { url: url.to_owned(), authority: None }
}
