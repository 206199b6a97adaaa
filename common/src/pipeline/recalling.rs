//! What reading back has found in the target of messages that have other ids now, or that other sources bring: gathered
//! while a partition is opened, asked while it runs.

use std::collections::HashSet;

use crate::lane::Tag;
use crate::recall::{ReadBack, Recall};
use crate::record::MessageId;

/// What one scan has found, in the order of the topic; each message with the entry that it is in.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// The topic that was read.
    pub(super) topic: String,
    /// What deliveries are recognised by: key and digest.
    pub(super) deliveries: Vec<(MessageId, u128)>,
    /// The keys alone. Of dead letters none: another source may bring the same event whole.
    pub(super) keys: Vec<u128>,
}

/// Gathers, and answers.
#[derive(Default)]
pub(super) struct Recalling {
    session: u64,
    /// The scans of the present opening.
    asked: HashSet<Tag>,
    read_back: ReadBack,
    /// Once everything was read back.
    recall: Option<Recall>,
}

impl Recalling {
    /// The number of the session that runs, or is being opened.
    pub(super) fn session(&self) -> u64 {
        self.session
    }

    /// Whether this delivery was read back, and not taken before.
    pub(super) fn take(&mut self, hash: u128) -> bool {
        self.recall.as_mut().is_some_and(|recall| recall.take(hash))
    }

    /// Forgets everything: the partition is opened again.
    pub(super) fn restart(&mut self) {
        *self = Self { session: self.session + 1, ..Self::default() };
    }

    /// A scan of the present opening begins.
    pub(super) fn asked(&mut self, tag: Tag) {
        self.asked.insert(tag);
    }

    /// What a scan has found. False where it belongs to an earlier opening, and is of no use.
    pub(super) fn found(&mut self, tag: Tag, findings: &Findings) -> bool {
        let is_ours = self.asked.remove(&tag) && self.recall.is_none();
        if is_ours {
            self.read_back.add(&findings.topic, &findings.deliveries);
        }
        is_ours
    }

    /// Everything was read back. True the first time in a session.
    pub(super) fn seal(&mut self) -> bool {
        let is_first = self.recall.is_none();
        if is_first {
            self.recall = Some(std::mem::take(&mut self.read_back).recall());
        }
        is_first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_an_earlier_opening_is_of_no_use() {
        let at = |entry| MessageId { ledger: 1, entry };
        let findings =
            |entry, hash| Findings { topic: "t".into(), deliveries: vec![(at(entry), hash)], keys: Vec::new() };
        let mut recalling = Recalling::default();
        recalling.asked(Tag(1));
        assert!(!recalling.take(7), "nothing is known before everything is read");
        recalling.restart();
        recalling.asked(Tag(2));
        assert!(!recalling.found(Tag(1), &findings(1, 7)));
        assert!(recalling.found(Tag(2), &findings(1, 8)));
        assert!(recalling.seal());
        assert!(!recalling.seal());
        assert_eq!([7, 8, 8].map(|hash| recalling.take(hash)), [false, true, false]);
    }
}
