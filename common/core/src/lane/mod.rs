//! The core that decides, for one source partition: what was stored before, what is sent now, under which id, what a
//! receipt settles, and how far the position may move. No sockets, no clock, no tasks, no randomness: events and the
//! time come in, actions go out, and the same code runs in production and under simulation.
//!
//! A partition owns a **name**, and under that name one producer on the checkpoint topic (holding it *is* owning the
//! partition) and one on each **lane** (a target partition that its records can go to, and the dead-letter topic last).
//! It lives through
//!
//! ```text
//! Opening ──> Running ──> Leaving ──> Opening   (any unknown outcome: the same protocol as a start)
//!    │                       ├──────> Closed    (revoked, paused, stopping)
//!    │                       └──────> Stopped   (only a person can help)
//!    └──> Closing ──────────────────> Opening, Closed or Stopped   (an opening that is given up)
//! ```
//!
//! **Opening** (`opening`, `seeker`): take the name on the checkpoint topic, read the checkpoint, take the name on every
//! lane and of every repair that it tells of, read back what was stored under them, and then *always* store a checkpoint:
//! its receipt proves that the partition was still owned when the last lane was taken. Only then is anything sent.
//!
//! **Running** (`running`, `session`, `open_lane`, `window`): records are admitted, placed into their lane's batch, sent,
//! and settled by receipts; checkpoints follow behind. What the broker knows an id for, though it was not read back,
//! cannot go by the lane any more: it waits for a **repair** (`repair`), one batch under a name of its own, in three
//! steps: that name is held, then the checkpoint that names the repair is stored, then the batch is sent. One repair is
//! carried out, and named in a checkpoint, at a time; nothing is taken from the source meanwhile.
//!
//! A queue has no offsets: its deliveries are numbered by a counter (`Numbering`), raised at each opening above all that
//! was ever used, and what is stored of them is known by what they are ([`crate::recall`]). For that, and for keys over
//! several sources ([`crate::dedupe`]), the marks reach back behind the position (`reach`, `former`), and a record may wait
//! for its twin (`twins`).
//!
//! **Leaving** (`leaving`): settle what can be settled, close the lanes, store the checkpoint, give the name back.
//!
//! Invariant: a batch is sent only above everything that its lane's name was ever known to have used (`Lane::border`).
//! Invariant: what is at or below that border and was not read back in the target goes through a repair, which is sent
//! only by a producer that held the repair's name before the checkpoint that names it was stored.
//! Invariant: the position never passes a record that is not settled, in any lane or repair.
//! Invariant: nothing that is within reach lies before a mark, or in a topic that is not read back.
//! Invariant: no session begins without the receipt of a checkpoint that was written after every name was held.

mod checkpoint;
mod confirming;
mod fast_path;
mod fault;
mod former;
mod key_hash;
mod leaving;
mod offsets;
mod open_lane;
mod opening;
#[cfg(test)]
mod opening_tests;
mod partition;
mod reach;
mod reasons;
mod refusals;
mod repair;
mod routing;
mod running;
mod seeker;
mod session;
mod setup;
mod step;
mod twins;
mod verdict;
mod window;

pub use checkpoint::{Checkpoint, FormerLane, LaneId, Mark, RepairIntent};
pub use fault::Fault;
pub use key_hash::KeyHash;
pub use offsets::OffsetSet;
pub use partition::{Partition, PhaseName};
pub use reasons::{Evidence, LastKnown, NotOpened, Note, SendFailure, Stop, StopCause, Why};
pub use routing::{PartitionBy, Route, Routing};
pub use session::{Admit, Place};
pub use setup::{Limits, Numbering, Reach, Setup};
pub use step::{Action, Event, Role, Scan, ScanFrom, Tag, Topic};
pub use verdict::{DeadLetterGuard, send_failure};
