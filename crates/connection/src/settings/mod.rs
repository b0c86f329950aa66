//! Every limit and default of the host, once: programs make their flags, files and help of
//! [`SETTINGS`], and hosts that hand over text set a [`Settings`] by name.

mod error;
pub(crate) mod files;
pub(crate) mod origin;
pub(crate) mod rule;
mod table;
#[cfg(test)]
mod tests;
mod value;

pub use error::SettingError;
pub use table::{Concerns, SETTINGS, Setting};
pub(crate) use value::credential_fault;
pub use value::{Proxy, ProxyDns, parse_size, parse_time_limit};

use http::HeaderValue;
use origin::OriginRule;
use rule::Rule;
use std::{path::PathBuf, time::Duration};
use table::{MAY_HOLD_PASSWORD, USER_AGENT};
use websocket_protocol::deflate;

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
    /// Largest frame in bytes, both ways; `None` for no limit but that of messages. Larger messages are sent in fragments.
    pub max_frame_size: Option<usize>,
    /// Bytes of one fragment of a larger message that is sent; `None` sends each message as one frame.
    pub fragment_size: Option<usize>,
    /// Bytes received ahead of the guest, per connection; one message may exceed it.
    pub inbound_buffer: usize,
    /// Whether permessage-deflate is offered to servers, where the guest does not say, and accepted from clients.
    pub compress: bool,
    /// Messages of fewer bytes are sent uncompressed.
    pub compress_min_size: usize,
    /// The level of compression, 1 (fastest) to 9 (smallest).
    pub compress_level: u8,
    /// Whether compressed messages may refer to earlier ones.
    pub compress_takeover: bool,
    /// The largest window, in bits, that either end compresses with: 9 to 15.
    pub compress_window_bits: u8,
    /// Bytes that earlier messages of all connections may take with `compress_takeover`.
    pub compress_memory: usize,
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
            max_frame_size: None,
            fragment_size: None,
            inbound_buffer: MIB,
            compress: false,
            compress_min_size: 256,
            compress_level: 6,
            compress_takeover: false,
            compress_window_bits: deflate::MAX_WINDOW_BITS,
            compress_memory: 64 * MIB,
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

impl Settings {
    /// What is offered and accepted of permessage-deflate.
    pub(crate) fn compression(&self) -> deflate::Options {
        let mut options = deflate::Options::default();
        (options.compress_takeover, options.inflate_takeover) = (self.compress_takeover, self.compress_takeover);
        options.compress_window_bits = self.compress_window_bits;
        options.inflate_window_bits = self.compress_window_bits;
        (options.level, options.min_size) = (self.compress_level, self.compress_min_size);
        options
    }

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
    /// respect their limits, that files which go together are there together, and that this build has what they need.
    ///
    /// # Errors
    /// [`SettingError::Conflict`] that names the setting, or both.
    pub fn validate(&self) -> Result<(), SettingError> {
        for setting in SETTINGS {
            let range = (setting.check)(self);
            range.map_err(|reason| SettingError::Conflict(format!("`{}` is out of range: {reason}", setting.name)))?;
        }
        let of_tls = !self.ca_cert.is_empty() || self.client_cert.is_some() || self.client_key.is_some();
        if of_tls && !cfg!(feature = "tls") {
            let why = "ca-cert, client-cert and client-key need TLS, which this program was built without; leave them out, or \
                       turn on the feature `tls` of websocket-connection";
            return Err(SettingError::Conflict(why.to_owned()));
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
