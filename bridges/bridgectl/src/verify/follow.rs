//! `verify --follow`: the same comparison without an end. What waits longer than records may be on their way is named at once,
//! and taken back when it comes after all. The report is kept as of a comparison that has an end, and written anew each round.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bridge_common::config::rfc3339;
use serde_json::json;
use tokio::time::Instant;

use super::desk::{Desk, Part};
use super::engine::{Run, Shared, Told};
use super::facts::{At, Fault, Finding};
use super::report::{Named, PartSummary, Report, Summary, counts_json, named_json, named_of};
use super::{VerifyArguments, queues, table};
use crate::terminal::{self, now_ms};

/// Offsets of a partition within which doubles are still told from what was before.
const WINDOW_OFFSETS: u64 = 4_000_000;
/// Findings that are remembered, so that each is named once.
const TOLD_MAX: usize = 100_000;

type Key = (usize, Fault, u64, Option<At>);

/// What was seen so far.
struct Following<'a> {
    shared: Arc<Shared>,
    arguments: &'a VerifyArguments,
    began: Instant,
    told: HashSet<Key>,
    /// For the report: the newest of each fault, by source partition.
    kept: Vec<Vec<Finding>>,
    /// The lowest offset that only the target had shown at the last look, by source partition.
    early: Vec<Option<u64>>,
}

/// Follows until it is interrupted; whether there was parity in the end.
pub(crate) async fn run(desk: &Arc<Desk>, arguments: &VerifyArguments) -> Result<bool, String> {
    let mut run = Run::start(desk, &arguments.settings(), desk.since_ms.is_none())?;
    eprintln!("{}: following; Ctrl-C ends it", desk.config.stream.name);
    let every = Duration::from_secs(arguments.every.max(1));
    let mut ticks = tokio::time::interval_at(Instant::now() + every, every);
    let kept = vec![Vec::new(); desk.parts.len()];
    let shared = Arc::clone(&run.shared);
    let mut following = Following {
        shared,
        arguments,
        began: Instant::now(),
        told: HashSet::new(),
        kept,
        early: vec![None; desk.parts.len()],
    };
    let interrupted = terminal::interrupted();
    tokio::pin!(interrupted);
    let mut is_first = true;
    loop {
        let is_last = tokio::select! {
            () = &mut interrupted => true,
            said = run.told.recv() => match said {
                Some(Told::Failed(problem)) => return Err(problem),
                Some(Told::Reached | Told::Shown) => continue,
                None => return Err("a reader has ended without a word".to_owned()),
            },
            _ = ticks.tick() => false,
        };
        let (is_parity, paths) = following.look().await?;
        if std::mem::take(&mut is_first) {
            eprintln!("kept, and written anew each time: {paths}");
        }
        if is_last {
            return Ok(is_parity);
        }
    }
}

impl Following<'_> {
    /// Looks at all partitions, says what is new, and writes the report; whether there is parity so far, and where it is.
    async fn look(&mut self) -> Result<(bool, String), String> {
        let desk = Arc::clone(&self.shared.desk);
        let now = now_ms();
        self.ask_for_ends(&desk).await?;
        let (mut under_way, mut fresh, mut parts) = (0, Vec::new(), Vec::new());
        for (part, index) in desk.parts.iter().zip(0..) {
            let (summary, waiting) = self.look_at(part, index, now, &mut fresh);
            under_way += waiting;
            parts.push(summary);
        }
        let summary = Summary {
            parts,
            keys: self.shared.keys().found.clone(),
            foreign: self.shared.foreign().clone(),
            elsewhere: self.shared.elsewhere().clone(),
            seconds: self.began.elapsed().as_secs_f64(),
            target_messages: self.shared.target_messages.load(Ordering::Relaxed),
            from_beginning: false,
        };
        let queues = queues::look(&desk, &summary.keys.tallies).await;
        let report = Report::new(&desk, summary, queues, self.arguments);
        // Kept before it is said: whoever reads a line finds what it says in the report.
        let paths =
            super::keep(&self.arguments.output, &super::file_name(&desk), &super::files(&report, &report.json()))?;
        say(self.arguments.json, now, &report, under_way, &fresh);
        Ok((report.is_parity(), paths))
    }

    /// What only the target has shown for a whole round, though the source goes on to be read: does the source end below it?
    async fn ask_for_ends(&mut self, desk: &Desk) -> Result<(), String> {
        for (part, index) in desk.parts.iter().zip(0..) {
            let lowest = self.shared.comparison(index).lowest_early();
            let before = std::mem::replace(&mut self.early[index], lowest);
            if lowest.is_some() && lowest == before {
                let end = super::engine::end_of(desk, part).await?;
                self.shared.comparison(index).early_ends_at(end);
            }
        }
        Ok(())
    }

    /// One partition: what it comes to by now, and how many records are on their way.
    fn look_at(&mut self, part: &Part, index: usize, now: u64, fresh: &mut Vec<Named>) -> (PartSummary, u64) {
        let mut comparison = self.shared.comparison(index);
        let keys = self.shared.keys();
        comparison.overdue(now.saturating_sub(self.arguments.lag_seconds * 1000), |key| keys.contains(key));
        drop(keys);
        let floor = comparison.source_at().saturating_sub(WINDOW_OFFSETS);
        comparison.forget_below(floor);
        let kept = &mut self.kept[index];
        // What came after all is no fault any more.
        kept.retain(|finding| finding.fault != Fault::Missing || comparison.is_unfound(finding.offset));
        for finding in std::mem::take(&mut comparison.findings) {
            keep_newest(kept, finding, self.arguments.named);
            if self.told.len() < TOLD_MAX && self.told.insert((index, finding.fault, finding.offset, finding.at)) {
                fresh.push(named_of(&self.shared.desk, part, &finding));
            }
        }
        let waiting = comparison.unfound();
        let under_way = waiting - comparison.counts.of(Fault::Missing).min(waiting);
        let summary = PartSummary { findings: kept.clone(), ..comparison.summary(comparison.source_at()) };
        (summary, under_way)
    }
}

/// Of each fault so many, the newest.
fn keep_newest(kept: &mut Vec<Finding>, finding: Finding, most: usize) {
    let same = |other: &Finding| other.fault == finding.fault;
    if kept.iter().filter(|other| same(other)).count() >= most
        && let Some(oldest) = kept.iter().position(same)
    {
        kept.remove(oldest);
    }
    kept.push(finding);
}

fn say(as_json: bool, now: u64, report: &Report, under_way: u64, fresh: &[Named]) {
    let (verdict, totals) = (report.verdict.name(), &report.totals);
    if as_json {
        let findings: Vec<_> = fresh.iter().map(named_json).collect();
        let line = json!({
            "version": super::report::VERSION, "kind": "verify-follow", "at": rfc3339(now), "verdict": verdict,
            "totals": counts_json(totals), "doubled_keys": report.doubled_keys.0, "under_way": under_way,
            "findings": findings,
        });
        terminal::out(&format!("{line}\n"));
        return;
    }
    let faults = Fault::ALL.iter().map(|fault| (totals.of(*fault), fault.name()));
    let faults = faults.chain([(report.doubled_keys.0, "doubled by key")]).filter(|(count, _)| *count > 0);
    let faults: String = faults.map(|(count, name)| format!(", {count} {name}")).collect();
    let mut text = format!(
        "{} {verdict}: {} records, {} found, {} dead letters, {under_way} under way{faults}\n",
        rfc3339(now),
        totals.source,
        totals.found,
        totals.dead_letters,
    );
    fresh.iter().for_each(|named| text += &table::line(named));
    terminal::out(&text);
}
