//! A lane to the leader of one other group: many things in a request.
//!
//! Promises: ends go before prepares that wait with them, so that a prepare does not find in its way what was decided before it; but
//! an abort never overtakes its own prepare, which would be left behind with its locks. A few requests are under way
//! at once, and what comes meanwhile goes together. What is lost the coordinator asks for again.

use std::collections::HashMap;
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
use store_client::{Cause, Error};
use store_core::coordinate::{self, Branch, CrossId, Hindrance, Input};
use tokio::sync::mpsc;

use crate::host::Leaders;
use crate::payload::{Outgoing, Payload, id_on_wire, in_core, on_wire};

/// Prepares under way to one group, which a caller waits for.
const PREPARING_MAX: usize = 2;
/// Ends under way to one group: they go together, since only other transactions wait for them.
const FINISHING_MAX: usize = 1;

/// One thing that the leader of another group is to do.
pub(crate) enum Wanted {
    Prepare { id: CrossId, participant: usize, part: Arc<Outgoing> },
    Finish { id: CrossId, offset: u64, range: coordinate::Arc, commit: bool },
}

/// The end where things go in.
pub(crate) struct Lane(mpsc::UnboundedSender<Wanted>);

/// The end where they come out.
pub(crate) type End = mpsc::UnboundedReceiver<Wanted>;

/// A lane. What waits in it is what the coordinator has open or has ended and not heard of, and once more for each time that it asked
/// again while a request took longer than that.
pub(crate) fn lane() -> (Lane, End) {
    let (sender, end) = mpsc::unbounded_channel();
    (Lane(sender), end)
}

impl Lane {
    pub(crate) fn want(&self, wanted: Wanted) {
        // The node ends: whoever asks its successor is told.
        let _ = self.0.send(wanted);
    }
}

/// What waits for a request to be under way no longer.
#[derive(Default)]
struct Kept {
    prepares: Vec<(CrossId, usize, Arc<Outgoing>)>,
    finishes: Vec<Finishing>,
    /// How often what is being prepared now is.
    preparing: HashMap<CrossId, u32>,
    /// Aborts of what is being prepared now.
    aborts: Vec<(CrossId, Finishing)>,
}

/// What a request came to, and what it was to prepare.
type Heard = (Vec<CrossId>, Vec<Input<Payload>>);

/// Where a lane leads.
#[derive(Clone)]
pub(crate) struct To<L> {
    pub(crate) groups: L,
    pub(crate) slot: usize,
}

/// Sends until the node ends.
pub(crate) async fn run<L: Leaders>(step: impl Fn(Input<Payload>) -> bool, to: To<L>, mut end: End) {
    let mut kept = Kept::default();
    let mut preparing: FuturesUnordered<BoxFuture<'static, Heard>> = FuturesUnordered::new();
    let mut finishing: FuturesUnordered<BoxFuture<'static, Vec<Input<Payload>>>> = FuturesUnordered::new();
    loop {
        let heard = tokio::select! {
            // In one order, so that a simulation is a function of its seed.
            biased;
            Some(inputs) = finishing.next() => inputs,
            Some((ids, inputs)) = preparing.next() => {
                kept.prepared(&ids);
                inputs
            }
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
            finishing.push(Box::pin(finish(to.clone(), kept.some_finishes())));
        }
        if preparing.len() < PREPARING_MAX && !kept.prepares.is_empty() {
            preparing.push(Box::pin(prepare(to.clone(), kept.some_prepares())));
        }
    }
}

impl Kept {
    fn keep(&mut self, wanted: Wanted) {
        match wanted {
            Wanted::Prepare { id, participant, part } => self.prepares.push((id, participant, part)),
            Wanted::Finish { id, offset, range, commit } => {
                // Whatever it was to prepare, it is to be no more.
                self.prepares.retain(|(one, ..)| *one != id);
                let range = Some(on_wire(range));
                let finishing = Finishing { id: Some(id_on_wire(id)), offset, range, commit };
                match !commit && self.preparing.contains_key(&id) {
                    true => self.aborts.push((id, finishing)),
                    false => self.finishes.push(finishing),
                }
            }
        }
    }

    /// A request that was to prepare these is under way no longer.
    fn prepared(&mut self, ids: &[CrossId]) {
        for id in ids {
            let Some(count) = self.preparing.get_mut(id) else { continue };
            *count -= 1;
            if *count == 0 {
                self.preparing.remove(id);
                let now = self.aborts.extract_if(.., |(one, _)| one == id);
                self.finishes.extend(now.map(|(_, finishing)| finishing));
            }
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
        for (id, ..) in &some {
            *self.preparing.entry(*id).or_default() += 1;
        }
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

async fn prepare<L: Leaders>(to: To<L>, sent: Vec<(CrossId, usize, WirePart)>) -> Heard {
    let (whose, parts): (Vec<(CrossId, usize)>, Vec<WirePart>) =
        sent.into_iter().map(|(id, participant, part)| ((id, participant), part)).unzip();
    let ids = whose.iter().map(|(id, _)| *id).collect();
    let inputs = match to.groups.prepare(to.slot, parts).await {
        Ok(answers) => whose.into_iter().zip(answers).map(|(whose, answer)| heard(whose, answer)).collect(),
        Err(error) => {
            let hindrance = match error {
                Error::Refused { .. } => Hindrance::Invalid,
                Error::Retry { cause: Cause::Busy | Cause::OutOfSpace, .. } => Hindrance::Overloaded,
                Error::Retry { .. } | Error::Unknown { .. } => Hindrance::Silent,
            };
            whose.into_iter().map(|(id, _)| Input::Hindered(id, hindrance)).collect()
        }
    };
    (ids, inputs)
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

async fn finish<L: Leaders>(to: To<L>, finishes: Vec<Finishing>) -> Vec<Input<Payload>> {
    // What is not acknowledged is asked for again by the coordinator, or by the participant.
    let acks = to.groups.finish(to.slot, finishes).await.unwrap_or_default();
    let heard = |ack: wire::FinishAck| {
        let range = ack.range.unwrap_or_default();
        let range = coordinate::Arc { after: range.after, up_to: range.up_to };
        Input::Acked(in_core(ack.id.unwrap_or_default()), ack.offset, range)
    };
    acks.into_iter().map(heard).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::store::Txn;
    use store_core::Epoch;

    fn prepare_of(number: u64) -> Wanted {
        let part = crate::split::Part { txn: Txn::default(), guards: Vec::new(), operations: Vec::new() };
        let who = crate::gate::Who { began_ms: 1, request: bytes::Bytes::new() };
        let part = Arc::new(Outgoing { slot: 0, range: Default::default(), part, tag_hash: 0, who });
        Wanted::Prepare { id: id(number), participant: 0, part }
    }

    fn id(number: u64) -> CrossId {
        CrossId { group: 1, epoch: Epoch(2), number }
    }

    fn abort_of(number: u64) -> Wanted {
        Wanted::Finish {
            id: id(number),
            offset: 0,
            range: coordinate::Arc { after: 0, up_to: 9 },
            commit: false,
        }
    }

    #[test]
    fn an_abort_never_overtakes_its_own_prepare() {
        let mut kept = Kept::default();
        (1..=3).for_each(|number| kept.keep(prepare_of(number)));
        let sent = kept.some_prepares();
        assert_eq!(sent.len(), 3);
        // Of what waits, and of what is under way, once more for one that was asked for again.
        (3..=4).for_each(|number| kept.keep(prepare_of(number)));
        let again = kept.some_prepares();
        kept.keep(prepare_of(5));
        (2..=5).for_each(|number| kept.keep(abort_of(number)));
        assert!(kept.prepares.is_empty(), "what is given up is not prepared any more");
        let numbers = |some: Vec<Finishing>| {
            some.iter().map(|one| one.id.unwrap_or_default().number).collect::<Vec<_>>()
        };
        assert_eq!(numbers(kept.some_finishes()), [5]);
        let of = |some: &[(CrossId, usize, WirePart)]| some.iter().map(|(id, ..)| *id).collect::<Vec<_>>();
        kept.prepared(&of(&sent));
        assert_eq!(numbers(kept.some_finishes()), [2]);
        kept.prepared(&of(&again));
        assert_eq!(numbers(kept.some_finishes()), [3, 4]);
        assert!(kept.preparing.is_empty() && kept.aborts.is_empty());
    }
}
