//! Which modules are transports of WATM v0, and which roles they can play.

use super::preview1;
use crate::types::shown;
use std::fmt;
use wasmtime::{Engine, ExternType, ValType};

/// What a host has for transports beside WASI.
const HOST_CALLS: [(&str, usize); 4] = [("host_dial", 1), ("host_accept", 1), ("host_defer", 0), ("pull_config", 1)];
/// What every transport exports, with its parameters; each gives one `i32`.
const NEEDED: [(&str, usize); 3] = [("_water_init", 0), ("_water_cancel_with", 1), ("_water_worker", 0)];
/// What marks the version, as a function or a global.
const VERSION: &str = "_water_v0";
const VERSIONS: &str = "_water_v";

/// A compiled module that was found to be a transport.
#[derive(Debug, Clone)]
pub struct Module {
    module: wasmtime::Module,
    roles: Roles,
}

/// What a transport can do with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Roles {
    /// `_water_dial`: takes a caller's stream to the network.
    pub dial: bool,
    /// `_water_accept`: brings a stream of the network to a caller.
    pub accept: bool,
    /// `_water_associate`: joins two streams of the network.
    pub relay: bool,
}

/// Why a module is not a transport.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// It is not valid WebAssembly.
    #[error("it does not compile: {0:#}")]
    Compile(wasmtime::Error),
    /// It is one of a later version.
    #[error("it is a transport of a later version of WATM (it has `{0}`), and this host runs v0: build it for v0")]
    Newer(String),
    /// It lacks something, or has it otherwise: everything that is wrong, in order.
    #[error("it is not a transport of WATM v0: {}", .0.join("; "))]
    Invalid(Vec<String>),
}

impl Module {
    /// Compiles a module and checks what it imports and exports; nothing of it runs.
    ///
    /// # Errors
    /// [`LoadError`] that names everything that is missing or of another type.
    pub fn load(engine: &Engine, bytes: &[u8]) -> Result<Self, LoadError> {
        let module = wasmtime::Module::new(engine, bytes).map_err(LoadError::Compile)?;
        let roles = check(&module)?;
        Ok(Module { module, roles })
    }

    /// What it can do.
    pub fn roles(&self) -> Roles {
        self.roles
    }

    /// Whether it can read a configuration.
    pub fn reads_config(&self) -> bool {
        self.module.imports().any(|import| (import.module(), import.name()) == ("env", "pull_config"))
    }

    /// The module that was compiled.
    pub fn compiled(&self) -> &wasmtime::Module {
        &self.module
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let roles = [(self.dial, "dial"), (self.accept, "listen"), (self.relay, "relay")];
        let names: Vec<_> = roles.iter().filter(|(can, _)| *can).map(|(_, name)| *name).collect();
        f.write_str(&names.join(", "))
    }
}

fn check(module: &wasmtime::Module) -> Result<Roles, LoadError> {
    let is_newer = |name: &str| {
        let marks =
            name.strip_prefix(VERSIONS).is_some_and(|version| version.parse().is_ok_and(|number: u32| number > 0));
        marks || name.strip_prefix("watm_").is_some_and(|rest| rest.ends_with("_v1"))
    };
    let newer = module.exports().map(|export| export.name()).find(|name| is_newer(name));
    let newer = newer.or_else(|| module.imports().map(|import| import.name()).find(|name| *name == "water_dial"));
    if let Some(name) = newer {
        return Err(LoadError::Newer(name.to_owned()));
    }
    let mut wrong = Vec::new();
    for import in module.imports() {
        let (from, name) = (import.module(), import.name());
        let expected = match from {
            "env" => HOST_CALLS.iter().find(|(call, _)| *call == name).map(|(_, gives)| signature(&[], *gives)),
            "wasi_snapshot_preview1" => preview1::signature_of(name),
            _ => None,
        };
        match (expected, shown(&import.ty())) {
            (None, _) => wrong.push(format!("it imports `{from}.{name}`, which transports do not have")),
            (Some(expected), found) if expected != found => {
                wrong.push(format!("it imports `{from}.{name}` as {found}, which is {expected}"));
            }
            _ => {}
        }
    }
    match module.get_export("memory") {
        Some(ExternType::Memory(_)) => {}
        Some(other) => wrong.push(format!("its export `memory` is {}, and not a memory", shown(&other))),
        None => wrong.push("it does not export `memory`".to_owned()),
    }
    if module.get_export(VERSION).is_none() {
        wrong.push(format!("it does not export `{VERSION}`"));
    }
    let mut exports = |name: &str, takes: usize, needed: bool| {
        let expected = signature(&vec![ValType::I32; takes], 1);
        match module.get_export(name).map(|found| shown(&found)) {
            Some(found) if found == expected => return true,
            Some(found) => wrong.push(format!("its export `{name}` is {found}, and not {expected}")),
            None if needed => wrong.push(format!("it does not export `{name}`")),
            None => {}
        }
        false
    };
    for (name, takes) in NEEDED {
        exports(name, takes, true);
    }
    let roles = Roles {
        dial: exports("_water_dial", 1, false),
        accept: exports("_water_accept", 1, false),
        relay: exports("_water_associate", 0, false),
    };
    if roles == Roles::default() {
        wrong.push("it exports none of `_water_dial`, `_water_accept` and `_water_associate`".to_owned());
    }
    if wrong.is_empty() { Ok(roles) } else { Err(LoadError::Invalid(wrong)) }
}

/// A type as it is shown, with so many results of `i32`.
pub(super) fn signature(takes: &[ValType], gives: usize) -> String {
    let takes: Vec<_> = takes.iter().map(ToString::to_string).collect();
    format!("({}){}", takes.join(", "), if gives == 0 { "" } else { " -> i32" })
}
