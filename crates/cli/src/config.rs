//! Settings from flags and from a TOML file, both made of the core's one list.

use crate::{Usage, address};
use anyhow::{Context, anyhow, bail};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, builder::TypedValueParser, error::ErrorKind};
use std::{
    ffi::OsStr,
    marker::PhantomData,
    path::{Path, PathBuf},
};
use websocket_connection::read_file;
use websocket_provider::{SETTINGS, Setting, SettingError, Settings};

/// The largest configuration file, in bytes.
const MAX_CONFIG: usize = 1024 * 1024;

/// The settings that a command has flags for.
pub(crate) trait Scope {
    fn has(setting: &Setting) -> bool;
}

/// `--config`, and a flag for each setting of a scope.
pub(crate) struct SettingFlags<S> {
    config: Option<PathBuf>,
    /// Name and value of each flag that is given, in the order of [`SETTINGS`].
    values: Vec<(&'static str, String)>,
    scope: PhantomData<S>,
}

impl<S: Scope> Args for SettingFlags<S> {
    fn augment_args(command: Command) -> Command {
        command
            .arg(
                Arg::new("config").long("config").value_name("FILE").value_parser(address::file()).help(
                    "A TOML file with settings, named like their flags; flags override it, and lists are combined",
                ),
            )
            .next_help_heading("Settings")
            .args(SETTINGS.iter().filter(|setting| S::has(setting)).map(flag))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<S: Scope> FromArgMatches for SettingFlags<S> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut values = Vec::new();
        for setting in SETTINGS.iter().filter(|setting| S::has(setting)) {
            let given = matches.get_many::<String>(setting.name).into_iter().flatten();
            values.extend(given.map(|value| (setting.name, value.clone())));
        }
        Ok(SettingFlags { config: matches.get_one("config").cloned(), values, scope: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn flag(setting: &'static Setting) -> Arg {
    let default = setting.default.map(|default| format!(" [default: {default}]")).unwrap_or_default();
    Arg::new(setting.name)
        .long(setting.name)
        .value_name(setting.value)
        .help(format!("{}{default}", setting.help))
        .action(if setting.repeatable { ArgAction::Append } else { ArgAction::Set })
        .value_parser(checked(setting.name))
}

/// Reads a value of the setting of this name, and leaves it text.
pub(crate) fn checked(name: &'static str) -> impl TypedValueParser<Value = String> {
    Check(name)
}

/// Whether a flag's value can be used; the complaint is the setting's own, since clap's shows every value.
#[derive(Clone)]
struct Check(&'static str);

impl TypedValueParser for Check {
    type Value = String;

    fn parse_ref(&self, command: &Command, _: Option<&Arg>, value: &OsStr) -> Result<String, clap::Error> {
        let invalid = |why: String| clap::Error::raw(ErrorKind::ValueValidation, format!("{why}\n")).with_cmd(command);
        let text = value.to_str().ok_or_else(|| invalid(format!("`{}` is not UTF-8", self.0)))?;
        match Settings::default().set(self.0, text) {
            Ok(()) => Ok(text.to_owned()),
            Err(error) => Err(invalid(error.to_string())),
        }
    }
}

impl<S: Scope> SettingFlags<S> {
    /// The settings that the command line asks for, those of its file included.
    ///
    /// # Errors
    /// [`Usage`] for values that are wrong, or that contradict each other. A file that cannot be read is another error.
    pub(crate) fn settings(&self) -> anyhow::Result<Settings> {
        let file = self.config.as_deref().map(text_of).transpose()?;
        self.read(file.as_deref()).map_err(|error| Usage(format!("{error:#}")).into())
    }

    fn read(&self, file: Option<&str>) -> anyhow::Result<Settings> {
        let mut settings = Settings::default();
        if let (Some(path), Some(text)) = (&self.config, file) {
            from_toml(&mut settings, text).with_context(|| format!("in the configuration file {}", path.display()))?;
        }
        for (name, value) in &self.values {
            settings.set(name, value)?;
        }
        lift_limits(&mut settings, |name| SETTINGS.iter().any(|setting| setting.name == name && S::has(setting)));
        settings.validate()?;
        Ok(settings)
    }
}

/// The text of a configuration file.
fn text_of(path: &Path) -> anyhow::Result<String> {
    let shown = path.display();
    let bytes = read_file(path, MAX_CONFIG).with_context(|| format!("cannot read the configuration file {shown}"))?;
    String::from_utf8(bytes).map_err(|_| anyhow!("the configuration file {shown} is not UTF-8"))
}

/// Where a command has no flag for a limit of what guests may ask for, none asks, and nothing conflicts with it.
fn lift_limits(settings: &mut Settings, has_flag: impl Fn(&str) -> bool) {
    if !has_flag("connect-timeout-max") {
        settings.connect_timeout_max = settings.connect_timeout_max.max(settings.connect_timeout);
    }
    if !has_flag("keepalive-floor") {
        settings.keepalive_floor = settings.keepalive_floor.min(settings.keepalive_interval);
    }
    if !has_flag("max-message-size-limit") {
        settings.max_message_size_limit = settings.max_message_size_limit.max(settings.max_message_size);
    }
    if !has_flag("max-connections") {
        settings.max_connections = settings.max_connections_total;
    }
}

fn from_toml(settings: &mut Settings, text: &str) -> anyhow::Result<()> {
    let table: toml::Table = text.parse().map_err(|error| not_toml(&error, text))?;
    for (name, value) in &table {
        let setting = SETTINGS.iter().find(|setting| setting.name == name);
        let setting = setting.ok_or_else(|| SettingError::Unknown(name.clone()))?;
        for text in texts(setting, value)? {
            settings.set(name, &text)?;
        }
    }
    Ok(())
}

/// What is wrong where, without the line itself, which may hold a password.
fn not_toml(error: &toml::de::Error, text: &str) -> anyhow::Error {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    anyhow!("line {} is not valid TOML: {}", before.matches('\n').count() + 1, error.message())
}

/// A value as the texts that flags would have: a list has one for each element, where the setting may be repeated.
fn texts(setting: &Setting, value: &toml::Value) -> anyhow::Result<Vec<String>> {
    match value {
        toml::Value::Array(values) if setting.repeatable => values.iter().map(|value| text(setting, value)).collect(),
        value => Ok(vec![text(setting, value)?]),
    }
}

fn text(setting: &Setting, value: &toml::Value) -> anyhow::Result<String> {
    match (value, setting.value) {
        (toml::Value::String(text), _) => Ok(text.clone()),
        (toml::Value::Integer(number), "SIZE" | "COUNT") => Ok(number.to_string()),
        (toml::Value::Boolean(on), "BOOL") => Ok(on.to_string()),
        (value, kind) => {
            let right = match kind {
                "SIZE" | "COUNT" => "a number, or a string",
                "BOOL" => "true or false",
                "DURATION" => "a string such as \"500ms\", \"30s\" or \"2m\"",
                _ if setting.repeatable => "a string, or a list of strings",
                _ => "a string",
            };
            // The value itself may hold a password.
            bail!("`{}` cannot be of the type {}: write {right}", setting.name, value.type_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Dialling;
    use clap::Parser;
    use std::time::Duration;

    #[derive(Parser)]
    struct Test {
        #[command(flatten)]
        flags: SettingFlags<Dialling>,
    }

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
        assert!(parse("[allow]\na = 1").unwrap_err().contains("the type table"));
        assert!(parse("allow = [").unwrap_err().contains("line 1"));
    }

    #[test]
    fn every_setting_refuses_values_of_other_types() {
        for setting in SETTINGS {
            let number = ["SIZE", "COUNT"].contains(&setting.value);
            let values = [
                ("0", true),
                ("-1", true),
                ("9223372036854775807", true),
                ("1", !number),
                ("1.5", true),
                ("nan", true),
                ("true", setting.value != "BOOL"),
                ("[true, false]", true),
                ("[]", !setting.repeatable),
                ("[[]]", true),
                ("[\"\"]", true),
                ("1979-05-27", true),
                ("{ a = 1 }", true),
                ("\"a\\u0000b\"", true),
                ("\"a\\r\\nb\"", true),
            ];
            for (value, refused) in values {
                let read = parse(&format!("{} = {value}", setting.name));
                assert_eq!(read.is_err(), refused, "{} = {value}: {read:?}", setting.name);
                if let Err(why) = read {
                    assert!(why.contains(setting.name), "{why}");
                }
            }
        }
        assert_eq!(parse("allow = []"), Ok(Settings::default()));
    }

    #[test]
    fn the_error_of_a_missing_file_names_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let large = folder.path().join("large.toml");
        std::fs::write(&large, vec![b'#'; MAX_CONFIG + 1]).unwrap();
        let latin = folder.path().join("latin.toml");
        std::fs::write(&latin, b"allow = \"b\xfccher.example\"").unwrap();
        let mut paths = vec![(folder.path(), "directory"), (&large, "more than 1048576 bytes"), (&latin, "not UTF-8")];
        if cfg!(unix) {
            paths.push((std::path::Path::new("/dev/zero"), "more than 1048576 bytes"));
        }
        for (path, why) in paths {
            let test = Test::parse_from([OsStr::new("test"), OsStr::new("--config"), path.as_os_str()]);
            let told = format!("{:#}", test.flags.settings().unwrap_err());
            assert!(told.contains(&path.display().to_string()) && told.contains(why), "{told}");
        }
    }

    /// What a shell's `<(command)` names.
    #[cfg(unix)]
    #[test]
    fn a_pipe_is_read_like_a_file() {
        use std::{io::Write, os::fd::AsRawFd};
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"receive-wait = \"5s\"").unwrap();
        drop(writer);
        let path = format!("/dev/fd/{}", reader.as_raw_fd());
        let test = Test::parse_from(["test", "--config", &path]);
        assert_eq!(test.flags.settings().unwrap().receive_wait, Duration::from_secs(5));
    }

    #[test]
    fn a_complaint_shows_no_password() {
        for value in
            ["\"socks4://me:secret@proxy\"", "\"http://me:secret@proxy", "{ url = \"http://me:secret@proxy\" }"]
        {
            let why = parse(&format!("\nproxy = {value}")).unwrap_err();
            assert!(!why.contains("secret"), "{why}");
        }
        let parsed = Test::try_parse_from(["test", "--proxy", "socks4://me:secret@proxy"]);
        let error = parsed.err().expect("it is not a proxy");
        let why = error.render().to_string();
        assert!(why.contains("http://host:port") && !why.contains("secret"), "{why}");
        assert_eq!(error.exit_code(), 2);
    }
}
