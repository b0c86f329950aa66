//! `--env`: what a guest gets as its environment.

use clap::{Arg, ArgAction, ArgMatches};

/// A variable and its value.
pub(crate) type Variable = (String, String);

pub(crate) fn argument() -> Arg {
    Arg::new("env")
        .long("env")
        .value_name("NAME[=VALUE]")
        .action(ArgAction::Append)
        .value_parser(variable)
        .help("An environment variable for the guest; without a value, this program's own")
}

/// The variables that the command line names.
pub(crate) fn variables(matches: &ArgMatches) -> Vec<Variable> {
    matches.get_many("env").into_iter().flatten().cloned().collect()
}

fn variable(text: &str) -> Result<Variable, String> {
    match text.split_once('=') {
        Some(("", _)) => Err("a variable needs a name".to_owned()),
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => match std::env::var(text) {
            Ok(value) => Ok((text.to_owned(), value)),
            Err(error) => Err(format!("{error}; give a value with {text}=VALUE")),
        },
    }
}
