//! The connection to Pulsar: producing with sequence ids of our own, and reading back every message's own id.
//!
//! The wire is Pulsar's binary protocol (<https://pulsar.apache.org/docs/4.0.x/developing-binary-protocol/>); its
//! protobuf messages come from the `pulsar` crate, all else is here, because exactly-once needs what clients hide: the
//! ids, `last_sequence_id`, receipts one by one, null values, and a fresh producer id for every open.
//!
//! From the outside: [`Client`] opens a [`Producer`] or a [`Reader`] on one topic partition; a [`BatchBuilder`] makes the
//! [`Frame`]s that a producer sends; [`Entry`] is what a reader gives. Nothing here retries: a caller gets a typed
//! [`Error`] and decides.

mod auth;
mod client;
mod codec;
mod command;
mod connection;
mod entry;
mod error;
mod frame;
mod lookup;
mod message;
mod producer;
mod protobuf;
mod reader;
mod routes;
mod service_url;
mod tls;

#[cfg(feature = "fuzzing")]
pub(crate) use command::frames_in;

pub use auth::{Auth, AuthError, AuthProvider, TokenSource};
pub use client::{Client, ClientConfig, Opened, SchemaInfo, SchemaKind};
pub use codec::Compression;
pub use entry::{Batch, DecodeError, Entry, MAX_UNCOMPRESSED_BYTES};
pub use error::{Error, Refusal, SendError};
pub use frame::{BatchBuilder, Frame, OutgoingMessage, Seal};
pub use message::Message;
pub use producer::Producer;
pub use reader::{Reader, ReaderStart};
pub use routes::{ProducerEvent, ProducerEvents};

pub use ::pulsar::message::proto::ServerError;
pub use tls::TlsConfig;
