//! Where a guest may go: rules that grant destinations, and the addresses that no wildcard grants.

use crate::Error;
use ipnet::IpNet;
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};
use url::Host;

/// A destination that guests may dial: a host name, `*.suffix`, `*`, an IP address or a CIDR, each
/// with an optional `:port`. `*.suffix` grants the names below `suffix`, not `suffix` itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pattern: Pattern,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Any,
    Name(String),
    Suffix(String),
    Net(IpNet),
}

/// Text that is no [`Rule`].
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
            Pattern::Net(net @ IpNet::V6(_)) => write!(f, "[{net}]")?,
            Pattern::Net(net) => write!(f, "{net}")?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// An address or a network, in the brackets of RFC 3986 or without. An IPv4 address in the clothes
/// of IPv6 is read as what it is.
fn parse_net(text: &str) -> Option<IpNet> {
    let text = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    match text.parse::<IpAddr>() {
        Ok(address) => Some(address.to_canonical().into()),
        Err(_) => text.parse().ok(),
    }
}

fn parse_name(text: &str) -> Result<String, RuleError> {
    match Host::parse(text) {
        Ok(Host::Domain(name)) if !name.contains('*') && !without_root(&name).split('.').any(str::is_empty) => {
            Ok(without_root(&name).to_owned())
        }
        _ => Err(RuleError(format!("{text:?} is no host name"))),
    }
}

/// A name without the dot that stands for the root of DNS.
fn without_root(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// Whether a name means this machine without asking DNS (RFC 6761 section 6.3).
pub(crate) fn is_localhost(name: &str) -> bool {
    let name = without_root(name);
    name == "localhost" || name.ends_with(".localhost")
}

/// The rules of one host.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    rules: Vec<Rule>,
}

impl Policy {
    pub(crate) fn new(rules: Vec<Rule>) -> Self {
        Policy { rules }
    }

    /// Whether looking a host up can lead anywhere, asked before DNS is.
    ///
    /// # Errors
    /// [`Error::AuthenticationFailed`] when no rule names the host.
    pub(crate) fn check_host(&self, host: &Host<String>, port: u16) -> Result<(), Error> {
        let possible = match host {
            Host::Domain(name) => is_localhost(name) || self.grants_name(name, port),
            // Its one address is checked next, and needs no DNS.
            Host::Ipv4(_) | Host::Ipv6(_) => true,
        };
        if possible { Ok(()) } else { Err(refused(&host.to_string(), port, "no rule names this host")) }
    }

    /// Whether `host` may be dialled at `address`, one of those that it resolved to.
    ///
    /// # Errors
    /// [`Error::AuthenticationFailed`] that names the rule which would grant it.
    pub(crate) fn check_address(&self, host: &Host<String>, address: IpAddr, port: u16) -> Result<(), Error> {
        let by_name = self.grants_host(host, port);
        let by_address = self.grants_address(address, port);
        // A name that goes through DNS needs a rule of its own: an address rule grants addresses.
        let literal = !matches!(host, Host::Domain(name) if !is_localhost(name));
        match special(address) {
            Some(kind) if !(by_address && (by_name || literal)) => Err(refused(
                &address.to_string(),
                port,
                &format!("{kind} addresses need a rule that names them, whatever name leads there"),
            )),
            None if !(by_name || by_address && literal) => {
                Err(refused(&address.to_string(), port, "no rule names this address"))
            }
            _ => Ok(()),
        }
    }

    /// Whether a rule names the host, whatever its addresses are.
    pub(crate) fn grants_host(&self, host: &Host<String>, port: u16) -> bool {
        match host {
            Host::Domain(name) => self.grants_name(name, port),
            Host::Ipv4(_) | Host::Ipv6(_) => self.grants(port, |pattern| *pattern == Pattern::Any),
        }
    }

    fn grants(&self, port: u16, mut matches: impl FnMut(&Pattern) -> bool) -> bool {
        self.rules.iter().any(|rule| rule.port.is_none_or(|own| own == port) && matches(&rule.pattern))
    }

    fn grants_name(&self, name: &str, port: u16) -> bool {
        let name = without_root(name);
        self.grants(port, |pattern| match pattern {
            Pattern::Any => true,
            Pattern::Name(own) => own == name,
            Pattern::Suffix(suffix) => name.strip_suffix(suffix.as_str()).is_some_and(|head| head.ends_with('.')),
            Pattern::Net(_) => false,
        })
    }

    fn grants_address(&self, address: IpAddr, port: u16) -> bool {
        let address = address.to_canonical();
        let inner = embedded_ipv4(address).map(IpAddr::V4);
        self.grants(port, |pattern| match pattern {
            Pattern::Net(net) => net.contains(&address) || inner.is_some_and(|inner| net.contains(&inner)),
            // `localhost` is the name of the loopback addresses, however they are written.
            Pattern::Name(name) => is_localhost(name) && address.is_loopback(),
            Pattern::Any | Pattern::Suffix(_) => false,
        })
    }
}

fn refused(destination: &str, port: u16, why: &str) -> Error {
    let destination = if destination.contains(':') && !destination.starts_with('[') {
        format!("[{destination}]")
    } else {
        destination.to_owned()
    };
    Error::AuthenticationFailed(format!(
        "the host's policy does not grant {destination}:{port}: {why}; whoever runs the host can allow it with the \
         setting `allow` = \"{destination}:{port}\""
    ))
}

/// The kind of an address that no name and no wildcard grants; `None` for the public internet.
fn special(address: IpAddr) -> Option<&'static str> {
    match address.to_canonical() {
        IpAddr::V4(address) => special_v4(address),
        IpAddr::V6(address) => special_v6(address).or_else(|| embedded_ipv4(address.into()).and_then(special_v4)),
    }
}

/// Special-purpose IPv4 addresses (RFC 6890), and the metadata services that hide among others.
fn special_v4(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets() {
        [127, ..] => Some("loopback"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Some("private"),
        [169, 254, 169, 254] | [168, 63, 129, 16] | [100, 100, 100, 200] | [192, 0, 0, 192] => Some("metadata"),
        [169, 254, ..] => Some("link-local"),
        [100, 64..=127, ..] => Some("carrier-internal"),
        [0, ..] => Some("unspecified"),
        [224..=239, ..] => Some("multicast"),
        [192, 0, 0, _] | [198, 18..=19, ..] | [240..=255, ..] => Some("reserved"),
        _ => None,
    }
}

/// Special-purpose IPv6 addresses (RFC 6890, RFC 4193, RFC 8215).
fn special_v6(address: Ipv6Addr) -> Option<&'static str> {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("unspecified"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("loopback"),
        [0xfc00..=0xfdff, ..] => Some("unique-local"),
        [0xfe80..=0xfebf, ..] => Some("link-local"),
        [0xfec0..=0xfeff, ..] => Some("site-local"),
        [0xff00..=0xffff, ..] => Some("multicast"),
        [0x0064, 0xff9b, 1, ..] => Some("locally translated"),
        _ => None,
    }
}

/// The IPv4 address that packets to this IPv6 address reach in the end: IPv4-compatible and
/// -translated ones, NAT64 (RFC 6052), 6to4 (RFC 3056) and Teredo (RFC 4380).
fn embedded_ipv4(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(address) = address else { return None };
    let ipv4 = |high: u16, low: u16| Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match address.segments() {
        [0, 0, 0, 0, 0, 0, high, low] if (high, low) > (0, 1) => ipv4(high, low),
        [0, 0, 0, 0, 0xffff, 0, high, low] => ipv4(high, low),
        [0x0064, 0xff9b, 0, 0, 0, 0, high, low] => ipv4(high, low),
        [0x2002, high, low, ..] => ipv4(high, low),
        [0x2001, 0, .., high, low] => ipv4(!high, !low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn policy(rules: &[&str]) -> Policy {
        Policy::new(rules.iter().map(|rule| rule.parse().unwrap()).collect())
    }

    /// Whether `host`, resolved to `address`, may be dialled at port 443.
    fn may(rules: &[&str], host: &str, address: &str) -> bool {
        let host = Host::parse(host).unwrap();
        let policy = policy(rules);
        policy.check_host(&host, 443).is_ok() && policy.check_address(&host, address.parse().unwrap(), 443).is_ok()
    }

    const PUBLIC: &str = "93.184.215.14";

    #[test]
    fn rules_are_read_as_people_write_them_and_shown_so_again() {
        for rule in ["example.com", "example.com:443", "*.example.com", "*", "*:443", "10.1.2.3/32:80", "[fc00::/7]:1"]
        {
            assert_eq!(rule.parse::<Rule>().unwrap().to_string(), rule);
        }
        assert_eq!("::1".parse::<Rule>(), "[::1]".parse());
        assert_eq!("::ffff:10.0.0.1".parse::<Rule>(), "10.0.0.1".parse());
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

        #[test]
        fn a_rule_for_one_address_grants_that_address_alone(own: IpAddr, other: IpAddr, port in 1u16..) {
            let policy = policy(&[&own.to_string()]);
            let host = |address| match address {
                IpAddr::V4(address) => Host::Ipv4(address),
                IpAddr::V6(address) => Host::Ipv6(address),
            };
            prop_assert!(policy.check_address(&host(own), own, port).is_ok());
            prop_assume!(own.to_canonical() != other.to_canonical());
            prop_assume!(embedded_ipv4(other).is_none_or(|inner| IpAddr::V4(inner) != own.to_canonical()));
            prop_assert!(policy.check_address(&host(other), other, port).is_err());
        }
    }

    #[test]
    fn without_rules_nothing_is_granted() {
        assert!(!may(&[], "example.com", PUBLIC));
        assert!(!may(&[], PUBLIC, PUBLIC));
        assert!(!may(&[], "localhost", "127.0.0.1"));
    }

    #[test]
    fn names_match_whole_labels_without_regard_to_case_or_root() {
        assert!(may(&["example.com"], "EXAMPLE.com.", PUBLIC));
        assert!(!may(&["example.com"], "a.example.com", PUBLIC));
        assert!(may(&["*.example.com"], "a.b.example.com", PUBLIC));
        assert!(!may(&["*.example.com"], "example.com", PUBLIC));
        assert!(!may(&["*.example.com"], "badexample.com", PUBLIC));
        assert!(may(&["*"], "example.org", PUBLIC) && may(&["*"], PUBLIC, PUBLIC));
    }

    #[test]
    fn a_port_narrows_a_rule() {
        assert!(may(&["example.com:443"], "example.com", PUBLIC));
        assert!(!may(&["example.com:444"], "example.com", PUBLIC));
        assert!(!may(&["*", "10.0.0.0/8:80"], "example.com", "10.0.0.1"));
    }

    #[test]
    fn special_addresses_need_a_rule_that_names_them() {
        for address in [
            "127.0.0.1",
            "127.8.8.8",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.100.100.200",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "fec0::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "::ffff:0:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2001:0:1:2:3:4:80ff:fffe",
        ] {
            assert!(!may(&["*", "example.com", "*.example.com"], "example.com", address), "{address}");
            assert!(may(&["*", address], "example.com", address), "{address}");
            let literal = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
            assert!(!may(&["*"], &literal, address), "{address}");
            assert!(may(&[address], &literal, address), "{address}");
        }
        for address in [PUBLIC, "172.32.0.1", "2606:4700::1", "64:ff9b::8.8.8.8", "2002:808:808::"] {
            assert!(may(&["example.com"], "example.com", address), "{address}");
        }
    }

    #[test]
    fn an_address_rule_grants_no_name_that_leads_to_it() {
        assert!(!may(&["93.184.215.0/24"], "example.com", PUBLIC));
        assert!(may(&["93.184.215.0/24"], PUBLIC, PUBLIC));
    }

    #[test]
    fn localhost_names_the_loopback_addresses() {
        assert!(may(&["localhost"], "localhost", "127.0.0.1"));
        assert!(may(&["localhost"], "localhost", "::1"));
        assert!(may(&["localhost"], "127.0.0.1", "127.0.0.1"));
        assert!(may(&["127.0.0.1"], "localhost", "127.0.0.1"));
        assert!(!may(&["127.0.0.1"], "localhost", "::1"));
        assert!(!may(&["*"], "localhost", "127.0.0.1"));
        assert!(!may(&["localhost"], "10.0.0.1", "10.0.0.1"));
        assert!(may(&["localhost", "*"], "rebound.example.com", "127.0.0.1"));
    }

    #[test]
    fn other_spellings_of_an_address_are_the_same_address() {
        assert!(may(&["127.0.0.1"], "0x7f.1", "127.0.0.1"));
        assert!(may(&["127.0.0.1"], "[::ffff:127.0.0.1]", "::ffff:127.0.0.1"));
        assert!(may(&["10.0.0.0/8"], "[64:ff9b::10.1.2.3]", "64:ff9b::10.1.2.3"));
    }

    #[test]
    fn a_refusal_says_how_to_allow_it() {
        let host = Host::parse("[fd00::1]").unwrap();
        let text = policy(&["*"]).check_address(&host, "fd00::1".parse().unwrap(), 443).unwrap_err().to_string();
        assert!(text.contains("unique-local") && text.contains("`allow` = \"[fd00::1]:443\""), "{text}");
    }
}
