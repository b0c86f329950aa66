//! `inspect`: what a guest is, what it imports and exports, and which command runs it.

use crate::guest::{Guest, compile, entries};
use anyhow::Context;
use clap::{Arg, ArgMatches, Command};
use std::path::{Path, PathBuf};
use wasmtime::Engine;

pub(crate) fn command() -> Command {
    Command::new("inspect").about("Says what a guest is, what it imports and exports, and how to run it").arg(
        Arg::new("guest")
            .value_name("GUEST.wasm")
            .required(true)
            .value_parser(clap::value_parser!(PathBuf))
            .help("The file to look at"),
    )
}

pub(crate) fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let path = matches.get_one::<PathBuf>("guest").context("no guest is named")?;
    match Guest::read(path)? {
        Guest::Component(bytes) => component(path, &bytes),
        Guest::Module(module) => {
            println!("{}: a core module", path.display());
            list("imports", &module.imports);
            list("exports", &module.exports);
            println!("no command of this program runs it: {}", module.advice());
            Ok(())
        }
    }
}

fn component(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let shown = path.display();
    let engine = Engine::default();
    let component = compile(&engine, path, bytes)?;
    let ty = component.component_type();
    println!("{shown}: a component");
    list("imports", &ty.imports(&engine).map(|(name, _)| name.to_owned()).collect::<Vec<_>>());
    list("exports", &ty.exports(&engine).map(|(name, _)| name.to_owned()).collect::<Vec<_>>());
    let entries = entries(&engine, &component);
    if entries.is_empty() {
        println!("no command of this program runs it: it has neither wasi:cli/run nor a `call: func() -> string`");
        return Ok(());
    }
    list("run can drive", &entries.iter().map(ToString::to_string).collect::<Vec<_>>());
    println!("run it with: websocket-provider run --allow HOST:PORT {shown}");
    Ok(())
}

fn list(title: &str, names: &[String]) {
    println!("{title}:{}", if names.is_empty() { " none" } else { "" });
    names.iter().for_each(|name| println!("  {name}"));
}
