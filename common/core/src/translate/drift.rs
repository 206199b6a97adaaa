//! Fields that come on the wire and are not in the contract.

use std::collections::HashMap;

use super::error::shorten;
use crate::record::Offset;

/// What happens to a record with a field that the contract does not know (`contract.on_unknown_field`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnUnknownField {
    /// The record is translated without it, and the field is counted by its path.
    #[default]
    Count,
    /// The record goes to the dead letters.
    DeadLetter,
    /// The record is translated without it, and nobody is told.
    Ignore,
}

/// How many paths of unknown fields are counted one by one; whatever comes after is counted together, so that names made
/// from ids cannot grow the metrics without bound.
pub const DRIFT_PATHS_MAX: usize = 64;

/// Counts of unknown fields, and of the records in which they were looked for: those that were translated, and those that
/// were refused for such a field.
#[derive(Debug, Clone, Default)]
pub struct Drift {
    records: u64,
    /// The record that was checked last.
    offset: Offset,
    /// By path: how often, and the last record with it.
    counts: HashMap<String, (u64, Offset)>,
    other: u64,
    path: String,
}

impl Drift {
    /// Nothing counted.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty() && self.other == 0
    }

    /// The counts by path (`payload.extra`), in no order.
    pub fn counts(&self) -> impl Iterator<Item = (&str, u64)> {
        self.counts.iter().map(|(path, (count, _))| (path.as_str(), *count))
    }

    /// The last record that had the field `path`.
    pub fn last_offset(&self, path: &str) -> Option<Offset> {
        self.counts.get(path).map(|(_, offset)| *offset)
    }

    /// In how many records unknown fields were looked for. Without this, that there are none says nothing.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// How many fields were seen whose path came after the first [`DRIFT_PATHS_MAX`].
    pub fn other(&self) -> u64 {
        self.other
    }

    /// The record at `offset` was looked through; what is counted from here on is its.
    pub(super) fn checked(&mut self, offset: Offset) {
        self.records += 1;
        self.offset = offset;
    }

    /// Counts the field `name` of the record at `record` once.
    pub(super) fn count(&mut self, record: &str, name: &str) {
        self.path.clear();
        self.path.push_str(record);
        self.path.push_str(if record.is_empty() { "" } else { "." });
        self.path.push_str(shorten(name));
        if let Some((count, last)) = self.counts.get_mut(&self.path) {
            (*count, *last) = (*count + 1, self.offset);
        } else if self.counts.len() < DRIFT_PATHS_MAX {
            self.counts.insert(self.path.clone(), (1, self.offset));
        } else {
            self.other += 1;
        }
    }

    /// Counts fields whose names were not kept.
    pub(super) fn count_more(&mut self, fields: u64) {
        self.other += fields;
    }
}
