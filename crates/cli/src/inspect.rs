//! `inspect`: what a guest is, what it imports and exports, and which command runs it.

use crate::{
    address, answer,
    cache::{CacheUse, Cached},
    compile::{EACH_START, compiled, while_telling},
    engine::{Calls, engine},
    guest::{CoreModule, Entry, Guest, choose, entries},
    run,
};
use anyhow::{anyhow, bail};
use clap::Args;
use std::{
    fmt::Display,
    path::{Path, PathBuf},
};
use websocket_abi_bridge::Module;
use websocket_watm as watm;

/// Prints what kind of guest a file is, what it imports and exports, and how to run it
#[derive(Args)]
#[command(after_help = "The exit code is 1 for a guest that no command of this program runs.")]
pub(crate) struct Arguments {
    /// The file to inspect
    #[arg(value_name = "GUEST.wasm", value_parser = address::file())]
    guest: PathBuf,
    #[command(flatten)]
    cache: CacheUse,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let path = &arguments.guest;
    match Guest::read(path)? {
        Guest::Component(bytes) => component(path, &bytes, &Cached::open(&arguments.cache)),
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
    let (shown, engine) = (path.display(), engine(Calls::Sequential)?);
    // How it is run, or why it is not.
    let (what, how) = if module.is_transport() {
        match while_telling(path, &module.bytes, EACH_START, || watm::Module::load(&engine, &module.bytes)) {
            Ok(transport) => {
                let roles = transport.roles().to_string();
                let first = roles.split(", ").next().unwrap_or_default();
                let how = format!("run it with: websocket-provider watm {first} {shown} --local ADDR --remote ADDR");
                (format!("a transport of WATM v0 that can {roles}"), Ok(how))
            }
            Err(error) => ("a core module".to_owned(), Err(error.to_string())),
        }
    } else {
        match while_telling(path, &module.bytes, EACH_START, || Module::load(&engine, &module.bytes)) {
            Ok(guest) => (
                format!("a core module of the pointer-payload ABI, {}", guest.shape()),
                Ok(format!("run it with: websocket-provider serve {shown}")),
            ),
            Err(error) if module.hands_over_payloads() => {
                ("a core module of the pointer-payload ABI".to_owned(), Err(error.to_string()))
            }
            Err(error) => ("a core module".to_owned(), Err(format!("{error}; {}", module.advice(path)))),
        }
    };
    answer(format!("{shown}: {what}"))?;
    list("imports", &module.imports)?;
    list("exports", &module.exports)?;
    answer(how.map_err(|why| anyhow!("no command of this program runs {shown}: {why}"))?)
}

fn component(path: &Path, bytes: &[u8], cached: &Cached) -> anyhow::Result<()> {
    let shown = path.display();
    let (calls, engine, component) = compiled(path, bytes, cached)?;
    let ty = component.component_type();
    answer(format!("{shown}: a component"))?;
    list("imports", ty.imports(&engine).map(|(name, _)| name))?;
    list("exports", ty.exports(&engine).map(|(name, _)| name))?;
    let entries = entries(&engine, &component);
    if entries.is_empty() {
        bail!("no command of this program runs {shown}: it has neither wasi:cli/run nor a `call: func() -> string`");
    }
    run::check_imports(calls, &engine, &component, path)
        .map_err(|error| anyhow!("no command of this program runs {shown}: {error:#}"))?;
    list("run can drive", &entries)?;
    // One of several calls has to be named.
    let call = match (choose(&entries, None), entries.first()) {
        (Err(_), Some(Entry::Call(name))) => format!("--call {name} "),
        _ => String::new(),
    };
    answer(format!("run it with: websocket-provider run {call}--allow HOST:PORT {shown}"))
}

fn list(title: &str, items: impl IntoIterator<Item: Display>) -> anyhow::Result<()> {
    let mut items = items.into_iter().peekable();
    answer(format!("{title}:{}", if items.peek().is_none() { " none" } else { "" }))?;
    items.try_for_each(|item| answer(format!("  {item}")))
}
