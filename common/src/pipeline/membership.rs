//! Joining a source, of whatever kind, and leaving it.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::start::{Problem, revoke_deadline, wait};
#[cfg(feature = "kafka")]
use crate::config::KafkaSource;
use crate::config::{Config, Source};
use crate::retry::Retry;
#[cfg(feature = "kafka")]
use crate::source::kafka::{KafkaGroup, KafkaSettings};
#[cfg(feature = "poll")]
use crate::source::poll::{PollReader, access};
#[cfg(feature = "rabbitmq")]
use crate::source::rabbitmq::{RabbitGroup, RabbitSettings};
use crate::source::{Leave, Notice, SourceError};
use crate::status::StatusBoard;

/// A source that was joined: it gives partitions until it is left.
pub(super) struct Membership {
    kind: Kind,
    /// Passes its notices on; ends when the last one was.
    forwarding: JoinHandle<()>,
}

enum Kind {
    #[cfg(feature = "kafka")]
    Kafka(KafkaGroup),
    #[cfg(feature = "rabbitmq")]
    Rabbitmq(RabbitGroup),
    #[cfg(feature = "poll")]
    Poll,
}

/// Notices of all sources, each with the number of its source.
pub(super) type Notices = mpsc::UnboundedReceiver<(usize, Notice)>;

type Joined = (Kind, mpsc::UnboundedReceiver<Notice>);

impl Membership {
    /// Joins a source; tries again until its servers answer. Its notices go to `notices` under the number `index`.
    /// A topic that was there before may be missing for `patience`: it may be about to be created again.
    pub(super) async fn join(
        config: &Config,
        name: &str,
        source: &Source,
        board: &StatusBoard,
        (index, notices): (usize, mpsc::UnboundedSender<(usize, Notice)>),
        patience: Duration,
    ) -> Result<Self, Problem> {
        let mut retry = Retry::for_brokers();
        let began = Instant::now();
        loop {
            match open(config, name, source).await? {
                Ok((kind, inbox)) => {
                    return Ok(Self { kind, forwarding: tokio::spawn(forward(index, inbox, notices)) });
                }
                Err(error @ SourceError::Setting { .. }) => return Err(Problem::config(error)),
                Err(error @ SourceError::UnknownTopic { .. }) if began.elapsed() < patience => {
                    wait(&mut retry, board, &error.to_string()).await;
                }
                Err(error) if error.is_transient() => wait(&mut retry, board, &error.to_string()).await,
                Err(error) => return Err(Problem::fault(error)),
            }
        }
    }

    /// How many partitions the source had when it was joined.
    pub(super) fn partition_count(&self) -> u32 {
        match &self.kind {
            #[cfg(feature = "kafka")]
            Kind::Kafka(group) => group.partition_count(),
            #[cfg(feature = "rabbitmq")]
            Kind::Rabbitmq(group) => group.partition_count(),
            #[cfg(feature = "poll")]
            Kind::Poll => 1,
        }
    }

    /// How long ago its own task or thread was last seen to step.
    pub(super) fn age(&self) -> Duration {
        match &self.kind {
            #[cfg(feature = "kafka")]
            Kind::Kafka(group) => group.health().age(),
            #[cfg(feature = "rabbitmq")]
            Kind::Rabbitmq(group) => group.health().age(),
            // Its reader's task steps with the partition's.
            #[cfg(feature = "poll")]
            Kind::Poll => Duration::ZERO,
        }
    }

    /// For how long it has not been known to the source's servers as one who reads, with the client's last words.
    pub(super) fn absence(&self) -> (Duration, Option<String>) {
        match &self.kind {
            #[cfg(feature = "kafka")]
            Kind::Kafka(group) => group.health().absence(),
            #[allow(unreachable_patterns, reason = "the queues of others have lines of their own that tell")]
            _ => (Duration::ZERO, None),
        }
    }

    /// When the certificate ends that the source's server has shown last, and the server's kind. librdkafka keeps Kafka's to itself.
    pub(super) fn shown_certificate_end(&self) -> Option<(&'static str, i64)> {
        match &self.kind {
            #[cfg(feature = "rabbitmq")]
            Kind::Rabbitmq(group) => group.shown_certificate_end().map(|end| ("rabbitmq", end)),
            #[allow(unreachable_patterns, reason = "a bridge of queues alone has no other kind")]
            _ => None,
        }
    }

    /// Leaves the source; returns when all is done, or after `deadline`.
    pub(super) async fn close(self, leave: Leave, deadline: Duration) {
        match self.kind {
            #[cfg(feature = "kafka")]
            Kind::Kafka(group) => group.close(leave, deadline).await,
            #[cfg(feature = "rabbitmq")]
            Kind::Rabbitmq(group) => group.close(leave, deadline).await,
            #[cfg(feature = "poll")]
            Kind::Poll => {}
        }
    }

    /// Leaves a source, so that it can be joined anew: when this returns, the last notice of the old membership was passed on.
    pub(super) async fn give_up(self, leave: Leave, deadline: Duration) {
        let forwarding = self.forwarding;
        let kind = Self { kind: self.kind, forwarding: tokio::spawn(async {}) };
        kind.close(leave, deadline).await;
        let stop = forwarding.abort_handle();
        if tokio::time::timeout(deadline, forwarding).await.is_err() {
            stop.abort();
        }
    }
}

async fn open(config: &Config, name: &str, source: &Source) -> Result<Result<Joined, SourceError>, Problem> {
    Ok(match source {
        #[cfg(feature = "kafka")]
        Source::Kafka(kafka) => {
            let joined = KafkaGroup::open(kafka_settings(config, name, kafka)?).await;
            joined.map(|(group, inbox)| (Kind::Kafka(group), inbox))
        }
        #[cfg(feature = "rabbitmq")]
        Source::Rabbitmq(rabbitmq) => {
            let (stream, held_bytes) = (&config.stream.name, held_bytes(config));
            let prefetch = super::sources::prefetch(config);
            let settings = RabbitSettings::from_config(stream, &config.rabbitmq, rabbitmq, prefetch, held_bytes);
            RabbitGroup::open(settings).await.map(|(group, inbox)| (Kind::Rabbitmq(group), inbox))
        }
        #[cfg(feature = "poll")]
        Source::Poll(poll) => PollReader::new(name, poll, &access(config).map_err(Problem::config)?).map(|reader| {
            let (notices, inbox) = mpsc::unbounded_channel();
            // The inbox is still in our hands.
            let _ = notices.send(Notice::Assigned(reader.into()));
            (Kind::Poll, inbox)
        }),
        #[allow(unreachable_patterns, reason = "a bridge is built for the kinds that its stream has")]
        _ => {
            return Err(Problem::config(format!(
                "source.{name}.kind: this bridge was built without that kind of source"
            )));
        }
    })
}

/// A reader in a notice that nobody takes is dropped here, which gives its partition up.
async fn forward(
    index: usize,
    mut inbox: mpsc::UnboundedReceiver<Notice>,
    out: mpsc::UnboundedSender<(usize, Notice)>,
) {
    while let Some(notice) = inbox.recv().await {
        drop(out.send((index, notice)));
    }
}

/// Half of the memory is for what the sources' clients have fetched.
fn held_bytes(config: &Config) -> u64 {
    u64::from(config.limits.memory_mib) * 1024 * 1024 / 2
}

#[cfg(feature = "kafka")]
fn kafka_settings(config: &Config, name: &str, source: &KafkaSource) -> Result<KafkaSettings, Problem> {
    let mut settings = KafkaSettings::from_config(config, source).map_err(Problem::config)?;
    settings.group_instance_id = config.member_of(name);
    settings.queue_bytes = held_bytes(config);
    settings.revoke_deadline = revoke_deadline(config);
    Ok(settings)
}
