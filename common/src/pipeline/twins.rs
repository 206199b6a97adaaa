//! What the flows of one bridge share where the same event may come by several of its sources (`dedupe.key`): the window
//! of keys, the gate that stays shut until every partition has been opened once, and the way to tell another flow that
//! a twin of its record is settled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use super::flow::Order;
use crate::dedupe::{KeyWindow, Owner, Verdict, Wake};
use crate::record::Offset;

/// One flow, as the others know it.
pub(super) type FlowId = u32;

/// Shared by all flows of a bridge.
pub(super) struct Twins {
    inner: Mutex<Inner>,
}

struct Inner {
    window: KeyWindow,
    window_ms: u64,
    window_records: usize,
    flows: BTreeMap<FlowId, mpsc::UnboundedSender<Order>>,
    /// The number of each partition, by its name. It stays when the partition is given away and comes back: what became
    /// of its keys is found out by its own next opening, whoever was in charge of it before.
    numbers: BTreeMap<String, FlowId>,
    /// Rises each time the window is emptied.
    epoch: u64,
    /// When the session of each flow began, or its opening: what it reads back went to the window of this epoch.
    began: BTreeMap<FlowId, u64>,
    /// The flows that were opened since the window was last empty, all of what they have read back in it.
    opened: BTreeSet<FlowId>,
    /// How many there are in all; `None` until every source was joined, and while the key space is not ours.
    expected: Option<usize>,
    is_open: bool,
}

impl Twins {
    /// An empty window, for so long and so many keys.
    pub(super) fn new(window_ms: u64, window_records: usize) -> Self {
        let inner = Inner {
            window: KeyWindow::new(window_ms, window_records),
            window_ms,
            window_records,
            flows: BTreeMap::new(),
            numbers: BTreeMap::new(),
            epoch: 0,
            began: BTreeMap::new(),
            opened: BTreeSet::new(),
            expected: None,
            is_open: false,
        };
        Self { inner: Mutex::new(inner) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The flow of the partition with this name begins.
    pub(super) fn join(&self, name: &str, orders: mpsc::UnboundedSender<Order>) -> FlowId {
        let mut inner = self.inner();
        let next = FlowId::try_from(inner.numbers.len()).expect("a bridge has fewer partitions");
        let flow = *inner.numbers.entry(name.to_owned()).or_insert(next);
        inner.flows.insert(flow, orders);
        flow
    }

    /// A flow ends, after its session did, and hears no orders any more. Its partition may have a new one already.
    pub(super) fn leave(&self, flow: FlowId) {
        let mut inner = self.inner();
        if inner.flows.get(&flow).is_some_and(mpsc::UnboundedSender::is_closed) {
            inner.flows.remove(&flow);
            inner.opened.remove(&flow);
        }
    }

    /// The key space is ours, and this many partitions have to be opened before anything is admitted.
    pub(super) fn own(&self, partitions: usize) {
        let mut inner = self.inner();
        inner.expected = Some(partitions);
        inner.look_at_gate();
    }

    /// The key space was lost: somebody else may have published meanwhile. Every partition has to be opened again, once
    /// it is ours again.
    pub(super) fn disown(&self) {
        let mut inner = self.inner();
        inner.expected = None;
        inner.is_open = false;
        inner.epoch += 1;
        inner.opened.clear();
        inner.window = KeyWindow::new(inner.window_ms, inner.window_records);
    }

    /// Tells every flow to open its partition again.
    pub(super) fn reopen_all(&self) {
        let inner = self.inner();
        inner.flows.values().for_each(reopen);
    }

    /// Whether records may be admitted: every partition has been read back.
    pub(super) fn is_open(&self) -> bool {
        self.inner().is_open
    }

    /// A record with this key wants to be published.
    pub(super) fn admit(&self, key: u128, owner: Owner, now_ms: u64) -> Verdict {
        self.inner().window.admit(key, owner, now_ms)
    }

    /// Everything that this session has sent below `stored_below` is stored; flows whose records wait for that are told.
    pub(super) fn settled_below(&self, flow: FlowId, session: u64, stored_below: Offset, now_ms: u64) {
        let mut inner = self.inner();
        let wakes = inner.window.settled_below(flow, session, stored_below, now_ms);
        inner.wake(wakes);
    }

    /// These keys were found in the target.
    pub(super) fn read_back(&self, keys: &[u128], now_ms: u64) {
        let mut inner = self.inner();
        for key in keys {
            let wakes = inner.window.read_back(*key, now_ms);
            inner.wake(wakes);
        }
    }

    /// How many of how many partitions were read back, while nothing may be admitted for want of the others.
    pub(super) fn shut(&self) -> Option<(usize, usize)> {
        let inner = self.inner();
        (!inner.is_open).then(|| (inner.opened.len(), inner.wanted().unwrap_or(inner.flows.len())))
    }

    /// A session has ended, and another opening may begin; what it had not settled is unknown until its partition is open
    /// again.
    pub(super) fn ended(&self, flow: FlowId) {
        let mut inner = self.inner();
        let epoch = inner.epoch;
        inner.began.insert(flow, epoch);
        inner.opened.remove(&flow);
        inner.window.ended(flow);
    }

    /// A partition is open: what it has read back was told before.
    /// Invariant: an opening that began before the window was emptied last does not count. What it had read back by then
    /// is forgotten, and what others have published since it did not see.
    pub(super) fn reopened(&self, flow: FlowId) {
        let mut inner = self.inner();
        if inner.began.get(&flow) == Some(&inner.epoch) {
            inner.opened.insert(flow);
        }
        inner.look_at_gate();
        for other in inner.window.reopened(flow) {
            inner.flows.get(&other).into_iter().for_each(reopen);
        }
    }
}

impl Inner {
    fn wake(&self, wakes: Vec<Wake>) {
        for wake in wakes {
            if let Some(orders) = self.flows.get(&wake.partition) {
                let _ = orders.send(Order::TwinSettled { offset: wake.id });
            }
        }
    }

    fn look_at_gate(&mut self) {
        self.is_open |= self.wanted().is_some_and(|wanted| self.opened.len() >= wanted);
    }

    /// How many partitions have to be read back: those that the sources had, and those that they have got since.
    fn wanted(&self) -> Option<usize> {
        self.expected.map(|expected| expected.max(self.flows.len()))
    }
}

fn reopen(orders: &mpsc::UnboundedSender<Order>) {
    // A flow that has ended needs no order.
    let _ = orders.send(Order::Reopen { reason: "what it shares with other sources has changed" });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(partition: FlowId, id: Offset) -> Owner {
        Owner { partition, session: 1, id }
    }

    fn flow(twins: &Twins, name: &str) -> (FlowId, mpsc::UnboundedReceiver<Order>) {
        let (orders, ears) = mpsc::unbounded_channel();
        (twins.join(name, orders), ears)
    }

    #[test]
    fn an_opening_that_began_before_the_keys_were_regained_does_not_open_the_gate() {
        let twins = Twins::new(1_000, 100);
        let (a, _a) = flow(&twins, "a");
        let (b, _b) = flow(&twins, "b");
        twins.own(2);
        [a, b].into_iter().for_each(|flow| twins.ended(flow));
        // Both have read back; then the keys are lost and regained, and what they have read is gone with the window.
        twins.read_back(&[7], 0);
        twins.disown();
        twins.own(2);
        [a, b].into_iter().for_each(|flow| twins.reopened(flow));
        assert_eq!((twins.is_open(), twins.shut()), (false, Some((0, 2))));
        for flow in [a, b] {
            assert!(!twins.is_open());
            twins.ended(flow);
            twins.read_back(&[7], 0);
            twins.reopened(flow);
        }
        assert!(twins.is_open());
        assert_eq!(twins.admit(7, owner(b, 1), 0), Verdict::Settled);
    }

    #[test]
    fn one_that_opens_again_before_the_others_are_open_is_waited_for() {
        let twins = Twins::new(1_000, 100);
        let (a, _a) = flow(&twins, "a");
        let (b, _b) = flow(&twins, "b");
        twins.own(2);
        twins.ended(a);
        twins.reopened(a);
        twins.ended(a);
        twins.ended(b);
        twins.reopened(b);
        assert!(!twins.is_open());
        twins.reopened(a);
        assert!(twins.is_open());
    }

    #[test]
    fn partitions_that_were_added_are_waited_for_too() {
        let twins = Twins::new(1_000, 100);
        let flows: Vec<_> = ["a", "b", "c"].into_iter().map(|name| flow(&twins, name)).collect();
        twins.own(2);
        flows.iter().for_each(|(flow, _)| twins.ended(*flow));
        flows[..2].iter().for_each(|(flow, _)| twins.reopened(*flow));
        assert!(!twins.is_open());
        twins.reopened(flows[2].0);
        assert!(twins.is_open());
    }

    #[test]
    fn keys_of_a_partition_that_went_and_came_back_are_freed_by_its_next_opening() {
        let twins = Twins::new(1_000, 100);
        let (before, ears) = flow(&twins, "a");
        twins.own(1);
        twins.ended(before);
        twins.reopened(before);
        assert_eq!(twins.admit(7, owner(before, 1), 0), Verdict::Own);
        // Revoked with an unknown outcome, and assigned again before the flow has ended.
        let (after, _ears) = flow(&twins, "a");
        twins.ended(before);
        drop(ears);
        twins.leave(before);
        twins.ended(after);
        twins.reopened(after);
        assert_eq!(twins.admit(7, owner(after, 1), 0), Verdict::Own);
    }
}
