//! Replays what is kept of the targets' inputs.

use std::path::Path;

/// Every seed and every input that once failed.
#[test]
fn what_is_kept_is_fine() {
    type Target = fn(&[u8]);
    let targets: [(_, Target); 8] = [
        ("frames", fuzz::frames),
        ("config", fuzz::config),
        ("deflate", fuzz::deflate),
        ("handshake", fuzz::handshake),
        ("messages", fuzz::messages),
        ("payload", fuzz::payload),
        ("request", fuzz::request),
        ("streams", fuzz::streams),
    ];
    for (name, target) in targets {
        let mut count = 0;
        for kind in ["seeds", "regressions"] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(kind).join(name);
            let Ok(files) = std::fs::read_dir(&folder) else { continue };
            for file in files {
                let path = file.expect("the folder can be read").path();
                println!("{}", path.display());
                target(&std::fs::read(path).expect("an input can be read"));
                count += 1;
            }
        }
        assert!(count > 0, "nothing is kept for {name}");
    }
}
