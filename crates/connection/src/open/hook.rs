//! The embedder's own policy, asked after the rules of the setting `allow`.

use std::{fmt, future::Future, net::IpAddr, pin::Pin, sync::Arc};

/// Where a guest wants to connect: one address of a host that the setting `allow` grants. An embedder's policy is asked about
/// it: see [`Endpoint::with_policy`](crate::Endpoint::with_policy).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Destination {
    /// The host of the URL: a name in lower case without the dot of the root, or an address without the brackets of IPv6. An
    /// IPv6 address that maps an IPv4 address is that IPv4 address.
    pub host: String,
    /// The address that is about to be dialled, with mapped addresses as in `host`; `None` where a proxy resolves the name.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: u16,
    /// Whether the connection is to use TLS.
    pub secure: bool,
}

type Verdict = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// The embedder's policy.
#[derive(Clone)]
pub(crate) struct Hook(Arc<dyn Fn(Destination) -> Verdict + Send + Sync>);

impl Hook {
    pub(crate) fn new<C, A>(check: C) -> Self
    where
        C: Fn(Destination) -> A + Send + Sync + 'static,
        A: Future<Output = Result<(), String>> + Send + 'static,
    {
        Hook(Arc::new(move |destination| Box::pin(check(destination))))
    }

    /// Asks about a destination; the error says why it is denied.
    pub(crate) async fn check(&self, destination: Destination) -> Result<(), String> {
        (self.0)(destination).await
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}
