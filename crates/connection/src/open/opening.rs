//! What an opening handshake leaves for as long as its connection lives.

use http::HeaderMap;

/// The outcome of an opening handshake, as a connection shows it.
#[derive(Debug, Default)]
pub(crate) struct Opening {
    pub(crate) url: String,
    pub(crate) subprotocol: Option<String>,
    pub(crate) headers: HeaderLines,
}

/// Header fields. They are one allocation, because every connection keeps them and few callers read them.
#[derive(Debug, Default)]
pub(crate) struct HeaderLines(Box<[u8]>);

impl From<&HeaderMap> for HeaderLines {
    fn from(fields: &HeaderMap) -> Self {
        let mut lines = Vec::new();
        for (name, value) in fields {
            // Neither contains a line feed, and a name has no colon.
            for part in [name.as_str().as_bytes(), b":", value.as_bytes(), b"\n"] {
                lines.extend_from_slice(part);
            }
        }
        HeaderLines(lines.into())
    }
}

impl HeaderLines {
    /// Each name and value.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let lines = self.0.split(|byte| *byte == b'\n');
        lines.filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            Some((str::from_utf8(&line[..colon]).ok()?, &line[colon + 1..]))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    #[test]
    fn header_fields_come_back_as_they_were() {
        let given: [(&str, &[u8]); 5] =
            [("x-a", b"1"), ("x-a", b"2, 3"), ("x-colon", b"a:b: c"), ("x-empty", b""), ("x-latin", b"gr\xFCn\t!")];
        let mut fields = HeaderMap::new();
        for (name, value) in given {
            fields.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
        }
        assert_eq!(HeaderLines::from(&fields).iter().collect::<Vec<_>>(), given);
        assert_eq!(HeaderLines::default().iter().count(), 0);
    }
}
