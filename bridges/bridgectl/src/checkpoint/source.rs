//! What the source has of the partitions that are changed: no position lies behind its end, and no partition is one that it does
//! not have.

use std::collections::BTreeMap;
use std::sync::Arc;

use bridge_common::config::Source;

use super::Desk;
use super::plan::{Name, Watermarks};
use crate::verify::{blocking, open_topic, words};

/// By name; without those whose source cannot be asked for offsets: queues, and topics that the configuration does not have.
///
/// # Errors
/// What Kafka says, or that the topic has no such partition.
pub(super) async fn watermarks(desk: &Desk, names: &[String]) -> Result<BTreeMap<String, Watermarks>, String> {
    let mut all = BTreeMap::new();
    for source in desk.config.source.values() {
        let Source::Kafka(source) = source else { continue };
        let parsed = names.iter().filter_map(|name| Some((name, Name::parse(name)?)));
        let of_topic: Vec<(String, u32)> = parsed
            .filter(|(_, parsed)| parsed.topic == source.topic)
            .map(|(name, parsed)| (name.clone(), parsed.partition))
            .collect();
        if of_topic.is_empty() {
            continue;
        }
        let topic = open_topic(&desk.config, source).await?;
        for (name, partition) in of_topic {
            if partition >= topic.partitions() {
                return Err(format!("{name}: {} has {} partitions, from 0", source.topic, topic.partitions()));
            }
            let topic = Arc::clone(&topic);
            let asked = blocking(move || topic.watermarks(partition).map_err(|error| words(&error)));
            let (low, high) = asked.await?;
            all.insert(name, Watermarks { low, high });
        }
    }
    Ok(all)
}
