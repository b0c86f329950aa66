//! What a guest asks of a connection, and what an operator writes into settings, with the network out of reach.

use arbitrary::{Arbitrary, Unstructured};
use std::{sync::LazyLock, time::Duration};
use tokio::runtime::Builder;
use websocket_connection::{ConnectConfig, Endpoint, Error, SETTINGS, Settings};

#[derive(Debug, Arbitrary)]
struct Case {
    url: Url,
    subprotocols: Vec<String>,
    headers: Vec<(String, String)>,
    timeout_ms: Option<u32>,
    max_message_size: Option<u32>,
    keepalive: Option<bool>,
    keepalive_interval_ms: Option<u32>,
    settings: Vec<(u8, String)>,
}

#[derive(Debug, Arbitrary)]
enum Url {
    Any(String),
    /// One that is more likely to be good.
    Made {
        secure: bool,
        host: String,
        port: Option<u16>,
        rest: String,
    },
    /// One with a password that must not be shown.
    Secret {
        host: String,
        rest: String,
    },
}

const PASSWORD: &str = "pAssw0rdOfAGuest";

/// Runs one case.
pub fn config(data: &[u8]) {
    let Ok(case) = Case::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let url = match case.url {
        Url::Any(url) => url,
        Url::Made { secure, host, port, rest } => {
            let port = port.map(|port| format!(":{port}")).unwrap_or_default();
            format!("ws{}://{host}{port}/{rest}", if secure { "s" } else { "" })
        }
        Url::Secret { host, rest } => format!("ws://guest:{PASSWORD}@{host}/{rest}"),
    };
    for (which, value) in case.settings {
        let setting = &SETTINGS[usize::from(which) % SETTINGS.len()];
        let mut settings = Settings::default();
        if settings.set(setting.name, &value).is_ok() {
            // Settings may contradict each other, which is said, too.
            let _ = settings.validate();
        }
    }
    // It reads the certificates of the system, which takes longer than all of this.
    static ENDPOINT: LazyLock<Endpoint> = LazyLock::new(|| Endpoint::new(Settings::default()).expect("good settings"));
    let millis = |millis: u32| Duration::from_millis(millis.into());
    let secret = url.contains(PASSWORD);
    let config = ConnectConfig {
        url,
        subprotocols: case.subprotocols,
        headers: case.headers,
        timeout: case.timeout_ms.map(millis),
        max_message_size: case.max_message_size.map(|size| size as usize),
        keepalive: case.keepalive,
        keepalive_interval: case.keepalive_interval_ms.map(millis),
    };
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
    match runtime.block_on(ENDPOINT.connect(config)) {
        Err(error @ (Error::InvalidUrl(_) | Error::Protocol(_) | Error::AuthenticationFailed(_))) => {
            assert!(!secret || !error.to_string().contains(PASSWORD), "{error}");
        }
        Ok(_) => panic!("nothing is allowed"),
        Err(error) => panic!("{error}"),
    }
}
