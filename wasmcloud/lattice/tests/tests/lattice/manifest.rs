//! The manifest for wasmCloud 1.x that the README shows.

use wadm_types::{
    Manifest, Properties, TraitProperty,
    validation::{ValidationFailureLevel, validate_manifest},
};
use websocket_connection::Settings;

#[tokio::test]
async fn the_manifest_of_the_readme_is_one_that_wadm_takes() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let mut blocks = readme.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let manifest = blocks.find(|block| block.contains("core.oam.dev")).unwrap();
    let manifest: Manifest = serde_yaml::from_str(manifest).unwrap();
    let failures = validate_manifest(&manifest).await.unwrap();
    let told: Vec<_> = failures.iter().map(|failure| (failure.level.clone(), failure.msg.as_str())).collect();
    // wadm has a list of the interfaces of `wasmcloud`, and warns of others.
    let unknown = "unrecognized interface [wasmcloud:websocket/client]";
    assert_eq!(told, [(ValidationFailureLevel::Warning, unknown)]);

    let mut links = 0;
    for component in &manifest.spec.components {
        if let Properties::Capability { properties } = &component.properties {
            assert!(properties.image.as_ref().unwrap().ends_with("/wasmcloud-websocket-provider.par.gz"));
        }
        for found in component.traits.iter().flatten() {
            let TraitProperty::Link(link) = &found.properties else { continue };
            assert_eq!((link.namespace.as_str(), link.package.as_str()), ("wasmcloud", "websocket"));
            let mut settings = Settings::default();
            for (name, value) in link.target.config.iter().flat_map(|config| config.properties.iter().flatten()) {
                settings.set(name, value).unwrap();
                links += 1;
            }
        }
    }
    assert!(links > 0, "the manifest shows a setting");
}
