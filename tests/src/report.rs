//! What the checker has found, in figures and words.

use std::collections::BTreeMap;
use std::fmt;

use crate::parity::Fault;

/// The figures of one lane in one topic of the target.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// Records that must be there.
    pub expected: u64,
    /// Messages that are there.
    pub observed: u64,
    /// Of these, how many a repair lane wrote.
    pub repaired: u64,
    /// In the source only.
    pub missing: u64,
    /// There more often than in the source.
    pub doubled: u64,
    /// Before a record that is earlier in the source.
    pub reordered: u64,
    /// With another content than the source's.
    pub different: u64,
    /// Like nothing in the source.
    pub extra: u64,
}

impl Counts {
    fn plus(self, other: Self) -> Self {
        Self {
            expected: self.expected + other.expected,
            observed: self.observed + other.observed,
            repaired: self.repaired + other.repaired,
            missing: self.missing + other.missing,
            doubled: self.doubled + other.doubled,
            reordered: self.reordered + other.reordered,
            different: self.different + other.different,
            extra: self.extra + other.extra,
        }
    }

    /// Counts what is wrong.
    pub(crate) fn count(&mut self, fault: Fault) {
        *match fault {
            Fault::Missing => &mut self.missing,
            Fault::Doubled => &mut self.doubled,
            Fault::Reordered => &mut self.reordered,
            Fault::Different => &mut self.different,
            Fault::Extra => &mut self.extra,
        } += 1;
    }

    fn faults(&self) -> u64 {
        self.missing + self.doubled + self.reordered + self.different + self.extra
    }
}

/// The lanes of one topic: by the source's name and the source partition.
pub type Lanes = BTreeMap<(String, i32), Counts>;

/// The result of a comparison.
#[derive(Debug, Clone, Default)]
pub struct Parity {
    /// The target, its routes and, last, the dead letters: what each is called, and its lanes.
    pub topics: Vec<(String, Lanes)>,
    /// Of the records that must be in the target, how many are null values.
    pub tombstones: u64,
    /// Messages that stand where they do not belong or come from nobody's lane, by what is wrong with them.
    pub strangers: BTreeMap<String, u64>,
    /// Messages of lanes of the bridge whose sources nobody can read again, by producer name: they are not compared.
    pub unchecked: BTreeMap<String, u64>,
    /// The first findings in words.
    pub named: Vec<String>,
    /// Whether strangers are no fault.
    pub allow_other_writers: bool,
}

impl Parity {
    /// All lanes of the target and its routes together.
    pub fn target_total(&self) -> Counts {
        let targets = self.topics.len().saturating_sub(1);
        self.topics[..targets].iter().fold(Counts::default(), |sum, (_, lanes)| sum.plus(total(lanes)))
    }

    /// All lanes of one topic together: `target`, `route alerts`, `dead letters`.
    pub fn topic_total(&self, name: &str) -> Counts {
        self.topics.iter().find(|(other, _)| other == name).map_or_else(Counts::default, |(_, lanes)| total(lanes))
    }

    /// All dead letters together.
    pub fn dead_letters_total(&self) -> Counts {
        self.topics.last().map_or_else(Counts::default, |(_, lanes)| total(lanes))
    }

    /// Whether everything is where it belongs.
    pub fn holds(&self) -> bool {
        self.target_total().faults() == 0
            && self.dead_letters_total().faults() == 0
            && (self.strangers.is_empty() || self.allow_other_writers)
    }
}

fn total(lanes: &Lanes) -> Counts {
    lanes.values().fold(Counts::default(), |sum, counts| sum.plus(*counts))
}

impl fmt::Display for Parity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<24}{:>11}{:>11}{:>9}{:>9}{:>9}{:>10}{:>10}{:>7}",
            "", "expected", "found", "repaired", "missing", "doubled", "reordered", "different", "extra"
        )?;
        for (name, lanes) in &self.topics {
            for ((source, partition), counts) in lanes.iter().filter(|(_, counts)| counts.faults() > 0) {
                row(f, &format!("  {source}/{partition}"), counts)?;
            }
            row(f, name, &total(lanes))?;
        }
        for (name, count) in self.strangers.iter().take(5) {
            writeln!(f, "{count} messages of another writer: {name}")?;
        }
        for (name, count) in self.unchecked.iter().take(5) {
            writeln!(f, "{count} messages that nothing can be compared with: {name}")?;
        }
        for finding in &self.named {
            writeln!(f, "- {finding}")?;
        }
        let target = self.target_total().expected;
        let dead = self.dead_letters_total().expected;
        let verdict = if self.holds() { "PARITY" } else { "NO PARITY" };
        write!(
            f,
            "{verdict}: {} source records, {target} for the target ({} of them null values), {dead} for the dead letters",
            target + dead,
            self.tombstones
        )
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, c: &Counts) -> fmt::Result {
    writeln!(
        f,
        "{name:<24}{:>11}{:>11}{:>9}{:>9}{:>9}{:>10}{:>10}{:>7}",
        c.expected, c.observed, c.repaired, c.missing, c.doubled, c.reordered, c.different, c.extra
    )
}
