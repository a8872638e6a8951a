//! The bus, and portals whose caches it keeps coherent: changes and freshness heartbeats come from whoever leads
//! ([`crate::publishing`]), and are lost, doubled, delayed for seconds and handed over in another order; the broker goes away;
//! connections break, and messages of the one before come on the next. Samplers read through the caches all the time.
//!
//! Judged: *lease bounds staleness*. A hit shows no record as it was before a change that was acknowledged, by any node to
//! anybody, longer ago than the hit says to be old, which is a lease at most; what is not a hit misses nothing that was
//! acknowledged before it was asked for.
//!
//! Leaves out: MQTT, and proofs (a message is the cluster's own).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use portal::Portal;
use portal::cache::Seen;
use portal::coherence::Input;
use proto::store::pipeline_response::Response;
use proto::store::{Freshness, Identity, PipelineResponse, Position, Txn};
use store_client::Store as _;
use store_db::Table as _;
use store_db::changes::{Feed, since};

use crate::handle::SimStore;
use crate::publisher::Publisher;
use crate::registers::{REGISTERS, register};
use crate::score::Score;
use crate::shop::{PRODUCTS, pid};
use crate::table::SimTable;
use crate::tasks::Sleeper;
use crate::time::{MS, Micros};
use crate::violation::ensure;

/// L of these portals.
pub(crate) const LEASE_MS: u64 = 1_000;
/// tokio's clock, by which portals count, is turned this often: it lags behind by so much.
const CLOCK_LAG_US: Micros = 12 * MS;
/// A read of the store is joined so long after it began.
const JOIN_US: Micros = 100 * MS;
/// After a barrier read failed.
const BARRIER_PAUSE_US: Micros = 100 * MS;
pub(crate) const GROUP: u64 = 1;
/// Records that change seldom.
pub(crate) const QUIET: u32 = 16;

/// Inputs that tasks have for the portals' state machines.
pub(crate) type Mailbox = Rc<RefCell<Vec<(usize, Input)>>>;

/// The bus of one run.
pub(crate) struct Bus {
    pub(crate) publishers: Vec<Publisher>,
    pub(crate) portals: Vec<CachedPortal>,
    /// The broker is there.
    pub(crate) is_up: bool,
    sessions: u64,
    /// Gaps of which a portal fetched what it had missed.
    pub(crate) repairs: u64,
    pub(crate) mailbox: Mailbox,
    pub(crate) ledger: Rc<RefCell<Ledger>>,
}

pub(crate) struct CachedPortal {
    pub(crate) portal: Arc<Portal>,
    /// Until then it gets its messages late, one after the other.
    pub(crate) slow_until: Micros,
    /// Until then messages on their way to it are lost, doubled and late now and then.
    pub(crate) rough_until: Micros,
    /// When the last message came, or will.
    pub(crate) last_there: Micros,
    pub(crate) is_connected: bool,
    /// The broker has the subscription of this connection.
    pub(crate) is_subscribed: bool,
    /// Connections so far.
    pub(crate) connections: u64,
}

/// When changes were acknowledged first, by key and offset.
#[derive(Debug, Default)]
pub(crate) struct Ledger(BTreeMap<Bytes, BTreeMap<u64, Micros>>);

impl Ledger {
    /// A node says that a write was done; what it changed is in the node's change feed.
    pub(crate) fn note(&mut self, answer: &PipelineResponse, table: &SimTable, now: Micros) {
        let Some(Response::Txn(txn)) = &answer.response else { return };
        let Some(position) = txn.position.filter(|_| txn.success) else { return };
        let feed = table.read(|read| since(read, position.offset - 1, 1));
        let Feed::Changes(batch) = feed.expect("a table in memory can be read") else { return };
        for change in batch.changes.into_iter().filter(|change| change.offset == position.offset) {
            for key in change.keys {
                self.0.entry(key).or_default().entry(position.offset).or_insert(now);
            }
        }
    }

    /// What a portal shows is not as it was before a change that was acknowledged before `since`.
    fn check(&self, key: &Bytes, seen: &Seen, since: Micros, now: Micros) {
        let shown = seen.record.as_ref().and_then(|record| record.position).map_or(seen.at, |at| at.offset);
        let Some(changes) = self.0.get(key) else { return };
        let missed = changes.range(shown + 1..).find(|(_, acked)| **acked < since);
        ensure(missed.is_none(), "lease bounds staleness", || {
            format!(
                "{key:?} is shown as of {shown} ({seen:?}); the change at (offset, acknowledged at) {missed:?} is missing at {now}"
            )
        });
    }
}

impl Bus {
    pub(crate) fn new(nodes: usize) -> Bus {
        Bus {
            publishers: (0..nodes).map(|_| Publisher::default()).collect(),
            portals: Vec::new(),
            is_up: true,
            sessions: 0,
            repairs: 0,
            mailbox: Mailbox::default(),
            ledger: Rc::default(),
        }
    }

    pub(crate) fn next_session(&mut self) -> u64 {
        self.sessions += 1;
        self.sessions
    }

    /// The score, with what the caches did.
    pub(crate) fn counted(&self, score: Score) -> Score {
        let statuses = self.portals.iter().map(|one| one.portal.status());
        let score = Score { repairs: self.repairs, ..score };
        statuses.fold(score, |score, one| Score {
            hits: score.hits + one.hits,
            misses: score.misses + one.misses,
            bypasses: score.bypasses + one.bypasses,
            gaps: score.gaps + one.gaps,
            ..score
        })
    }
}

/// Reads the store, to know where the log is.
pub(crate) async fn read_barrier(
    portal: usize,
    of: Arc<Portal>,
    number: u64,
    mailbox: Mailbox,
    sleeper: Sleeper,
) {
    let started_ms = of.now_ms();
    let got = of.store().get(Bytes::from_static(b"barrier/{0}"), Freshness::linearizable()).await;
    let input = match got {
        Ok(got) => {
            let (Position { epoch, offset }, log_id) = (got.applied, got.log_id);
            Input::Barrier { number, started_ms, offset, epoch, log_id }
        }
        Err(_) => {
            sleeper.until(sleeper.now.us() + BARRIER_PAUSE_US).await;
            Input::BarrierFailed { number }
        }
    };
    mailbox.borrow_mut().push((portal, input));
}

/// A record that changes seldom.
pub(crate) fn quiet(number: u32) -> Bytes {
    Bytes::from(format!("q/{{{number}}}"))
}

/// Changes records that stay in caches for a while, until `until`.
pub(crate) async fn change(store: SimStore, sleeper: Sleeper, mut random: fastrand::Rng, until: Micros) {
    while sleeper.now.us() < until {
        sleeper.until(sleeper.now.us() + random.u64(20..300) * MS).await;
        let key = quiet(random.u32(..QUIET));
        let txn = match random.u32(..8) {
            0 => Txn::new().delete(key),
            _ => Txn::new().put(key, 1, sleeper.now.us().to_string()),
        };
        // What became of it is seen where its answer leaves the node.
        let _ = store.txn(txn, None::<Identity>).await;
    }
}

/// Reads one record after another through a portal until `until`.
pub(crate) async fn sample(
    portal: Arc<Portal>,
    ledger: Rc<RefCell<Ledger>>,
    sleeper: Sleeper,
    mut random: fastrand::Rng,
    until: Micros,
) {
    while sleeper.now.us() < until {
        sleeper.until(sleeper.now.us() + random.u64(5..60) * MS).await;
        let key = match random.u32(..8) {
            0..2 => register(random.u32(..REGISTERS)),
            2..4 => Bytes::from(format!("s/{{{}}}", pid(random.usize(..PRODUCTS)))),
            _ => quiet(random.u32(..QUIET)),
        };
        let asked = sleeper.now.us();
        if let Ok(seen) = portal.read(&key).await {
            let now = sleeper.now.us();
            ensure(seen.age_ms <= LEASE_MS, "lease bounds staleness", || {
                format!("a hit is {} ms old", seen.age_ms)
            });
            // A read of the store may have been joined that had begun before.
            let since =
                if seen.hit { now.saturating_sub(seen.age_ms * MS) } else { asked.saturating_sub(JOIN_US) };
            ledger.borrow().check(&key, &seen, since.saturating_sub(CLOCK_LAG_US), now);
        }
    }
}
