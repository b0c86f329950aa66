//! The WIT package `wasmcloud:websocket` as a capability provider: a process that a wasmCloud 1.x host starts, and
//! that components call over NATS.

mod bindings;
mod calls;
mod config;
#[path = "../../../../crates/provider/src/p2/conversions.rs"]
mod conversions;
mod handle;
mod lattice;
mod link;
mod provider;
mod serve;
#[path = "../../../../crates/provider/src/p2/versions.rs"]
mod versions;

use anyhow::{Context, Result, bail};
use provider::WebsocketProvider;
use std::{io::IsTerminal, process::ExitCode, sync::Arc};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};
use wasmcloud_provider_sdk::{core::logging::Level, load_host_data, run_provider};

/// What the NATS server shows as the connections' name.
const NAME: &str = "wasmcloud-websocket-provider";

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{NAME}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    // The host writes it to standard input; reading blocks until it has.
    let host = tokio::task::spawn_blocking(load_host_data).await?;
    let host = host.context("this program is started by a wasmCloud host, which tells it where its lattice is")?;
    log_to_stderr(host.log_level.as_ref());
    let lattice = Arc::new(lattice::join(host).await?);
    let provider = WebsocketProvider::new(Arc::clone(&lattice));
    // With the links that there are already, so that the first call finds its own.
    let commands = run_provider(provider.clone(), NAME).await.context("cannot take commands from the lattice")?;
    serve::start(&lattice).await.context("cannot take calls from the lattice")?;

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        // It has shut the provider down.
        () = commands => Ok(()),
        _ = terminate.recv() => provider.stop().await,
        _ = interrupt.recv() => provider.stop().await,
        () = lattice.calls.lost() => bail!("the lattice sends no calls any more"),
    }
}

/// Logs as the host does, or as its `RUST_LOG` says.
fn log_to_stderr(level: Option<&Level>) {
    let level = match level {
        Some(Level::Critical | Level::Error) => LevelFilter::ERROR,
        Some(Level::Warn) => LevelFilter::WARN,
        Some(Level::Info) | None => LevelFilter::INFO,
        Some(Level::Debug) => LevelFilter::DEBUG,
        Some(Level::Trace) => LevelFilter::TRACE,
    };
    let filter = EnvFilter::builder().with_default_directive(level.into()).from_env_lossy();
    let ansi = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(ansi).with_env_filter(filter).init();
}
