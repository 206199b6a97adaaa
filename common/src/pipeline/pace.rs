//! How often a source is looked at that tells of each record by itself: pure, time comes in.

use std::time::{Duration, Instant};

/// How long such a source is left alone after a look: it would wake the task for each of some ten thousand a second, and waking
/// costs more than a record. By tokio's timer it is one to two milliseconds.
const APART: Duration = Duration::from_millis(1);
/// Only where records come so close to each other; what comes after a while of nothing is not kept waiting.
const CLOSE: Duration = Duration::from_millis(3);

/// The pace of one source partition.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When it was last seen to have something.
    seen: Option<Instant>,
    alone_until: Option<Instant>,
}

impl Pace {
    /// It has something, `now`. Never earlier than the last time.
    pub(super) fn saw(&mut self, now: Instant) {
        let before = self.seen.replace(now);
        self.alone_until = before.filter(|before| now - *before < CLOSE).map(|_| now + APART);
    }

    /// When it is to be looked at again; `None`: at once.
    pub(super) fn next_look(&self, now: Instant) -> Option<Instant> {
        self.alone_until.filter(|at| *at > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_comes_close_together_waits_and_never_for_longer_than_the_pause() {
        let (start, millis) = (Instant::now(), Duration::from_millis);
        let mut pace = Pace::default();
        assert_eq!(pace.next_look(start), None, "nothing was seen yet");
        pace.saw(start);
        assert_eq!(pace.next_look(start), None, "the first is not kept waiting");
        let second = start + millis(2);
        pace.saw(second);
        assert_eq!(pace.next_look(second), Some(second + APART));
        assert_eq!(pace.next_look(second + APART), None, "the pause is over");
        pace.saw(second + CLOSE);
        assert_eq!(pace.next_look(second + CLOSE), None, "what comes after a while of nothing");
    }
}
