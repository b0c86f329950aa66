//! One value of the setting `allow`: a destination that guests may dial.

use ipnet::IpNet;
use std::{fmt, net::IpAddr, str::FromStr};
use url::Host;

/// A destination that guests may dial: a host name, `*.suffix`, `*`, an IP address or a CIDR, each
/// with an optional `:port`. `*.suffix` grants the names below `suffix`, not `suffix` itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub(crate) pattern: Pattern,
    pub(crate) port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pattern {
    Any,
    Name(String),
    Suffix(String),
    Net(IpNet),
}

/// Invalid text for a [`Rule`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}; write a host name, *.suffix, *, an IP address or a CIDR, each with an optional :port")]
pub struct RuleError(String);

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        if text.contains("://") {
            return Err(RuleError(format!("{text:?} is a URL: write the host without a scheme")));
        }
        // An IPv6 address has colons of its own, so a port behind one needs the brackets of RFC 3986.
        if let Some(net) = parse_net(text) {
            return Ok(Rule { pattern: Pattern::Net(net), port: None });
        }
        let (pattern, port) = match text.rsplit_once(':') {
            Some((pattern, port)) => {
                let port = port.parse().ok().filter(|port| *port != 0);
                (pattern, Some(port.ok_or_else(|| RuleError(format!("{text:?} does not end in a port")))?))
            }
            None => (text, None),
        };
        let pattern = if pattern == "*" {
            Pattern::Any
        } else if let Some(suffix) = pattern.strip_prefix("*.") {
            Pattern::Suffix(parse_name(suffix)?)
        } else if let Some(net) = parse_net(pattern) {
            Pattern::Net(net)
        } else {
            Pattern::Name(parse_name(pattern)?)
        };
        Ok(Rule { pattern, port })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pattern {
            Pattern::Any => f.write_str("*")?,
            Pattern::Name(name) => f.write_str(name)?,
            Pattern::Suffix(suffix) => write!(f, "*.{suffix}")?,
            Pattern::Net(net) => match (net.prefix_len() == net.max_prefix_len(), net.addr()) {
                (true, IpAddr::V4(address)) => write!(f, "{address}")?,
                (true, IpAddr::V6(address)) => write!(f, "[{address}]")?,
                (false, IpAddr::V4(_)) => write!(f, "{net}")?,
                (false, IpAddr::V6(_)) => write!(f, "[{net}]")?,
            },
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl Rule {
    /// Whether the rule names a host as a URL has it: a name by its name, an address by its address.
    pub(crate) fn names(&self, host: &Host<String>, port: u16) -> bool {
        self.port.is_none_or(|own| own == port)
            && match host {
                Host::Domain(name) => self.pattern.matches_name(name),
                Host::Ipv4(address) => self.pattern.contains((*address).into()),
                Host::Ipv6(address) => self.pattern.contains(IpAddr::V6(*address).to_canonical()),
            }
    }
}

impl Pattern {
    pub(crate) fn matches_name(&self, name: &str) -> bool {
        let name = without_root(name);
        match self {
            Pattern::Any => true,
            Pattern::Name(own) => own == name,
            Pattern::Suffix(suffix) => name.strip_suffix(suffix.as_str()).is_some_and(|head| head.ends_with('.')),
            Pattern::Net(_) => false,
        }
    }

    fn contains(&self, address: IpAddr) -> bool {
        match self {
            Pattern::Any => true,
            Pattern::Net(net) => net.contains(&address),
            Pattern::Name(_) | Pattern::Suffix(_) => false,
        }
    }
}

/// An address or a network, in the brackets of RFC 3986 or without. IPv4-mapped IPv6 addresses and networks
/// (`::ffff:10.0.0.0/104`) are read as the IPv4 ones: destinations are compared in that form.
fn parse_net(text: &str) -> Option<IpNet> {
    let text = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let net = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse().ok()?,
    };
    const MAPPED: u8 = 96;
    match (net.addr().to_canonical(), net.prefix_len().checked_sub(MAPPED)) {
        (address @ IpAddr::V4(_), Some(length)) if matches!(net, IpNet::V6(_)) => IpNet::new(address, length).ok(),
        _ => Some(net),
    }
}

fn parse_name(text: &str) -> Result<String, RuleError> {
    match Host::parse(text) {
        Ok(Host::Domain(name)) => match name_fault(&name) {
            None => Ok(without_root(&name).to_owned()),
            Some(fault) => Err(RuleError(format!("{text:?} is not a host name: {fault}"))),
        },
        _ => Err(RuleError(format!("{text:?} is not a host name"))),
    }
}

/// The longest host name, in bytes (RFC 1035 section 2.3.4, without the dots at both ends).
const MAX_NAME: usize = 253;
/// The longest label of a host name, in bytes.
const MAX_LABEL: usize = 63;

/// The reason why DNS cannot have this name, which is in ASCII; `None` for a name that it can have.
pub(crate) fn name_fault(name: &str) -> Option<String> {
    let name = without_root(name);
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.len() > MAX_NAME {
        Some(format!("it has more than {MAX_NAME} bytes"))
    } else if name.split('.').any(str::is_empty) {
        Some("one of its labels is empty".to_owned())
    } else if name.split('.').any(|label| label.len() > MAX_LABEL) {
        Some(format!("one of its labels has more than {MAX_LABEL} bytes"))
    } else {
        name.chars().find(|c| !legal(*c)).map(|c| format!("it has the character {c:?}"))
    }
}

/// A name without the dot that stands for the root of DNS.
pub(crate) fn without_root(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// Whether a name means this machine without asking DNS (RFC 6761 section 6.3).
pub(crate) fn is_localhost(name: &str) -> bool {
    let name = without_root(name);
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn rules_are_read_as_people_write_them_and_shown_so_again() {
        for rule in [
            "example.com",
            "example.com:443",
            "*.example.com",
            "*",
            "*:443",
            "10.1.2.3:80",
            "10.0.0.0/8",
            "[fc00::/7]:1",
            "[::1]:80",
        ] {
            assert_eq!(rule.parse::<Rule>().unwrap().to_string(), rule);
        }
        assert_eq!("::1".parse::<Rule>(), "[::1]".parse());
        assert_eq!("10.1.2.3/32".parse::<Rule>(), "10.1.2.3".parse());
        assert_eq!("Bücher.example.".parse::<Rule>(), "xn--bcher-kva.example".parse());
        for rule in ["", "*.", "ws://a", "a:b", "a:70000", "a:0", "a b", "a/24", "10.0.0.0/33", "*.10.0.0.1", "**"] {
            assert!(rule.parse::<Rule>().is_err(), "{rule:?}");
        }
    }

    #[test]
    fn a_name_with_an_empty_label_is_refused() {
        for rule in [".", "*..", "a..", ".a", "a..b", "*.a..", ".:80"] {
            assert!(rule.parse::<Rule>().is_err(), "{rule:?} was read as {:?}", rule.parse::<Rule>());
        }
    }

    proptest! {
        #[test]
        fn every_rule_is_shown_as_text_that_means_it(
            text in prop_oneof![
                any::<String>(),
                r"(\*\.|\*)?[a-zA-Z0-9.é%-]{0,12}(:[0-9]{1,5})?",
                any::<IpAddr>().prop_map(|address| address.to_string()),
                (any::<Ipv6Addr>(), 0u8..=128, any::<u16>()).prop_map(|(ip, len, port)| format!("[{ip}/{len}]:{port}")),
                (any::<Ipv4Addr>(), 0u8..=32, any::<u16>()).prop_map(|(ip, len, port)| format!("{ip}/{len}:{port}")),
            ],
        ) {
            if let Ok(rule) = text.parse::<Rule>() {
                prop_assert_eq!(rule.to_string().parse::<Rule>(), Ok(rule));
            }
        }
    }
}
