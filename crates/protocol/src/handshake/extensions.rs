//! The header `Sec-WebSocket-Extensions` (RFC 6455 section 9.1).

use super::fields::is_token_byte;
use std::borrow::Cow;

/// One extension of the header, with its parameters in order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Extension<'a> {
    pub(crate) name: &'a str,
    pub(crate) parameters: Vec<(&'a str, Option<Cow<'a, str>>)>,
}

/// Parses one header line; `None` if it is not a list of extensions. A value in quotes is returned without them.
pub(crate) fn parse(line: &[u8]) -> Option<Vec<Extension<'_>>> {
    Parser { rest: str::from_utf8(line).ok()? }.extensions()
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn extensions(mut self) -> Option<Vec<Extension<'a>>> {
        let mut extensions = Vec::new();
        loop {
            // RFC 9110 section 5.6.1: a list may have empty elements.
            while self.skip(',') {}
            if self.rest.is_empty() {
                return Some(extensions);
            }
            let name = self.token()?;
            let mut parameters = Vec::new();
            while self.skip(';') {
                let name = self.token()?;
                let value = if self.skip('=') { Some(self.value()?) } else { None };
                parameters.push((name, value));
            }
            extensions.push(Extension { name, parameters });
            if !self.rest.is_empty() && !self.skip(',') {
                return None;
            }
        }
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    /// Skips `character` and the space around it, if it comes next.
    fn skip(&mut self, character: char) -> bool {
        self.skip_space();
        let Some(rest) = self.rest.strip_prefix(character) else { return false };
        self.rest = rest;
        self.skip_space();
        true
    }

    fn token(&mut self) -> Option<&'a str> {
        let end = self.rest.bytes().position(|byte| !is_token_byte(byte)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!token.is_empty()).then_some(token)
    }

    fn value(&mut self) -> Option<Cow<'a, str>> {
        let Some(quoted) = self.rest.strip_prefix('"') else { return self.token().map(Cow::Borrowed) };
        let mut value = String::new();
        let mut characters = quoted.chars();
        loop {
            match characters.next()? {
                '"' => break,
                '\\' => value.push(characters.next()?),
                character => value.push(character),
            }
        }
        self.rest = characters.as_str();
        // RFC 6455 section 9.1: without its quotes, the value is a token.
        (!value.is_empty() && value.bytes().all(is_token_byte)).then_some(Cow::Owned(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_list_of_extensions_is_parsed_with_quoted_values_and_empty_elements() {
        let parsed = parse(b" , a;b ;c = d;\te=\"f\\g\" , ,h,").unwrap();
        let parameters = vec![("b", None), ("c", Some("d".into())), ("e", Some("fg".into()))];
        let expected = [Extension { name: "a", parameters }, Extension { name: "h", parameters: vec![] }];
        assert_eq!(parsed, expected);
        assert_eq!(parse(b" \t"), Some(vec![]));
    }

    #[test]
    fn an_invalid_header_is_malformed() {
        for line in [
            &b"a b"[..],
            b";",
            b"a;",
            b"a;;b",
            b"a;b=",
            b"a;=b",
            b"a;b=\"",
            b"a;b=\"c",
            b"a;b=\"\"",
            b"a;b=\"c d\"",
            b"a;b=\"c\\",
            b"a;b=\"c\"d",
            b"a=b",
            b"\"a\"",
            b"a;b=c=d",
            b"a/b",
            b"\xFF",
            "a;b=é".as_bytes(),
            b"a\r\nb",
        ] {
            assert_eq!(parse(line), None, "{}", line.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn no_header_panics(line in "[a;,= \"\\\\\tb]{0,40}") {
            let _ = parse(line.as_bytes());
        }
    }
}
