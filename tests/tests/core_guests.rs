//! The core modules of this repository, and the form of the pointer-payload ABI that each uses.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::path::Path;
use tests::{build_assembly_guest, core_guest};
use wasmtime::{Engine, Instance, Linker, Store};
use websocket_abi_bridge::{
    Module, Shape,
    codec::{Dialect, Generation, Kind, Message, Response, encode_id},
};

const SHIPPED: Shape =
    Shape { dialect: Dialect::Shipped, generation: Generation::Newer, answers_requests: true, has_sockets: true };

fn load(bytes: &[u8]) -> Module {
    Module::load(&Engine::default(), bytes).unwrap()
}

fn text(name: &str) -> Module {
    load(&wat::parse_file(Path::new(env!("CARGO_MANIFEST_DIR")).join("guests").join(name)).unwrap())
}

#[test]
fn each_is_accepted_in_its_form() {
    assert_eq!(load(&core_guest("chat_room")).shape(), SHIPPED);
    assert_eq!(text("echo-shipped.wat").shape(), SHIPPED);
    let proposal = Shape { dialect: Dialect::Proposal, answers_requests: false, ..SHIPPED };
    assert_eq!(text("echo-proposal.wat").shape(), proposal);
}

#[tokio::test]
async fn the_guest_in_assemblyscript_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let Some(file) = build_assembly_guest(folder.path()).await else { return };
    assert_eq!(load(&std::fs::read(file).unwrap()).shape(), SHIPPED);
}

/// The state of a host: the payload for the guest, what the guest sent, and what it did with it.
#[derive(Default)]
struct Host {
    payload: Vec<u8>,
    sent: Vec<u8>,
    done: Vec<(&'static str, Vec<u8>)>,
}

/// An instance with a host of a few lines.
fn instance(module: &Module) -> (Store<Host>, Instance) {
    type Caller<'a> = wasmtime::Caller<'a, Host>;
    fn bytes(caller: &mut Caller<'_>, pointer: u32, length: u32) -> Vec<u8> {
        let memory = caller.get_export("memory").unwrap().into_memory().unwrap();
        memory.data(&caller)[pointer as usize..][..length as usize].to_vec()
    }
    let engine = module.compiled().engine();
    let mut linker = Linker::<Host>::new(engine);
    let from = ["env", "primate"][usize::from(module.shape().dialect == Dialect::Shipped)];
    linker.func_wrap(from, "payloadByteLength", |caller: Caller<'_>| caller.data().payload.len() as u32).unwrap();
    let receive = |mut caller: Caller<'_>, pointer: u32, length: u32| {
        let payload = caller.data().payload.clone();
        assert_eq!(payload.len(), length as usize);
        let memory = caller.get_export("memory").unwrap().into_memory().unwrap();
        memory.write(&mut caller, pointer as usize, &payload).unwrap();
    };
    linker.func_wrap(from, "receive", receive).unwrap();
    let send = |mut caller: Caller<'_>, pointer: u32, length: u32| {
        caller.data_mut().sent = bytes(&mut caller, pointer, length);
    };
    linker.func_wrap(from, "send", send).unwrap();
    for call in ["websocketSend", "websocketClose"] {
        if module.shape().dialect == Dialect::Shipped {
            let done = move |mut caller: Caller<'_>| {
                let sent = caller.data().sent.clone();
                caller.data_mut().done.push((call, sent));
            };
            linker.func_wrap(from, call, done).unwrap();
        } else {
            let done = move |mut caller: Caller<'_>, pointer: u32| {
                let data = bytes(&mut caller, pointer + 12, 4).try_into().map(u32::from_le_bytes).unwrap();
                let length = if call == "websocketSend" { 16 + data } else { 8 };
                let payload = bytes(&mut caller, pointer, length);
                caller.data_mut().done.push((call, payload));
            };
            linker.func_wrap(from, call, done).unwrap();
        }
    }
    let mut store = Store::new(engine, Host::default());
    let instance = linker.instantiate(&mut store, module.compiled()).unwrap();
    (store, instance)
}

#[test]
fn the_echoes_send_back_what_comes_up_to_16_mib_and_close_when_told_to() {
    for name in ["echo-shipped.wat", "echo-proposal.wat"] {
        let module = text(name);
        let dialect = module.shape().dialect;
        let (mut store, instance) = instance(&module);
        let on_message = instance.get_typed_func::<(), ()>(&mut store, "websocketMessage").unwrap();
        let mut tell = |id, kind| {
            let payload = Message { id, kind }.encode(dialect).concat();
            store.data_mut().payload.clone_from(&payload);
            on_message.call(&mut store, ()).unwrap();
            (payload, store.data_mut().done.pop().unwrap())
        };
        // Sizes around the end of the first page, for both positions of the buffer, and much larger ones.
        for size in [0, 1, 65_488, 65_489, 65_520, 65_521, 16 << 20, 5] {
            for kind in [Kind::Text("x".repeat(size)), Kind::Binary(vec![0xFF; size].into())] {
                let (sent, (call, came)) = tell(size as u64, kind);
                assert_eq!(call, "websocketSend", "{name}");
                assert!(came == sent, "{name}: {size} bytes come back changed");
            }
        }
        let (_, closed) = tell(u64::MAX, Kind::Text("close".to_owned()));
        assert_eq!(closed, ("websocketClose", encode_id(u64::MAX).to_vec()), "{name}");
        for kind in [Kind::Binary("close".into()), Kind::Text("clos!".to_owned()), Kind::Text("close!".to_owned())] {
            assert_eq!(tell(7, kind).1.0, "websocketSend", "{name}");
        }
    }
}

#[test]
fn the_shipped_echo_numbers_its_sockets_from_0() {
    let (mut store, instance) = instance(&text("echo-shipped.wat"));
    let mut call = |name: &str, argument| {
        let function = instance.get_typed_func::<u32, u32>(&mut store, name).unwrap();
        function.call(&mut store, argument).unwrap()
    };
    let responses = [call("get", 0), call("get", 0)];
    assert_eq!(responses[0], responses[1], "it has one response at a time");
    let send = instance.get_typed_func::<u32, ()>(&mut store, "sendResponse").unwrap();
    send.call(&mut store, responses[1]).unwrap();
    assert_eq!(Response::decode(&store.data().sent), Ok(Response::Upgrade(1)));
}
