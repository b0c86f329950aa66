//! The engine that guests run on.

use std::time::Duration;
use wasmtime::{Config, Engine};

/// How long a guest may compute before others on its thread have a turn.
const TIME_SLICE: Duration = Duration::from_millis(10);

/// An engine whose epoch a thread of its own moves on.
pub(crate) fn engine() -> anyhow::Result<Engine> {
    let mut config = Config::new();
    config.concurrency_support(false).epoch_interruption(true);
    let engine = Engine::new(&config)?;
    let ticking = engine.weak();
    std::thread::Builder::new().name("time slices".to_owned()).spawn(move || {
        while let Some(engine) = ticking.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(TIME_SLICE);
        }
    })?;
    Ok(engine)
}
