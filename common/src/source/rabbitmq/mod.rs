//! RabbitMQ: classic and quorum queues, and streams, over AMQP 0-9-1.
//!
//! A queue has no offsets. Its reader numbers the deliveries from the start it is given; what was not acknowledged comes
//! again under other numbers, and is recognised by its idempotency key and digest, which is not the reader's business.
//! A stream has offsets, and works like a Kafka partition.
//!
//! Invariants:
//! - one consumer per channel, so that delivery tags are 1, 2, 3...: delivery `n` after a start at `s` has the tag
//!   `n - s + 1`, and one cumulative acknowledgement settles all below it;
//! - a reader only acknowledges what was settled, in order, and never on another channel than the delivery's;
//! - any end of a channel or connection is [`SourceError::Unavailable`](super::SourceError) and wants a new start:
//!   nothing is recovered behind the core's back.

mod declare;
mod ends;
mod faults;
mod group;
mod health;
mod ledger;
mod link;
mod look;
mod queue;
mod record;
mod session;
mod settings;
mod sizes;
mod stream;
mod tls;
mod wire;

#[cfg(feature = "fuzzing")]
pub(crate) use {record::headers_in, wire::hello_in};

pub use group::RabbitGroup;
pub use health::Health;
pub use look::{Look, look};
pub use queue::QueueReader;
pub use settings::{RabbitSettings, TlsFiles};
pub use stream::StreamReader;
