//! wasmtime's cache of compiled code, in the user's cache folder. It saves time and nothing depends on it:
//! where it cannot be had, guests are compiled again.

use clap::{Arg, ArgAction, ArgMatches};
use wasmtime::{Cache, CacheConfig};

/// What compiled code may take up, in bytes. wasmtime looks once an hour at most, and then deletes what was not
/// used for longest.
const MOST: u64 = 512 << 20;

pub(crate) fn argument() -> Arg {
    Arg::new("no-cache")
        .long("no-cache")
        .action(ArgAction::SetTrue)
        .help("Compile the guest again, and do not keep the compiled code in the user's cache folder")
}

/// The cache, where there is one.
pub(crate) struct Cached(Option<Cache>);

impl Cached {
    /// Opens the cache, unless the command line says otherwise.
    pub(crate) fn open(matches: &ArgMatches) -> Cached {
        if matches.get_flag("no-cache") {
            return Cached(None);
        }
        let mut config = CacheConfig::new();
        config.with_files_total_size_soft_limit(MOST);
        match Cache::new(config) {
            Ok(cache) => Cached(Some(cache)),
            Err(error) => {
                tracing::warn!("compiled code is not kept, {error:#}; --no-cache does without a cache");
                Cached(None)
            }
        }
    }

    pub(crate) fn cache(&self) -> Option<&Cache> {
        self.0.as_ref()
    }

    /// What is to be expected of later starts.
    pub(crate) fn outlook(&self) -> &'static str {
        match self.0 {
            Some(_) => ", once; later starts take it from the cache",
            None => "; without a cache, each start does",
        }
    }

    /// Tells where the code of a guest came from, and warns if it neither came from the cache nor went there.
    pub(crate) fn tell(&self) {
        let Some(cache) = &self.0 else { return };
        let folder = cache.directory().display();
        // A miss is counted once the new entry is written.
        match (cache.cache_hits(), cache.cache_misses()) {
            (0, 0) => {
                tracing::warn!("compiled code is not kept: {folder} cannot be written; --no-cache does without a cache")
            }
            (0, _) => tracing::debug!("compiled code is kept in {folder}"),
            _ => tracing::debug!("compiled code comes from {folder}"),
        }
    }
}
