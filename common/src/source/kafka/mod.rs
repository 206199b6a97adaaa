//! A Kafka topic as a source.
//!
//! ```text
//!   group thread:  BaseConsumer::poll ── rebalance callback ──┐  Notice::Assigned(PartitionReader)
//!                  (subscribe, leave, errors, heartbeat)      ├─────────────────────────────────────> pipeline
//!                                                             │  Notice::Revoked: waits until the reader is dropped
//!   librdkafka's threads ──> queue of a partition ──> PartitionReader::take (one call for many records)
//! ```
//!
//! [`KafkaGroup`] is the membership in a consumer group, [`PartitionReader`] the flow of one assigned partition. The
//! group's committed offsets only mirror the checkpoint for lag tools; nothing starts from them. [`KafkaTopic`] and
//! [`Window`] read a stretch of a topic without any group, for whoever looks at the source beside the bridge.

mod bulk;
mod context;
mod control;
mod faults;
mod group;
mod look;
mod offsets;
mod orphans;
mod partition;
mod settings;
mod window;

pub use group::{Health, KafkaGroup};
pub use look::{Ends, Kept, Look, Seen};
pub use partition::PartitionReader;
pub use settings::{KafkaSettings, client_properties};
pub use window::{KafkaTopic, Window};
