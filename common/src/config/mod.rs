//! The configuration of one bridge: typed, complete, and checked before anything is built from it.
//!
//! A bridge reads `<dir>/default.toml`, then `<dir>/<stream>.toml`, then the environment (`BRIDGE__SECTION__KEY`); what
//! comes later wins, key by key. Unknown keys and unknown `BRIDGE__` variables are refused. Relative paths are relative
//! to the configuration's directory. Nothing here opens a connection.

mod choices;
mod derived;
mod hidden;
mod load;
mod rabbitmq;
mod poll;
mod reference;
mod schema;
mod secret;
mod sections;
mod source;
mod start;
mod target;
#[cfg(test)]
mod tests;
mod topic;
mod validate;

pub use choices::*;
pub(crate) use hidden::hide;
pub use load::{ConfigError, load, nearest, streams_in};
pub use poll::*;
pub use rabbitmq::*;
pub use reference::reference;
pub use schema::json_schema;
pub(crate) use secret::hide_read_secrets;
pub use secret::{Secret, read_secret};
pub use sections::*;
pub use source::*;
pub use start::{Start, rfc3339, unix_ms_of_rfc3339};
pub use target::*;
pub use topic::TopicName;
