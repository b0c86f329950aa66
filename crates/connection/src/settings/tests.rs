//! Tests of the settings: the table, what texts are read, and ranges.

use super::{value::MAX_COUNT, *};
use proptest::prelude::*;

#[test]
fn the_table_states_the_defaults_that_settings_have() {
    let mut settings = Settings::default();
    for setting in SETTINGS {
        if let Some(default) = setting.default {
            settings.set(setting.name, default).unwrap();
        }
    }
    assert_eq!(settings, Settings::default());
    assert_eq!(settings.validate(), Ok(()));
}

#[test]
fn values_are_read_as_people_write_them() {
    let mut settings = Settings::default();
    for (name, value) in [
        ("receive-wait", "500ms"),
        ("max-message-size", "1 MiB"),
        ("max-frame-size", "64KiB"),
        ("fragment-size", "32KiB"),
        ("inbound-buffer", "4096"),
        ("keepalive", "false"),
        ("allow", "localhost, *.example.com:443"),
        ("allow", "10.0.0.0/8"),
        ("proxy", "http://me:secret@proxy.example:3128"),
        ("allow-origin", "https://example.com, http://localhost:3000"),
    ] {
        settings.set(name, value).unwrap();
    }
    assert_eq!(settings.receive_wait, Duration::from_millis(500));
    assert_eq!(settings.max_message_size, 1024 * 1024);
    assert_eq!((settings.max_frame_size, settings.fragment_size), (Some(64 << 10), Some(32 << 10)));
    assert_eq!(settings.inbound_buffer, 4096);
    assert!(!settings.keepalive);
    assert_eq!((settings.allow.len(), settings.allow_origin.len()), (3, 2));
    assert_eq!(settings.proxy.as_ref().map(|proxy| proxy.url().username()), Some("me"));
    assert!(!format!("{settings:?}").contains("secret"), "{settings:?}");
}

#[test]
fn the_user_agent_is_this_product_unless_it_is_set_or_empty() {
    let mut settings = Settings::default();
    let sent = |settings: &Settings| settings.user_agent.as_ref().map(|agent| agent.to_str().unwrap().to_owned());
    assert_eq!(sent(&settings).unwrap(), format!("websocket-provider/{}", env!("CARGO_PKG_VERSION")));
    settings.set("user-agent", " Mozilla/5.0 (X11; \"it\") ").unwrap();
    assert_eq!(sent(&settings).unwrap(), "Mozilla/5.0 (X11; \"it\")");
    settings.set("user-agent", "").unwrap();
    assert_eq!(sent(&settings), None);
}

#[test]
fn a_bad_value_is_named_with_its_remedy() {
    let mut settings = Settings::default();
    for (name, value, remedy) in [
        ("receive-wait", "soon", "500ms"),
        ("close-timeout", "0s", "write a duration from 1ms to 365days"),
        ("receive-wait", "366d", "write a duration from 0s to 365days"),
        ("max-message-size", "large", "16MiB"),
        ("max-connections", "-1", "whole number"),
        ("keepalive", "maybe", "true or false"),
        ("allow", "ws://example.com", "without a scheme"),
        ("proxy", "socks4://proxy:1080", "http://host:port"),
        ("proxy-dns", "remote", "local or proxy"),
        ("no-proxy", "http://proxy", "without a scheme"),
        ("allow-origin", "null", "https://example.com"),
        ("client-key", "", "file"),
        ("user-agent", "a\r\nEvil: b", "control character"),
        ("user-agent", "ü", "ASCII"),
        ("user-agent", &"a".repeat(257), "256"),
    ] {
        let text = settings.set(name, value).unwrap_err().to_string();
        assert!(text.contains(name) && text.contains(remedy), "{text}");
    }
    assert_eq!(settings, Settings::default());
    assert_eq!(settings.set("recieve-wait", "1s"), Err(SettingError::Unknown("recieve-wait".into())));
}

#[test]
fn a_bad_proxy_is_not_shown_with_its_password() {
    for value in [
        "https://me:secret@proxy:1080",
        "http://me:secret",
        "me:secret@proxy:3128",
        "secret",
        "http://me:sec/ret@proxy:3128",
        "http://proxy:3128\r\nsecret: x",
        "http://me:secret@proxy:0",
        "http://me:secret@pro%20xy",
        "http://me:secret@a,http://b",
        "http://proxy/secret",
        "http://proxy?secret",
        "socks5://secret@proxy",
        "socks5h://:secret@proxy",
        "socks5://secret:%ff@proxy",
        "http://me:secret%00@proxy",
        "http://me:%0D%0Asecret@proxy",
        "http://me%7F:secret@proxy",
        "http://me%C2%85:secret@proxy",
        "http://me%3Aalso:secret@proxy",
        "socks5://me:secret%0A@proxy",
        "socks5h://me%1B:secret@proxy",
    ] {
        let error = Settings::default().set("proxy", value).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("`proxy`"), "{text}");
        assert!(text.contains("http://user:password@host:port") || text.contains("control character"), "{text}");
        assert!(!text.contains("secret") && !format!("{error:?}").contains("secret"), "{error:?}");
    }
}

#[test]
fn proxies_speak_http_or_socks5() {
    for (url, host, port) in [
        ("http://proxy.example:3128", "proxy.example", 3128),
        ("http://proxy.example", "proxy.example", 80),
        ("http://[::1]:8080/", "::1", 8080),
        ("socks5://127.0.0.1", "127.0.0.1", 1080),
        ("socks5h://me:p%40ss@[::1]:9050", "::1", 9050),
    ] {
        let proxy: Proxy = url.parse().unwrap();
        assert_eq!(proxy.address(), (host, port), "{url}");
    }
    let tor: Proxy = "socks5h://me:p%40ss@localhost".parse().unwrap();
    assert_eq!(tor.socks_credentials(), Some(Ok(("me".to_owned(), "p@ss".to_owned()))));
    assert!(tor.resolves_names() && tor.is_socks());
    // The password may have a colon, and so may the user of SOCKS5.
    for url in ["http://me:p%3Ass@proxy", "http://me:p%FFss@proxy", "socks5://m%3Ae:p%3Ass@proxy"] {
        assert!(url.parse::<Proxy>().is_ok(), "{url}");
    }
    let long = format!("socks5://{}:p@localhost", "u".repeat(256));
    assert!(long.parse::<Proxy>().unwrap_err().contains("255 bytes"));
}

/// Values that each kind of setting refuses, and the ends of its range.
#[test]
fn every_setting_refuses_what_is_out_of_its_range() {
    let too_large = MAX_COUNT as u128 + 1;
    for setting in SETTINGS {
        let refuses = |value: &str| {
            let mut settings = Settings::default();
            match settings.set(setting.name, value) {
                Err(error) => {
                    let text = error.to_string();
                    assert!(text.contains(setting.name), "{text}");
                    assert_eq!(settings, Settings::default(), "`{}` changed by {value:?}", setting.name);
                }
                Ok(()) => panic!("`{}` takes {value:?}: {settings:?}", setting.name),
            }
        };
        let takes = |value: &str| {
            let mut settings = Settings::default();
            settings.set(setting.name, value).unwrap();
        };
        for value in ["a\0b", "a\r\nb", "1s\r\n2s", "1\x1b", "a\u{85}b"] {
            refuses(value);
        }
        let out_of_range: &[&str] = match setting.value {
            "DURATION" => &["-1s", "-1", "1", "366days", "10000000000y", "1s,2s", "[1s]", "true", "1ns.5", "NaN"],
            "SIZE" => &["0", "0KiB", "-1", "-1KiB", "0.1", "2TiB", "17EiB", "1,2", "[1]", "true", "1s", "1e3", "NaN"],
            "COUNT" => &["0", "-1", &too_large.to_string(), "1,2", "[1]", "true", "1.5", "1KiB", "+", "1e3"],
            "BOOL" => &["0", "1", "-1", "true,false", "[true]", "yes", "TRUE"],
            "RULE" => &["a,,b", ",", "-1:-1", "a:0", "a:65536", "[a]", "[\"a\"]", "http://a"],
            "URL" => &["0", "-1", "true", "http://", "[http://a]", "http://a:65536", "http://a:0", "ftp://a"],
            "SIDE" => &["0", "-1", "true", "local,proxy", "LOCAL", "[local]"],
            _ => &[],
        };
        out_of_range.iter().for_each(|value| refuses(value));
        match setting.value {
            "DURATION" => ["1ms", "365days"].iter().for_each(|value| takes(value)),
            "SIZE" => ["1", "1TiB"].iter().for_each(|value| takes(value)),
            "COUNT" => ["1", &MAX_COUNT.to_string()].iter().for_each(|value| takes(value)),
            _ => {}
        }
        if setting.value == "DURATION" && setting.name != "receive-wait" {
            refuses("0s");
            refuses("1us");
        }
        if ["FILE", "RULE", "URL", "DURATION", "SIZE", "COUNT", "NUMBER", "BOOL", "SIDE"].contains(&setting.value) {
            refuses("");
            refuses("  ");
        }
    }
}

#[test]
fn a_value_that_was_not_set_from_text_has_the_same_range() {
    for change in [
        (|s: &mut Settings| s.max_connections = 0) as fn(&mut Settings),
        |s| s.inbound_buffer = 0,
        |s| s.max_frame_size = Some(0),
        |s| s.fragment_size = Some(usize::MAX),
        |s| s.max_message_size_limit = usize::MAX,
        |s| s.close_timeout = Duration::MAX,
        |s| s.keepalive_floor = Duration::ZERO,
        |s| s.compress_window_bits = 8,
        |s| s.compress_level = 10,
    ] {
        let mut settings = Settings::default();
        change(&mut settings);
        let text = settings.validate().unwrap_err().to_string();
        assert!(text.contains("is out of range: write a "), "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_panics_and_one_that_is_refused_changes_nothing(
        which in 0..SETTINGS.len(),
        text in prop_oneof![any::<String>(), "[0-9]{1,25} ?(ms|s|m|h|d|y|KiB|MiB|EiB|B)?"],
    ) {
        let (setting, mut settings) = (&SETTINGS[which], Settings::default());
        match settings.set(setting.name, &text) {
            Ok(()) => prop_assert!((setting.check)(&settings).is_ok()),
            Err(_) => prop_assert_eq!(settings, Settings::default()),
        }
    }

    #[test]
    fn durations_sizes_and_counts_mean_what_they_say(number in 1usize..=1_000_000) {
        let mut settings = Settings::default();
        settings.set("close-timeout", &format!("{number}ms")).unwrap();
        settings.set("max-message-size", &format!("{number} KiB")).unwrap();
        settings.set("max-connections", &number.to_string()).unwrap();
        prop_assert_eq!(settings.close_timeout, Duration::from_millis(number as u64));
        prop_assert_eq!((settings.max_message_size, settings.max_connections), (number * 1024, number));
    }
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    for (name, value) in
        [("connect-timeout", "3m"), ("max-message-size", "65MiB"), ("keepalive-floor", "31s"), ("client-cert", "f")]
    {
        let mut settings = Settings::default();
        settings.set(name, value).unwrap();
        assert!(settings.validate().unwrap_err().to_string().contains(name));
    }
}
