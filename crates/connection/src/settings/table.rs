//! The table of settings: names, help texts, defaults, and how each value is read and checked.

use super::{
    Settings,
    rule::RuleError,
    value::{
        LEVEL, LIMIT, WAIT, WINDOW_BITS, boolean, check_count, check_duration, check_number, check_size, count,
        duration, file_path, list, number, size, user_agent,
    },
};
use std::fmt;

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
    pub(super) apply: fn(&mut Settings, &str) -> Result<(), String>,
    /// Whether the value is in its range.
    pub(super) check: fn(&Settings) -> Result<(), String>,
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
        apply: |s, v| list(v, |rule| rule.parse().map(|rule| s.allow.push(rule)).map_err(|e: RuleError| e.to_string())),
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
        apply: |s, v| boolean(v).map(|on| s.keepalive = on),
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
        name: "max-frame-size",
        value: "SIZE",
        default: None,
        help: "The largest frame, both ways; a larger message is sent in fragments. Without a value, only \
               max-message-size limits frames",
        concerns: Concerns::Both,
        repeatable: false,
        apply: |s, v| size(v).map(|n| s.max_frame_size = Some(n)),
        check: |s| s.max_frame_size.map_or(Ok(()), check_size),
    },
    Setting {
        name: "fragment-size",
        value: "SIZE",
        default: None,
        help: "Messages larger than this are sent in fragments of this size, with pings and pongs between them. \
               Without a value, each message is one frame. AWS API Gateway accepts frames of 32KiB at most",
        concerns: Concerns::Both,
        repeatable: false,
        apply: |s, v| size(v).map(|n| s.fragment_size = Some(n)),
        check: |s| s.fragment_size.map_or(Ok(()), check_size),
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
        name: "compress",
        value: "BOOL",
        default: Some("false"),
        help: "Whether messages are compressed (permessage-deflate) when the peer supports it: offered to servers, accepted \
               from clients",
        concerns: Concerns::Both,
        repeatable: false,
        apply: |s, v| boolean(v).map(|on| s.compress = on),
        check: ANY,
    },
    Setting {
        name: "compress-min-size",
        value: "SIZE",
        default: Some("256"),
        help: "Smaller messages are sent uncompressed",
        concerns: Concerns::Both,
        repeatable: false,
        apply: |s, v| size(v).map(|n| s.compress_min_size = n),
        check: |s| check_size(s.compress_min_size),
    },
    Setting {
        name: "compress-level",
        value: "NUMBER",
        default: Some("6"),
        help: "The level of compression, from 1 (fastest) to 9 (smallest)",
        concerns: Concerns::Both,
        repeatable: false,
        apply: |s, v| number(v, &LEVEL).map(|n| s.compress_level = n),
        check: |s| check_number(s.compress_level, &LEVEL),
    },
    Setting {
        name: "compress-takeover",
        value: "BOOL",
        default: Some("false"),
        help: "Whether compressed messages may refer to earlier ones, which makes small messages smaller, and costs each \
               connection up to 36 KiB",
        concerns: Concerns::Both,
        repeatable: false,
        apply: |s, v| boolean(v).map(|on| s.compress_takeover = on),
        check: ANY,
    },
    Setting {
        name: "compress-window-bits",
        value: "NUMBER",
        default: Some("15"),
        help: "The largest window that either end compresses with, from 9 (512 bytes) to 15 (32 KiB). With less than 15, a \
               server that supports only 15 declines compression",
        concerns: Concerns::Both,
        repeatable: false,
        apply: |s, v| number(v, &WINDOW_BITS).map(|n| s.compress_window_bits = n),
        check: |s| check_number(s.compress_window_bits, &WINDOW_BITS),
    },
    Setting {
        name: "compress-memory",
        value: "SIZE",
        default: Some("64MiB"),
        help: "How much compress-takeover may take for all connections of this host; then new ones do without",
        concerns: Concerns::Both,
        repeatable: false,
        apply: |s, v| size(v).map(|n| s.compress_memory = n),
        check: |s| check_size(s.compress_memory),
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
            list(v, |rule| rule.parse().map(|rule| s.no_proxy.push(rule)).map_err(|e: RuleError| e.to_string()))
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
pub(super) const USER_AGENT: &str = concat!("websocket-provider/", env!("CARGO_PKG_VERSION"));

/// The setting whose value no error may show.
pub(super) const MAY_HOLD_PASSWORD: &str = "proxy";
