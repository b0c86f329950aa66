//! The engine that guests run on.

use std::time::Duration;
use wasmparser::{Parser, Payload, Validator, WasmFeatures};
use wasmtime::{Config, Engine};

/// How long a guest may compute before others on its thread have a turn.
const TIME_SLICE: Duration = Duration::from_millis(10);

/// How a guest calls, and is called. What several calls at once need makes each call of a guest to its host
/// cost more than twice as much, so that only guests that may have them pay for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Calls {
    /// One at a time: core modules, and components of WASI 0.2.
    Sequential,
    /// Several at once: components that use the component model's async functions, streams or futures.
    Concurrent,
}

impl Calls {
    /// How a component calls, by what it is made of. One that is broken is broken for either engine.
    pub(crate) fn of(component: &[u8]) -> Calls {
        // Not all of WASI 0.3 is async, but all of it is linked together.
        if sequential(component).unwrap_or(false) { Calls::Sequential } else { Calls::Concurrent }
    }
}

/// Whether a component is valid without async, and imports nothing of WASI 0.3. Reads no function bodies.
fn sequential(component: &[u8]) -> wasmparser::Result<bool> {
    let mut validator = Validator::new_with_features(WasmFeatures::all().difference(WasmFeatures::CM_ASYNC));
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload?;
        validator.payload(&payload)?;
        if let Payload::ComponentImportSection(imports) = payload {
            for import in imports {
                let name = import?.name.name;
                if name.starts_with("wasi:") && name.contains("@0.3.") {
                    return Ok(false);
                }
            }
        }
    }
    Ok(true)
}

/// An engine for guests that call in this way, whose epoch a thread of its own moves on.
pub(crate) fn engine(calls: Calls) -> anyhow::Result<Engine> {
    let mut config = Config::new();
    config.wasm_extended_const(true).epoch_interruption(true);
    match calls {
        Calls::Sequential => config.concurrency_support(false),
        Calls::Concurrent => config.wasm_component_model_async(true),
    };
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

#[cfg(test)]
mod tests {
    use super::*;
    use wasmtime::component::Component;

    const EXTENDED_CONST: &str = "(component (core module (global i32 (i32.add (i32.const 1) (i32.const 2)))))";
    const ASYNC_EXPORT: &str = r#"(component
        (core module $m
            (import "" "return" (func $return))
            (func (export "run") (result i32) call $return i32.const 0)
            (func (export "callback") (param i32 i32 i32) (result i32) unreachable))
        (core func $return (canon task.return))
        (core instance $i (instantiate $m (with "" (instance (export "return" (func $return))))))
        (func (export "run") async
            (canon lift (core func $i "run") async (callback (func $i "callback")))))"#;
    const STREAM: &str = r#"(component (import "a" (func (param "s" (stream u8)))))"#;
    const SYNC_OF_WASI_3: &str = r#"(component (import "wasi:random/insecure@0.3.0" (instance (export "f" (func)))))"#;
    const WASI_2: &str = r#"(component (import "wasi:random/insecure@0.2.12" (instance (export "f" (func)))))"#;

    fn bytes(text: &str) -> Vec<u8> {
        wat::parse_str(text).unwrap()
    }

    #[test]
    fn only_guests_that_may_have_several_calls_at_once_pay_for_it() {
        for guest in [EXTENDED_CONST, WASI_2] {
            assert_eq!(Calls::of(&bytes(guest)), Calls::Sequential, "{guest}");
        }
        for guest in [ASYNC_EXPORT, STREAM, SYNC_OF_WASI_3] {
            assert_eq!(Calls::of(&bytes(guest)), Calls::Concurrent, "{guest}");
        }
    }

    #[test]
    fn each_engine_takes_the_guests_that_are_for_it() {
        for guest in [EXTENDED_CONST, WASI_2, ASYNC_EXPORT, STREAM, SYNC_OF_WASI_3] {
            let bytes = bytes(guest);
            Component::new(&engine(Calls::of(&bytes)).unwrap(), bytes).unwrap();
        }
        assert!(Component::new(&engine(Calls::Sequential).unwrap(), bytes(ASYNC_EXPORT)).is_err());
    }
}
