//! Verdicts on failures: what a broker's error means for the lane, and when dead letters are too many.

use std::collections::VecDeque;

use super::reasons::{SendFailure, Stop};

/// What an answer of SEND_ERROR means. Only a refusal for its size proves that the content can never be stored; for
/// everything else (checksum, persistence, terminated topic, revoked rights, unknown) the outcome is open, the partition
/// is opened again, and where the cause lasts it stalls there, visibly.
///
/// `code` is the name of Pulsar's `ServerError`, `text` the broker's message.
pub fn send_failure(code: &str, text: &str) -> SendFailure {
    // A topic's own limit (topic policy maxMessageSize) is known only to the broker, which says so in words.
    if code == "NotAllowedError" && text.to_ascii_lowercase().contains("maximum message size") {
        SendFailure::Refused(text.to_owned())
    } else {
        SendFailure::Unknown(format!("{code}: {text}"))
    }
}

/// Watches the share of dead letters among the last records, so that a wrong contract stops a partition instead of
/// emptying the stream into the dead-letter topic.
#[derive(Debug, Clone)]
pub struct DeadLetterGuard {
    max_ratio: f64,
    recent: VecDeque<bool>,
    dead_letters: u32,
}

impl DeadLetterGuard {
    /// How many records the share is taken over.
    pub const RECORDS: usize = 1000;
    /// Below this many dead letters it never trips: a quiet stream may have a bad day.
    pub const MIN_DEAD_LETTERS: u32 = 50;

    /// `max_ratio`: the largest share that is accepted, 1.0 for "any".
    pub fn new(max_ratio: f64) -> Self {
        Self { max_ratio, recent: VecDeque::with_capacity(Self::RECORDS), dead_letters: 0 }
    }

    /// Notes one record; gives the reason to stop once the share is above the ratio.
    pub fn note(&mut self, is_dead_letter: bool) -> Option<Stop> {
        if self.recent.len() == Self::RECORDS && self.recent.pop_front() == Some(true) {
            self.dead_letters -= 1;
        }
        self.recent.push_back(is_dead_letter);
        if !is_dead_letter {
            return None;
        }
        self.dead_letters += 1;
        let records = self.recent.len() as u32;
        let tripped = self.max_ratio < 1.0
            && self.dead_letters >= Self::MIN_DEAD_LETTERS
            && f64::from(self.dead_letters) > self.max_ratio * f64::from(records);
        tripped.then_some(Stop::DeadLetterBurst { dead_letters: self.dead_letters, records })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_size_refusal_condemns_the_content() {
        assert!(matches!(send_failure("NotAllowedError", "Exceed maximum message size"), SendFailure::Refused(_)));
        assert!(matches!(send_failure("NotAllowedError", "topic is migrated"), SendFailure::Unknown(_)));
        assert!(matches!(send_failure("ChecksumError", "Checksum failed"), SendFailure::Unknown(_)));
    }

    #[test]
    fn the_guard_trips_on_a_burst_and_not_on_a_trickle() {
        let mut guard = DeadLetterGuard::new(0.1);
        assert!((0..100_000).all(|n| guard.note(n % 20 == 0).is_none()), "5% is below 10%");
        assert!((0..100).any(|_| guard.note(true).is_some()), "a burst is noticed within 100 records");
        let mut any = DeadLetterGuard::new(1.0);
        assert!((0..10_000).all(|_| any.note(true).is_none()));
    }
}
