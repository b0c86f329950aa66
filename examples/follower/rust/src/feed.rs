//! What the feed says, and what of it has been seen: every tick has the number after that of the one before.

use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
struct Tick {
    symbol: String,
    seq: u64,
    price: f64,
}

/// The ticks of one symbol.
pub struct Ticks {
    symbol: String,
    last: u64,
    newest: u64,
    end: u64,
    /// Whether ticks are missing that the feed has been asked for.
    behind: bool,
}

/// What a message changed.
pub enum Progress {
    /// The next tick, as a line.
    Tick(String),
    /// Ticks are missing: subscribe again.
    Gap { missing: u64, got: u64 },
    /// It was seen already, or comes again when its turn has come.
    Nothing,
}

impl Ticks {
    /// Those from 1 to `end`.
    pub fn new(symbol: &str, end: u64) -> Ticks {
        Ticks { symbol: symbol.to_owned(), last: 0, newest: 0, end, behind: false }
    }

    /// The number of the last tick without a gap before it.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Whether all have come.
    pub fn are_complete(&self) -> bool {
        self.last >= self.end
    }

    /// The message that asks for all that is missing and all that is to come.
    pub fn subscribe(&self) -> String {
        json!({ "op": "subscribe", "symbol": self.symbol, "after": self.last }).to_string()
    }

    /// Takes a message of the feed.
    pub fn take(&mut self, text: &str) -> Result<Progress, String> {
        let tick: Tick = serde_json::from_str(text).map_err(|error| format!("not a tick: {error}: {text}"))?;
        let missing = self.last + 1;
        if tick.symbol != self.symbol || tick.seq < missing {
            return Ok(Progress::Nothing);
        }
        if tick.seq == missing {
            self.last = tick.seq;
            self.behind = false;
            return Ok(Progress::Tick(format!("{} {} {}", tick.symbol, tick.seq, tick.price)));
        }
        // What was on its way already when the feed was asked is newer than all before it.
        let asked = self.behind && tick.seq > self.newest;
        self.behind = true;
        self.newest = self.newest.max(tick.seq);
        Ok(if asked { Progress::Nothing } else { Progress::Gap { missing, got: tick.seq } })
    }
}
