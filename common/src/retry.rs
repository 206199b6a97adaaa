//! Waiting between attempts: exponential with jitter, for ever. The only module that uses the `backoff` crate, which is
//! no longer maintained (RUSTSEC-2025-0012): whatever replaces it is replaced here.

use std::time::Duration;

use backoff::backoff::Backoff;

/// The pauses between attempts at one thing. Each pause is longer than the one before, up to a ceiling, and each is
/// spread by half of itself either way, so that a fleet that lost its broker at once does not come back at once.
#[derive(Debug)]
pub struct Retry {
    backoff: backoff::ExponentialBackoff,
    attempts: u32,
}

impl Retry {
    /// Pauses that start at `first` and never exceed `ceiling` by more than the jitter's half.
    pub fn new(first: Duration, ceiling: Duration) -> Self {
        let backoff = backoff::ExponentialBackoff {
            current_interval: first,
            initial_interval: first,
            max_interval: ceiling,
            multiplier: 2.0,
            randomization_factor: 0.5,
            max_elapsed_time: None,
            ..Default::default()
        };
        Self { backoff, attempts: 0 }
    }

    /// For brokers: from 100 ms to 10 s.
    pub fn for_brokers() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(10))
    }

    /// The pause before the next attempt.
    pub fn next_pause(&mut self) -> Duration {
        self.attempts = self.attempts.saturating_add(1);
        self.backoff.next_backoff().unwrap_or(self.backoff.max_interval)
    }

    /// How many pauses were asked for since the last success.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The attempt worked: the next failure starts with the shortest pause again.
    pub fn succeeded(&mut self) {
        self.backoff.reset();
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_ceiling_and_start_over_after_success() {
        let mut retry = Retry::new(Duration::from_millis(100), Duration::from_secs(2));
        let pauses: Vec<_> = (0..50).map(|_| retry.next_pause()).collect();
        assert!(pauses[0] <= Duration::from_millis(150));
        assert!(pauses.iter().all(|pause| *pause <= Duration::from_secs(3)));
        assert!(pauses[20..].iter().all(|pause| *pause >= Duration::from_secs(1)));
        retry.succeeded();
        assert!(retry.next_pause() <= Duration::from_millis(150));
        assert_eq!(retry.attempts(), 1);
    }
}
