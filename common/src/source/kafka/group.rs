//! The membership in a consumer group, and the thread that keeps it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer, DefaultConsumerContext};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;

use super::bulk::{self, GroupConsumer};
use super::context::{GroupContext, STEP};
use super::orphans::{Watch, Watched};
use super::{KafkaSettings, faults};
use crate::logging::events;
use crate::source::{Leave, Notice, SourceError};

/// How long the close waits for what comes after the last revoke: LeaveGroup, and readers dropped late.
const LAST_STEPS: Duration = Duration::from_secs(5);

/// Shows that the group's thread still steps, for `/livez`.
#[derive(Debug)]
pub struct Health {
    start: Instant,
    last_step_ms: AtomicU64,
    last_member_ms: AtomicU64,
    /// What the client said last of its trouble with the brokers.
    trouble: Mutex<Option<String>>,
}

impl Health {
    fn new() -> Self {
        let (last_step_ms, last_member_ms) = (AtomicU64::new(0), AtomicU64::new(0));
        Health { start: Instant::now(), last_step_ms, last_member_ms, trouble: Mutex::default() }
    }

    fn now_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    /// The group's coordinator knows the consumer.
    fn is_member(&self) {
        self.last_member_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// The client has trouble of some kind with the brokers, and deals with it.
    pub(super) fn trouble(&self, topic: &str, kind: &str, text: String) {
        // Without brokers the client repeats itself ten times a second; of each kind the log holds back what repeats.
        tracing::warn!(event = events::SOURCE_TROUBLE, topic, cause = kind, "{text}");
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }

    /// For how long the consumer has been no member of its group, and what the client said last: a bridge without the
    /// brokers has no partitions, and nothing else that would tell.
    pub fn absence(&self) -> (Duration, Option<String>) {
        let since = Duration::from_millis(self.last_member_ms.load(Ordering::Relaxed));
        (
            self.start.elapsed().saturating_sub(since),
            self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        )
    }

    /// The group's thread has come around.
    pub(super) fn step(&self) {
        self.last_step_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// How long ago the group's thread last came around. It does ten times a second, also during a revoke.
    pub fn age(&self) -> Duration {
        self.start.elapsed().saturating_sub(Duration::from_millis(self.last_step_ms.load(Ordering::Relaxed)))
    }
}

/// What the thread is asked to do last.
struct Close {
    leave: Leave,
    done: oneshot::Sender<()>,
}

/// The membership in the group of one stream's topic. Dropping it leaves without waiting; [`KafkaGroup::close`] waits.
pub struct KafkaGroup {
    cluster_id: String,
    topic: String,
    partition_count: u32,
    request_timeout: Duration,
    health: Arc<Health>,
    commits_failed: Arc<AtomicU64>,
    probe: Arc<BaseConsumer>,
    close: Sender<Close>,
    _orphans: Watch,
}

impl fmt::Debug for KafkaGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KafkaGroup({} on cluster {})", self.topic, self.cluster_id)
    }
}

impl KafkaGroup {
    /// Looks at the topic, joins the group, and gives the membership with its notices.
    ///
    /// # Errors
    /// [`SourceError::Unavailable`] while no broker answers (try again), [`SourceError::UnknownTopic`],
    /// [`SourceError::Denied`], [`SourceError::Setting`].
    pub async fn open(settings: KafkaSettings) -> Result<(KafkaGroup, UnboundedReceiver<Notice>), SourceError> {
        run_blocking(move || Self::open_blocking(settings)).await
    }

    fn open_blocking(settings: KafkaSettings) -> Result<(KafkaGroup, UnboundedReceiver<Notice>), SourceError> {
        let what = format!("looking at topic {} on {}", settings.topic, settings.brokers);
        let typed = |error| faults::of_client(&what, &settings.topic, &error);
        let probe: BaseConsumer = settings.probe()?.create_with_context(DefaultConsumerContext).map_err(typed)?;
        let partition_count = count_partitions(&probe, &settings.topic, settings.request_timeout)?;
        let cluster_id = probe.client().fetch_cluster_id(settings.request_timeout).ok_or_else(|| {
            SourceError::Unavailable { what: what.clone(), reason: "no broker told the cluster's id".into() }
        })?;
        let (notices, inbox) = unbounded_channel();
        let watch_notices = notices.clone();
        let (health, commits_failed) = (Arc::new(Health::new()), Arc::new(AtomicU64::new(0)));
        let context = GroupContext {
            cluster_id: cluster_id.clone(),
            topic: settings.topic.clone(),
            instance_id: settings.group_instance_id.clone(),
            revoke_deadline: settings.revoke_deadline,
            request_timeout: settings.request_timeout,
            health: Arc::clone(&health),
            commits_failed: Arc::clone(&commits_failed),
            notices,
            consumer: OnceLock::new(),
            owned: Default::default(),
        };
        let consumer: GroupConsumer =
            settings.consumer(partition_count)?.create_with_context(context).map_err(typed)?;
        let consumer = Arc::new(consumer);
        // Set here and nowhere else, so it cannot have been set before.
        drop(consumer.context().consumer.set(Arc::downgrade(&consumer)));
        consumer.subscribe(&[&settings.topic]).map_err(typed)?;
        let (close, commands) = channel();
        let name = format!("kafka-{}", settings.stream);
        thread::Builder::new()
            .name(name)
            .spawn(move || run(consumer, &commands))
            .map_err(|error| SourceError::Fatal { what, reason: error.to_string() })?;
        let probe = Arc::new(probe);
        let watched = Watched {
            probe: Arc::clone(&probe),
            group: settings.group_id.clone(),
            topic: settings.topic.clone(),
            timeout: settings.request_timeout,
        };
        let orphans = Watch::start(watched, watch_notices);
        let group = KafkaGroup {
            cluster_id,
            topic: settings.topic,
            partition_count,
            request_timeout: settings.request_timeout,
            health,
            commits_failed,
            probe,
            close,
            _orphans: orphans,
        };
        Ok((group, inbox))
    }

    /// The id of the Kafka cluster.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// How many partitions the topic had when the group was joined. `start = "latest"` is for these only: a partition
    /// added later is read from its beginning.
    pub fn partition_count(&self) -> u32 {
        self.partition_count
    }

    /// How many partitions the topic has now.
    ///
    /// # Errors
    /// [`SourceError::UnknownTopic`] when the topic is gone, [`SourceError::Unavailable`].
    pub async fn partition_count_now(&self) -> Result<u32, SourceError> {
        let (probe, topic, timeout) = (Arc::clone(&self.probe), self.topic.clone(), self.request_timeout);
        run_blocking(move || count_partitions(&probe, &topic, timeout)).await
    }

    /// Shows whether the group's thread still steps.
    pub fn health(&self) -> Arc<Health> {
        Arc::clone(&self.health)
    }

    /// How often the coordinator refused to move the group's committed offset. Nothing depends on it but lag tools.
    pub fn commits_failed(&self) -> u64 {
        self.commits_failed.load(Ordering::Relaxed)
    }

    /// Leaves: every partition is revoked (which drains it), then the consumer is closed. Returns when all is done, or
    /// after `deadline`; the thread then goes on by itself and ends when the revoke's own deadline has passed.
    pub async fn close(self, leave: Leave, deadline: Duration) {
        let (done, finished) = oneshot::channel();
        if self.close.send(Close { leave, done }).is_ok() && tokio::time::timeout(deadline, finished).await.is_err() {
            let topic = &self.topic;
            tracing::warn!(
                event = events::SOURCE_LEFT_LATE,
                topic,
                "the consumer group was not left within {deadline:?}"
            );
        }
    }
}

pub(super) fn count_partitions(probe: &BaseConsumer, topic: &str, timeout: Duration) -> Result<u32, SourceError> {
    let what = format!("looking at topic {topic}");
    let metadata =
        probe.fetch_metadata(Some(topic), timeout).map_err(|error| faults::of_client(&what, topic, &error))?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    if let Some(error) = found.and_then(|found| found.error()) {
        let code = error.into();
        return Err(faults::of_code(&what, topic, Some(code), code.to_string()));
    }
    match found.map_or(0, |found| found.partitions().len() as u32) {
        0 => Err(SourceError::UnknownTopic { topic: topic.into(), reason: "no partitions".into() }),
        count => Ok(count),
    }
}

/// The group's thread: serves librdkafka's callbacks until it is told to close, or its group is dropped.
fn run(consumer: Arc<GroupConsumer>, commands: &Receiver<Close>) {
    let (leave, done) = loop {
        step(&consumer);
        match commands.try_recv() {
            Ok(close) => break (close.leave, Some(close.done)),
            Err(TryRecvError::Disconnected) => break (Leave::ForRestart, None),
            Err(TryRecvError::Empty) => {}
        }
    };
    if leave == Leave::ForGood {
        // A static member that only closes sends no LeaveGroup: unsubscribe, and await the revoke and the leaving.
        consumer.unsubscribe();
        let deadline = Instant::now() + consumer.context().revoke_deadline + LAST_STEPS;
        while Instant::now() < deadline && (!consumer.context().owned().is_empty() || bulk::is_member(&consumer)) {
            step(&consumer);
        }
    }
    shut(consumer);
    if let Some(done) = done {
        // Nobody may be waiting any more.
        let _ = done.send(());
    }
}

fn step(consumer: &GroupConsumer) {
    let health = &consumer.context().health;
    health.step();
    if bulk::is_member(consumer) {
        health.is_member();
    }
    match consumer.poll(STEP) {
        None => {}
        Some(Err(error)) => consumer.context().failed(&error),
        Some(Ok(message)) => {
            // Every partition has a queue of its own; a record here would be missing from its reader.
            use rdkafka::Message;
            let what = format!("offset {} of {}/{}", message.offset(), message.topic(), message.partition());
            let reason = "came past its partition's queue".into();
            consumer.context().notify(Notice::Failed(SourceError::Fatal { what, reason }));
        }
    }
}

/// Closes the consumer (which revokes what is still ours), and drops it here, not on a reader's thread.
fn shut(consumer: Arc<GroupConsumer>) {
    if let Err(error) = consumer.close_queue() {
        tracing::debug!(event = events::DETAIL, "closing the consumer: {error}");
    } else {
        let deadline = Instant::now() + consumer.context().revoke_deadline + LAST_STEPS;
        while !consumer.closed() && Instant::now() < deadline {
            step(&consumer);
        }
    }
    let deadline = Instant::now() + LAST_STEPS;
    while Arc::strong_count(&consumer) > 1 && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
}

/// Runs what blocks away from the async threads.
pub(super) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(SourceError::Fatal { what: "asking Kafka".into(), reason: error.to_string() }),
    }
}
