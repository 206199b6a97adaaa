//! What can go wrong with Pulsar, by what a caller does about it.

use std::time::Duration;

use ::pulsar::message::proto::ServerError;

/// Why an operation failed. Every message names the operation with its topic, the broker, and what to do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Another live producer holds the name: the fence of exactly-once. Wait and try again.
    #[error(
        "{operation}: the producer name is held by another connection (broker {broker}: {message}); \
         another instance owns this lane, or our own last connection is still dying: wait and try again"
    )]
    Busy {
        /// What was tried, and on which topic.
        operation: String,
        /// The broker that answered.
        broker: String,
        /// The broker's own words.
        message: String,
    },
    /// The broker could not do it now. Try again with a pause, with a fresh lookup.
    #[error("{operation}: broker {broker} cannot do it now ({code:?}: {message}); trying again with a pause is safe")]
    Retryable {
        /// What was tried, and on which topic.
        operation: String,
        /// The broker that answered.
        broker: String,
        /// The broker's error code.
        code: ServerError,
        /// The broker's own words.
        message: String,
    },
    /// The broker refuses it, and will until somebody changes something.
    #[error("{operation}: broker {broker} refuses ({code:?}: {message}); {}", refusal.advice())]
    Refused {
        /// What must change.
        refusal: Refusal,
        /// What was tried, and on which topic.
        operation: String,
        /// The broker that answered.
        broker: String,
        /// The broker's error code.
        code: ServerError,
        /// The broker's own words.
        message: String,
    },
    /// There is no connection, or it ended. Everything that was outstanding on it has an unknown outcome.
    #[error("{operation}: no connection to {broker}: {reason}; check that the broker is up and the address right")]
    Connection {
        /// What was tried.
        operation: String,
        /// The address.
        broker: String,
        /// Why.
        reason: String,
    },
    /// No answer in time. The outcome is unknown.
    #[error("{operation}: no answer from {broker} within {after:?}; the broker is overloaded or gone, try again")]
    Timeout {
        /// What was tried.
        operation: String,
        /// The address.
        broker: String,
        /// How long was waited.
        after: Duration,
    },
    /// The configuration cannot work: an address, a certificate or a token file.
    #[error("Pulsar connection settings: {0}")]
    Config(String),
    /// The broker, or whatever answers at its address, does not keep to the protocol.
    #[error("{operation}: unexpected answer from {broker}: {message}; is it a Pulsar broker of version 2.8 or later?")]
    Protocol {
        /// What was tried.
        operation: String,
        /// The address.
        broker: String,
        /// What was wrong.
        message: String,
    },
}

/// What stands in the way of a [`Error::Refused`] operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The credentials are wrong or expired.
    Authentication,
    /// The role may not do this.
    Authorization,
    /// There is no such topic, and it is not created by itself.
    TopicNotFound,
    /// The topic's name is not a topic's name.
    InvalidTopicName,
    /// The schema does not go with the topic's.
    IncompatibleSchema,
    /// A policy forbids it.
    NotAllowed,
    /// The topic was terminated: nothing can be added any more.
    Terminated,
    /// Somebody else took exclusive access.
    Fenced,
    /// A subscription lags behind by more than the topic's backlog quota, and the policy holds producers back.
    BacklogQuota,
    /// The broker is too old for this.
    Unsupported,
}

impl Refusal {
    fn advice(self) -> &'static str {
        match self {
            Self::Authentication => "check the token or certificate and its expiry",
            Self::Authorization => "grant the role produce and consume rights on the topic",
            Self::TopicNotFound => "create the topic, or correct its name",
            Self::InvalidTopicName => "correct the topic's name (persistent://tenant/namespace/topic)",
            Self::IncompatibleSchema => "compare the contract with the topic's schema and its compatibility policy",
            Self::NotAllowed => "check the policies of the topic and its namespace",
            Self::Terminated => "the topic was ended on purpose: choose another or recreate it",
            Self::Fenced => "another producer has exclusive access to the topic",
            Self::BacklogQuota => {
                "a subscription lags behind by more than the topic's backlog quota: let its consumer catch up, \
                 delete the subscription, or raise the quota"
            }
            Self::Unsupported => "upgrade the broker",
        }
    }
}

impl Error {
    /// Sorts a broker's error by what to do about it.
    pub(super) fn from_server(operation: &str, broker: &str, code: i32, message: &str) -> Self {
        let code = ServerError::try_from(code).unwrap_or(ServerError::UnknownError);
        let (operation, broker, message) = (operation.to_owned(), broker.to_owned(), message.to_owned());
        let refusal = match code {
            ServerError::ProducerBusy => return Self::Busy { operation, broker, message },
            ServerError::AuthenticationError => Refusal::Authentication,
            ServerError::AuthorizationError => Refusal::Authorization,
            ServerError::TopicNotFound => Refusal::TopicNotFound,
            ServerError::InvalidTopicName => Refusal::InvalidTopicName,
            ServerError::IncompatibleSchema => Refusal::IncompatibleSchema,
            ServerError::NotAllowedError => Refusal::NotAllowed,
            ServerError::TopicTerminatedError => Refusal::Terminated,
            ServerError::ProducerFenced => Refusal::Fenced,
            ServerError::UnsupportedVersionError => Refusal::Unsupported,
            ServerError::ProducerBlockedQuotaExceededError | ServerError::ProducerBlockedQuotaExceededException => {
                Refusal::BacklogQuota
            }
            _ => return Self::Retryable { operation, broker, code, message },
        };
        Self::Refused { refusal, operation, broker, code, message }
    }

    /// Whether trying again, with nothing changed by anybody, may work.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Busy { .. } | Self::Retryable { .. } | Self::Connection { .. } | Self::Timeout { .. } => true,
            Self::Refused { .. } | Self::Config(_) | Self::Protocol { .. } => false,
        }
    }

    /// The same error, told of the operation it belongs to.
    pub(super) fn during(mut self, name: &str) -> Self {
        match &mut self {
            Self::Busy { operation, .. }
            | Self::Retryable { operation, .. }
            | Self::Refused { operation, .. }
            | Self::Connection { operation, .. }
            | Self::Timeout { operation, .. }
            | Self::Protocol { operation, .. } => name.clone_into(operation),
            Self::Config(_) => {}
        }
        self
    }
}

/// Why a frame was not taken for sending. Nothing of it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The producer is closed: by the broker, by the caller, or with its connection. Open a new one.
    #[error("the producer is closed; open it again")]
    Gone,
    /// The broker would cut the connection: dead-letter the record, or make the batch smaller.
    #[error("the batch has {bytes} bytes where the broker takes {limit}; make it smaller")]
    TooLarge {
        /// Checksum, metadata and payload together.
        bytes: usize,
        /// The broker's `maxMessageSize`.
        limit: usize,
    },
}
