//! What is said, and what is held back. Pure: time is an argument.
//!
//! Of one event at one place (source, topic, partition, cause) the first line is said at once, and from then on one at most
//! in each `pause`: the newest, with how many before it were not said. An event of many places at once (Pulsar is away, and
//! all partitions say so) is said for some of them, and for the rest together.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::events::{self, Limit};
use super::line::Line;

/// How many places of one event have lines of their own.
pub(super) const PLACES_MAX: usize = 4;
/// The same for events that no partition may hide from another, such as that it has stopped.
pub(super) const OWN_PLACES_MAX: usize = 1024;
/// How long the first line for all other places is waited for.
const REST_PAUSE: Duration = Duration::from_secs(3);

/// Remembers what was said.
#[derive(Debug)]
pub(super) struct HoldBack {
    pause: Duration,
    /// By the event's name, which is one of the program's own: so they are few.
    events: HashMap<&'static str, Places>,
}

#[derive(Debug, Default)]
struct Places {
    /// Invariant: at most as many as the event's limit says.
    own: HashMap<String, Slot>,
    rest: Option<Slot>,
}

/// Lines of one kind.
#[derive(Debug)]
struct Slot {
    /// Nothing is said before.
    next: Instant,
    held: u64,
    newest: Option<Line>,
}

impl Slot {
    fn hold(&mut self, line: Line) {
        self.held += 1;
        self.newest = Some(line);
    }

    /// The newest line, with the number of those that it stands for. The next one may come after `pause`.
    fn say(&mut self, now: Instant, pause: Duration) -> Option<(Line, u64)> {
        self.next = now + pause;
        let others = std::mem::take(&mut self.held).saturating_sub(1);
        Some((self.newest.take()?, others))
    }
}

impl HoldBack {
    pub(super) fn new(pause: Duration) -> Self {
        Self { pause, events: HashMap::new() }
    }

    /// What is to be said, now that this line has come.
    pub(super) fn take(&mut self, line: Line, now: Instant) -> Option<Line> {
        let places_max = match events::limit(line.event) {
            Limit::None => return Some(line),
            Limit::Shared => PLACES_MAX,
            Limit::Own => OWN_PLACES_MAX,
        };
        let pause = self.pause;
        let Places { own, rest } = self.events.entry(line.event).or_default();
        let place = line.place();
        if let Some(slot) = own.get_mut(&place) {
            slot.hold(line);
            return if now >= slot.next { slot.say(now, pause).map(counted) } else { None };
        }
        if own.len() >= places_max {
            own.retain(|_, slot| now < slot.next || slot.held > 0);
        }
        if own.len() < places_max {
            own.insert(place, Slot { next: now + pause, held: 0, newest: None });
            return Some(line);
        }
        let slot = rest.get_or_insert_with(|| Slot { next: now + REST_PAUSE.min(pause), held: 0, newest: None });
        slot.hold(line);
        if now >= slot.next { slot.say(now, pause).map(counted_elsewhere) } else { None }
    }

    /// What was held back, and may be said now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Line> {
        let pause = self.pause;
        let mut due = Vec::new();
        for Places { own, rest } in self.events.values_mut() {
            for slot in own.values_mut().filter(|slot| slot.held > 0 && now >= slot.next) {
                due.extend(slot.say(now, pause).map(counted));
            }
            own.retain(|_, slot| now < slot.next);
            if let Some(slot) = rest.as_mut().filter(|slot| slot.held > 0 && now >= slot.next) {
                due.extend(slot.say(now, pause).map(counted_elsewhere));
            }
            rest.take_if(|slot| now >= slot.next);
        }
        self.events.retain(|_, places| !places.own.is_empty() || places.rest.is_some());
        due
    }

    /// All that was held back.
    pub(super) fn flush(&mut self) -> Vec<Line> {
        let mut held = Vec::new();
        for (_, Places { own, rest }) in self.events.drain() {
            held.extend(own.into_values().filter_map(|slot| Some(counted((slot.newest?, slot.held - 1)))));
            held.extend(rest.and_then(|slot| Some(counted_elsewhere((slot.newest?, slot.held - 1)))));
        }
        held
    }
}

fn counted((line, others): (Line, u64)) -> Line {
    line.with_count("held_back", others)
}

fn counted_elsewhere((line, others): (Line, u64)) -> Line {
    line.with_count("held_back_elsewhere", others)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAUSE: Duration = Duration::from_secs(30);

    fn line(event: &'static str, partition: u64) -> Line {
        Line::error(event, "x").with("partition", partition.into())
    }

    /// What a line stands for, itself included.
    fn worth(line: &Line) -> u64 {
        let count = line.fields.iter().find(|(name, _)| name.starts_with("held_back"));
        1 + count.and_then(|(_, count)| count.as_u64()).unwrap_or_default()
    }

    proptest! {
        /// Whatever comes: each line is said or counted, once; one place says a thing once in a pause; and an event, however
        /// many places it has, says so many lines at most.
        #[test]
        fn nothing_is_lost_and_all_is_bounded(
            steps in prop::collection::vec((0_u64..20_000, 0_usize..2, 0_u64..12, any::<bool>()), 1..300),
        ) {
            let names = [events::PARTITION_REOPENING, events::DEAD_LETTER];
            let mut hold_back = HoldBack::new(PAUSE);
            let mut now = Instant::now();
            let mut said: Vec<(Instant, Line)> = Vec::new();
            let mut came = 0;
            for (later_ms, name, partition, comes) in steps {
                now += Duration::from_millis(later_ms);
                said.extend(hold_back.due(now).into_iter().map(|line| (now, line)));
                if comes {
                    came += 1;
                    said.extend(hold_back.take(line(names[name], partition), now).map(|line| (now, line)));
                }
                prop_assert!(hold_back.events.values().all(|places| places.own.len() <= PLACES_MAX));
            }
            let (until, held) = (now, hold_back.flush());
            let counted: u64 = said.iter().map(|(_, line)| worth(line)).chain(held.iter().map(worth)).sum();
            prop_assert_eq!(counted, came);
            for (at, line) in &said {
                let within = said.iter().filter(|(other, found)| {
                    found.event == line.event && *other >= *at && *other < *at + PAUSE && *other <= until
                });
                let (elsewhere, own): (Vec<_>, Vec<_>) =
                    within.partition(|(_, line)| line.fields.iter().any(|(name, _)| *name == "held_back_elsewhere"));
                prop_assert!(own.len() <= PLACES_MAX + 1, "{} lines of one event in a pause", own.len());
                prop_assert!(elsewhere.len() <= 2);
                let same = own.iter().filter(|(_, found)| found.place() == line.place()).count();
                prop_assert!(same <= 2, "the place itself, and once as the one of the rest that is shown");
            }
        }
    }

    #[test]
    fn the_first_is_said_at_once_and_the_newest_after_the_pause() {
        let mut hold_back = HoldBack::new(PAUSE);
        let start = Instant::now();
        assert!(hold_back.take(line(events::DEAD_LETTER, 1), start).is_some());
        for _ in 0..5 {
            assert!(hold_back.take(line(events::DEAD_LETTER, 1), start).is_none());
        }
        assert!(hold_back.due(start + PAUSE / 2).is_empty());
        let due = hold_back.due(start + PAUSE);
        assert_eq!((due.len(), worth(&due[0])), (1, 5));
        assert!(hold_back.due(start + PAUSE * 2).is_empty() && hold_back.events.is_empty(), "nothing is kept for ever");
    }

    #[test]
    fn all_partitions_at_once_are_a_few_lines_and_one_for_the_rest() {
        let mut hold_back = HoldBack::new(PAUSE);
        let start = Instant::now();
        let said = (0..100).filter_map(|partition| hold_back.take(line(events::PARTITION_REOPENING, partition), start));
        assert_eq!(said.count(), PLACES_MAX);
        let due = hold_back.due(start + REST_PAUSE);
        assert_eq!((due.len(), worth(&due[0])), (1, 96));
    }

    #[test]
    fn what_only_a_person_can_help_is_said_for_each_partition_and_a_start_always() {
        let mut hold_back = HoldBack::new(PAUSE);
        let now = Instant::now();
        let stopped = (0..100).filter_map(|partition| hold_back.take(line(events::PARTITION_STOPPED, partition), now));
        assert_eq!(stopped.count(), 100);
        let starts = (0..3).filter_map(|_| hold_back.take(line(events::STARTING, 0), now));
        assert_eq!(starts.count(), 3);
    }
}
