//! What a link's configuration says of its WebSockets: the settings of the core, and one of the lattice's own.

use anyhow::{Context, Result, anyhow};
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};
use tracing::warn;
use websocket_connection::{SettingError, Settings};

/// The name of [`LinkConfig::idle_timeout`].
const IDLE_TIMEOUT: &str = "idle-timeout";

/// The longest duration, which is that of the core's settings.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What a link grants, and for how long.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LinkConfig {
    pub(crate) settings: Settings,
    /// How long a connection may go without a call before it is closed.
    pub(crate) idle_timeout: Duration,
}

impl LinkConfig {
    /// Reads it. `rpc_timeout` is what the host waits for an answer of the lattice: half of it is the longest that
    /// `receive` waits.
    ///
    /// # Errors
    /// What is wrong, with the name of the setting.
    pub(crate) fn new(config: &HashMap<String, String>, rpc_timeout: Duration) -> Result<Self> {
        let (mut settings, mut idle_timeout) = (Settings::default(), Duration::from_secs(300));
        // In an order, so that of two mistakes it is always the same one that is told.
        for (name, value) in config.iter().collect::<BTreeMap<_, _>>() {
            if name == IDLE_TIMEOUT {
                idle_timeout = idle(value)?;
                continue;
            }
            settings.set(name, value).map_err(|error| match error {
                SettingError::Unknown(_) => anyhow!("{error} A link has `{IDLE_TIMEOUT}` as well."),
                error => error.into(),
            })?;
        }
        settings.validate()?;
        let longest = rpc_timeout / 2;
        if settings.receive_wait > longest {
            warn!(setting = ?settings.receive_wait, ?longest, "receive waits no longer than half the host's RPC timeout");
            settings.receive_wait = longest;
        }
        Ok(LinkConfig { settings, idle_timeout })
    }
}

fn idle(value: &str) -> Result<Duration> {
    humantime::parse_duration(value.trim())
        .ok()
        .filter(|idle| (Duration::from_secs(1)..=LONGEST).contains(idle))
        .with_context(|| {
            format!("`{IDLE_TIMEOUT}` cannot be {value:?}: write a duration from 1s to 365days, such as 5m")
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const RPC: Duration = Duration::from_secs(2);

    fn read(config: &[(&str, &str)]) -> Result<LinkConfig, String> {
        let config = config.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        LinkConfig::new(&config, RPC).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_link_has_the_settings_of_the_core_and_its_own() {
        let link =
            read(&[("allow", "localhost, 10.0.0.0/8"), ("receive-wait", "0s"), ("idle-timeout", "90s")]).unwrap();
        assert_eq!((link.settings.allow.len(), link.settings.receive_wait), (2, Duration::ZERO));
        assert_eq!(link.idle_timeout, Duration::from_secs(90));
        let default = read(&[]).unwrap();
        assert_eq!(default.settings, Settings::default());
        assert_eq!(default.idle_timeout, Duration::from_secs(300));
    }

    #[test]
    fn receive_waits_well_under_the_host_s_limit() {
        assert_eq!(read(&[("receive-wait", "1m")]).unwrap().settings.receive_wait, RPC / 2);
    }

    #[test]
    fn a_mistake_is_told_with_its_remedy() {
        for (name, value, why) in [
            ("recieve-wait", "1s", "there is no setting `recieve-wait`; did you mean `receive-wait`? A link has"),
            ("idle-timeout", "never", "`idle-timeout` cannot be \"never\": write a duration from 1s to 365days"),
            ("idle-timeout", "10ms", "`idle-timeout` cannot be \"10ms\""),
            ("idle-timeout", "366days", "`idle-timeout` cannot be \"366days\""),
            ("allow", "http://x", "`allow` cannot be"),
            ("connect-timeout", "5m", "connect-timeout is over connect-timeout-max"),
        ] {
            let told = read(&[(name, value)]).unwrap_err();
            assert!(told.contains(why), "{told}");
        }
    }
}
