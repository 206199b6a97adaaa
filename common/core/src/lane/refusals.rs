//! Which of a queue's messages the broker refuses for their content. An offset would tell over a reopening; a counter
//! does not, so here a message is known by the hash of what it is.

use std::collections::VecDeque;

use super::partition::{Partition, Phase};
use super::session::Admit;
use crate::record::Offset;

/// How many refused messages are remembered.
const REFUSED_MAX: usize = 1024;

/// What is known of a session's deliveries by their hashes.
#[derive(Debug, Clone, Default)]
pub(super) struct Refusals {
    /// Deliveries that are sent one by one, to find the one that is refused.
    suspects: Vec<(Offset, u128)>,
    /// Messages that were found to be refused, oldest first.
    refused: VecDeque<u128>,
}

impl Refusals {
    /// For the next session: what was found to be refused.
    pub(super) fn next(&self) -> Self {
        Self { suspects: Vec::new(), refused: self.refused.clone() }
    }

    /// A single message was refused.
    pub(super) fn refused(&mut self, offset: Offset) {
        let Some((_, identity)) = self.suspects.iter().find(|(suspect, _)| *suspect == offset) else { return };
        if self.refused.len() == REFUSED_MAX {
            self.refused.pop_front();
        }
        self.refused.push_back(*identity);
    }
}

impl Partition {
    /// As `admit`, for a queue's delivery that was not recalled: `identity` is its hash, as in `recall::hash`.
    pub fn admit_delivery(&mut self, offset: Offset, identity: u128) -> Admit {
        let admit = self.admit(offset);
        let Phase::Running(session) = &mut self.phase else { return admit };
        if admit != Admit::Take {
            return admit;
        }
        if session.refusals.refused.contains(&identity) {
            return Admit::Refused;
        }
        if session.suspects.is_some_and(|(lowest, highest)| (lowest..=highest).contains(&offset)) {
            let position = session.position();
            session.refusals.suspects.retain(|(suspect, _)| *suspect >= position);
            session.refusals.suspects.push((offset, identity));
        }
        Admit::Take
    }
}
