//! The contenders, and how each is started.

use crate::{
    built, guest_path,
    process::{Place, Process, Processors},
    program_path, transport_path,
};
use anyhow::{Context, Result, bail};
use std::{io::Write, path::Path, process::Command};
use tempfile::NamedTempFile;

/// A contender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Contender {
    /// A guest in the release build of the program.
    Guest,
    /// A guest of a host that has calls for many messages.
    GuestBatches,
    /// Guests of a host that runs an instance for each connection.
    Instances,
    /// tokio-tungstenite with a flush for each message: the native client that others are compared with.
    Native,
    /// The same with *ring* for TLS; all others use aws-lc-rs.
    NativeRing,
    /// tokio-tungstenite with one flush for many messages.
    NativeBursts,
    FastWebsockets,
    TokioWebsockets,
    /// tungstenite inside a guest, over the host's TCP.
    InGuest,
    /// TCP without WebSockets, and without anything between.
    Tcp,
    /// A guest under `serve` that sends the same message to all clients.
    Broadcast,
    /// The same with a message for each that differs from the others.
    Copies,
    /// Clients that compress: of this project's core, and of others.
    CoreCompressed,
    Sockudo,
    Ws,
    PythonWebsockets,
    /// Clients and servers of the core, without a guest.
    CoreClients,
    CoreServer,
    /// A relay that forwards bytes.
    Relay,
    /// A transport module in the program that forwards bytes, and one that inverts their bits.
    PlainTransport,
    ReversingTransport,
}

impl Contender {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Contender::Guest => "guest",
            Contender::GuestBatches => "guest, calls for many",
            Contender::Instances => "guests, an instance each",
            Contender::Native => "tokio-tungstenite",
            Contender::NativeRing => "tokio-tungstenite, ring",
            Contender::NativeBursts => "tokio-tungstenite, a flush per burst",
            Contender::FastWebsockets => "fastwebsockets",
            Contender::TokioWebsockets => "tokio-websockets",
            Contender::InGuest => "tungstenite in the guest",
            Contender::Tcp => "TCP",
            Contender::Broadcast => "serve, one message for all",
            Contender::Copies => "serve, a message for each",
            Contender::CoreCompressed => "the core",
            Contender::Sockudo => "sockudo-ws",
            Contender::Ws => "ws for Node.js",
            Contender::PythonWebsockets => "websockets for Python",
            Contender::CoreClients => "clients of the core",
            Contender::CoreServer => "server of the core",
            Contender::Relay => "TCP relay",
            Contender::PlainTransport => "plain transport",
            Contender::ReversingTransport => "reversing transport",
        }
    }

    /// The process that does the jobs, if the contender does them itself.
    pub(crate) fn start(self, processors: Processors, authority: &Path) -> Result<Process> {
        let native = |name: &str| Process::own(processors, Place::Measured, &["native", name]);
        match self {
            Contender::Guest => {
                let mut program = Command::new(program_path()?);
                program
                    .args(["run", "--allow", "localhost", "--max-connections-total", "6000", "--ca-cert"])
                    .arg(authority);
                program.arg(guest_path("bench-websocket")?);
                Process::start(processors, Place::Measured, &mut program)
            }
            Contender::GuestBatches => Process::own(processors, Place::Measured, &["batch"]),
            Contender::Instances => Process::own(processors, Place::Measured, &["instances"]),
            Contender::InGuest => Process::own(processors, Place::Measured, &["sockets"]),
            Contender::Native => native("tungstenite"),
            Contender::NativeRing => native("tungstenite-ring"),
            Contender::NativeBursts => native("tungstenite-bursts"),
            Contender::FastWebsockets => native("fastwebsockets"),
            Contender::TokioWebsockets => native("tokio-websockets"),
            Contender::Tcp => native("raw"),
            // The contender is between this client and its server.
            Contender::Relay | Contender::PlainTransport | Contender::ReversingTransport => {
                Process::own(processors, Place::Peer, &["native", "raw"])
            }
            Contender::Broadcast
            | Contender::Copies
            | Contender::CoreCompressed
            | Contender::Sockudo
            | Contender::Ws
            | Contender::PythonWebsockets
            | Contender::CoreClients
            | Contender::CoreServer => bail!("{} is started with arguments", self.name()),
        }
    }
}

/// What stands between a client and `remote`, and where it listens; `None` for a contender that goes there itself.
pub(crate) fn between(contender: Contender, processors: Processors, remote: &str) -> Result<Option<(Process, String)>> {
    let mut process = match contender {
        Contender::Relay => Process::own(processors, Place::Measured, &["relay", remote])?,
        Contender::PlainTransport | Contender::ReversingTransport => {
            let mut program = Command::new(program_path()?);
            program.args(["watm", "dial"]).arg(transport_path("transport")?);
            program.args(["--local", "tcp://127.0.0.1:0", "--remote", remote]);
            program.args(["--max-connections-total", "6000"]);
            if contender == Contender::ReversingTransport {
                program.arg("--config-file").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/reverse.conf"));
            }
            Process::start(processors, Place::Measured, &mut program)?
        }
        _ => return Ok(None),
    };
    let line = process.line()?;
    let address = line.strip_prefix("listening on ").with_context(|| format!("{line:?} is not an address"))?;
    Ok(Some((process, address.to_owned())))
}

/// A guest under `serve` that sends each message to all its clients, and its URL. The file is there as long as the program.
pub(crate) fn broadcaster(processors: Processors, options: &[&str]) -> Result<(Process, String, NamedTempFile)> {
    let mut file = tempfile::Builder::new().suffix(".wasm").tempfile()?;
    file.write_all(&wat::parse_str(include_str!("broadcast.wat"))?)?;
    let mut program = Command::new(program_path()?);
    program.args(["serve", "--listen", "127.0.0.1:0", "--max-connections", "6000"]).args(options).arg(file.path());
    let mut process = Process::start(processors, Place::Measured, &mut program)?;
    let line = process.line()?;
    let address = line.strip_prefix("listening on http://").with_context(|| format!("{line:?} is not an address"))?;
    let url = format!("ws://{address}");
    Ok((process, url, file))
}

/// Has glibc keep the memory that a client frees. It returns the memory of each message to the kernel, or does not, depending on
/// what the process allocated before, and inflating 64 KiB takes twice as long if it does.
const KEEP_MEMORY: [(&str, &str); 2] =
    [("MALLOC_MMAP_THRESHOLD_", "1073741824"), ("MALLOC_TRIM_THRESHOLD_", "1073741824")];

/// A client that compresses; `None` if it is not installed. `texts` is a JSON file with the text of each size.
pub(crate) fn compressing(contender: Contender, processors: Processors, texts: &Path) -> Result<Option<Process>> {
    let other = |program: &str, script: &str, package: &str| {
        let packages = built(&format!("../peers/{package}")).ok()?;
        let mut command = Command::new(program);
        command.arg(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/clients")).join(script)).arg(packages).arg(texts);
        Some(command)
    };
    let own = |client: &str| -> Result<_> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["native", client]);
        Ok(Some(command))
    };
    let command = match contender {
        Contender::CoreCompressed => own("core-compressed")?,
        Contender::Sockudo => own("sockudo-ws")?,
        Contender::Ws => other("node", "ws.cjs", "node_modules"),
        Contender::PythonWebsockets => other("python3", "websockets_client.py", "python"),
        _ => bail!("{} does not compress", contender.name()),
    };
    let Some(mut command) = command else {
        eprintln!("skipped: {} is not installed; run scripts/peers", contender.name());
        return Ok(None);
    };
    Process::start(processors, Place::Measured, command.envs(KEEP_MEMORY)).map(Some)
}
