//! Has a component on the lattice make calls: the test is what the component's `script` is linked to.

use crate::{Answer, Ask, COMPONENT, Config, Failure, Lattice, Message};
use futures_util::{SinkExt, StreamExt, TryStreamExt, stream::BoxStream};
use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use test_peer::soon;
use tokio::{io::AsyncWriteExt, task::JoinHandle};
use tokio_util::codec::{FramedRead, FramedWrite};
use wrpc_transport::{Decode, Encode, InvokeExt, Serve};
use wrpc_transport_nats::{Client, NatsContext, Reader, SubjectWriter};

type Invocation = anyhow::Result<(NatsContext, SubjectWriter, Reader)>;

/// One instance of the probe.
pub struct Probe {
    asked: BoxStream<'static, Invocation>,
    /// Where the next call goes.
    answer: SubjectWriter,
    run: JoinHandle<anyhow::Result<()>>,
}

impl Probe {
    /// Starts an instance of the component, which must run on a host of the lattice.
    pub async fn start(lattice: &Lattice) -> Probe {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let target = format!("script{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let script = soon(Client::new(lattice.nats.clone(), lattice.subject(&target), None)).await.unwrap();
        let mut asked = soon(script.serve("test:lattice/script", "next", [])).await.unwrap().boxed();
        lattice.link_script(&target).await;
        let component = soon(Client::new(lattice.nats.clone(), lattice.subject(COMPONENT), None)).await.unwrap();
        // The host learns of a link and of a component when it does: until then there is nothing that runs, or it traps.
        let (run, first) = soon(async {
            loop {
                let mut run = tokio::spawn(run(component.clone()));
                tokio::select! {
                    first = next(&mut asked) => return (run, first),
                    _ = &mut run => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        })
        .await;
        let (_, answer) = first;
        Probe { asked, answer, run }
    }

    /// Has it make a call, and gives what came of it.
    pub async fn ask(&mut self, ask: &Ask) -> Answer {
        self.tell(Some(serde_json::to_string(ask).unwrap())).await;
        let (answer, writer) = next(&mut self.asked).await;
        self.answer = writer;
        serde_json::from_str(&answer.unwrap()).unwrap()
    }

    async fn tell(&mut self, told: Option<String>) {
        let mut results =
            FramedWrite::new(&mut self.answer, <(Option<String>,) as Encode<SubjectWriter>>::Encoder::default());
        soon(results.send((told,))).await.unwrap();
        soon(self.answer.shutdown()).await.unwrap();
    }

    /// `connect`, with nothing but a URL.
    pub async fn connect(&mut self, url: &str) -> Result<u32, Failure> {
        let config = Config { url: url.to_owned(), ..Config::default() };
        match self.ask(&Ask::Connect(config)).await {
            Answer::Connected(connected) => connected,
            other => panic!("{other:?}"),
        }
    }

    /// `send`.
    pub async fn send(&mut self, on: u32, message: Message) -> Result<(), Failure> {
        match self.ask(&Ask::Send(on, message)).await {
            Answer::Done(sent) => sent,
            other => panic!("{other:?}"),
        }
    }

    /// `receive`, until it gives something.
    pub async fn receive(&mut self, on: u32) -> Result<Message, Failure> {
        loop {
            match self.ask(&Ask::Receive(on)).await {
                Answer::Received(Ok(None)) => {}
                Answer::Received(received) => return received.map(Option::unwrap),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Ends the instance, and asserts that it ended well.
    pub async fn end(mut self) {
        self.tell(None).await;
        soon(self.run).await.unwrap().unwrap();
    }
}

async fn run(component: Client) -> anyhow::Result<()> {
    let no_streams: [[Option<usize>; 0]; 0] = [];
    component.invoke_values_blocking(None, "test:lattice/runner", "run", (), no_streams).await
}

/// Has an instance of the component measure calls, and gives what it says.
pub async fn measure(lattice: &Lattice, url: &str, count: u32) -> anyhow::Result<String> {
    let component = Client::new(lattice.nats.clone(), lattice.subject(COMPONENT), None).await?;
    let (no_streams, asked): ([[Option<usize>; 0]; 0], _) = ([], (url.to_owned(), count));
    let (said,): (Result<String, String>,) =
        component.invoke_values_blocking(None, "test:lattice/runner", "measure", asked, no_streams).await?;
    said.map_err(anyhow::Error::msg)
}

/// The probe's next question: its last answer, and where to put the next call.
async fn next(asked: &mut BoxStream<'static, Invocation>) -> (Option<String>, SubjectWriter) {
    let (_, answer, params) = soon(asked.next()).await.unwrap().unwrap();
    let mut params = FramedRead::new(params, <(Option<String>,) as Decode<Reader>>::Decoder::default());
    let (told,) = soon(params.try_next()).await.unwrap().unwrap();
    (told, answer)
}
