//! The source's side: threads that read Kafka, translate again, and tell the comparisons what must be there.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use bridge_common::pipeline::Maker;
use bridge_common::record::Record;
use bridge_common::source::SourceError;
use bridge_common::source::kafka::Window;
use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedSender;

use super::content::{Content, place_of};
use super::engine::{LastWord, Shared, Told};
use super::facts::Expected;
use super::words;

/// Threads for each topic at most, and what all of them together may hold of fetched records.
const THREADS: usize = 8;
const QUEUE_BYTES: u64 = 32 << 20;
/// Records that are taken at once.
const TAKE_RECORDS: usize = 500;
/// How long nothing may come before it is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a registry may take to tell a schema.
const LEARNING: Duration = Duration::from_secs(30);

/// One partition that a thread reads.
struct Job {
    part: usize,
    maker: Maker,
    is_done: bool,
}

/// Starts the threads; gives how many.
pub(crate) fn start(shared: &Arc<Shared>, tell: &UnboundedSender<Told>) -> Result<usize, String> {
    let desk = &shared.desk;
    let most = thread::available_parallelism().map_or(2, usize::from).min(THREADS);
    let queue_bytes = QUEUE_BYTES / (most * desk.kafka.len()).max(1) as u64;
    let mut threads = 0;
    for kafka in 0..desk.kafka.len() {
        let is_to_read = |part: &usize| {
            let done = shared.comparison(*part).source_is_done();
            desk.parts[*part].kafka == kafka && !done
        };
        let parts: Vec<usize> = (0..desk.parts.len()).filter(is_to_read).collect();
        let share = parts.len().div_ceil(most).max(1);
        for parts in parts.chunks(share) {
            let (shared, tell, parts) = (Arc::clone(shared), tell.clone(), parts.to_vec());
            let handle = Handle::current();
            let read = move || {
                let mut last_word = LastWord::of(&tell);
                last_word.say(match read(&shared, kafka, &parts, queue_bytes, &handle) {
                    Ok(()) => Told::Shown,
                    Err(problem) => Told::Failed(problem),
                });
            };
            let spawned = thread::Builder::new().name("verify-source".to_owned()).spawn(read);
            spawned.map_err(|error| format!("the system gives no thread: {error}"))?;
            threads += 1;
        }
    }
    Ok(threads)
}

fn read(shared: &Shared, kafka: usize, parts: &[usize], queue_bytes: u64, handle: &Handle) -> Result<(), String> {
    let desk = &shared.desk;
    let from: Vec<(u32, u64)> =
        parts.iter().map(|part| (desk.parts[*part].source.partition, desk.parts[*part].from)).collect();
    let topic = &desk.kafka[kafka];
    let mut window = topic.topic.read(&from, queue_bytes).map_err(|error| words(&error))?;
    let maker =
        |part: &usize| desk.workshop.maker(&topic.table, desk.parts[*part].source.clone(), desk.max_message_bytes);
    let mut jobs: Vec<Job> = parts.iter().map(|part| Job { part: *part, maker: maker(part), is_done: false }).collect();
    let mut reading = Reading { shared, handle, table: &topic.table, content: desk.content(), batch: Vec::new() };
    let has_end = jobs.iter().all(|job| shared.comparison(job.part).range.end < u64::MAX);
    let (mut heard, mut trouble) = (Instant::now(), None);
    while !shared.is_stopped() && jobs.iter().any(|job| !job.is_done) {
        let mut is_idle = true;
        for (slot, job) in jobs.iter_mut().enumerate().filter(|(_, job)| !job.is_done) {
            let (may_read, _) = shared.comparison(job.part).may_read();
            if !may_read {
                heard = Instant::now();
                continue;
            }
            if reading.take(&mut window, slot, job)? {
                (is_idle, heard, trouble) = (false, Instant::now(), None);
            }
        }
        if is_idle {
            match window.serve(Duration::from_millis(5)) {
                Ok(()) => {}
                Err(error @ SourceError::Unavailable { .. }) => trouble = Some(words(&error)),
                Err(error) => return Err(words(&error)),
            }
            if has_end && heard.elapsed() > PATIENCE {
                let said = trouble.unwrap_or_else(|| "it is silent".to_owned());
                return Err(format!("Kafka gave nothing for {} s: {said}", PATIENCE.as_secs()));
            }
        }
    }
    Ok(())
}

struct Reading<'r> {
    shared: &'r Shared,
    handle: &'r Handle,
    table: &'r str,
    content: Content,
    batch: Vec<Expected>,
}

impl Reading<'_> {
    /// Takes some records of a partition; whether there was anything.
    fn take(&mut self, window: &mut Window, slot: usize, job: &mut Job) -> Result<bool, String> {
        self.batch.clear();
        let (before, mut problem) = (window.position(slot), None);
        let shown = window.show(slot, TAKE_RECORDS, &mut |record| {
            if problem.is_none() {
                problem = self.expect(record, &mut job.maker).err();
            }
        });
        let shown = shown.map_err(|error| words(&error))?;
        if let Some(problem) = problem {
            return Err(problem);
        }
        self.shared.source_records.fetch_add(shown as u64, Ordering::Relaxed);
        let position = window.position(slot);
        let now_ms = crate::terminal::now_ms();
        let mut comparison = self.shared.comparison(job.part);
        self.batch.iter().for_each(|expected| comparison.expect(expected, now_ms));
        comparison.pass(position);
        job.is_done = comparison.source_is_done();
        Ok(shown > 0 || position > before)
    }

    fn expect(&mut self, record: &Record<'_>, maker: &mut Maker) -> Result<(), String> {
        if maker.missing(record.value).is_some() {
            let learning = self.shared.desk.workshop.teach(self.table, maker, record.value);
            let learned = self.handle.block_on(async { tokio::time::timeout(LEARNING, learning).await });
            learned.map_err(|_| format!("the schema registry says nothing for {} s", LEARNING.as_secs()))??;
        }
        let made = maker.make(record);
        let place = place_of(made.destination, &self.shared.desk.routes);
        let (key, digest) = (made.key_hash.unwrap_or_default(), self.content.of_made(&made));
        self.batch.push(Expected { offset: record.offset, place, digest, key });
        Ok(())
    }
}
