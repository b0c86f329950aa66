//! fastwebsockets.

use super::{Stream, dial, native_link};
use anyhow::{Context, Result, bail};
use bench_exchange::{Link, Target};
use bytes::Bytes;
use fastwebsockets::{FragmentCollector, Frame, OpCode, Payload, handshake};
use http_body_util::Empty;
use hyper::{Request, header, upgrade::Upgraded};
use hyper_util::rt::{TokioExecutor, TokioIo};

pub(super) struct Socket {
    socket: FragmentCollector<TokioIo<Upgraded>>,
    payload: Vec<u8>,
}

impl Link for Socket {
    async fn connect(target: &Target, size: usize) -> Result<Self> {
        let stream: Stream = dial(target).await?;
        let (_, rest) = target.url.split_once("://").context("a URL has a scheme")?;
        let host = rest.split('/').next().unwrap_or(rest);
        let request = Request::get(&target.url)
            .header(header::HOST, host)
            .header(header::UPGRADE, "websocket")
            .header(header::CONNECTION, "upgrade")
            .header(header::SEC_WEBSOCKET_KEY, handshake::generate_key())
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .body(Empty::<Bytes>::new())?;
        let (socket, _) = handshake::client(&TokioExecutor::new(), request, stream).await?;
        Ok(Socket { socket: FragmentCollector::new(socket), payload: vec![7; size] })
    }

    async fn send(&mut self) -> Result<()> {
        // It masks a frame in place, so a borrowed payload would stay masked.
        Ok(self.socket.write_frame(Frame::binary(Payload::Owned(self.payload.clone()))).await?)
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    async fn receive(&mut self) -> Result<usize> {
        loop {
            let frame = self.socket.read_frame().await?;
            match frame.opcode {
                OpCode::Binary => return Ok(frame.payload.len()),
                OpCode::Close => bail!("the peer closed the connection"),
                _ => {}
            }
        }
    }

    async fn close(mut self) -> Result<()> {
        self.socket.write_frame(Frame::close(1000, b"")).await?;
        while !matches!(self.socket.read_frame().await?.opcode, OpCode::Close) {}
        Ok(())
    }
}

native_link!(Socket);
