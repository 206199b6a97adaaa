//! The core of a source partition under simulation: see `bridge_simulation`.
//!
//! `SIMULATION_SCHEDULES` sets how many schedules are run, `SIMULATION_FIRST` the first seed, and `SIMULATION_SEED` (with
//! `SIMULATION_FAULT`, if the failure is that of a deliberate fault) the one that `replay` shows step by step.

use std::panic;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use bridge_core::lane::Fault;
use bridge_simulation::{Broken, run};

/// How many schedules every run of the tests goes through.
const SCHEDULES: u64 = 100_000;
/// Within how many schedules each deliberate fault has to be found.
const FAULT_SCHEDULES: u64 = 100_000;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

/// Runs seeds from `first` on, on all processors; gives the lowest seed that breaks a rule, and the number of events.
fn first_broken(first: u64, schedules: u64, fault: Option<Fault>) -> (Option<(u64, Broken)>, u64) {
    let (next, events, found) = (AtomicU64::new(first), AtomicU64::new(0), AtomicU64::new(u64::MAX));
    let work = || {
        Fault::activate(fault);
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + schedules || seed > found.load(Ordering::Relaxed) {
                break;
            }
            let outcome = run(seed, false);
            events.fetch_add(outcome.events, Ordering::Relaxed);
            if outcome.broken.is_some() {
                found.fetch_min(seed, Ordering::Relaxed);
            }
        }
        Fault::activate(None);
    };
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(2, usize::from).min(8);
        (0..threads).for_each(|_| drop(scope.spawn(work)));
    });
    let seed = found.into_inner();
    Fault::activate(fault);
    let broken = (seed != u64::MAX).then(|| (seed, run(seed, false).broken.expect("the same seed takes the same way")));
    Fault::activate(None);
    (broken, events.into_inner())
}

/// Assertions of the core that fail on purpose, or are reported by their seed, need no backtrace each.
fn without_panic_messages() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let is_ours = info.location().is_some_and(|location| location.file().ends_with("tests/simulation.rs"));
        if is_ours {
            before(info);
        }
    }));
}

#[test]
fn every_rule_holds_in_every_schedule() {
    without_panic_messages();
    let (first, schedules) =
        (number("SIMULATION_FIRST").unwrap_or(0), number("SIMULATION_SCHEDULES").unwrap_or(SCHEDULES));
    let start = Instant::now();
    let (broken, events) = first_broken(first, schedules, None);
    println!("{schedules} schedules, {events} events, {:.1} s", start.elapsed().as_secs_f64());
    if let Some((seed, Broken { rule, text })) = broken {
        panic!(
            "broken rule: {rule}: {text}\nreplay it with: \
             SIMULATION_SEED={seed} cargo test -p bridge-simulation --test simulation replay -- --nocapture"
        );
    }
}

#[test]
fn the_same_seed_takes_the_same_way() {
    without_panic_messages();
    for seed in 0..300 {
        let (once, again, traced) = (run(seed, false), run(seed, false), run(seed, true));
        assert_eq!((once.hash, once.events), (again.hash, again.events), "seed {seed}");
        assert_eq!(once.hash, traced.hash, "a trace changes nothing, seed {seed}");
    }
    assert_ne!(run(1, false).hash, run(2, false).hash, "another seed takes another way");
}

#[test]
fn every_deliberate_fault_is_found() {
    without_panic_messages();
    let mut missed = Vec::new();
    println!("{:<28} {:>9}  rule that was seen broken", "fault", "schedules");
    for fault in Fault::ALL {
        match first_broken(0, FAULT_SCHEDULES, Some(fault)).0 {
            Some((seed, broken)) => println!("{:<28} {:>9}  {}", format!("{fault:?}"), seed + 1, broken.rule),
            None => {
                println!("{:<28} {:>9}", format!("{fault:?}"), "NOT FOUND");
                missed.push(fault);
            }
        }
    }
    assert!(missed.is_empty(), "the simulation does not find {missed:?} within {FAULT_SCHEDULES} schedules");
}

#[test]
fn replay() {
    let Some(seed) = number("SIMULATION_SEED") else { return };
    let name = std::env::var("SIMULATION_FAULT").unwrap_or_default();
    Fault::activate(Fault::ALL.into_iter().find(|fault| format!("{fault:?}") == name));
    let outcome = run(seed, true);
    Fault::activate(None);
    outcome.trace.iter().for_each(|line| println!("{line}"));
    println!("{:?}", outcome.broken);
}
