//! The checks when the faults are over: the cluster answers and becomes one again within bounded time, and what
//! clients were told is what the store holds.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use portal::document::order::OrderRecord;
use portal::document::stock::StockRecord;
use proto::store::Record;
use proto::store::scan_request::Range;
use store_db::{Read as _, Space, Table as _, query};
use xxhash_rust::xxh3::Xxh3Default;

use store_core::{Checkpoint, Divergence};
use store_engine::{Job, RequestId};

use crate::driver::Driver;
use crate::feed;
use crate::history::{Action, Operation, Result};
use crate::holds;
use crate::oracle::check_stock;
use crate::registers::{list_prefix, value_of};
use crate::score::Score;
use crate::shop::Books;
use crate::table::{SimTable, versions};
use crate::time::{MS, Micros, SECOND};
use crate::unnamed;
use crate::violation::{ensure, violated};
use crate::world::World;

/// After the last fault an operation succeeds within this.
const ANSWER_US_MAX: Micros = 15 * SECOND;
/// And every client has got all its answers within this.
const CLIENTS_US_MAX: Micros = 120 * SECOND;
/// Between two looks whether they are.
const LOOK_US: Micros = 200 * MS;
/// After the last client's answer the replicas are equal within this.
const CONVERGE_US_MAX: Micros = 20 * SECOND;

impl World {
    /// Plays the whole run.
    pub(crate) fn play(&mut self) {
        while self.now.us() < self.plan.faults_until && self.step() {}
        self.heal();
        self.answer_again();
        let until = self.now.us() + CLIENTS_US_MAX;
        while self.clients_running() > 0 {
            ensure(self.now.us() < until && self.step(), "healing: every client is answered", || {
                format!("{} clients still wait; {}", self.clients_running(), self.standing())
            });
        }
        // A run lasts a minute at least, however quick its clients are.
        while self.now.us() < 60 * SECOND && self.step() {}
        self.converge();
        self.check();
    }

    fn answer_again(&mut self) {
        let (until, before) = (self.now.us() + ANSWER_US_MAX, self.score.borrow().succeeded);
        let mut next_look = until - ANSWER_US_MAX / 2;
        while self.clients_running() > 0 && self.score.borrow().succeeded == before {
            if self.now.us() >= next_look {
                // Two differ, and whoever could say which is right needs a snapshot, which nobody gives away until it is
                // said: an operator must decide, and if writes need them, too, nothing is answered before.
                self.resync_who_differs();
                next_look += LOOK_US;
            }
            ensure(self.now.us() < until && self.step(), "healing: the cluster answers", || self.standing());
        }
    }

    /// The members, if their folders are there.
    fn sound(&self) -> impl Iterator<Item = &Driver> {
        let membership = self.oracle.membership();
        self.drivers.iter().filter(|driver| driver.gone.is_none() && membership.contains(driver.member))
    }

    /// Where every node stands, for a report.
    pub(crate) fn standing(&self) -> String {
        let one = |driver: &Driver| match (driver.status(), &driver.gone) {
            (Some(status), _) => {
                let (role, epoch, last) = (status.role, status.epoch, status.last);
                let (committed, applied, maybe_lost_tail) =
                    (status.committed, status.applied.position, status.maybe_lost_tail);
                format!(
                    "{}: {role:?} {epoch} last {last} committed {committed} applied {applied} suspect {maybe_lost_tail} lack {:?} quarantine {:?} doubt {:?}",
                    status.node, status.shortage, status.quarantine, status.divergence
                )
            }
            (None, Some(why)) => format!("{}: gone: {why}", driver.member.node),
            (None, None) => format!("{}: down", driver.member.node),
        };
        let nodes = self.drivers.iter().map(one).collect::<Vec<_>>().join("; ");
        format!("{nodes}; at {}: {:?}", self.oracle.membership_at(), self.oracle.membership())
    }

    pub(crate) fn is_converged(&self) -> bool {
        let statuses: Option<Vec<_>> = self.sound().map(Driver::status).collect();
        let Some(statuses) = statuses else { return false };
        let Some(first) = statuses.first() else { return false };
        self.is_quiet()
            && statuses.len() == self.oracle.membership().members().len()
            && self.leader().is_some()
            && first.applied.position.offset == self.oracle.last_committed()
            && statuses
                .iter()
                .all(|s| s.last == first.last && s.applied == first.applied && s.quarantine.is_none())
            && first.applied.position == first.last
            && self.tables_differ().is_none()
    }

    /// If not all tables are equal: the node whose table was changed, or else one that differs from the first.
    fn tables_differ(&self) -> Option<usize> {
        let digests: Vec<(&Driver, u64)> =
            self.sound().map(|driver| (driver, digest(&driver.table))).collect();
        let (_, first) = digests.first()?;
        let differs = digests.iter().find(|(_, digest)| digest != first)?;
        let wrong = digests.iter().find(|(driver, _)| driver.wrong);
        Some(wrong.unwrap_or(differs).0.index)
    }

    /// Whether another member has another checkpoint at the same offset.
    fn is_told_by_hash(&self, index: usize) -> bool {
        let checkpoint = |driver: &Driver| driver.status().and_then(|status| status.checkpoint);
        let Some(own) = checkpoint(&self.drivers[index]) else { return false };
        let differs = |other: Checkpoint| other.position.offset == own.position.offset && other != own;
        self.sound().filter_map(checkpoint).any(differs)
    }

    /// What an operator does whose audit finds a record that differs where no hash has told: the record was not used
    /// since, or the log ends before the next checkpoint. The replica that differs takes its state from the leader.
    pub(crate) fn resync_who_differs(&mut self) {
        let statuses: Option<Vec<_>> = self.sound().map(Driver::status).collect();
        let at_rest = statuses.is_some_and(|all| {
            let first = all.first().map(|one| one.applied.position).unwrap_or_default();
            all.iter().all(|s| s.last == first && s.applied.position == first && s.quarantine.is_none())
        });
        let undecided = self
            .leader()
            .and_then(|leader| self.drivers[leader].status())
            .is_some_and(|s| s.divergence != Divergence::None);
        let differs = if at_rest { self.tables_differ() } else { None };
        // What a hash has told, the cluster mends by itself.
        let differs = differs.filter(|index| undecided || !self.is_told_by_hash(*index));
        // Or a leader says that two differ, and the third cannot say who is right, for it needs a snapshot itself; or it is
        // the leader who is wrong, and somebody waits for a snapshot that it does not give away here.
        let leader = self.leader();
        let stands_in_the_way =
            |driver: &&Driver| driver.wrong && (undecided || leader == Some(driver.index));
        let wrong = self.sound().find(stands_in_the_way).map(|driver| driver.index);
        // Or the one that differed has lost its folder since: a leader that has not heard it has nothing to doubt.
        let forgets = leader.filter(|_| undecided && self.sound().all(|driver| !driver.wrong));
        if let Some(leader) = forgets {
            self.tell(leader, Job::TransferLeadership { to: None });
            return;
        }
        let Some(index) = differs.or(wrong) else { return };
        ensure(self.drivers[index].wrong, "state-machine safety", || {
            format!("the table of node {} differs, and nobody changed it", index + 1)
        });
        let leads = leader == Some(index);
        let request_id = RequestId(u64::MAX);
        let job = if leads { Job::TransferLeadership { to: None } } else { Job::Resync { request_id } };
        self.tell(index, job);
    }

    fn tell(&mut self, index: usize, job: Job) {
        self.trace.say(self.now.us(), || format!("the operator tells node {}: {job:?}", index + 1));
        self.drivers[index].hear(job);
        self.schedule(index);
    }

    pub(crate) fn converge(&mut self) {
        let until = self.now.us() + CONVERGE_US_MAX;
        let mut next_look = self.now.us();
        loop {
            if self.now.us() >= next_look {
                if self.is_converged() {
                    return;
                }
                self.resync_who_differs();
                next_look = self.now.us() + LOOK_US;
            }
            ensure(self.now.us() < until && self.step(), "healing: the replicas become equal", || {
                self.standing()
            });
        }
    }

    pub(crate) fn check(&self) {
        let mut tables: Vec<(u64, &Driver)> =
            self.sound().map(|driver| (digest(&driver.table), driver)).collect();
        let (first, driver) = tables.remove(0);
        for (other, others) in tables {
            ensure(first == other, "state-machine safety", || {
                format!("the tables of {} and {} differ", driver.member.node, others.member.node)
            });
        }
        check_stock(driver.member.node, &driver.table);
        if self.place.is_some() {
            return;
        }
        check_orders(&[&driver.table], &self.books, &self.score);
        let (orders, events) = (versions(&driver.table, b"o/"), versions(&driver.table, b"f/"));
        self.score.borrow_mut().events += feed::check(&orders, &events, &self.heard.borrow());
        let notes = self.notes.borrow();
        for operation in notes.iter() {
            ensure(operation.result != Result::Unknown, "every unknown is settled", || {
                format!("{operation:?}")
            });
        }
        check_lists(&driver.table, &notes);
        let appended = records(&driver.table, unnamed::PREFIX).into_iter().map(|(_, data)| data);
        unnamed::check(appended, &self.unnamed.borrow());
        crate::linear::check(&notes);
    }
}

/// Exactly the orders in the shoppers' books are there, as they are there, and hold what stock says is held.
pub(crate) fn check_orders(tables: &[&SimTable], books: &Books, score: &RefCell<Score>) {
    let books = books.borrow();
    let orders = of_all(tables, b"o/");
    holds::check_rows(&orders, &of_all(tables, b"i/o/"));
    check_held(&orders, &of_all(tables, b"s/"));
    let mut seen = BTreeSet::new();
    for (key, record) in &orders {
        let order = order_of(key, record);
        let text = String::from_utf8_lossy(key).into_owned();
        let cid = text.trim_start_matches("o/{").split('}').next().unwrap_or_default().to_owned();
        let oid = text.rsplit('/').next().unwrap_or_default().to_owned();
        let known = books.get(&(cid.clone(), oid.clone()));
        let lines: BTreeMap<String, i64> =
            order.lines.iter().map(|line| (line.pid.clone(), line.quantity)).collect();
        let state = order.phase.shown();
        ensure(
            known.is_some_and(|known| known.lines == lines && holds::may_be(known, &order)),
            "nothing acknowledged is lost",
            || format!("order {oid} of {cid} is {state:?} {lines:?}; its shopper knows {known:?}"),
        );
        score.borrow_mut().expired += u64::from(holds::check(&oid, &order, known));
        seen.insert((cid, oid));
    }
    let missing = books.keys().find(|key| !seen.contains(*key));
    ensure(missing.is_none(), "nothing acknowledged is lost", || format!("order {missing:?} is not there"));
}

fn order_of(key: &Bytes, record: &Record) -> OrderRecord {
    let order = OrderRecord::read(key, record);
    order.unwrap_or_else(|error| violated("the shop understands what is stored", error.to_string()))
}

/// The stock of each product is held and sold as these orders say, which are all.
pub(crate) fn check_held(orders: &[(Bytes, Record)], stocks: &[(Bytes, Record)]) {
    let (mut held, mut sold) = (BTreeMap::<String, i64>::new(), BTreeMap::<String, i64>::new());
    for (key, record) in orders {
        let order = order_of(key, record);
        for line in &order.lines {
            if order.phase.holds() {
                *held.entry(line.pid.clone()).or_default() += line.taken();
            } else if order.phase.has_sold() {
                *sold.entry(line.pid.clone()).or_default() += line.taken();
            }
        }
    }
    for (key, record) in stocks {
        let stock = StockRecord::read(key, record);
        let stock =
            stock.unwrap_or_else(|error| violated("the shop understands what is stored", error.to_string()));
        let pid = portal::key::id_in(key).unwrap_or_default();
        let ordered = held.get(&pid).copied().unwrap_or(0);
        ensure(stock.held == ordered, "held is ordered", || {
            format!("{pid}: {stock:?}, orders hold {ordered}")
        });
        let sent = sold.get(&pid).copied().unwrap_or(0);
        ensure(stock.sold == sent, "sold is sent", || {
            format!("{pid}: {stock:?}, orders were sent with {sent}")
        });
    }
}

/// Records of all tables whose keys begin so.
fn of_all(tables: &[&SimTable], prefix: &'static [u8]) -> Vec<(Bytes, Record)> {
    tables.iter().flat_map(|table| versions(table, prefix)).collect()
}

/// Records whose keys begin so, without their versions.
fn records(table: &SimTable, prefix: &'static [u8]) -> Vec<(Bytes, Bytes)> {
    versions(table, prefix).into_iter().map(|(key, record)| (key, record.data)).collect()
}

/// One number over every row of a table.
fn digest(table: &SimTable) -> u64 {
    let mut hash = Xxh3Default::new();
    let walked = table.read(|read| {
        for space in Space::ALL {
            read.walk(space, b"", &mut |key, value| {
                hash.update(&(key.len() as u64).to_le_bytes());
                hash.update(key);
                hash.update(value);
                Ok(true)
            })?;
        }
        Ok(())
    });
    walked.expect("a table in memory can be read");
    hash.digest()
}

/// Each list holds what was acknowledged, once, nothing that was refused, and each session's values in its order.
fn check_lists(table: &SimTable, notes: &[Operation]) {
    let lists: BTreeSet<u32> =
        notes.iter().filter(|note| matches!(note.action, Action::Append(_))).map(|note| note.key).collect();
    for list in lists {
        let prefix = list_prefix(list);
        let range = Range::Prefix(prefix);
        let page = table.read(|read| query::scan(read, &range, 1_000, b""));
        let (found, _) = page.expect("a table in memory can be read");
        let values: Vec<u64> = found.iter().filter_map(|found| found.record.as_ref()).map(value_of).collect();
        let places: BTreeMap<u64, usize> =
            values.iter().enumerate().map(|(place, value)| (*value, place)).collect();
        ensure(places.len() == values.len(), "nothing is applied twice", || {
            format!("list {list}: {values:?}")
        });
        let mut last: BTreeMap<u32, (&Operation, usize)> = BTreeMap::new();
        for note in notes.iter().filter(|note| note.key == list) {
            let Action::Append(value) = note.action else { continue };
            let place = places.get(&value).copied();
            let done = matches!(note.result, Result::Done(_));
            ensure(!done || place.is_some(), "nothing acknowledged is lost", || format!("{note:?}"));
            ensure(done || place.is_none(), "nothing refused happens", || format!("{note:?}"));
            let Some(place) = place else { continue };
            if let Some((before, at)) = last.insert(note.session, (note, place)) {
                // One whose answer was given up may come late: of it nothing was promised any more.
                ensure(at < place || before.was_given_up, "session guarantees", || {
                    format!("{note:?} stands before {before:?}")
                });
            }
        }
    }
}
