//! A host of one's own: instantiates the example guest and calls it.
//!
//! `cargo run -p websocket-provider --example embed -- GUEST.wasm`, with `WS_URL` in the environment.

use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Engine, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use websocket_provider::{WebsocketCtx, WebsocketCtxView, WebsocketView};

struct Data {
    table: ResourceTable,
    wasi: WasiCtx,
    websocket: WebsocketCtx,
}

impl WasiView for Data {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WebsocketView for Data {
    fn websocket(&mut self) -> WebsocketCtxView<'_> {
        WebsocketCtxView { ctx: &mut self.websocket, table: &mut self.table }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let guest = std::env::args().nth(1).ok_or("usage: embed GUEST.wasm")?;
    let engine = Engine::default();
    let mut linker = Linker::<Data>::new(&engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    websocket_provider::p2::add_to_linker(&mut linker)?;

    let websocket = WebsocketCtx::builder().set("allow", "localhost")?.build()?;
    let connections = websocket.endpoint().clone();
    let wasi = WasiCtx::builder().inherit_env().inherit_stdio().build();
    let mut store = Store::new(&engine, Data { table: ResourceTable::new(), wasi, websocket });

    let component = Component::from_file(&engine, guest)?;
    let instance = linker.instantiate_async(&mut store, &component).await?;
    let invoke = instance.get_export_index(&mut store, None, "wasmcloud:examples/invoke").ok_or("no such interface")?;
    let call = instance.get_export_index(&mut store, Some(&invoke), "call").ok_or("no such function")?;
    let call = instance.get_typed_func::<(), (String,)>(&mut store, call)?;
    println!("{}", call.call_async(&mut store, ()).await?.0);

    // Dropping the store closes what the guest left open; the handshake takes a moment.
    drop(store);
    connections.closed().await;
    Ok(())
}
