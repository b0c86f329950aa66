//! `wasi:http`, which many toolchains import whether their guest uses it or not: it is there, and every
//! request is denied.

use wasmtime::component::ResourceTable;
use wasmtime_wasi_http::{Error, RequestOptions, Result, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks};

#[derive(Default)]
pub(crate) struct DeniedHttp {
    ctx: WasiHttpCtx,
    hooks: Deny,
}

impl DeniedHttp {
    pub(crate) fn view<'a>(&'a mut self, table: &'a mut ResourceTable) -> WasiHttpCtxView<'a> {
        WasiHttpCtxView { ctx: &mut self.ctx, hooks: &mut self.hooks, table }
    }
}

#[derive(Default)]
struct Deny {
    /// The operator knows.
    warned: bool,
}

/// What a request is still to do, in the form of the hooks.
type Rest = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for Deny {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        _options: Option<RequestOptions>,
        _rest: Rest,
    ) -> Box<dyn Future<Output = Result<(http::Response<WasiBody>, Rest)>> + Send> {
        let authority = request.uri().authority();
        if std::mem::replace(&mut self.warned, true) {
            tracing::debug!(?authority, "the guest's HTTP request is denied");
        } else {
            tracing::warn!(?authority, "the guest's HTTP requests are denied: `run` has WebSockets only");
        }
        Box::new(async { Err(Error::HttpRequestDenied) })
    }
}
