//! `redrive`: the dead letters that are meant, translated again and published.

use std::collections::{BTreeMap, HashMap, HashSet};

use bridge_common::headers;
use bridge_common::pulsar::{Message, ReaderStart};
use bridge_common::recall::hash_key;
use bridge_common::record::MessageId;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::again::{Again, Became, Whole};
use super::known::Known;
use super::letter::{Filter, Letter};
use super::publish::{Bench, Done, Job, note_twin, publish};
use super::read::{each, learn};
use super::source::fetch;
use super::twins::Twins;
use super::{Desk, Which};
use crate::audit::{self, LogOptions, Operation};
use crate::terminal::{self, Progress};
use crate::topic::{Pass, end_of, messages};

/// So many are published at once, and their records held: fewer where they are large.
const AT_ONCE: usize = 16;
const AT_ONCE_BYTES: usize = 32 << 20;

/// How many that could not be told are named.
const NAMED: usize = 20;

/// What came of all of them.
#[derive(Debug, Default)]
struct Totals {
    /// Why there was nothing to do, in words.
    nothing: Option<String>,
    published: u64,
    /// Sent by an earlier attempt.
    were_there: u64,
    twins: u64,
    /// Those that still cannot be translated, by cause.
    still: BTreeMap<String, u64>,
    /// Those that could not be told, and why; the first of them.
    failed: u64,
    named: Vec<String>,
}

/// What a run begins with.
struct Plan {
    /// Why there is nothing to do, in words; `None`: there is.
    nothing: Option<String>,
    /// Which are meant, and what was noted of them.
    known: Known,
    count: u64,
    /// The end of the dead-letter topic before its notes were read.
    read_to: Option<MessageId>,
}

/// Publishes them, once each; whether none is left.
pub(super) async fn run(
    desk: &Desk,
    which: &Which,
    yes: bool,
    as_json: bool,
    log: &LogOptions,
) -> Result<bool, String> {
    let stream = &desk.config.stream.name;
    let filter = which.filter(stream);
    let plan = plan(desk, &filter).await?;
    let count = plan.count;
    if count > 0 {
        let what = format!("{count} dead letters of {stream} are translated again, and published out of order.");
        terminal::confirm(&what, yes)?;
    }
    let arguments = json!({
        "cause": which.causes, "since_ms": which.since, "until_ms": which.until, "partition": which.partition,
        "positions": which.at.len(), "dead_letters": count,
    });
    let mut totals = Totals { nothing: plan.nothing.clone(), ..Totals::default() };
    if count > 0 {
        let operation = Operation::new("dead-letters redrive", stream, arguments);
        let work = async {
            let done = redrive(desk, &filter, plan, &mut totals, false).await;
            done.map(|()| totals.to_json()).map_err(|problem| format!("{problem}; so far: {}", totals.to_json()))
        };
        audit::record(&desk.config, log, operation, work).await?;
    }
    Ok(totals.show(stream, as_json, "redriven"))
}

/// Says what would become of them; whether none would be left.
pub(super) async fn dry_run(desk: &Desk, filter: &Filter, as_json: bool) -> Result<bool, String> {
    let plan = plan(desk, filter).await?;
    let mut totals = Totals { nothing: plan.nothing.clone(), ..Totals::default() };
    redrive(desk, filter, plan, &mut totals, true).await?;
    Ok(totals.show(&desk.config.stream.name, as_json, "would be redriven"))
}

async fn plan(desk: &Desk, filter: &Filter) -> Result<Plan, String> {
    let read_to = end_of(&desk.client, &desk.topic).await?;
    let known = learn(&desk.client, &desk.topic, filter, &mut |_, _, _| ()).await?;
    let (count, settled) = known.counts();
    let nothing = (count == 0).then(|| nothing(filter, settled));
    Ok(Plan { nothing, known, count, read_to })
}

/// Why there is nothing to do: that nothing was wrong, and that something else was asked for, are two things.
fn nothing(filter: &Filter, settled: u64) -> String {
    match (settled, filter.words()) {
        (0, None) => "there are no dead letters: nothing to redrive".to_owned(),
        (0, Some(words)) => format!("nothing fits ({words}): nothing to redrive"),
        (settled, _) => format!("the {settled} that fit were settled before: nothing to redrive"),
    }
}

/// One run: reads them again, a few at a time, and settles those.
async fn redrive(desk: &Desk, filter: &Filter, plan: Plan, totals: &mut Totals, dry_run: bool) -> Result<(), String> {
    if plan.count == 0 {
        return Ok(());
    }
    let mut again = Again::new(&desk.config, desk.contract.as_deref(), &desk.client).await?;
    let twins = twins(desk, filter, &mut again, &plan.known).await?;
    let bench = Bench {
        client: desk.client.clone(),
        topic: desk.topic.clone(),
        read_to: plan.read_to,
        stream: desk.config.stream.name.clone(),
        compression: again.compression(),
    };
    let (mut known, mut left) = (plan.known, plan.count);
    let mut run = Run { desk, bench, again, twins, marks: HashMap::new(), dry_run };
    let mut progress = Progress::new("redriving:");
    let mut pass = Pass::begin(&desk.client, &desk.topic, ReaderStart::Earliest).await?;
    let mut batch: Vec<(Whole, Option<super::letter::Settled>)> = Vec::new();
    while let Some(entry) = pass.next().await? {
        messages(&entry, |message| {
            if let Some(letter) = Letter::of(&entry, message)
                && let Some(before) = known.take(&letter.key())
            {
                batch.push((whole(letter, message), before));
            }
        })?;
        let bytes: usize = batch.iter().map(|(whole, _)| whole.value.as_ref().map_or(0, Vec::len)).sum();
        if batch.len() >= AT_ONCE || bytes >= AT_ONCE_BYTES {
            left -= batch.len() as u64;
            run.settle(std::mem::take(&mut batch), totals).await?;
            progress.at(plan.count - left, Some(plan.count));
        }
        if left == batch.len() as u64 {
            break;
        }
    }
    run.settle(batch, totals).await
}

/// The same events in the target, where several sources may bring one.
async fn twins(desk: &Desk, filter: &Filter, again: &mut Again, known: &Known) -> Result<Twins, String> {
    if desk.config.dedupe.key.is_none() {
        return Ok(Twins::default());
    }
    let mut keys = HashSet::new();
    each(&desk.client, &desk.topic, filter, &mut |letter, message| {
        // What a record holds that is not whole here, or whose schema is not known yet, is told by itself when its turn comes.
        if known.is_open(&letter.key()) {
            keys.extend(again.key(&whole(letter.clone(), message)).map(|key| hash_key(key.as_bytes())));
        }
        Ok(())
    })
    .await?;
    Twins::new(desk.config.dedupe.window_seconds).look(&desk.client, &again.topics(), &keys).await
}

fn whole(letter: Letter, message: &Message<'_>) -> Whole {
    Whole {
        letter,
        key: message.key.as_deref().map(<[u8]>::to_vec),
        value: (!message.null_value).then(|| message.value.to_vec()),
        headers: headers::headers(message.properties()).unwrap_or_default(),
    }
}

/// A run under way.
struct Run<'d> {
    desk: &'d Desk,
    bench: Bench,
    again: Again,
    twins: Twins,
    /// The ends of the target's topics, each taken before the first message of this run goes there.
    marks: HashMap<String, Option<MessageId>>,
    dry_run: bool,
}

impl Run<'_> {
    /// Settles a few of them, at once.
    async fn settle(
        &mut self,
        batch: Vec<(Whole, Option<super::letter::Settled>)>,
        totals: &mut Totals,
    ) -> Result<(), String> {
        let mut under_way = JoinSet::new();
        for (mut whole, before) in batch {
            if !whole.letter.is_whole() {
                match fetch(&self.desk.config, &whole.letter).await {
                    Ok(kept) => (whole.key, whole.value, whole.headers) = (kept.key, kept.value, kept.headers),
                    Err(problem) => {
                        totals.fail(problem);
                        continue;
                    }
                }
            }
            let message = match self.again.translate(&whole).await {
                Ok(Became::Message(message)) => message,
                Ok(Became::Unfit(cause)) => {
                    *totals.still.entry(cause).or_default() += 1;
                    continue;
                }
                Err(problem) => {
                    totals.fail(format!("{}: {problem}", whole.letter.position()));
                    continue;
                }
            };
            let twin = match self.desk.config.dedupe.key {
                Some(_) => self.twins.of(message.key.as_deref(), &whole.letter),
                None => None,
            };
            match (twin, self.dry_run) {
                (Some(_), true) => totals.twins += 1,
                (None, true) => totals.published += 1,
                (Some(topic), false) => match note_twin(&self.bench, &whole.letter, before.as_ref(), &topic).await {
                    Ok(()) => totals.twins += 1,
                    Err(problem) => totals.fail(problem),
                },
                (None, false) => {
                    let mark = self.mark(&message.topic).await?;
                    let job = Job { letter: whole.letter, before, message, key: whole.key, mark };
                    let bench = self.bench.clone();
                    under_way.spawn(async move { publish(&bench, &job).await });
                }
            }
        }
        for done in under_way.join_all().await {
            match done {
                Ok(Done::Published) => totals.published += 1,
                Ok(Done::WasThere) => totals.were_there += 1,
                Err(problem) => totals.fail(problem),
            }
        }
        Ok(())
    }

    async fn mark(&mut self, topic: &str) -> Result<Option<MessageId>, String> {
        if let Some(mark) = self.marks.get(topic) {
            return Ok(*mark);
        }
        let mark = end_of(&self.desk.client, topic).await?;
        self.marks.insert(topic.to_owned(), mark);
        Ok(mark)
    }
}

impl Totals {
    fn fail(&mut self, problem: String) {
        self.failed += 1;
        if self.named.len() < NAMED {
            self.named.push(problem);
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "redriven": self.published, "were_there": self.were_there, "twins": self.twins,
            "still_broken": self.still, "failed": self.failed, "problems": self.named,
        })
    }

    /// Prints it; whether none is left.
    fn show(&self, stream: &str, as_json: bool, verb: &str) -> bool {
        let still: u64 = self.still.values().sum();
        if as_json {
            let mut json = self.to_json();
            json["version"] = 1.into();
            json["stream"] = stream.into();
            json["nothing"] = self.nothing.clone().into();
            terminal::say(&format!("{json:#}\n"));
        } else if let Some(nothing) = &self.nothing {
            terminal::say(&format!("{nothing}\n"));
        } else {
            // Positions have names in them that others have chosen.
            self.named.iter().for_each(|problem| terminal::say(&format!("! {}\n", terminal::one_line(problem))));
            let there = if self.were_there > 0 {
                format!(", {} of an earlier run found", self.were_there)
            } else {
                String::new()
            };
            let twins =
                if self.twins > 0 { format!(", {} are there by another source", self.twins) } else { String::new() };
            let causes: Vec<String> = self.still.iter().map(|(cause, count)| format!("{cause}: {count}")).collect();
            let causes = if still > 0 { format!(" ({})", causes.join(", ")) } else { String::new() };
            terminal::say(&format!(
                "{} {verb}{there}{twins}; {still} still broken{causes}, {} could not be told.\n",
                self.published, self.failed
            ));
        }
        let left = still + self.failed;
        if left > 0 {
            eprintln!("bridgectl: {stream}: {left} dead letters are left");
        }
        left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_nothing_fits_is_not_that_nothing_is_left() {
        let of = |partition| Filter { partition, ..Filter::default() };
        assert_eq!(nothing(&of(None), 0), "there are no dead letters: nothing to redrive");
        assert_eq!(nothing(&of(Some(99)), 0), "nothing fits (partition 99): nothing to redrive");
        assert!(nothing(&of(Some(3)), 7).starts_with("the 7 that fit were settled before"));
    }
}
