//! Which deliveries of a channel were shown, settled and told to the server. Pure.

use std::collections::BTreeSet;

use lapin::types::DeliveryTag;

use super::session::Ack;
use crate::record::Offset;

/// The deliveries since one start, on one channel.
/// Invariant: the delivery with the number `first + n` has the tag `n + 1`.
/// Invariant: `told <= shown`: only what was shown is settled, and every tag is told to the server once.
#[derive(Debug)]
pub(super) struct Ledger {
    first: Offset,
    shown: DeliveryTag,
    told: DeliveryTag,
    /// Shown, and to be rejected instead of acknowledged when everything before is settled.
    rejected: BTreeSet<DeliveryTag>,
}

impl Ledger {
    /// Numbers from `first` on.
    pub(super) fn new(first: Offset) -> Self {
        Ledger { first, shown: 0, told: 0, rejected: BTreeSet::new() }
    }

    /// The number of the next delivery.
    pub(super) fn next(&self) -> Offset {
        self.first + self.shown
    }

    /// The tag that the next delivery must have.
    pub(super) fn next_tag(&self) -> DeliveryTag {
        self.shown + 1
    }

    /// The next delivery has been shown.
    pub(super) fn show(&mut self) {
        self.shown += 1;
    }

    /// The delivery will be rejected in its turn; nothing where it was told already, or never shown.
    pub(super) fn reject(&mut self, offset: Offset) {
        let tag = offset.checked_sub(self.first).map(|index| index + 1);
        if let Some(tag) = tag.filter(|tag| (self.told + 1..=self.shown).contains(tag)) {
            self.rejected.insert(tag);
        }
    }

    /// Everything numbered below `below` is settled: what the server is to be told, in this order.
    pub(super) fn settle(&mut self, below: Offset) -> Vec<Ack> {
        let last = below.saturating_sub(self.first).min(self.shown);
        let mut acks = Vec::new();
        if last <= self.told {
            return acks;
        }
        // A cumulative acknowledgement must name a delivery that is still open, hence none right behind a rejection.
        let mut told = self.told;
        let later = self.rejected.split_off(&(last + 1));
        for tag in std::mem::replace(&mut self.rejected, later) {
            if tag > told + 1 {
                acks.push(Ack::UpTo(tag - 1));
            }
            acks.push(Ack::Reject(tag));
            told = tag;
        }
        if last > told {
            acks.push(Ack::UpTo(last));
        }
        self.told = last;
        acks
    }

    /// Whether everything that was shown is settled.
    pub(super) fn is_settled(&self) -> bool {
        self.told == self.shown
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(count: u64) -> Ledger {
        let mut ledger = Ledger::new(100);
        (0..count).for_each(|_| ledger.show());
        ledger
    }

    #[test]
    fn only_what_moved_is_told() {
        let mut ledger = shown(10);
        assert_eq!((ledger.next(), ledger.next_tag()), (110, 11));
        assert_eq!(ledger.settle(50), []);
        assert_eq!(ledger.settle(103), [Ack::UpTo(3)]);
        assert_eq!(ledger.settle(103), []);
        assert_eq!(ledger.settle(101), []);
        assert_eq!(ledger.settle(9_999), [Ack::UpTo(10)]);
        assert!(ledger.is_settled());
    }

    #[test]
    fn rejections_wait_for_their_turn() {
        let mut ledger = shown(5);
        [103, 104, 99, 105, 100].into_iter().for_each(|offset| ledger.reject(offset));
        assert_eq!(ledger.settle(104), [Ack::Reject(1), Ack::UpTo(3), Ack::Reject(4)]);
        ledger.reject(102);
        assert_eq!(ledger.settle(105), [Ack::Reject(5)]);
    }

    proptest! {
        /// The server's view: a tag is settled once, a cumulative acknowledgement names an open one, in order, nothing
        /// beyond the position.
        #[test]
        fn every_tag_is_settled_once_and_in_order(steps in prop::collection::vec((0u8..3, 0u64..60), 0..200)) {
            let (mut ledger, mut closed) = (Ledger::new(100), 0u64);
            for (step, number) in steps {
                match step {
                    0 => ledger.show(),
                    1 => ledger.reject(100 + number),
                    _ => {
                        let shown = ledger.next() - 100;
                        for ack in ledger.settle(100 + number) {
                            match ack {
                                Ack::UpTo(tag) => { prop_assert!(tag > closed); closed = tag; }
                                Ack::Reject(tag) => { prop_assert_eq!(tag, closed + 1); closed = tag; }
                                Ack::Close => prop_assert!(false),
                            }
                        }
                        prop_assert!(closed >= number.min(shown) && closed <= shown);
                    }
                }
            }
        }
    }
}
