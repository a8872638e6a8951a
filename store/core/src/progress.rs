//! The leader's view of one replica: its acknowledged log, the entries on their way, and one of three ways to feed it.
//!
//! ```text
//!            ack at or beyond the probe                 ack: the window moves on
//!  Probing ───────────────────────────────► Streaming ◄──────┐
//!   ▲   ▲  AppendRejection, reconnect, stall  │   └──────────┘
//!   │   └─────────────────────────────────────┘
//!   │ AppendRejection: it has the snapshot        its next entry was purged
//!   └──────────────── Snapshot ◄───────────────── (from either)
//! ```

use crate::types::{Member, Offset, Position, Round};

/// How a replica is fed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Feed {
    /// Where the logs agree is not known yet: one empty append at `previous` asks.
    Probing {
        /// The leader's guess of the last common position.
        previous: Position,
    },
    /// The logs agree up to what is acknowledged; entries are pushed ahead of the acks.
    Streaming {
        /// The next offset to push.
        next: Offset,
    },
    /// The leader's log does not reach back far enough: the replica fetches a snapshot.
    Snapshot {
        /// The snapshot's position.
        at: Position,
    },
}

/// One replica, as its leader sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Which replica: a new folder of the same node has a progress of its own.
    pub member: Member,
    /// How it is fed.
    pub feed: Feed,
    /// Where the last push to it ends, so that the next one is known to continue it; `None` if there is none.
    pub pushed: Option<Offset>,
    /// What it has acknowledged in this epoch; the leader's log has exactly this.
    pub durable: Position,
    /// The last heartbeat round it has acknowledged.
    pub round: Round,
    /// It said that its log lost what it may have acknowledged in this epoch.
    pub maybe_lost_tail: bool,
    /// It said that its table is not to be believed until it has been replaced.
    pub quarantined: bool,
    /// It said that its disk hangs, or did until lately.
    pub unfit: bool,
    /// Ticks since its last word.
    pub silent_ticks: u32,
    /// Ticks since its last ack moved `durable`, while entries are in flight.
    pub stalled_ticks: u32,
}

impl Progress {
    /// A replica of which a new leader knows nothing: the guess is that it has everything up to `previous`.
    #[must_use]
    pub fn new(member: Member, previous: Position) -> Progress {
        Progress {
            member,
            feed: Feed::Probing { previous },
            pushed: None,
            durable: Position::ZERO,
            round: Round(0),
            maybe_lost_tail: false,
            quarantined: false,
            unfit: false,
            silent_ticks: 0,
            stalled_ticks: 0,
        }
    }

    /// The state's name, for people.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self.feed {
            Feed::Probing { .. } => "probing",
            Feed::Streaming { .. } => "streaming",
            Feed::Snapshot { .. } => "snapshot",
        }
    }

    /// The log after this offset is still to be pushed to it: what a snapshot brings is not.
    #[must_use]
    pub fn needs_after(&self) -> Offset {
        match self.feed {
            Feed::Snapshot { at } => at.offset.max(self.durable.offset),
            Feed::Probing { .. } | Feed::Streaming { .. } => self.durable.offset,
        }
    }

    /// Whether anything was pushed that is not acknowledged.
    #[must_use]
    pub fn has_in_flight(&self) -> bool {
        matches!(self.feed, Feed::Streaming { next } if next > self.durable.offset.next())
    }
}
