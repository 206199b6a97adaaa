//! Where records come from.
//!
//! A source gives **partitions**, each an independent flow that one task reads from beginning to end:
//! - it is handed over when the source assigns it, reads nothing until it is told at which offset to start, and can be
//!   told again (after an unknown outcome the reader goes back to the position and reads again);
//! - `ready().await` says that something may be there, `take(max, visitor)` shows up to so many records, borrowed from
//!   the source's own buffers, and says whether there is more;
//! - `position()` is the offset below which everything has been shown; it moves over what is no record, too;
//! - what was read is acknowledged only by the pipeline, after the target has it: `settled(position)`;
//! - when it is revoked, the pipeline stops reading, drains, writes its checkpoint, commits, and drops the reader: that
//!   gives the partition up.
//!
//! Invariant: the offsets that a reader shows after a start are at or above that start, and strictly rise.
//!
//! Each kind is built with the feature of its name, and is one variant of [`Reader`].

mod error;
#[cfg(any(feature = "kafka", feature = "rabbitmq", feature = "poll"))]
mod reader;
#[cfg(any(feature = "kafka", feature = "rabbitmq", feature = "poll"))]
mod types;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "rabbitmq")]
pub mod rabbitmq;
#[cfg(feature = "poll")]
pub mod poll;

pub use error::SourceError;
#[cfg(any(feature = "kafka", feature = "rabbitmq", feature = "poll"))]
pub use reader::Reader;
#[cfg(any(feature = "kafka", feature = "rabbitmq", feature = "poll"))]
pub use types::{Leave, Notice, Stamp, Start, Taken};
