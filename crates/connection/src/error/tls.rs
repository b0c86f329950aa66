//! Errors of TLS in words: what happened, and what to do.

use super::{chain, connect::TlsReason};
use rustls::{
    AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible,
    pki_types::{ServerName, UnixTime},
};
use std::{
    fmt::Debug,
    io,
    time::{Duration, UNIX_EPOCH},
};

/// The end of a TLS session at which an error is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// This end dialled: the peer is a server.
    Client,
    /// This end accepted: the peer is a client.
    Server,
    /// Either of them.
    Either,
}

impl Side {
    fn peer(self) -> &'static str {
        match self {
            Side::Client => "the server",
            Side::Server => "the client",
            Side::Either => "the peer",
        }
    }
}

/// The class of an error of rustls.
pub(crate) fn reason(error: &Error) -> TlsReason {
    match error {
        Error::AlertReceived(alert) => TlsReason::Alert((*alert).into()),
        Error::InvalidCertificate(_)
        | Error::InvalidCertRevocationList(_)
        | Error::NoCertificatesPresented
        | Error::UnsupportedNameType => TlsReason::Certificate,
        _ => TlsReason::Protocol,
    }
}

/// An error of a TLS session, and of the transport below it, in words.
pub fn explain(error: &io::Error, side: Side) -> String {
    explain_session(error, side).unwrap_or_else(|| chain(error))
}

/// An error of TLS in words; `None` for one of the transport below it.
pub(crate) fn explain_session(error: &io::Error, side: Side) -> Option<String> {
    let peer = side.peer();
    let inner = error.get_ref()?;
    if let Some(error) = inner.downcast_ref::<Error>() {
        return Some(explain_rustls(error, side));
    }
    Some(match (error.kind(), inner.to_string()) {
        (io::ErrorKind::UnexpectedEof, text) if text == "tls handshake eof" => match side {
            Side::Client => "the server closed the connection during the TLS handshake; see that this port speaks TLS \
                             and that the server knows this host name"
                .to_owned(),
            _ => format!("{peer} closed the connection during the TLS handshake"),
        },
        (io::ErrorKind::UnexpectedEof, text) if text.contains("close_notify") => {
            format!("{peer} ended the connection without close_notify, so that what it sent may be cut off")
        }
        _ => return None,
    })
}

/// An error of rustls in words.
pub(crate) fn explain_rustls(error: &Error, side: Side) -> String {
    let peer = side.peer();
    match error {
        Error::InvalidCertificate(error) => explain_certificate(error, &format!("{peer}'s certificate")),
        Error::AlertReceived(alert) => explain_alert(*alert, side),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => match side {
            Side::Client => "the server's answer is not TLS; use ws:// for this port, or the port at which the server \
                             speaks TLS"
                .to_owned(),
            Side::Server => "the client does not speak TLS; it has to use wss:// or https:// for this port".to_owned(),
            Side::Either => "the peer sent bytes that are not TLS".to_owned(),
        },
        Error::InvalidMessage(message) => format!(
            "{peer} sent a malformed TLS message ({}); see that it speaks TLS at this port, and that nothing on the \
             way changes the bytes",
            words(message)
        ),
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            format!("{peer} sent a TLS message out of order; have its TLS library updated")
        }
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled,
        ) => format!("{peer} supports neither TLS 1.2 nor TLS 1.3; have it updated"),
        Error::PeerIncompatible(why) => {
            format!(
                "{peer} and this end have no TLS parameters in common ({}); have its TLS library updated",
                words(why)
            )
        }
        Error::PeerMisbehaved(why) => {
            format!("{peer} violated the TLS protocol ({}); have its TLS library updated", words(why))
        }
        Error::NoCertificatesPresented => format!("{peer} sent no certificate; give it one"),
        Error::DecryptError => {
            format!("a TLS record of {peer} cannot be decrypted; see that nothing on the way changes the bytes")
        }
        Error::PeerSentOversizedRecord => {
            format!("{peer} sent a longer record than TLS allows; see that it speaks TLS at this port")
        }
        Error::NoApplicationProtocol => {
            format!("{peer} does not offer HTTP/1.1 in ALPN, and WebSockets start with it; have {peer} offer http/1.1")
        }
        Error::FailedToGetCurrentTime => "this machine's clock cannot be read; set it".to_owned(),
        Error::FailedToGetRandomBytes => "this machine gives no random bytes; see that /dev/urandom works".to_owned(),
        Error::InconsistentKeys(_) => "the private key is not that of the certificate; name the two that belong \
                                       together"
            .to_owned(),
        Error::General(text) => format!("TLS failed: {text}"),
        Error::Other(other) => format!("TLS failed: {}", chain(&*other.0)),
        other => format!("TLS failed: {}", words(other)),
    }
}

/// What is wrong with a certificate; `whose` names it.
pub(crate) fn explain_certificate(error: &CertificateError, whose: &str) -> String {
    match error {
        CertificateError::BadEncoding => format!("{whose} is damaged; have it issued again"),
        CertificateError::Expired => format!("{whose} has expired, or ends before it begins; renew it"),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("{whose} expired on {}; renew it, or set this machine's clock if that is wrong", date(*not_after))
        }
        CertificateError::NotValidYet => {
            format!("{whose} is not valid yet; set this machine's clock if that is wrong, or wait")
        }
        CertificateError::NotValidYetContext { not_before, .. } => format!(
            "{whose} is not valid before {}; set this machine's clock if that is wrong, or wait",
            date(*not_before)
        ),
        CertificateError::Revoked => format!("{whose} is revoked; have a new one issued"),
        CertificateError::UnhandledCriticalExtension => {
            format!("{whose} has a critical extension that is not supported; have it issued without")
        }
        CertificateError::UnknownIssuer => format!(
            "no authority that this host trusts has signed {whose}; name the authority's certificate, or this very \
             certificate, with the setting `ca-cert`, or have the server send its intermediate certificates"
        ),
        CertificateError::UnknownRevocationStatus
        | CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => {
            format!("nothing current tells whether {whose} is revoked; update the revocation list")
        }
        CertificateError::BadSignature => format!(
            "a signature on {whose} or its chain is wrong, or made with an RSA key of fewer than 2048 bits; have it \
             issued again, with a longer key if that is short"
        ),
        CertificateError::UnsupportedSignatureAlgorithmContext { signature_algorithm_id, .. } => {
            unsupported(whose, &algorithm(signature_algorithm_id))
        }
        CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
            signature_algorithm_id,
            public_key_algorithm_id,
        } => unsupported(
            whose,
            &format!("{} by a key of {}", algorithm(signature_algorithm_id), algorithm(public_key_algorithm_id)),
        ),
        CertificateError::NotValidForName => format!("{whose} is for another name; dial the name that it is for"),
        CertificateError::NotValidForNameContext { expected, presented } => wrong_name(whose, expected, presented),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => format!(
            "{whose} is not meant for this end of TLS (its extended key usage); have it issued with the right one"
        ),
        CertificateError::InvalidOcspResponse => {
            format!("the revocation status sent with {whose} is invalid; have the server update it")
        }
        CertificateError::Other(other) => match other.0.downcast_ref::<webpki::Error>() {
            Some(error) => explain_webpki(error, whose),
            None => format!("{whose} cannot be used: {}", chain(&*other.0)),
        },
        other => unusable(whose, other),
    }
}

/// The errors of webpki that rustls has no word for.
fn explain_webpki(error: &webpki::Error, whose: &str) -> String {
    use webpki::Error as Webpki;
    match error {
        Webpki::CaUsedAsEndEntity => format!(
            "{whose} is that of an authority (CA:TRUE), not of a server; have one issued with CA:FALSE, or trust this \
             very certificate with the setting `ca-cert`"
        ),
        Webpki::EndEntityUsedAsCa => format!(
            "{whose} is signed by a certificate that is not an authority's (CA:FALSE); have it signed by an authority"
        ),
        Webpki::CertDistrusted => format!("{whose} has a key that is known to be compromised; have a new one issued"),
        Webpki::NameConstraintViolation => format!(
            "{whose} is for a name that its authority may not sign (a name constraint); have it signed by another"
        ),
        Webpki::PathLenConstraintViolated => format!(
            "the chain of {whose} has more authorities than one of them allows (a path length constraint); have it \
             signed by another"
        ),
        Webpki::UnsupportedCertVersion => format!(
            "{whose} is not of X.509 version 3; have it issued again, with the server's names as subject alternative \
             names"
        ),
        Webpki::UnsupportedCriticalExtension => {
            format!("{whose} has a critical extension that is not supported; have it issued without")
        }
        Webpki::MaximumNameConstraintComparisonsExceeded
        | Webpki::MaximumPathBuildCallsExceeded
        | Webpki::MaximumPathDepthExceeded
        | Webpki::MaximumSignatureChecksExceeded => {
            format!("the chain of {whose} is too long or too tangled; have the server send only what its own needs")
        }
        other => unusable(whose, other),
    }
}

fn unusable(whose: &str, error: &dyn Debug) -> String {
    format!("{whose} cannot be used ({}); have it issued again", words(error))
}

fn unsupported(whose: &str, algorithm: &str) -> String {
    format!(
        "{whose} or its chain is signed with {algorithm}, which is not supported; have it signed with RSA of 2048 bits or \
         more, ECDSA or Ed25519, and SHA-256 or better"
    )
}

fn wrong_name(whose: &str, expected: &ServerName<'_>, presented: &[String]) -> String {
    let names: Vec<_> = presented.iter().map(|name| bare(name)).filter(|name| !name.is_empty()).collect();
    let expected = expected.to_str();
    match names.as_slice() {
        [] => format!(
            "{whose} has no subject alternative name, and must have {expected}; its common name does not count, so have \
             it issued again"
        ),
        names => format!(
            "{whose} is for {}, not for {expected}; dial a name that it is for, or have it issued for {expected} as well",
            names.join(", ")
        ),
    }
}

/// `example.com` of `DnsName("example.com")`, which is how webpki lists the names of a certificate.
fn bare(name: &str) -> String {
    let inner = name.split_once('(').and_then(|(kind, rest)| Some((kind, rest.strip_suffix(')')?)));
    match inner {
        Some(("DnsName" | "IpAddress" | "UniformResourceIdentifier", inner)) => {
            inner.trim_matches('"').escape_debug().to_string()
        }
        _ => String::new(),
    }
}

fn explain_alert(alert: AlertDescription, side: Side) -> String {
    let (peer, name) = (side.peer(), alert_name(alert));
    let said = match (alert, side) {
        (AlertDescription::HandshakeFailure, Side::Client) => {
            "found no TLS parameters that both ends support, or wants a client certificate; name one with the settings \
             `client-cert` and `client-key`, or have the server offer current ciphers"
        }
        (AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity, _) => {
            "found no TLS parameters that both ends support; have it updated"
        }
        (AlertDescription::CertificateRequired | AlertDescription::NoCertificate, _) => {
            "asks for a client certificate; name one with the settings `client-cert` and `client-key`"
        }
        (
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA,
            Side::Client | Side::Either,
        ) => {
            "refuses this end's certificate, or misses one; check what the settings `client-cert` and `client-key` name"
        }
        (
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA,
            Side::Server,
        ) => {
            "does not accept this server's certificate; have it trust the authority that signed it, and see that the \
             certificate is valid for the name that it dials"
        }
        (AlertDescription::AccessDenied, _) => "refuses this end; ask its operator for access",
        (AlertDescription::ProtocolVersion, _) => "supports neither TLS 1.2 nor TLS 1.3; have it updated",
        (AlertDescription::UnrecognisedName, _) => "has no certificate for this host name; check the name",
        (AlertDescription::NoApplicationProtocol, _) => "does not speak HTTP/1.1 over TLS, which WebSockets start with",
        (AlertDescription::InternalError, _) => "failed for a reason of its own; see its log",
        (AlertDescription::CloseNotify | AlertDescription::UserCanceled, _) => "ended the TLS session",
        _ => "refuses a TLS message of this end; see its log, and that nothing on the way changes the bytes",
    };
    format!("{peer} {said} (TLS alert {name})")
}

/// The name of an alert in RFC 8446 section 6.
fn alert_name(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::UnknownCA => "unknown_ca".to_owned(),
        AlertDescription::UnrecognisedName => "unrecognized_name".to_owned(),
        AlertDescription::UnknownPSKIdentity => "unknown_psk_identity".to_owned(),
        AlertDescription::Unknown(code) => code.to_string(),
        known => words(&known).replace(' ', "_"),
    }
}

/// `no cipher suites in common` of `NoCipherSuitesInCommon`: the name of a variant without its fields.
fn words(variant: &dyn Debug) -> String {
    let shown = format!("{variant:?}");
    let mut text = String::new();
    for c in shown.chars().take_while(|c| c.is_ascii_alphanumeric()) {
        if c.is_ascii_uppercase() && !text.is_empty() {
            text.push(' ');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}

fn date(time: UnixTime) -> String {
    let time = UNIX_EPOCH.checked_add(Duration::from_secs(time.as_secs()));
    // Beyond the year 9999 there is no such text.
    let last = Duration::from_secs(253_402_300_799);
    let time = time.filter(|time| time.duration_since(UNIX_EPOCH).is_ok_and(|since| since <= last));
    time.map_or_else(|| "a time beyond the year 9999".to_owned(), |t| humantime::format_rfc3339_seconds(t).to_string())
}

/// The name of an algorithm, of the content of its DER `AlgorithmIdentifier`.
fn algorithm(der: &[u8]) -> String {
    const NAMES: [(&str, &str); 18] = [
        ("1.2.840.113549.1.1.1", "RSA"),
        ("1.2.840.113549.1.1.4", "RSA and MD5"),
        ("1.2.840.113549.1.1.5", "RSA and SHA-1"),
        ("1.2.840.113549.1.1.10", "RSA-PSS"),
        ("1.2.840.113549.1.1.14", "RSA and SHA-224"),
        ("1.2.840.10040.4.1", "DSA"),
        ("1.2.840.10040.4.3", "DSA and SHA-1"),
        ("1.2.840.10045.2.1", "an elliptic curve"),
        ("1.2.840.10045.3.1.7", "P-256"),
        ("1.2.840.10045.4.1", "ECDSA and SHA-1"),
        ("1.2.840.10045.4.3.2", "ECDSA and SHA-256"),
        ("1.2.840.10045.4.3.3", "ECDSA and SHA-384"),
        ("1.2.840.10045.4.3.4", "ECDSA and SHA-512"),
        ("1.3.101.112", "Ed25519"),
        ("1.3.101.113", "Ed448"),
        ("1.3.132.0.10", "secp256k1"),
        ("1.3.132.0.34", "P-384"),
        ("1.3.132.0.35", "P-521"),
    ];
    let named =
        |oid: String| NAMES.iter().find(|(id, _)| *id == oid).map_or(oid.clone(), |(_, name)| (*name).to_owned());
    let mut names = Vec::new();
    let mut rest = der;
    // Each element has a tag, a length and a content; all lengths here are under 128.
    while let [tag, length, content @ ..] = rest {
        let Some((content, behind)) = content.split_at_checked(usize::from(*length)) else { break };
        if *tag == 0x06 {
            names.push(named(object_identifier(content)));
        }
        rest = behind;
    }
    if names.is_empty() { "an unknown algorithm".to_owned() } else { names.join(", ") }
}

/// An object identifier with dots (ITU-T X.690 section 8.19).
fn object_identifier(content: &[u8]) -> String {
    let mut arcs: Vec<u64> = Vec::new();
    let mut arc = 0u64;
    for byte in content {
        arc = arc.wrapping_shl(7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            match arcs.is_empty() {
                true => arcs.extend([(arc / 40).min(2), arc - 40 * (arc / 40).min(2)]),
                false => arcs.push(arc),
            }
            arc = 0;
        }
    }
    arcs.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::{InconsistentKeys, OtherError, PeerMisbehaved};
    use std::sync::Arc;

    /// Asserts that a text is not a debug dump: it has no name of a variant, and no field.
    fn in_words(text: &str) {
        let dumped = |word: &str| {
            let humps =
                word.as_bytes().windows(2).any(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase());
            humps && !["WebSockets"].contains(&word)
        };
        let word = text.split(|c: char| !c.is_ascii_alphanumeric()).find(|word| dumped(word));
        assert_eq!(word, None, "{text}");
        assert!(!text.contains("{ ") && !text.contains("(\"") && text.len() > 30, "{text}");
    }

    fn other(error: webpki::Error) -> Error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
    }

    #[test]
    fn every_error_of_rustls_is_told_in_words() {
        let time = UnixTime::since_unix_epoch(Duration::from_secs(1_577_836_800));
        let expected = ServerName::try_from("a.example").unwrap();
        let presented = vec!["DnsName(\"*.b.example\")".to_owned(), "IpAddress(10.0.0.1)".to_owned()];
        for (error, what, remedy) in [
            (CertificateError::BadEncoding.into(), "damaged", "issued again"),
            (CertificateError::Expired.into(), "expired", "renew"),
            (CertificateError::ExpiredContext { time, not_after: time }.into(), "2020-01-01T00:00:00Z", "renew"),
            (CertificateError::NotValidYet.into(), "not valid yet", "clock"),
            (CertificateError::NotValidYetContext { time, not_before: time }.into(), "before 2020-01-01", "clock"),
            (CertificateError::Revoked.into(), "revoked", "new one"),
            (CertificateError::UnhandledCriticalExtension.into(), "critical extension", "issued without"),
            (CertificateError::UnknownIssuer.into(), "no authority", "`ca-cert`"),
            (CertificateError::UnknownRevocationStatus.into(), "revoked", "update"),
            (CertificateError::BadSignature.into(), "signature", "issued again"),
            (CertificateError::NotValidForName.into(), "another name", "dial"),
            (CertificateError::InvalidPurpose.into(), "extended key usage", "right one"),
            (CertificateError::InvalidOcspResponse.into(), "revocation status", "update"),
            (CertificateError::ApplicationVerificationFailure.into(), "application verification failure", "again"),
            (
                CertificateError::NotValidForNameContext { expected: expected.clone(), presented }.into(),
                "for *.b.example, 10.0.0.1, not for a.example",
                "dial",
            ),
            (CertificateError::NotValidForNameContext { expected, presented: vec![] }.into(), "no subject", "issued"),
            (
                CertificateError::UnsupportedSignatureAlgorithmContext {
                    signature_algorithm_id: b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05\x05\x00".to_vec(),
                    supported_algorithms: vec![],
                }
                .into(),
                "RSA and SHA-1",
                "SHA-256",
            ),
            (
                CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
                    signature_algorithm_id: b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x04".to_vec(),
                    public_key_algorithm_id: b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x23"
                        .to_vec(),
                }
                .into(),
                "ECDSA and SHA-512 by a key of an elliptic curve, P-521",
                "SHA-256",
            ),
            (other(webpki::Error::CaUsedAsEndEntity), "CA:TRUE", "`ca-cert`"),
            (other(webpki::Error::EndEntityUsedAsCa), "CA:FALSE", "signed by"),
            (other(webpki::Error::CertDistrusted), "compromised", "issued"),
            (other(webpki::Error::NameConstraintViolation), "name constraint", "signed by"),
            (other(webpki::Error::PathLenConstraintViolated), "path length", "signed by"),
            (other(webpki::Error::UnsupportedCertVersion), "version 3", "issued again"),
            (other(webpki::Error::MaximumPathDepthExceeded), "too long", "send only"),
            (other(webpki::Error::InvalidSerialNumber), "invalid serial number", "issued again"),
            (Error::InvalidMessage(InvalidMessage::InvalidContentType), "not TLS", "ws://"),
            (Error::InvalidMessage(InvalidMessage::MissingData("X")), "malformed TLS message (missing data)", "see"),
            (PeerIncompatible::ServerDoesNotSupportTls12Or13.into(), "neither TLS 1.2 nor TLS 1.3", "updated"),
            (PeerIncompatible::NoCipherSuitesInCommon.into(), "no cipher suites in common", "updated"),
            (PeerMisbehaved::SelectedUnofferedCipherSuite.into(), "selected unoffered cipher suite", "updated"),
            (Error::InconsistentKeys(InconsistentKeys::KeyMismatch), "private key", "together"),
            (Error::InappropriateMessage { expect_types: vec![], got_type: 22.into() }, "out of order", "updated"),
            (Error::NoCertificatesPresented, "no certificate", "give"),
            (Error::DecryptError, "cannot be decrypted", "see"),
            (Error::PeerSentOversizedRecord, "longer record", "see"),
            (Error::NoApplicationProtocol, "ALPN", "http/1.1"),
            (Error::FailedToGetRandomBytes, "random", "see"),
            (Error::FailedToGetCurrentTime, "clock", "set"),
            (Error::HandshakeNotComplete, "handshake not complete", "TLS"),
        ] {
            let text = explain(&io::Error::new(io::ErrorKind::InvalidData, error), Side::Client);
            in_words(&text);
            assert!(text.contains(what) && text.contains(remedy), "{text}");
        }
    }

    #[test]
    fn every_alert_is_told_by_its_name_in_the_rfc() {
        for code in 0..=u8::MAX {
            let alert = AlertDescription::from(code);
            for side in [Side::Client, Side::Server] {
                in_words(&explain_rustls(&Error::AlertReceived(alert), side));
            }
        }
        for (alert, side, text) in [
            (AlertDescription::UnknownCA, Side::Server, "the client does not accept this server's certificate"),
            (AlertDescription::UnknownCA, Side::Client, "(TLS alert unknown_ca)"),
            (AlertDescription::CertificateRequired, Side::Client, "(TLS alert certificate_required)"),
            (AlertDescription::HandshakeFailure, Side::Client, "(TLS alert handshake_failure)"),
            (AlertDescription::ProtocolVersion, Side::Client, "neither TLS 1.2 nor TLS 1.3"),
            (AlertDescription::Unknown(200), Side::Client, "(TLS alert 200)"),
        ] {
            let told = explain_rustls(&Error::AlertReceived(alert), side);
            assert!(told.contains(text), "{told}");
        }
    }

    #[test]
    fn object_identifiers_are_told_with_dots_where_they_have_no_name() {
        assert_eq!(algorithm(b"\x06\x03\x2b\x65\x71"), "Ed448");
        assert_eq!(algorithm(b"\x06\x03\x88\x37\x03"), "2.999.3");
        for der in [&b""[..], b"\x06", b"\x06\x7f\x01", b"\x05\x00"] {
            assert_eq!(algorithm(der), "an unknown algorithm");
        }
    }
}
