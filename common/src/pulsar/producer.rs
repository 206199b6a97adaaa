//! A producer: one name's turn on one topic partition, under one id on one connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ::pulsar::message::proto;

use super::client::{Opened, SchemaInfo};
use super::command;
use super::connection::Connection;
use super::error::{Error, SendError};
use super::frame::Frame;
use super::routes::ProducerEvents;

/// What [`open`] needs.
pub(super) struct OpenRequest<'a> {
    pub(super) operation: &'a str,
    pub(super) topic: &'a str,
    pub(super) name: &'a str,
    pub(super) schema: Option<&'a SchemaInfo>,
    pub(super) events: ProducerEvents,
    pub(super) tag: u64,
}

/// Opens a producer on the connection to the broker that serves its topic.
pub(super) async fn open(connection: Arc<Connection>, request: OpenRequest<'_>) -> Result<Opened, Error> {
    let OpenRequest { operation, topic, name, schema, events, tag } = request;
    // Invariant: an id is used for one open only. The broker answers an id that is open already with
    // `last_sequence_id` -1, which would read as "nothing was ever sent".
    let id = connection.fresh_id();
    let open = connection.routes().add_producer(id, events, tag);
    // From here on, whatever ends this future closes the id again.
    let producer = Producer { id, name: name.to_owned(), topic: topic.to_owned(), connection, open };
    let connection = &producer.connection;
    let answer = connection
        .request(operation, |request_id| {
            command::producer(proto::CommandProducer {
                topic: topic.to_owned(),
                producer_id: id,
                request_id,
                producer_name: Some(name.to_owned()),
                schema: schema.map(SchemaInfo::to_wire),
                epoch: Some(0),
                user_provided_producer_name: Some(true),
                producer_access_mode: Some(proto::ProducerAccessMode::Shared as i32),
                ..Default::default()
            })
        })
        .await?;
    let answer = answer.producer_success.ok_or_else(|| connection.unexpected(operation))?;
    if answer.producer_name != name {
        return Err(Error::Protocol {
            operation: operation.to_owned(),
            broker: connection.broker().to_owned(),
            message: format!("the broker named the producer {}", answer.producer_name),
        });
    }
    if !connection.routes().producer_is_open(id) {
        return Err(connection.gone(operation, "the producer was closed as soon as it was open".to_owned()));
    }
    Ok(Opened {
        last_sequence_id: u64::try_from(answer.last_sequence_id()).ok(),
        schema_version: answer.schema_version.filter(|version| !version.is_empty()),
        max_message_bytes: connection.max_message_bytes(),
        producer,
    })
}

/// An open producer. Dropping it closes it without waiting; [`Producer::close`] drains.
pub struct Producer {
    id: u64,
    name: String,
    topic: String,
    connection: Arc<Connection>,
    open: Arc<AtomicBool>,
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { id, name, topic, .. } = self;
        f.debug_struct("Producer").field("id", id).field("name", name).field("topic", topic).finish_non_exhaustive()
    }
}

impl Producer {
    /// Its id on its connection, for [`super::Seal`]. No two openings on a connection share one.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The topic partition it writes to.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// What the broker takes at most for checksum, metadata and payload of one batch.
    pub fn max_message_bytes(&self) -> usize {
        self.connection.max_message_bytes()
    }

    /// Whether frames can be sent: false once anybody has closed it.
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Queues a frame behind those sent before and returns at once; the connection writes it by one write. Nothing bounds
    /// the queue but the caller: whoever sends counts [`Frame::len_bytes`] until the frame's receipt, and stops at the
    /// window's limit. A frame that is `Ok` here may still be lost with its connection; events tell.
    ///
    /// # Panics
    /// On a frame that was sealed for another producer id.
    pub fn send(&self, frame: &Frame) -> Result<(), SendError> {
        assert_eq!(frame.producer_id(), self.id, "the frame was sealed for another opening of a producer");
        let limit = self.max_message_bytes();
        if frame.body_bytes() > limit {
            return Err(SendError::TooLarge { bytes: frame.body_bytes(), limit });
        }
        if !self.is_open() {
            return Err(SendError::Gone);
        }
        self.connection.write(frame.bytes().clone());
        Ok(())
    }

    /// Closes the producer: its name is free when this returns. The broker answers after the receipts of all that was
    /// sent, so every event has been given when this returns, and no `Closed` is. Where the broker had closed it before,
    /// there is nothing to wait for. On an error the name may still be held: see [`Producer::drop_connection`].
    pub async fn close(&self) -> Result<(), Error> {
        if !self.connection.routes().producer_is_closing(self.id) {
            return Ok(());
        }
        let operation = format!("close producer {} on {}", self.name, self.topic);
        let close = |request_id| command::close_producer(request_id, self.id);
        let closed = self.connection.request(&operation, close).await.map(|_| ());
        if !matches!(closed, Err(Error::Timeout { .. })) {
            self.connection.routes().remove_producer(self.id);
        }
        closed
    }

    /// Cuts the connection, with all other producers and readers on it: the broker lets go of its names.
    pub fn drop_connection(&self) {
        self.connection.shut_down("it was dropped to free a producer name");
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        // Also after a close that the broker began: it answers an id it does not know with an error nobody waits for.
        if self.connection.routes().remove_producer(self.id) {
            self.connection.tell(&command::close_producer(self.connection.fresh_id(), self.id));
        }
    }
}
