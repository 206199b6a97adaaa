//! Deliberate faults: each breaks one rule of the core, so that a test can show that the simulation finds it. They exist
//! only with the feature `deliberate-faults`; without it `Fault::active` is constant and the code behind it is gone.

/// One rule broken on purpose. What each does is said where it is consulted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Start a batch at L instead of above it.
    StartAtLastSequenceId,
    /// The highest settled instead of the lowest unsettled offset is the position.
    PositionIsHighestSettled,
    /// Everything up to L is taken as stored.
    TrustLastSequenceId,
    /// A receipt of -1:-1 is taken for success.
    DuplicateReceiptIsSuccess,
    /// Nothing is read back before sending.
    SkipScan,
    /// The scan does not wait until L was seen.
    DoNotWaitForLast,
    /// What lies at or below L and was not seen is skipped.
    SkipUnseenBelowLast,
    /// Repairs are sent without an intent in the checkpoint.
    RepairWithoutIntent,
    /// A repair's outcome is not looked up when the partition is opened again.
    ForgetRepairIntents,
    /// After an unknown outcome the batch is stepped over.
    StepOverUnknownBatch,
    /// The mark moves to the newest receipt, whatever the position is.
    MarkIsNewestReceipt,
    /// A receipt settles every batch before it too.
    ReceiptSettlesAllBefore,
    /// Dead letters are settled when they are sent.
    DeadLettersSettleAtOnce,
    /// A new routing is used at once, without finishing under the stored one.
    SwitchRoutingAtOnce,
    /// What was read back is not skipped.
    IgnoreSeen,
    /// A routing that changes while the partition runs is used from the next record on, though records above it may
    /// already lie in the present lanes.
    BarrierIgnoresSeen,
    /// A repair's intent is stored before its name is held, not after. Not in `ALL`: it takes a holder that is frozen between
    /// the two, a reload and a takeover, which the simulation's schedules do not bring together yet.
    RepairNamedBeforeHeld,
    /// The partition is opened without proof that it is still owned.
    OpenWithoutConfirming,
    /// Marks follow the position, though a queue may deliver again what lies before them.
    MarkDoesNotReachBack,
    /// The largest prefetch that a queue was ever read with is not remembered over a restart.
    ForgetPrefetch,
    /// A queue's deliveries are acknowledged before they are settled.
    AckBeforeReceipt,
    /// A counter goes on at the stored position, not above every id that was used.
    ReuseCounter,
    /// After a change of routing the topics that are no lanes any more are not read back.
    ForgetFormerLanes,
    /// The routing changes as soon as another is wanted, though records are under way under the present one.
    ChangeRoutingUnsettled,
    /// What decides the target partition is taken from the configuration, not from the checkpoint.
    ForgetMode,
    /// A repair takes records of several lanes.
    RepairAcrossLanes,
    /// The position is the first lane's, whatever lies unsettled in the others.
    PositionOfOneLane,
    /// Lanes of a routing that was just announced have no marks stored before something is sent on them.
    UnsentStays,
}

impl Fault {
    /// All of them, for the test that breaks each.
    pub const ALL: [Fault; 27] = [
        Fault::StartAtLastSequenceId,
        Fault::PositionIsHighestSettled,
        Fault::TrustLastSequenceId,
        Fault::DuplicateReceiptIsSuccess,
        Fault::SkipScan,
        Fault::DoNotWaitForLast,
        Fault::SkipUnseenBelowLast,
        Fault::RepairWithoutIntent,
        Fault::ForgetRepairIntents,
        Fault::StepOverUnknownBatch,
        Fault::MarkIsNewestReceipt,
        Fault::ReceiptSettlesAllBefore,
        Fault::DeadLettersSettleAtOnce,
        Fault::SwitchRoutingAtOnce,
        Fault::IgnoreSeen,
        Fault::BarrierIgnoresSeen,
        Fault::OpenWithoutConfirming,
        Fault::MarkDoesNotReachBack,
        Fault::ForgetPrefetch,
        Fault::AckBeforeReceipt,
        Fault::ReuseCounter,
        Fault::ForgetFormerLanes,
        Fault::ChangeRoutingUnsettled,
        Fault::ForgetMode,
        Fault::RepairAcrossLanes,
        Fault::PositionOfOneLane,
        Fault::UnsentStays,
    ];

    /// Whether this fault is switched on in this thread.
    #[cfg(feature = "deliberate-faults")]
    pub(super) fn active(self) -> bool {
        ACTIVE.with(|active| active.get() == Some(self))
    }

    /// Never, in a release.
    #[cfg(not(feature = "deliberate-faults"))]
    #[inline(always)]
    pub(super) const fn active(self) -> bool {
        false
    }

    /// Switches one fault on in this thread, or all off.
    #[cfg(feature = "deliberate-faults")]
    pub fn activate(fault: Option<Fault>) {
        ACTIVE.with(|active| active.set(fault));
    }
}

#[cfg(feature = "deliberate-faults")]
thread_local! {
    static ACTIVE: std::cell::Cell<Option<Fault>> = const { std::cell::Cell::new(None) };
}
