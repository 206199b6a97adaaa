//! `verify --follow`: the same comparison without an end. What waits longer than records may be on their way is named at once,
//! and taken back when it comes after all.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bridge_common::config::rfc3339;
use serde_json::json;
use tokio::time::Instant;

use super::VerifyArguments;
use super::desk::Desk;
use super::engine::{Run, Told};
use super::facts::{At, Counts, Fault, Verdict};
use super::report::{Named, counts_json, named_json, named_of};
use super::table;
use crate::terminal::now_ms;

/// Offsets of a partition within which doubles are still told from what was before.
const WINDOW_OFFSETS: u64 = 4_000_000;
/// Findings that are remembered, so that each is named once.
const TOLD_MAX: usize = 100_000;

type Key = (usize, Fault, u64, Option<At>);

/// Follows until it is interrupted; whether there was parity all the time.
pub(crate) async fn run(desk: &Arc<Desk>, arguments: &VerifyArguments) -> Result<bool, String> {
    let mut run = Run::start(desk, &arguments.settings(), desk.since_ms.is_none())?;
    eprintln!("{}: following; Ctrl-C ends it", desk.config.stream.name);
    let every = Duration::from_secs(arguments.every.max(1));
    let mut ticks = tokio::time::interval_at(Instant::now() + every, every);
    let mut told: HashSet<Key> = HashSet::new();
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    loop {
        tokio::select! {
            _ = &mut interrupted => break,
            said = run.told.recv() => match said {
                Some(Told::Failed(problem)) => return Err(problem),
                Some(Told::Reached | Told::Shown) => {}
                None => return Err("a reader has ended without a word".to_owned()),
            },
            _ = ticks.tick() => {
                look(&run, arguments, &mut told);
            }
        }
    }
    Ok(look(&run, arguments, &mut told))
}

/// Looks at all partitions, and says what is new; whether there is parity so far.
fn look(run: &Run, arguments: &VerifyArguments, told: &mut HashSet<Key>) -> bool {
    let desk = &run.shared.desk;
    let now = now_ms();
    let mut totals = Counts::default();
    let (mut under_way, mut fresh) = (0, Vec::new());
    for (part, index) in desk.parts.iter().zip(0..) {
        let mut comparison = run.shared.comparison(index);
        let keys = run.shared.keys();
        comparison.overdue(now.saturating_sub(arguments.lag_seconds * 1000), |key| keys.contains(key));
        drop(keys);
        let floor = comparison.source_at().saturating_sub(WINDOW_OFFSETS);
        comparison.forget_below(floor);
        totals.add(&comparison.counts);
        under_way += comparison.unfound() - comparison.counts.of(Fault::Missing).min(comparison.unfound());
        for finding in std::mem::take(&mut comparison.findings) {
            if told.len() < TOLD_MAX && told.insert((index, finding.fault, finding.offset, finding.at)) {
                fresh.push(named_of(desk, part, &finding));
            }
        }
    }
    let messages = run.shared.keys().tallies.iter().map(|tally| tally.messages).sum();
    let verdict = Verdict::of(&totals, messages, 0, arguments.accept_before_start);
    say(arguments.json, now, verdict, &totals, under_way, &fresh);
    verdict == Verdict::Parity
}

fn say(as_json: bool, now: u64, verdict: Verdict, totals: &Counts, under_way: u64, fresh: &[Named]) {
    let verdict = verdict.name();
    if as_json {
        let findings: Vec<_> = fresh.iter().map(named_json).collect();
        let line = json!({
            "version": super::report::VERSION, "kind": "verify-follow", "at": rfc3339(now), "verdict": verdict,
            "totals": counts_json(totals), "under_way": under_way, "findings": findings,
        });
        println!("{line}");
        return;
    }
    let faults: Vec<String> = Fault::ALL
        .iter()
        .filter(|fault| totals.of(**fault) > 0)
        .map(|fault| format!("{} {}", totals.of(*fault), fault.name()))
        .collect();
    println!(
        "{} {}: {} records, {} found, {} dead letters, {under_way} under way{}{}",
        rfc3339(now),
        verdict,
        totals.source,
        totals.found,
        totals.dead_letters,
        if faults.is_empty() { "" } else { ", " },
        faults.join(", ")
    );
    fresh.iter().for_each(|named| print!("{}", table::line(named)));
}
