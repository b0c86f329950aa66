//! Where a guest may go: rules that grant destinations, the addresses that no wildcard grants, and the embedder's own
//! policy.

use crate::{
    open::hook::{Destination, Hook},
    settings::rule::{Pattern, Rule, is_localhost, without_root},
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use url::Host;

/// The rules of one host, and the policy of its embedder.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    rules: Vec<Rule>,
    hook: Option<Hook>,
}

/// A destination that the rules, or the embedder's policy, do not grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Denial {
    destination: String,
    why: String,
    /// With this rule added, it is granted; `None` where the embedder's policy denies it.
    remedy: Option<Rule>,
}

impl Denial {
    fn of_name(name: &str, destination: String, port: u16, why: &str) -> Denial {
        let pattern = Pattern::Name(without_root(name).to_owned());
        Denial { destination, why: why.to_owned(), remedy: Some(Rule { pattern, port: Some(port) }) }
    }

    fn of_address(address: IpAddr, port: u16, why: &str) -> Denial {
        let remedy = Rule { pattern: Pattern::Net(address.to_canonical().into()), port: Some(port) };
        Denial { destination: SocketAddr::new(address, port).to_string(), why: why.to_owned(), remedy: Some(remedy) }
    }

    fn of_embedder(destination: String, why: String) -> Denial {
        Denial { destination, why, remedy: None }
    }

    /// Whether the embedder's policy denies what the rules grant.
    pub(crate) fn is_by_embedder(&self) -> bool {
        self.remedy.is_none()
    }

    /// What is denied, why, and the rules that the host's operator can add to allow it.
    pub(crate) fn describe(denials: &[Denial]) -> String {
        let each = |part: fn(&Denial) -> Option<String>| {
            let mut parts: Vec<_> = denials.iter().filter_map(part).collect();
            parts.dedup();
            parts
        };
        let denied = format!(
            "the host's policy does not grant {}: {}",
            each(|denial| Some(denial.destination.clone())).join(", "),
            each(|denial| Some(denial.why.clone())).join("; "),
        );
        match each(|denial| denial.remedy.as_ref().map(|rule| format!("\"{rule}\""))).as_slice() {
            [] => denied,
            rules => format!(
                "{denied}; the host's operator can allow it by adding {} to the setting `allow`",
                rules.join(", ")
            ),
        }
    }
}

impl Policy {
    pub(crate) fn new(rules: Vec<Rule>) -> Self {
        Policy { rules, hook: None }
    }

    /// The same rules with a policy of the embedder's, which replaces the one before.
    pub(crate) fn with_hook(&self, hook: Hook) -> Self {
        Policy { rules: self.rules.clone(), hook: Some(hook) }
    }

    /// Asks the embedder's policy, if there is one. It comes last: the rules have granted the destination.
    ///
    /// # Errors
    /// [`Denial`] with the reason that the embedder gives.
    pub(crate) async fn ask(&self, destination: Destination) -> Result<(), Denial> {
        let Some(hook) = &self.hook else { return Ok(()) };
        let shown = match destination.address {
            Some(address) => SocketAddr::new(address, destination.port).to_string(),
            None => format!("{}:{}", destination.host, destination.port),
        };
        hook.check(destination).await.map_err(|why| Denial::of_embedder(shown, why))
    }

    /// Whether looking a host up can lead anywhere, asked before DNS is.
    ///
    /// # Errors
    /// [`Denial`] when no rule names the host.
    pub(crate) fn check_host(&self, host: &Host<String>, port: u16) -> Result<(), Denial> {
        match host {
            Host::Domain(name) if !is_localhost(name) && !self.grants_name(name, port) => {
                Err(Denial::of_name(name, format!("{name}:{port}"), port, "no rule names this host"))
            }
            // The addresses of the others are known, and checked next.
            _ => Ok(()),
        }
    }

    /// Whether `host` may be dialled at `address`, one of those that it resolved to.
    ///
    /// # Errors
    /// [`Denial`] with the rule that would grant it.
    pub(crate) fn check_address(&self, host: &Host<String>, address: IpAddr, port: u16) -> Result<(), Denial> {
        let granted_address = self.grants_address(address, port);
        let granted_host = match host {
            // Its addresses are known without DNS, so that a rule for addresses grants the name as well.
            Host::Domain(name) if is_localhost(name) => {
                let why = "loopback addresses need a rule that names them, or this host";
                return match granted_address || self.names(host, port) {
                    true => Ok(()),
                    false => Err(Denial::of_name(name, SocketAddr::new(address, port).to_string(), port, why)),
                };
            }
            // A name that goes through DNS needs a rule of its own: an address rule grants addresses.
            Host::Domain(name) => self.grants_name(name, port),
            Host::Ipv4(_) | Host::Ipv6(_) => granted_address || self.grants(port, |pattern| *pattern == Pattern::Any),
        };
        match special(address) {
            Some(kind) if !granted_address => {
                let why = format!("{kind} addresses need a rule that names them; a rule for a host name is not enough");
                Err(Denial::of_address(address, port, &why))
            }
            _ if !granted_host => Err(Denial::of_address(address, port, "no rule names this address")),
            _ => Ok(()),
        }
    }

    /// Whether a proxy may be asked for `host` as the URL has it. The proxy resolves a name, so that nobody checks its
    /// addresses: a rule has to name the host, and `*` does not.
    ///
    /// # Errors
    /// [`Denial`] with the rule that would grant it.
    pub(crate) fn check_unresolved(&self, host: &Host<String>, port: u16) -> Result<(), Denial> {
        match host {
            Host::Domain(_) if self.names(host, port) => Ok(()),
            Host::Domain(name) => {
                let why = "the proxy resolves this name, so that a rule other than `*` has to name it";
                Err(Denial::of_name(name, format!("{name}:{port}"), port, why))
            }
            Host::Ipv4(address) => self.check_address(host, (*address).into(), port),
            Host::Ipv6(address) => self.check_address(host, (*address).into(), port),
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
        self.grants(port, |pattern| pattern.matches_name(name))
    }

    /// Whether a rule other than `*` names the host.
    fn names(&self, host: &Host<String>, port: u16) -> bool {
        self.rules.iter().any(|rule| rule.pattern != Pattern::Any && rule.names(host, port))
    }

    fn grants_address(&self, address: IpAddr, port: u16) -> bool {
        let address = address.to_canonical();
        let granted = |address: IpAddr| {
            self.grants(port, |pattern| match pattern {
                Pattern::Net(net) => net.contains(&address),
                // `localhost` is the name of the loopback addresses, however they are written.
                Pattern::Name(name) => is_localhost(name) && address.is_loopback(),
                Pattern::Any | Pattern::Suffix(_) => false,
            })
        };
        let mut inner = embedded_ipv4(address).map(IpAddr::V4).peekable();
        granted(address) || inner.peek().is_some() && inner.all(granted)
    }
}

/// The kind of an address that no name and no wildcard grants; `None` for the public internet.
fn special(address: IpAddr) -> Option<&'static str> {
    match address.to_canonical() {
        IpAddr::V4(address) => special_v4(address),
        IpAddr::V6(address) => special_v6(address).or_else(|| embedded_ipv4(address.into()).find_map(special_v4)),
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

/// The IPv4 addresses that packets to this IPv6 address reach in the end: those of IPv4-compatible and -translated
/// addresses, NAT64 (RFC 6052), 6to4 (RFC 3056), Teredo (RFC 4380, its server and its client) and ISATAP (RFC 5214,
/// under any prefix).
fn embedded_ipv4(address: IpAddr) -> impl Iterator<Item = Ipv4Addr> {
    let ipv4 = |high: u16, low: u16| Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    let segments = match address {
        IpAddr::V4(_) => [0; 8],
        IpAddr::V6(address) => address.segments(),
    };
    let by_prefix = match segments {
        [0, 0, 0, 0, 0, 0, high, low] if (high, low) > (0, 1) => [ipv4(high, low), None],
        [0, 0, 0, 0, 0xffff, 0, high, low] => [ipv4(high, low), None],
        [0x0064, 0xff9b, 0, 0, 0, 0, high, low] => [ipv4(high, low), None],
        [0x2002, high, low, ..] => [ipv4(high, low), None],
        [0x2001, 0, server_high, server_low, .., high, low] => [ipv4(server_high, server_low), ipv4(!high, !low)],
        _ => [None, None],
    };
    let by_interface = match segments {
        [_, _, _, _, 0 | 0x0200, 0x5efe, high, low] => ipv4(high, low),
        _ => None,
    };
    by_prefix.into_iter().chain([by_interface]).flatten()
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

    proptest! {
        #[test]
        fn a_rule_for_one_address_grants_that_address_alone(own: IpAddr, other: IpAddr, port in 1u16..) {
            let policy = policy(&[&own.to_string()]);
            let host = |address| match address {
                IpAddr::V4(address) => Host::Ipv4(address),
                IpAddr::V6(address) => Host::Ipv6(address),
            };
            prop_assert!(policy.check_address(&host(own), own, port).is_ok());
            prop_assume!(own.to_canonical() != other.to_canonical());
            prop_assume!(embedded_ipv4(other).all(|inner| IpAddr::V4(inner) != own.to_canonical()));
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
            "2001:0:808:808:3:4:80ff:fffe",
            "2001:0:a00:1:0:0:f7f7:f7f7",
            "2606:4700::5efe:10.0.0.1",
            "2606:4700::200:5efe:192.168.0.1",
            "2002:808:808::5efe:127.0.0.1",
            "fe80::5efe:8.8.8.8",
        ] {
            assert!(!may(&["*", "example.com", "*.example.com"], "example.com", address), "{address}");
            assert!(may(&["*", address], "example.com", address), "{address}");
            let literal = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
            assert!(!may(&["*"], &literal, address), "{address}");
            assert!(may(&[address], &literal, address), "{address}");
        }
        for address in [
            PUBLIC,
            "172.32.0.1",
            "2606:4700::1",
            "64:ff9b::8.8.8.8",
            "2002:808:808::",
            "2606:4700::5efe:8.8.8.8",
            "2001:0:808:808:3:4:f7f7:f7f7",
        ] {
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
    fn an_address_that_has_two_others_within_needs_both_granted() {
        let both = "2002:a00:1::5efe:127.0.0.1";
        for (rules, granted) in
            [(&["10.0.0.1"][..], false), (&["127.0.0.1"], false), (&["10.0.0.1", "127.0.0.1"], true), (&[both], true)]
        {
            assert_eq!(may(rules, &format!("[{both}]"), both), granted, "{rules:?}");
        }
    }

    #[test]
    fn a_network_of_ipv4_mapped_addresses_is_that_of_ipv4() {
        for (mapped, ipv4) in [
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("[::ffff:10.0.0.0/104]:80", "10.0.0.0/8:80"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::ffff:10.0.0.1/128", "10.0.0.1"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
        ] {
            assert_eq!(mapped.parse::<Rule>(), ipv4.parse(), "{mapped}");
        }
        assert!(may(&["::ffff:10.0.0.0/104"], "[::ffff:10.1.2.3]", "::ffff:10.1.2.3"));
        assert!(may(&["::ffff:10.0.0.0/104"], "10.1.2.3", "10.1.2.3"));
        assert!(!may(&["::/0"], "10.1.2.3", "10.1.2.3"));
    }

    #[test]
    fn a_name_that_dns_cannot_have_is_not_a_rule() {
        let long = "a".repeat(64);
        let longest = [&long[1..]; 4].join(".");
        for (name, fault) in
            [("a,b", "','"), ("a\"b", "'\"'"), ("a!b", "'!'"), (&long, "label"), (&longest, "253"), ("a..b", "empty")]
        {
            for rule in [name.to_owned(), format!("*.{name}"), format!("{name}:80")] {
                let told = rule.parse::<Rule>().unwrap_err().to_string();
                assert!(told.contains(fault), "{told}");
            }
        }
        assert!(format!("{}:80", &longest[2..]).parse::<Rule>().is_ok());
        assert!(may(&["_sip._tcp.a-b.example"], "_sip._tcp.a-b.example", PUBLIC));
    }

    #[test]
    fn a_suffix_of_localhost_names_loopback_addresses_too() {
        assert!(may(&["*.localhost"], "a.localhost", "127.0.0.1"));
        assert!(may(&["a.localhost"], "a.localhost", "::1"));
        assert!(!may(&["*.localhost"], "localhost", "127.0.0.1"));
        assert!(!may(&["*.localhost"], "127.0.0.1", "127.0.0.1"));
    }

    /// The rules that a denial advises.
    fn advice(denials: &[Denial]) -> Vec<Rule> {
        let told = Denial::describe(denials);
        assert!(told.ends_with("to the setting `allow`"), "{told}");
        let (_, rules) = told.split_once("by adding ").unwrap();
        rules.split('"').skip(1).step_by(2).map(|rule| rule.parse().unwrap()).collect()
    }

    /// Follows the advice of each denial of a host with these addresses until all of them are granted.
    fn follow(rules: &[&str], host: &Host<String>, addresses: &[IpAddr]) {
        let mut policy = policy(rules);
        if let Err(denial) = policy.check_host(host, 443) {
            policy.rules.extend(advice(&[denial]));
        }
        assert_eq!(policy.check_host(host, 443), Ok(()));
        let check = |policy: &Policy| -> Vec<_> {
            addresses.iter().filter_map(|address| policy.check_address(host, *address, 443).err()).collect()
        };
        let denials = check(&policy);
        if !denials.is_empty() {
            policy.rules.extend(advice(&denials));
        }
        assert_eq!(check(&policy), [], "{:?}", policy.rules);
        let mut behind_proxy = self::policy(rules);
        if let Err(denial) = behind_proxy.check_unresolved(host, 443) {
            behind_proxy.rules.extend(advice(&[denial]));
        }
        assert_eq!(behind_proxy.check_unresolved(host, 443), Ok(()), "{:?}", behind_proxy.rules);
    }

    #[test]
    fn the_advice_of_every_denial_works() {
        let loopback = [IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::LOCALHOST)];
        for rules in [&[][..], &["*"], &["*:80"], &["example.com", "10.0.0.0/8:80"], &["localhost:80"], &["127.0.0.1"]]
        {
            for name in ["localhost", "localhost.", "a.localhost", "LOCALHOST"] {
                follow(rules, &Host::parse(name).unwrap(), &loopback);
            }
            for name in ["example.com", "example.com.", "a.b.example.com", "bücher.example", "_a.example", "x"] {
                for addresses in [&[PUBLIC][..], &["10.0.0.1", "fd00::1", PUBLIC], &["127.0.0.1", "::ffff:10.0.0.1"]] {
                    let addresses: Vec<_> = addresses.iter().map(|address| address.parse().unwrap()).collect();
                    follow(rules, &Host::parse(name).unwrap(), &addresses);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn the_advice_of_every_denial_of_an_address_works(
            address in prop_oneof![
                any::<IpAddr>(),
                any::<Ipv4Addr>().prop_map(|inner| IpAddr::V6(inner.to_ipv6_mapped())),
                any::<Ipv4Addr>().prop_map(|inner| IpAddr::V6(inner.to_ipv6_compatible())),
                any::<[u8; 4]>().prop_map(|[a, b, c, d]| format!("64:ff9b::{a}.{b}.{c}.{d}").parse().unwrap()),
                any::<[u8; 4]>().prop_map(|[a, b, c, d]| format!("2002:{a:x}:{b:x}::5efe:{c}.{d}.0.1").parse().unwrap()),
            ],
        ) {
            let host = match address {
                IpAddr::V4(address) => Host::Ipv4(address),
                IpAddr::V6(address) => Host::Ipv6(address),
            };
            follow(&[], &host, &[address]);
            follow(&["*"], &host, &[address]);
        }
    }
}
