//! Whoever makes cuts of all groups: it goes by the shipped round ([`store_core::cut::Round`]), dies now and then in the middle of it, and
//! leaves its freeze to the leaders.
//!
//! A cut that was taken is one transaction that reads everything: it is judged with all others, and in it the sum of all accounts and
//! the books of the shop are right.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::channel::oneshot;
use futures::future::{BoxFuture, Either, select};
use futures::stream::FuturesUnordered;
use proto::store::Record;
use store_core::Position;
use store_core::cut::{CutId, Round, RoundInput, RoundOutput};

use super::clients::{ACCOUNTS, BALANCE, RingNotes, access, account_key, balance, record_of};
use crate::check::check_held;
use crate::crossing::{Said, Views};
use crate::tasks::Sleeper;
use crate::time::{MS, Micros, SECOND};
use crate::violation::ensure;

/// A leader that does not answer within this is gone.
const CALL_US_MAX: Micros = 3 * SECOND;
/// Of so many attempts one ends with whoever makes it.
const DEATHS_IN: u32 = 8;

/// A call to whoever leads the group of a slot.
pub(super) struct Call {
    pub(super) slot: usize,
    pub(super) wanted: RoundOutput,
    pub(super) id: CutId,
    pub(super) answer: oneshot::Sender<Said>,
}

/// Calls on their way.
pub(super) type Calls = Rc<RefCell<Vec<Call>>>;

/// Whoever makes cuts.
pub(super) struct CutMaker {
    pub(super) groups: usize,
    pub(super) calls: Calls,
    pub(super) views: Views,
    pub(super) notes: Rc<RefCell<RingNotes>>,
    pub(super) sleeper: Sleeper,
    pub(super) random: fastrand::Rng,
}

impl CutMaker {
    /// One cut after the other until `until`.
    pub(super) async fn run(mut self, until: Micros) {
        while self.sleeper.now.us() < until {
            let at = self.sleeper.now.us() + self.random.u64(50..700) * MS;
            self.sleeper.until(at).await;
            self.attempt().await;
        }
    }

    async fn attempt(&mut self) {
        let (id, called) = (self.random.u128(..), self.sleeper.now.us());
        // So many calls before it dies.
        let mut left = if self.random.u32(..DEATHS_IN) == 0 { self.random.usize(..8) } else { usize::MAX };
        let (mut round, mut wanted) = Round::begin(self.groups);
        let mut calls: FuturesUnordered<BoxFuture<'static, Option<RoundInput<Position>>>> =
            FuturesUnordered::new();
        let mut is_taken = false;
        loop {
            for output in wanted {
                match output {
                    RoundOutput::Taken => is_taken = true,
                    RoundOutput::Void => {}
                    RoundOutput::Freeze(slot) | RoundOutput::Cut(slot, _) | RoundOutput::Thaw(slot) => {
                        if left == 0 {
                            return;
                        }
                        left -= 1;
                        calls.push(Box::pin(self.call(slot, output, id)));
                    }
                }
            }
            if is_taken {
                break self.taken(id, called);
            }
            let Some(told) = calls.next().await else { break };
            wanted = told.map_or_else(Vec::new, |input| round.step(input));
        }
        while calls.next().await.is_some() {}
    }

    /// One call, which is on its way for a moment.
    fn call(
        &mut self,
        slot: usize,
        wanted: RoundOutput,
        id: CutId,
    ) -> impl Future<Output = Option<RoundInput<Position>>> + Send + use<> {
        let (answer, told) = oneshot::channel();
        self.calls.borrow_mut().push(Call { slot, wanted, id, answer });
        let sleeper = self.sleeper.clone();
        let later = sleeper.now.us() + self.random.u64(200..3_000);
        async move {
            let limit = sleeper.now.us() + CALL_US_MAX;
            let said = match select(told, Box::pin(sleeper.until(limit))).await {
                Either::Left((Ok(said), _)) => said,
                Either::Left((Err(_), _)) | Either::Right(_) => Said::Refused,
            };
            sleeper.until(later).await;
            match (wanted, said) {
                (RoundOutput::Freeze(slot), Said::Frozen(offset)) => Some(RoundInput::Drained(slot, offset)),
                (RoundOutput::Cut(slot, _), Said::Cut(position)) => Some(RoundInput::Taken(slot, position)),
                (RoundOutput::Freeze(slot) | RoundOutput::Cut(slot, _), _) => Some(RoundInput::Refused(slot)),
                _ => None,
            }
        }
    }

    /// A cut was taken: what all groups held at it.
    fn taken(&self, id: CutId, called: Micros) {
        let id = Bytes::copy_from_slice(&id.to_be_bytes());
        let views = self.views.lock();
        let parts: Option<Vec<&Vec<(Bytes, Record)>>> =
            (0..self.groups).map(|slot| views.get(&(id.clone(), slot))).collect();
        // Of a leader whose table was changed there is no view.
        let Some(parts) = parts else { return };
        let all: Vec<(Bytes, Record)> = parts.into_iter().flatten().cloned().collect();
        drop(views);
        let found = |key: &Bytes| all.iter().find(|(one, _)| one == key).map(|(_, record)| record);
        let accounts: Vec<Option<&Record>> =
            (0..ACCOUNTS).map(|account| found(&account_key(account))).collect();
        let there: Vec<i64> = accounts.iter().flatten().map(|record| balance(Some(record))).collect();
        // Before all are opened there is no sum.
        if there.len() == accounts.len() {
            let sum = there.iter().sum::<i64>();
            ensure(sum == i64::from(ACCOUNTS) * BALANCE, "a cut is of one moment", || format!("{there:?}"));
        }
        check_held(&with_prefix(&all, b"o/"), &with_prefix(&all, b"s/"));
        let mut notes = self.notes.borrow_mut();
        notes.score.cuts += 1;
        let returned = Some(self.sleeper.now.us());
        let reads = (0..super::clients::RECORDS).map(|record| access(record, found(&record_of(record))));
        let reads = reads.collect();
        notes.history.push(feira_lincheck::Transaction { called, returned, reads, writes: Vec::new() });
    }
}

fn with_prefix(all: &[(Bytes, Record)], prefix: &[u8]) -> Vec<(Bytes, Record)> {
    all.iter().filter(|(key, _)| key.starts_with(prefix)).cloned().collect()
}
