//! A component that makes the calls which a test tells it: the probe, with the lattice for its standard input.

wit_bindgen::generate!({ path: ["../../wit", "wit"], world: "test:lattice/probe", generate_all });

#[path = "../../measure-guest/src/measure.rs"]
mod measure;
#[path = "../../../tests/guests/probe/src/probe.rs"]
mod probe;
#[path = "../../../tests/guests/probe/src/protocol.rs"]
mod protocol;

use test::lattice::script;

struct Component;

impl exports::test::lattice::runner::Guest for Component {
    fn run() {
        let mut probe = probe::Probe::default();
        let mut ask = script::next(None);
        while let Some(told) = ask {
            let answer = probe.answer(serde_json::from_str(&told).expect("the test speaks the protocol"));
            ask = script::next(Some(&serde_json::to_string(&answer).expect("an answer is JSON")));
        }
    }

    fn measure(url: String, count: u32) -> Result<String, String> {
        measure::measure(&url, count as usize).map_err(|error| format!("{error:?}"))
    }
}

export!(Component);
