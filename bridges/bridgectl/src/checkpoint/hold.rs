//! Owning a source partition while its checkpoint is changed: by the same producer name that a bridge owns it by.

use bridge_common::admin::Admin;
use bridge_common::checkpoint::{self, Stored};

use super::Desk;
use crate::held::Held;
use crate::terminal::now_ms;

/// A partition's name on the checkpoint topic, held.
pub(super) struct Hold(Held);

impl Hold {
    /// Takes the partition's name.
    pub(super) async fn take(desk: &Desk, name: &str) -> Result<Self, String> {
        match Held::take(&desk.client, &desk.topic, name, None).await? {
            Some(held) => Ok(Self(held)),
            None => Err(held(desk, name).await),
        }
    }

    /// Takes the name that a `replay --missing` of the partition holds from before it compares until all is published: what it
    /// publishes would be read and sent again by a bridge that goes back meanwhile.
    pub(super) async fn keep_replays_out(desk: &Desk, name: &str) -> Result<Self, String> {
        let lock = replay_lock(name);
        let held = Held::take(&desk.client, &desk.topic, &lock, None).await?;
        held.map(Self).ok_or_else(|| {
            format!(
                "{lock} is held: a replay of {name} is under way, or another operator is at it. Nothing was changed"
            )
        })
    }

    /// The highest sequence id that the broker knows of it.
    pub(super) fn last(&self) -> Option<u64> {
        self.0.last()
    }

    /// Writes an entry (`None`: forgets the partition) above all that were written before, and awaits its receipt.
    pub(super) async fn write(&mut self, known: u64, to: Option<&Stored>) -> Result<u64, String> {
        let now_ms = now_ms();
        let sequence_id = known.max(self.last().unwrap_or(0)).max(now_ms) + 1;
        let (name, id) = (self.0.name(), self.0.producer_id());
        let frame = match to {
            Some(stored) => checkpoint::frame(name, id, sequence_id, stored, now_ms),
            None => checkpoint::forgotten_frame(name, id, sequence_id, now_ms),
        };
        let look = |problem: String| format!("{problem}: look with `show` whether it was written");
        self.0.send_frame(&frame)?;
        match self.0.receipt().await.map_err(look)? {
            Some(_) => Ok(sequence_id),
            None => Err(look(format!("{}: the broker calls the entry a duplicate", self.0.name()))),
        }
    }

    /// Gives the name back.
    pub(super) async fn release(self) {
        self.0.close().await;
    }
}

/// On the checkpoint topic; see `replay/missing.rs` and "On the wire" in ARCHITECTURE.md.
pub(super) fn replay_lock(name: &str) -> String {
    format!("{name}/replay")
}

async fn held(desk: &Desk, name: &str) -> String {
    let holder = async {
        let admin = Admin::new(&desk.config.pulsar).ok()?;
        admin.publisher(&desk.config.checkpoint_topic(), name).await.ok()?
    };
    let who = holder.await.map_or_else(|| "somebody".to_owned(), |publisher| publisher.to_string());
    format!("{name} is held by {who}: a bridge works on it. Stop or drain it first; nothing was changed")
}
