//! How large the bodies are, and so how many of them may be under way. Pure.

/// Bodies to have seen before their size says anything about the prefetch.
const TO_JUDGE: u64 = 16;

/// Bodies that count; older ones fade away.
const WINDOW: u64 = 1 << 14;

/// The bodies seen so far.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Sizes {
    count: u64,
    bytes: u64,
}

impl Sizes {
    /// One more.
    pub(super) fn add(&mut self, bytes: usize) {
        if self.count >= WINDOW {
            *self = Sizes { count: self.count / 2, bytes: self.bytes / 2 };
        }
        *self = Sizes { count: self.count + 1, bytes: self.bytes + bytes as u64 };
    }

    /// Their mean.
    pub(super) fn mean(self) -> u64 {
        self.bytes / self.count.max(1)
    }

    /// More than twice the bytes that may be held, so that it does not go to and fro.
    pub(super) fn too_large_for(self, prefetch: u16, held_bytes: u64) -> bool {
        let held = self.mean().saturating_mul(prefetch.into());
        prefetch > 1 && self.count >= TO_JUDGE && held > held_bytes.saturating_mul(2)
    }

    /// The prefetch that fits, at most `wanted`.
    pub(super) fn prefetch(self, wanted: u16, held_bytes: u64) -> u16 {
        if !self.too_large_for(wanted, held_bytes) {
            return wanted;
        }
        u16::try_from(held_bytes / self.mean().max(1)).unwrap_or(u16::MAX).clamp(1, wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefetch_follows_the_bodies() {
        let mut sizes = Sizes::default();
        (0..15).for_each(|_| sizes.add(1_000_000));
        assert_eq!(sizes.prefetch(1000, 10_000_000), 1000, "too few to judge by");
        sizes.add(1_000_000);
        assert_eq!(sizes.prefetch(1000, 10_000_000), 10);
        assert_eq!(sizes.prefetch(20, 10_000_000), 20, "twice as much is borne");
        assert_eq!(sizes.prefetch(1000, 10), 1, "one is always under way");
        assert!(!sizes.too_large_for(1, 10));
        (0..1 << 16).for_each(|_| sizes.add(1_000));
        assert_eq!(sizes.prefetch(1000, 10_000_000), 1000, "what is long ago is forgotten");
    }
}
