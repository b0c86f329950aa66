//! What the commands that listen share: their sockets, and the flags of their certificates.

use crate::address;
use anyhow::Context;
use clap::Args;
use rustls::ServerConfig;
use std::path::PathBuf;
use websocket_listener::{Listener, tls::from_files};

/// Listens where this flag says; port 0 takes a free one.
pub(crate) async fn bind(flag: &str, address: &str) -> anyhow::Result<Listener> {
    Listener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; give --{flag} another address, or port 0 for a free port")
    })
}

#[derive(Args, Default)]
pub(crate) struct TlsFiles {
    /// A PEM file with the certificate chain to serve TLS with
    #[arg(long, value_name = "FILE", requires = "tls_key", value_parser = address::file())]
    tls_cert: Option<PathBuf>,
    /// A PEM file with the private key of --tls-cert
    #[arg(long, value_name = "FILE", requires = "tls_cert", value_parser = address::file())]
    tls_key: Option<PathBuf>,
}

impl TlsFiles {
    /// Whether the command line names files. It names both or none.
    pub(crate) fn are_given(&self) -> bool {
        self.tls_cert.is_some()
    }

    /// TLS with the files that the command line names, where it names some.
    pub(crate) fn config(&self) -> anyhow::Result<Option<ServerConfig>> {
        match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => Ok(Some(from_files(certificate, key)?)),
            _ => Ok(None),
        }
    }
}
