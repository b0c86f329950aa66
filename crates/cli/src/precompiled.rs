//! Components that `compile` has compiled ahead. The one place of this program with `unsafe`: machine code
//! that somebody made up can do what this program can, and no check of the file would find that out.

use crate::engine::{Calls, engine};
use clap::{Arg, ArgAction, ArgMatches};
use wasmtime::{Engine, Precompiled, component::Component};

/// The operator's word that a file came from `compile`, and has been out of others' reach since. Only
/// `--allow-precompiled` gives it.
pub(crate) struct Trusted(());

pub(crate) fn argument() -> Arg {
    Arg::new("allow-precompiled").long("allow-precompiled").action(ArgAction::SetTrue).help(
        "Take a file that `compile` wrote; it is run as machine code, so it must be as trustworthy as this program",
    )
}

impl Trusted {
    /// The operator's word, where the command line gives it.
    pub(crate) fn given(matches: &ArgMatches) -> Option<Trusted> {
        matches.get_flag("allow-precompiled").then_some(Trusted(()))
    }
}

/// Whether these bytes are what `compile` writes, going by how they begin.
pub(crate) fn is_precompiled(bytes: &[u8]) -> bool {
    matches!(Engine::detect_precompiled(bytes), Some(Precompiled::Component))
}

/// Loads a component that was compiled ahead, with the engine that it was compiled for.
///
/// # Errors
/// When it was compiled for another machine, or by another version.
pub(crate) fn load(bytes: &[u8], _: Trusted) -> anyhow::Result<(Calls, Engine, Component)> {
    // An engine takes only what was compiled for its settings, and the two differ in one of them.
    let sequential = engine(Calls::Sequential, None)?;
    if let Ok(component) = deserialize(&sequential, bytes) {
        return Ok((Calls::Sequential, sequential, component));
    }
    let concurrent = engine(Calls::Concurrent, None)?;
    let component = deserialize(&concurrent, bytes)?;
    Ok((Calls::Concurrent, concurrent, component))
}

#[allow(unsafe_code)]
fn deserialize(engine: &Engine, bytes: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the bytes must be what `Engine::precompile_component` gave, unaltered. The operator says so, for
    // there is no way to `load` but with a `Trusted`; and they are in memory, where nobody alters them any more.
    unsafe { Component::deserialize(engine, bytes) }
}
