//! Many connections at once, and connections that are reset. `LOAD_CONNECTIONS` and `LOAD_BYTES` in the environment ask for
//! more of them.

use crate::*;
use std::time::Instant;
use tests::faults::comes_true_within;
use tokio::task::JoinSet;

/// How long the callers may take, all together.
const PATIENCE: Duration = Duration::from_secs(300);

fn load(name: &str, otherwise: usize) -> usize {
    std::env::var(name).map_or(otherwise, |value| value.parse().unwrap())
}

/// Bytes of a connection's own, and sizes that differ: multiplied by an odd number, none is like another.
fn random(seed: usize) -> impl Iterator<Item = u8> {
    let next = |state: &u64| Some(state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F));
    std::iter::successors(next(&(seed as u64)), next).map(|state| (state >> 56) as u8)
}

/// Waits until the programs hold what they did before, and the image of a memory, which the first instance has made.
async fn nothing_is_left(programs: &[Watm], before: &[usize]) {
    for (watm, before) in programs.iter().zip(before) {
        let process = watm.program.process();
        // A leaked connection stays forever; a busy machine is only slow.
        let left = format!("{} has descriptors left", watm.at);
        comes_true_within(Duration::from_secs(60), &left, || kernel::descriptors(process) <= before + 1).await;
    }
}

fn held(programs: &[Watm]) -> Vec<usize> {
    programs.iter().map(|watm| kernel::descriptors(watm.program.process())).collect()
}

/// Has so many callers at once send and get back three times what nobody else sends, of up to so many bytes.
async fn callers(at: &str, count: usize, most: usize) {
    let mut callers = JoinSet::new();
    for caller in 0..count {
        let at = at.strip_prefix("tcp://").unwrap().to_owned();
        callers.spawn(async move {
            let mut tcp = TcpStream::connect(at).await.unwrap();
            for round in 1..=3 {
                let size = random(caller * 31 + round).take(4).fold(0, |size, byte| size << 8 | usize::from(byte));
                let sent: Vec<u8> = random(caller + round * 1_000_003).take(1 + size % most).collect();
                let mut got = vec![0; sent.len()];
                let (mut reader, mut writer) = tcp.split();
                let (written, read) = tokio::join!(writer.write_all(&sent), reader.read_exact(&mut got));
                written.unwrap();
                read.unwrap();
                assert!(got == sent, "caller {caller}: {} bytes came back otherwise", sent.len());
            }
        });
    }
    while let Some(done) = timeout(PATIENCE, callers.join_next()).await.unwrap() {
        done.unwrap();
    }
}

#[tokio::test]
async fn many_connections_at_once_keep_their_bytes_and_leave_nothing() {
    let (connections, most) = (load("LOAD_CONNECTIONS", 40), load("LOAD_BYTES", 100_000));
    let folder = tempfile::tempdir().unwrap();
    let reverse = config(&folder, "reverse");
    let reverse = ["--config-file", reverse.to_str().unwrap()];
    let (blocking, on_tokio) = (transport_path("transport"), transport_path("async_transport"));
    let server = echo().await;
    for network in Network::all() {
        for (module, options) in [(&blocking, &[][..]), (&blocking, &reverse), (&on_tokio, &[])] {
            let chain = Chain::start(module, &network, &server, options, &[]).await;
            let before = held(&chain.0);
            let began = Instant::now();
            callers(&chain.0[0].at, connections, most).await;
            println!("{connections} connections, {} and {options:?}: {:?}", network.at, began.elapsed());
            nothing_is_left(&chain.0, &before).await;
            chain.end().await;
        }
    }
}

/// Ends a connection so that its peer gets a reset.
fn reset(tcp: TcpStream) {
    tcp.set_zero_linger().unwrap();
}

#[tokio::test]
async fn connections_that_break_off_midway_leave_nothing_and_harm_no_other() {
    let breaks = load("LOAD_CONNECTIONS", 10);
    let (listener, server) = far().await;
    let part = bytes(300_000);
    for (module, network) in
        ["transport", "async_transport"].into_iter().zip(["tcp://127.0.0.1:0", "ws://127.0.0.1:0/t"])
    {
        let chain = Chain::start(&transport_path(module), &Network::of(network), &server, &[], &[]).await;
        let before = held(&chain.0);
        let connect = async || {
            let caller = chain.connect().await;
            (caller, soon(listener.accept()).await.unwrap().0)
        };
        let (mut bystander, mut its_server) = connect().await;
        for place in 0..breaks {
            let (mut caller, mut far) = connect().await;
            // One end sends without end, and one of the two resets the connection in the midst of it.
            let (sender, reader) = if place % 2 == 0 { (&mut caller, &mut far) } else { (&mut far, &mut caller) };
            let mut got = vec![0; part.len() / 2];
            let (written, read) =
                soon(async { tokio::join!(sender.write_all(&part), reader.read_exact(&mut got)) }).await;
            written.unwrap();
            read.unwrap();
            assert!(got == part[..got.len()]);
            let (gone, mut left) = if place % 4 < 2 { (caller, far) } else { (far, caller) };
            reset(gone);
            while !matches!(soon(left.read(&mut got)).await, Ok(0) | Err(_)) {}
        }
        bystander.write_all(b"ping").await.unwrap();
        let mut got = [0; 4];
        soon(its_server.read_exact(&mut got)).await.unwrap();
        drop((bystander, its_server));
        nothing_is_left(&chain.0, &before).await;
        chain.end().await;
    }
}
