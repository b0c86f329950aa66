//! What a workload's configuration says of its WebSockets.

use anyhow::{Context, Result};
use std::collections::{BTreeMap, HashMap};
use tracing::warn;
use websocket_connection::{Setting, SettingError, Settings};

/// Sets what a component's configuration names. Other plugins and the component itself read it too, so that
/// names of no setting are theirs; one that looks like a setting is worth a warning.
pub(crate) fn from_component(settings: &mut Settings, config: &HashMap<String, String>) -> Result<()> {
    for (name, value) in sorted(config) {
        match settings.set(name, value) {
            Err(SettingError::Unknown(_)) => {
                if let Some(Setting { name: near, .. }) = Setting::like(name) {
                    warn!(name, near, "the component's configuration has a name that is like a WebSocket setting's");
                }
            }
            set => set.context("the component's configuration")?,
        }
    }
    Ok(())
}

/// Sets what the configuration of an interface of this package names; nobody else reads it.
pub(crate) fn from_interface(settings: &mut Settings, config: &HashMap<String, String>) -> Result<(), SettingError> {
    sorted(config).into_iter().try_for_each(|(name, value)| settings.set(name, value))
}

/// In an order, so that of two mistakes it is always the same one that is told.
fn sorted(config: &HashMap<String, String>) -> BTreeMap<&str, &str> {
    config.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}
