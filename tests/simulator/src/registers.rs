//! Clients that work on registers and append-only lists through sessions: several operations on their way at once,
//! each named by (session, sequence), each settled by `Outcome` if its answer was lost.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use prost::Message as _;
use proto::store::{
    DeleteRequest, Freshness, Identity, Record, SetRequest, TestAndSetRequest, Txn, TxnResponse,
};
use proto::write;
use store_client::{Error, Range, Store as _};

use crate::handle::SimStore;
use crate::history::{Action, History, Operation, Result};
use crate::outcomes;
use crate::score::Score;
use crate::tasks::Sleeper;
use crate::time::Micros;
use crate::violation::ensure;

/// Registers and lists that all clients share.
pub(crate) const REGISTERS: u32 = 5;
const LISTS: u32 = 2;
/// Operations of one session on their way at once.
const IN_FLIGHT_MAX: usize = 4;

/// What all these clients write down.
pub(crate) type Notes = Rc<RefCell<History>>;

/// One client.
pub(crate) struct Writer {
    pub(crate) session: u32,
    pub(crate) store: SimStore,
    pub(crate) sleeper: Sleeper,
    pub(crate) random: fastrand::Rng,
    pub(crate) notes: Notes,
    pub(crate) score: Rc<RefCell<Score>>,
}

/// The numbers of one session.
#[derive(Default)]
struct Sequences {
    last: u64,
    open: BTreeSet<u64>,
}

type Shared = Rc<RefCell<Sequences>>;

/// One operation on its way.
struct Going {
    store: SimStore,
    sleeper: Sleeper,
    notes: Notes,
    score: Rc<RefCell<Score>>,
    /// Where it stands in the notes.
    at: usize,
    sequences: Shared,
    /// Versions last seen, by register.
    versions: Rc<RefCell<Vec<u64>>>,
}

pub(crate) fn list_prefix(list: u32) -> Bytes {
    Bytes::from(format!("l/{{{list}}}/"))
}

pub(crate) fn register(key: u32) -> Bytes {
    Bytes::from(format!("r/{{{key}}}"))
}

pub(crate) fn value_of(record: &Record) -> u64 {
    let text = std::str::from_utf8(&record.data).unwrap_or_default();
    text.split('|').next().and_then(|number| number.parse().ok()).unwrap_or(u64::MAX)
}

/// The bytes of a value: its number, and some more, so that records are of many sizes.
fn data(value: u64) -> Bytes {
    Bytes::from(format!("{value}|{}", "v".repeat(usize::try_from(value % 97).unwrap_or(0) * 4)))
}

impl Writer {
    /// Carries out so many operations, spread over the time until `until`.
    pub(crate) async fn run(mut self, operations: u32, until: Micros) {
        let sequences = Shared::default();
        let versions = Rc::new(RefCell::new(vec![0; REGISTERS as usize]));
        let mut going: FuturesUnordered<Pin<Box<dyn Future<Output = ()>>>> = FuturesUnordered::new();
        let pace = until / u64::from(operations);
        for number in 0..operations {
            let at = pace * u64::from(number) + self.random.u64(..pace.max(1));
            self.sleeper.until(at).await;
            while going.len() >= IN_FLIGHT_MAX {
                going.next().await;
            }
            let mut operation = self.next_operation(number, &sequences, &versions);
            // The first poll takes the operation's place in the session.
            if futures::poll!(&mut operation).is_pending() {
                going.push(operation);
            }
        }
        while going.next().await.is_some() {}
    }

    fn next_operation(
        &mut self,
        number: u32,
        sequences: &Shared,
        versions: &Rc<RefCell<Vec<u64>>>,
    ) -> Pin<Box<dyn Future<Output = ()>>> {
        let value = u64::from(self.session) * 1_000_000 + u64::from(number);
        let key = self.random.u32(..REGISTERS);
        let list = REGISTERS + self.random.u32(..LISTS);
        let (key, action) = match self.random.u32(..100) {
            0..30 => (key, Action::Read),
            30..45 => (key, Action::Create(value)),
            // Versions begin at 1: of a register that is not there any is another.
            45..70 => (key, Action::Replace(versions.borrow()[key as usize].max(1), value)),
            70..76 => (key, Action::Delete),
            76..95 => (list, Action::Append(value)),
            _ => (list, Action::List),
        };
        let through_log = self.random.u32(..3) == 0;
        let mut notes = self.notes.borrow_mut();
        notes.push(Operation {
            session: self.session,
            sequence: 0,
            key,
            action: action.clone(),
            asked_at: self.sleeper.now.us(),
            answered_at: None,
            result: Result::Unknown,
            was_given_up: false,
        });
        self.score.borrow_mut().asked += 1;
        let going = Going {
            store: self.store.clone(),
            sleeper: self.sleeper.clone(),
            notes: Rc::clone(&self.notes),
            score: Rc::clone(&self.score),
            at: notes.len() - 1,
            sequences: Rc::clone(sequences),
            versions: Rc::clone(versions),
        };
        let session = self.session;
        Box::pin(async move {
            match action {
                Action::Read if through_log => {
                    going.write(session, key, &action, Txn::new().get(register(key))).await;
                }
                Action::Read => going.read(key).await,
                Action::List => going.list(key).await,
                _ => {
                    let txn = transaction(key, &action);
                    going.write(session, key, &action, txn).await;
                }
            }
        })
    }
}

fn transaction(key: u32, action: &Action) -> Txn {
    let timestamp_ms = 1;
    match action {
        Action::Create(value) => write::set(&SetRequest {
            key: register(key),
            timestamp_ms,
            data: data(*value),
            ..SetRequest::default()
        }),
        Action::Replace(version, value) => write::test_and_set(&TestAndSetRequest {
            key: register(key),
            timestamp_ms,
            data: data(*value),
            version: *version,
            ..TestAndSetRequest::default()
        }),
        Action::Delete => write::delete(&DeleteRequest { key: register(key), ..DeleteRequest::default() }),
        Action::Append(value) => Txn::new().append(list_prefix(key), timestamp_ms, data(*value), Vec::new()),
        Action::Read | Action::List => unreachable!("a read is no change"),
    }
}

impl Going {
    fn note(&self, result: Result) {
        let mut notes = self.notes.borrow_mut();
        let operation = &mut notes[self.at];
        let mut score = self.score.borrow_mut();
        match &result {
            Result::Unknown => score.unknown += 1,
            Result::Never => score.failed += 1,
            _ => score.succeeded += 1,
        }
        if result != Result::Unknown {
            operation.answered_at = Some(self.sleeper.now.us());
        }
        operation.result = result;
    }

    async fn read(&self, key: u32) {
        match self.store.get(register(key), Freshness::linearizable()).await {
            Ok(got) => {
                self.see(key, got.record.as_ref());
                self.note(Result::Value(got.record.as_ref().map(value_of)));
            }
            Err(_) => self.note(Result::Never),
        }
    }

    async fn list(&self, key: u32) {
        let range = Range::Prefix(list_prefix(key));
        match self.store.scan(range, 1_000, None, Freshness::linearizable()).await {
            Ok(page) => {
                assert!(page.next.is_none(), "a list fits in one page");
                let records = page.records.iter().filter_map(|found| found.record.as_ref());
                self.note(Result::Values(records.map(value_of).collect()));
            }
            Err(_) => self.note(Result::Never),
        }
    }

    fn see(&self, key: u32, record: Option<&Record>) {
        self.versions.borrow_mut()[key as usize] = record.map_or(0, |record| record.version);
    }

    async fn write(&self, session: u32, key: u32, action: &Action, txn: Txn) {
        let (tag, identity) = self.identity(session, &txn);
        let sequence = self.notes.borrow()[self.at].sequence;
        let answer = self.store.txn(txn, Some(identity.clone())).await;
        let answer = match answer {
            Err(Error::Unknown { .. }) => {
                self.notes.borrow_mut()[self.at].was_given_up = true;
                self.score.borrow_mut().lost += 1;
                self.settle(tag, identity).await
            }
            Ok(response) => Some(response),
            Err(_) => None,
        };
        self.sequences.borrow_mut().open.remove(&sequence);
        match answer {
            None => self.note(Result::Never),
            Some(response) => self.note(self.seen(key, action, &response)),
        }
    }

    /// Takes the next number of the session; or, one time in three, an id of its own, as a portal's requests have.
    fn identity(&self, session: u32, txn: &Txn) -> (Bytes, Identity) {
        let digest = proto::hash::digest(&[&txn.encode_to_vec()]);
        let tag = txn.tag().cloned().unwrap_or_default();
        let created_ms = crate::time::WALL_MS_FIRST;
        if self.at.is_multiple_of(3) {
            let id = format!("writer-{session}-{}", self.at);
            // A leader whose clock was set back refuses it.
            let created_ms = self.sleeper.now.wall_ms();
            return (tag, Identity::user(id, created_ms, 1, digest));
        }
        let mut sequences = self.sequences.borrow_mut();
        sequences.last += 1;
        let sequence = sequences.last;
        sequences.open.insert(sequence);
        self.notes.borrow_mut()[self.at].sequence = sequence;
        let lowest = *sequences.open.first().expect("it was just put in");
        let mut id = [7; 16];
        id[..4].copy_from_slice(&session.to_be_bytes());
        (tag, Identity::session(id, created_ms, sequence, lowest, 1, digest))
    }

    /// Asks for an outcome until somebody can tell; `None`: it never happened and never will.
    async fn settle(&self, tag: Bytes, identity: Identity) -> Option<TxnResponse> {
        let settled = outcomes::settled(&self.store, &self.sleeper, tag, identity).await;
        self.score.borrow_mut().settled += 1;
        settled
    }

    /// What an answer says of a register or list.
    fn seen(&self, key: u32, action: &Action, response: &TxnResponse) -> Result {
        let first = response.results.first().and_then(|touched| touched.record.as_ref());
        match action {
            Action::Read => {
                self.see(key, first);
                Result::Value(first.map(value_of))
            }
            _ if !response.success => {
                let there = response.failed.first().and_then(|failed| failed.record.clone());
                self.see(key, there.as_ref());
                Result::Refused(there.as_ref().map(value_of))
            }
            Action::Replace(version, _) => {
                let found = first.map(|record| record.version);
                ensure(found == Some(*version), "guards hold", || {
                    format!("{action:?} of register {key} was done on version {found:?}")
                });
                Result::Done(first.map(value_of))
            }
            Action::Create(_) | Action::Append(_) => Result::Done(None),
            Action::Delete => Result::Done(first.map(value_of)),
            Action::List => unreachable!("a list is read by a scan"),
        }
    }
}
