//! The guest of a component, held by the component's linker: a component that another one of its workload calls runs
//! in that one's store, whose context names the other.

use crate::functions::{Connecting, Host};
use std::sync::Arc;
use wash_runtime::engine::ctx::Ctx;
use wasmcloud_websocket_guest::Guest;
use wasmtime::component::ResourceTable;
use websocket_connection::ConnectConfig;

impl Host<Ctx> for Arc<Guest> {
    fn table(data: &mut Ctx) -> &mut ResourceTable {
        &mut data.table
    }

    fn connect(&self, _: &mut Ctx, config: ConnectConfig) -> Connecting {
        let guest = Arc::clone(self);
        Box::pin(async move { Guest::connect(&guest, config).await })
    }
}
