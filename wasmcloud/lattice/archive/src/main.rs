//! `archive BINARY ARCHIVE.par.gz`: a provider archive for x86_64-linux, signed with keys that are made for it.
//! Whoever distributes it signs it with their own, as with `wash par`.

use anyhow::{Context, Result, anyhow, bail};
use nkeys::KeyPair;
use provider_archive::ProviderArchive;

/// What wasmCloud calls the machine that the binary is for.
const TARGET: &str = "x86_64-linux";

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [binary, archive] = arguments.as_slice() else { bail!("usage: archive BINARY ARCHIVE.par.gz") };
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        bail!("the binary here is not for {TARGET}: build it on such a machine");
    }
    let bytes = tokio::fs::read(binary).await.with_context(|| format!("cannot read {}", binary.display()))?;
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let mut par = ProviderArchive::new("WebSockets", "wasmcloud-websocket", None, Some(version));
    par.add_library(TARGET, &bytes).map_err(|error| anyhow!("{error}"))?;
    let written = par.write(archive, &KeyPair::new_account(), &KeyPair::new_service(), true).await;
    written.map_err(|error| anyhow!("cannot write {}: {error}", archive.display()))
}
