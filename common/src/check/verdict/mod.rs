//! From facts to findings: pure functions.

pub(super) mod kafka;
pub(super) mod namespace;
#[cfg(feature = "rabbitmq")]
pub(super) mod queue;
#[cfg(feature = "rabbitmq")]
pub(super) mod rabbitmq;
pub(super) mod schema;
#[cfg(all(test, feature = "rabbitmq"))]
mod tests;
pub(super) mod topic;
