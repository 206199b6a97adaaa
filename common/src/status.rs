//! What a bridge knows about itself: the board that its tasks write, and the answers of `/status`, `/livez` and
//! `/readyz`, which are pure functions of the board and the time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::config::rfc3339;
use crate::logging::summary::Standing;
use crate::record::Offset;
use crate::translate::Drift;

mod drift;
#[cfg(test)]
mod tests;

use drift::Evidence;

/// A task that has not stepped for so long is dead or stuck: `/livez` fails. Far above any wait between two steps, since
/// tasks step at least once a second also while they wait for a broker.
pub const LIVENESS: Duration = Duration::from_secs(30);

/// What a source partition does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartitionState {
    /// Runs the opening protocol.
    Opening,
    /// Another producer holds the partition's name.
    WaitingForName,
    /// Mirrors.
    Running,
    /// Reads no more, and waits for the receipts of what is in flight.
    Draining,
    /// Told to pause; reads nothing.
    Paused,
    /// Stopped by something that only an operator can settle.
    Stopped,
}

impl PartitionState {
    /// All states.
    pub const ALL: [Self; 6] =
        [Self::Opening, Self::WaitingForName, Self::Running, Self::Draining, Self::Paused, Self::Stopped];

    /// The state's name, as in metrics and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::WaitingForName => "waiting-for-name",
            Self::Running => "running",
            Self::Draining => "draining",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// What the whole bridge does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BridgeState {
    /// Not yet a member of its group.
    Starting,
    /// Another instance owns the stream's keys (`dedupe.key`); this one takes over when that one goes.
    StandingBy,
    /// A member; mirrors whatever it is assigned.
    Running,
    /// Told to pause.
    Paused,
    /// Told to stop, or to drain.
    Draining,
}

/// Counts of records since the partition was opened here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Taken from the source.
    pub received: u64,
    /// Confirmed by the target.
    pub published: u64,
    /// Skipped since the target holds them.
    pub suppressed: u64,
    /// Sent by a repair lane.
    pub repaired: u64,
    /// Confirmed by the dead-letter topic.
    pub dead_lettered: u64,
    /// Offsets that were gone from the source, and were passed over.
    pub gap_offsets: u64,
}

/// One lane: the way to one target partition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LaneStatus {
    /// The target partition's full name.
    pub target: String,
    /// The highest sequence id with a receipt.
    pub last_sequence_id: Option<u64>,
    /// Batches sent and not yet confirmed.
    pub batches_in_flight: u32,
    /// Their bytes.
    pub bytes_in_flight: u64,
}

/// What the task of a source partition tells about it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartitionStatus {
    /// The source's name in the configuration.
    pub source: String,
    /// The topic or queue.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// What it does.
    pub state: PartitionState,
    /// Why it is in this state, or its last error: coordinates and field paths only, never content.
    pub reason: Option<String>,
    /// The producer name.
    pub producer_name: String,
    /// The offset below which everything is in the target or a dead letter.
    pub position: Option<u64>,
    /// The offset behind the newest record of the source.
    pub source_end: Option<u64>,
    /// Records between the two.
    pub lag_records: Option<u64>,
    /// Age of the oldest record without a receipt, in seconds.
    pub lag_seconds: Option<f64>,
    /// Counts of records.
    pub totals: Totals,
    /// The lanes.
    pub lanes: Vec<LaneStatus>,
}

struct Entry {
    status: PartitionStatus,
    beat: Instant,
    /// Since when the partition has had something to do without pause: records to mirror, or itself to open.
    busy_since: Option<Instant>,
    last_receipt: Option<(Instant, u64)>,
}

impl Entry {
    /// True for what should move: lag while running, and the opening itself. Paused, draining and stopped partitions are
    /// judged by their state.
    fn is_busy(&self) -> bool {
        match self.status.state {
            PartitionState::Opening | PartitionState::WaitingForName => true,
            PartitionState::Running => self.status.lag_records.is_some_and(|lag| lag > 0),
            _ => false,
        }
    }
}

struct Board {
    stream: String,
    version: String,
    state: BridgeState,
    last_error: Option<String>,
    unfit: Option<String>,
    started: (Instant, u64),
    next_id: u64,
    partitions: BTreeMap<u64, Entry>,
    tasks: BTreeMap<String, Instant>,
    /// Sources whose servers do not know this instance: since when, and their client's last words.
    away: BTreeMap<String, (Instant, String)>,
    drift: Evidence,
}

/// What a bridge knows about itself. Cheap to clone; every clone is the same board. Its writers come about once a second.
#[derive(Clone)]
pub struct StatusBoard(Arc<Mutex<Board>>);

impl StatusBoard {
    /// The board of a bridge that starts now.
    pub fn new(stream: &str, version: &str, now: Instant, unix_ms: u64) -> Self {
        Self(Arc::new(Mutex::new(Board {
            stream: stream.to_owned(),
            version: version.to_owned(),
            state: BridgeState::Starting,
            last_error: None,
            unfit: None,
            started: (now, unix_ms),
            next_id: 0,
            partitions: BTreeMap::new(),
            tasks: BTreeMap::new(),
            away: BTreeMap::new(),
            drift: Evidence::default(),
        })))
    }

    /// What the whole bridge does now.
    pub fn set_state(&self, state: BridgeState) {
        self.lock().state = state;
    }

    /// What went wrong last beyond the single partitions: a broker that cannot be reached.
    pub fn set_error(&self, error: Option<String>) {
        self.lock().last_error = error;
    }

    /// Why nothing may be published now, beyond the single partitions: the target is not what it must be.
    pub fn set_unfit(&self, reason: Option<String>) {
        self.lock().unfit = reason;
    }

    /// A task that belongs to no partition (the group's thread) steps: by its name, at least once a second.
    pub fn beat(&self, task: impl Into<String>, now: Instant) {
        self.lock().tasks.insert(task.into(), now);
    }

    /// A task ended as it should: nobody waits for its beat any more.
    pub fn task_ended(&self, task: &str) {
        let mut board = self.lock();
        board.tasks.remove(task);
        board.away.remove(task);
    }

    /// Whether a source's servers know this instance as one who reads; if not, since when, and the client's last words. An
    /// instance that they do not know has no partitions that could tell.
    pub fn away(&self, source: &str, since: Option<(Instant, String)>) {
        match since {
            Some(since) => self.lock().away.insert(source.to_owned(), since),
            None => self.lock().away.remove(source),
        };
    }

    /// A source partition was assigned. It stays on the board until the handle is dropped, so keep the handle of a
    /// stopped partition for as long as it is assigned.
    pub fn partition(&self, source: &str, topic: &str, partition: u32, now: Instant) -> PartitionHandle {
        let status = PartitionStatus {
            source: source.to_owned(),
            topic: topic.to_owned(),
            partition,
            state: PartitionState::Opening,
            reason: None,
            producer_name: String::new(),
            position: None,
            source_end: None,
            lag_records: None,
            lag_seconds: None,
            totals: Totals::default(),
            lanes: Vec::new(),
        };
        let mut board = self.lock();
        let id = board.next_id;
        board.next_id += 1;
        board.partitions.insert(id, Entry { status, beat: now, busy_since: Some(now), last_receipt: None });
        PartitionHandle { board: self.clone(), id }
    }

    /// Whether all tasks of ours still step. An outage of a broker is no reason to fail: waiting tasks step too.
    ///
    /// # Errors
    /// The tasks that no longer step, in words.
    pub fn livez(&self, now: Instant) -> Result<(), String> {
        let board = self.lock();
        let silent = |beat: Instant| now.saturating_duration_since(beat) > LIVENESS;
        let seconds = |beat: Instant| now.saturating_duration_since(beat).as_secs();
        let partitions = board.partitions.values().filter(|entry| silent(entry.beat)).map(|entry| {
            let PartitionStatus { topic, partition, .. } = &entry.status;
            format!("the task of {topic}/{partition} has not stepped for {} s", seconds(entry.beat))
        });
        let tasks = board.tasks.iter().filter(|(_, beat)| silent(**beat));
        let tasks = tasks.map(|(name, beat)| format!("{name} has not stepped for {} s", seconds(*beat)));
        none_or_joined(partitions.chain(tasks))
    }

    /// Whether the bridge does what it is for: it has started, its sources know it, no partition is stopped, and where
    /// there is something to do, receipts have come within `stall`.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn readyz(&self, now: Instant, stall: Duration) -> Result<(), String> {
        let board = self.lock();
        if board.state == BridgeState::Starting {
            return Err("starting: not yet a member of the group".to_owned());
        }
        // Who stands by does all that it should: a rolling update waits for nothing else.
        if board.state == BridgeState::StandingBy {
            return Ok(());
        }
        let away = board.away.iter().filter(|(_, (since, _))| now.saturating_duration_since(*since) > stall);
        let away = away.map(|(source, (since, words))| away_text(source, *since, words, now));
        let unready = board.partitions.values().filter_map(|entry| unready(entry, now, stall));
        none_or_joined(board.unfit.clone().into_iter().chain(away).chain(unready))
    }

    /// How things stand over all partitions, for the periodic line of the log.
    pub fn standing(&self) -> Standing {
        let board = self.lock();
        let all = board.partitions.values().map(|entry| &entry.status);
        let mut standing = Standing::default();
        for status in all {
            standing.partitions += 1;
            standing.running += u64::from(status.state == PartitionState::Running);
            standing.stopped += u64::from(status.state == PartitionState::Stopped);
            standing.lag_records += status.lag_records.unwrap_or_default();
            standing.lag_seconds = standing.lag_seconds.max(status.lag_seconds.unwrap_or_default());
        }
        standing
    }

    /// The JSON of `/status`.
    pub fn to_json(&self, now: Instant) -> serde_json::Value {
        let board = self.lock();
        let uptime = now.saturating_duration_since(board.started.0).as_secs();
        let mut away = board.away.iter().map(|(source, (since, words))| away_text(source, *since, words, now));
        let away = away.next();
        let mut partitions: Vec<&Entry> = board.partitions.values().collect();
        partitions.sort_by_key(|entry| (&entry.status.source, &entry.status.topic, entry.status.partition));
        let partitions: Vec<_> = partitions.into_iter().map(|entry| partition_json(entry, now)).collect();
        serde_json::json!({
            "stream": board.stream,
            "version": board.version,
            "state": board.state,
            "started": rfc3339(board.started.1),
            "uptime_seconds": uptime,
            "last_error": board.unfit.clone().or(board.last_error.clone()).or(away),
            "contract_drift": board.drift.to_json(board.started.1),
            "partitions": partitions,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn away_text(source: &str, since: Instant, words: &str, now: Instant) -> String {
    let seconds = now.saturating_duration_since(since).as_secs();
    format!("{source} has not been a member of its group for {seconds} s: {words}")
}

fn none_or_joined(problems: impl Iterator<Item = String>) -> Result<(), String> {
    let problems: Vec<String> = problems.collect();
    if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
}

fn unready(entry: &Entry, now: Instant, stall: Duration) -> Option<String> {
    let PartitionStatus { topic, partition, state, reason, lag_records, .. } = &entry.status;
    let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    if *state == PartitionState::Stopped {
        return Some(format!("{topic}/{partition} is stopped{reason}"));
    }
    let busy_since = entry.busy_since?;
    let moved = entry.last_receipt.map_or(busy_since, |(receipt, _)| receipt.max(busy_since));
    let still = now.saturating_duration_since(moved);
    (still > stall).then(|| {
        let lag = lag_records.map(|lag| format!(" with a lag of {lag} records")).unwrap_or_default();
        format!("{topic}/{partition} is {}{lag} and has had no receipt for {} s{reason}", state.name(), still.as_secs())
    })
}

fn partition_json(entry: &Entry, now: Instant) -> serde_json::Value {
    // A plain struct of numbers and strings always serialises.
    let mut json = serde_json::to_value(&entry.status).unwrap_or_default();
    if let Some(fields) = json.as_object_mut() {
        let receipt = entry.last_receipt;
        let ago = receipt.map(|(at, _)| now.saturating_duration_since(at).as_secs_f64());
        fields.insert("last_receipt".to_owned(), receipt.map(|(_, unix_ms)| rfc3339(unix_ms)).into());
        fields.insert("last_receipt_seconds_ago".to_owned(), ago.into());
    }
    json
}

/// The line of one source partition on the board, for its task. Dropped, the line vanishes.
pub struct PartitionHandle {
    board: StatusBoard,
    id: u64,
}

impl PartitionHandle {
    /// The task steps, and changes what has changed. To be called at least once a second, also while it waits.
    pub fn update(&self, now: Instant, change: impl FnOnce(&mut PartitionStatus)) {
        if let Some(entry) = self.board.lock().partitions.get_mut(&self.id) {
            entry.beat = now;
            let before = entry.status.state;
            change(&mut entry.status);
            let opened = before != PartitionState::Running && entry.status.state == PartitionState::Running;
            entry.busy_since = match (entry.is_busy(), entry.busy_since) {
                (true, Some(since)) if !opened => Some(since),
                (true, _) => Some(now),
                (false, _) => None,
            };
        }
    }

    /// Records were looked through for fields that the contract lacks. Gives those that had not come before, each with a record.
    pub fn checked(&self, drift: &Drift, unix_ms: u64) -> Vec<(String, Option<Offset>)> {
        let mut board = self.board.lock();
        let Board { partitions, drift: evidence, .. } = &mut *board;
        partitions.get(&self.id).map(|entry| evidence.add(drift, &entry.status, unix_ms)).unwrap_or_default()
    }

    /// A receipt came.
    pub fn receipt(&self, now: Instant, unix_ms: u64) {
        if let Some(entry) = self.board.lock().partitions.get_mut(&self.id) {
            entry.last_receipt = Some((now, unix_ms));
        }
    }
}

impl Drop for PartitionHandle {
    fn drop(&mut self) {
        self.board.lock().partitions.remove(&self.id);
    }
}
