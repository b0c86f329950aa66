//! How a component becomes machine code: compiled, taken from the cache, or, with `compile`, ahead of time.

use crate::{
    address, answer,
    cache::Cached,
    engine::{Calls, engine},
    guest::Guest,
    precompiled,
};
use anyhow::{Context, bail};
use bytesize::ByteSize;
use clap::Args;
use std::{
    path::{Path, PathBuf},
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::Duration,
};
use wasmtime::{Engine, component::Component};

/// Who waits for longer is told what for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Compiles a component ahead of time, for `run --allow-precompiled` on a machine like this one
#[derive(Args)]
#[command(after_help = "Example: websocket-provider compile guest.wasm -o guest.cwasm")]
pub(crate) struct Arguments {
    /// The component to compile
    #[arg(value_name = "GUEST.wasm", value_parser = address::file())]
    guest: PathBuf,
    /// The file to write; an existing file is replaced
    #[arg(short, long, value_name = "FILE", value_parser = address::file())]
    output: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { guest: path, output } = arguments;
    let shown = path.display();
    let guest = Guest::read(path)?;
    let advice = guest.advice(path);
    let bytes = match guest {
        Guest::Component(bytes) => bytes,
        Guest::Precompiled(_) => bail!("{shown} is compiled already: {advice}"),
        Guest::Module(_) => bail!("{shown} is a core module, and `compile` takes components: {advice}"),
    };
    if same_file(path, output) {
        bail!("{} is the guest itself; name another file with -o", output.display());
    }
    let engine = engine(Calls::of(&bytes))?;
    let code = while_telling(path, &bytes, "", || engine.precompile_component(&bytes));
    let code = code.map_err(anyhow::Error::from).with_context(|| format!("{shown} cannot be compiled"))?;
    let size = size(&code);
    precompiled::write(output, code).with_context(|| format!("cannot write {}", output.display()))?;
    answer(format!("wrote {} ({size})", output.display()))
}

/// Whether both names lead to one file that is there.
fn same_file(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

/// Compiles the component of a guest file, or takes it from the cache; gives the engine that is for it.
pub(crate) fn compiled(path: &Path, bytes: &[u8], cached: &Cached) -> anyhow::Result<(Calls, Engine, Component)> {
    let calls = Calls::of(bytes);
    let engine = engine(calls)?;
    if let Some(component) = cached.component(&engine, calls, bytes) {
        return Ok((calls, engine, component));
    }
    let component = while_telling(path, bytes, cached.outlook(), || Component::new(&engine, bytes));
    let component = component.map_err(anyhow::Error::from);
    let component = component.with_context(|| format!("{} cannot be compiled", path.display()))?;
    cached.keep(&component, calls, bytes);
    Ok((calls, engine, component))
}

/// What is to be expected of later starts of a core module, which no cache keeps.
pub(crate) const EACH_START: &str = "; each start compiles";

/// Does what may take long, and says so when it does.
pub(crate) fn while_telling<T>(path: &Path, bytes: &[u8], outlook: &str, compile: impl FnOnce() -> T) -> T {
    let (done, waiting) = channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            if waiting.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                tracing::info!("compiling {} ({}){outlook}", path.display(), size(bytes));
            }
        });
        let compiled = compile();
        drop(done);
        compiled
    })
}

fn size(bytes: &[u8]) -> ByteSize {
    ByteSize::b(bytes.len() as u64)
}
