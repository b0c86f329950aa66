//! Which modules speak the ABI, and in which of its forms.

use super::codec::{Dialect, Generation};
use crate::types::shown;
use std::fmt;
use wasmtime::{Engine, ExternType, ValType};

/// The import modules that the ABI's calls may come from.
pub(super) const IMPORT_MODULES: [&str; 2] = ["primate", "env"];
/// The request handlers, which are named after their methods.
const METHODS: [&str; 9] = ["get", "post", "put", "delete", "head", "connect", "options", "trace", "patch"];
/// What the host calls for events of sockets.
const CALLBACKS: [&str; 3] = ["websocketOpen", "websocketMessage", "websocketClose"];

/// The calls that have one form, with how many parameters and results they have. All are `i32`.
const CALLS: [(&str, usize, usize); 18] = [
    ("receive", 2, 0),
    ("payloadByteLength", 0, 1),
    ("send", 2, 0),
    ("newSession", 0, 0),
    ("getSession", 0, 0),
    ("sessionNew", 0, 0),
    ("sessionGet", 0, 0),
    ("sessionExists", 0, 1),
    ("sessionSet", 0, 0),
    ("storeImport", 0, 1),
    ("storeCount", 1, 1),
    ("storeDelete", 1, 1),
    ("storeFind", 1, 1),
    ("storeGet", 1, 1),
    ("storeHas", 1, 1),
    ("storeInsert", 1, 1),
    ("storeUpdate", 1, 1),
    ("storeClear", 1, 1),
];

/// A compiled module that was found to speak the ABI.
#[derive(Debug, Clone)]
pub struct Module {
    module: wasmtime::Module,
    shape: Shape,
}

/// What form of the ABI a module speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// How it is told of sockets and tells of them.
    pub dialect: Dialect,
    /// How requests and sessions are written for it.
    pub generation: Generation,
    /// Whether it answers requests; if not, the host upgrades each of them.
    pub answers_requests: bool,
    /// Whether it has the callbacks of sockets.
    pub has_sockets: bool,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dialect = match self.dialect {
            Dialect::Proposal => "proposal",
            Dialect::Shipped => "shipped",
        };
        let generation = match self.generation {
            Generation::Older => "older",
            Generation::Newer => "newer",
        };
        let role = match (self.answers_requests, self.has_sockets) {
            (true, true) => "requests and sockets",
            (true, false) => "requests alone",
            (false, _) => "sockets alone",
        };
        write!(f, "{dialect} dialect, {generation} generation, {role}")
    }
}

/// Why a module is not a guest of this ABI.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// An instance does not start.
    #[error("it does not start: {0:#}")]
    Start(wasmtime::Error),
    /// It is not valid WebAssembly.
    #[error("it does not compile: {0:#}")]
    Compile(wasmtime::Error),
    /// It imports a call of the ABI with a type that the ABI does not have.
    #[error("it imports `{module}.{name}` as {found}, which the pointer-payload ABI has as {expected}")]
    ImportType {
        /// The import's module.
        module: String,
        /// The import's name.
        name: String,
        /// Its type.
        found: String,
        /// What its type should be.
        expected: String,
    },
    /// It imports what nobody has.
    #[error("it imports `{module}.{name}`, which the pointer-payload ABI does not have")]
    UnknownImport {
        /// The import's module.
        module: String,
        /// The import's name.
        name: String,
    },
    /// It mixes the forms of the ABI.
    #[error("it mixes two forms of the pointer-payload ABI: {0}; build it with one version of its framework")]
    Mixed(&'static str),
    /// It lacks an export.
    #[error("it does not export `{0}`, which the pointer-payload ABI needs")]
    MissingExport(&'static str),
    /// An export of the ABI is something else.
    #[error("it exports `{name}` as {found}, which the pointer-payload ABI has as {expected}")]
    ExportType {
        /// The export's name.
        name: &'static str,
        /// Its type.
        found: String,
        /// What its type should be.
        expected: &'static str,
    },
}

impl Module {
    /// Compiles a module and finds out how it speaks the ABI; nothing of it runs.
    ///
    /// # Errors
    /// [`LoadError`] that names what keeps it from being a guest.
    pub fn load(engine: &Engine, bytes: &[u8]) -> Result<Self, LoadError> {
        let module = wasmtime::Module::new(engine, bytes).map_err(LoadError::Compile)?;
        let shape = Shape::of(&module)?;
        Ok(Module { module, shape })
    }

    /// The module that was compiled.
    pub fn compiled(&self) -> &wasmtime::Module {
        &self.module
    }

    /// The request handlers that it exports, by their methods in lower case.
    pub fn handlers(&self) -> Vec<&'static str> {
        METHODS.into_iter().filter(|method| self.module.get_export(method).is_some()).collect()
    }

    /// How it speaks the ABI.
    pub fn shape(&self) -> Shape {
        self.shape
    }
}

impl Shape {
    fn of(module: &wasmtime::Module) -> Result<Shape, LoadError> {
        let (mut parameters, mut older, mut newer) = (Vec::new(), false, false);
        for import in module.imports() {
            let (from, name) = (import.module(), import.name());
            if from == "wasi_snapshot_preview1"
                || matches!(import.ty(), ExternType::Memory(_)) && (from, name) == ("env", "memory")
            {
                continue;
            }
            let unknown = || LoadError::UnknownImport { module: from.to_owned(), name: name.to_owned() };
            if !IMPORT_MODULES.contains(&from) {
                return Err(unknown());
            }
            let wrong = |expected: String| LoadError::ImportType {
                module: from.to_owned(),
                name: name.to_owned(),
                found: shown(&import.ty()),
                expected,
            };
            if let "websocketSend" | "websocketClose" = name {
                match numbers(&import.ty()) {
                    Some((count @ (0 | 1), 0)) => parameters.push(count),
                    _ => return Err(wrong(format!("{} or {}", signature(0, 0), signature(1, 0)))),
                }
                continue;
            }
            let (_, takes, gives) = CALLS.iter().find(|(call, ..)| *call == name).ok_or_else(unknown)?;
            if numbers(&import.ty()) != Some((*takes, *gives)) {
                return Err(wrong(signature(*takes, *gives)));
            }
            older |= matches!(name, "newSession" | "getSession");
            newer |= name.starts_with("session") || name.starts_with("store");
        }
        if older && newer {
            return Err(LoadError::Mixed("older and newer calls of sessions"));
        }
        let dialect = match (parameters.contains(&0), parameters.contains(&1)) {
            (true, true) => {
                return Err(LoadError::Mixed("websocketSend and websocketClose with and without a parameter"));
            }
            (_, true) => Dialect::Proposal,
            _ => Dialect::Shipped,
        };
        let generation = if older { Generation::Older } else { Generation::Newer };
        let (answers_requests, has_sockets) = exports(module)?;
        Ok(Shape { dialect, generation, answers_requests, has_sockets })
    }
}

/// Whether a module answers requests, and whether it has sockets.
fn exports(module: &wasmtime::Module) -> Result<(bool, bool), LoadError> {
    let imports_memory = module.imports().any(|import| matches!(import.ty(), ExternType::Memory(_)));
    match module.get_export("memory") {
        Some(ExternType::Memory(_)) => {}
        None if imports_memory => {}
        Some(other) => {
            return Err(LoadError::ExportType { name: "memory", found: shown(&other), expected: "a memory" });
        }
        None => return Err(LoadError::MissingExport("memory")),
    }
    // How many parameters it has; results are nobody's business, but for those that the host uses.
    let function = |name: &'static str, takes: usize, gives: Option<usize>, expected| match module.get_export(name) {
        None => Ok(false),
        Some(found) => match numbers(&found) {
            Some((count, results)) if count == takes && gives.is_none_or(|gives| gives == results) => Ok(true),
            _ => Err(LoadError::ExportType { name, found: shown(&found), expected }),
        },
    };
    let mut handlers = false;
    for method in METHODS {
        handlers |= function(method, 1, Some(1), "(i32) -> i32")?;
    }
    for (name, takes, gives, expected, needed) in [
        ("newRequest", 0, Some(1), "() -> i32", handlers),
        ("sendResponse", 1, None, "(i32)", handlers),
        ("finalizeRequest", 1, None, "(i32)", false),
        ("finalizeResponse", 1, None, "(i32)", false),
        ("_start", 0, None, "()", false),
    ] {
        if !function(name, takes, gives, expected)? && needed {
            return Err(LoadError::MissingExport(name));
        }
    }
    let mut callbacks = Vec::new();
    for name in CALLBACKS {
        callbacks.push((name, function(name, 0, None, "()")?));
    }
    let sockets = callbacks.iter().any(|(_, is_there)| *is_there);
    match callbacks.iter().find(|(_, is_there)| !is_there) {
        Some((name, _)) if sockets || !handlers => Err(LoadError::MissingExport(name)),
        _ => Ok((handlers, sockets)),
    }
}

/// How many parameters and results a function of nothing but `i32` has.
fn numbers(found: &ExternType) -> Option<(usize, usize)> {
    let ExternType::Func(function) = found else { return None };
    let all = function.params().chain(function.results()).all(|value| matches!(value, ValType::I32));
    all.then(|| (function.params().len(), function.results().len()))
}

fn signature(takes: usize, gives: usize) -> String {
    let takes = vec!["i32"; takes].join(", ");
    if gives == 0 { format!("({takes})") } else { format!("({takes}) -> i32") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Shape, String> {
        let module = wasmtime::Module::new(&Engine::default(), wat::parse_str(text).unwrap()).unwrap();
        Shape::of(&module).map_err(|error| error.to_string())
    }

    const SOCKETS: &str = r#"(memory (export "memory") 1)
        (func (export "websocketOpen")) (func (export "websocketMessage")) (func (export "websocketClose") (result i32) i32.const 0)"#;
    const REQUESTS: &str = r#"(func (export "newRequest") (result i32) i32.const 0)
        (func (export "get") (param i32) (result i32) i32.const 0) (func (export "sendResponse") (param i32))"#;

    #[test]
    fn the_form_of_the_abi_is_told_by_imports_and_exports() {
        let shape =
            load(&format!(r#"(module (import "primate" "websocketSend" (func (param i32))) {SOCKETS})"#)).unwrap();
        assert_eq!((shape.dialect, shape.answers_requests, shape.has_sockets), (Dialect::Proposal, false, true));
        let shape = load(&format!(
            r#"(module (import "env" "websocketClose" (func)) (import "env" "newSession" (func))
            (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32))) {SOCKETS} {REQUESTS})"#
        ));
        let shape = shape.unwrap();
        assert_eq!((shape.dialect, shape.generation), (Dialect::Shipped, Generation::Older));
        assert!(shape.answers_requests && shape.has_sockets);
        let shape = load(&format!(
            r#"(module (import "env" "memory" (memory 64)) (import "primate" "storeImport" (func (result i32))) {REQUESTS})"#
        ));
        assert_eq!(shape.unwrap().generation, Generation::Newer);
    }

    #[test]
    fn what_is_neither_is_refused_by_name() {
        for (text, why) in [
            ("(module)".to_owned(), "`memory`"),
            (r#"(module (memory (export "memory") 1))"#.to_owned(), "`websocketOpen`"),
            (format!("(module {})", SOCKETS.replace("websocketMessage", "x")), "`websocketMessage`"),
            (format!("(module {SOCKETS} {})", REQUESTS.replace("newRequest", "x")), "`newRequest`"),
            (
                format!("(module {SOCKETS} {})", REQUESTS.replace("(param i32) (result i32)", "(result i32)")),
                "() -> i32",
            ),
            (format!(r#"(module (import "primate" "launch" (func)) {SOCKETS})"#), "`primate.launch`"),
            (format!(r#"(module (import "wasi_unstable" "fd_write" (func)) {SOCKETS})"#), "`wasi_unstable.fd_write`"),
            (format!(r#"(module (import "env" "send" (func (param i64))) {SOCKETS})"#), "(i64)"),
            (format!(r#"(module (import "env" "websocketSend" (func (param i32 i32))) {SOCKETS})"#), "(i32, i32)"),
            (
                format!(
                    r#"(module (import "env" "websocketSend" (func)) (import "env" "websocketClose" (func (param i32))) {SOCKETS})"#
                ),
                "with and without a parameter",
            ),
            (
                format!(r#"(module (import "env" "newSession" (func)) (import "env" "sessionGet" (func)) {SOCKETS})"#),
                "older and newer",
            ),
        ] {
            let error = load(&text).unwrap_err();
            assert!(error.contains(why), "{error} should say {why}");
        }
    }
}
