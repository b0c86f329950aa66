//! `inspect`: what a guest is, what it imports and exports, and which command runs it.

use crate::{
    answer,
    guest::{Guest, compile, entries},
};
use anyhow::Context;
use clap::{Arg, ArgMatches, Command};
use std::{
    fmt::Display,
    path::{Path, PathBuf},
};
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
            answer(format!("{}: a core module", path.display()))?;
            list("imports", &module.imports)?;
            list("exports", &module.exports)?;
            answer(format!("no command of this program runs it: {}", module.advice()))
        }
    }
}

fn component(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let shown = path.display();
    let engine = Engine::default();
    let component = compile(&engine, path, bytes)?;
    let ty = component.component_type();
    answer(format!("{shown}: a component"))?;
    list("imports", ty.imports(&engine).map(|(name, _)| name))?;
    list("exports", ty.exports(&engine).map(|(name, _)| name))?;
    let entries = entries(&engine, &component);
    if entries.is_empty() {
        return answer(
            "no command of this program runs it: it has neither wasi:cli/run nor a `call: func() -> string`",
        );
    }
    list("run can drive", &entries)?;
    answer(format!("run it with: websocket-provider run --allow HOST:PORT {shown}"))
}

fn list(title: &str, items: impl IntoIterator<Item: Display>) -> anyhow::Result<()> {
    let mut items = items.into_iter().peekable();
    answer(format!("{title}:{}", if items.peek().is_none() { " none" } else { "" }))?;
    items.try_for_each(|item| answer(format!("  {item}")))
}
