//! A lane to the leader of one other group: many things in a request.
//!
//! Promises: ends go before prepares that wait with them, so that a prepare does not find in its way what was decided before it; a
//! few requests are under way at once, and what comes meanwhile goes together. What is lost the coordinator asks for again.

use std::sync::Arc;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use prost::Message as _;
use proto::check::TXN_BYTES_MAX;
use proto::check::cross::{BRANCHES_MAX, FINISHES_MAX};
use proto::store::prepare_answer::Verdict;
use proto::store::prepare_request::Part as WirePart;
use proto::store::{self as wire, Failure, FailureReason, Finishing, PrepareAnswer, Prepared};
use store_client::{Cause, Error, Replicated};
use store_core::coordinate::{self, Branch, CrossId, Hindrance, Input};
use tokio::sync::mpsc;

use super::payload::{Outgoing, Payload, id_on_wire, in_core, on_wire};

/// Prepares under way to one group, which a caller waits for.
const PREPARING_MAX: usize = 2;
/// Ends under way to one group: they go together, since only other transactions wait for them.
const FINISHING_MAX: usize = 1;

/// One thing that the leader of another group is to do.
pub(super) enum Wanted {
    Prepare { id: CrossId, participant: usize, part: Arc<Outgoing> },
    Finish { id: CrossId, offset: u64, range: coordinate::Arc, commit: bool },
}

/// The end where things go in.
pub(super) struct Lane(mpsc::UnboundedSender<Wanted>);

/// The end where they come out.
pub(super) type End = mpsc::UnboundedReceiver<Wanted>;

/// A lane. What waits in it is what the coordinator has open, and once more for each time that it asked again while a request
/// took longer than that.
pub(super) fn lane() -> (Lane, End) {
    let (sender, end) = mpsc::unbounded_channel();
    (Lane(sender), end)
}

impl Lane {
    pub(super) fn want(&self, wanted: Wanted) {
        // The node ends: whoever asks its successor is told.
        let _ = self.0.send(wanted);
    }
}

/// What waits for a request to be under way no longer.
#[derive(Default)]
struct Kept {
    prepares: Vec<(CrossId, usize, Arc<Outgoing>)>,
    finishes: Vec<Finishing>,
}

/// Sends until the node ends.
pub(super) async fn run(step: impl Fn(Input<Payload>) -> bool, shard: Replicated, mut end: End) {
    let mut kept = Kept::default();
    let mut preparing: FuturesUnordered<BoxFuture<'static, Vec<Input<Payload>>>> = FuturesUnordered::new();
    let mut finishing: FuturesUnordered<BoxFuture<'static, Vec<Input<Payload>>>> = FuturesUnordered::new();
    loop {
        let heard = tokio::select! {
            Some(inputs) = finishing.next() => inputs,
            Some(inputs) = preparing.next() => inputs,
            wanted = end.recv() => {
                let Some(wanted) = wanted else { return };
                kept.keep(wanted);
                while let Ok(more) = end.try_recv() {
                    kept.keep(more);
                }
                Vec::new()
            }
        };
        for input in heard {
            if !step(input) {
                return;
            }
        }
        if finishing.len() < FINISHING_MAX && !kept.finishes.is_empty() {
            finishing.push(Box::pin(finish(shard.clone(), kept.some_finishes())));
        }
        if preparing.len() < PREPARING_MAX && !kept.prepares.is_empty() {
            preparing.push(Box::pin(prepare(shard.clone(), kept.some_prepares())));
        }
    }
}

impl Kept {
    fn keep(&mut self, wanted: Wanted) {
        match wanted {
            Wanted::Prepare { id, participant, part } => self.prepares.push((id, participant, part)),
            Wanted::Finish { id, offset, range, commit } => self.finishes.push(Finishing {
                id: Some(id_on_wire(id)),
                offset,
                range: Some(on_wire(range)),
                commit,
            }),
        }
    }

    fn some_finishes(&mut self) -> Vec<Finishing> {
        let count = self.finishes.len().min(FINISHES_MAX);
        self.finishes.drain(..count).collect()
    }

    /// As many as fit in a request.
    fn some_prepares(&mut self) -> Vec<(CrossId, usize, WirePart)> {
        let (mut some, mut bytes) = (Vec::new(), 0);
        for (id, participant, part) in &self.prepares {
            let part = on_the_wire(*id, part);
            bytes += part.encoded_len();
            if !some.is_empty() && (bytes > TXN_BYTES_MAX / 2 || some.len() == BRANCHES_MAX) {
                break;
            }
            some.push((*id, *participant, part));
        }
        self.prepares.drain(..some.len());
        some
    }
}

fn on_the_wire(id: CrossId, outgoing: &Outgoing) -> WirePart {
    let branch = wire::Branch {
        id: Some(id_on_wire(id)),
        decider_tag_hash: outgoing.tag_hash,
        range: Some(outgoing.range),
        txn: Some(outgoing.part.txn.clone()),
        guards: outgoing.part.guards.clone(),
        operations: outgoing.part.operations.clone(),
    };
    WirePart { branch: Some(branch), began_ms: outgoing.who.began_ms, request: outgoing.who.request.clone() }
}

async fn prepare(shard: Replicated, sent: Vec<(CrossId, usize, WirePart)>) -> Vec<Input<Payload>> {
    let (whose, parts): (Vec<(CrossId, usize)>, Vec<WirePart>) =
        sent.into_iter().map(|(id, participant, part)| ((id, participant), part)).unzip();
    match shard.prepare(parts).await {
        Ok(answers) => whose.into_iter().zip(answers).map(|(whose, answer)| heard(whose, answer)).collect(),
        Err(error) => {
            let hindrance = match error {
                Error::Refused { .. } => Hindrance::Invalid,
                Error::Retry { cause: Cause::Busy | Cause::OutOfSpace, .. } => Hindrance::Overloaded,
                Error::Retry { .. } | Error::Unknown { .. } => Hindrance::Silent,
            };
            whose.into_iter().map(|(id, _)| Input::Hindered(id, hindrance)).collect()
        }
    }
}

fn heard((id, participant): (CrossId, usize), answer: PrepareAnswer) -> Input<Payload> {
    match answer.verdict {
        Some(Verdict::Prepared(Prepared { offset, results, range })) => {
            let range = range.unwrap_or_default();
            let range = coordinate::Arc { after: range.after, up_to: range.up_to };
            Input::Prepared(id, Branch { participant, offset, range, results })
        }
        Some(Verdict::Failed(failed)) => Input::Failed(id, failed.failed),
        // Nobody holds what was not even tried.
        Some(Verdict::Locked(holder)) if holder.id.is_none() => Input::Hindered(id, Hindrance::Outranked),
        Some(Verdict::Locked(_)) => Input::Hindered(id, Hindrance::Locked),
        Some(Verdict::Refused(refused)) => Input::Hindered(id, hindrance(&refused)),
        None => Input::Hindered(id, Hindrance::Silent),
    }
}

fn hindrance(refused: &Failure) -> Hindrance {
    match refused.reason() {
        FailureReason::Frozen => Hindrance::Frozen,
        FailureReason::WrongRoute => Hindrance::WrongRoute,
        FailureReason::Overloaded => Hindrance::Overloaded,
        FailureReason::Invalid => Hindrance::Invalid,
        _ => Hindrance::Silent,
    }
}

async fn finish(shard: Replicated, finishes: Vec<Finishing>) -> Vec<Input<Payload>> {
    // What is not acknowledged is asked for again by the coordinator, or by the participant.
    let acks = shard.finish(finishes).await.unwrap_or_default();
    let heard = |ack: wire::FinishAck| {
        let range = ack.range.unwrap_or_default();
        let range = coordinate::Arc { after: range.after, up_to: range.up_to };
        Input::Acked(in_core(ack.id.unwrap_or_default()), ack.offset, range)
    };
    acks.into_iter().map(heard).collect()
}
