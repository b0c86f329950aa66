//! Settings from flags and from a TOML file, both made of the core's one list.

use anyhow::{Context, anyhow, bail};
use clap::{Arg, ArgAction, ArgMatches, Command, builder::TypedValueParser, error::ErrorKind};
use std::{ffi::OsStr, path::PathBuf};
use websocket_provider::{SETTINGS, Setting, Settings};

/// Adds `--config` and a flag for every setting that concerns the command.
pub(crate) fn arguments(command: Command, concerns: impl Fn(&Setting) -> bool) -> Command {
    command
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .value_parser(clap::value_parser!(PathBuf))
                .help("A TOML file with settings, each by the name of its flag; flags win, and lists add up"),
        )
        .next_help_heading("Settings")
        .args(SETTINGS.iter().filter(|setting| concerns(setting)).map(argument))
}

/// The flag of one setting.
pub(crate) fn flag(name: &str) -> Option<Arg> {
    SETTINGS.iter().find(|setting| setting.name == name).map(argument)
}

fn argument(setting: &'static Setting) -> Arg {
    let default = setting.default.map(|default| format!(" [default: {default}]")).unwrap_or_default();
    Arg::new(setting.name)
        .long(setting.name)
        .value_name(setting.value)
        .help(format!("{}{default}", setting.help))
        .action(if setting.repeatable { ArgAction::Append } else { ArgAction::Set })
        .value_parser(Check(setting))
}

/// Whether a flag's value can be used; the complaint is the setting's own, since clap's shows every value.
#[derive(Clone)]
struct Check(&'static Setting);

impl TypedValueParser for Check {
    type Value = String;

    fn parse_ref(&self, command: &Command, _: Option<&Arg>, value: &OsStr) -> Result<String, clap::Error> {
        let invalid = |why: String| clap::Error::raw(ErrorKind::ValueValidation, format!("{why}\n")).with_cmd(command);
        let text = value.to_str().ok_or_else(|| invalid(format!("`{}` is not UTF-8", self.0.name)))?;
        match Settings::default().set(self.0.name, text) {
            Ok(()) => Ok(text.to_owned()),
            Err(error) => Err(invalid(error.to_string())),
        }
    }
}

/// The settings that the command line asks for, those of its file included.
pub(crate) fn settings(matches: &ArgMatches) -> anyhow::Result<Settings> {
    let mut settings = Settings::default();
    if let Some(path) = matches.get_one::<PathBuf>("config") {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the configuration file {}", path.display()))?;
        from_toml(&mut settings, &text).with_context(|| format!("in the configuration file {}", path.display()))?;
    }
    for setting in SETTINGS {
        // A command has no flag for what does not concern it.
        for value in matches.try_get_many::<String>(setting.name).ok().flatten().into_iter().flatten() {
            settings.set(setting.name, value)?;
        }
    }
    Ok(settings)
}

fn from_toml(settings: &mut Settings, text: &str) -> anyhow::Result<()> {
    let table: toml::Table = text.parse().map_err(|error| not_toml(&error, text))?;
    for (name, value) in &table {
        for text in texts(name, value)? {
            settings.set(name, &text)?;
        }
    }
    Ok(())
}

/// What is wrong where, without the line itself, which may hold a password.
fn not_toml(error: &toml::de::Error, text: &str) -> anyhow::Error {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    anyhow!("line {} is no TOML: {}", before.matches('\n').count() + 1, error.message())
}

/// A value as the text that a flag would have.
fn texts(name: &str, value: &toml::Value) -> anyhow::Result<Vec<String>> {
    Ok(match value {
        toml::Value::String(text) => vec![text.clone()],
        toml::Value::Integer(number) => vec![number.to_string()],
        toml::Value::Boolean(on) => vec![on.to_string()],
        toml::Value::Array(values) => {
            let nested: Result<Vec<_>, _> = values.iter().map(|value| texts(name, value)).collect();
            nested?.concat()
        }
        _ => bail!("`{name}` is a {}; write a string, a number, true or false, or a list of strings", value.type_str()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, String> {
        let mut settings = Settings::default();
        from_toml(&mut settings, text).map(|()| settings).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_file_takes_values_in_the_types_of_toml() {
        let settings = parse(
            "allow = [\"localhost\", \"*.example.com:443\"]\nmax-message-size = 4096\nkeepalive = false\n\
             receive-wait = \"5s\"",
        )
        .unwrap();
        assert_eq!((settings.allow.len(), settings.max_message_size, settings.keepalive), (2, 4096, false));
    }

    #[test]
    fn a_typo_is_named_with_what_was_meant() {
        assert!(parse("recieve-wait = \"1s\"").unwrap_err().contains("did you mean `receive-wait`?"));
        assert!(parse("zzz = 1").unwrap_err().contains("there are allow, allow-origin"));
        assert!(parse("receive-wait = \"1x\"").unwrap_err().contains("500ms"));
        assert!(parse("[allow]\na = 1").unwrap_err().contains("is a table"));
        assert!(parse("allow = [").unwrap_err().contains("line 1"));
    }

    #[test]
    fn a_complaint_shows_no_password() {
        for value in
            ["\"socks5://me:secret@proxy\"", "\"http://me:secret@proxy", "{ url = \"http://me:secret@proxy\" }"]
        {
            let why = parse(&format!("\nproxy = {value}")).unwrap_err();
            assert!(!why.contains("secret"), "{why}");
        }
        let command = arguments(Command::new("test"), |_| true);
        let error = command.try_get_matches_from(["test", "--proxy", "socks5://me:secret@proxy"]).unwrap_err();
        let why = error.render().to_string();
        assert!(why.contains("http://host:port") && !why.contains("secret"), "{why}");
        assert_eq!(error.exit_code(), 2);
    }
}
