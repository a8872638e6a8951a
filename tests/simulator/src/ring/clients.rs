//! Clients of a ring: transactions over records of several groups, transfers between accounts, and reads.
//!
//! Each writes down what it was told; a transaction whose fate it does not know it asks for until it is told, so that in the end every
//! one is known. The notes are judged in `judge`.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;
use std::rc::Rc;

use bytes::Bytes;
use feira_lincheck::{Access, Transaction};
use prost::Message as _;
use proto::hash::ring_hash;
use proto::store::{Freshness, Identity, Record, Txn, TxnResponse};
use store_client::{Error, Sharded, Store as _};

use crate::handle::SimStore;
use crate::outcomes;
use crate::registers::value_of;
use crate::tasks::Sleeper;
use crate::time::{MS, Micros, SECOND};
use crate::violation::{ensure, violated};

/// Records that are put and read.
pub(super) const RECORDS: u32 = 7;
/// Accounts, between which is transferred.
pub(super) const ACCOUNTS: u32 = 5;
/// What is in each at the beginning.
pub(super) const BALANCE: i64 = 60;
/// Records of one transaction.
const ACCESSES_MAX: usize = 4;
/// Those who act at the same time do it within this.
const TOGETHER_US: Micros = 3 * MS;

/// What happened, counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RingScore {
    /// Transactions that were done, over one group.
    pub within_one: u64,
    /// The same, over several.
    pub across: u64,
    /// Transactions that were refused because a balance is too small.
    pub refused: u64,
    /// Transactions that were not executed, for locks, leaders or clocks.
    pub not_executed: u64,
    /// Transactions whose answers were lost.
    pub lost: u64,
    /// Of those, such as had been done.
    pub lost_and_done: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Cuts of all groups.
    pub cuts: u64,
}

impl AddAssign for RingScore {
    fn add_assign(&mut self, other: RingScore) {
        let RingScore { within_one, across, refused, not_executed, lost, lost_and_done, reads, cuts } = other;
        self.within_one += within_one;
        self.across += across;
        self.refused += refused;
        self.not_executed += not_executed;
        self.lost += lost;
        self.lost_and_done += lost_and_done;
        self.reads += reads;
        self.cuts += cuts;
    }
}

/// What all clients write down.
#[derive(Default)]
pub(super) struct RingNotes {
    pub(super) history: Vec<Transaction>,
    /// What was transferred, by account.
    pub(super) moved: BTreeMap<u32, i64>,
    pub(super) score: RingScore,
}

/// A client.
#[derive(Clone)]
pub(super) struct RingClient {
    pub(super) number: u32,
    pub(super) store: Sharded<SimStore>,
    pub(super) sleeper: Sleeper,
    pub(super) random: fastrand::Rng,
    pub(super) notes: Rc<RefCell<RingNotes>>,
    /// The accounts are there.
    pub(super) is_open: Rc<Cell<bool>>,
}

pub(super) fn record_of(record: u32) -> Bytes {
    Bytes::from(format!("x/{{{record}}}"))
}

pub(super) fn account_key(account: u32) -> Bytes {
    Bytes::from(format!("a/{{{account}}}"))
}

/// The balance in a record of an account.
pub(super) fn balance(record: Option<&Record>) -> i64 {
    let value: Option<serde_json::Value> =
        record.and_then(|record| serde_json::from_slice(&record.data).ok());
    let number = value.as_ref().and_then(|value| value.get("n")?.as_i64());
    number.unwrap_or_else(|| violated("nothing acknowledged is lost", format!("an account is {value:?}")))
}

pub(super) fn access(record: u32, found: Option<&Record>) -> Access {
    Access { record, version: found.map_or(0, |one| one.version), value: found.map_or(0, value_of) }
}

/// An answer has a result for each operation.
fn ensure_whole(done: &TxnResponse, operations: usize) {
    ensure(done.results.len() == operations, "an answer is whole", || {
        format!("{} results of {operations}: {done:?}", done.results.len())
    });
}

impl RingClient {
    /// Opens the accounts.
    pub(super) async fn found(mut self) {
        for account in 0..ACCOUNTS {
            let key = account_key(account);
            loop {
                let txn =
                    Txn::new().guard_absent(key.clone()).put(key.clone(), 1, format!("{{\"n\":{BALANCE}}}"));
                if let Some(done) = self.settled(txn).await {
                    if !done.success {
                        violated("nothing is applied twice", format!("account {account} was there"));
                    }
                    break;
                }
                self.pause(100).await;
            }
        }
        self.is_open.set(true);
    }

    /// So many operations, spread over the time until `until`.
    pub(super) async fn run(mut self, operations: u32, until: Micros) {
        while !self.is_open.get() {
            self.pause(50).await;
        }
        let pace = (until - SECOND) / u64::from(operations);
        for number in 0..operations {
            // Half of what is done everybody does at the same time, so that transactions are in each other's way.
            let within = if number % 2 == 0 { TOGETHER_US } else { pace };
            let at = SECOND + pace * u64::from(number) + self.random.u64(..within.max(1));
            self.sleeper.until(at).await;
            match self.random.u32(..100) {
                0..50 => self.several().await,
                50..75 => self.transfer().await,
                75..90 => self.read().await,
                _ => self.sum().await,
            }
        }
    }

    async fn pause(&mut self, ms: u64) {
        let at = self.sleeper.now.us() + self.random.u64(ms / 2..ms) * MS;
        self.sleeper.until(at).await;
    }

    fn some(&mut self, of: u32, count: usize) -> Vec<u32> {
        let mut all: Vec<u32> = (0..of).collect();
        self.random.shuffle(&mut all);
        all.truncate(count);
        all
    }

    /// Puts some records and reads others, in one transaction.
    async fn several(&mut self) {
        let count = self.random.usize(1..=ACCESSES_MAX);
        let records = self.some(RECORDS, count);
        let mut txn = Txn::new();
        let mut writes = BTreeMap::new();
        for record in &records {
            let key = record_of(*record);
            if self.random.bool() {
                let value = self.sleeper.now.us() * 64 + u64::from(self.number);
                writes.insert(*record, value);
                txn = txn.put(key, 1, format!("{value}|"));
            } else {
                txn = txn.get(key);
            }
        }
        let called = self.sleeper.now.us();
        let Some(done) = self.settled(txn).await else { return };
        ensure_whole(&done, records.len());
        let mut one = Transaction { called, returned: Some(self.sleeper.now.us()), ..Transaction::default() };
        for (record, touched) in records.iter().zip(&done.results) {
            let found = access(*record, touched.record.as_ref());
            match writes.get(record) {
                Some(value) => one.writes.push(Access { value: *value, ..found }),
                None => one.reads.push(found),
            }
        }
        self.notes.borrow_mut().history.push(one);
    }

    /// Moves something from one account to another, if it is there.
    async fn transfer(&mut self) {
        let [mut from, mut to] = self.some(ACCOUNTS, 2)[..] else { unreachable!("two of them") };
        // Everybody takes from the first one, which is soon empty.
        if to == 0 && self.random.u32(..3) > 0 {
            std::mem::swap(&mut from, &mut to);
        }
        let amount = self.random.i64(1..60);
        let txn = Txn::new().add(account_key(from), 1, "/n", -amount, Some(0)).add(
            account_key(to),
            1,
            "/n",
            amount,
            None,
        );
        let Some(done) = self.settled(txn).await else { return };
        let mut notes = self.notes.borrow_mut();
        if done.success {
            *notes.moved.entry(from).or_default() -= amount;
            *notes.moved.entry(to).or_default() += amount;
        } else {
            notes.score.refused += 1;
        }
    }

    /// All accounts in one picture.
    async fn sum(&mut self) {
        let txn = (0..ACCOUNTS).fold(Txn::new(), |txn, account| txn.get(account_key(account)));
        let Some(done) = self.settled(txn).await else { return };
        if !done.success {
            violated("a refusal is true", "what only looks was refused".to_owned());
        }
        ensure_whole(&done, ACCOUNTS as usize);
        let balances: Vec<i64> =
            done.results.iter().map(|touched| balance(touched.record.as_ref())).collect();
        if balances.iter().sum::<i64>() != i64::from(ACCOUNTS) * BALANCE {
            violated("transfers conserve the sum", format!("{balances:?} at once"));
        }
        if balances.iter().any(|one| *one < 0) {
            violated("no balance is under its minimum", format!("{balances:?}"));
        }
    }

    /// One record.
    async fn read(&mut self) {
        let (record, called) = (self.random.u32(..RECORDS), self.sleeper.now.us());
        let Ok(got) = self.store.get(record_of(record), Freshness::linearizable()).await else { return };
        let reads = vec![access(record, got.record.as_ref())];
        let returned = Some(self.sleeper.now.us());
        let mut notes = self.notes.borrow_mut();
        notes.score.reads += 1;
        notes.history.push(Transaction { called, returned, reads, writes: Vec::new() });
    }

    /// Carries a transaction out, until its fate is known. `None`: it never happened, and never will.
    async fn settled(&mut self, txn: Txn) -> Option<TxnResponse> {
        let tag = txn.tag().cloned().unwrap_or_default();
        let digest = proto::hash::digest(&[&txn.encode_to_vec()]);
        let made_ms = self.sleeper.now.wall_ms();
        let id = format!("client-{}-{}", self.number, self.random.u64(..));
        let identity = Identity::user(id, made_ms, 1, digest);
        let ring = self.store.ring();
        let groups: BTreeSet<usize> = txn.keys().map(|key| ring.owner(ring_hash(key))).collect();
        let answer = match self.store.txn(txn, Some(identity.clone())).await {
            Ok(response) => Some(response),
            Err(Error::Unknown { .. }) => {
                self.notes.borrow_mut().score.lost += 1;
                let settled = outcomes::settled(&self.store, &self.sleeper, tag, identity).await;
                self.notes.borrow_mut().score.lost_and_done += u64::from(settled.is_some());
                settled
            }
            Err(_) => None,
        };
        let score = &mut self.notes.borrow_mut().score;
        match &answer {
            None => score.not_executed += 1,
            Some(done) if done.success && groups.len() > 1 => score.across += 1,
            Some(done) if done.success => score.within_one += 1,
            Some(_) => {}
        }
        answer
    }
}
