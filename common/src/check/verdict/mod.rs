//! From facts to findings: pure functions.

pub(super) mod kafka;
pub(super) mod queue;
pub(super) mod rabbitmq;
pub(super) mod schema;
#[cfg(test)]
mod tests;
pub(super) mod topic;
