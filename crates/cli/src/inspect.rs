//! `inspect`: what a guest is, what it imports and exports, and which command runs it.

use crate::{
    answer,
    cache::{self, Cached},
    compile::compiled,
    guest::{CoreModule, Guest, entries},
};
use anyhow::Context;
use clap::{Arg, ArgMatches, Command};
use std::{
    fmt::Display,
    path::{Path, PathBuf},
};
use wasmtime::Engine;
use websocket_abi_bridge::{payload::Module, watm};

pub(crate) fn command() -> Command {
    Command::new("inspect")
        .about("Says what a guest is, what it imports and exports, and how to run it")
        .arg(
            Arg::new("guest")
                .value_name("GUEST.wasm")
                .required(true)
                .value_parser(clap::value_parser!(PathBuf))
                .help("The file to look at"),
        )
        .arg(cache::argument())
}

pub(crate) fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let path = matches.get_one::<PathBuf>("guest").context("no guest is named")?;
    match Guest::read(path)? {
        Guest::Component(bytes) => component(path, &bytes, &Cached::open(matches)),
        Guest::Precompiled(_) => {
            // What it imports is in the machine code, which is not trusted here.
            let shown = path.display();
            answer(format!("{shown}: a precompiled component; inspect the guest that it was compiled from"))?;
            answer(format!("run it with: websocket-provider run --allow-precompiled --allow HOST:PORT {shown}"))
        }
        Guest::Module(module) => core_module(path, &module),
    }
}

fn core_module(path: &Path, module: &CoreModule) -> anyhow::Result<()> {
    let (shown, engine) = (path.display(), Engine::default());
    let nothing = |why: String| ("a core module".to_owned(), format!("no command of this program runs it: {why}"));
    let (what, how) = if module.is_transport() {
        match watm::Module::load(&engine, &module.bytes) {
            Ok(transport) => (
                format!("a transport of WATM v0 that can {}", transport.roles()),
                format!("run it with: websocket-provider watm ROLE {shown} --local ADDR --remote ADDR"),
            ),
            Err(error) => nothing(error.to_string()),
        }
    } else {
        match Module::load(&engine, &module.bytes) {
            Ok(guest) => (
                format!("a core module of the pointer-payload ABI, {}", guest.shape()),
                format!("run it with: websocket-provider serve {shown}"),
            ),
            Err(error) if module.hands_over_payloads() => nothing(format!("of the pointer-payload ABI, {error}")),
            Err(_) => nothing(module.advice(path)),
        }
    };
    answer(format!("{shown}: {what}"))?;
    list("imports", &module.imports)?;
    list("exports", &module.exports)?;
    answer(how)
}

fn component(path: &Path, bytes: &[u8], cached: &Cached) -> anyhow::Result<()> {
    let shown = path.display();
    let (_, engine, component) = compiled(path, bytes, cached)?;
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
