//! Compares guests of this host with the alternatives, in one run on loopback. People call `bench`; the
//! other subcommands are the processes that it starts.

mod chart;
mod contenders;
mod endpoints;
mod host;
mod native;
mod plan;
mod process;
mod relay;
mod report;
mod run;
mod server;
mod targets;

use anyhow::{Context, Result, ensure};
use clap::{Arg, ArgAction, ArgMatches, Command};
use process::Processors;
use report::Report;
use run::{Extent, Run};
use std::path::{Path, PathBuf};

fn command() -> Command {
    let hidden = |name: &'static str| Command::new(name).hide(true);
    let with = |name: &'static str, arg: &'static str| hidden(name).arg(Arg::new(arg).required(true));
    Command::new("bench")
        .about("Compares guests of this host with the alternatives")
        .arg(
            Arg::new("quick")
                .long("quick")
                .action(ArgAction::SetTrue)
                .help("See that everything can be measured, in about a minute; the figures say nothing"),
        )
        .arg(
            Arg::new("rounds")
                .long("rounds")
                .value_name("COUNT")
                .value_parser(clap::value_parser!(u16).range(1..))
                .default_value("5")
                .help("How often each contender has its turn; thrice as often in cases that targets depend on"),
        )
        .arg(
            Arg::new("only")
                .long("only")
                .value_name("TEXT")
                .help("Leave out cases whose name does not have this in it"),
        )
        .arg(
            Arg::new("together")
                .long("together")
                .action(ArgAction::SetTrue)
                .help("Give servers and contenders no processor of their own"),
        )
        .arg(
            Arg::new("out")
                .long("out")
                .value_name("FOLDER")
                .default_value("target/bench")
                .value_parser(clap::value_parser!(PathBuf))
                .help("Where the report goes, as tables, JSON and a chart"),
        )
        .subcommands([
            hidden("server"),
            hidden("instances"),
            hidden("sockets"),
            hidden("batch"),
            with("native", "client"),
            with("relay", "remote"),
            with("core-clients", "settings"),
            with("core-server", "settings"),
        ])
}

fn main() -> Result<()> {
    let matches = command().get_matches();
    if !matches!(matches.subcommand(), Some(("native", _))) {
        // The same as in the program; a native client has its own.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
    let argument = |matches: &ArgMatches, name| matches.get_one::<String>(name).cloned().context("clap requires it");
    match matches.subcommand() {
        Some(("server", _)) => server::run(),
        Some(("instances", _)) => host::instances(),
        Some(("sockets", _)) => host::sockets(),
        Some(("batch", _)) => host::batch(),
        Some(("native", matches)) => native::run(&argument(matches, "client")?),
        Some(("core-clients", matches)) => endpoints::clients(&argument(matches, "settings")?),
        Some(("core-server", matches)) => endpoints::server(&argument(matches, "settings")?),
        Some(("relay", matches)) => relay::run(&argument(matches, "remote")?),
        _ => bench(&matches),
    }
}

fn bench(matches: &ArgMatches) -> Result<()> {
    let rounds = matches.get_one::<u16>("rounds").map_or(1, |rounds| usize::from(*rounds));
    let extent = if matches.get_flag("quick") {
        Extent { rounds: 1, repeats: 1, divisor: 50, held: [20, 50], idle: 50 }
    } else {
        Extent { rounds, repeats: 3, divisor: 1, held: [1000, 5000], idle: 10_000 }
    };
    let processors = Processors::find(!matches.get_flag("together"))?;
    let mut report = Report { processors_apart: processors.are_apart(), rounds: extent.rounds, ..Report::default() };
    let only = matches.get_one::<String>("only").map_or("", String::as_str);
    let mut run = Run::start(processors, extent)?;
    for case in plan::websockets().iter().filter(|case| case.name().contains(only)) {
        eprintln!("{}", case.name());
        report.websockets.extend(run.exchange(case)?);
    }
    for case in plan::transports().iter().filter(|case| format!("transports: {}", case.name()).contains(only)) {
        eprintln!("transports: {}", case.name());
        report.transports.extend(run.relay(case)?);
    }
    if "compressed".contains(only) {
        report.compressed = run.compressed(&plan::compressed())?;
    }
    if "broadcast".contains(only) {
        eprintln!("broadcast");
        report.websockets.extend(run.broadcast()?);
    }
    if "idle".contains(only) {
        eprintln!("idle");
        report.figures.extend(run.idle()?);
    }
    if "setting up".contains(only) {
        eprintln!("setting up");
        report.websockets.extend(run.connect()?);
        report.websockets.extend(run.instantiate()?);
        let (rows, figures) = run.relayed_connections()?;
        report.transports.extend(rows);
        report.figures.extend(run.memory()?);
        report.figures.extend(figures);
    }
    drop(run);
    let out = matches.get_one::<PathBuf>("out").context("it has a default")?;
    write(out, &report)
}

fn write(folder: &Path, report: &Report) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let tables = report.tables();
    std::fs::write(folder.join("report.md"), &tables)?;
    std::fs::write(folder.join("report.json"), serde_json::to_string_pretty(report)?)?;
    std::fs::write(folder.join("chart.svg"), chart::draw(report))?;
    println!("{tables}");
    println!("the report is in {}", folder.display());
    Ok(())
}

/// The program under test, which is built together with this one.
fn program_path() -> Result<PathBuf> {
    built("websocket-provider")
}

fn guest_path(name: &str) -> Result<PathBuf> {
    built(&format!("../wasm32-wasip2/release/{name}.wasm"))
}

fn transport_path(name: &str) -> Result<PathBuf> {
    built(&format!("../wasm32-wasip1/release/{name}.wasm"))
}

/// A file that `make bench` has built, by its path relative to this program's folder.
fn built(path: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(path);
    ensure!(path.exists(), "{} is missing: run `make bench`, which builds it", path.display());
    Ok(path)
}
