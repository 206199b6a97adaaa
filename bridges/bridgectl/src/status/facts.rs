//! What is known of one bridge: what its replicas say, and what the brokers say of its sources without it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::figures::Figures;

/// Everything that was asked about one stream.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    /// The stream.
    pub(super) stream: String,
    /// Each replica: its address, and what it says, or why it says nothing.
    pub(super) replicas: Vec<(String, Result<Said, String>)>,
    /// What the sources hold that is not mirrored, by the brokers' own word: one entry a source.
    pub(super) sources: Vec<SourceFacts>,
    /// Whether every source of the configuration is among them: only then their sum is the bridge's lag.
    pub(super) has_all_sources: bool,
    /// Where no replica answers: the dead letters in the topic that are not settled.
    pub(super) dead_letters: Option<u64>,
    /// What the brokers did not answer.
    pub(super) silent: Vec<String>,
}

/// What one replica says.
#[derive(Debug, Clone, Default)]
pub(super) struct Said {
    /// `/status`.
    pub(super) status: Value,
    /// What stands in the way of `/readyz`; `None`: it is ready.
    pub(super) unready: Option<String>,
    /// `/metrics`, and a while before.
    pub(super) figures: Figures,
    /// Those of a moment ago, and how many seconds that is.
    pub(super) before: Option<(Figures, f64)>,
}

/// One source without its bridge.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct SourceFacts {
    /// Its topic or queue.
    pub(super) name: String,
    /// Records that are not mirrored, by partition: from the checkpoint to the source's end; of queues 0 is the only one.
    pub(super) behind: BTreeMap<u32, u64>,
    /// How old the oldest of them is, in seconds.
    pub(super) oldest_seconds: Option<f64>,
}

impl Facts {
    /// What the replicas that answer say.
    pub(super) fn said(&self) -> impl Iterator<Item = &Said> {
        self.replicas.iter().filter_map(|(_, said)| said.as_ref().ok())
    }
}
