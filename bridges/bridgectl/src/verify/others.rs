//! What else stands in the target: it is counted, and nothing more.

use std::collections::BTreeMap;

/// Names that are told apart; further ones count together.
const NAMES_MAX: usize = 100;

/// Messages of others.
#[derive(Debug, Clone, Default)]
pub(crate) struct Others {
    /// By the producer's name.
    pub(crate) foreign: BTreeMap<String, u64>,
    /// This stream's, of partitions or generations that are not compared.
    pub(crate) elsewhere: u64,
    /// Entries that could not be taken apart (encrypted, in chunks), of others.
    pub(crate) unnamed: u64,
}

impl Others {
    pub(crate) fn add(&mut self, producer_name: &str, messages: u64) {
        if let Some(count) = self.foreign.get_mut(producer_name) {
            *count += messages;
        } else if self.foreign.len() < NAMES_MAX {
            self.foreign.insert(producer_name.to_owned(), messages);
        } else {
            self.unnamed += messages;
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.foreign.values().sum::<u64>() + self.unnamed
    }
}
