//! What the commands that listen share: their sockets, and the flags of their certificates.

use crate::address;
use anyhow::Context;
use clap::{Arg, ArgMatches, Command};
use rustls::ServerConfig;
use std::path::PathBuf;
use websocket_listener::{Listener, tls::from_files};

/// Listens where this flag says; port 0 takes a free one.
pub(crate) async fn bind(flag: &str, address: &str) -> anyhow::Result<Listener> {
    Listener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; give --{flag} another address, or port 0 for a free port")
    })
}

/// Adds `--tls-cert` and `--tls-key`.
pub(crate) fn tls_arguments(command: Command) -> Command {
    let file = |name: &'static str, other: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("FILE").requires(other).value_parser(address::file()).help(help)
    };
    command.arg(file("tls-cert", "tls-key", "A PEM file with the certificate chain to serve TLS with")).arg(file(
        "tls-key",
        "tls-cert",
        "A PEM file with the private key of --tls-cert",
    ))
}

/// TLS with the files that the command line names, where it names some.
pub(crate) fn tls(matches: &ArgMatches) -> anyhow::Result<Option<ServerConfig>> {
    let file = |name| matches.try_get_one::<PathBuf>(name).ok().flatten();
    match (file("tls-cert"), file("tls-key")) {
        (Some(certificate), Some(key)) => Ok(Some(from_files(certificate, key)?)),
        _ => Ok(None),
    }
}
