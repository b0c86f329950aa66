//! What a transport can call of its host beside WASI.

use super::{descriptors::Descriptor, state::State, stream::Stream};
use std::sync::atomic::Ordering::Relaxed;
use wasmtime::{Caller, Linker, Result};

const MODULE: &str = "env";
/// There is no configuration.
const NO_CONFIG: i32 = -2;
/// The transport is not in a role in which it has this end of the network.
const NO_NETWORK: i32 = -43;
/// The network did not answer.
const DIAL_FAILED: i32 = -53;

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap_async(MODULE, "host_dial", |mut caller: Caller<'_, State>, (): ()| {
        Box::new(async move {
            let Some(dialling) = caller.data_mut().dial.as_mut().map(|dial| dial()) else { return NO_NETWORK };
            match dialling.await {
                Ok(transport) => number(caller.data_mut().descriptors.insert_stream(Stream::new(transport))),
                Err(error) => {
                    caller.data_mut().dial_failure = Some(error.to_string());
                    DIAL_FAILED
                }
            }
        })
    })?;
    linker.func_wrap(MODULE, "host_accept", |mut caller: Caller<'_, State>| {
        let state = caller.data_mut();
        match state.accepted.take() {
            Some(transport) => number(state.descriptors.insert_stream(Stream::new(transport))),
            None => NO_NETWORK,
        }
    })?;
    linker.func_wrap(MODULE, "host_defer", |caller: Caller<'_, State>| {
        caller.data().deferred.store(true, Relaxed);
    })?;
    linker.func_wrap(MODULE, "pull_config", |mut caller: Caller<'_, State>| {
        let state = caller.data_mut();
        match state.config.clone() {
            Some(config) => number(state.descriptors.insert(Descriptor::Config(config))),
            None => NO_CONFIG,
        }
    })?;
    Ok(())
}

/// A descriptor, or its error as a negative number.
fn number(inserted: std::result::Result<i32, super::errno::Errno>) -> i32 {
    inserted.unwrap_or_else(|error| -i32::from(error.0))
}
