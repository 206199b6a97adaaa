//! The queues of one source, as its readers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use super::declare;
use super::health::Health;
use super::link::Link;
use super::{QueueReader, RabbitSettings, StreamReader};
use crate::config::QueueType;
use crate::logging::events;
use crate::record::SourcePartition;
use crate::source::{Leave, Notice, SourceError};

/// How often the health is touched.
const STEP: Duration = Duration::from_secs(1);

/// The queues of one source. Unlike a Kafka group it gives every queue to every instance, at once and for good: who may
/// consume is decided by the lane's producer name, and by the queue's single active consumer.
pub struct RabbitGroup {
    cluster_id: String,
    version: String,
    link: Arc<Link>,
    health: Arc<Health>,
    ticker: JoinHandle<()>,
    /// Keeps the inbox open: the source has no more to tell, but has not ended either.
    _notices: UnboundedSender<Notice>,
}

impl fmt::Debug for RabbitGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RabbitGroup({} on cluster {})", self.link.settings.queues.join(", "), self.cluster_id)
    }
}

impl RabbitGroup {
    /// Connects, declares the queues where it is told to, and gives a reader for each.
    ///
    /// # Errors
    /// [`SourceError::Unavailable`] while RabbitMQ does not answer (try again), [`SourceError::Denied`],
    /// [`SourceError::Setting`]. A queue that is missing is its reader's to tell.
    pub async fn open(settings: RabbitSettings) -> Result<(RabbitGroup, UnboundedReceiver<Notice>), SourceError> {
        let link = Arc::new(Link::new(settings));
        let (_, server) = link.channel().await?;
        let settings = &link.settings;
        let cluster_id = settings.cluster_id.clone().unwrap_or(server.cluster_name);
        if cluster_id.is_empty() {
            let (key, reason) = ("rabbitmq.cluster_id".into(), "the server names no cluster: set it".into());
            return Err(SourceError::Setting { key, reason });
        }
        let (notices, inbox) = unbounded_channel();
        for queue in &settings.queues {
            match declare::prepare(&link, queue).await {
                // Its reader tries again, and stalls visibly; the other queues go on.
                Err(error) if error.is_transient() => {
                    tracing::warn!(event = events::SOURCE_TROUBLE, topic = queue, "{error}")
                }
                Err(error) => return Err(error),
                Ok(_) => {}
            }
            let partition = SourcePartition { cluster_id: cluster_id.clone(), topic: queue.clone(), partition: 0 };
            let reader = match settings.queue_type {
                QueueType::Stream => StreamReader::new(partition, Arc::clone(&link)).into(),
                QueueType::Quorum | QueueType::Classic => QueueReader::new(partition, Arc::clone(&link)).into(),
            };
            // The inbox is still in our hands.
            let _ = notices.send(Notice::Assigned(reader));
        }
        let health = Arc::new(Health::new());
        let ticker = tokio::spawn(tick(Arc::clone(&health)));
        let group = RabbitGroup { cluster_id, version: server.version, link, health, ticker, _notices: notices };
        Ok((group, inbox))
    }

    /// What names the cluster: `rabbitmq.cluster_id`, or the server property `cluster_name`.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// The server's version when the source was opened.
    pub fn server_version(&self) -> &str {
        &self.version
    }

    /// How many source partitions there are: the queues.
    pub fn partition_count(&self) -> u32 {
        self.link.settings.queues.len() as u32
    }

    /// Shows whether the source's task still steps.
    pub fn health(&self) -> Arc<Health> {
        Arc::clone(&self.health)
    }

    /// When the certificate ends that the server has shown last, in seconds since the epoch; `None` without TLS.
    pub fn shown_certificate_end(&self) -> Option<i64> {
        self.link.settings.tls.shown.get()
    }

    /// Closes the connection. Drop the readers before: what they were told to acknowledge is sent first; what others still
    /// hold comes again. There is nothing to leave for good, so that both ways are the same.
    pub async fn close(self, _leave: Leave, deadline: Duration) {
        if tokio::time::timeout(deadline, self.link.close(deadline / 2)).await.is_err() {
            tracing::warn!(event = events::SOURCE_LEFT_LATE, topic = ?self, "the connection to RabbitMQ was not closed within {deadline:?}");
        }
    }
}

impl Drop for RabbitGroup {
    fn drop(&mut self) {
        self.ticker.abort();
    }
}

async fn tick(health: Arc<Health>) {
    let mut interval = tokio::time::interval(STEP);
    loop {
        interval.tick().await;
        health.step();
    }
}
