//! The manifest for wasmCloud 2 that the README shows.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use serde_yaml::Value;
use support::{EXAMPLE, Guest, Host};
use wash_runtime::wit::WitInterface;
use wasmcloud_websocket_plugin::Settings;

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manifest_of_the_readme_grants_what_it_says() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).unwrap();
    let mut blocks = readme.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let manifest = blocks.find(|block| block.contains("WorkloadDeployment")).unwrap();
    let manifest: Value = serde_yaml::from_str(manifest).unwrap();
    let spec = &manifest["spec"]["template"]["spec"];
    for component in spec["components"].as_sequence().unwrap() {
        assert!(!text(&component["name"]).is_empty() && !text(&component["image"]).is_empty());
    }
    let [interface] = spec["hostInterfaces"].as_sequence().unwrap().as_slice() else { panic!("one interface") };
    let names: Vec<_> = interface["interfaces"].as_sequence().unwrap().iter().map(text).collect();
    let (namespace, package) = (text(&interface["namespace"]), text(&interface["package"]));
    let named = format!("{namespace}:{package}/{}@{}", names.join(","), text(&interface["version"]));
    assert_eq!(WitInterface::from(named.as_str()), WitInterface::from("wasmcloud:websocket/client@0.1.0-draft"));

    let config = interface["config"].as_mapping().unwrap().iter();
    let config: Vec<_> = config.map(|(name, value)| (text(name), text(value))).collect();
    let mut host = Host::start(Settings::default()).await;
    let url = "ws://localhost:1".to_owned();
    let running = host.run(Guest { file: EXAMPLE, url, interface: &config, ..Guest::default() }).await.unwrap();
    let said = running.call().await;
    assert!(said.contains("AuthenticationFailed"), "localhost is not among what it grants: {said}");
}
