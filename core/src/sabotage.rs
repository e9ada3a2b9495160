//! Rules of the protocol that a test can break, one at a time, to show that the simulator is not blind to it.
//!
//! Only the feature `sabotage` can break anything; without it every question is answered "no" at compile time. The rule
//! broken is kept per thread, since the rules stand in places that have nothing in common but the thread they run on.

/// One rule. The name says what it demands; broken, the node does not do so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Who claims asks for a newer beacon first.
    AskBeforeClaim,
    /// Only a strictly newer beacon renews the lease.
    RenewByNewerOnly,
    /// A beacon renews only for members that its holder hears.
    HeedHeard,
    /// A beacon of an old `seq` is refused.
    RefuseOldSeq,
    /// Descriptors from before a stall are thrown away, and uploads wait after one.
    DiscardAtStall,
    /// A claim counts once it is on disk.
    ClaimOnDisk,
    /// Of two leases of one epoch the better rank wins.
    EpochsThenRanks,
    /// Who meets a higher lease stops publishing.
    LoserStops,
    /// Who wins over a rival, or takes over, uploads again.
    WinnerUploads,
    /// Before an epoch's first upload the records that heartbeats name are waited for.
    RecordGate,
    /// A member that is merely unknown keeps its points.
    UnknownIsNotDown,
    /// Periods follow the consensus, not the wall clock.
    PeriodByConsensus,
    /// One refusal is no reason to go ahead of the clock.
    PatienceAfterRefusal,
    /// What an HSDir confirmed and gave back is read again every few minutes.
    ReadAgain,
    /// Who hears everyone believes nobody's word that a member is down.
    OwnEvidenceOfDeath,
    /// Leases lost make a better priority wait longer before it preempts.
    DampedPreemption,
    /// With an old cluster token nobody is admitted.
    NewTokenOnly,
    /// Removals on two sides of a partition are united: a token that any removed node may know is replaced.
    UniteRemovals,
    /// In a pause nobody is taken out for being down or unwell.
    PauseKeepsAll,
    /// An order is answered once a restart would not undo it.
    OrderOnDisk,
    /// A node whose application is dead is left out.
    DeadTargetIsOut,
    /// Who is out of service closes the circuits of points that clients know.
    OutClosesPoints,
    /// A minority asks what is published before it overwrites that.
    MinorityAsks,
    /// With more points than one descriptor lists HSDirs hold different ones.
    DistinctContents,
    /// Of the places in different descriptors each node has its part by weight.
    FairParts,
    /// After a start others are listened to for a TTL and a second before anything is claimed.
    ListenFirst,
    /// Epochs far ahead of all seen before are not believed.
    BoundedEpochs,
    /// While a rival is about a slot is uploaded every 30 s at most.
    RivalsFarApart,
    /// Counters follow the median of the members' clocks if one's own is ahead of it.
    MedianClock,
    /// Whose clock is off does not publish while another can.
    RightClock,
    /// Tor's own publishing is off before a second member's admission is answered.
    NativeOffFirst,
    /// A counter far ahead on an HSDir is passed.
    PassPoison,
    /// Who finds that another runs with its keys stops.
    DuplicateStops,
    /// Who is no member is not heard.
    MembersOnly,
    /// Nor is such a one's word believed that another is none any more.
    GoneRemoveNobody,
}

#[cfg(feature = "sabotage")]
thread_local! {
    static BROKEN: core::cell::Cell<Option<Rule>> = const { core::cell::Cell::new(None) };
}

/// From now on nodes on this thread break `rule`, and no other; `None` for none.
#[cfg(feature = "sabotage")]
pub fn break_rule(rule: Option<Rule>) {
    BROKEN.set(rule);
}

/// Whether `rule` is to be broken.
pub(crate) fn is_broken(rule: Rule) -> bool {
    #[cfg(feature = "sabotage")]
    let broken = BROKEN.get();
    #[cfg(not(feature = "sabotage"))]
    let broken: Option<Rule> = None;
    broken == Some(rule)
}
