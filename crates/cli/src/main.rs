//! The program `websocket-provider`: runs guests that talk over WebSockets, and helps to write them.

#![cfg_attr(test, allow(clippy::expect_used, clippy::panic, clippy::unwrap_used))]

mod address;
mod cache;
mod compile;
mod config;
#[cfg(test)]
mod damage;
mod echo;
mod engine;
mod env;
mod guest;
mod inspect;
mod listen;
mod output;
mod precompiled;
mod run;
mod serve;
mod stop;
mod wasi_http;
mod watm;

use anyhow::Context;
use clap::{Arg, ArgMatches, Command};
use std::{
    fmt::{self, Display},
    io::{IsTerminal, Write},
    process::ExitCode,
    thread::available_parallelism,
};
use tokio::runtime::Builder;
use tracing_subscriber::EnvFilter;

/// glibc's gives the memory of large messages back to the kernel after each, and faults it in again for the next.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit code after wrong usage, as clap has it.
const USAGE: i32 = 2;

/// Flags that do not go together, each of them right by itself.
#[derive(Debug)]
struct Usage(String);

impl Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

fn command() -> Command {
    Command::new("websocket-provider")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Runs WebAssembly guests that talk over WebSockets")
        .after_help("Logs go to standard error, as much as RUST_LOG asks for (RUST_LOG=debug).")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .arg(
            Arg::new("log-format")
                .long("log-format")
                .global(true)
                .value_name("FORMAT")
                .value_parser(["text", "json"])
                .default_value("text")
                .help("How logs are written"),
        )
        .subcommand(run::command())
        .subcommand(serve::command())
        .subcommand(watm::command())
        .subcommand(echo::command())
        .subcommand(inspect::command())
        .subcommand(compile::command())
}

fn main() -> ExitCode {
    let matches = command().get_matches();
    start_logging(&matches);
    // Unlike *ring*, it verifies certificates of P-521, and of P-256 with SHA-512. It fails only where there is one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let code = match dispatch(&matches) {
        Ok(code) => code,
        Err(error) => {
            tracing::debug!("{error:?}");
            eprintln!("error: {error:#}");
            if error.is::<Usage>() { USAGE } else { 1 }
        }
    };
    // Not by returning: a guest's read of standard input may still block a thread.
    std::process::exit(code)
}

fn dispatch(matches: &ArgMatches) -> anyhow::Result<i32> {
    // While a guest computes on one thread, another has the sockets.
    let threads = available_parallelism().map_or(2, |count| count.get().max(2));
    let runtime = Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let ended = match matches.subcommand() {
        Some(("run", matches)) => runtime.block_on(run::run(matches)),
        Some(("serve", matches)) => runtime.block_on(serve::run(matches)),
        Some(("watm", matches)) => runtime.block_on(watm::run(matches)),
        Some(("echo", matches)) => runtime.block_on(echo::run(matches)),
        Some(("inspect", matches)) => inspect::run(matches).map(|()| 0),
        Some(("compile", matches)) => compile::run(matches).map(|()| 0),
        _ => unreachable!("clap requires a subcommand"),
    };
    // A write that nobody reads, or a lookup that nobody answers, may still block a thread.
    runtime.shutdown_background();
    ended
}

/// Writes a line of the program's answer to standard output, which may be a pipe that nobody reads.
fn answer(line: impl Display) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).context("cannot write to standard output")
}

fn start_logging(matches: &ArgMatches) {
    let filter = filter(&std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default());
    let coloured = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
    let logs = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(coloured).with_env_filter(filter);
    match matches.get_one::<String>("log-format").map(String::as_str) {
        Some("json") => logs.json().init(),
        _ => logs.init(),
    }
}

/// What is logged where RUST_LOG is `asked`. Somebody who waits for a compilation learns why, unless RUST_LOG says `off` or
/// names that module.
fn filter(asked: &str) -> EnvFilter {
    const COMPILING: &str = concat!(module_path!(), "::compile=info");
    match asked.trim() {
        "off" => EnvFilter::new("off"),
        "" => EnvFilter::new(format!("warn,{COMPILING}")),
        asked => EnvFilter::try_new(format!("{COMPILING},{asked}")).unwrap_or_else(|_| filter("")),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_compilation_is_told_of_whatever_else_is_logged() {
        for (asked, expected) in [
            ("", "websocket_provider::compile=info,warn"),
            ("error", "websocket_provider::compile=info,error"),
            ("off", "off"),
            ("websocket_provider::compile=off", "websocket_provider::compile=off"),
            ("no level=x", "websocket_provider::compile=info,warn"),
        ] {
            assert_eq!(super::filter(asked).to_string(), expected, "{asked:?}");
        }
    }

    #[test]
    fn the_arguments_are_consistent() {
        super::command().debug_assert();
    }
}
