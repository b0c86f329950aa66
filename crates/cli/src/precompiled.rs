//! Components that are compiled already, in files of `compile` and of the cache: machine code, and behind it a digest of
//! it, so that damage is found before anything is made of the code. The one place of this program with `unsafe`: machine
//! code that somebody made up can do what this program can, and no check of the file would find that out.

use crate::engine::{Calls, engine};
use anyhow::{Context, anyhow, bail};
use clap::Args;
use sha2::{Digest, Sha256};
use std::{
    io::{self, ErrorKind, Write},
    path::Path,
};
use wasmtime::{Engine, Precompiled, component::Component};

/// How long the digest is, in bytes.
const DIGEST: usize = 32;

/// The word that a file came from this program, and has been out of others' reach since.
pub(crate) struct Trusted(());

#[derive(Args)]
pub(crate) struct Trust {
    /// Accept a file that `compile` wrote. It runs as machine code: trust it as you trust this program
    #[arg(long)]
    allow_precompiled: bool,
}

impl Trusted {
    /// The operator's word, where the command line gives it.
    pub(crate) fn given(trust: &Trust) -> Option<Trusted> {
        trust.allow_precompiled.then_some(Trusted(()))
    }

    /// For the files of the cache, which is in a folder of the user's own.
    pub(crate) fn own() -> Trusted {
        Trusted(())
    }
}

/// Whether these bytes are what `compile` writes, going by how they begin.
pub(crate) fn is_precompiled(bytes: &[u8]) -> bool {
    matches!(Engine::detect_precompiled(bytes), Some(Precompiled::Component))
}

/// Writes machine code and its digest, as a whole or not at all.
pub(crate) fn write(path: &Path, mut code: Vec<u8>) -> anyhow::Result<()> {
    code.extend(Sha256::digest(&code));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    // As any other new file: what the umask leaves of it.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    // Errors of `NamedTempFile` have the name of a file that nobody has heard of.
    let mut file = builder.tempfile_in(folder).map_err(|error| match error.kind() {
        ErrorKind::NotFound if !folder.exists() => anyhow!("there is no folder {}", folder.display()),
        kind => anyhow!("no file can be made in the folder {}: {}", folder.display(), io::Error::from(kind)),
    })?;
    file.as_file_mut().write_all(&code)?;
    file.persist(path).map_err(|failed| failed.error)?;
    Ok(())
}

/// The machine code of a file, if it is as it was written.
fn code(file: &[u8]) -> anyhow::Result<&[u8]> {
    let (code, digest) = file.split_last_chunk::<DIGEST>().context("the file is cut off")?;
    if Sha256::digest(code)[..] != digest[..] {
        bail!("its digest does not match: the file is damaged, or another version of this program wrote it");
    }
    Ok(code)
}

/// Loads a component that was compiled ahead, with the engine that it was compiled for.
///
/// # Errors
/// When the file is damaged, or was written for another machine or by another version.
pub(crate) fn load(file: &[u8], trusted: &Trusted) -> anyhow::Result<(Calls, Engine, Component)> {
    // An engine takes only what was compiled for its settings, and the two differ in one of them.
    let sequential = engine(Calls::Sequential)?;
    if let Ok(component) = component(&sequential, file, trusted) {
        return Ok((Calls::Sequential, sequential, component));
    }
    let concurrent = engine(Calls::Concurrent)?;
    let component = component(&concurrent, file, trusted)?;
    Ok((Calls::Concurrent, concurrent, component))
}

/// The component of a file, if this engine can run its code.
#[allow(unsafe_code)]
pub(crate) fn component(engine: &Engine, file: &[u8], _: &Trusted) -> anyhow::Result<Component> {
    let code = code(file)?;
    // SAFETY: the bytes must be what `Engine::precompile_component` or `Component::serialize` gave, unaltered. Whoever has
    // a `Trusted` says that this program wrote them, the digest that they are whole; and they are in memory, where nobody
    // alters them any more.
    Ok(unsafe { Component::deserialize(engine, code) }?)
}
