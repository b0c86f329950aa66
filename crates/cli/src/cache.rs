//! The cache of compiled code, in the user's cache folder: one file for each guest, as `compile` would write it. It saves
//! time and nothing depends on it: where it cannot be had, or a file of it is damaged, guests are compiled again.

use crate::{
    engine::Calls,
    precompiled::{self, Trusted},
};
use anyhow::Context;
use clap::Args;
use directories_next::BaseDirs;
use sha2::{Digest, Sha256};
use std::{
    fs::{self, DirBuilder, File},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    time::SystemTime,
};
use wasmtime::{Engine, component::Component};

/// What compiled code may take up, in bytes; the files that were not used for longest go first.
const MOST: u64 = 512 << 20;
/// What the files of the cache end with.
const EXTENSION: &str = "cwasm";

#[derive(Args)]
pub(crate) struct CacheUse {
    /// Do not use the cache of compiled code
    #[arg(long)]
    no_cache: bool,
}

/// The cache, where there is one.
pub(crate) struct Cached(Option<PathBuf>);

impl Cached {
    /// Opens the cache, unless the command line says otherwise.
    pub(crate) fn open(wanted: &CacheUse) -> Cached {
        if wanted.no_cache {
            return Cached(None);
        }
        match folder() {
            Ok(folder) => Cached(Some(folder)),
            Err(error) => {
                not_kept(&error);
                Cached(None)
            }
        }
    }

    /// What is to be expected of later starts.
    pub(crate) fn outlook(&self) -> &'static str {
        match self.0 {
            Some(_) => "; later starts use the cache",
            None => "; without a cache, each start compiles",
        }
    }

    /// The component of these bytes, if its code is in the cache and whole.
    pub(crate) fn component(&self, engine: &Engine, calls: Calls, bytes: &[u8]) -> Option<Component> {
        let path = file_of(self.0.as_deref()?, calls, bytes);
        let code = match fs::read(&path) {
            Ok(code) => code,
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(
                    "the compiled code in {} cannot be read, so it is compiled again: {error}",
                    path.display()
                );
                return None;
            }
        };
        match precompiled::component(engine, &code, &Trusted::own()) {
            Ok(component) => {
                tracing::debug!("compiled code comes from {}", path.display());
                // The files that were used last are kept for longest.
                if let Err(error) = File::open(&path).and_then(|file| file.set_modified(SystemTime::now())) {
                    tracing::debug!("{} cannot be marked as used: {error}", path.display());
                }
                Some(component)
            }
            Err(error) => {
                tracing::info!("the compiled code in {} is compiled again: {error:#}", path.display());
                None
            }
        }
    }

    /// Keeps the code of the component of these bytes.
    pub(crate) fn keep(&self, component: &Component, calls: Calls, bytes: &[u8]) {
        let Some(folder) = &self.0 else { return };
        let kept = component.serialize().map_err(anyhow::Error::from).and_then(|code| {
            let path = file_of(folder, calls, bytes);
            precompiled::write(&path, code).with_context(|| format!("cannot write {}", path.display()))?;
            tidy(folder, &path, MOST).with_context(|| format!("cannot tidy {}", folder.display()))
        });
        match kept {
            Ok(()) => tracing::debug!("compiled code is kept in {}", folder.display()),
            Err(error) => not_kept(&error),
        }
    }
}

fn not_kept(error: &anyhow::Error) {
    tracing::warn!("compiled code is not kept: {error:#}; --no-cache does without a cache");
}

/// The folder of the cache, which is made where there is none. What is in it is run, so it is the user's alone.
fn folder() -> anyhow::Result<PathBuf> {
    let folders = BaseDirs::new().context("there is no folder for caches, since this user has no home")?;
    let folder = folders.cache_dir().join("websocket-provider");
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    Ok(folder)
}

/// The file for the code of a guest, by all that the code depends on but the engine, which checks for itself.
fn file_of(folder: &Path, calls: Calls, guest: &[u8]) -> PathBuf {
    let mut digest = Sha256::new();
    digest.update(concat!(env!("CARGO_PKG_VERSION"), "\n"));
    digest.update(format!("{calls:?}\n"));
    digest.update(guest);
    folder.join(format!("{:x}", digest.finalize())).with_extension(EXTENSION)
}

/// Removes the files that were not used for longest, until the others take up no more than `most`; `newest` stays.
fn tidy(folder: &Path, newest: &Path, most: u64) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != EXTENSION) || path == newest {
            continue;
        }
        // Another process may have removed it meanwhile.
        if let Ok(file) = fs::metadata(&path) {
            files.push((file.modified()?, file.len(), path));
        }
    }
    files.sort();
    let mut size = fs::metadata(newest)?.len() + files.iter().map(|(_, size, _)| size).sum::<u64>();
    for (_, length, path) in files {
        if size <= most {
            break;
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => size -= length,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, age: u64| {
            let path = folder.path().join(name);
            fs::write(&path, [0; 100]).unwrap();
            let used = SystemTime::now() - Duration::from_secs(age);
            File::options().write(true).open(&path).unwrap().set_modified(used).unwrap();
            path
        };
        let [a, b, c] = [file("a.cwasm", 10), file("b.cwasm", 30), file("c.cwasm", 20)];
        let (newest, other) = (file("d.cwasm", 40), file("notes", 50));
        tidy(folder.path(), &newest, 300).unwrap();
        assert_eq!([&a, &b, &c, &newest, &other].map(|path| path.exists()), [true, false, true, true, true]);
        tidy(folder.path(), &newest, 10).unwrap();
        assert_eq!([&a, &b, &c, &newest, &other].map(|path| path.exists()), [false, false, false, true, true]);
    }
}
