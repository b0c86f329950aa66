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
use clap::{Parser, Subcommand, ValueEnum};
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

/// A conflict between flags or settings whose values are valid one by one.
#[derive(Debug)]
struct Usage(String);

impl Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Runs WebAssembly guests that talk over WebSockets
#[derive(Parser)]
#[command(
    name = "websocket-provider",
    version,
    after_help = "Logs go to standard error; RUST_LOG sets the level (RUST_LOG=debug).",
    subcommand_required = true,
    arg_required_else_help = true
)]
struct Program {
    /// How logs are written
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Arguments),
    Serve(serve::Arguments),
    Watm(watm::Arguments),
    Echo(echo::Arguments),
    Inspect(inspect::Arguments),
    Compile(compile::Arguments),
}

fn main() -> ExitCode {
    let program = Program::parse();
    start_logging(program.log_format);
    // Unlike *ring*, it verifies certificates of P-521, and of P-256 with SHA-512. It fails only where there is one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let code = match dispatch(program.command) {
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

fn dispatch(command: Command) -> anyhow::Result<i32> {
    // While a guest computes on one thread, another has the sockets.
    let threads = available_parallelism().map_or(2, |count| count.get().max(2));
    let runtime = Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let ended = match command {
        Command::Run(arguments) => runtime.block_on(run::run(&arguments)),
        Command::Serve(arguments) => runtime.block_on(serve::run(&arguments)),
        Command::Watm(arguments) => runtime.block_on(watm::run(arguments)),
        Command::Echo(arguments) => runtime.block_on(echo::run(&arguments)),
        Command::Inspect(arguments) => inspect::run(&arguments).map(|()| 0),
        Command::Compile(arguments) => compile::run(&arguments).map(|()| 0),
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

fn start_logging(format: LogFormat) {
    let filter = filter(&std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default());
    let coloured = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
    let logs = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(coloured).with_env_filter(filter);
    match format {
        LogFormat::Json => logs.json().init(),
        LogFormat::Text => logs.init(),
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
    use clap::CommandFactory;

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
        super::Program::command().debug_assert();
    }
}
