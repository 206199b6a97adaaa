//! What the stream bridges share. A record goes source -> translate -> publish -> checkpoint, and the modules read in
//! that order; `ARCHITECTURE.md` beside this crate is the map.

pub mod record;
pub mod source;
pub mod translate;
pub mod headers;
pub mod dead_letter;
pub mod digest;
pub mod lane;
pub mod recall;
pub mod dedupe;
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
