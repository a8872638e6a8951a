//! A write of one order, from its first try to its answer: the shared part of creating, modifying, confirming and cancelling,
//! by its client and by staff.

use std::collections::HashMap;

use bytes::Bytes;
use futures::StreamExt;
use proto::portal::Order;
use proto::store::{Record, Txn};

use crate::attempt::{Attempts, Request, shown};
use crate::change::{Change, Demand, Demands, Known, KnownProduct, Products, RequestedLine};
use crate::document::client::ClientRecord;
use crate::document::extra::ExtraChange;
use crate::document::order::{OrderRecord, Phase};
use crate::document::order_move::Move;
use crate::document::product::ProductRecord;
use crate::document::staff_note::StaffReason;
use crate::document::stock::StockRecord;
use crate::error::{Error, Kind, Short};
use crate::expectation::Expectation;
use crate::handle::Portal;
use crate::id::{Cid, Oid, Pid, plain};
use crate::key;
use crate::limits::{ID_BYTES_MAX, READS_PARALLEL};
use crate::order_refusal::{Refused, evaluate};
use crate::stock_completion::lacks_sold;

/// Which client an order request is by, and which order it means.
#[derive(Clone, Debug)]
pub struct Named {
    /// The client.
    pub cid: Cid,
    /// The order; it is this client's.
    pub oid: Oid,
}

/// A change of an order that is asked for.
#[derive(Debug)]
pub struct OrderChange {
    /// Of which order.
    pub named: Named,
    /// The request's identity.
    pub request: Request,
    /// The version that the order must be; 0: any.
    pub if_match: u64,
    /// Why staff ask for it; `None`: its client does.
    pub staff: Option<StaffReason>,
}

impl Portal {
    /// The client of a request.
    ///
    /// # Errors
    /// INVALID_ARGUMENT; UNAUTHENTICATED: not registered, which was checked at the store; UNAVAILABLE.
    pub async fn registered(&self, cid: &str) -> Result<Cid, Error> {
        let cid = self.cid("cid", cid).await?;
        let at = key::client(&cid);
        let registers = |record: &Option<Record>| {
            record.as_ref().is_some_and(|record| ClientRecord::registers(&at, record))
        };
        let seen = self.read_verifying_absence(&at).await?;
        // A client who was removed may have been seen in the cache: that is an absence as any other.
        if registers(&seen.record) || (seen.hit && registers(&self.read_through(&at).await?.record)) {
            return Ok(cid);
        }
        Err(Error::UnknownClient { cid: cid.to_string() })
    }

    /// The client and the order of a request. That the client is registered is only checked before a refusal: the
    /// transaction, or the read, that follows checks it anyway.
    ///
    /// # Errors
    /// INVALID_ARGUMENT, UNAUTHENTICATED, PERMISSION_DENIED, NOT_FOUND, UNAVAILABLE.
    pub async fn named(&self, cid: &str, oid: &str) -> Result<Named, Error> {
        let parsed = self.cid("cid", cid).await?;
        match order_of(&parsed, oid)? {
            Ok(oid) => Ok(Named { cid: parsed, oid }),
            Err(refusal) => {
                self.registered(cid).await?;
                Err(refusal)
            }
        }
    }

    /// The client and the order that staff name: the client may have been removed, since the orders outlive it.
    ///
    /// # Errors
    /// INVALID_ARGUMENT; NOT_FOUND: there is no such client, or no such order; PERMISSION_DENIED: the order is another
    /// client's; UNAVAILABLE.
    pub async fn named_by_staff(&self, cid: &str, oid: &str) -> Result<Named, Error> {
        let cid = self.cid("cid", cid).await?;
        match order_of(&cid, oid)? {
            Ok(oid) => Ok(Named { cid, oid }),
            Err(refusal) if self.read_verifying_absence(&key::client(&cid)).await?.record.is_some() => {
                Err(refusal)
            }
            Err(_) => Err(Error::NotFound { kind: Kind::Client, id: cid.to_string() }),
        }
    }

    /// The client and the order of an import, neither of which need be there: the id must be one that the client's orders have.
    ///
    /// # Errors
    /// INVALID_ARGUMENT: the id of the client or of the order; PERMISSION_DENIED: the order is another client's.
    pub fn named_for_import(&self, cid: &str, oid: &str) -> Result<Named, Error> {
        let cid = Cid::parse("cid", cid)?;
        match order_of(&cid, oid)? {
            Ok(oid) => Ok(Named { cid, oid }),
            Err(Error::NotFound { .. }) => {
                Err(Error::invalid("oid", "is the id of no order: no portal made it"))
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// An order as it is, from the cache if that may be.
    ///
    /// # Errors
    /// NOT_FOUND; UNAVAILABLE; the record is damaged.
    pub async fn order(&self, Named { cid, oid }: &Named) -> Result<Order, Error> {
        let at = key::order(cid, oid);
        match self.read_verifying_absence(&at).await?.record {
            Some(record) => Ok(OrderRecord::read(&at, &record)?.shown(cid, oid, &record, &self.rules_seen())),
            None => Err(Error::NotFound { kind: Kind::Order, id: oid.to_string() }),
        }
    }

    /// What is known of a product; `None`: it is not there, as the store says.
    ///
    /// # Errors
    /// UNAVAILABLE; the record is damaged.
    pub async fn known_product(&self, pid: &Pid) -> Result<Option<KnownProduct>, Error> {
        let at = key::product(pid);
        let Some(record) = self.read_verifying_absence(&at).await?.record else { return Ok(None) };
        Ok(Some(KnownProduct { product: ProductRecord::read(&at, &record)?, offset: record.offset() }))
    }

    /// What is known of these products; one that the cache says is absent is looked up in the store.
    ///
    /// # Errors
    /// UNAVAILABLE; a record is damaged.
    pub async fn known_products(&self, pids: impl IntoIterator<Item = Pid>) -> Result<Products, Error> {
        let read = |pid: Pid| async move {
            let product = self.known_product(&pid).await?;
            Ok::<_, Error>((pid, product))
        };
        let reads = futures::stream::iter(pids.into_iter().map(read)).buffer_unordered(READS_PARALLEL);
        reads.collect::<Vec<_>>().await.into_iter().collect()
    }
}

/// The order that a text names, if it is this client's; else the refusal.
fn order_of(cid: &Cid, oid: &str) -> Result<Result<Oid, Error>, Error> {
    if oid.is_empty() || oid.len() > ID_BYTES_MAX {
        return Err(Error::invalid("oid", format!("{} bytes; an id has 1 to {ID_BYTES_MAX}", oid.len())));
    }
    plain("oid", oid)?;
    Ok(match Oid::parse(oid) {
        Some(oid) if oid.belongs_to(cid) => Ok(oid),
        Some(_) => Err(Error::NotYours { oid: oid.to_owned() }),
        None => Err(Error::NotFound { kind: Kind::Order, id: oid.to_owned() }),
    })
}

/// A write of one order.
pub struct OrderWrite<'p> {
    portal: &'p Portal,
    named: Named,
    at: Bytes,
    attempts: Attempts<'p>,
    /// The newest version known.
    known: Option<Known>,
    /// In which states the order may be.
    accepts: &'static [Phase],
    /// The version that it must be; 0: any.
    if_match: u64,
    /// What the request was shown of the order.
    expectation: Expectation,
    /// What it says of the order's data.
    extra: ExtraChange,
    /// Why staff write; `None`: the client does.
    staff: Option<StaffReason>,
    /// The move of a confirmed order that it is, if it is one: any state that it leads on from, and where it leads, will do.
    moving: Option<Move>,
}

impl<'p> OrderWrite<'p> {
    /// A write of an order that is not there yet.
    #[must_use]
    pub fn creating(portal: &'p Portal, named: Named, request: Request) -> OrderWrite<'p> {
        let at = key::order(&named.cid, &named.oid);
        let attempts = Attempts::new(portal, request);
        OrderWrite {
            portal,
            named,
            at,
            attempts,
            known: None,
            accepts: &[],
            if_match: 0,
            expectation: Expectation::default(),
            extra: ExtraChange::Keep,
            staff: None,
            moving: None,
        }
    }

    /// A write of an order that should be there, in one of these states. What is known of it is read, from the cache
    /// if that may be: its version is guarded.
    ///
    /// # Errors
    /// UNAVAILABLE; the record is damaged.
    pub async fn changing(
        portal: &'p Portal,
        change: OrderChange,
        accepts: &'static [Phase],
    ) -> Result<OrderWrite<'p>, Error> {
        let OrderChange { named, request, if_match, staff } = change;
        let mut write =
            OrderWrite { accepts, if_match, staff, ..OrderWrite::creating(portal, named, request) };
        let seen = portal.read_verifying_absence(&write.at).await?;
        write.known = seen.record.map(|record| Known::read(&write.at, &record)).transpose()?;
        Ok(write)
    }

    /// As [`OrderWrite::changing`], of a confirmed order that moves on.
    ///
    /// # Errors
    /// As there.
    pub async fn moving(portal: &'p Portal, change: OrderChange, of: Move) -> Result<OrderWrite<'p>, Error> {
        let write = OrderWrite::changing(portal, change, &[]).await?;
        Ok(OrderWrite { moving: Some(of), ..write })
    }

    /// The same write, of an order that must be as its request was shown it.
    #[must_use]
    pub fn expecting(self, expectation: Expectation) -> OrderWrite<'p> {
        OrderWrite { expectation, ..self }
    }

    /// The same write, with what its request says of the order's data.
    #[must_use]
    pub fn with_extra(self, extra: ExtraChange) -> OrderWrite<'p> {
        OrderWrite { extra, ..self }
    }

    fn accepts(&self, phase: Phase) -> bool {
        match self.moving {
            Some(of) => phase == of.to() || of.step(phase).is_some(),
            None => self.accepts.contains(&phase),
        }
    }

    /// The version to decide on; `None`: there is none that this write can go on from, so it is to [`Change::ask`].
    #[must_use]
    pub fn known(&self) -> Option<&Known> {
        let wanted = |known: &&Known| self.if_match == 0 || known.offset == self.if_match;
        let is_as_shown = |known: &&Known| self.not_as_shown(known).is_none();
        let known = self.known.as_ref().filter(|known| self.accepts(known.order.phase));
        known.filter(wanted).filter(is_as_shown)
    }

    /// What is not as the request was shown it.
    fn not_as_shown(&self, known: &Known) -> Option<Error> {
        self.expectation.refusal(&self.named.oid, &known.order, &self.portal.rules_seen())
    }

    /// The beginning of a try.
    #[must_use]
    pub fn change(&self) -> Change<'_> {
        let Named { cid, oid } = &self.named;
        let now_ms = self.portal.log_time_ms();
        let change = match &self.staff {
            None => Change::by_client(cid, oid, now_ms),
            Some(reason) if self.moving.is_some() => Change::by_move(cid, oid, now_ms, reason),
            Some(reason) => Change::by_staff(cid, oid, now_ms, reason),
        };
        change.with_extra(self.extra.clone()).told_by(self.portal.teller())
    }

    /// Sends a try. `None`: decide anew, from what is now known.
    ///
    /// # Errors
    /// The refusal, or that there is no answer.
    pub async fn send(&mut self, txn: Txn, taken: &Demands) -> Result<Option<Order>, Error> {
        let sent_ms = self.portal.now_ms();
        let answer = self.attempts.send(txn).await?;
        let Named { cid, oid } = &self.named;
        if answer.success {
            if let Some(record) = shown(&answer, &self.at) {
                let order = OrderRecord::read(&self.at, record)?;
                // What is the portal's own time was not stamped: the store is of before, or this order was left as it is.
                let is_stamped = |ms: &i64| *ms != record.timestamp_ms && record.offset() == answer.offset();
                if let Some(stamped_ms) = order.changed_ms.filter(is_stamped) {
                    self.portal.saw_log_time(stamped_ms, sent_ms, answer.remembered);
                }
                return Ok(Some(order.shown(cid, oid, record, &self.portal.rules_seen())));
            }
            return self.as_it_is().await.map(Some);
        }
        if self.moving.is_some() && lacks_sold(&answer) {
            self.portal.complete_stocks(self.known.as_ref()).await?;
            self.attempts.again(&answer).await?;
            return Ok(None);
        }
        match evaluate(cid, oid, taken, &answer)? {
            Refused::For(Error::ShortStock { short, .. }) => Err(self.all_short(short, taken).await),
            // Staff are known, and it is the client that is not.
            Refused::For(Error::UnknownClient { cid: id }) if self.staff.is_some() => {
                let was_there = answer.failed.iter().any(|failed| failed.record.is_some());
                Err(if was_there { Error::Gone { id } } else { Error::NotFound { kind: Kind::Client, id } })
            }
            Refused::For(error) => Err(error),
            Refused::Again(Some(known)) => {
                self.refuse_version(&known).await?;
                self.known = Some(known);
                self.attempts.again(&answer).await?;
                Ok(None)
            }
            Refused::Again(None) => {
                self.attempts.again(&answer).await?;
                let seen = self.portal.read_through(&self.at).await?;
                self.known = seen.record.map(|record| Known::read(&self.at, &record)).transpose()?;
                Ok(None)
            }
        }
    }

    /// Refuses a version that the store itself has just shown.
    async fn refuse_version(&self, known: &Known) -> Result<(), Error> {
        let id = self.named.oid.to_string();
        if self.if_match != 0 && known.offset != self.if_match {
            return Err(Error::Changed { kind: Kind::Order, id, etag: known.offset });
        }
        if self.accepts(known.order.phase) {
            let refusal = self.not_as_shown(known);
            if let Some(Error::TotalChanged { .. }) = refusal {
                // A total that is not the exact one is as shown by the shop's decimals of now, not by those last seen.
                self.portal.shop().await?;
                return self.not_as_shown(known).map_or(Ok(()), Err);
            }
            return refusal.map_or(Ok(()), Err);
        }
        let state = known.order.phase.word().to_owned();
        Err(match self.moving {
            Some(of) => Error::WrongState { oid: id, state, needs: of.from_words() },
            None => Error::NotOpen { oid: id, state },
        })
    }

    /// The order, for an answer that was too large to be remembered with it.
    async fn as_it_is(&self) -> Result<Order, Error> {
        let Named { cid, oid } = &self.named;
        match self.portal.read_through(&self.at).await?.record {
            Some(record) => {
                let order = OrderRecord::read(&self.at, &record)?;
                Ok(order.shown(cid, oid, &record, &self.portal.rules_seen()))
            }
            None => Err(Error::NotFound { kind: Kind::Order, id: oid.to_string() }),
        }
    }

    /// The store tells of the first product that is short. The others are looked up there, for the user's sake; the
    /// refusal stands anyway.
    async fn all_short(&self, mut short: Vec<Short>, taken: &Demands) -> Error {
        let known: Vec<String> = short.iter().map(|one| one.pid.clone()).collect();
        let others = taken
            .iter()
            .filter(|(pid, demand)| demand.is_taking() && !known.iter().any(|one| one == pid.as_str()));
        let look = |(pid, Demand { more, holds, .. }): (Pid, Demand)| async move {
            let at = key::stock(&pid);
            let record = self.portal.read_through(&at).await.ok()?.record?;
            let left = StockRecord::read(&at, &record).ok()?.orderable();
            (left < more).then(|| Short { pid: pid.to_string(), wanted: more, left, holds })
        };
        let mut others: Vec<(Pid, Demand)> = others.map(|(pid, taking)| (pid.clone(), *taking)).collect();
        // In one order, whatever the map's: a simulated run must be the same each time.
        others.sort_unstable_by(|a, b| a.0.as_str().cmp(b.0.as_str()));
        let found = futures::stream::iter(others.into_iter().map(look)).buffer_unordered(READS_PARALLEL);
        short.extend(found.collect::<Vec<_>>().await.into_iter().flatten());
        short.sort_unstable_by(|a, b| a.pid.cmp(&b.pid));
        Error::ShortStock { short, more: 0 }
    }
}

/// The products whose lines come or change, and stay.
pub fn changed_pids<'a>(
    known: Option<&'a Known>,
    asked: &'a [RequestedLine],
) -> impl Iterator<Item = Pid> + 'a {
    let lines = known.map_or(&[][..], |known| &known.order.lines);
    let had: HashMap<&str, i64> = lines.iter().map(|line| (line.pid.as_str(), line.quantity)).collect();
    asked
        .iter()
        .filter(move |one| one.quantity > 0 && had.get(one.pid.as_str()) != Some(&one.quantity))
        .map(|one| one.pid.clone())
}
