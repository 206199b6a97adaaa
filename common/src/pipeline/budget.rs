//! What all partitions of a bridge share: a bound on the bytes that are batched or in flight, and on the bytes per second.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// The budget of one bridge.
#[derive(Debug)]
pub(super) struct Budget {
    limit_bytes: usize,
    used_bytes: AtomicUsize,
    rate: Option<Mutex<Rate>>,
}

impl Budget {
    /// `limit_bytes` batched or in flight at most; `bytes_per_second` 0 is "as fast as it goes".
    pub(super) fn new(limit_bytes: usize, bytes_per_second: u64) -> Arc<Self> {
        let rate = (bytes_per_second > 0).then(|| Mutex::new(Rate::new(bytes_per_second as f64, Instant::now())));
        Arc::new(Self { limit_bytes, used_bytes: AtomicUsize::new(0), rate })
    }

    /// What is batched or in flight, and what may be.
    pub(super) fn held_of_limit(&self) -> (usize, usize) {
        (self.used_bytes.load(Ordering::Relaxed), self.limit_bytes)
    }

    /// A partition's share of it.
    pub(super) fn share(self: &Arc<Self>) -> Share {
        Share { budget: Arc::clone(self), mine_bytes: 0 }
    }
}

/// What one partition uses of the budget; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Budget>,
    mine_bytes: usize,
}

impl Share {
    /// Whether more may be taken. A partition that holds nothing may always take, so that none can be starved: the
    /// bound is the limit plus one round of taking per partition.
    pub(super) fn has_room(&self) -> bool {
        let fits = self.mine_bytes == 0 || self.budget.used_bytes.load(Ordering::Relaxed) < self.budget.limit_bytes;
        fits && self.budget.rate.as_ref().is_none_or(|rate| lock(rate).has_some(Instant::now()))
    }

    /// What this partition has batched or in flight now.
    pub(super) fn set(&mut self, bytes: usize) {
        if bytes > self.mine_bytes {
            let more = bytes - self.mine_bytes;
            self.budget.used_bytes.fetch_add(more, Ordering::Relaxed);
            if let Some(rate) = &self.budget.rate {
                lock(rate).spend(more as f64);
            }
        } else {
            self.budget.used_bytes.fetch_sub(self.mine_bytes - bytes, Ordering::Relaxed);
        }
        self.mine_bytes = bytes;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

fn lock(rate: &Mutex<Rate>) -> std::sync::MutexGuard<'_, Rate> {
    rate.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A bucket that fills at a rate, holds one second of it, and may be overdrawn by one round of taking.
#[derive(Debug)]
struct Rate {
    per_second: f64,
    left: f64,
    at: Instant,
}

impl Rate {
    fn new(per_second: f64, now: Instant) -> Self {
        Self { per_second, left: per_second, at: now }
    }

    fn has_some(&mut self, now: Instant) -> bool {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + seconds * self.per_second).min(self.per_second);
        self.at = now;
        self.left > 0.0
    }

    fn spend(&mut self, bytes: f64) {
        self.left -= bytes;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_partition_without_anything_in_flight_may_always_take() {
        let budget = Budget::new(100, 0);
        let (mut one, mut other) = (budget.share(), budget.share());
        one.set(150);
        assert!(!one.has_room(), "over the limit");
        assert!(other.has_room(), "but nobody is starved");
        other.set(10);
        assert!(!other.has_room());
        one.set(20);
        assert!(one.has_room() && other.has_room());
        drop(one);
        assert_eq!(budget.used_bytes.load(Ordering::Relaxed), 10);
    }

    #[test]
    fn a_rate_is_kept_over_time() {
        let start = Instant::now();
        let mut rate = Rate::new(1000.0, start);
        let mut spent = 0.0;
        for ms in 0..10_000 {
            if rate.has_some(start + Duration::from_millis(ms)) {
                rate.spend(300.0);
                spent += 300.0;
            }
        }
        assert!((10_000.0..=11_500.0).contains(&spent), "{spent}");
    }
}
