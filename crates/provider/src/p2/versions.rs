//! The versions of the WIT package. wasmCloud's plugin and its lattice provider include this file.

/// The versions of the package that guests may import. Their shape is one and the same.
pub(super) const VERSIONS: [&str; 2] = ["0.1.0-draft", "0.1.1-draft"];
