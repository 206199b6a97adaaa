//! `--missing`: compares as `verify` does, and publishes what the target lacks below the bridge's own position. What lies above
//! it is on its way, and the bridge's business.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_common::checkpoint;
use bridge_common::shutdown::Exit;
use serde_json::{Value, json};

use super::publish::{Publisher, take};
use super::read::{Ready, Records};
use super::{Pace, ReplayArguments, ask, say};
use crate::audit::{self, Operation};
use crate::held::Held;
use crate::terminal::{self, Progress};
use crate::verify::{self, Desk, Part, Settings};

/// Offsets that share a name.
const BLOCK: u64 = 1_000;
/// How many rounds of names a block may take: one is used up where a record vanished that lies below one that was replayed.
const ROUNDS: u32 = 100;
/// A comparison that is older when it is confirmed is made again.
const FRESH: Duration = Duration::from_secs(30);
/// Missing records further apart than this are read by another start.
const FAR: u64 = 100_000;

/// What is missing of one source partition.
struct Lack {
    part: Part,
    /// Below the position: to be published.
    lost: Vec<Range<u64>>,
    /// Before everything that the target still holds, and left out: retention may have removed them.
    trimmed: u64,
    /// At or above it: on their way.
    under_way: u64,
    /// Before the first that is in the target, where the configuration says start = "latest".
    before_start: u64,
}

impl Lack {
    /// What is missing, given as ranges with their ends included, told apart by the position and by what `is_trimmed`.
    fn of(
        part: &Part,
        missing: impl Iterator<Item = (u64, u64)>,
        position: u64,
        is_trimmed: impl Fn(u64) -> bool,
    ) -> Self {
        let mut lack = Self { part: part.clone(), lost: Vec::new(), trimmed: 0, under_way: 0, before_start: 0 };
        for id in missing.flat_map(|(low, high)| low..=high) {
            match lack.lost.last_mut() {
                _ if id >= position => lack.under_way += 1,
                _ if is_trimmed(id) => lack.trimmed += 1,
                Some(range) if range.end == id => range.end += 1,
                _ => lack.lost.push(id..id + 1),
            }
        }
        lack
    }

    fn count(&self) -> u64 {
        self.lost.iter().map(|range| range.end - range.start).sum()
    }
}

/// Compares, asks, publishes. Clean: nothing is missing any more that a replay can bring.
pub(super) async fn run(desk: &Arc<Desk>, arguments: &ReplayArguments) -> Result<Exit, String> {
    let began = Instant::now();
    // Held from before the comparison: what another replay has published by then is found by it.
    let locks = if arguments.dry_run { Vec::new() } else { lock(desk).await? };
    let done = locked(desk, arguments, began, &locks).await;
    for lock in locks {
        lock.close().await;
    }
    done
}

/// One replay at a time for each source partition.
async fn lock(desk: &Desk) -> Result<Vec<Held>, String> {
    let topic = desk.config.checkpoint_topic().to_string();
    let mut locks = Vec::new();
    for part in &desk.parts {
        let name = format!("{}/replay", part.name);
        locks.push(take(&desk.client, &topic, &name, None).await?);
    }
    Ok(locks)
}

async fn locked(desk: &Arc<Desk>, arguments: &ReplayArguments, began: Instant, locks: &[Held]) -> Result<Exit, String> {
    let lacks = lacks(desk, arguments).await?;
    let count: u64 = lacks.iter().map(Lack::count).sum();
    let under_way: u64 = lacks.iter().map(|lack| lack.under_way).sum();
    for lack in lacks.iter().filter(|lack| !arguments.json && lack.count() > 0) {
        terminal::say(&format!("{}: {} missing, {}\n", lack.part.source, lack.count(), ranges(&lack.lost)));
    }
    if under_way > 0 {
        eprintln!(
            "{under_way} records are not in the target yet and lie above the bridge's position: they are on their way, and left to it"
        );
    }
    let trimmed: u64 = lacks.iter().map(|lack| lack.trimmed).sum();
    if trimmed > 0 {
        eprintln!(
            "{trimmed} records lie before everything that the target still holds: retention may have removed them, and they are left out; --trimmed publishes them, too"
        );
    }
    let before_start: u64 = lacks.iter().map(|lack| lack.before_start).sum();
    if before_start > 0 {
        eprintln!(
            "{before_start} records lie before the first that is in the target (start = \"latest\"): whether they were mirrored cannot be told, and they are left out; --offsets names what must be there"
        );
    }
    let mut document = json!({
        "version": 1, "kind": "replay-missing", "stream": desk.config.stream.name, "range": desk.range, "missing": count,
        "under_way": under_way, "trimmed": trimmed, "before_start": before_start, "published": 0,
    });
    if count == 0 || arguments.dry_run {
        say(arguments, &document, &format!("{count} records are missing and can be replayed; nothing was published"));
        return Ok(if count == 0 { Exit::Clean } else { Exit::Missing });
    }
    let stream = &desk.config.stream.name;
    let left_out = if trimmed > 0 { format!(" {trimmed} trimmed ones are left out.") } else { String::new() };
    let what = format!(
        "{count} records of {stream} are published into its target, out of order and marked as replayed.{left_out}"
    );
    let asked = Instant::now();
    ask(what, arguments.yes).await?;
    let lost = |lacks: &[Lack]| lacks.iter().map(|lack| lack.lost.clone()).collect::<Vec<_>>();
    if asked.elapsed() > FRESH && lost(&self::lacks(desk, arguments).await?) != lost(&lacks) {
        return Err("what is missing has changed while it was asked: nothing was published, run this again".to_owned());
    }
    let replay = verify::file_time(desk.now_ms);
    let detail = json!({
        "missing": count, "trimmed": trimmed, "publishes_trimmed": arguments.trimmed, "range": desk.range,
        "rate": arguments.rate, "replay": replay,
    });
    let work = async {
        let mut published = 0;
        let done = publish(desk, arguments, &lacks, &replay, began, locks, &mut published).await;
        done.map(|lost| json!({"published": published, "gone_from_the_source": lost}))
            .map_err(|problem| format!("{problem} ({published} were published)"))
    };
    let operation = Operation::new("replay --missing", stream, detail);
    let result = audit::record(&desk.config, &arguments.log, operation, work).await?;
    let of = |name: &str| result[name].as_u64().unwrap_or_default();
    if let (Value::Object(document), Value::Object(result)) = (&mut document, result.clone()) {
        document.extend(result);
    }
    let gone = of("gone_from_the_source");
    let more = if gone > 0 { format!("; {gone} are gone from the source") } else { String::new() };
    say(arguments, &document, &format!("{} records published, marked {replay}{more}", of("published")));
    Ok(if gone == 0 { Exit::Clean } else { Exit::Fault })
}

/// What is missing, by the comparison, told apart by the positions as they were before it.
async fn lacks(desk: &Arc<Desk>, arguments: &ReplayArguments) -> Result<Vec<Lack>, String> {
    let topic = desk.config.checkpoint_topic().to_string();
    let prefix = format!("bridge/{}/", desk.config.stream.name);
    let listed = checkpoint::list(&desk.client, &topic, &prefix).await.map_err(|error| error.to_string())?;
    let settings = Settings { named: 0, lag: Duration::ZERO, follows: false };
    let outcome = verify::compare(desk, &settings, &verify::watch).await?;
    let lack = |(part, comparison): (&Part, &verify::Comparison)| {
        let position = listed.get(&part.name).map_or(0, |listed| listed.stored.checkpoint.position);
        let is_trimmed = |id| !arguments.trimmed && comparison.is_trimmed(id);
        let lack = Lack::of(part, comparison.missing(), position, is_trimmed);
        Lack { before_start: comparison.counts.before_start, ..lack }
    };
    Ok(desk.parts.iter().zip(&outcome.comparisons).map(lack).collect())
}

/// Publishes them; gives how many the source does not have any more.
async fn publish(
    desk: &Desk,
    arguments: &ReplayArguments,
    lacks: &[Lack],
    replay: &str,
    began: Instant,
    locks: &[Held],
    published: &mut u64,
) -> Result<u64, String> {
    let all: u64 = lacks.iter().map(Lack::count).sum();
    let (mut pace, mut progress, mut gone) = (Pace::new(arguments.rate), Progress::new("replaying:"), 0);
    for lack in lacks {
        let mut records: Option<Records<'_>> = None;
        for (block, wanted) in blocks(&lack.lost) {
            if !locks.iter().all(Held::is_open) {
                return Err("the connection that kept other replays out was lost: run this again".to_owned());
            }
            let (first, end) = (wanted[0].start, wanted[wanted.len() - 1].end);
            let is_near = |records: &Records<'_>| records.position() <= first && first - records.position() < FAR;
            if !records.as_ref().is_some_and(is_near) {
                records = None;
            }
            let reading = match &mut records {
                Some(reading) => reading,
                None => records
                    .insert(Records::open(desk, &lack.part, &desk.workshop, first, desk.max_message_bytes).await?),
            };
            let ready = reading.read(first..end, |id| wanted.iter().any(|range| range.contains(&id))).await?;
            let count: u64 = wanted.iter().map(|range| range.end - range.start).sum();
            gone += count - ready.len() as u64;
            let mut by_topic: BTreeMap<String, Vec<Ready>> = BTreeMap::new();
            ready.into_iter().for_each(|ready| by_topic.entry(ready.topic.clone()).or_default().push(ready));
            for (topic, ready) in by_topic {
                let made = Block { part: &lack.part, block, topic: &topic, replay, began };
                let mut each = |sent: u64| {
                    *published += sent;
                    progress.at(*published, Some(all));
                };
                publish_block(desk, &made, ready, &mut pace, &mut each).await?;
            }
        }
    }
    Ok(gone)
}

/// Records of one partition that share a name, for one topic.
struct Block<'b> {
    part: &'b Part,
    block: u64,
    topic: &'b str,
    replay: &'b str,
    began: Instant,
}

/// Publishes the messages of a block, under the first of the block's names that none of them is used up in; tells how many, as
/// they are sent.
async fn publish_block(
    desk: &Desk,
    made: &Block<'_>,
    mut ready: Vec<Ready>,
    pace: &mut Pace,
    each: &mut impl FnMut(u64),
) -> Result<(), String> {
    let Block { part, block, topic, replay, began } = *made;
    let table = &desk.kafka[part.kafka].table;
    let schema = desk.workshop.schema(table).filter(|_| !ready[0].is_dead_letter);
    for round in 0..ROUNDS {
        let name = block_name(&part.name, block, round);
        let mut held = Publisher::open(&desk.client, topic, &name, schema, replay).await?;
        held.compression = desk.workshop.compression();
        if held.last().is_some() {
            // An earlier run has used it: what it pushed is there, or will never be.
            held = held.stored(Publisher::start(began), |id| ready.retain(|ready| ready.id != id)).await?;
        }
        let lowest = ready.first().map(|ready| ready.id);
        if lowest.is_none() || held.last().is_none_or(|last| lowest > Some(last)) {
            for slice in ready.chunks(pace.slice(ready.len().max(1))) {
                held.publish(slice).await?;
                held.settle().await?;
                each(slice.len() as u64);
                pace.published(slice.len() as u64).await;
            }
            held.close().await;
            return Ok(());
        }
        held.close().await;
    }
    Err(format!("{}: all names of the offsets from {} on are used up", part.source, block * BLOCK))
}

/// An on-wire format: an opening of the partition knows what was sent under it as its own.
fn block_name(name: &str, block: u64, round: u32) -> String {
    let (first, last) = (block * BLOCK, block * BLOCK + BLOCK - 1);
    match round {
        0 => format!("{name}/repair/replay-{first}-{last}"),
        round => format!("{name}/repair/replay-{first}-{last}-{round}"),
    }
}

/// The ranges, cut where blocks end, by block.
fn blocks(ranges: &[Range<u64>]) -> BTreeMap<u64, Vec<Range<u64>>> {
    let mut blocks: BTreeMap<u64, Vec<Range<u64>>> = BTreeMap::new();
    for range in ranges {
        let mut start = range.start;
        while start < range.end {
            let block = start / BLOCK;
            let end = range.end.min((block + 1) * BLOCK);
            blocks.entry(block).or_default().push(start..end);
            start = end;
        }
    }
    blocks
}

/// The first of them, in words.
fn ranges(ranges: &[Range<u64>]) -> String {
    const SHOWN: usize = 5;
    let one = |range: &Range<u64>| match range.end - range.start {
        1 => format!("offset {}", range.start),
        _ => format!("offsets {} to {}", range.start, range.end - 1),
    };
    let mut words: Vec<String> = ranges.iter().take(SHOWN).map(one).collect();
    if ranges.len() > SHOWN {
        words.push(format!("and {} stretches more", ranges.len() - SHOWN));
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use bridge_common::record::SourcePartition;

    use super::*;

    #[test]
    fn what_is_under_way_or_may_have_been_removed_by_retention_is_not_lost() {
        let source = SourcePartition { cluster_id: "c".to_owned(), topic: "t".to_owned(), partition: 0 };
        let part = Part { kafka: 0, source, name: "n".to_owned(), from: 0, to: 100, source_end: 100 };
        let lack = Lack::of(&part, [(3, 12), (20, 20), (48, 55)].into_iter(), 50, |id| id < 10);
        assert_eq!((&lack.lost[..], lack.count()), (&[10..13, 20..21, 48..50][..], 6));
        assert_eq!((lack.trimmed, lack.under_way), (7, 6));
    }

    #[test]
    fn ranges_are_cut_into_blocks_and_names_are_golden() {
        let cut = blocks(&[5..7, 900..2100, 5000..5001]);
        assert_eq!(cut[&0], [5..7, 900..1000]);
        let whole: Vec<_> = [1, 2, 5].iter().flat_map(|block| cut[block].clone()).collect();
        assert_eq!(whole, [1000..2000, 2000..2100, 5000..5001]);
        assert_eq!(block_name("bridge/s/c/t/0", 3, 0), "bridge/s/c/t/0/repair/replay-3000-3999");
        assert_eq!(block_name("bridge/s/c/t/0", 3, 2), "bridge/s/c/t/0/repair/replay-3000-3999-2");
        assert_eq!(ranges(&[5..6, 9..12]), "offset 5, offsets 9 to 11");
    }
}
