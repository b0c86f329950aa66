//! Takes calls from the lattice and answers each in a task of its own. The SDK's way of serving reads a call's
//! parameters before it takes the next call, so that one caller that dies meanwhile would hold up all others.

use crate::{
    bindings::{ClientConfig, WebsocketError},
    calls::{Close, GetState, GetSubprotocol, GetUrl, Method, Params, Receive, SendMessage},
    lattice::{Caller, INTERFACE, Lattice},
    versions::VERSIONS,
};
use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::{
    SinkExt, StreamExt, TryStreamExt,
    stream::{BoxStream, SelectAll},
};
use std::{io, sync::Arc, time::Duration};
use tokio::{io::AsyncWriteExt, sync::Semaphore, time::timeout};
use tokio_util::{
    codec::{Decoder, Encoder, FramedRead, FramedWrite},
    sync::CancellationToken,
    task::TaskTracker,
};
use tracing::warn;
use wrpc_transport::{Serve, TupleDecode, TupleEncode};
use wrpc_transport_nats::{Client, NatsContext, Reader, SubjectWriter};

/// What a caller may take to hand over its parameters, and to take the answer: what wasmCloud's host gives itself.
const HANDING_OVER: Duration = Duration::from_secs(10);

/// Calls that are answered at a time, of each route. More wait at NATS; each takes a message's memory.
const MAX_CALLS: usize = 1024;

const CONNECT: &str = "connect";
const FUNCTIONS: [&str; 7] =
    [CONNECT, SendMessage::NAME, Receive::NAME, Close::NAME, GetState::NAME, GetUrl::NAME, GetSubprotocol::NAME];

/// A function of the interface, and whether the call comes to this replica alone.
#[derive(Clone, Copy)]
struct Route {
    function: &'static str,
    own: bool,
}

type Invocation = (NatsContext, SubjectWriter, Reader);
type Invocations = BoxStream<'static, (Route, Result<Invocation>)>;

/// The calls of this replica.
#[derive(Default)]
pub(crate) struct Calls {
    leaving: CancellationToken,
    lost: CancellationToken,
    answering: TaskTracker,
}

impl Calls {
    /// Leaves the calls for any replica to the others. Those of this one's connections are still answered.
    pub(crate) fn leave(&self) {
        self.leaving.cancel();
    }

    /// Waits for the answers to all calls that were taken.
    pub(crate) async fn answered(&self) {
        self.answering.close();
        self.answering.wait().await;
    }

    /// Waits for NATS to be gone for good.
    pub(crate) async fn lost(&self) {
        self.lost.cancelled().await;
    }
}

/// Subscribes to all functions of both versions, for all replicas and for this one, and answers calls.
pub(crate) async fn start(lattice: &Arc<Lattice>) -> Result<()> {
    let shared = Arc::<str>::from(lattice.shared_prefix());
    let own = Arc::<str>::from(lattice.own_prefix());
    // Each with a limit of its own: replicas that pass calls on to each other must not wait for one another.
    for (prefix, group, own) in [(own, None, true), (Arc::clone(&shared), Some(shared), false)] {
        let client = Client::new(lattice.nats.clone(), prefix, group).await?;
        let mut invocations = SelectAll::new();
        for version in VERSIONS {
            let instance = format!("{INTERFACE}@{version}");
            for function in FUNCTIONS {
                let route = Route { function, own };
                let calls = client.serve(&instance, function, []).await?;
                invocations.push(calls.map(move |invocation| (route, invocation)).boxed());
            }
        }
        let until = if own { CancellationToken::new() } else { lattice.calls.leaving.clone() };
        tokio::spawn(take(Arc::clone(lattice), invocations, until));
    }
    Ok(())
}

async fn take(lattice: Arc<Lattice>, mut invocations: SelectAll<Invocations>, until: CancellationToken) {
    let free = Arc::new(Semaphore::new(MAX_CALLS));
    loop {
        let next = async {
            let permit = Arc::clone(&free).acquire_owned().await;
            invocations.next().await.map(|(route, invocation)| (permit, route, invocation))
        };
        let Some(next) = until.run_until_cancelled(next).await else { return };
        match next {
            Some((permit, route, Ok(invocation))) => {
                let lattice_of_call = Arc::clone(&lattice);
                lattice.calls.answering.spawn(async move {
                    if let Err(error) = answer(&lattice_of_call, route, invocation).await {
                        warn!(function = route.function, error = format!("{error:#}"), "a call was left unanswered");
                    }
                    drop(permit);
                });
            }
            Some((_, route, Err(error))) => {
                warn!(function = route.function, error = format!("{error:#}"), "a call cannot be taken");
            }
            None => {
                lattice.calls.lost.cancel();
                return;
            }
        }
    }
}

async fn answer(lattice: &Lattice, route: Route, (context, tx, rx): Invocation) -> Result<()> {
    let caller = Caller::of(context.headers.as_ref()).context("the call does not say who calls")?;
    let call = Call { lattice, caller, forwarded: route.own, tx, rx };
    match route.function {
        SendMessage::NAME => call.answer::<SendMessage>().await,
        Receive::NAME => call.answer::<Receive>().await,
        Close::NAME => call.answer::<Close>().await,
        GetState::NAME => call.answer::<GetState>().await,
        GetUrl::NAME => call.answer::<GetUrl>().await,
        GetSubprotocol::NAME => call.answer::<GetSubprotocol>().await,
        _ => call.connect().await,
    }
}

struct Call<'a> {
    lattice: &'a Lattice,
    caller: Caller,
    forwarded: bool,
    tx: SubjectWriter,
    rx: Reader,
}

impl Call<'_> {
    async fn connect(self) -> Result<()> {
        let (config,) = take_params::<(ClientConfig,)>(self.rx).await?;
        let connected: Result<Bytes, WebsocketError> = self.lattice.connect(&self.caller, config).await;
        give_results(self.tx, (connected,)).await
    }

    async fn answer<M: Method>(self) -> Result<()> {
        let params = take_params::<Params<M>>(self.rx).await?;
        let answer = self.lattice.call::<M>(&self.caller, self.forwarded, params).await;
        give_results(self.tx, (answer,)).await
    }
}

async fn take_params<P>(rx: Reader) -> Result<P>
where
    P: TupleDecode<Reader, Decoder: Decoder<Error = io::Error>>,
{
    let mut params = FramedRead::new(rx, P::Decoder::default());
    let taken =
        timeout(HANDING_OVER, params.try_next()).await.context("the caller did not send all parameters in time")?;
    taken.context("the parameters cannot be read")?.context("the caller ended before its last parameter")
}

async fn give_results<R>(tx: SubjectWriter, results: R) -> Result<()>
where
    R: TupleEncode<SubjectWriter, Encoder: Encoder<R, Error = io::Error>>,
{
    let mut answer = FramedWrite::new(tx, R::Encoder::default());
    let given = async {
        answer.send(results).await?;
        answer.into_inner().shutdown().await
    };
    timeout(HANDING_OVER, given).await.context("NATS took no answer in time")?.context("the answer cannot be sent")
}
