//! What else stands in the target: it is counted by its producers, and nothing more.

use std::collections::BTreeMap;

/// Names that are told apart; further ones count together.
const NAMES_MAX: usize = 100;

/// Messages of producers that nothing is compared of.
#[derive(Debug, Clone, Default)]
pub(crate) struct Others {
    /// By the producer's name.
    pub(crate) named: BTreeMap<String, u64>,
    /// Those of further names.
    pub(crate) unnamed: u64,
}

impl Others {
    pub(crate) fn add(&mut self, producer_name: &str, messages: u64) {
        if let Some(count) = self.named.get_mut(producer_name) {
            *count += messages;
        } else if self.named.len() < NAMES_MAX {
            self.named.insert(producer_name.to_owned(), messages);
        } else {
            self.unnamed += messages;
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.named.values().sum::<u64>() + self.unnamed
    }
}
