//! Clients without WebAssembly, each in the style of its library.

mod compressed;
mod fastwebsockets;
mod raw;
mod tokio_websockets;
mod tungstenite;

use anyhow::{Context, Result, anyhow, bail};
use bench_exchange::{Job, Link, Mode, Sample, Target, serve};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use std::{future::Future, sync::Arc, time::Instant};
use tokio::{net::TcpStream, task::JoinSet};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::either::Either;

/// TCP, or TLS over it.
type Stream = Either<TcpStream, TlsStream<TcpStream>>;

/// The names of the clients.
pub(crate) const NAMES: [&str; 8] = [
    "tungstenite",
    "tungstenite-ring",
    "tungstenite-bursts",
    "fastwebsockets",
    "tokio-websockets",
    "core-compressed",
    "sockudo-ws",
    "raw",
];

/// Does jobs as the client of this name.
pub(crate) fn run(name: &str) -> Result<()> {
    match name {
        "tungstenite" => jobs::<tungstenite::EachMessage>(),
        "tungstenite-ring" => {
            ring::default_provider().install_default().map_err(|_| anyhow!("there is another provider"))?;
            jobs::<tungstenite::EachMessage>()
        }
        "tungstenite-bursts" => jobs::<tungstenite::Bursts>(),
        "fastwebsockets" => jobs::<fastwebsockets::Socket>(),
        "tokio-websockets" => jobs::<tokio_websockets::Socket>(),
        "core-compressed" => {
            // An endpoint needs a provider, also where nothing uses TLS.
            rustls::crypto::aws_lc_rs::default_provider()
                .install_default()
                .map_err(|_| anyhow!("there is another provider"))?;
            jobs::<compressed::Core>()
        }
        "sockudo-ws" => jobs::<compressed::Sockudo>(),
        "raw" => jobs::<raw::Raw>(),
        _ => bail!("there is no client {name:?}; there are {}", NAMES.join(", ")),
    }
}

/// A link that can be moved to a task of the runtime.
trait NativeLink: Link + Send + 'static {
    fn connect_in_task(target: Target, size: usize) -> impl Future<Output = Result<Self>> + Send + 'static;
    fn exchange_in_task(
        self,
        mode: Mode,
        size: usize,
        count: u64,
    ) -> impl Future<Output = Result<(Self, Sample)>> + Send + 'static;
    fn close_in_task(self) -> impl Future<Output = Result<()>> + Send + 'static;
}

/// The compiler sees that a future is `Send` only where its type is known.
macro_rules! native_link {
    ($link:ty) => {
        impl crate::native::NativeLink for $link {
            async fn connect_in_task(target: bench_exchange::Target, size: usize) -> anyhow::Result<Self> {
                <Self as bench_exchange::Link>::connect(&target, size).await
            }

            async fn exchange_in_task(
                mut self,
                mode: bench_exchange::Mode,
                size: usize,
                count: u64,
            ) -> anyhow::Result<(Self, bench_exchange::Sample)> {
                let sample = bench_exchange::exchange(&mut self, mode, size, count).await?;
                Ok((self, sample))
            }

            async fn close_in_task(self) -> anyhow::Result<()> {
                bench_exchange::Link::close(self).await
            }
        }
    };
}
use native_link;

fn jobs<L: NativeLink>() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    serve(|job, start| match job {
        Job::Exchange { target, mode, size, count, connections } => {
            let links = runtime.block_on(connect::<L>(&target, size, connections))?;
            start()?;
            let began = Instant::now();
            let mut sample = runtime.block_on(async {
                let exchanges: JoinSet<_> =
                    links.into_iter().map(|link| link.exchange_in_task(mode, size, count)).collect();
                one_of(exchanges.join_all().await)
            })?;
            sample.nanos = began.elapsed().as_nanos() as u64;
            Ok(sample)
        }
        Job::Connect { target, size, count } => {
            start()?;
            let began = Instant::now();
            let connects = async move {
                for _ in 0..count {
                    let link = open::<L>(target.clone(), size).await?;
                    tokio::spawn(link.close_in_task());
                }
                anyhow::Ok(())
            };
            runtime.block_on(async { tokio::spawn(connects).await? })?;
            Ok(Sample { nanos: began.elapsed().as_nanos() as u64, ..Sample::default() })
        }
        Job::Hold { target, size, connections } => {
            let links = runtime.block_on(async {
                let mut links = Vec::new();
                for _ in 0..connections {
                    links.push(tokio::spawn(open::<L>(target.clone(), size)).await??);
                }
                anyhow::Ok(links)
            })?;
            start()?;
            drop(links);
            Ok(Sample::default())
        }
        other => bail!("this is for others: {other:?}"),
    })
}

async fn connect<L: NativeLink>(target: &Target, size: usize, connections: usize) -> Result<Vec<L>> {
    let mut links = Vec::new();
    for _ in 0..connections {
        links.push(tokio::spawn(L::connect_in_task(target.clone(), size)).await??);
    }
    Ok(links)
}

/// A connection on which one message of this size has been echoed, unless the size is 0.
async fn open<L: NativeLink>(target: Target, size: usize) -> Result<L> {
    let link = L::connect_in_task(target, size).await?;
    if size == 0 { Ok(link) } else { link.exchange_in_task(Mode::PingPong, size, 1).await.map(|(link, _)| link) }
}

/// The sample of the first of several connections, once all are done.
fn one_of<L>(samples: Vec<Result<(L, Sample)>>) -> Result<Sample> {
    let samples = samples.into_iter().map(|sample| sample.map(|(_, sample)| sample));
    samples.reduce(|first, next| first.and_then(|first| next.map(|_| first))).context("no connection")?
}

/// Dials what the target names, without delay for small writes.
async fn dial(target: &Target) -> Result<Stream> {
    let (scheme, rest) = target.url.split_once("://").context("a URL has a scheme")?;
    let address = rest.split('/').next().unwrap_or(rest);
    let tcp = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
    tcp.set_nodelay(true)?;
    if scheme != "wss" {
        return Ok(Either::Left(tcp));
    }
    let authority = target.authority.as_deref().context("wss:// needs an authority")?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority)?)?;
    let provider = CryptoProvider::get_default().cloned();
    // The same as in the program.
    let provider = provider.unwrap_or_else(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).to_owned();
    let tls = TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(host)?, tcp).await?;
    Ok(Either::Right(tls))
}
