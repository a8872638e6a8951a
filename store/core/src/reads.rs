//! Linearizable reads at the leader (read-index): which reads wait for which heartbeat round.
//!
//! A round counts for a read only if it was sent after the read arrived. One round is out at a time; reads that
//! arrive meanwhile share the next.

use crate::mutant;
use crate::types::{Offset, ReadId, Round};

/// The reads of one leader's epoch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reads {
    /// The last read that waits for a round to begin.
    waiting: Option<ReadId>,
    /// The round that is out.
    flight: Option<Flight>,
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    round: Round,
    up_to: ReadId,
    /// The commit offset noted before the round was sent.
    at: Offset,
}

impl Reads {
    /// A read arrived. Read ids rise, so the last one stands for all.
    pub(crate) fn arrive(&mut self, request_id: ReadId) {
        assert!(self.waiting.is_none_or(|last| last < request_id), "read request ids rise");
        if mutant!(ReadJoinsRound)
            && let Some(flight) = &mut self.flight
        {
            flight.up_to = request_id;
            return;
        }
        self.waiting = Some(request_id);
    }

    /// Whether a round should be sent now.
    pub(crate) fn wants_round(&self) -> bool {
        self.flight.is_none() && self.waiting.is_some()
    }

    /// `round` is about to be sent, with everything up to `committed` committed.
    pub(crate) fn begin(&mut self, round: Round, committed: Offset) {
        if let Some(up_to) = self.waiting.take() {
            self.flight = Some(Flight { round, up_to, at: committed });
        }
    }

    /// The reads that may go, if a quorum has acknowledged the round that is out.
    pub(crate) fn done(&mut self, quorum: impl Fn(Round) -> bool) -> Option<(ReadId, Offset)> {
        let flight = self.flight.take_if(|flight| quorum(flight.round) || mutant!(ReadWithoutQuorum))?;
        Some((flight.up_to, flight.at))
    }

    /// Leadership is over: the last read that will never be answered.
    pub(crate) fn fail(&mut self) -> Option<ReadId> {
        let flight = self.flight.take().map(|flight| flight.up_to);
        self.waiting.take().or(flight)
    }
}
