//! The queue before it is consumed: declared, or looked at.

use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};

use super::super::SourceError;
use super::faults::{self, NOT_FOUND, PRECONDITION_FAILED};
use super::link::{Link, within};
use super::settings::{field_table, short};
use crate::config::{ArgumentValue, QueueType};
use crate::logging::events;

/// Whether the server lets one consumer at a time have the queue's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SingleConsumer {
    /// The queue has a single active consumer.
    Yes,
    /// It has not.
    No,
    /// The server would not tell.
    Unknown,
}

const DURABLE: QueueDeclareOptions =
    QueueDeclareOptions { passive: false, durable: true, exclusive: false, auto_delete: false, nowait: false };
const PASSIVE: QueueDeclareOptions = QueueDeclareOptions { passive: true, ..DURABLE };

/// What is known of a queue that is there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prepared {
    /// Whether one consumer at a time has it.
    pub(super) single: SingleConsumer,
    /// Whether what is rejected is kept by RabbitMQ.
    pub(super) keeps_rejected: bool,
}

/// Declares the queue and its bindings, or looks whether it is there.
///
/// # Errors
/// [`SourceError::Unavailable`], also for a queue or exchange that is missing; [`SourceError::Denied`].
pub(super) async fn prepare(link: &Link, queue: &str) -> Result<Prepared, SourceError> {
    let patience = link.settings.request_timeout;
    let what = format!("preparing queue {queue}");
    within(patience, &what, async {
        let single = if link.settings.declare { declare(link, queue, &what).await? } else { None };
        // A queue that is there with other arguments does not have ours. Where we do not declare, they are what its owner says.
        let has_our_arguments = single.is_some() || !link.settings.declare;
        let single = match (single, link.settings.queue_type) {
            (Some(single), _) => single,
            (None, QueueType::Stream) => look(link, queue, &what).await.map(|()| SingleConsumer::No)?,
            (None, _) => {
                look(link, queue, &what).await?;
                ask_for_single_consumer(link, queue).await?
            }
        };
        let keeps_rejected = has_our_arguments && has_dead_letter_exchange(link, &what).await?;
        Ok(Prepared { single, keeps_rejected })
    })
    .await
}

/// `None`: the queue is there with other arguments, and is used as it is.
async fn declare(link: &Link, queue: &str, what: &str) -> Result<Option<SingleConsumer>, SourceError> {
    let (channel, server) = link.channel().await?;
    let arguments = link.settings.queue_arguments(&server.version);
    let single = match channel.queue_declare(short(queue), DURABLE, arguments).await {
        Ok(_) => Some(SingleConsumer::Yes),
        Err(error) => match faults::refusal(&error) {
            Some((PRECONDITION_FAILED, words)) => {
                tracing::warn!(
                    event = events::QUEUE_DIFFERS,
                    topic = queue,
                    cause = "settings",
                    "the queue is there with other settings, and is used as it is: {words}"
                );
                None
            }
            _ => return Err(faults::typed(what, &error)),
        },
    };
    bind(link, queue).await?;
    Ok(single)
}

/// Whether the arguments name a dead-letter exchange that is there: RabbitMQ takes the name of a missing one, too, and
/// drops what is rejected.
async fn has_dead_letter_exchange(link: &Link, what: &str) -> Result<bool, SourceError> {
    let Some(ArgumentValue::Text(exchange)) = link.settings.arguments.get("x-dead-letter-exchange") else {
        return Ok(false);
    };
    // The default exchange is always there, and asking for it by name is refused.
    if exchange.is_empty() {
        return Ok(link.settings.arguments.contains_key("x-dead-letter-routing-key"));
    }
    let (channel, _) = link.channel().await?;
    let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
    match channel.exchange_declare(short(exchange), ExchangeKind::Fanout, passive, FieldTable::default()).await {
        Ok(()) => Ok(true),
        Err(error) => match faults::refusal(&error) {
            Some((NOT_FOUND, _)) => {
                tracing::warn!(
                    event = events::QUEUE_DIFFERS,
                    topic = what,
                    cause = "dead-letter-exchange",
                    exchange,
                    "the queue's dead-letter exchange does not exist: what is rejected would be lost"
                );
                Ok(false)
            }
            // The server does not let us look.
            Some(_) => Ok(true),
            None => Err(faults::typed(what, &error)),
        },
    }
}

async fn bind(link: &Link, queue: &str) -> Result<(), SourceError> {
    for binding in &link.settings.bindings {
        let (channel, _) = link.channel().await?;
        let (exchange, key) = (short(&binding.exchange), short(&binding.routing_key));
        let arguments = field_table(&binding.arguments);
        let bound = channel.queue_bind(short(queue), exchange, key, QueueBindOptions::default(), arguments).await;
        let what = format!("binding queue {queue} to exchange {}", binding.exchange);
        bound.map_err(|error| faults::typed(&what, &error))?;
    }
    Ok(())
}

async fn look(link: &Link, queue: &str, what: &str) -> Result<(), SourceError> {
    let (channel, _) = link.channel().await?;
    match channel.queue_declare(short(queue), PASSIVE, FieldTable::default()).await {
        Ok(_) => Ok(()),
        Err(error) if matches!(faults::refusal(&error), Some((NOT_FOUND, _))) => Err(SourceError::Unavailable {
            what: what.to_owned(),
            reason: format!("there is no queue {queue}: create it (bridgectl setup), or set declare = true"),
        }),
        Err(error) => Err(faults::typed(what, &error)),
    }
}

/// AMQP does not show a queue's arguments, but a declaration that contradicts them is refused in words that do. The
/// queue is there, so nothing is made.
async fn ask_for_single_consumer(link: &Link, queue: &str) -> Result<SingleConsumer, SourceError> {
    let (channel, _) = link.channel().await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString(link.settings.queue_type.name().into()));
    arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
    let single = match channel.queue_declare(short(queue), DURABLE, arguments).await {
        Ok(_) => SingleConsumer::Yes,
        Err(error) => match faults::refusal(&error) {
            Some((PRECONDITION_FAILED, words)) if words.contains("'x-single-active-consumer'") => SingleConsumer::No,
            _ => SingleConsumer::Unknown,
        },
    };
    // RabbitMQ 3.10 does not enforce an exclusive consumer on a quorum queue, so that it would be no way out there.
    if single != SingleConsumer::Yes
        && (single == SingleConsumer::Unknown || link.settings.queue_type == QueueType::Quorum)
    {
        tracing::warn!(
            event = events::QUEUE_DIFFERS,
            topic = queue,
            cause = "single-active-consumer",
            ?single,
            "the queue should have x-single-active-consumer: any other consumer would take messages away from the bridge"
        );
    }
    Ok(single)
}

/// How many messages are ready to be delivered.
pub(super) async fn ready_messages(channel: &lapin::Channel, queue: &str) -> Result<u64, lapin::Error> {
    let queue = channel.queue_declare(short(queue), PASSIVE, FieldTable::default()).await?;
    Ok(u64::from(queue.message_count()))
}
