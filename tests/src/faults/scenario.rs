//! What a guest sees of each fault.

use super::{Fault, Fault::*, FaultServer};
use crate::{
    kernel,
    probe::{Config, Failure, Message, Probe, case},
};
use std::time::{Duration, Instant};
use test_peer::{Authority, CompressionCase, INVALID_ANSWERS};
use tokio::time::sleep;

/// Short limits, so that each fault ends soon, and long enough for a loaded machine.
pub const LIMITS: [(&str, &str); 8] = [
    ("connect-timeout", "2s"),
    ("close-timeout", "300ms"),
    ("write-timeout", "300ms"),
    ("receive-wait", "100ms"),
    ("keepalive-interval", "1s"),
    ("keepalive-floor", "1s"),
    ("max-message-size", "64KiB"),
    ("inbound-buffer", "64KiB"),
];
/// More than any of these limits, with a margin for a loaded machine.
const SOON: Duration = Duration::from_secs(10);

/// What the guest does with an open connection before it receives to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Listen,
    SendText,
    /// Sends until that fails, with no keep-alive to end it first, and drops the connection.
    SendUntilTimeout,
    Close,
    Drop,
}
use Act::*;

/// One fault, and its expected result.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    fault: Fault,
    act: Act,
    /// Everything that the guest sees; consecutive results of one kind are one entry in the plural.
    seen: &'static str,
    /// The code of the close frame that the server gets, if it waits for one.
    code: Option<u16>,
}

/// All of them for a guest without compression.
pub fn scenarios() -> impl Iterator<Item = Scenario> {
    OUTCOMES.into_iter().map(|(fault, act, seen, code)| Scenario { fault, act, seen, code })
}

/// All of them for a guest with compression.
pub fn compression_scenarios() -> impl Iterator<Item = Scenario> {
    let answers = INVALID_ANSWERS.into_iter().map(|answer| (AnswersOfferWith(answer), "protocol-error", None));
    let cases = CompressionCase::ALL.into_iter().map(|case| {
        let (texts, code) = case.outcome();
        let seen = match (texts.len(), code) {
            (0, Some(1009)) => "open invalid-message connection-closed",
            (0, Some(_)) => "open protocol-error connection-closed",
            (_, Some(_)) => "open text protocol-error connection-closed",
            (1, None) => "open text close-1000 connection-closed",
            (_, None) => "open texts close-1000 connection-closed",
        };
        (Compresses(case), seen, code.or(Some(1000)))
    });
    answers.chain(cases).map(|(fault, seen, code)| Scenario { fault, act: Listen, seen, code })
}

const OUTCOMES: [(Fault, Act, &str, Option<u16>); 50] = [
    (RefusesTcp, Listen, "connection-failed", None),
    (EndsBeforeHandshake, Listen, "connection-failed", None),
    (StallsBeforeHandshake, Listen, "timeout", None),
    (StallsWithinHandshake, Listen, "timeout", None),
    (AnswersWithoutEnd, Listen, "protocol-error", None),
    (AnswersGarbage, Listen, "protocol-error", None),
    (Redirects, Listen, "connection-failed", None),
    (Refuses(401), Listen, "authentication-failed", None),
    (Refuses(403), Listen, "authentication-failed", None),
    (Refuses(404), Listen, "connection-failed", None),
    (Refuses(500), Listen, "connection-failed", None),
    (RefusesWithEndlessBody, Listen, "connection-failed", None),
    (RefusesWithStalledBody, Listen, "connection-failed", None),
    (PicksUnofferedSubprotocol, Listen, "protocol-error", None),
    (AddsExtension, Listen, "protocol-error", None),
    (WrongAcceptKey, Listen, "protocol-error", None),
    (ExpiredCertificate, Listen, "connection-failed", None),
    (WrongNameCertificate, Listen, "connection-failed", None),
    (UnknownAuthority, Listen, "connection-failed", None),
    (StallsWithinTls, Listen, "timeout", None),
    (AnswersTlsWithText, Listen, "connection-failed", None),
    (EndsTlsWithoutNotice, Listen, "open text io-error connection-closed", None),
    (StallsAfterHandshake, Listen, "open timeout connection-closed", Some(1011)),
    (AnswersByteByByte, Listen, "open text close-1005 connection-closed", None),
    (MaskedFrame, Listen, "open protocol-error connection-closed", Some(1002)),
    (ReservedBit(0x40), Listen, "open protocol-error connection-closed", Some(1002)),
    (ReservedBit(0x20), Listen, "open protocol-error connection-closed", Some(1002)),
    (ReservedBit(0x10), Listen, "open protocol-error connection-closed", Some(1002)),
    (ReservedOpcode, Listen, "open protocol-error connection-closed", Some(1002)),
    (InvalidText, Listen, "open protocol-error connection-closed", Some(1007)),
    (OversizeLength, Listen, "open invalid-message connection-closed", Some(1009)),
    (OverTheLimit, Listen, "open invalid-message connection-closed", Some(1009)),
    (EndlessFragments, Listen, "open invalid-message connection-closed", None),
    (FragmentsBetweenPings, Listen, "open pings text close-1000 connection-closed", Some(1000)),
    (CloseWithoutCode, Listen, "open close-1005 connection-closed", None),
    (CloseWithBadCode, Listen, "open protocol-error connection-closed", Some(1002)),
    (CloseWithHalfACode, Listen, "open protocol-error connection-closed", Some(1002)),
    (CloseWithCutReason, Listen, "open protocol-error connection-closed", Some(1007)),
    (BurstThenClose, Listen, "open texts close-1000 connection-closed", Some(1000)),
    (CloseThenMore, Listen, "open close-1000 connection-closed", Some(1000)),
    (CloseThenStall, Listen, "open close-1000 connection-closed", None),
    (ResetsMidFrame, Listen, "open text io-error connection-closed", None),
    (EndsMidFrame, Listen, "open text io-error connection-closed", None),
    (EndsWithoutClose, Listen, "open text io-error connection-closed", None),
    (NeverReads, SendUntilTimeout, "open timeout dropped", None),
    (ReadsByteByByte, SendText, "open close-1000 connection-closed", Some(1000)),
    (NeverAnswersClose, Close, "open timeout connection-closed", None),
    (NeverAnswersClose, Drop, "open dropped", None),
    (FloodsAfterClose, Close, "open binarys timeout connection-closed", None),
    (FloodsAfterClose, Drop, "open dropped", None),
];

impl Scenario {
    /// Lets a guest meet the fault; fails when it sees something else, or too late, or when a socket stays.
    pub async fn play(self, guest: &mut Probe, authority: &Authority) {
        let server = FaultServer::start(self.fault, authority).await;
        let (begun, port) = (Instant::now(), server.port);
        assert_eq!(play(guest, &server.url, self.act).await, self.seen, "{self:?}");
        assert!(begun.elapsed() < SOON, "{self:?} took {:?}", begun.elapsed());
        let close = server.close_frame().await;
        if let Some(code) = self.code {
            let close = close.unwrap_or_else(|| panic!("{self:?}: there should be a close frame"));
            assert_eq!(close[..2], code.to_be_bytes(), "{self:?}");
        }
        let ours = |socket: &kernel::Socket| [socket.local.port(), socket.remote.port()].contains(&port);
        comes_true(&format!("{self:?} leaves a socket"), || !kernel::sockets().iter().any(ours)).await;
    }
}

/// Has the guest dial the server and act; gives what it saw, with one plural for all of a kind that came in
/// a row.
async fn play(guest: &mut Probe, url: &str, act: Act) -> String {
    let enable_keepalive = (act == SendUntilTimeout).then_some(false);
    let config = Config { url: url.to_owned(), enable_keepalive, ..Config::default() };
    let open = match guest.connect(config).await {
        Ok(open) => open,
        Err(failure) => return case(&failure),
    };
    let mut seen = vec!["open".to_owned()];
    match act {
        Listen => {}
        SendText => guest.send(open, Message::Text("x".repeat(300))).await.unwrap(),
        Close => guest.close(open, Some(1000), None).await.unwrap(),
        SendUntilTimeout => loop {
            if let Err(failure) = guest.send(open, Message::Binary(vec![0; 60_000])).await {
                break seen.push(case(&failure));
            }
        },
        Drop => {}
    }
    if matches!(act, SendUntilTimeout | Drop) {
        guest.drop_connection(open).await;
        seen.push("dropped".to_owned());
        return seen.join(" ");
    }
    loop {
        let (name, ended) = match guest.receive(open).await {
            Ok(Message::Close(code, _)) => (format!("close-{code}"), false),
            Ok(message) => (case(&message), false),
            Err(failure) => (case(&failure), failure == Failure::ConnectionClosed),
        };
        match seen.last_mut() {
            Some(last) if *last == format!("{name}s") => {}
            Some(last) if *last == name => last.push('s'),
            _ => seen.push(name),
        }
        if ended {
            guest.drop_connection(open).await;
            return seen.join(" ");
        }
    }
}

/// Waits for a condition that causes no event, and fails if it does not become true in time.
pub async fn comes_true(what: &str, it: impl FnMut() -> bool) {
    comes_true_within(SOON, what, it).await;
}

/// [`comes_true`] with a time limit of its own.
pub async fn comes_true_within(limit: Duration, what: &str, mut it: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !it() {
        assert!(begun.elapsed() < limit, "{what}");
        sleep(Duration::from_millis(5)).await;
    }
}
