//! What is wrong with a setting, and what was meant.

use super::{SETTINGS, Setting};

/// An invalid value, or an unknown setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingError {
    /// No setting has this name.
    #[error("there is no setting `{}`; {}", .0, suggestion(.0))]
    Unknown(String),
    /// The value cannot be used.
    #[error("`{name}` cannot be {value:?}: {reason}")]
    Value {
        /// The setting's name.
        name: &'static str,
        /// The value as given.
        value: String,
        /// What is wrong with it and what would be right.
        reason: String,
    },
    /// The value cannot be used, and may hold a password, so that it is not shown.
    #[error("`{name}` cannot be what it is set to: {reason}")]
    Hidden {
        /// The setting's name.
        name: &'static str,
        /// What would be right.
        reason: String,
    },
    /// Two settings contradict each other.
    #[error("{0}")]
    Conflict(String),
}

impl Setting {
    /// The setting whose name is so like this one that it was probably meant.
    pub fn like(name: &str) -> Option<&'static Setting> {
        let likeness = |setting: &Setting| strsim::jaro_winkler(name, setting.name);
        let nearest = SETTINGS.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        nearest.filter(|setting| likeness(setting) > 0.8)
    }
}

fn suggestion(name: &str) -> String {
    match Setting::like(name) {
        Some(Setting { name, .. }) => format!("did you mean `{name}`?"),
        None => format!("there are {}", SETTINGS.iter().map(|setting| setting.name).collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_no_setting_is_told_with_what_was_meant() {
        let told = |name: &str| SettingError::Unknown(name.to_owned()).to_string();
        assert_eq!(told("recieve-wait"), "there is no setting `recieve-wait`; did you mean `receive-wait`?");
        assert!(told("colour").starts_with("there is no setting `colour`; there are allow, allow-origin, "));
    }
}
