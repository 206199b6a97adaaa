//! Contract drift as evidence: which fields came that the contract lacks, or that none did, and over how many records.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::PartitionStatus;
use crate::config::rfc3339;
use crate::record::Offset;
use crate::translate::{DRIFT_PATHS_MAX, Drift};

/// One field that the contract lacks.
#[derive(Debug)]
struct Line {
    count: u64,
    first_seen_ms: u64,
    last_seen_ms: u64,
    /// A record that has it, to look at in the source: the configuration's name of the source, topic, partition, offset.
    example: (String, String, u32, Option<Offset>),
}

/// What was found since the bridge started, over all its partitions, those that it no longer has included.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// Records that were looked through. What is read again after a reopening counts again.
    records: u64,
    fields: BTreeMap<String, Line>,
    /// Fields beyond the first [`DRIFT_PATHS_MAX`].
    other: u64,
}

impl Evidence {
    /// Adds what a partition found; gives the fields that had not come before, each with a record that has it.
    pub(super) fn add(
        &mut self,
        drift: &Drift,
        partition: &PartitionStatus,
        unix_ms: u64,
    ) -> Vec<(String, Option<Offset>)> {
        let mut new = Vec::new();
        self.records += drift.records();
        self.other += drift.other();
        for (field, count) in drift.counts() {
            let example =
                || (partition.source.clone(), partition.topic.clone(), partition.partition, drift.last_offset(field));
            if let Some(line) = self.fields.get_mut(field) {
                line.count += count;
                line.last_seen_ms = unix_ms;
                line.example = example();
            } else if self.fields.len() < DRIFT_PATHS_MAX {
                let line = Line { count, first_seen_ms: unix_ms, last_seen_ms: unix_ms, example: example() };
                self.fields.insert(field.to_owned(), line);
                new.push((field.to_owned(), drift.last_offset(field)));
            } else {
                self.other += count;
            }
        }
        new
    }

    /// As it stands in `/status`.
    pub(super) fn to_json(&self, started_ms: u64) -> Value {
        let since = rfc3339(started_ms);
        let fields: Vec<Value> = self
            .fields
            .iter()
            .map(|(field, line)| {
                let (source, topic, partition, offset) = &line.example;
                json!({
                    "field": field,
                    "count": line.count,
                    "first_seen": rfc3339(line.first_seen_ms),
                    "last_seen": rfc3339(line.last_seen_ms),
                    "example": { "source": source, "topic": topic, "partition": partition, "offset": offset },
                })
            })
            .collect();
        let summary = match (self.records, self.fields.len()) {
            (0, 0) if self.other == 0 => format!("nothing checked since {since}"),
            (records, 0) if self.other == 0 => format!("none since {since} over {records} records"),
            (records, count) => {
                let noun = if count == 1 { "field" } else { "fields" };
                let more = if self.other > 0 { " and more" } else { "" };
                format!("{count} {noun}{more} since {since} over {records} records")
            }
        };
        json!({
            "summary": summary,
            "since": since,
            "records": self.records,
            "fields": fields,
            "other": self.other,
        })
    }
}
