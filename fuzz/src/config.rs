//! What a guest asks of a connection, what a client asks of a server, and what an operator writes into settings, with
//! the network out of reach.

use arbitrary::{Arbitrary, Unstructured};
use http::{HeaderName, HeaderValue, Request};
use std::{sync::LazyLock, time::Duration};
use tokio::runtime::Builder;
use websocket_connection::{ConnectConfig, Endpoint, Error, Rule, SETTINGS, Settings};

// It reads the certificates of the system, which takes longer than all of this.
static ENDPOINT: LazyLock<Endpoint> = LazyLock::new(|| Endpoint::new(Settings::default()).expect("good settings"));

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
const SECRET: &str = "ws://guest:pAssw0rdOfAGuest@";

/// Runs one case.
pub fn config(data: &[u8]) {
    let Ok(case) = Case::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let url = match case.url {
        Url::Any(url) => url,
        Url::Made { secure, host, port, rest } => {
            let port = port.map(|port| format!(":{port}")).unwrap_or_default();
            format!("ws{}://{host}{port}/{rest}", if secure { "s" } else { "" })
        }
        Url::Secret { host, rest } => format!("{SECRET}{host}/{rest}"),
    };
    set(&case.settings);
    upgrade(&case.headers);
    let millis = |millis: u32| Duration::from_millis(millis.into());
    // Elsewhere in a URL, or in what errors quote, this text is not a password.
    let quoted = case.subprotocols.iter().chain(case.headers.iter().map(|(name, _)| name));
    let secret = url.match_indices(PASSWORD).count() == 1
        && url.starts_with(SECRET)
        && !quoted.into_iter().any(|text| text.contains(PASSWORD));
    let mut config = ConnectConfig::new(url);
    config.subprotocols = case.subprotocols;
    config.headers = case.headers;
    config.timeout = case.timeout_ms.map(millis);
    config.max_message_size = case.max_message_size.map(|size| size as usize);
    config.keepalive = case.keepalive;
    config.keepalive_interval = case.keepalive_interval_ms.map(millis);
    let good = ENDPOINT.grants(config.clone());
    if let Ok((url, timeout, size, keepalive)) = &good {
        let most = Settings::default();
        assert!(!secret || !url.contains(PASSWORD), "{url}");
        assert!(!timeout.is_zero() && *timeout <= most.connect_timeout_max, "{timeout:?}");
        assert!(*size <= most.max_message_size_limit, "{size}");
        assert!(keepalive.is_none_or(|interval| interval >= most.keepalive_floor), "{keepalive:?}");
    }
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
    let refused = runtime.block_on(ENDPOINT.connect(config)).expect_err("nothing is allowed");
    assert!(!secret || !refused.to_string().contains(PASSWORD), "{refused}");
    match (good, Error::from(refused)) {
        (Ok(_), Error::AuthenticationFailed(_)) => {}
        (Err(good @ (Error::InvalidUrl(_) | Error::Protocol(_))), refused) => assert_eq!(good, refused),
        (good, refused) => panic!("{refused} for {good:?}"),
    }
}

/// Settings one by one, and rules, which are shown as what they mean.
fn set(values: &[(u8, String)]) {
    for (which, value) in values {
        let setting = &SETTINGS[usize::from(*which) % SETTINGS.len()];
        let mut settings = Settings::default();
        let is_set = settings.set(setting.name, value).is_ok();
        assert!(is_set || setting.repeatable || settings == Settings::default(), "{value:?} is refused and set");
        // Settings may contradict each other, which is said, too.
        let _ = settings.validate();
        if let Ok(rule) = value.parse::<Rule>() {
            assert_eq!(rule.to_string().parse(), Ok(rule));
        }
    }
}

/// A client's request with these fields beside, or instead of, those that it needs.
fn upgrade(fields: &[(String, String)]) {
    let mut request = Request::new(());
    let good = [
        ("host", "a"),
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    request
        .headers_mut()
        .extend(good.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))));
    for (at, (name, value)) in fields.iter().enumerate() {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else { continue };
        if at % 2 == 0 {
            request.headers_mut().append(name, value);
        } else {
            request.headers_mut().insert(name, value);
        }
    }
    match ENDPOINT.upgrade(&mut request, false) {
        Ok(mut upgrade) => {
            let offered = upgrade.subprotocols().to_vec();
            upgrade.choose(offered.first().map_or("never offered", String::as_str));
            let response = upgrade.response::<()>();
            assert_eq!(response.status(), 101);
            let chosen = response.headers().get("sec-websocket-protocol").map(HeaderValue::as_bytes);
            assert_eq!(chosen, offered.first().map(|name| name.as_bytes()));
        }
        Err(refusal) => {
            let status = refusal.response::<String>().status();
            assert!(status.is_client_error() || status == 501, "{refusal}");
        }
    }
}
