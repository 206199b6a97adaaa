//! Shows that the source's task still steps.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Shows that the source's task still steps, for `/livez`. A server that does not answer never shows here.
#[derive(Debug)]
pub struct Health {
    start: Instant,
    last_step_ms: AtomicU64,
}

impl Health {
    pub(super) fn new() -> Self {
        Health { start: Instant::now(), last_step_ms: AtomicU64::new(0) }
    }

    pub(super) fn step(&self) {
        self.last_step_ms.store(self.start.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// How long ago the task last came around. It does once a second.
    pub fn age(&self) -> Duration {
        self.start.elapsed().saturating_sub(Duration::from_millis(self.last_step_ms.load(Ordering::Relaxed)))
    }
}
