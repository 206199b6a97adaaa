//! Whose a message is, by the name of its producer.

use std::collections::HashMap;

use super::facts::Mark;

/// Whose a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A source partition's that is compared, by its place in the list of them; and how it came in.
    Partition(usize, Mark),
    /// A source's that cannot be read twice, by its place in the list of them.
    Unreadable(usize),
    /// This stream's, and of nothing that is compared here: another partition, another generation, a name of no known kind.
    Elsewhere,
    /// Somebody else's.
    Foreign,
}

/// The names of the producers of one stream.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    stream: String,
    partitions: HashMap<String, usize>,
    /// The queues and the like that cannot be read twice.
    unreadable: Vec<String>,
    /// What was asked before: a topic has few producers.
    known: HashMap<String, Owner>,
}

/// Names that are remembered.
const KNOWN_MAX: usize = 10_000;

impl Names {
    pub(crate) fn new(stream: &str, partitions: &[String], unreadable: Vec<String>) -> Self {
        let partitions = partitions.iter().cloned().enumerate().map(|(index, name)| (name, index)).collect();
        Self { stream: format!("bridge/{stream}/"), partitions, unreadable, known: HashMap::new() }
    }

    pub(crate) fn owner(&mut self, producer_name: &str) -> Owner {
        if let Some(owner) = self.known.get(producer_name) {
            return *owner;
        }
        let owner = self.find(producer_name);
        if self.known.len() < KNOWN_MAX {
            self.known.insert(producer_name.to_owned(), owner);
        }
        owner
    }

    fn find(&self, name: &str) -> Owner {
        if !name.starts_with(&self.stream) {
            return Owner::Foreign;
        }
        if let Some(index) = self.partitions.get(name) {
            return Owner::Partition(*index, Mark::Lane);
        }
        for (suffix, mark) in [
            ("/repair/replay-", Mark::Replayed),
            ("/repair/", Mark::Repaired),
            ("/redrive/", Mark::Redriven),
            ("/replay/", Mark::Copied),
        ] {
            let base = name.find(suffix).and_then(|at| self.partitions.get(&name[..at]));
            if let Some(index) = base {
                return Owner::Partition(*index, mark);
            }
        }
        // The cluster's name stands before the queue's.
        let behind = name[self.stream.len()..].split_once('/').map_or("", |(_, rest)| rest);
        let is_of = |queue: &String| behind.strip_prefix(queue.as_str()).is_some_and(|rest| rest.starts_with('/'));
        match self.unreadable.iter().position(is_of) {
            Some(index) => Owner::Unreadable(index),
            None => Owner::Elsewhere,
        }
    }
}

/// Whether it is the name of a redrive: of the message in the target, or of a note about it among the dead letters.
pub(crate) fn is_redrive(producer_name: &str) -> bool {
    producer_name.rsplit_once("/redrive/").is_some_and(|(_, offset)| offset.parse::<u64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_told_by_the_producers_names() {
        let partitions = ["bridge/s/c/t/0".to_owned(), "bridge/s/c/t/1/g2".to_owned()];
        let mut names = Names::new("s", &partitions, vec!["q".to_owned()]);
        for (name, owner) in [
            ("bridge/s/c/t/0", Owner::Partition(0, Mark::Lane)),
            ("bridge/s/c/t/0/repair/4-7", Owner::Partition(0, Mark::Repaired)),
            ("bridge/s/c/t/1/g2/repair/replay-0-999", Owner::Partition(1, Mark::Replayed)),
            ("bridge/s/c/t/0/redrive/17", Owner::Partition(0, Mark::Redriven)),
            ("bridge/s/c/t/1/g2/replay/20260131T120000Z", Owner::Partition(1, Mark::Copied)),
            ("bridge/s/c/t/0/g3", Owner::Elsewhere),
            ("bridge/s/c/t/0/unheard-of/3", Owner::Elsewhere),
            ("bridge/s/c/t/7", Owner::Elsewhere),
            ("bridge/s/r@h/q/0", Owner::Unreadable(0)),
            ("bridge/other/c/t/0", Owner::Foreign),
            ("standalone-0-7", Owner::Foreign),
        ] {
            assert_eq!(names.owner(name), owner, "{name}");
            assert_eq!(names.owner(name), owner, "{name}, asked again");
        }
        assert!(is_redrive("bridge/s/r@h/q/0/redrive/17") && !is_redrive("bridge/s/r@h/q/0"));
    }
}
