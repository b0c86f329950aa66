//! How long to wait before the next connection.

use std::time::Duration;
use wasip2::random::insecure::get_insecure_random_u64;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);
const ATTEMPTS: u32 = 8;

/// Pauses that double, each shortened by up to half by chance, so that the clients of a feed that restarts do not
/// all come back at once. It ends when connecting is hopeless.
#[derive(Default)]
pub struct Backoff {
    failures: u32,
}

impl Iterator for Backoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if self.failures == ATTEMPTS {
            return None;
        }
        let pause = LONGEST.min(FIRST * 2u32.pow(self.failures));
        self.failures += 1;
        let chance = get_insecure_random_u64() as f64 / u64::MAX as f64;
        Some(pause.mul_f64(0.5 + 0.5 * chance))
    }
}
