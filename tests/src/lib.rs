//! The harness of the tests on real brokers: servers, a bridge as a process, faults, a generator of realistic events,
//! and the checker that compares what Kafka and RabbitMQ were given with what Pulsar holds. The generator and the checker know nothing of
//! the bridge's own code: they are its independent witnesses.

mod assess;
pub mod avro_scene;
pub mod bridge;
pub mod browser;
pub mod checker;
pub mod container;
mod event_text;
pub mod events;
mod expect;
pub mod faults;
pub mod generator;
mod groups;
pub mod http;
pub mod journal;
pub mod kafka;
pub mod kafka_cluster;
pub mod operator;
pub mod licence;
pub mod oracle;
pub mod parity;
mod payloads;
pub mod prometheus;
pub mod proxy;
pub mod rabbit;
mod rabbit_sink;
mod report;
pub mod resolver;
pub mod runbook;
pub mod scenario;
pub mod scene;
mod source_reader;
pub mod stack;
pub mod streams;
mod target_reader;
pub mod wait;
pub mod watch;

/// What can go wrong in a test is told, not handled.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;
