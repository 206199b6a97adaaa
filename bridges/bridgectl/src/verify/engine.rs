//! Reads both sides and compares: threads for the source, which translate again, and a task for each partition of the
//! target. Neither side runs away from the other by more than the comparison may keep.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bridge_common::pulsar::ReaderStart;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::compare::{Bounds, Comparison};
use super::desk::{Desk, Part, blocking};
use super::keys::Keys;
use super::others::Others;
use super::report::Summary;
use super::{source, target};

/// Records that one side may be ahead of the other, over all partitions: at most about 20 MiB. And digests that are kept of
/// those that the target has not shown, wherever it is: at most about 30 MiB.
const AHEAD_RECORDS: usize = 100_000;
const KEPT_RECORDS: usize = 450_000;
/// What was published earlier than the source's stamp of it is looked for this much earlier: clocks differ.
const MARGIN_SECONDS: u64 = 600;
/// How often whoever waits looks again.
const LOOK: Duration = Duration::from_millis(20);

/// What all readers share.
pub(crate) struct Shared {
    pub(crate) desk: Arc<Desk>,
    pub(crate) comparisons: Vec<Mutex<Comparison>>,
    pub(crate) keys: Mutex<Keys>,
    /// Messages of other producers, and of this stream's own whose partition or generation is not compared.
    pub(crate) foreign: Mutex<Others>,
    pub(crate) elsewhere: Mutex<Others>,
    pub(crate) source_records: AtomicU64,
    pub(crate) target_messages: AtomicU64,
    /// Nothing more is wanted.
    pub(crate) stop: AtomicBool,
}

impl Shared {
    pub(crate) fn comparison(&self, part: usize) -> MutexGuard<'_, Comparison> {
        self.comparisons[part].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub(crate) fn keys(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn foreign(&self) -> MutexGuard<'_, Others> {
        self.foreign.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn elsewhere(&self) -> MutexGuard<'_, Others> {
        self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a reader tells.
pub(crate) enum Told {
    /// A partition of the target was read to the end that it had.
    Reached,
    /// One of the source's threads has shown everything.
    Shown,
    /// It cannot go on.
    Failed(String),
}

/// What a reader says in the end. One that panics has said nothing, and would be waited for: then this says so.
pub(super) struct LastWord<'t> {
    tell: &'t mpsc::UnboundedSender<Told>,
    is_said: bool,
}

impl<'t> LastWord<'t> {
    pub(super) fn of(tell: &'t mpsc::UnboundedSender<Told>) -> Self {
        Self { tell, is_said: false }
    }

    pub(super) fn say(&mut self, told: Told) {
        self.is_said = true;
        // Nobody listens any more where the run was given up.
        let _ = self.tell.send(told);
    }
}

impl Drop for LastWord<'_> {
    fn drop(&mut self) {
        if !self.is_said && std::thread::panicking() {
            self.say(Told::Failed("a reader has broken off by a fault of this program: see above".to_owned()));
        }
    }
}

/// How a run goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// Findings of each fault that are named, for each partition.
    pub(crate) named: usize,
    /// How long records may be on their way.
    pub(crate) lag: Duration,
    /// Whether the ranges have no end.
    pub(crate) follows: bool,
}

/// A run under way.
pub(crate) struct Run {
    pub(crate) shared: Arc<Shared>,
    pub(crate) told: mpsc::UnboundedReceiver<Told>,
    threads: usize,
    tasks: usize,
    _target: target::Tasks,
}

impl Run {
    /// Starts reading, the target from its beginning or from about where the range begins.
    pub(crate) fn start(desk: &Arc<Desk>, settings: &Settings, from_beginning: bool) -> Result<Self, String> {
        let parts = desk.parts.len().max(1);
        let bounds = Bounds { ahead: AHEAD_RECORDS / parts, kept: KEPT_RECORDS / parts, named: settings.named };
        let range = |part: &Part| part.from..if settings.follows { u64::MAX } else { part.to };
        let of = |part: &Part| Comparison::new(range(part), part.source_end, bounds);
        let shared = Arc::new(Shared {
            comparisons: desk.parts.iter().map(|part| Mutex::new(of(part))).collect(),
            desk: Arc::clone(desk),
            keys: Mutex::new(Keys::new(desk)),
            foreign: Mutex::new(Others::default()),
            elsewhere: Mutex::new(Others::default()),
            source_records: AtomicU64::new(0),
            target_messages: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        let (tell, told) = mpsc::unbounded_channel();
        let start = match desk.since_ms.filter(|_| !from_beginning) {
            None => ReaderStart::Earliest,
            Some(since_ms) => {
                let ago = crate::terminal::now_ms().saturating_sub(since_ms) / 1000 + MARGIN_SECONDS;
                u32::try_from(ago).map_or(ReaderStart::Earliest, ReaderStart::SecondsAgo)
            }
        };
        let tasks = target::Tasks::start(&shared, start, &tell);
        let threads = source::start(&shared, &tell)?;
        Ok(Self { shared, told, threads, tasks: desk.topics.len(), _target: tasks })
    }

    /// Waits until both sides have shown all that they held when it began, and what was on its way then has come, or has
    /// had its time.
    pub(crate) async fn all_shown(&mut self, lag: Duration) -> Result<(), String> {
        while self.threads > 0 || self.tasks > 0 {
            match self.told.recv().await {
                Some(Told::Reached) => {
                    self.tasks -= 1;
                    if self.tasks == 0 {
                        // What is left of the source waits for nothing.
                        (0..self.shared.comparisons.len())
                            .for_each(|part| self.shared.comparison(part).target_is_done());
                    }
                }
                Some(Told::Shown) => self.threads -= 1,
                Some(Told::Failed(problem)) => return Err(problem),
                None => return Err("a reader has ended without a word".to_owned()),
            }
        }
        // However long reading took: only from here on nothing but what is on its way is waited for.
        let deadline = Instant::now() + lag;
        while Instant::now() < deadline && self.unfound() > 0 {
            if let Ok(Some(Told::Failed(problem))) = tokio::time::timeout(LOOK, self.told.recv()).await {
                return Err(problem);
            }
        }
        Ok(())
    }

    fn unfound(&self) -> u64 {
        (0..self.shared.comparisons.len()).map(|part| self.shared.comparison(part).unfound()).sum()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

/// What a finished run gives.
pub(crate) struct Outcome {
    pub(crate) comparisons: Vec<Comparison>,
    pub(crate) keys: Keys,
    foreign: Others,
    elsewhere: Others,
    elapsed: Duration,
    target_messages: u64,
    from_beginning: bool,
}

impl Outcome {
    /// What a report is made of.
    pub(crate) fn summary(&self, desk: &Desk) -> Summary {
        let part = |(part, comparison): (&Part, &Comparison)| comparison.summary(part.to);
        Summary {
            parts: desk.parts.iter().zip(&self.comparisons).map(part).collect(),
            keys: self.keys.found.clone(),
            foreign: self.foreign.clone(),
            elsewhere: self.elsewhere.clone(),
            seconds: self.elapsed.as_secs_f64(),
            target_messages: self.target_messages,
            from_beginning: self.from_beginning,
        }
    }
}

/// Shows how far a run is, until it is aborted; `None` where nobody looks.
pub(crate) type Watch<'w> = &'w dyn Fn(&Arc<Shared>) -> Option<JoinHandle<()>>;

/// Compares the ranges of the desk, once. Where something is not found among what was published since the range began, the
/// target is read from its beginning before it is called missing.
pub(crate) async fn compare(desk: &Arc<Desk>, settings: &Settings, watch: Watch<'_>) -> Result<Outcome, String> {
    let began = Instant::now();
    let mut from_beginning = desk.since_ms.is_none();
    loop {
        let mut run = Run::start(desk, settings, from_beginning)?;
        let watching = watch(&run.shared);
        let shown = run.all_shown(settings.lag).await;
        if let Some(watching) = watching {
            watching.abort();
            let _ = watching.await;
        }
        shown?;
        let shared = Arc::clone(&run.shared);
        drop(run);
        ask_for_ends(&shared).await?;
        let keys = std::mem::take(&mut *shared.keys());
        let comparisons: Vec<Comparison> = (0..shared.comparisons.len())
            .map(|part| {
                let empty = Comparison::new(0..0, 0, Bounds { ahead: 0, kept: 0, named: 0 });
                let mut comparison = std::mem::replace(&mut *shared.comparison(part), empty);
                comparison.finish(desk.starts_late, |key| keys.contains(key));
                comparison
            })
            .collect();
        let lacks = |comparison: &Comparison| {
            let lacking = comparison.counts.of(super::facts::Fault::Missing) + comparison.counts.before_start;
            lacking > 0 && !comparison.is_covered()
        };
        if !from_beginning && comparisons.iter().any(lacks) {
            eprintln!(
                "some records are not among what was published since then: reading the target from its beginning"
            );
            from_beginning = true;
            continue;
        }
        let foreign = std::mem::take(&mut *shared.foreign());
        let elsewhere = std::mem::take(&mut *shared.elsewhere());
        let target_messages = shared.target_messages.load(Ordering::Relaxed);
        let elapsed = began.elapsed();
        return Ok(Outcome { comparisons, keys, foreign, elsewhere, elapsed, target_messages, from_beginning });
    }
}

/// Asks for the source's ends again, where the target holds something behind those that are known.
async fn ask_for_ends(shared: &Arc<Shared>) -> Result<(), String> {
    for (part, index) in shared.desk.parts.iter().zip(0..) {
        if shared.comparison(index).asks_for_end() {
            let end = end_of(&shared.desk, part).await?;
            shared.comparison(index).ends_at(end);
        }
    }
    Ok(())
}

/// Where a source partition ends now.
pub(crate) async fn end_of(desk: &Desk, part: &Part) -> Result<u64, String> {
    let (topic, number) = (Arc::clone(&desk.kafka[part.kafka].topic), part.source.partition);
    let (_, end) = blocking(move || topic.watermarks(number).map_err(|error| super::words(&error))).await?;
    Ok(end)
}
