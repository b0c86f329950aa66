//! A server that misbehaves, in one way at a time.

mod scenario;

pub use scenario::{LIMITS, Scenario, comes_true, comes_true_within, compression_scenarios, scenarios};

use std::io;
use test_peer::{Authority, BINARY, CLOSE, COMPRESSION, CompressionCase, PING, Peer, TEXT, close_payload, frame};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest, copy, sink},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A way to misbehave. Faults whose names do not mention an earlier step happen in an open connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    RefusesTcp,
    EndsBeforeHandshake,
    StallsBeforeHandshake,
    StallsWithinHandshake,
    AnswersWithoutEnd,
    AnswersGarbage,
    Redirects,
    Refuses(u16),
    RefusesWithEndlessBody,
    RefusesWithStalledBody,
    PicksUnofferedSubprotocol,
    AddsExtension,
    AnswersOfferWith(&'static str),
    WrongAcceptKey,
    ExpiredCertificate,
    WrongNameCertificate,
    UnknownAuthority,
    StallsWithinTls,
    AnswersTlsWithText,
    EndsTlsWithoutNotice,
    StallsAfterHandshake,
    AnswersByteByByte,
    MaskedFrame,
    ReservedBit(u8),
    ReservedOpcode,
    Compresses(CompressionCase),
    InvalidText,
    OversizeLength,
    OverTheLimit,
    EndlessFragments,
    FragmentsBetweenPings,
    CloseWithoutCode,
    CloseWithBadCode,
    CloseWithHalfACode,
    CloseWithCutReason,
    BurstThenClose,
    CloseThenMore,
    CloseThenStall,
    ResetsMidFrame,
    EndsMidFrame,
    EndsWithoutClose,
    NeverReads,
    ReadsByteByByte,
    NeverAnswersClose,
    FloodsAfterClose,
}

impl Fault {
    fn is_of_tls(self) -> bool {
        use Fault::*;
        let ours = [ExpiredCertificate, WrongNameCertificate, UnknownAuthority, StallsWithinTls, EndsTlsWithoutNotice];
        ours.contains(&self) || self == AnswersTlsWithText
    }
}

/// A server with a fault, for one client.
struct FaultServer {
    /// Where it listens.
    url: String,
    port: u16,
    served: JoinHandle<io::Result<Option<Vec<u8>>>>,
}

impl FaultServer {
    /// Listens on a free port of loopback. Certificates are signed by `known`, except the one of an unknown authority.
    async fn start(fault: Fault, known: &Authority) -> FaultServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let port = listener.local_addr().expect("it listens").port();
        let past = |params: &mut rcgen::CertificateParams| params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        let tls = match fault {
            Fault::ExpiredCertificate => known.acceptor(known.issue(&["localhost"], past), false),
            Fault::WrongNameCertificate => known.acceptor(known.issue(&["example.com"], |_| {}), false),
            Fault::UnknownAuthority => {
                let stranger = Authority::new("stranger");
                stranger.acceptor(stranger.issue(&["localhost"], |_| {}), false)
            }
            _ => known.acceptor(known.issue(&["localhost"], |_| {}), false),
        };
        let served = tokio::spawn(async move {
            if fault == Fault::RefusesTcp {
                return Ok(None);
            }
            let (tcp, _) = listener.accept().await?;
            drop(listener);
            tcp.set_nodelay(true)?;
            match fault {
                Fault::StallsWithinTls => stall(tcp).await,
                Fault::AnswersTlsWithText => answer(tcp, b"HTTP/1.1 400 plain text\r\n\r\n").await,
                _ if !fault.is_of_tls() => serve(fault, tcp).await,
                _ => {
                    let stream = tls.accept(tcp).await?;
                    let mut peer = Peer::over(stream).await;
                    peer.upgrade("").await;
                    peer.write(frame(TEXT, "before")).await;
                    // TCP ends here, without the notice that TLS asks for.
                    Ok(None)
                }
            }
        });
        let scheme = if fault.is_of_tls() { "wss" } else { "ws" };
        FaultServer { url: format!("{scheme}://localhost:{port}/"), port, served }
    }

    /// The payload of the close frame that the client sent; it waits for the client to go.
    async fn close_frame(self) -> Option<Vec<u8>> {
        let served = crate::soon(self.served).await.expect("the server does not panic");
        // Some of the faults make the client leave early.
        served.unwrap_or_default()
    }
}

/// Reads and sends nothing until the client is gone.
async fn stall(mut stream: impl AsyncRead + Unpin) -> io::Result<Option<Vec<u8>>> {
    copy(&mut stream, &mut sink()).await?;
    Ok(None)
}

/// Sends this, and nothing more until the client is gone.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) -> io::Result<Option<Vec<u8>>> {
    stream.write_all(bytes).await?;
    stall(stream).await
}

/// Sends this repeatedly until the client is gone.
async fn flood(mut stream: impl AsyncWrite + Unpin, bytes: &[u8]) -> io::Result<Option<Vec<u8>>> {
    loop {
        stream.write_all(bytes).await?;
    }
}

async fn serve(fault: Fault, tcp: TcpStream) -> io::Result<Option<Vec<u8>>> {
    match fault {
        Fault::EndsBeforeHandshake => return Ok(None),
        Fault::StallsBeforeHandshake => return stall(tcp).await,
        _ => {}
    }
    let mut peer = Peer::over(tcp).await;
    match fault {
        Fault::StallsWithinHandshake => return answer(peer.tcp, b"HTTP/1.1 101 Switching").await,
        Fault::AnswersGarbage => return answer(peer.tcp, b"\x00\x01\x02 220 smtp.example ready\r\n\r\n").await,
        Fault::AnswersWithoutEnd => {
            peer.write("HTTP/1.1 101 Switching Protocols\r\n").await;
            return flood(peer.tcp, b"X-More: and more\r\n").await;
        }
        Fault::Redirects => {
            return answer(peer.tcp, b"HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:9/\r\n\r\n").await;
        }
        Fault::Refuses(status) => {
            let head = format!("HTTP/1.1 {status} No\r\nContent-Length: 7\r\n\r\nbecause");
            return answer(peer.tcp, head.as_bytes()).await;
        }
        Fault::RefusesWithEndlessBody => {
            peer.write("HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            return flood(peer.tcp, b"4\r\nmore\r\n").await;
        }
        Fault::RefusesWithStalledBody => {
            return answer(peer.tcp, b"HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\nbecause").await;
        }
        Fault::PicksUnofferedSubprotocol => peer.upgrade("Sec-WebSocket-Protocol: surprise\r\n").await,
        Fault::AddsExtension => peer.upgrade("Sec-WebSocket-Extensions: permessage-deflate\r\n").await,
        Fault::AnswersOfferWith(answer) => peer.upgrade(&format!("Sec-WebSocket-Extensions: {answer}\r\n")).await,
        Fault::Compresses(_) => peer.upgrade(&format!("Sec-WebSocket-Extensions: {COMPRESSION}\r\n")).await,
        Fault::WrongAcceptKey => {
            let head = peer.upgrade_head("").replace(&peer.accept_key(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
            peer.write(head).await;
        }
        Fault::AnswersByteByByte => {
            for byte in [peer.upgrade_head("").as_bytes(), &frame(TEXT, "slow"), &frame(CLOSE, [])].concat() {
                peer.write([byte]).await;
            }
        }
        _ => peer.upgrade("").await,
    }
    misbehave(fault, &mut peer.tcp).await?;
    match fault {
        Fault::ResetsMidFrame => peer.reset(),
        // Until the client resets the connection; earlier bytes stay unread.
        Fault::NeverReads => drop(peer.tcp.ready(Interest::ERROR).await?),
        Fault::EndsMidFrame | Fault::EndsWithoutClose => {}
        Fault::PicksUnofferedSubprotocol
        | Fault::AddsExtension
        | Fault::AnswersOfferWith(_)
        | Fault::WrongAcceptKey => {
            return stall(peer.tcp).await;
        }
        Fault::NeverAnswersClose | Fault::CloseThenStall => return stall(peer.tcp).await,
        Fault::FloodsAfterClose => {
            let (kind, _) = peer.frame().await;
            assert_eq!(kind, CLOSE, "it is told of nothing else");
            return flood(peer.tcp, &frame(BINARY, [0; 1000])).await;
        }
        _ => return hear_close(peer).await,
    }
    Ok(None)
}

/// The bytes that a client gets in an open connection.
async fn misbehave(fault: Fault, tcp: &mut TcpStream) -> io::Result<()> {
    let close = |code| frame(CLOSE, close_payload(code, ""));
    let wire = match fault {
        Fault::MaskedFrame => vec![TEXT, 0x81, 1, 2, 3, 4, b'a'],
        Fault::ReservedBit(bit) => frame(TEXT | bit, "reserved"),
        Fault::ReservedOpcode => frame(0x83, "what?"),
        Fault::InvalidText => frame(TEXT, [b'a', 0xFF]),
        Fault::OversizeLength => [&[BINARY, 127][..], &((1_u64 << 63) - 1).to_be_bytes()].concat(),
        Fault::OverTheLimit => frame(BINARY, vec![0; 70_000]),
        Fault::EndlessFragments => {
            tcp.write_all(&frame(0x01, "")).await?;
            let part = frame(0x00, [b'a'; 1000]);
            while tcp.write_all(&part).await.is_ok() {}
            vec![]
        }
        Fault::FragmentsBetweenPings => {
            [frame(0x01, "a"), frame(PING, "1"), frame(0x00, "b"), frame(PING, "2"), frame(0x80, "c"), close(1000)]
                .concat()
        }
        Fault::Compresses(case) => {
            let frames = case.frames().into_iter().map(|(first, payload)| frame(first, payload));
            let end = if case.outcome().1.is_none() { close(1000) } else { vec![] };
            frames.chain([end]).collect::<Vec<_>>().concat()
        }
        Fault::CloseWithoutCode => frame(CLOSE, []),
        Fault::CloseWithBadCode => close(1006),
        Fault::CloseWithHalfACode => frame(CLOSE, [3]),
        Fault::CloseWithCutReason => frame(CLOSE, [&1000_u16.to_be_bytes()[..], &"ü".as_bytes()[..1]].concat()),
        Fault::BurstThenClose => [frame(TEXT, "burst").repeat(300), close(1000)].concat(),
        Fault::CloseThenMore => [close(1000), frame(TEXT, "more"), frame(0xFF, "and worse")].concat(),
        Fault::CloseThenStall => close(1000),
        Fault::ResetsMidFrame | Fault::EndsMidFrame => {
            [frame(TEXT, "before"), frame(TEXT, "cut off")[..5].into()].concat()
        }
        Fault::EndsWithoutClose => frame(TEXT, "before"),
        Fault::ReadsByteByByte => {
            let mut byte = [0];
            // A masked frame of 300 bytes: a header of 4, a mask of 4.
            for _ in 0..308 {
                tcp.read_exact(&mut byte).await?;
                tokio::task::yield_now().await;
            }
            close(1000)
        }
        _ => vec![],
    };
    tcp.write_all(&wire).await
}

/// Reads frames until the client is gone, and returns the payload of its close frame.
async fn hear_close(mut peer: Peer) -> io::Result<Option<Vec<u8>>> {
    loop {
        let (kind, payload) = peer.frame().await;
        if kind == CLOSE {
            peer.tcp.shutdown().await?;
            stall(peer.tcp).await?;
            return Ok(Some(payload));
        }
    }
}
