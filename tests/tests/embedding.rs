//! The crates as libraries: their example hosts, and many guests in one host.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use futures_util::{SinkExt, StreamExt};
use tests::{Behaviour, Running, Server, core_guest, example_path, guest_path, soon, transport_path};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
};
use tokio_tungstenite::client_async;
use wasmtime::{
    Engine, Store,
    component::{Component, InstancePre, Linker, ResourceTable},
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use websocket_provider::{Endpoint, Settings, WebsocketCtx, WebsocketCtxView, WebsocketView, p2::add_to_linker};

#[tokio::test]
async fn the_example_embedder_runs_the_example_guest() {
    let mut server = Server::start(Behaviour::Echo).await;
    let mut embed = Command::new(example_path("embed"));
    embed.arg(guest_path("guest_example")).env("WS_URL", &server.url);
    let output = soon(embed.output()).await.unwrap();
    assert_eq!(output.stdout, b"SUCCESS: Received response: Hello, WebSocket!\n", "{output:?}");
    assert_eq!(server.close_code().await, Some(1001));
}

/// An example that listens on a port of its choice.
fn listening(example: &str) -> Command {
    let mut command = Command::new(example_path(example));
    command.kill_on_drop(true);
    command
}

#[tokio::test]
async fn the_example_server_serves_the_chat_room() {
    let folder = tempfile::tempdir().unwrap();
    let guest = folder.path().join("guest.wasm");
    std::fs::write(&guest, core_guest("chat_room")).unwrap();
    let mut command = listening("serve");
    command.arg(&guest);
    let mut server = Running::of(command);
    let address = server.line("listening on http://").await;
    let tcp = TcpStream::connect(address.trim_end_matches('/')).await.unwrap();
    let (mut client, _) = soon(client_async(format!("ws://{address}chat"), tcp)).await.unwrap();
    soon(client.send("/name Ada".into())).await.unwrap();
    let heard = soon(client.next()).await.unwrap().unwrap();
    assert!(heard.to_text().unwrap().ends_with(" is now Ada"), "{heard}");
}

#[tokio::test]
async fn the_example_dialer_connects_a_caller_to_a_server() {
    let server = Server::start(Behaviour::Echo).await;
    let mut command = listening("dial");
    command.arg(transport_path("transport")).arg(&server.url);
    let mut dialer = Running::of(command);
    let address = dialer.line("listening on tcp://").await;
    let mut caller = TcpStream::connect(address).await.unwrap();
    caller.write_all(b"hello").await.unwrap();
    let mut echoed = [0; 5];
    soon(caller.read_exact(&mut echoed)).await.unwrap();
    assert_eq!(&echoed, b"hello");
    drop(caller);
    assert_eq!(dialer.line("a connection has ended: ").await, "PeerGone");
}

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

fn example_guest(engine: &Engine) -> InstancePre<Data> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
    add_to_linker(&mut linker).unwrap();
    let component = Component::from_file(engine, guest_path("guest_example")).unwrap();
    linker.instantiate_pre(&component).unwrap()
}

/// Calls the example guest in its own store, and returns the store.
async fn call(pre: &InstancePre<Data>, endpoint: Endpoint, url: &str) -> (String, Store<Data>) {
    let wasi = WasiCtx::builder().env("WS_URL", url).build();
    let data = Data { table: ResourceTable::new(), wasi, websocket: WebsocketCtx::new(endpoint) };
    let mut store = Store::new(pre.engine(), data);
    let instance = pre.instantiate_async(&mut store).await.unwrap();
    let invoke = instance.get_export_index(&mut store, None, "wasmcloud:examples/invoke").unwrap();
    let function = instance.get_export_index(&mut store, Some(&invoke), "call").unwrap();
    let function = instance.get_typed_func::<(), (String,)>(&mut store, function).unwrap();
    let (text,) = soon(function.call_async(&mut store, ())).await.unwrap();
    (text, store)
}

fn endpoint(settings: &[(&str, &str)]) -> Endpoint {
    let mut all = Settings::default();
    settings.iter().for_each(|(name, value)| all.set(name, value).unwrap());
    Endpoint::new(all).unwrap()
}

#[tokio::test]
async fn guests_of_one_host_share_its_engine_and_settings() {
    let server = Server::start(Behaviour::Echo).await;
    let pre = example_guest(&Engine::default());
    let host = endpoint(&[("allow", "localhost")]);
    let guests: Vec<_> = (0..32)
        .map(|_| {
            let (pre, endpoint, url) = (pre.clone(), host.for_guest(), server.url.clone());
            tokio::spawn(async move {
                let (text, store) = call(&pre, endpoint.clone(), &url).await;
                drop(store);
                soon(endpoint.closed()).await;
                text
            })
        })
        .collect();
    for guest in guests {
        assert_eq!(guest.await.unwrap(), "SUCCESS: Received response: Hello, WebSocket!");
    }
}

#[tokio::test]
async fn connections_are_counted_per_guest_and_in_total_until_they_are_gone() {
    let mut server = Server::start(Behaviour::Echo).await;
    let pre = example_guest(&Engine::default());
    let limits = [("allow", "localhost"), ("max-connections", "1"), ("max-connections-total", "1")];
    let (one, other) = (endpoint(&limits), endpoint(&limits).for_guest());
    let first = one.connect(websocket_connection::ConnectConfig::new(&server.url));
    let first = first.await.unwrap();
    let (text, _) = call(&pre, one.clone(), &server.url).await;
    assert!(text.contains("max-connections"), "{text}");
    let (text, _) = call(&pre, one.for_guest(), &server.url).await;
    assert!(text.contains("max-connections-total"), "{text}");
    let (text, _) = call(&pre, other, &server.url).await;
    assert!(text.starts_with("SUCCESS"), "another host counts for itself: {text}");
    drop(first);
    soon(one.closed()).await;
    assert_eq!(server.close_code().await, Some(1001));
    let (text, _) = call(&pre, one, &server.url).await;
    assert!(text.starts_with("SUCCESS"), "{text}");
}
