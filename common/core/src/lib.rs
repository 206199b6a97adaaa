//! The core of a bridge: what a record is and becomes, and all that is decided on its way. Pure: no sockets, no clocks, no tasks, no
//! randomness; time comes in as an argument. What carries the decisions out is `bridge-common`, which passes these modules on.
//!
//! Compiled with optimisation in every profile, and apart from the rest, so that a simulation of a million faults takes seconds.

pub mod record;
pub mod translate;
pub mod headers;
pub mod dead_letter;
pub mod digest;
pub mod lane;
pub mod recall;
pub mod dedupe;
