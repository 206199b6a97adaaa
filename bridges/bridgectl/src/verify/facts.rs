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
