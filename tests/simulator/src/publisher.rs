//! The memory of one node's publisher: the plan of the real one ([`store_engine::publisher`]) for as long as it leads over one
//! connection, and what it waits for.

use bytes::Bytes;
use store_core::Epoch;
use store_engine::front::NodeResponse;
use store_engine::publisher::Plan;
use store_engine::{Answer, RequestId};

use crate::time::Micros;

/// The publisher of one node.
#[derive(Debug, Default)]
pub(crate) struct Publisher {
    pub(crate) session: Option<Session>,
    /// What the broker has acknowledged under the last leadership.
    pub(crate) acked: Option<(Epoch, u64)>,
    /// The life of the node whose memory this is.
    pub(crate) boot: u64,
}

/// One leadership over one connection.
#[derive(Debug)]
pub(crate) struct Session {
    /// Unique over a run.
    pub(crate) number: u64,
    pub(crate) epoch: Epoch,
    pub(crate) log_id: u64,
    pub(crate) plan: Plan,
    pub(crate) acks: u64,
    /// When the last ack comes.
    pub(crate) last_ack: Micros,
    /// A message was lost, and so is all that comes after.
    pub(crate) is_cut: bool,
    /// What the node was asked.
    pub(crate) waits: Option<Waits>,
}

#[derive(Debug)]
pub(crate) enum Waits {
    Round(RequestId),
    Mark(RequestId, u64),
}

impl Publisher {
    /// The connection is lost, or another leads.
    pub(crate) fn end(&mut self) {
        if let Some(session) = self.session.take() {
            self.acked = Some((session.epoch, session.plan.acked()));
        }
    }

    /// The connection of this number is lost.
    pub(crate) fn lost(&mut self, number: u64) {
        if self.session.as_ref().is_some_and(|session| session.number == number) {
            self.end();
        }
    }

    /// The broker has acknowledged a message.
    pub(crate) fn acked(&mut self, number: u64, now_ms: u64) {
        if let Some(session) = self.session.as_mut().filter(|session| session.number == number) {
            session.acks += 1;
            session.plan.acknowledged(session.acks, now_ms);
        }
    }

    /// A portal asks to be named.
    pub(crate) fn nonce(&mut self, nonce: Bytes, log_id: u64, now_ms: u64) {
        if let Some(session) = self.session.as_mut().filter(|session| session.log_id == log_id) {
            session.plan.nonce(nonce, now_ms);
        }
    }

    /// The node says what came of what it was asked.
    pub(crate) fn told(&mut self, request_id: RequestId, told: &NodeResponse, now_ms: u64) {
        let Some(session) = &mut self.session else { return };
        match (&session.waits, told) {
            (Some(Waits::Round(asked)), NodeResponse::Answer(Answer::ReadReady { at }))
                if *asked == request_id =>
            {
                session.plan.confirmed(at.0);
            }
            (Some(Waits::Round(asked)), _) if *asked == request_id => session.plan.not_confirmed(),
            (Some(Waits::Mark(asked, offset)), _) if *asked == request_id => {
                session.plan.marked(*offset, now_ms);
            }
            _ => return,
        }
        session.waits = None;
    }
}
