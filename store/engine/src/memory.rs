//! A [`Store`] in one process, without log, network or disk: the real state machine (`store_db`'s `apply`) on a table
//! in memory, with faults on demand. Tests of portals run on it: every answer, guard and version is the real
//! one, and faults on the way come when the test says so, or as a seed decides.
//!
//! Promises: without faults it is a conforming store (the suite says so); a lost answer was executed, a
//! [`Error::Retry`] was not; with one seed and one order of calls the same faults strike the same calls. Leaves out:
//! durability, and everything about replicas. The only file of this crate that knows tokio.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use parking_lot::Mutex;
use prost::Message as _;
use proto::check::Violation;
use proto::store::command::Kind;
use proto::store::{
    ChangesResponse, Command, FailureReason, Freshness, Identity, OutcomeCommand, OutcomeRequest,
    OutcomeResponse, Position as WirePosition, RaiseVersion, Route, ScanRequest, Txn, TxnCommand,
    TxnResponse, changes_response,
};
use store_client::failure::{error_from, failure, invalid};
use store_client::{Cause, Error, Got, Group, Page, Range, Store, now_ms};
use store_core::{Entry, EntryKind, Position};
use store_db::changes::Feed;
use store_db::limits::STATE_MACHINE_VERSION;
use store_db::{Memory, Recent, Reply, Table, changes, query, state};
use tokio::sync::watch;

/// The one group.
const GROUP: Group = 1;
/// What requests are checked with.
const ROUTE: Route = Route::to(GROUP, 1);
/// Changes in one answer.
const FEED_ROWS_MAX: usize = 1_000;

/// What happens to one operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It is not executed: [`Error::Retry`].
    Refuse,
    /// It is not executed, and this stands in the way: [`Error::Retry`].
    InTheWay(Cause),
    /// It is executed, and its answer is lost: [`Error::Unknown`] (of a read: [`Error::Retry`]).
    LoseAnswer,
    /// It waits before it is executed, so that operations sent later may come first.
    DelayBefore(Duration),
    /// It is executed, and its answer comes late.
    DelayAfter(Duration),
}

/// Faults that strike at random.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Faults {
    /// Decides which operations are struck.
    pub seed: u64,
    /// Of a thousand operations, so many are refused.
    pub refuse_per_mille: u32,
    /// Of a thousand, so many lose their answer.
    pub lose_per_mille: u32,
    /// Of a thousand, so many wait before they are executed.
    pub reorder_per_mille: u32,
    /// Of a thousand, so many are answered late.
    pub delay_per_mille: u32,
    /// The longest wait.
    pub delay_ms_max: u64,
}

/// A store in memory; clones are handles of the same one.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    /// Shared by all handles.
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Which log it is: another one for each store.
    log_id: u64,
    /// The state machine's table.
    table: Memory,
    /// The last entry's position and timestamp: held while an entry is applied, never while waiting.
    last: Mutex<(Position, i64)>,
    /// The last applied offset, for who waits for changes.
    applied: watch::Sender<u64>,
    /// What is to go wrong.
    plan: Mutex<Plan>,
}

#[derive(Debug, Default)]
struct Plan {
    /// Faults for the next operations, in order; `None` lets one pass.
    next: std::collections::VecDeque<Option<Fault>>,
    /// Faults at random, when none is planned.
    random: Option<(fastrand::Rng, Faults)>,
    /// Every operation is refused.
    is_down: bool,
    /// Everything is refused, because this stands in the way.
    in_the_way: Option<Cause>,
}

impl Plan {
    fn strike(&mut self) -> Option<Fault> {
        if self.is_down {
            return Some(Fault::Refuse);
        }
        if let Some(cause) = self.in_the_way {
            return Some(Fault::InTheWay(cause));
        }
        if let Some(planned) = self.next.pop_front() {
            return planned;
        }
        let (random, faults) = self.random.as_mut()?;
        let drawn = random.u32(..1_000);
        let wait = Duration::from_millis(random.u64(..=faults.delay_ms_max));
        let kinds = [
            (faults.refuse_per_mille, Fault::Refuse),
            (faults.lose_per_mille, Fault::LoseAnswer),
            (faults.reorder_per_mille, Fault::DelayBefore(wait)),
            (faults.delay_per_mille, Fault::DelayAfter(wait)),
        ];
        let mut below = 0;
        kinds.into_iter().find_map(|(per_mille, fault)| {
            below += per_mille;
            (drawn < below).then_some(fault)
        })
    }
}

impl Default for MemoryStore {
    fn default() -> MemoryStore {
        MemoryStore::new()
    }
}

impl MemoryStore {
    /// An empty store without faults.
    #[must_use]
    pub fn new() -> MemoryStore {
        let inner = Inner {
            log_id: fastrand::u64(1..),
            table: Memory::new(),
            last: Mutex::new((Position::ZERO, 0)),
            applied: watch::Sender::new(0),
            plan: Mutex::default(),
        };
        MemoryStore { inner: Arc::new(inner) }
    }

    /// The same store with the last version of the state machine in force, as if a leader had raised it: transactions see times.
    ///
    /// # Panics
    /// Never: every table takes that entry.
    #[must_use]
    pub fn raised(self) -> MemoryStore {
        let kind = Kind::RaiseVersion(RaiseVersion { version: STATE_MACHINE_VERSION });
        self.inner.execute(kind).expect("every table takes that entry");
        self
    }

    /// An empty store in which faults strike at random.
    #[must_use]
    pub fn with_faults(faults: Faults) -> MemoryStore {
        let store = MemoryStore::new();
        store.set_faults(Some(faults));
        store
    }

    /// From now on faults strike at random, or no longer.
    pub fn set_faults(&self, faults: Option<Faults>) {
        let random = faults.map(|faults| (fastrand::Rng::with_seed(faults.seed), faults));
        self.inner.plan.lock().random = random;
    }

    /// Strikes the next operation for which nothing is planned yet; `None` lets it pass.
    pub fn plan(&self, fault: Option<Fault>) {
        self.inner.plan.lock().next.push_back(fault);
    }

    /// Planned faults that have yet to strike (or to pass).
    #[must_use]
    pub fn planned(&self) -> usize {
        self.inner.plan.lock().next.len()
    }

    /// Refuses everything, or no longer.
    pub fn set_down(&self, down: bool) {
        self.inner.plan.lock().is_down = down;
    }

    /// Something stands in the way of everything, or no longer.
    pub fn set_in_the_way(&self, cause: Option<Cause>) {
        self.inner.plan.lock().in_the_way = cause;
    }

    /// The last applied offset.
    #[must_use]
    pub fn applied(&self) -> u64 {
        *self.inner.applied.borrow()
    }

    /// Runs `work` as one operation, with whatever strikes it.
    async fn operation<T>(&self, work: impl FnOnce(&Inner) -> Result<T, Error> + Send) -> Result<T, Error> {
        let fault = self.inner.plan.lock().strike();
        match fault {
            Some(Fault::Refuse) => {
                return Err(Error::away("a planned fault refused it"));
            }
            Some(Fault::InTheWay(cause)) => {
                return Err(Error::Retry { cause, message: format!("a planned fault: {cause:?}") });
            }
            Some(Fault::DelayBefore(wait)) => tokio::time::sleep(wait).await,
            _ => {}
        }
        let done = work(&self.inner);
        match fault {
            Some(Fault::LoseAnswer) => {
                Err(Error::Unknown { message: "a planned fault lost the answer".to_owned() })
            }
            Some(Fault::DelayAfter(wait)) => {
                tokio::time::sleep(wait).await;
                done
            }
            _ => done,
        }
    }
}

impl Inner {
    /// Appends one command to the log that there is not, and applies it.
    fn execute(&self, kind: Kind) -> Result<Reply, Error> {
        let payload = Bytes::from(Command { kind: Some(kind) }.encode_to_vec());
        let mut last = self.last.lock();
        let position = Position::new(1, last.0.offset.0 + 1);
        let log_time_ms = last.1.max(now_ms());
        let entry = Entry { position, log_time_ms, kind: EntryKind::Command, payload };
        let mut replies = self
            .table
            .write(|write| store_db::apply(write, &mut Recent::default(), std::slice::from_ref(&entry)))
            .map_err(|error| failed(&error))?;
        *last = (position, log_time_ms);
        self.applied.send_replace(position.offset.0);
        replies.pop().ok_or_else(|| Error::Unknown { message: "an entry without a reply".to_owned() })
    }

    /// Reads one consistent view, if it is fresh enough.
    fn read<T>(
        &self,
        freshness: &Freshness,
        job: impl FnOnce(&<Memory as Table>::Read<'_>) -> Result<T, store_db::Error>,
    ) -> Result<(T, WirePosition), Error> {
        let read = self.table.read(|read| {
            let applied = state::applied(&state::read(read)?);
            if applied.offset < freshness.min_offset {
                return Ok(Err(applied.offset));
            }
            Ok(Ok((job(read)?, applied)))
        });
        read.map_err(|error| failed(&error))?.map_err(|applied| {
            let message =
                format!("is {}, but nothing beyond {applied} was ever acknowledged", freshness.min_offset);
            match freshness.is_stale() {
                true => Error::away(message),
                false => error_from(&invalid("freshness.min_offset", message)),
            }
        })
    }
}

/// The table in memory failed: nobody can say more.
fn failed(error: &store_db::Error) -> Error {
    Error::Unknown { message: error.to_string() }
}

fn checked(checked: Result<(), Violation>) -> Result<(), Error> {
    checked.map_err(|bad| error_from(&invalid(bad.field, bad.problem)))
}

fn unexpected(reply: Reply) -> Error {
    match reply {
        Reply::Refused(refused) => error_from(&failure(refused.reason, refused.message)),
        Reply::Locked(_) => error_from(&failure(FailureReason::Locked, "another transaction is in the way")),
        other => Error::Unknown { message: format!("an answer of another kind: {other:?}") },
    }
}

#[async_trait::async_trait]
impl Store for MemoryStore {
    fn group_of(&self, _key: &[u8]) -> Group {
        GROUP
    }

    fn groups(&self) -> Vec<Group> {
        vec![GROUP]
    }

    async fn get(&self, key: Bytes, freshness: Freshness) -> Result<Got, Error> {
        let request =
            proto::store::GetRequest { route: Some(ROUTE), key: key.clone(), freshness: Some(freshness) };
        checked(proto::check::get(&request))?;
        let read = self.operation(|inner| inner.read(&freshness, |read| query::get(read, &key))).await;
        let log_id = self.inner.log_id;
        read.map(|(record, applied)| Got { record, applied, log_id, pending: false }).map_err(Error::of_read)
    }

    async fn scan(
        &self,
        range: Range,
        limit: u32,
        after: Option<Bytes>,
        freshness: Freshness,
    ) -> Result<Page, Error> {
        let after = after.unwrap_or_default();
        let range: proto::store::scan_request::Range = range.into();
        checked(proto::check::scan(&ScanRequest {
            route: Some(ROUTE),
            limit,
            after: after.clone(),
            freshness: Some(freshness),
            range: Some(range.clone()),
        }))?;
        let scan = |inner: &Inner| inner.read(&freshness, |read| query::scan(read, &range, limit, &after));
        let ((records, next), applied) = self.operation(scan).await.map_err(Error::of_read)?;
        Ok(Page { records, next, applied: vec![(GROUP, applied)] })
    }

    async fn txn(&self, txn: Txn, identity: Option<Identity>) -> Result<TxnResponse, Error> {
        checked(proto::check::txn(&txn))?;
        checked(identity.as_ref().map_or(Ok(()), proto::check::identity))?;
        let command = Kind::Txn(TxnCommand { txn: Some(txn), identity, decide: None });
        match self.operation(|inner| inner.execute(command)).await? {
            Reply::Txn(response) => Ok(response),
            other => Err(unexpected(other)),
        }
    }

    async fn outcome(&self, tag: Bytes, identity: Identity) -> Result<OutcomeResponse, Error> {
        let request =
            OutcomeRequest { route: Some(ROUTE), tag: tag.clone(), identity: Some(identity.clone()) };
        checked(proto::check::outcome(&request))?;
        let command = Kind::Outcome(OutcomeCommand { tag, identity: Some(identity) });
        match self.operation(|inner| inner.execute(command)).await? {
            Reply::Outcome(response) => Ok(response),
            other => Err(unexpected(other)),
        }
    }

    async fn changes(
        &self,
        group: Group,
        from: u64,
    ) -> Result<BoxStream<'static, Result<ChangesResponse, Error>>, Error> {
        if group != GROUP {
            return Err(error_from(&invalid("route.group", format!("there is only group {GROUP}"))));
        }
        self.operation(|_| Ok(())).await.map_err(Error::of_read)?;
        let following =
            Following { store: self.clone(), seen: self.inner.applied.subscribe(), from: Some(from) };
        Ok(stream::unfold(following, |mut following| async move {
            let answer = following.next().await?;
            Some((answer, following))
        })
        .boxed())
    }
}

/// Somebody who reads the change feed.
struct Following {
    /// Keeps the store alive.
    store: MemoryStore,
    /// Wakes when an entry was applied.
    seen: watch::Receiver<u64>,
    /// Changes after this come next; `None`: the stream is over.
    from: Option<u64>,
}

impl Following {
    async fn next(&mut self) -> Option<Result<ChangesResponse, Error>> {
        loop {
            let from = self.from?;
            self.seen.mark_unchanged();
            let feed = self.store.inner.table.read(|read| changes::since(read, from, FEED_ROWS_MAX));
            let kind = match feed {
                Ok(Feed::Changes(batch)) => {
                    self.from = batch.up_to.map(|up_to| up_to.offset.max(from));
                    if batch.changes.is_empty() {
                        // The sender lives as long as the store that is held here.
                        self.seen.changed().await.ok()?;
                        continue;
                    }
                    changes_response::Kind::Changes(batch)
                }
                Ok(Feed::CompactedBefore(first)) => {
                    self.from = None;
                    changes_response::Kind::CompactedBefore(first)
                }
                Err(error) => {
                    self.from = None;
                    return Some(Err(failed(&error).of_read()));
                }
            };
            return Some(Ok(ChangesResponse { kind: Some(kind) }));
        }
    }
}
