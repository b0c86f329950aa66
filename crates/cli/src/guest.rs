//! Guest files: what kind a file is, what it imports and exports, and what of it this program drives.

use crate::precompiled::is_precompiled;
use anyhow::{Context, anyhow, bail};
use std::{fmt, path::Path};
use wasmparser::{ComponentExternalKind, Parser, Payload};
use wasmtime::{
    Engine,
    component::{
        Component, Type,
        types::{ComponentFunc, ComponentItem},
    },
};
use websocket_connection::read_file;

/// The largest guest, in bytes.
const MAX_GUEST: usize = 512 * 1024 * 1024;

/// A guest's bytes, by kind.
pub(crate) enum Guest {
    Component(Vec<u8>),
    /// A component that `compile` has compiled ahead.
    Precompiled(Vec<u8>),
    Module(CoreModule),
}

/// A core module, and what it imports and exports, by name.
pub(crate) struct CoreModule {
    pub(crate) bytes: Vec<u8>,
    pub(crate) imports: Vec<String>,
    pub(crate) exports: Vec<String>,
}

impl Guest {
    /// Reads a guest file and tells what it is.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Guest> {
        let shown = path.display();
        let bytes = read_file(path, MAX_GUEST).with_context(|| format!("cannot read the guest {shown}"))?;
        if Parser::is_component(&bytes) {
            Ok(Guest::Component(bytes))
        } else if is_precompiled(&bytes) {
            Ok(Guest::Precompiled(bytes))
        } else if Parser::is_core_wasm(&bytes) {
            let module = CoreModule::parse(bytes).with_context(|| format!("{shown} is a broken Wasm module"))?;
            Ok(Guest::Module(module))
        } else if bytes.trim_ascii_start().starts_with(b"(") {
            bail!("{shown} is not WebAssembly, but its text: make a binary of it with `wasm-tools parse`")
        } else {
            bail!("{shown} is not WebAssembly: it is not a component, a module or a complete file that `compile` wrote")
        }
    }

    /// The core module that a command takes.
    ///
    /// # Errors
    /// For components: which command runs them.
    pub(crate) fn module_for(&self, command: &str, takes: &str, path: &Path) -> anyhow::Result<&CoreModule> {
        match self {
            Guest::Module(module) => Ok(module),
            Guest::Component(_) | Guest::Precompiled(_) => {
                let (shown, advice) = (path.display(), self.advice(path));
                Err(anyhow!("{shown} is a component, and `{command}` takes {takes}: {advice}"))
            }
        }
    }

    /// Which command runs it, or why none does.
    pub(crate) fn advice(&self, path: &Path) -> String {
        let shown = path.display();
        match self {
            Guest::Component(bytes) if may_run(bytes) => format!("use `websocket-provider run {shown}`"),
            Guest::Component(_) => {
                format!(
                    "components use `run`, which cannot drive this one: `websocket-provider inspect {shown}` says why"
                )
            }
            Guest::Precompiled(_) => format!("use `websocket-provider run --allow-precompiled {shown}`"),
            Guest::Module(module) => module.advice(path),
        }
    }
}

/// Whether a component exports something that `run` may drive, by the names of its exports.
fn may_run(component: &[u8]) -> bool {
    let mut depth = 0;
    let mut found = false;
    // Broken components are broken for every command.
    for payload in Parser::new(0).parse_all(component).map_while(Result::ok) {
        match payload {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentExportSection(section) if depth == 1 => {
                found |= section.into_iter().map_while(Result::ok).any(|export| {
                    let name = export.name.name;
                    let is_command = COMMANDS.iter().any(|version| name.starts_with(version));
                    is_command || export.kind == ComponentExternalKind::Instance && !name.starts_with("wasi:")
                });
            }
            _ => {}
        }
    }
    found
}

impl CoreModule {
    fn parse(bytes: Vec<u8>) -> anyhow::Result<CoreModule> {
        let (mut imports, mut exports) = (Vec::new(), Vec::new());
        for payload in Parser::new(0).parse_all(&bytes) {
            match payload? {
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        let import = import?;
                        imports.push(format!("{}.{}", import.module, import.name));
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        exports.push(export?.name.to_owned());
                    }
                }
                _ => {}
            }
        }
        Ok(CoreModule { bytes, imports, exports })
    }

    /// Whether it has calls that only the pointer-payload ABI has.
    pub(crate) fn hands_over_payloads(&self) -> bool {
        let import = |name: &String| name.starts_with("primate.") || name == "env.payloadByteLength";
        self.imports.iter().any(import) || self.exports.iter().any(|export| export == "websocketMessage")
    }

    /// Whether it has what only transports have.
    pub(crate) fn is_transport(&self) -> bool {
        self.exports.iter().any(|export| export.starts_with("_water_") || export.starts_with("watm_"))
    }

    /// Whether it is a transport of a version of WATM after v0.
    fn is_later_transport(&self) -> bool {
        let is_v0 = |name: &String| name.starts_with("_water_") && !name.starts_with("_water_v");
        self.is_transport() && !self.exports.iter().any(is_v0)
    }

    /// Why it is not a guest of the command that loaded it. `is_meant` where it is one in the making.
    pub(crate) fn not_loaded(&self, path: &Path, why: &dyn fmt::Display, is_meant: bool) -> anyhow::Error {
        let shown = path.display();
        if is_meant { anyhow!("{shown}: {why}") } else { anyhow!("{shown}: {why}; {}", self.advice(path)) }
    }

    /// Which command runs this module, or what it needs to become a guest that `run` takes.
    pub(crate) fn advice(&self, path: &Path) -> String {
        if self.hands_over_payloads() {
            return format!("it speaks the pointer-payload ABI, so use `websocket-provider serve {}`", path.display());
        }
        if self.is_later_transport() {
            return "it is a transport of a later version of WATM than v0, which no command runs: build it for v0"
                .to_owned();
        }
        let roles = ["_water_dial", "_water_accept", "_water_associate"];
        if self.is_transport() && !self.exports.iter().any(|export| roles.contains(&export.as_str())) {
            return format!("it is a WATM transport without a role; it exports none of {}", roles.join(", "));
        }
        if self.is_transport() {
            return "it is a WATM transport, so use `websocket-provider watm` with a role that it can play".to_owned();
        }
        if self.exports.is_empty() {
            return "it exports nothing, so that there is nothing in it to run".to_owned();
        }
        let advice = if self.imports.iter().any(|import| import.starts_with("wasi_snapshot_preview1.")) {
            "it was built for WASI preview 1: build it for wasm32-wasip2, or make a component of it with \
             `wasm-tools component new --adapt`"
        } else {
            "make a component of it with `wasm-tools component new`, or build it for wasm32-wasip2"
        };
        advice.to_owned()
    }
}

/// What `run` can do with a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Run it as a command: the export `wasi:cli/run` of this version.
    Command(String),
    /// Call `call: func() -> string` of this interface.
    Call(String),
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Entry::Command(name) => write!(f, "{name} (a command)"),
            Entry::Call(name) => write!(f, "{name} (call: func() -> string)"),
        }
    }
}

/// The name of the one function that [`Entry::Call`] calls.
pub(crate) const CALL: &str = "call";

/// What the exports begin with that make a command.
const COMMANDS: [&str; 2] = ["wasi:cli/run@0.2.", "wasi:cli/run@0.3."];

/// Everything that `run` can drive, commands first.
pub(crate) fn entries(engine: &Engine, component: &Component) -> Vec<Entry> {
    let (mut commands, mut calls) = (Vec::new(), Vec::new());
    for (name, item) in component.component_type().exports(engine) {
        let ComponentItem::ComponentInstance(instance) = item.ty else { continue };
        if COMMANDS.iter().any(|version| name.starts_with(version)) {
            commands.push(Entry::Command(name.to_owned()));
        }
        for (function, item) in instance.exports(engine) {
            if function == CALL && matches!(item.ty, ComponentItem::ComponentFunc(ty) if gives_string(&ty)) {
                calls.push(Entry::Call(name.to_owned()));
            }
        }
    }
    [commands, calls].concat()
}

fn gives_string(function: &ComponentFunc) -> bool {
    let mut results = function.results();
    function.params().len() == 0 && matches!((results.next(), results.next()), (Some(Type::String), None))
}

/// The one entry to drive: the command, or the only call, or the call that `name` picks.
pub(crate) fn choose(entries: &[Entry], name: Option<&str>) -> Result<Entry, String> {
    let calls: Vec<&Entry> = entries.iter().filter(|entry| matches!(entry, Entry::Call(_))).collect();
    let list = |entries: &[&Entry]| entries.iter().map(|entry| format!("`{entry}`")).collect::<Vec<_>>().join(", ");
    match (name, entries) {
        (Some(name), _) => match calls.iter().filter(|entry| is_named(entry, name)).collect::<Vec<_>>()[..] {
            [entry] => Ok((*entry).clone()),
            [] => Err(format!(
                "no interface {name:?} has a function `{CALL}: func() -> string`; there are {}",
                list(&calls)
            )),
            _ => Err(format!("{name:?} means more than one of {}; write the whole name", list(&calls))),
        },
        (None, [entry @ Entry::Command(_), ..]) => Ok(entry.clone()),
        (None, [entry]) => Ok(entry.clone()),
        (None, []) => Err("there is nothing in it that `run` can drive".to_owned()),
        (None, _) => Err(format!("it exports several; pick one with --call NAME: {}", list(&calls))),
    }
}

/// Whether an interface is meant by `name`: whole, or without its version, or without its package.
fn is_named(entry: &Entry, name: &str) -> bool {
    let Entry::Call(interface) = entry else { return false };
    let unversioned = interface.split('@').next().unwrap_or(interface);
    let bare = unversioned.rsplit('/').next().unwrap_or(unversioned);
    [interface, unversioned, bare].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &str) -> Entry {
        Entry::Call(name.to_owned())
    }

    #[test]
    fn a_command_wins_unless_a_call_is_named() {
        let entries = [Entry::Command("wasi:cli/run@0.2.3".to_owned()), call("a:b/c@1.0.0")];
        assert_eq!(choose(&entries, None), Ok(entries[0].clone()));
        for name in ["a:b/c@1.0.0", "a:b/c", "c"] {
            assert_eq!(choose(&entries, Some(name)), Ok(entries[1].clone()));
        }
    }

    #[test]
    fn several_calls_need_a_name_that_means_one() {
        let entries = [call("a:b/c"), call("a:d/c")];
        assert!(choose(&entries, None).unwrap_err().contains("--call NAME"));
        assert!(choose(&entries, Some("c")).unwrap_err().contains("more than one"));
        assert!(choose(&entries, Some("x")).unwrap_err().contains("a:b/c"));
        assert_eq!(choose(&entries, Some("a:d/c")), Ok(call("a:d/c")));
        assert!(choose(&[], None).is_err());
    }
}
