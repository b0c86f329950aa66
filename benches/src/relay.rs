//! A typical relay over TCP with tokio, which transports are compared with.

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream};

/// Forwards bytes between its own port, which it prints in its first line, and `remote`.
pub(crate) fn run(remote: &str) -> Result<()> {
    let remote = remote.strip_prefix("tcp://").context("only tcp:// here")?.to_owned();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("listening on tcp://{}", listener.local_addr()?);
        loop {
            let (mut near, _) = listener.accept().await?;
            let remote = remote.clone();
            tokio::spawn(async move {
                let mut far = TcpStream::connect(remote).await?;
                near.set_nodelay(true)?;
                far.set_nodelay(true)?;
                tokio::io::copy_bidirectional(&mut near, &mut far).await
            });
        }
    })
}
