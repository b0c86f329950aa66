//! Measures calls for each line of its input, `URL COUNT`; the other guests here do so with the same code.

wit_bindgen::generate!({ path: "../../wit", world: "wasmcloud:websocket/imports@0.1.0-draft", generate_all });

mod measure;

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    for line in std::io::stdin().lines() {
        let line = line?;
        let (url, count) = line.split_once(' ').ok_or("write URL COUNT")?;
        println!("{}", measure::measure(url, count.parse()?)?);
    }
    Ok(())
}
