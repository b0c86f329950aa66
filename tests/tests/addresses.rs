//! Every address on a command line, with every scheme. A command rejects an unsupported address before it opens anything.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use test_peer::Authority;
use tests::{Running, core_guest, guest_path, program, soon, transport_path};
use tokio::net::TcpListener;

/// Addresses with every scheme that people try, and invalid ones.
const ADDRESSES: [(&str, &str); 15] = [
    ("tcp", "tcp://127.0.0.1:9"),
    ("ws", "ws://127.0.0.1:9/t"),
    ("wss", "wss://127.0.0.1:9/t"),
    ("http", "http://127.0.0.1:9/t"),
    ("https", "https://127.0.0.1:9/t"),
    ("udp", "udp://127.0.0.1:9"),
    ("unix", "unix:///run/socket"),
    ("unix", "unix:/run/socket"),
    ("file", "file:///run/socket"),
    ("nonsense", "nonsense://127.0.0.1:9"),
    ("", "/run/socket"),
    ("", "127.0.0.1"),
    ("", "://127.0.0.1:9"),
    ("", ""),
    ("authority", "127.0.0.1:0"),
];

/// Runs wrong usage, and returns the error message.
async fn complaint(args: &[&str]) -> String {
    let output = soon(program().args(args).output()).await.unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{args:?}: {errors}");
    assert_eq!(output.stdout, b"", "{args:?}: it had begun");
    errors
}

/// Asserts that every other scheme is rejected, with an error that names the flag and a valid form.
async fn refuses_all_but(schemes: &[&str], args: impl Fn(&'static str) -> Vec<String>, named: &[&str]) {
    for (_, address) in ADDRESSES.into_iter().filter(|(scheme, _)| !schemes.contains(scheme)) {
        let args = args(address);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let errors = complaint(&args).await;
        assert!(named.iter().all(|part| errors.contains(part)), "{args:?}: {errors}");
    }
}

/// The file of a module that `serve` takes.
fn served(folder: &tempfile::TempDir) -> String {
    let file = folder.path().join("chat-room.wasm");
    std::fs::write(&file, core_guest("chat_room")).unwrap();
    file.to_str().unwrap().to_owned()
}

fn transport() -> String {
    transport_path("transport").to_str().unwrap().to_owned()
}

fn strings<const N: usize>(all: [&str; N]) -> Vec<String> {
    all.map(str::to_owned).into()
}

#[tokio::test]
async fn servers_listen_on_addresses_without_a_scheme() {
    let folder = tempfile::tempdir().unwrap();
    let served = served(&folder);
    let named = ["--listen", "write ADDRESS:PORT"];
    refuses_all_but(&["authority"], |address| strings(["serve", &served, "--listen", address]), &named).await;
    refuses_all_but(&["authority"], |address| strings(["echo", "--listen", address]), &named).await;
    let errors = complaint(&["serve", &served, "--listen", "wss://127.0.0.1:0"]).await;
    assert!(errors.contains("https:// and wss://") && errors.contains("--tls-cert"), "{errors}");
    let errors = complaint(&["echo", "--listen", "wss://127.0.0.1:0"]).await;
    assert!(errors.contains("wss:// with --tls"), "{errors}");
    for args in [&["serve", &served][..], &["echo"]] {
        Running::start(&[args, &["--listen", "127.0.0.1:0"]].concat()).line("listening on ").await;
    }
}

#[tokio::test]
async fn each_end_of_a_transport_accepts_the_schemes_of_its_role() {
    let module = transport();
    let (tcp, all) = (&["tcp"][..], &["tcp", "ws", "wss"][..]);
    let authority = Authority::new("test");
    let (certificate, key) = authority.issue_files("localhost");
    for (role, local, remote) in [("dial", tcp, all), ("listen", all, tcp), ("relay", all, all)] {
        let (good_local, good_remote) = ("tcp://127.0.0.1:0", "tcp://127.0.0.1:9");
        for (flag, schemes) in [("--local", local), ("--remote", remote)] {
            let args = |address: &'static str| match flag {
                "--local" => strings(["watm", role, &module, "--local", address, "--remote", good_remote]),
                _ => strings(["watm", role, &module, "--local", good_local, "--remote", address]),
            };
            let forms = ["tcp://HOST:PORT", "ws://HOST:PORT/PATH", "wss://HOST:PORT/PATH"];
            let forms: Vec<_> = std::iter::once(flag).chain(forms.into_iter().take(schemes.len())).collect();
            refuses_all_but(schemes, args, &forms).await;
            if schemes == tcp {
                let args = args("wss://127.0.0.1:9/t");
                let args: Vec<_> = args.iter().map(String::as_str).collect();
                assert!(!complaint(&args).await.contains("or wss://"), "it names what it cannot do");
            }
        }
        // With a supported address, it starts.
        for scheme in local {
            let address = format!("{scheme}://127.0.0.1:0/{}", if *scheme == "tcp" { "" } else { "t" });
            let mut args = vec!["watm", role, &module, "--local", &address, "--remote", good_remote];
            if *scheme == "wss" {
                let errors = complaint(&args).await;
                assert!(errors.contains("give --tls-cert and --tls-key"), "{errors}");
                args.extend(["--tls-cert", &certificate, "--tls-key", &key]);
            } else if role != "dial" {
                let tls = [&args[..], &["--tls-cert", &certificate, "--tls-key", &key]].concat();
                let errors = complaint(&tls).await;
                assert!(errors.contains("--local") && errors.contains("has no TLS"), "{errors}");
            }
            let at = Running::start(&args).line("listening on ").await;
            assert!(at.starts_with(&format!("{scheme}://")), "{at}");
        }
        for scheme in remote {
            let address = format!("{scheme}://127.0.0.1:9{}", if *scheme == "tcp" { "" } else { "/t" });
            let args = ["watm", role, &module, "--local", good_local, "--remote", &address];
            Running::start(&args).line("listening on ").await;
        }
    }
}

#[tokio::test]
async fn every_part_of_an_address_is_used_or_refused() {
    let module = transport();
    for (flag, address, said) in [
        ("--remote", "tcp://127.0.0.1:0", "port 0"),
        ("--remote", "ws://127.0.0.1:0/t", "port 0"),
        ("--remote", "ws://127.0.0.1/t#part", "fragment"),
        ("--remote", "tcp://me:hidden@127.0.0.1:9", "a host and a port alone"),
        ("--remote", "tcp://127.0.0.1:9/t", "a host and a port alone"),
        ("--remote", "tcp://127.0.0.1:9?q", "a host and a port alone"),
        ("--remote", "tcp://127.0.0.1", "the port is missing"),
        ("--local", "ws://127.0.0.1:0/t?q", "query"),
        ("--local", "ws://me:hidden@127.0.0.1:0/t", "user"),
        ("--local", "ws://127.0.0.1:0/t#part", "fragment"),
    ] {
        let (local, remote) =
            if flag == "--local" { (address, "tcp://127.0.0.1:9") } else { ("tcp://127.0.0.1:0", address) };
        let errors = complaint(&["watm", "relay", &module, "--local", local, "--remote", remote]).await;
        assert!(errors.contains(flag) && errors.contains(said), "{address}: {errors}");
        assert!(!errors.contains("hidden"), "{errors}");
    }
}

#[tokio::test]
async fn errors_of_proxies_and_rules_name_the_setting() {
    let folder = tempfile::tempdir().unwrap();
    let (guest, served, module) = (guest_path("guest_example"), served(&folder), transport());
    let guest = guest.to_str().unwrap();
    let ends = ["--local", "tcp://127.0.0.1:0", "--remote", "tcp://127.0.0.1:9"];
    let commands = [
        vec!["run", guest],
        [&["watm", "dial", &module][..], &ends].concat(),
        [&["watm", "listen", &module][..], &ends].concat(),
        [&["watm", "relay", &module][..], &ends].concat(),
    ];
    for command in &commands {
        for proxy in ["ws://proxy:1", "wss://proxy:1", "tcp://proxy:1", "unix:/run/proxy", "ftp://proxy:1", "nonsense"]
        {
            let errors = complaint(&[&command[..], &["--proxy", proxy]].concat()).await;
            assert!(errors.contains("`proxy`") && errors.contains("http://"), "{command:?}, {proxy}: {errors}");
        }
    }
    for (scheme, address) in ADDRESSES.into_iter().filter(|(_, address)| address.contains("://")) {
        let errors = complaint(&["run", guest, "--allow", address]).await;
        assert!(errors.contains("`allow`"), "{scheme}: {errors}");
    }
    // Commands that dial nothing, or only the operator's address, have no such flag.
    for command in [&["serve", &served][..], &["echo"], &commands[1], &commands[2], &commands[3]] {
        assert!(complaint(&[command, &["--allow", "localhost"]].concat()).await.contains("--allow"));
    }
    for command in [&["serve", &served][..], &["echo"]] {
        assert!(complaint(&[command, &["--proxy", "http://proxy:1"]].concat()).await.contains("--proxy"));
    }
}

#[tokio::test]
async fn guests_are_files_not_urls() {
    let ends = ["--local", "tcp://127.0.0.1:0", "--remote", "tcp://127.0.0.1:9"];
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("output");
    for scheme in ["http", "https", "file", "oci", "ws"] {
        let url = format!("{scheme}://example.com/guest.wasm");
        for args in [
            vec!["run", &url],
            vec!["serve", "--listen", "127.0.0.1:0", &url],
            [&["watm", "dial", &url][..], &ends].concat(),
            vec!["inspect", &url],
            vec!["compile", &url, "-o", output.to_str().unwrap()],
        ] {
            let errors = complaint(&args).await;
            assert!(errors.contains("write the path of a file"), "{args:?}: {errors}");
        }
    }
}

#[tokio::test]
async fn an_error_about_a_port_in_use_names_the_flag() {
    let folder = tempfile::tempdir().unwrap();
    let (served, module) = (served(&folder), transport());
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (tcp, ws) = (format!("tcp://{address}"), format!("ws://{address}/t"));
    let remote = ["--remote", "tcp://127.0.0.1:9"];
    for (args, flag) in [
        (vec!["serve", &served, "--listen", &address], "--listen"),
        (vec!["echo", "--listen", &address], "--listen"),
        ([&["watm", "dial", &module, "--local", &tcp][..], &remote].concat(), "--local"),
        ([&["watm", "listen", &module, "--local", &ws][..], &remote].concat(), "--local"),
        ([&["watm", "relay", &module, "--local", &ws][..], &remote].concat(), "--local"),
    ] {
        let output = soon(program().args(&args).output()).await.unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {errors}");
        assert!(errors.contains(&address) && errors.contains(&format!("give {flag}")), "{args:?}: {errors}");
        let other = if flag == "--listen" { "--local" } else { "--listen" };
        assert!(!errors.contains(other), "{args:?}: {errors}");
    }
}
