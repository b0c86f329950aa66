//! The package for any host of this crate's wasmtime.

use super::{
    functions::{self, Connecting, Host},
    versions,
};
use crate::WebsocketView;
use std::sync::Arc;
use wasmtime::component::{Linker, ResourceTable};
use websocket_connection::ConnectConfig;

/// The versions of the package that guests may import. Their shape is one and the same.
pub const VERSIONS: [&str; 2] = versions::VERSIONS;

/// Adds the interfaces `types` and `client` to a linker, in every version of [`VERSIONS`].
/// Instances must then be made with `instantiate_async`, in a tokio runtime.
///
/// # Errors
/// When the linker has one of them already.
pub fn add_to_linker<T: WebsocketView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    functions::link(linker, &View)
}

/// Finds what the functions need in the store's data.
#[derive(Clone)]
struct View;

impl<T: WebsocketView + 'static> Host<T> for View {
    fn table(data: &mut T) -> &mut ResourceTable {
        data.websocket().table
    }

    fn connect(&self, data: &mut T, config: ConnectConfig) -> Connecting {
        let endpoint = data.websocket().ctx.endpoint().clone();
        Box::pin(async move { Ok(Arc::new(endpoint.connect(config).await?)) })
    }
}
