//! `soak_host URL GUESTS SECONDS`: a host with so many guests of the soak, each in a store of its own, whose lines
//! go to standard output. A process of its own, so that its memory and descriptors can be counted. It ends
//! when all connections have.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use tests::Host;

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [url, guests, seconds] = &args[..] else { panic!("usage: soak_host URL GUESTS SECONDS") };
    let host = Host::new(&[
        // All long enough for a server that a loaded machine holds up.
        ("keepalive-interval", "3s"),
        ("close-timeout", "5s"),
        ("write-timeout", "10s"),
        ("receive-wait", "200ms"),
    ]);
    let soak = host.guest("soak");
    // The first guest opens what the process keeps.
    let first = host.endpoint().for_guest();
    soak.run_aloud(&first, &["traffic", url, guests, "0"]).await.unwrap().unwrap();
    first.closed().await;
    println!("ready");
    let mut running = Vec::new();
    for number in 0..guests.parse::<u64>().unwrap() {
        let endpoint = host.endpoint().for_guest();
        let guest = soak.run_aloud(&endpoint, &["traffic", url, &number.to_string(), seconds]);
        running.push((guest, endpoint));
    }
    for (guest, endpoint) in running {
        guest.await.unwrap().unwrap();
        endpoint.closed().await;
    }
    println!("closed");
    // Whoever counts what is left answers when it is done.
    std::io::stdin().read_line(&mut String::new()).unwrap();
}
