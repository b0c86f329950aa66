//! A guest that reads calls from standard input, makes them, and prints the result of each on
//! standard output; the end of its input ends it.

wit_bindgen::generate!({ path: ["../../../wit", "wit"], world: "wasmcloud:probe/probe", generate_all });

mod probe;
mod protocol;

use std::io::{BufRead, Write};

fn main() -> std::io::Result<()> {
    let mut probe = probe::Probe::default();
    for line in std::io::stdin().lock().lines() {
        let answer = probe.answer(serde_json::from_str(&line?)?);
        let mut out = std::io::stdout().lock();
        serde_json::to_writer(&mut out, &answer)?;
        out.write_all(b"\n")?;
        out.flush()?;
    }
    Ok(())
}
