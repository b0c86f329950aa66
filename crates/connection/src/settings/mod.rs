//! Every limit and default of the host, once: programs make their flags, files and help of
//! [`SETTINGS`], and hosts that hand over text set a [`Settings`] by name.

mod error;
mod value;

pub use error::SettingError;
pub use value::Proxy;

use crate::{origin::OriginRule, policy::Rule};
use http::HeaderValue;
use std::{path::PathBuf, time::Duration};
use value::{MAX_COUNT, count, duration, file_path, limit, list, size, user_agent};

/// What the host grants and how long it waits. See [`SETTINGS`] for the meaning of each.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Settings {
    /// How long `receive` waits for a message; zero returns at once.
    pub receive_wait: Duration,
    /// Time limit of one connect where the guest names none.
    pub connect_timeout: Duration,
    /// The most a guest may ask for.
    pub connect_timeout_max: Duration,
    /// How long a closing handshake may take.
    pub close_timeout: Duration,
    /// How long one send may wait for a peer that does not read.
    pub write_timeout: Duration,
    /// Whether connections are kept alive where the guest does not say.
    pub keepalive: bool,
    /// Silence after which a ping goes out, where the guest does not say.
    pub keepalive_interval: Duration,
    /// The least interval a guest may ask for.
    pub keepalive_floor: Duration,
    /// Largest message in bytes, both ways, where the guest does not say.
    pub max_message_size: usize,
    /// The largest a guest may ask for, in bytes.
    pub max_message_size_limit: usize,
    /// Bytes received ahead of the guest, per connection; one message may exceed it.
    pub inbound_buffer: usize,
    /// Connections that one guest may hold at a time.
    pub max_connections: usize,
    /// Connections that all guests together may hold at a time.
    pub max_connections_total: usize,
    /// Destinations that a guest may dial; none, nothing.
    pub allow: Vec<Rule>,
    /// Origins whose pages may open WebSockets to this host, beside its own.
    pub allow_origin: Vec<OriginRule>,
    /// PEM files with roots to trust beside the built-in and the system's.
    pub ca_cert: Vec<PathBuf>,
    /// PEM file with the certificate chain that identifies this host to servers.
    pub client_cert: Option<PathBuf>,
    /// PEM file with the private key of `client_cert`.
    pub client_key: Option<PathBuf>,
    /// HTTP CONNECT proxy to dial through, credentials in the URL.
    pub proxy: Option<Proxy>,
    /// `User-Agent` of handshakes and HTTP requests whose guest gives none, and of requests to the proxy; `None` sends
    /// none.
    pub user_agent: Option<HeaderValue>,
}

impl Default for Settings {
    fn default() -> Self {
        const MIB: usize = 1024 * 1024;
        Settings {
            receive_wait: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(30),
            connect_timeout_max: Duration::from_secs(120),
            close_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            keepalive: true,
            keepalive_interval: Duration::from_secs(30),
            keepalive_floor: Duration::from_secs(1),
            max_message_size: 16 * MIB,
            max_message_size_limit: 64 * MIB,
            inbound_buffer: MIB,
            max_connections: 1024,
            max_connections_total: 16384,
            allow: Vec::new(),
            allow_origin: Vec::new(),
            ca_cert: Vec::new(),
            client_cert: None,
            client_key: None,
            proxy: None,
            user_agent: Some(HeaderValue::from_static(USER_AGENT)),
        }
    }
}

/// One setting: its name is its flag and its key in configuration files.
pub struct Setting {
    /// The name, in kebab case.
    pub name: &'static str,
    /// What stands for the value in help texts: `DURATION`, `SIZE`, …
    pub value: &'static str,
    /// The default as a person would write it; `None` where there is none.
    pub default: Option<&'static str>,
    /// One sentence for help texts.
    pub help: &'static str,
    /// Whether each further value adds to the former ones.
    pub repeatable: bool,
    apply: fn(&mut Settings, &str) -> Result<(), String>,
}

impl Settings {
    /// Sets one setting from text, as a flag or a configuration file gives it.
    ///
    /// # Errors
    /// [`SettingError`] that names the setting, the value and what would be right.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        let setting = SETTINGS
            .iter()
            .find(|setting| setting.name == name)
            .ok_or_else(|| SettingError::Unknown(name.to_owned()))?;
        (setting.apply)(self, value.trim()).map_err(|reason| match setting.name {
            name @ MAY_HOLD_PASSWORD => SettingError::Hidden { name, reason },
            name => SettingError::Value { name, value: value.to_owned(), reason },
        })
    }

    /// Checks what no single setting can: that defaults respect their limits, and that files which
    /// go together are there together.
    ///
    /// # Errors
    /// [`SettingError::Conflict`] that names both settings.
    pub fn validate(&self) -> Result<(), SettingError> {
        let pairs = [
            (self.connect_timeout > self.connect_timeout_max, "connect-timeout is over connect-timeout-max"),
            (self.keepalive_interval < self.keepalive_floor, "keepalive-interval is under keepalive-floor"),
            (self.max_message_size > self.max_message_size_limit, "max-message-size is over max-message-size-limit"),
            (self.max_connections > self.max_connections_total, "max-connections is over max-connections-total"),
            (self.max_connections_total > MAX_COUNT, "max-connections-total is over what this machine can count"),
            (
                self.client_cert.is_some() != self.client_key.is_some(),
                "client-cert and client-key go together, and one of them is missing",
            ),
        ];
        match pairs.iter().find(|(wrong, _)| *wrong) {
            Some((_, what)) => Err(SettingError::Conflict(format!("{what}; change one of the two"))),
            None => Ok(()),
        }
    }
}

/// Every setting, in the order in which help texts show them.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "allow",
        value: "RULE",
        default: None,
        help: "A destination that a guest may dial: a host name, `*.suffix`, `*`, an IP address or a CIDR, each with \
               an optional `:port`. Without any rule nothing may be dialled. Loopback, private, link-local, \
               multicast and metadata addresses need a rule that names them (`localhost`, the IP, a CIDR)",
        repeatable: true,
        apply: |s, v| {
            list(v, |rule| rule.parse().map(|rule| s.allow.push(rule)).map_err(|e: crate::RuleError| e.to_string()))
        },
    },
    Setting {
        name: "allow-origin",
        value: "ORIGIN",
        default: None,
        help: "An origin whose pages may open WebSockets where this host accepts them, such as https://example.com, \
               beside the host's own origin; `*` for all. Clients that send no Origin may always",
        repeatable: true,
        apply: |s, v| list(v, |origin| origin.parse().map(|origin| s.allow_origin.push(origin))),
    },
    Setting {
        name: "receive-wait",
        value: "DURATION",
        default: Some("1s"),
        help: "How long `receive` waits for a message before it says that there is none; 0s returns at once",
        repeatable: false,
        apply: |s, v| duration(v).map(|d| s.receive_wait = d),
    },
    Setting {
        name: "connect-timeout",
        value: "DURATION",
        default: Some("30s"),
        help: "How long connecting may take, from DNS to handshake, where the guest does not say",
        repeatable: false,
        apply: |s, v| limit(v).map(|d| s.connect_timeout = d),
    },
    Setting {
        name: "connect-timeout-max",
        value: "DURATION",
        default: Some("2m"),
        help: "The longest connect timeout that a guest may ask for",
        repeatable: false,
        apply: |s, v| limit(v).map(|d| s.connect_timeout_max = d),
    },
    Setting {
        name: "close-timeout",
        value: "DURATION",
        default: Some("10s"),
        help: "How long a closing handshake may take before the transport is torn down",
        repeatable: false,
        apply: |s, v| limit(v).map(|d| s.close_timeout = d),
    },
    Setting {
        name: "write-timeout",
        value: "DURATION",
        default: Some("30s"),
        help: "How long one `send` may wait for a peer that does not read",
        repeatable: false,
        apply: |s, v| limit(v).map(|d| s.write_timeout = d),
    },
    Setting {
        name: "keepalive",
        value: "BOOL",
        default: Some("true"),
        help: "Whether silent connections are pinged where the guest does not say",
        repeatable: false,
        apply: |s, v| v.parse().map(|on| s.keepalive = on).map_err(|_| "write true or false".to_owned()),
    },
    Setting {
        name: "keepalive-interval",
        value: "DURATION",
        default: Some("30s"),
        help: "Silence after which a ping goes out; after twice as much the connection is dead",
        repeatable: false,
        apply: |s, v| limit(v).map(|d| s.keepalive_interval = d),
    },
    Setting {
        name: "keepalive-floor",
        value: "DURATION",
        default: Some("1s"),
        help: "The shortest keep-alive interval that a guest may ask for",
        repeatable: false,
        apply: |s, v| limit(v).map(|d| s.keepalive_floor = d),
    },
    Setting {
        name: "max-message-size",
        value: "SIZE",
        default: Some("16MiB"),
        help: "The largest message, both ways, where the guest does not say",
        repeatable: false,
        apply: |s, v| size(v).map(|n| s.max_message_size = n),
    },
    Setting {
        name: "max-message-size-limit",
        value: "SIZE",
        default: Some("64MiB"),
        help: "The largest max-message-size that a guest may ask for",
        repeatable: false,
        apply: |s, v| size(v).map(|n| s.max_message_size_limit = n),
    },
    Setting {
        name: "inbound-buffer",
        value: "SIZE",
        default: Some("1MiB"),
        help: "How much is received ahead of the guest, per connection; one message may exceed it",
        repeatable: false,
        apply: |s, v| size(v).map(|n| s.inbound_buffer = n),
    },
    Setting {
        name: "max-connections",
        value: "COUNT",
        default: Some("1024"),
        help: "How many connections one guest may hold",
        repeatable: false,
        apply: |s, v| count(v).map(|n| s.max_connections = n),
    },
    Setting {
        name: "max-connections-total",
        value: "COUNT",
        default: Some("16384"),
        help: "How many connections all guests of this host may hold together",
        repeatable: false,
        apply: |s, v| count(v).map(|n| s.max_connections_total = n),
    },
    Setting {
        name: "ca-cert",
        value: "FILE",
        default: None,
        help: "A PEM file with certificates to trust beside the built-in and the system's roots",
        repeatable: true,
        apply: |s, v| list(v, |file| file_path(file).map(|file| s.ca_cert.push(file))),
    },
    Setting {
        name: "client-cert",
        value: "FILE",
        default: None,
        help: "A PEM file with the certificate chain that identifies this host to servers; needs client-key",
        repeatable: false,
        apply: |s, v| file_path(v).map(|file| s.client_cert = Some(file)),
    },
    Setting {
        name: "client-key",
        value: "FILE",
        default: None,
        help: "A PEM file with the private key of client-cert",
        repeatable: false,
        apply: |s, v| file_path(v).map(|file| s.client_key = Some(file)),
    },
    Setting {
        name: MAY_HOLD_PASSWORD,
        value: "URL",
        default: None,
        help: "An HTTP CONNECT proxy to dial through: http://[user:password@]host:port",
        repeatable: false,
        apply: |s, v| v.parse().map(|proxy| s.proxy = Some(proxy)),
    },
    Setting {
        name: "user-agent",
        value: "TEXT",
        default: Some(USER_AGENT),
        help: "The `User-Agent` of handshakes and HTTP requests whose guest gives none, and of requests to the proxy; \
               empty sends none",
        repeatable: false,
        apply: |s, v| user_agent(v).map(|agent| s.user_agent = agent),
    },
];

/// The default of `user-agent`: some servers refuse requests without one.
const USER_AGENT: &str = concat!("websocket-provider/", env!("CARGO_PKG_VERSION"));

/// The setting whose value no complaint may show.
const MAY_HOLD_PASSWORD: &str = "proxy";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_table_states_the_defaults_that_settings_have() {
        let mut settings = Settings::default();
        for setting in SETTINGS {
            if let Some(default) = setting.default {
                settings.set(setting.name, default).unwrap();
            }
        }
        assert_eq!(settings, Settings::default());
        assert_eq!(settings.validate(), Ok(()));
    }

    #[test]
    fn values_are_read_as_people_write_them() {
        let mut settings = Settings::default();
        for (name, value) in [
            ("receive-wait", "500ms"),
            ("max-message-size", "1 MiB"),
            ("inbound-buffer", "4096"),
            ("keepalive", "false"),
            ("allow", "localhost, *.example.com:443"),
            ("allow", "10.0.0.0/8"),
            ("proxy", "http://me:secret@proxy.example:3128"),
            ("allow-origin", "https://example.com, http://localhost:3000"),
        ] {
            settings.set(name, value).unwrap();
        }
        assert_eq!(settings.receive_wait, Duration::from_millis(500));
        assert_eq!(settings.max_message_size, 1024 * 1024);
        assert_eq!(settings.inbound_buffer, 4096);
        assert!(!settings.keepalive);
        assert_eq!((settings.allow.len(), settings.allow_origin.len()), (3, 2));
        assert_eq!(settings.proxy.as_ref().map(|proxy| proxy.url().username()), Some("me"));
        assert!(!format!("{settings:?}").contains("secret"), "{settings:?}");
    }

    #[test]
    fn the_user_agent_is_this_product_unless_it_is_set_or_empty() {
        let mut settings = Settings::default();
        let sent = |settings: &Settings| settings.user_agent.as_ref().map(|agent| agent.to_str().unwrap().to_owned());
        assert_eq!(sent(&settings).unwrap(), format!("websocket-provider/{}", env!("CARGO_PKG_VERSION")));
        settings.set("user-agent", " Mozilla/5.0 (X11; \"it\") ").unwrap();
        assert_eq!(sent(&settings).unwrap(), "Mozilla/5.0 (X11; \"it\")");
        settings.set("user-agent", "").unwrap();
        assert_eq!(sent(&settings), None);
    }

    #[test]
    fn a_bad_value_is_named_with_its_remedy() {
        let mut settings = Settings::default();
        for (name, value, remedy) in [
            ("receive-wait", "soon", "500ms"),
            ("close-timeout", "0s", "over zero"),
            ("max-message-size", "large", "16MiB"),
            ("max-connections", "-1", "whole number"),
            ("keepalive", "maybe", "true or false"),
            ("allow", "ws://example.com", "without a scheme"),
            ("proxy", "socks5://proxy:1080", "http://host:port"),
            ("allow-origin", "null", "https://example.com"),
            ("client-key", "", "file"),
            ("user-agent", "a\r\nEvil: b", "ASCII"),
            ("user-agent", "ü", "ASCII"),
            ("user-agent", &"a".repeat(257), "256"),
        ] {
            let text = settings.set(name, value).unwrap_err().to_string();
            assert!(text.contains(name) && text.contains(remedy), "{text}");
        }
        assert_eq!(settings, Settings::default());
        assert_eq!(settings.set("recieve-wait", "1s"), Err(SettingError::Unknown("recieve-wait".into())));
    }

    #[test]
    fn a_bad_proxy_is_not_shown_with_its_password() {
        for value in ["socks5://me:secret@proxy:1080", "http://me:secret", "me:secret@proxy:3128", "secret"] {
            let error = Settings::default().set("proxy", value).unwrap_err();
            let text = error.to_string();
            assert!(text.contains("`proxy`") && text.contains("http://user:password@host:port"), "{text}");
            assert!(!text.contains("secret") && !format!("{error:?}").contains("secret"), "{error:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_one_that_is_refused_changes_no_single_value(
            which in 0..SETTINGS.len(),
            text in prop_oneof![any::<String>(), "[0-9]{1,25} ?(ms|s|m|h|d|y|KiB|MiB|EiB|B)?"],
        ) {
            let (setting, mut settings) = (&SETTINGS[which], Settings::default());
            if settings.set(setting.name, &text).is_err() && !setting.repeatable {
                prop_assert_eq!(settings, Settings::default());
            }
        }

        #[test]
        fn durations_sizes_and_counts_mean_what_they_say(number in 1usize..=1_000_000) {
            let mut settings = Settings::default();
            settings.set("close-timeout", &format!("{number}ms")).unwrap();
            settings.set("max-message-size", &format!("{number} KiB")).unwrap();
            settings.set("max-connections", &number.to_string()).unwrap();
            prop_assert_eq!(settings.close_timeout, Duration::from_millis(number as u64));
            prop_assert_eq!((settings.max_message_size, settings.max_connections), (number * 1024, number));
        }
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        for (name, value) in
            [("connect-timeout", "3m"), ("max-message-size", "65MiB"), ("keepalive-floor", "31s"), ("client-cert", "f")]
        {
            let mut settings = Settings::default();
            settings.set(name, value).unwrap();
            assert!(settings.validate().unwrap_err().to_string().contains(name));
        }
    }
}
