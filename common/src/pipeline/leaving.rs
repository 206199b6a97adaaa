//! How a bridge lets go of what it has: for a restart, or for good while it runs on.

use std::time::{Duration, Instant};

use super::Bridge;
use super::flow::Order;
use crate::logging::events;
use crate::record::SourcePartition;
use crate::source::Leave;

impl Bridge {
    /// Lets go of every partition, then leaves the sources for good. A Kafka group would revoke its partitions by itself;
    /// queues and polls are nobody's to revoke.
    pub(super) fn drain(&mut self) {
        self.forget_rejoins();
        let deadline = Instant::now() + self.revoke_deadline;
        let mut told = Vec::new();
        for (key, running) in std::mem::take(&mut self.flows) {
            let _ = running.orders.send(Order::Release { deadline });
            told.push((key.0, running.orders));
            self.leaving.push((key, running.task));
        }
        for (source, joined) in self.sources.iter_mut().enumerate() {
            self.shared.board.task_ended(joined.task_name());
            let flows: Vec<_> = told.iter().filter(|(of, _)| *of == source).map(|(_, orders)| orders.clone()).collect();
            if let Some(membership) = joined.membership.take() {
                let patience = self.revoke_deadline + Duration::from_secs(5);
                tokio::spawn(async move {
                    for flow in flows {
                        // Ends when the flow hears no orders any more.
                        let _ =
                            tokio::time::timeout_at((deadline + Duration::from_secs(5)).into(), flow.closed()).await;
                    }
                    membership.close(Leave::ForGood, patience).await;
                });
            }
        }
        // Another instance may have the keys: what is still under way here is fenced by the names of its partitions.
        self.key_space = None;
    }

    /// Lets go of everything within the deadline: drain, checkpoint, commit, close, leave the group. False where a partition
    /// was not drained by then.
    pub(super) async fn leave(&mut self, leave: Leave, deadline: Instant) -> bool {
        let mut is_drained = true;
        // A little is kept for leaving the group itself.
        let drain = deadline.checked_sub(Duration::from_secs(2)).unwrap_or(deadline);
        for running in self.flows.values() {
            let _ = running.orders.send(Order::Release { deadline: drain });
        }
        let flows = std::mem::take(&mut self.flows).into_iter().map(|(key, running)| (key, running.task));
        for ((_, partition), task) in flows.chain(std::mem::take(&mut self.leaving)) {
            if !matches!(tokio::time::timeout_at(deadline.into(), task).await, Ok(Ok(()))) {
                is_drained = false;
                let SourcePartition { topic, partition, .. } = partition;
                let event = events::PARTITION_NOT_DRAINED;
                tracing::warn!(
                    event,
                    topic,
                    partition,
                    "not drained by the deadline; the next start recovers what was in flight"
                );
            }
        }
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(500));
        let memberships = self.sources.iter_mut().filter_map(|joined| joined.membership.take());
        let closing: Vec<_> = memberships.map(|membership| tokio::spawn(membership.close(leave, left))).collect();
        let closed = async {
            for close in closing {
                let _ = close.await;
            }
        };
        // Readers that are still handed out are dropped, which gives their partitions up.
        let consume = async { while self.notices.recv().await.is_some() {} };
        tokio::select! {
            () = closed => {}
            () = consume => {}
        }
        is_drained
    }
}
