//! PEM files of certificates and keys, and what is wrong with those that cannot be used.

use crate::settings::files::read_file;
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
};
use std::path::Path;

/// The largest PEM file, in bytes.
const MAX_PEM: usize = 16 * 1024 * 1024;

/// What is wrong with a key that rustls cannot use.
pub(super) const BAD_KEY: &str = "the private key is damaged, or of a kind that is not supported; make one of RSA with 2048 \
                                  bits or more, of ECDSA on P-256 or P-384, or of Ed25519";

/// One X.509 certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate(pub(super) CertificateDer<'static>);

impl Certificate {
    /// The certificate in DER.
    pub fn der(&self) -> &[u8] {
        &self.0
    }
}

/// A private key. `Debug` does not show it.
#[derive(Debug)]
pub struct PrivateKey(pub(super) PrivateKeyDer<'static>);

impl PrivateKey {
    /// The key in DER: PKCS #8 (RFC 5958), PKCS #1 (RFC 8017) or SEC1 (RFC 5915).
    pub fn der(&self) -> &[u8] {
        self.0.secret_der()
    }
}

/// The certificates of a PEM file, in order.
///
/// # Errors
/// The reason and the remedy, without the path, for a file that has none or cannot be read.
pub fn certificates(path: &Path) -> Result<Vec<Certificate>, String> {
    let bytes = read(path)?;
    let found = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(found) if found.is_empty() => Err(missing("certificate", "CERTIFICATE", "x509", &bytes)),
        Ok(found) => Ok(found.into_iter().map(Certificate).collect()),
        Err(error) => Err(explain(&error, &bytes)),
    }
}

/// The first private key of a PEM file.
///
/// # Errors
/// The reason and the remedy, without the path, for a file that has none or cannot be read.
pub fn private_key(path: &Path) -> Result<PrivateKey, String> {
    let bytes = read(path)?;
    if labels(&bytes).iter().any(|label| label == "ENCRYPTED PRIVATE KEY")
        || contains(&bytes, b"Proc-Type: 4,ENCRYPTED")
    {
        return Err("the private key is encrypted; decrypt it with `openssl pkey -in FILE -out FILE`".to_owned());
    }
    match PrivateKeyDer::from_pem_slice(&bytes) {
        // The format of the DER has to show its kind, since that is all that a caller gets.
        Ok(key) => match PrivateKeyDer::try_from(key.secret_der()) {
            Ok(_) => Ok(PrivateKey(key)),
            Err(_) => Err(BAD_KEY.to_owned()),
        },
        Err(pem::Error::NoItemsFound) => Err(missing("private key", "PRIVATE KEY", "pkey", &bytes)),
        Err(error) => Err(explain(&error, &bytes)),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    read_file(path, MAX_PEM).map_err(|error| format!("it cannot be read: {error}; name a readable PEM file"))
}

fn missing(what: &str, label: &str, command: &str, bytes: &[u8]) -> String {
    /// How a DER file of either kind begins.
    const SEQUENCE: u8 = 0x30;
    let labels = labels(bytes);
    let found = match bytes {
        [] => "it is empty".to_owned(),
        [SEQUENCE, ..] => format!("it is DER; convert it with `openssl {command} -inform der -in FILE -out FILE`"),
        _ if labels.is_empty() => "it is not PEM".to_owned(),
        _ => format!("it has {}", labels.join(", ")),
    };
    format!("the file has no {what}: {found}; name a PEM file with BEGIN {label}")
}

fn explain(error: &pem::Error, bytes: &[u8]) -> String {
    let why = match error {
        pem::Error::MissingSectionEnd { .. } => "its last section has no END line; it is cut off".to_owned(),
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line does not end in five hyphens".to_owned(),
        pem::Error::Base64Decode(_) => format!("a section is not base64 ({})", labels(bytes).join(", ")),
        pem::Error::NoItemsFound => "it has no section".to_owned(),
        pem::Error::SectionTooLarge => "a section is larger than 10 MB".to_owned(),
        other => other.to_string(),
    };
    format!("the PEM file is damaged: {why}; write it again")
}

/// What the BEGIN lines name, such as `CERTIFICATE`; text of any other kind is not repeated.
fn labels(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let labels = text.lines().filter_map(|line| line.trim().strip_prefix("-----BEGIN ")?.strip_suffix("-----"));
    let legal =
        |label: &&str| label.len() <= 40 && label.chars().all(|c| c.is_ascii_uppercase() || " 0123456789".contains(c));
    let mut labels: Vec<_> = labels.filter(legal).map(str::to_owned).collect();
    labels.sort();
    labels.dedup();
    labels
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn told(content: &[u8]) -> (String, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.pem");
        fs::write(&path, content).unwrap();
        (certificates(&path).unwrap_err(), private_key(&path).unwrap_err())
    }

    #[test]
    fn a_file_that_is_not_pem_is_explained() {
        let long = [b"-----BEGIN CERTIFICATE-----\n".as_slice(), &[b'A'; 4096]].concat();
        for (content, certificate, key) in [
            (&b""[..], "it is empty", "it is empty"),
            (b"hello\n", "it is not PEM", "it is not PEM"),
            (b"\xff\xfe\x00-\x00-", "it is not PEM", "it is not PEM"),
            (b"\x30\x82\x01\x00", "`openssl x509 -inform der", "`openssl pkey -inform der"),
            (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "PUBLIC KEY", "PUBLIC KEY"),
            (b"-----BEGIN CERTIFICATE-----\nAAAA\n", "cut off", "cut off"),
            (b"-----BEGIN CERTIFICATE----\nAAAA\n-----END CERTIFICATE-----\n", "hyphens", "hyphens"),
            (
                b"-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----\n",
                "not base64 (PRIVATE KEY)",
                "not base64 (PRIVATE KEY)",
            ),
            (
                b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
                "ENCRYPTED PRIVATE KEY",
                "is encrypted",
            ),
            (&long, "cut off", "cut off"),
        ] {
            let told = told(content);
            assert!(told.0.contains(certificate) && told.1.contains(key), "{told:?}");
            assert!(!told.0.contains("Error") && !told.1.contains("Error") && !told.1.contains("[45"), "{told:?}");
        }
    }

    #[test]
    fn a_path_that_is_not_a_file_is_explained() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().to_owned(), folder.path().join("none")] {
            assert!(certificates(&path).unwrap_err().contains("it cannot be read: "), "{path:?}");
        }
        if cfg!(unix) {
            assert!(private_key(Path::new("/dev/zero")).unwrap_err().contains("more than 16777216 bytes"));
        }
    }
}
