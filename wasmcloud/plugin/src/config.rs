//! What a workload's configuration says of its WebSockets.

use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, HashMap};
use tracing::warn;
use websocket_connection::{SETTINGS, SettingError, Settings};

/// Sets what a component's configuration names. Other plugins and the component itself read it too, so that
/// names of no setting are theirs; one that looks like a setting is worth a warning.
pub(crate) fn from_component(settings: &mut Settings, config: &HashMap<String, String>) -> Result<()> {
    for (name, value) in sorted(config) {
        match settings.set(name, value) {
            Err(SettingError::Unknown(_)) => {
                if let Some(near) = nearest(name) {
                    warn!(name, near, "the component's configuration has a name that is like a WebSocket setting's");
                }
            }
            set => set.context("the component's configuration")?,
        }
    }
    Ok(())
}

/// Sets what the configuration of an interface of this package names; nobody else reads it.
pub(crate) fn from_interface(settings: &mut Settings, config: &HashMap<String, String>) -> Result<()> {
    sorted(config).into_iter().try_for_each(|(name, value)| set(settings, name, value))
}

/// Sets one setting, as [`Settings::set`] does, for people who write its name.
///
/// # Errors
/// The message of [`SettingError`]; where no setting has the name, with the one that was meant.
pub fn set(settings: &mut Settings, name: &str, value: &str) -> Result<()> {
    match settings.set(name, value) {
        Err(error @ SettingError::Unknown(_)) => bail!("{error}; {}", suggestion(name)),
        set => Ok(set?),
    }
}

/// In an order, so that of two mistakes it is always the same one that is told.
fn sorted(config: &HashMap<String, String>) -> BTreeMap<&str, &str> {
    config.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

fn suggestion(name: &str) -> String {
    match nearest(name) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are {}", SETTINGS.iter().map(|setting| setting.name).collect::<Vec<_>>().join(", ")),
    }
}

fn nearest(name: &str) -> Option<&'static str> {
    let near = SETTINGS.iter().map(|setting| (strsim::jaro_winkler(name, setting.name), setting.name));
    let nearest = near.max_by(|a, b| a.0.total_cmp(&b.0));
    nearest.filter(|(likeness, _)| *likeness > 0.8).map(|(_, near)| near)
}
