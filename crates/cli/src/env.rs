//! `--env`: what a guest gets as its environment.

use clap::Args;

/// A variable and its value.
pub(crate) type Variable = (String, String);

#[derive(Args)]
pub(crate) struct Environment {
    /// An environment variable for the guest; without a value, this program's own
    #[arg(long = "env", value_name = "NAME[=VALUE]", value_parser = variable)]
    pub(crate) variables: Vec<Variable>,
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
