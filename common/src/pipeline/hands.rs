//! The hands of one partition towards Pulsar: they carry out what the core asks for, each request in a task of its own,
//! and bring every answer back as an event. They decide nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::holders::Holders;
use super::recalling::Findings;
use super::scanning::{Scanning, end_of};
use super::schemas::Schemas;
use crate::admin::Admin;
use crate::checkpoint::{self, Found, ReadError};
use crate::lane::{Event, LaneId, NotOpened, Role, Scan, ScanFrom, Tag, Topic};
use crate::pulsar::{Client, Error, Opened, ProducerEvent, ProducerEvents, Refusal, SchemaInfo};
use crate::record::Offset;
use crate::retry::Retry;
use crate::translate::SchemaId;

/// What is the same for all requests of one partition.
#[derive(Debug, Clone)]
pub(super) struct Names {
    /// The partition's name: its producer's on the checkpoint topic and on every lane.
    pub(super) producer: String,
    /// The checkpoint topic.
    pub(super) checkpoints: String,
    /// The schema of what goes to the target; dead letters and checkpoints have none.
    pub(super) schema: Option<Arc<SchemaInfo>>,
    /// The topic for dead letters.
    pub(super) dead_letters: String,
    /// Whether what is read back is to be identified by more than its ids.
    pub(super) is_recalled: bool,
    /// Whether they are deliveries of a queue.
    pub(super) is_counted: bool,
}

/// An answer to a request.
pub(super) enum Answer {
    /// A producer is open.
    Opened(Tag, Box<Opened>),
    /// A scan is complete.
    Scanned(Tag, Scan, Findings),
    /// Anything else, as the core understands it.
    Event(Event),
    /// The checkpoint topic was read.
    Found(Tag, Found),
    /// A schema that was missing is known.
    SchemaKnown,
    /// Something failed that is being tried again: for `/status`.
    Trouble(String),
}

/// A request to open a producer.
struct Asking {
    task: JoinHandle<()>,
    /// The broker was asked: what it opens must be closed again, and heard to be, before the name is known to be free.
    was_sent: Arc<AtomicBool>,
    /// The core wants it closed, whatever comes of it.
    is_given_up: bool,
}

/// Carries out requests and gathers their answers.
pub(super) struct Hands {
    client: Client,
    names: Names,
    producers: HashMap<Tag, Opened>,
    opening: HashMap<Tag, Asking>,
    answers: mpsc::UnboundedSender<Answer>,
    events: ProducerEvents,
    holders: Arc<Holders>,
}

impl Hands {
    /// Hands without anything in them; answers and events arrive at the channels given.
    pub(super) fn new(
        client: Client,
        names: Names,
        answers: mpsc::UnboundedSender<Answer>,
        events: ProducerEvents,
        admin: Option<Admin>,
    ) -> Self {
        let holders = Arc::new(Holders::new(admin));
        Self { client, names, producers: HashMap::new(), opening: HashMap::new(), answers, events, holders }
    }

    /// The producer of a tag, while it is open.
    pub(super) fn producer(&self, tag: Tag) -> Option<&Opened> {
        self.producers.get(&tag)
    }

    /// The smallest message size limit among the brokers of the open producers.
    pub(super) fn smallest_limit(&self) -> usize {
        self.producers.values().map(|opened| opened.max_message_bytes).min().unwrap_or(0)
    }

    /// Opens a producer, after a pause that grows with `attempt`.
    pub(super) fn open(&mut self, tag: Tag, role: Role, topic: Topic, attempt: u32) {
        let topic = self.topic(topic);
        let (name, schema) = match role {
            Role::Checkpoint => (self.names.producer.clone(), None),
            Role::Lane(_) => (self.names.producer.clone(), self.schema_of(&topic)),
            Role::Repair(intent) => (intent.producer_name(&self.names.producer), self.schema_of(&topic)),
        };
        let (client, answers, events) = (self.client.clone(), self.answers.clone(), self.events.clone());
        let holders = Arc::clone(&self.holders);
        let was_sent = Arc::new(AtomicBool::new(false));
        let sending = Arc::clone(&was_sent);
        let task = tokio::spawn(async move {
            tokio::time::sleep(pause(attempt)).await;
            sending.store(true, Ordering::Release);
            let answer = match client.open_producer(&topic, &name, schema.as_deref(), events, tag.0).await {
                Ok(opened) => Answer::Opened(tag, Box::new(opened)),
                Err(error) => {
                    // A name that stays busy for long may be held by a dying connection of our own.
                    if matches!(error, Error::Busy { .. }) && attempt > 0 && attempt.is_multiple_of(BUSY_ATTEMPTS) {
                        client.drop_connection_of(&topic);
                    }
                    let reason = match error {
                        Error::Busy { .. } => NotOpened::Busy(holders.holder(&topic, &name, attempt).await),
                        error => not_opened(&error),
                    };
                    Answer::Event(Event::NotOpened { tag, reason })
                }
            };
            // The partition may be gone meanwhile: dropping an open producer closes it.
            let _ = answers.send(answer);
        });
        self.opening.insert(tag, Asking { task, was_sent, is_given_up: false });
    }

    fn schema_of(&self, topic: &str) -> Option<Arc<SchemaInfo>> {
        self.names.schema.clone().filter(|_| topic != self.names.dead_letters)
    }

    fn topic(&self, topic: Topic) -> String {
        match topic {
            Topic::Checkpoints => self.names.checkpoints.clone(),
            Topic::Named(topic) => topic,
        }
    }

    /// Keeps a producer that was opened; its first event for the core. `None` where the request was given up meanwhile:
    /// then it is closed.
    pub(super) fn keep(&mut self, tag: Tag, opened: Opened) -> Option<Event> {
        let asking = self.opening.remove(&tag)?;
        let last = opened.last_sequence_id;
        self.producers.insert(tag, opened);
        if asking.is_given_up {
            self.close(tag);
            return None;
        }
        Some(Event::Opened { tag, last })
    }

    /// A request to open failed; what the core hears of it.
    pub(super) fn not_opened(&mut self, tag: Tag, reason: NotOpened) -> Option<Event> {
        let asking = self.opening.remove(&tag)?;
        let closed = Event::Closed { tag, reason: "it was not open".into() };
        Some(if asking.is_given_up { closed } else { Event::NotOpened { tag, reason } })
    }

    /// A producer is gone without our doing.
    pub(super) fn lost(&mut self, tag: Tag) {
        self.producers.remove(&tag);
    }

    /// Closes a producer, or gives up a request to open one. Always answered by `Closed`.
    pub(super) fn close(&mut self, tag: Tag) {
        let closed = move || Answer::Event(Event::Closed { tag, reason: "closed by the bridge".into() });
        if let Some(asking) = self.opening.get_mut(&tag) {
            if asking.was_sent.load(Ordering::Acquire) {
                asking.is_given_up = true;
                return;
            }
            asking.task.abort();
            self.opening.remove(&tag);
        }
        let answers = self.answers.clone();
        let Some(opened) = self.producers.remove(&tag) else {
            let _ = answers.send(closed());
            return;
        };
        tokio::spawn(async move {
            if opened.producer.close().await.is_err() {
                // The name must be free when this is answered.
                opened.producer.drop_connection();
            }
            let _ = answers.send(closed());
        });
    }

    /// Tells the core something that was found while carrying out a request.
    pub(super) fn tell(&self, event: Event) {
        send(&self.answers, event);
    }

    /// Reads the checkpoint topic.
    pub(super) fn read_entry(&self, tag: Tag, attempt: u32) {
        let (client, names, answers) = (self.client.clone(), self.names.clone(), self.answers.clone());
        tokio::spawn(async move {
            tokio::time::sleep(pause(attempt)).await;
            match checkpoint::read(&client, &names.checkpoints, &names.producer).await {
                Ok(found) => drop(answers.send(Answer::Found(tag, found))),
                Err(error) => failed(&answers, tag, &error),
            }
        });
    }

    /// Reads a lane from a mark to its end.
    pub(super) fn scan(&self, tag: Tag, role: Role, topic: Topic, from: ScanFrom, floor: Offset, attempt: u32) {
        // A repair's messages are identified by the scan of its lane, which sees them too.
        let is_recalled = self.names.is_recalled && matches!(role, Role::Lane(_));
        let name = match role {
            Role::Repair(intent) => intent.producer_name(&self.names.producer),
            Role::Checkpoint | Role::Lane(_) => self.names.producer.clone(),
        };
        let topic = self.topic(topic);
        let scanning = Scanning {
            name,
            partition: self.names.producer.clone(),
            is_recalled,
            is_counted: self.names.is_counted,
            has_keys: topic != self.names.dead_letters,
            topic,
            from,
            floor,
        };
        let (client, answers) = (self.client.clone(), self.answers.clone());
        tokio::spawn(async move {
            tokio::time::sleep(pause(attempt)).await;
            match scanning.run(&client).await {
                Ok((scan, findings)) => drop(answers.send(Answer::Scanned(tag, scan, findings))),
                Err(error) => failed(&answers, tag, &error),
            }
        });
    }

    /// Fetches a schema that a body names; answered when it is known.
    pub(super) fn fetch_schema(&self, schemas: Arc<Schemas>, id: SchemaId) {
        let answers = self.answers.clone();
        tokio::spawn(async move {
            let trouble = |text| drop(answers.send(Answer::Trouble(text)));
            tokio::select! {
                () = schemas.fetch(id, trouble) => drop(answers.send(Answer::SchemaKnown)),
                // The partition is gone.
                () = answers.closed() => {}
            }
        });
    }

    /// Asks for the last entry of a lane's topic.
    pub(super) fn peek(&self, tag: Tag, lane: LaneId, topic: Topic) {
        let (client, topic, answers) = (self.client.clone(), self.topic(topic), self.answers.clone());
        tokio::spawn(async move {
            // A failure is no answer: the mark stays where it is, and the next peek comes in its time.
            if let Ok(end) = end_of(&client, &topic).await {
                send(&answers, Event::Peeked { tag, lane, end });
            }
        });
    }
}

impl Drop for Hands {
    fn drop(&mut self) {
        self.opening.values().for_each(|asking| asking.task.abort());
    }
}

/// After how many attempts in a row a busy name makes us drop our own connection to that broker.
const BUSY_ATTEMPTS: u32 = 30;

/// The pause before an attempt: none before the first, then growing, with jitter. Eight of them in a row last longer than
/// a write of an earlier holder can be under way in the broker, which the core relies on.
fn pause(attempt: u32) -> Duration {
    if attempt == 0 {
        return Duration::ZERO;
    }
    let first = Duration::from_millis(50) * 2_u32.pow(attempt.min(7) - 1);
    Retry::new(first, Duration::from_secs(5)).next_pause()
}

fn send(answers: &mpsc::UnboundedSender<Answer>, event: Event) {
    // Nobody listens once the partition is gone.
    let _ = answers.send(Answer::Event(event));
}

fn failed(answers: &mpsc::UnboundedSender<Answer>, tag: Tag, error: &ReadError) {
    let reason = error.to_string();
    let _ = answers.send(Answer::Trouble(reason.clone()));
    send(answers, Event::ScanFailed { tag, reason });
}

/// What a failure to open means for the core. Most refusals can be undone by an operator without a restart (rights, a
/// missing or terminated topic): the bridge stalls visibly and goes on when it is mended.
fn not_opened(error: &Error) -> NotOpened {
    match error {
        Error::Refused { refusal: Refusal::IncompatibleSchema | Refusal::InvalidTopicName, .. } => {
            NotOpened::Never(error.to_string())
        }
        _ => NotOpened::Later(error.to_string()),
    }
}

/// A producer's event in the core's words.
pub(super) fn event(tag: Tag, event: ProducerEvent) -> Event {
    match event {
        ProducerEvent::Receipt { lowest_sequence_id, message_id, .. } => {
            Event::Receipt { tag, lowest: lowest_sequence_id, id: message_id }
        }
        ProducerEvent::SendError { highest_sequence_id, code, message } => Event::SendFailed {
            tag,
            highest: highest_sequence_id,
            failure: crate::lane::send_failure(code.as_str_name(), &message),
        },
        ProducerEvent::Closed { reason } => Event::Closed { tag, reason },
    }
}
