//! Every limit and default of the host, once: programs make their flags, files and help of
//! [`SETTINGS`], and hosts that hand over text set a [`Settings`] by name.

mod error;
pub(crate) mod files;
pub(crate) mod origin;
pub(crate) mod rule;
mod value;

pub use error::SettingError;
pub(crate) use value::credential_fault;
pub use value::{Proxy, ProxyDns, parse_size, parse_time_limit};

use http::HeaderValue;
use origin::OriginRule;
use rule::Rule;
use std::{fmt, path::PathBuf, time::Duration};
use value::{LIMIT, WAIT, check_count, check_duration, check_size, count, duration, file_path, list, size, user_agent};

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
    /// Proxy to dial through, credentials in the URL.
    pub proxy: Option<Proxy>,
    /// `User-Agent` of handshakes and HTTP requests whose guest gives none, and of requests to the proxy; `None` sends
    /// none.
    pub user_agent: Option<HeaderValue>,
    /// Where names are resolved when they are dialled through the proxy; `socks5h://` has the proxy do so always.
    pub proxy_dns: ProxyDns,
    /// Destinations that are dialled without the proxy.
    pub no_proxy: Vec<Rule>,
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
            proxy_dns: ProxyDns::default(),
            no_proxy: Vec::new(),
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
    /// The connections that the setting has an effect on.
    pub concerns: Concerns,
    /// Whether each further value adds to the former ones.
    pub repeatable: bool,
    /// Reads a value; its range is checked afterwards.
    apply: fn(&mut Settings, &str) -> Result<(), String>,
    /// Whether the value is in its range.
    check: fn(&Settings) -> Result<(), String>,
}

/// The connections that a setting has an effect on. Programs choose their flags by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Concerns {
    /// Those that guests dial by themselves: where they may go, and the most that they may ask for. Without effect where
    /// the operator names every destination.
    Guests,
    /// Those that this host dials, for a guest or an operator.
    Dialled,
    /// Those that this host accepts.
    Accepted,
    /// Those that it dials, and those that it accepts.
    Both,
}

impl fmt::Display for Concerns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Concerns::Guests => "guests that dial",
            Concerns::Dialled => "dialled",
            Concerns::Accepted => "accepted",
            Concerns::Both => "both",
        })
    }
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Setting { name, value, default, help, concerns, repeatable, apply: _, check: _ } = self;
        let mut debug = f.debug_struct("Setting");
        debug.field("name", name).field("value", value).field("default", default);
        debug.field("help", help).field("concerns", concerns).field("repeatable", repeatable).finish_non_exhaustive()
    }
}

/// For values that have no range: they are valid once they are read.
const ANY: fn(&Settings) -> Result<(), String> = |_| Ok(());

impl Settings {
    /// Sets one setting from text, as a flag or a configuration file gives it.
    ///
    /// # Errors
    /// [`SettingError`] that names the setting, the value and what would be right. The setting is unchanged then.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        let setting = SETTINGS
            .iter()
            .find(|setting| setting.name == name)
            .ok_or_else(|| SettingError::Unknown(name.to_owned()))?;
        let mut changed = self.clone();
        let read = match value.trim() {
            _ if value.contains(char::is_control) => Err("it contains a control character".to_owned()),
            text => (setting.apply)(&mut changed, text).and_then(|()| (setting.check)(&changed)),
        };
        read.map_err(|reason| match setting.name {
            name @ MAY_HOLD_PASSWORD => SettingError::Hidden { name, reason },
            name => SettingError::Value { name, value: value.to_owned(), reason },
        })?;
        *self = changed;
        Ok(())
    }

    /// Checks every value's range, for values that were not set from text, and what no single setting can: that defaults
    /// respect their limits, and that files which go together are there together.
    ///
    /// # Errors
    /// [`SettingError::Conflict`] that names the setting, or both.
    pub fn validate(&self) -> Result<(), SettingError> {
        for setting in SETTINGS {
            let range = (setting.check)(self);
            range.map_err(|reason| SettingError::Conflict(format!("`{}` is out of range: {reason}", setting.name)))?;
        }
        let pairs = [
            (self.connect_timeout > self.connect_timeout_max, "connect-timeout is over connect-timeout-max"),
            (self.keepalive_interval < self.keepalive_floor, "keepalive-interval is under keepalive-floor"),
            (self.max_message_size > self.max_message_size_limit, "max-message-size is over max-message-size-limit"),
            (self.max_connections > self.max_connections_total, "max-connections is over max-connections-total"),
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
        concerns: Concerns::Guests,
        repeatable: true,
        apply: |s, v| {
            list(v, |rule| rule.parse().map(|rule| s.allow.push(rule)).map_err(|e: rule::RuleError| e.to_string()))
        },
        check: ANY,
    },
    Setting {
        name: "allow-origin",
        value: "ORIGIN",
        default: None,
        help: "An origin whose pages may open WebSockets where this host accepts them, such as https://example.com, \
               beside the host's own origin; `*` for all. A client that sends no Origin is always accepted",
        concerns: Concerns::Accepted,
        repeatable: true,
        apply: |s, v| list(v, |origin| origin.parse().map(|origin| s.allow_origin.push(origin))),
        check: ANY,
    },
    Setting {
        name: "receive-wait",
        value: "DURATION",
        default: Some("1s"),
        help: "How long `receive` waits for a message before it returns `none`; 0s returns at once",
        concerns: Concerns::Both,
        repeatable: false,
        apply: |s, v| duration(v).map(|d| s.receive_wait = d),
        check: |s| check_duration(s.receive_wait, &WAIT),
    },
    Setting {
        name: "connect-timeout",
        value: "DURATION",
        default: Some("30s"),
        help: "How long connecting may take, from DNS to handshake, unless the guest sets it",
        concerns: Concerns::Dialled,
        repeatable: false,
        apply: |s, v| duration(v).map(|d| s.connect_timeout = d),
        check: |s| check_duration(s.connect_timeout, &LIMIT),
    },
    Setting {
        name: "connect-timeout-max",
        value: "DURATION",
        default: Some("2m"),
        help: "The longest connect timeout that a guest may set",
        concerns: Concerns::Guests,
        repeatable: false,
        apply: |s, v| duration(v).map(|d| s.connect_timeout_max = d),
        check: |s| check_duration(s.connect_timeout_max, &LIMIT),
    },
    Setting {
        name: "close-timeout",
        value: "DURATION",
        default: Some("10s"),
        help: "How long a closing handshake may take before the transport is torn down",
        concerns: Concerns::Both,
        repeatable: false,
        apply: |s, v| duration(v).map(|d| s.close_timeout = d),
        check: |s| check_duration(s.close_timeout, &LIMIT),
    },
    Setting {
        name: "write-timeout",
        value: "DURATION",
        default: Some("30s"),
        help: "How long one `send` may wait for a peer that does not read",
        concerns: Concerns::Both,
        repeatable: false,
        apply: |s, v| duration(v).map(|d| s.write_timeout = d),
        check: |s| check_duration(s.write_timeout, &LIMIT),
    },
    Setting {
        name: "keepalive",
        value: "BOOL",
        default: Some("true"),
        help: "Whether silent connections are pinged, unless the guest sets it",
        concerns: Concerns::Both,
        repeatable: false,
        apply: |s, v| v.parse().map(|on| s.keepalive = on).map_err(|_| "write true or false".to_owned()),
        check: ANY,
    },
    Setting {
        name: "keepalive-interval",
        value: "DURATION",
        default: Some("30s"),
        help: "The silence after which the host sends a ping; after twice this time the connection is dead",
        concerns: Concerns::Both,
        repeatable: false,
        apply: |s, v| duration(v).map(|d| s.keepalive_interval = d),
        check: |s| check_duration(s.keepalive_interval, &LIMIT),
    },
    Setting {
        name: "keepalive-floor",
        value: "DURATION",
        default: Some("1s"),
        help: "The shortest keep-alive interval that a guest may set",
        concerns: Concerns::Guests,
        repeatable: false,
        apply: |s, v| duration(v).map(|d| s.keepalive_floor = d),
        check: |s| check_duration(s.keepalive_floor, &LIMIT),
    },
    Setting {
        name: "max-message-size",
        value: "SIZE",
        default: Some("16MiB"),
        help: "The largest message, both ways, unless the guest sets it",
        concerns: Concerns::Both,
        repeatable: false,
        apply: |s, v| size(v).map(|n| s.max_message_size = n),
        check: |s| check_size(s.max_message_size),
    },
    Setting {
        name: "max-message-size-limit",
        value: "SIZE",
        default: Some("64MiB"),
        help: "The largest max-message-size that a guest may set",
        concerns: Concerns::Guests,
        repeatable: false,
        apply: |s, v| size(v).map(|n| s.max_message_size_limit = n),
        check: |s| check_size(s.max_message_size_limit),
    },
    Setting {
        name: "inbound-buffer",
        value: "SIZE",
        default: Some("1MiB"),
        help: "How much is received ahead of the guest, per connection; one message may exceed it",
        concerns: Concerns::Both,
        repeatable: false,
        apply: |s, v| size(v).map(|n| s.inbound_buffer = n),
        check: |s| check_size(s.inbound_buffer),
    },
    Setting {
        name: "max-connections",
        value: "COUNT",
        default: Some("1024"),
        help: "How many connections one guest may hold",
        concerns: Concerns::Both,
        repeatable: false,
        apply: |s, v| count(v).map(|n| s.max_connections = n),
        check: |s| check_count(s.max_connections),
    },
    Setting {
        name: "max-connections-total",
        value: "COUNT",
        default: Some("16384"),
        help: "How many connections all guests of this host may hold together",
        concerns: Concerns::Both,
        repeatable: false,
        apply: |s, v| count(v).map(|n| s.max_connections_total = n),
        check: |s| check_count(s.max_connections_total),
    },
    Setting {
        name: "ca-cert",
        value: "FILE",
        default: None,
        help: "A PEM file with certificates to trust, in addition to the built-in roots and those of the system",
        concerns: Concerns::Dialled,
        repeatable: true,
        apply: |s, v| list(v, |file| file_path(file).map(|file| s.ca_cert.push(file))),
        check: ANY,
    },
    Setting {
        name: "client-cert",
        value: "FILE",
        default: None,
        help: "A PEM file with the certificate chain that identifies this host to servers; needs client-key",
        concerns: Concerns::Dialled,
        repeatable: false,
        apply: |s, v| file_path(v).map(|file| s.client_cert = Some(file)),
        check: ANY,
    },
    Setting {
        name: "client-key",
        value: "FILE",
        default: None,
        help: "A PEM file with the private key of client-cert",
        concerns: Concerns::Dialled,
        repeatable: false,
        apply: |s, v| file_path(v).map(|file| s.client_key = Some(file)),
        check: ANY,
    },
    Setting {
        name: MAY_HOLD_PASSWORD,
        value: "URL",
        default: None,
        help: "A proxy to dial through: http://[user:password@]host:port for HTTP CONNECT, socks5:// or socks5h:// for \
               SOCKS5; with socks5h the proxy resolves names",
        concerns: Concerns::Dialled,
        repeatable: false,
        apply: |s, v| v.parse().map(|proxy| s.proxy = Some(proxy)),
        check: ANY,
    },
    Setting {
        name: "proxy-dns",
        value: "SIDE",
        default: Some("local"),
        help: "Who resolves names that are dialled through a proxy: local or proxy. With proxy, the addresses cannot be \
               checked, so a rule of `allow` other than `*` has to name the host",
        concerns: Concerns::Dialled,
        repeatable: false,
        apply: |s, v| v.parse().map(|side| s.proxy_dns = side),
        check: ANY,
    },
    Setting {
        name: "no-proxy",
        value: "RULE",
        default: None,
        help: "A destination that is dialled without the proxy, written like a rule of `allow`; names match names, and \
               addresses match addresses in URLs",
        concerns: Concerns::Dialled,
        repeatable: true,
        apply: |s, v| {
            list(v, |rule| rule.parse().map(|rule| s.no_proxy.push(rule)).map_err(|e: rule::RuleError| e.to_string()))
        },
        check: ANY,
    },
    Setting {
        name: "user-agent",
        value: "TEXT",
        default: Some(USER_AGENT),
        help: "The `User-Agent` of handshakes and HTTP requests, unless the guest gives one, and of requests to the \
               proxy; empty sends none",
        concerns: Concerns::Dialled,
        repeatable: false,
        apply: |s, v| user_agent(v).map(|agent| s.user_agent = agent),
        check: ANY,
    },
];

/// The default of `user-agent`: some servers refuse requests without one.
const USER_AGENT: &str = concat!("websocket-provider/", env!("CARGO_PKG_VERSION"));

/// The setting whose value no complaint may show.
const MAY_HOLD_PASSWORD: &str = "proxy";

#[cfg(test)]
mod tests {
    use super::{value::MAX_COUNT, *};
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
            ("close-timeout", "0s", "write a duration from 1ms to 365days"),
            ("receive-wait", "366d", "write a duration from 0s to 365days"),
            ("max-message-size", "large", "16MiB"),
            ("max-connections", "-1", "whole number"),
            ("keepalive", "maybe", "true or false"),
            ("allow", "ws://example.com", "without a scheme"),
            ("proxy", "socks4://proxy:1080", "http://host:port"),
            ("proxy-dns", "remote", "local or proxy"),
            ("no-proxy", "http://proxy", "without a scheme"),
            ("allow-origin", "null", "https://example.com"),
            ("client-key", "", "file"),
            ("user-agent", "a\r\nEvil: b", "control character"),
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
        for value in [
            "https://me:secret@proxy:1080",
            "http://me:secret",
            "me:secret@proxy:3128",
            "secret",
            "http://me:sec/ret@proxy:3128",
            "http://proxy:3128\r\nsecret: x",
            "http://me:secret@proxy:0",
            "http://me:secret@pro%20xy",
            "http://me:secret@a,http://b",
            "http://proxy/secret",
            "http://proxy?secret",
            "socks5://secret@proxy",
            "socks5h://:secret@proxy",
            "socks5://secret:%ff@proxy",
            "http://me:secret%00@proxy",
            "http://me:%0D%0Asecret@proxy",
            "http://me%7F:secret@proxy",
            "http://me%C2%85:secret@proxy",
            "http://me%3Aalso:secret@proxy",
            "socks5://me:secret%0A@proxy",
            "socks5h://me%1B:secret@proxy",
        ] {
            let error = Settings::default().set("proxy", value).unwrap_err();
            let text = error.to_string();
            assert!(text.contains("`proxy`"), "{text}");
            assert!(text.contains("http://user:password@host:port") || text.contains("control character"), "{text}");
            assert!(!text.contains("secret") && !format!("{error:?}").contains("secret"), "{error:?}");
        }
    }

    #[test]
    fn proxies_speak_http_or_socks5() {
        for (url, host, port) in [
            ("http://proxy.example:3128", "proxy.example", 3128),
            ("http://proxy.example", "proxy.example", 80),
            ("http://[::1]:8080/", "::1", 8080),
            ("socks5://127.0.0.1", "127.0.0.1", 1080),
            ("socks5h://me:p%40ss@[::1]:9050", "::1", 9050),
        ] {
            let proxy: Proxy = url.parse().unwrap();
            assert_eq!(proxy.address(), (host, port), "{url}");
        }
        let tor: Proxy = "socks5h://me:p%40ss@localhost".parse().unwrap();
        assert_eq!(tor.socks_credentials(), Some(Ok(("me".to_owned(), "p@ss".to_owned()))));
        assert!(tor.resolves_names() && tor.is_socks());
        // The password may have a colon, and so may the user of SOCKS5.
        for url in ["http://me:p%3Ass@proxy", "http://me:p%FFss@proxy", "socks5://m%3Ae:p%3Ass@proxy"] {
            assert!(url.parse::<Proxy>().is_ok(), "{url}");
        }
        let long = format!("socks5://{}:p@localhost", "u".repeat(256));
        assert!(long.parse::<Proxy>().unwrap_err().contains("255 bytes"));
    }

    /// Values that each kind of setting refuses, and the ends of its range.
    #[test]
    fn every_setting_refuses_what_is_out_of_its_range() {
        let too_large = MAX_COUNT as u128 + 1;
        for setting in SETTINGS {
            let refuses = |value: &str| {
                let mut settings = Settings::default();
                match settings.set(setting.name, value) {
                    Err(error) => {
                        let text = error.to_string();
                        assert!(text.contains(setting.name), "{text}");
                        assert_eq!(settings, Settings::default(), "`{}` changed by {value:?}", setting.name);
                    }
                    Ok(()) => panic!("`{}` takes {value:?}: {settings:?}", setting.name),
                }
            };
            let takes = |value: &str| {
                let mut settings = Settings::default();
                settings.set(setting.name, value).unwrap();
            };
            for value in ["a\0b", "a\r\nb", "1s\r\n2s", "1\x1b", "a\u{85}b"] {
                refuses(value);
            }
            let out_of_range: &[&str] = match setting.value {
                "DURATION" => &["-1s", "-1", "1", "366days", "10000000000y", "1s,2s", "[1s]", "true", "1ns.5", "NaN"],
                "SIZE" => {
                    &["0", "0KiB", "-1", "-1KiB", "0.1", "2TiB", "17EiB", "1,2", "[1]", "true", "1s", "1e3", "NaN"]
                }
                "COUNT" => &["0", "-1", &too_large.to_string(), "1,2", "[1]", "true", "1.5", "1KiB", "+", "1e3"],
                "BOOL" => &["0", "1", "-1", "true,false", "[true]", "yes", "TRUE"],
                "RULE" => &["a,,b", ",", "-1:-1", "a:0", "a:65536", "[a]", "[\"a\"]", "http://a"],
                "URL" => &["0", "-1", "true", "http://", "[http://a]", "http://a:65536", "http://a:0", "ftp://a"],
                "SIDE" => &["0", "-1", "true", "local,proxy", "LOCAL", "[local]"],
                _ => &[],
            };
            out_of_range.iter().for_each(|value| refuses(value));
            match setting.value {
                "DURATION" => ["1ms", "365days"].iter().for_each(|value| takes(value)),
                "SIZE" => ["1", "1TiB"].iter().for_each(|value| takes(value)),
                "COUNT" => ["1", &MAX_COUNT.to_string()].iter().for_each(|value| takes(value)),
                _ => {}
            }
            if setting.value == "DURATION" && setting.name != "receive-wait" {
                refuses("0s");
                refuses("1us");
            }
            if ["FILE", "RULE", "URL", "DURATION", "SIZE", "COUNT", "BOOL", "SIDE"].contains(&setting.value) {
                refuses("");
                refuses("  ");
            }
        }
    }

    #[test]
    fn a_value_that_was_not_set_from_text_has_the_same_range() {
        for change in [
            (|s: &mut Settings| s.max_connections = 0) as fn(&mut Settings),
            |s| s.inbound_buffer = 0,
            |s| s.max_message_size_limit = usize::MAX,
            |s| s.close_timeout = Duration::MAX,
            |s| s.keepalive_floor = Duration::ZERO,
        ] {
            let mut settings = Settings::default();
            change(&mut settings);
            let text = settings.validate().unwrap_err().to_string();
            assert!(text.contains("is out of range: write a "), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_one_that_is_refused_changes_nothing(
            which in 0..SETTINGS.len(),
            text in prop_oneof![any::<String>(), "[0-9]{1,25} ?(ms|s|m|h|d|y|KiB|MiB|EiB|B)?"],
        ) {
            let (setting, mut settings) = (&SETTINGS[which], Settings::default());
            match settings.set(setting.name, &text) {
                Ok(()) => prop_assert!((setting.check)(&settings).is_ok()),
                Err(_) => prop_assert_eq!(settings, Settings::default()),
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
