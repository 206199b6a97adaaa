//! What is compared, and what may be found: the words of the comparing core.

/// The first half of a SHA-256.
pub(crate) type Digest = [u8; 16];
/// A topic partition, by its place in a list of them.
pub(crate) type Topic = u16;
/// What is wrong with one record or message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Fault {
    /// In the source, not in the target.
    Missing,
    /// In the target, and under no offset that the source has.
    Extra,
    /// In the target more than once.
    Doubled,
    /// In the target, behind a record that comes later in the source.
    Reordered,
    /// In the target, with other content, or where the configuration does not send it.
    Different,
}

impl Fault {
    pub(crate) const ALL: [Fault; 5] = [Self::Missing, Self::Extra, Self::Doubled, Self::Reordered, Self::Different];

    /// Its name in tables and in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Doubled => "doubled",
            Self::Reordered => "reordered",
            Self::Different => "different",
        }
    }
}

/// Where a record belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The target, or the topic of a route: by its place in the list of topics.
    Topic(u8),
    /// The dead letters.
    DeadLetters,
}

/// What the target must hold for a record of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) offset: u64,
    pub(crate) place: Place,
    pub(crate) digest: Digest,
    /// What identifies the event, where several sources may bring it; 0: nothing.
    pub(crate) key: u128,
}

/// Where a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct At {
    pub(crate) topic: Topic,
    pub(crate) ledger: u64,
    pub(crate) entry: u64,
    pub(crate) index: u32,
}

/// How a message came into the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// By its partition's lane, in order.
    Lane,
    /// By a repair: its order is not claimed.
    Repaired,
    /// By `bridgectl replay`: its order is not claimed.
    Replayed,
    /// From the dead letters, after a fix.
    Redriven,
    /// By `bridgectl replay --to`, which never goes into the stream's own topics.
    Copied,
}

/// What the target holds under an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) id: u64,
    pub(crate) place: Place,
    pub(crate) digest: Digest,
    pub(crate) at: At,
    pub(crate) mark: Mark,
}

/// One thing that is wrong, by its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) fault: Fault,
    /// The offset in the source partition, which is the sequence id in the target.
    pub(crate) offset: u64,
    /// The message, where there is one.
    pub(crate) at: Option<At>,
    pub(crate) detail: &'static str,
}

/// What a comparison comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Every record is where it belongs.
    Parity,
    /// No fault; but some records may never have been mirrored, or may be lost: nothing tells.
    Unproved,
    /// There was nothing to compare.
    Nothing,
    /// There are faults.
    NoParity,
}

impl Verdict {
    /// By what was counted; besides, messages of sources that cannot be read twice, doubles among them, and whether the operator
    /// accepts records before the first that is in the target as never mirrored.
    pub(crate) fn of(counts: &Counts, messages: u64, doubled_keys: u64, accepts_before_start: bool) -> Self {
        if !counts.is_parity() || doubled_keys > 0 {
            Self::NoParity
        } else if counts.before_start > 0 && !accepts_before_start {
            Self::Unproved
        } else if counts.source == counts.before_start && messages == 0 {
            Self::Nothing
        } else {
            Self::Parity
        }
    }

    /// Its name in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Parity => "parity",
            Self::Unproved => "unproved",
            Self::Nothing => "nothing-compared",
            Self::NoParity => "no-parity",
        }
    }

    /// Its name for people.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Parity => "PARITY",
            Self::Unproved => "UNPROVED",
            Self::Nothing => "NOTHING COMPARED",
            Self::NoParity => "NO PARITY",
        }
    }
}

/// What was counted.
/// Invariant: once finished, `source` = `found` + `dead_letters` + `different` + `missing` + `twins` + `before_start` +
/// `not_compared`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Records of the source within the range.
    pub(crate) source: u64,
    /// Found in the target, equal; the repaired and the replayed among them.
    pub(crate) found: u64,
    pub(crate) repaired: u64,
    pub(crate) replayed: u64,
    /// Found among the dead letters.
    pub(crate) dead_letters: u64,
    /// Of these, those that the present contract would translate.
    pub(crate) translatable: u64,
    /// Of these, those that were published after a fix.
    pub(crate) redriven: u64,
    /// Of these, those that the present contract refuses again: nothing says what they must be.
    pub(crate) redriven_refused: u64,
    /// In the target by another source's record of the same key.
    pub(crate) twins: u64,
    /// Before the first record that was mirrored, where the configuration does not begin at the beginning.
    pub(crate) before_start: u64,
    /// Found under their offsets when their digests were forgotten already.
    pub(crate) not_compared: u64,
    pub(crate) faults: [u64; 5],
}

impl Counts {
    pub(crate) fn of(&self, fault: Fault) -> u64 {
        self.faults[fault as usize]
    }

    pub(crate) fn add(&mut self, other: &Counts) {
        self.source += other.source;
        self.found += other.found;
        self.repaired += other.repaired;
        self.replayed += other.replayed;
        self.dead_letters += other.dead_letters;
        self.translatable += other.translatable;
        self.redriven += other.redriven;
        self.redriven_refused += other.redriven_refused;
        self.twins += other.twins;
        self.before_start += other.before_start;
        self.not_compared += other.not_compared;
        self.faults.iter_mut().zip(other.faults).for_each(|(mine, other)| *mine += other);
    }

    /// Whether every record is where it belongs, once, in order, equal.
    pub(crate) fn is_parity(&self) -> bool {
        self.not_compared == 0 && self.faults.iter().all(|count| *count == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_parity_only_where_something_was_compared_and_nothing_is_open() {
        let counts = Counts { source: 5, found: 5, ..Counts::default() };
        assert_eq!(Verdict::of(&counts, 0, 0, false), Verdict::Parity);
        assert_eq!(Verdict::of(&counts, 0, 1, false), Verdict::NoParity);
        assert_eq!(Verdict::of(&Counts::default(), 0, 0, true), Verdict::Nothing);
        assert_eq!(Verdict::of(&Counts::default(), 3, 0, false), Verdict::Parity, "a queue's messages, no doubles");
        let late = Counts { source: 7, before_start: 2, ..counts };
        assert_eq!(Verdict::of(&late, 0, 0, false), Verdict::Unproved);
        assert_eq!(Verdict::of(&late, 0, 0, true), Verdict::Parity);
        let only = Counts { source: 2, before_start: 2, ..Counts::default() };
        assert_eq!(Verdict::of(&only, 0, 0, true), Verdict::Nothing);
        let faulty = Counts { faults: [1, 0, 0, 0, 0], ..late };
        assert_eq!(Verdict::of(&faulty, 0, 0, true), Verdict::NoParity);
    }
}
