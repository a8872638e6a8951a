//! Deliberate bugs of the store, by name: the simulations must catch every one of them, or they prove little.
//!
//! Each is one [`mutant!`](crate::mutant) at the line that keeps the promise which it breaks, here and in the crates above,
//! which have no list of their own. Without the feature `mutations`, which only the hunt for them turns on (`cargo xtask
//! mutations`; a test asks that no binary is shipped with it), [`planted`] is the constant `false` and the compiler
//! removes every site. docs/TESTING.md has the table of what catches which, and how fast.

/// The site of a deliberate bug: `mutant!(Name)` is whether it is planted, `mutant!(right, Name => wrong)` the right value
/// unless it is.
#[macro_export]
macro_rules! mutant {
    ($name:ident) => {
        $crate::mutation::planted($crate::mutation::Mutation::$name)
    };
    ($right:expr, $name:ident => $wrong:expr) => {
        if $crate::mutation::planted($crate::mutation::Mutation::$name) { $wrong } else { $right }
    };
}

macro_rules! mutations {
    ($($variant:ident $name:literal $text:literal,)*) => {
        /// A deliberate bug.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Mutation {
            $(#[doc = $text] $variant,)*
        }

        impl Mutation {
            /// All of them.
            pub const ALL: &[Mutation] = &[$(Mutation::$variant),*];

            /// Whether it is a bug of the protocol itself, which bare cores can show.
            #[must_use]
            pub const fn is_of_core(self) -> bool {
                self as u8 <= Mutation::LeaseRead as u8
            }

            /// Whether it is a bug of transactions over several groups, which `store_db`'s explorer shows.
            #[must_use]
            pub const fn is_of_groups(self) -> bool {
                let first = Mutation::EscrowIgnoresPending as u8;
                first <= self as u8 && self as u8 <= Mutation::FrozenTakesLocal as u8
            }

            /// Whether it is hunted on simulated rings: of transactions over several groups, or of what drives them.
            #[must_use]
            pub const fn is_of_rings(self) -> bool {
                let first = Mutation::EscrowIgnoresPending as u8;
                first <= self as u8 && self as u8 <= Mutation::DoneBeforeDecided as u8
            }

            /// Whether it is one of them that only a cut of all groups shows.
            #[must_use]
            pub const fn is_of_cuts(self) -> bool {
                let first = Mutation::CutWithoutDrain as u8;
                first <= self as u8 && self as u8 <= Mutation::FrozenTakesLocal as u8
            }

            /// Its name in tables and arguments.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Mutation::$variant => $name),* }
            }

            /// What it does, in half a line.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Mutation::$variant => $text),* }
            }
        }
    };
}

mutations! {
    // Counting and committing.
    CommitOlderEpoch "commit-older-epoch" "a leader commits an entry of an older epoch by counting",
    CommitBeyondOwnDisk "commit-beyond-own-disk" "a leader commits what others hold and its own disk does not yet",
    HalfIsMajority "half-is-majority" "half of an even group is a quorum",
    JointForgetsOutgoing "joint-forgets-outgoing" "a joint membership needs the new majority alone",
    OverlappingChanges "overlapping-changes" "a membership change begins before the last one is committed",
    ChangeWithoutRound "change-without-round" "votes move before the voters have answered a round that was sent for it",
    CountUnverifiedTail "count-unverified-tail" "a replica acks its log's end unmatched, and the leader counts offsets",
    // A replica's log.
    AckBeforeDurable "ack-before-durable" "a replica acks what matched before its disk has it",
    PersistAfterCut "persist-after-cut" "a write under way vouches for what a truncation cut and others replaced",
    TruncateToCommit "truncate-to-commit" "a conflict truncates to the replica's own commit offset",
    LateAppendTruncates "late-append-truncates" "a late short append that brings nothing new shortens the log",
    PreviousByOffset "previous-by-offset" "an append fits wherever the offset before it is there",
    LastEpochOnly "last-epoch-only" "a leader looks for agreement in the replica's last epoch alone",
    ApplyBeforeOrder "apply-before-order" "a replica applies what is durable without a commit order",
    ApplyUnmatched "apply-unmatched" "a commit order applies what no append of the epoch matched",
    InstallLosesEpoch "install-loses-epoch" "installing a snapshot loses the epoch of its last entry",
    // Elections.
    ForgetVote "forget-vote" "the vote of the epoch is forgotten at a restart",
    TwoVotes "two-votes" "an epoch's vote is given to everybody who asks",
    NoUpToDateCheck "no-up-to-date-check" "a voter does not compare logs",
    LostTailVoteCounts "lost-tail-vote-counts" "the vote of a log that lost its tail counts like any other",
    // Reads.
    ReadWithoutQuorum "read-without-quorum" "a read waits for no round",
    ReadJoinsRound "read-joins-round" "a read joins the round that was sent before it came",
    ReadBeforeOwnEpoch "read-before-own-epoch" "a new leader reads before it committed an entry of its epoch",
    LeaseRead "lease-read" "a read is confirmed by who was heard within an election timer",
    // What bare cores do not show, from here on (see `is_of_core`): that nobody waits for long.
    HungLeaderStays "hung-leader-stays" "a leader whose disk hangs stays",
    // Of the crates above, from here on (see `is_of_core`): files and stages.
    SkipFsync "skip-fsync" "the writer reports a write as durable without a sync",
    VoteWithoutSync "vote-without-sync" "the file vote is replaced without any sync",
    RecoverWithoutSync "recover-without-sync" "recovery takes what is in the page cache for durable",
    ChecksumIgnored "checksum-ignored" "the checksum of a batch is not compared",
    CutWithoutSuspicion "cut-without-suspicion" "whatever recovery cuts off a log's end is taken to be torn",
    ApplyIntermediate "apply-intermediate" "recovery applies the log to its end",
    OldIdentity "old-identity" "a replica whose disk is empty comes back under its old identity",
    OwnClockIsTime "own-clock-is-time" "a leader timestamps by its own clock alone",
    FlushWithoutState "flush-without-state" "a flush leaves out where the database stands",
    SettledWithoutFlush "settled-without-flush" "a snapshot is read without what has not been flushed",
    SnapshotWrongPosition "snapshot-wrong-position" "a snapshot says that it ends one entry earlier than it does",
    SnapshotPassesRoll "snapshot-passes-roll" "the state of a snapshot is taken some entries after the log rolled",
    // The state machine.
    ForgetReply "forget-reply" "answers to writes are not remembered",
    WindowWithoutMark "window-without-mark" "few answers are remembered, and no mark is left of those forgotten",
    OpenAfterOutcome "open-after-outcome" "an outcome that says not done leaves the way open for the original",
    SequencesComeBack "sequences-come-back" "a session's sequence runs again after the session gave it up",
    VersionGuardIgnored "version-guard-ignored" "a guard on a record's version always holds",
    RaiseUnasked "raise-unasked" "a leader raises the state machine's version without asking the members",
    MinimumIgnored "minimum-ignored" "an addition goes below the minimum that it names",
    // Transactions over several groups: participants, the decider, and its leader's table.
    EscrowIgnoresPending "escrow-ignores-pending" "an addition does not count those that wait for their decisions",
    PendingPositiveCounted "pending-positive-counted" "what may be given counts as given",
    UndecidedIsSoldOut "undecided-is-sold-out" "an addition that only undecided ones stop is told that it is below its minimum",
    PendingMinimumIgnored "pending-minimum-ignored" "an addition breaks the minimum of one that waits",
    NoSharedLock "no-shared-lock" "a prepared guard keeps no writer out",
    NoExclusiveLock "no-exclusive-lock" "a prepared put keeps nobody out",
    PrefixPointersDisjoint "prefix-pointers-disjoint" "a pointer and one that leads further are taken for disjoint",
    DecideIgnoresLocks "decide-ignores-locks" "a decision asks for no locks",
    LockedRemembered "locked-remembered" "a lock in the way is remembered as a failure of the attempt",
    FinishNamesNoOffset "finish-names-no-offset" "the end of one prepare ends any other of its transaction",
    NoGiveBack "no-give-back" "an abort does what was prepared",
    DecisionOfOtherEpoch "decision-of-other-epoch" "a decision of an earlier leader is executed in a later epoch",
    NoRecheck "no-recheck" "a decision does not look whether its request was answered",
    NoRangeCheck "no-range-check" "keys of other groups are taken",
    DecideBeforePrepared "decide-before-prepared" "a decision is appended when all but one are prepared",
    SameEpochPresumesAbort "same-epoch-presumes-abort" "a leader says aborted of what it has appended",
    GivesUpAfterAppend "gives-up-after-append" "a decision that is appended is given up",
    AnswersBeforeFirstEntry "answers-before-first-entry" "a new leader answers for earlier epochs before its first entry is applied",
    ForgetBeforeFinished "forget-before-finished" "a decision is forgotten when one branch is finished",
    AbsentWithoutOffset "absent-without-offset" "a decision commits whatever prepare of its transaction asks",
    // The cut of all groups.
    CutWithoutDrain "cut-without-drain" "a frozen group says that it is drained while branches are prepared",
    CutWhenOwnDrained "cut-when-own-drained" "a group is cut when it is drained, and the others may not be",
    CutIgnoresThaw "cut-ignores-thaw" "a cut is taken though its freeze is over",
    FrozenDecides "frozen-decides" "a frozen group decides transactions over several groups",
    FrozenTakesLocal "frozen-takes-local" "a frozen group executes transactions of its own",
    // The driver of transactions over several groups, and what requests find in their way.
    UndecidedIsAborted "undecided-is-aborted" "a participant takes a transaction that is not decided yet for aborted",
    UnknownIsAborted "unknown-is-aborted" "a leader takes a decision of which it was told nothing for aborted",
    ReadsPastLocks "reads-past-locks" "a read does not look whether a transaction over several groups is in its way",
    DoneBeforeDecided "done-before-decided" "a transaction over several groups is answered when all is prepared",
    // States that differ.
    QuarantineNobody "quarantine-nobody" "a leader tells nobody that a majority has another state",
    QuarantineByLeader "quarantine-by-leader" "a leader takes its own state for that of the majority",
    QuarantinedCampaigns "quarantined-campaigns" "a replica whose state is wrong campaigns",
    QuarantineForgotten "quarantine-forgotten" "no quarantine is written: a restart takes a wrong state for right",
    // The caches of portals.
    GapForgotten "gap-forgotten" "a cache goes on after a gap between two events",
    FillWithoutToken "fill-without-token" "a cache is filled with what was read before the key changed",
    OwnReplyKept "own-reply-kept" "what an own write left is cached whatever was heard of the key meanwhile",
    AbsenceTrusted "absence-trusted" "somebody is refused because a cache says that a record is not there",
    TokenIgnored "token-ignored" "a hit is answered whatever the session has seen",
    RepairDropsNothing "repair-drops-nothing" "a gap is passed over without the keys that were missed",
    HitUnseen "hit-unseen" "a hit does not raise what its session has seen",
    LeaseFromArrival "lease-from-arrival" "a lease counts from when its heartbeat arrives, not from when its nonce was sent",
    // The holds of open orders.
    HoldUnguarded "hold-unguarded" "an order expires whatever has become of it since it was looked at",
    HoldByPortalClock "hold-by-portal-clock" "an order expires when a portal's own clock says so",
    // The feed of events.
    ExpiryUntold "expiry-untold" "an order that expires leaves no event",
    EarlyPassedOver "early-passed-over" "a reader of the feed goes on though events have not come to their places",
    // The link of a handle (store_client).
    UnnamedAgain "unnamed-again" "a write without identity is sent again after its stream broke",
    LostForgotten "lost-forgotten" "a write whose stream broke under it counts as never sent",
    DeadlineSaysUndone "deadline-says-undone" "a write whose time is over is said to be undone, though it was sent",
    RefusalOfLost "refusal-of-lost" "a refusal of one copy of a write is taken for a word on the copy that was lost",
    AnswerToTheNext "answer-to-the-next" "an answer is given to the operation that was asked next",
    UnknownIsUndone "unknown-is-undone" "a write that a node may have executed is taken for one that it did not",
    // Proofs of members (store_keys, which is told by the hunt).
    ProofWithoutDirection "proof-without-direction" "a frame's proof does not cover its direction",
    ProofWithoutCall "proof-without-call" "a frame's proof does not cover which call it is",
    ProofWithoutNonce "proof-without-nonce" "a session's key is not bound to the nonces of its two sides",
}

#[cfg(not(feature = "mutations"))]
mod switch {
    use super::Mutation;

    /// Whether this bug is planted: never.
    #[inline(always)]
    #[must_use]
    pub const fn planted(_: Mutation) -> bool {
        false
    }
}

#[cfg(feature = "mutations")]
mod switch {
    use core::sync::atomic::{AtomicU8, Ordering};

    use super::Mutation;

    /// Of no mutation.
    const NONE: u8 = u8::MAX;
    const _: () = assert!(Mutation::ALL.len() < NONE as usize);

    /// The one that is planted in this process.
    static PLANTED: AtomicU8 = AtomicU8::new(NONE);

    /// Whether this bug is planted.
    #[inline]
    #[must_use]
    pub fn planted(mutation: Mutation) -> bool {
        PLANTED.load(Ordering::Relaxed) == mutation as u8
    }

    /// Plants a bug in the whole process, in place of the one before; `None`: none.
    pub fn plant(mutation: Option<Mutation>) {
        PLANTED.store(mutation.map_or(NONE, |mutation| mutation as u8), Ordering::Relaxed);
    }
}

#[cfg(feature = "mutations")]
pub use switch::plant;
pub use switch::planted;

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn every_mutation_has_a_name_of_its_own_and_a_row_in_the_table_of_the_documentation() {
        let table = include_str!("../../../docs/TESTING.md");
        let mut names: Vec<&str> = Mutation::ALL.iter().map(|mutation| mutation.name()).collect();
        for mutation in Mutation::ALL {
            let row = alloc::format!("| `{}` | {} |", mutation.name(), mutation.text());
            assert!(table.contains(&row), "docs/TESTING.md lacks {row}: cargo xtask mutations");
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Mutation::ALL.len());
    }
}
