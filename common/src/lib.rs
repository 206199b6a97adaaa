//! What the stream bridges share. A record goes source -> translate -> publish -> checkpoint, and the modules read in
//! that order; `ARCHITECTURE.md` beside this crate is the map. What decides and translates is the core, a crate of its own
//! (`core`) that can reach nothing.

pub use bridge_core::record;
pub mod source;
pub use bridge_core::translate;
pub use bridge_core::{dead_letter, digest, headers};
pub use bridge_core::{dedupe, lane, recall};
pub mod pulsar;
pub mod checkpoint;
#[cfg(any(feature = "kafka", feature = "rabbitmq", feature = "poll"))]
pub mod pipeline;

#[cfg(feature = "fuzzing")]
pub mod fuzzing;

pub mod admin;
pub mod certificates;
pub mod check;
pub mod cli;
pub mod config;
pub mod http;
pub mod logging;
pub mod management;
pub mod metrics;
pub mod registry;
pub mod retry;
pub mod shutdown;
pub mod status;
