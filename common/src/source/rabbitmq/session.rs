//! One consumer on a channel of its own, from its start to the first thing that goes wrong.

use std::pin::Pin;

use futures::FutureExt;
use futures::stream::{Peekable, StreamExt};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, BasicRejectOptions};
use lapin::types::{DeliveryTag, FieldTable};
use lapin::{Channel, Consumer};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use super::super::SourceError;
use super::faults;
use super::link::{Link, within};
use super::settings::short;

use crate::logging::events;

/// What the server is told about deliveries, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ack {
    /// This delivery and all before it are settled.
    UpTo(DeliveryTag),
    /// This one is settled by the queue's dead-letter exchange.
    Reject(DeliveryTag),
    /// There is no more to say: close the channel.
    Close,
}

/// What is there to take.
#[expect(clippy::large_enum_variant, reason = "matched at once, and hardly ever anything but a delivery")]
pub(super) enum Next {
    /// A delivery.
    Delivery(Delivery),
    /// Nothing now.
    Empty,
    /// Nothing any more.
    Over(SourceError),
}

/// A consumer. Dropping it sends the acknowledgements that were asked for, and closes the channel: the server takes back
/// what was not acknowledged.
pub(super) struct Session {
    what: String,
    channel: Channel,
    /// Bounded by the prefetch.
    incoming: Peekable<Consumer>,
    /// Bounded by the prefetch, too: each word settles at least one delivery.
    acks: UnboundedSender<Ack>,
    acker: JoinHandle<()>,
}

impl Session {
    /// Opens the channel and consumes.
    ///
    /// # Errors
    /// [`SourceError::Unavailable`], [`SourceError::Denied`].
    pub(super) async fn open(
        link: &Link,
        queue: &str,
        prefetch: u16,
        exclusive: bool,
        arguments: FieldTable,
    ) -> Result<Session, SourceError> {
        let what = format!("consuming queue {queue}");
        let tag = short(&format!("bridge-{}-{queue}", link.settings.stream));
        let options = BasicConsumeOptions { exclusive, ..BasicConsumeOptions::default() };
        within(link.settings.request_timeout, &what, async {
            let (channel, _) = link.channel().await?;
            let typed = |error| faults::typed(&what, &error);
            channel.basic_qos(prefetch, BasicQosOptions::default()).await.map_err(typed)?;
            let consumer = channel.basic_consume(short(queue), tag, options, arguments).await.map_err(typed)?;
            let (acks, inbox) = unbounded_channel();
            let (busy, on) = (link.busy().await, channel.clone());
            let acker = tokio::spawn(async move {
                acknowledge(on, inbox).await;
                drop(busy);
            });
            let what = what.clone();
            Ok(Session { what, channel, incoming: consumer.peekable(), acks, acker })
        })
        .await
    }

    /// Waits until [`Session::next`] has something to tell. May be dropped and called again.
    pub(super) async fn ready(&mut self) {
        Pin::new(&mut self.incoming).peek().await;
    }

    /// What is there, without waiting.
    pub(super) fn next(&mut self) -> Next {
        // What a dead channel has delivered comes again: showing it would only make work.
        let alive = self.channel.status().connected();
        loop {
            return match self.incoming.next().now_or_never() {
                Some(Some(Ok(delivery))) if alive => Next::Delivery(delivery),
                Some(Some(Ok(_))) => continue,
                Some(Some(Err(error))) => self.over(error.to_string()),
                Some(None) => self.over("the server has cancelled the consumer: is the queue gone?".into()),
                None if alive => Next::Empty,
                None => self.over("the channel is closed".into()),
            };
        }
    }

    fn over(&self, reason: String) -> Next {
        Next::Over(SourceError::Unavailable { what: self.what.clone(), reason })
    }

    /// Tells the server, in order, without waiting. On a channel that is closed it is dropped, as it has to be.
    pub(super) fn tell(&self, ack: Ack) {
        let _ = self.acks.send(ack);
    }

    /// Acknowledges up to `tag` and waits for the server: what it sends of itself at that is there then.
    ///
    /// # Errors
    /// [`SourceError::Unavailable`].
    pub(super) async fn acknowledge_and_wait(&self, tag: DeliveryTag, prefetch: u16) -> Result<(), SourceError> {
        let typed = |error| faults::typed(&self.what, &error);
        self.channel.basic_ack(tag, BasicAckOptions { multiple: true }).await.map_err(typed)?;
        self.channel.basic_qos(prefetch, BasicQosOptions::default()).await.map_err(typed)
    }

    /// Closes the channel, and waits for it, so that a new consumer finds the queue free and in order.
    pub(super) async fn close(self, link: &Link) {
        let Session { acks, acker, incoming, what, .. } = self;
        drop(acks);
        if tokio::time::timeout(link.settings.request_timeout, acker).await.is_err() {
            tracing::debug!(event = events::DETAIL, "{what}: the channel was not closed in time");
        }
        drop(incoming);
    }
}

/// Sends acknowledgements in order until there are no more, then closes the channel.
async fn acknowledge(channel: Channel, mut inbox: UnboundedReceiver<Ack>) {
    let mut next = inbox.recv().await;
    while let Some(ack) = next {
        next = inbox.try_recv().ok();
        let sent = match (ack, next) {
            // Of cumulative acknowledgements that wait in a row only the last one matters.
            (Ack::UpTo(_), Some(Ack::UpTo(_))) => Ok(()),
            (Ack::UpTo(tag), _) => channel.basic_ack(tag, BasicAckOptions { multiple: true }).await,
            (Ack::Reject(tag), _) => channel.basic_reject(tag, BasicRejectOptions { requeue: false }).await,
            (Ack::Close, _) => break,
        };
        if let Err(error) = sent {
            // The reader hears of it from its consumer; what was not acknowledged comes again.
            tracing::debug!(event = events::DETAIL, "an acknowledgement was not sent: {error}");
            return;
        }
        if next.is_none() {
            next = inbox.recv().await;
        }
    }
    close(&channel).await;
}

async fn close(channel: &Channel) {
    if channel.status().connected()
        && let Err(error) = channel.close(200, "done".into()).await
    {
        tracing::debug!(event = events::DETAIL, "closing a channel: {error}");
    }
}
