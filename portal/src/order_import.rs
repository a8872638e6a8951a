//! Orders from elsewhere, under their own ids, in their states and with their times: `ImportOrder` of the admin portal.
//!
//! Promises: one transaction ([`crate::change`], import), so that the laws hold after it as after any other. The id must be the
//! client's own ([`crate::id::Oid::belongs_to`]) and free: whoever repeats an import under another request id is told that the order is
//! there, and nothing changes. An order of a client or product that was removed says so; one that says nothing needs them there.
//!
//! Leaves out: whether the order was ever made anywhere. Staff say so, and the record is marked.

use std::collections::{HashMap, HashSet};

use futures::StreamExt;
use proto::check::TXN_PARTS_MAX;
use proto::portal::{ImportOrderRequest, ImportedLine, Order, OrderState};
use proto::store::{Record, TxnResponse};

use crate::attempt::{Attempts, Request, shown};
use crate::change::{Change, Imported, Known, Seen, SeenClient};
use crate::document::client::ClientRecord;
use crate::document::extra::ExtraChange;
use crate::document::order::{Line, OrderRecord, Phase};
use crate::document::staff_note::{StaffNote, is_time};
use crate::error::{Error, Kind};
use crate::handle::Portal;
use crate::id::{Pid, plain};
use crate::import_refusal::import_refused;
use crate::key;
use crate::limits::{
    DESCRIPTION_BYTES_MAX, IMPORT_AHEAD_MS_MAX, LINE_QUANTITY_MAX, ORDER_LINES_MAX, READS_PARALLEL,
    STAFF_NOTES_MAX,
};
use crate::money::Price;
use crate::order_refusal::Refused;
use crate::order_write::Named;
use crate::stock_completion::lacks_sold;

impl Imported {
    /// Checks what a request says of an order, but for whose it is; its times are at most a day after this log time.
    ///
    /// # Errors
    /// INVALID_ARGUMENT, with the field.
    pub fn parse(input: &ImportOrderRequest, log_time_ms: i64) -> Result<Imported, Error> {
        let latest_ms = log_time_ms.saturating_add(IMPORT_AHEAD_MS_MAX);
        let phase = OrderState::try_from(input.state).ok().and_then(Phase::named).ok_or_else(|| {
            Error::invalid("state", format!("is missing; there are {}", proto::json::state::all()))
        })?;
        check_times(input, latest_ms)?;
        if input.lines.len() > ORDER_LINES_MAX {
            let why = format!("{} lines; an order has at most {ORDER_LINES_MAX}", input.lines.len());
            return Err(Error::invalid("lines", why));
        }
        if input.staff.len() > STAFF_NOTES_MAX {
            let why = format!("{} notes; an order keeps at most {STAFF_NOTES_MAX}", input.staff.len());
            return Err(Error::invalid("staff", why));
        }
        let (lines, products_removed) = lines_of(&input.lines)?;
        let in_open = |field: &str| {
            let why = "was removed, and an open order needs it; import it first, or the order as another";
            Err(Error::invalid(field, why))
        };
        if phase == Phase::Open && input.client_removed {
            return in_open("client_removed");
        }
        if phase == Phase::Open
            && let Some(at) = input.lines.iter().position(|line| line.product_removed)
        {
            return in_open(&format!("lines[{at}].product_removed"));
        }
        let notes = input.staff.iter().enumerate();
        let staff = notes.map(|(at, note)| StaffNote::imported(&format!("staff[{at}]"), note, latest_ms));
        let order = OrderRecord {
            created_ms: (input.created_ms > 0).then_some(input.created_ms),
            changed_ms: Some(input.changed_ms),
            imported: true,
            staff: staff.collect::<Result<_, Error>>()?,
            extra: ExtraChange::of_order(&input.extra)?.over(None),
            ..OrderRecord::new(phase, lines)
        };
        Ok(Imported { order, client_removed: input.client_removed, products_removed })
    }
}

fn check_times(input: &ImportOrderRequest, latest_ms: i64) -> Result<(), Error> {
    for (field, ms, least) in [("created_ms", input.created_ms, 0), ("changed_ms", input.changed_ms, 1)] {
        is_time(field, ms, (least, latest_ms))?;
    }
    if input.created_ms > input.changed_ms {
        let why = format!("{} is before created_ms, {}", input.changed_ms, input.created_ms);
        return Err(Error::invalid("changed_ms", why));
    }
    Ok(())
}

/// The lines to be stored, and the products that were removed.
fn lines_of(given: &[ImportedLine]) -> Result<(Vec<Line>, HashSet<Pid>), Error> {
    let (mut lines, mut named, mut removed) =
        (Vec::with_capacity(given.len()), HashSet::new(), HashSet::new());
    for (at, one) in given.iter().enumerate() {
        let field = |name: &str| format!("lines[{at}].{name}");
        let pid = Pid::parse(&field("pid"), &one.pid)?;
        if !named.insert(pid.clone()) {
            let why = format!("{pid} comes twice; an order has one line of a product");
            return Err(Error::invalid(field("pid"), why));
        }
        if !(1..=LINE_QUANTITY_MAX).contains(&one.quantity) {
            let why = format!("{} is not within 1 and {LINE_QUANTITY_MAX}", one.quantity);
            return Err(Error::invalid(field("quantity"), why));
        }
        plain(&field("description"), &one.description)?;
        if one.description.is_empty() || one.description.len() > DESCRIPTION_BYTES_MAX {
            let why = format!("{} bytes; it has 1 to {DESCRIPTION_BYTES_MAX}", one.description.len());
            return Err(Error::invalid(field("description"), why));
        }
        let price =
            Price::parse(&one.price).map_err(|error| Error::invalid(field("price"), error.to_string()))?;
        let (description, quantity, untracked) = (one.description.clone(), one.quantity, one.untracked);
        let extra = ExtraChange::of_line(&field("extra"), &one.extra)?.over(None);
        lines.push(Line { pid: pid.to_string(), description, quantity, price, untracked, extra });
        if one.product_removed {
            removed.insert(pid);
        }
    }
    Ok((lines, removed))
}

impl Portal {
    /// Imports an order of this client, under this id.
    ///
    /// # Errors
    /// ALREADY_EXISTS: the id is taken, or that of the removed client is; NOT_FOUND: the client, or a product; FAILED_PRECONDITION
    /// (client or product are being removed, stock, too large); or there is no answer.
    pub async fn import_order(
        &self,
        named: &Named,
        request: Request,
        import: &Imported,
    ) -> Result<Order, Error> {
        let Named { cid, oid } = named;
        let mut attempts = Attempts::new(self, request);
        loop {
            let seen = self.seen_by_import(named, import).await?;
            if seen.client == SeenClient::Absent {
                // The import inserts a record of a client, as InsertClient does.
                self.begin_index(Kind::Client).await?;
            }
            // The time that it came with, so that its row stands where it belongs.
            let changed_ms = import.order.changed_ms.unwrap_or_else(store_client::now_ms);
            let change = Change::by_import(cid, oid, changed_ms, seen.client).told_by(self.teller());
            let txn = change.import(import, &seen)?;
            let parts = txn.guards.len() + txn.operations.len();
            if parts > TXN_PARTS_MAX {
                let why = format!("too many for one transaction ({parts} parts of {TXN_PARTS_MAX})");
                return Err(Error::invalid("lines", why));
            }
            let answer = attempts.send(txn).await?;
            if answer.success {
                return self.imported(named, &answer).await;
            }
            if lacks_sold(&answer) {
                self.complete_stocks(Some(&Known::from(import))).await?;
            } else if let Refused::For(error) = import_refused((cid, oid), import, &answer)? {
                return Err(error);
            }
            attempts.again(&answer).await?;
        }
    }

    async fn imported(&self, named: &Named, answer: &TxnResponse) -> Result<Order, Error> {
        let at = key::order(&named.cid, &named.oid);
        match shown(answer, &at) {
            Some(record) => {
                Ok(OrderRecord::read(&at, record)?.shown(&named.cid, &named.oid, record, &self.rules_seen()))
            }
            // Too large to be remembered with the answer: as it is now.
            None => self.order(named).await,
        }
    }

    async fn seen_by_import(&self, Named { cid, .. }: &Named, import: &Imported) -> Result<Seen, Error> {
        let client = match import.client_removed {
            false => SeenClient::Active,
            true => {
                let at = key::client(cid);
                let is_gone = |record: &Record| !ClientRecord::registers(&at, record);
                let record = self.read_verifying_absence(&at).await?.record;
                if record.as_ref().is_some_and(is_gone) { SeenClient::Gone } else { SeenClient::Absent }
            }
        };
        let pids = import.order.lines.iter().map(|line| Pid::stored("pid", &line.pid));
        let pids: Vec<Pid> = pids.collect::<Result<_, Error>>()?;
        let (removed, there): (Vec<Pid>, Vec<Pid>) =
            pids.into_iter().partition(|pid| import.products_removed.contains(pid));
        let products = self.known_products(there).await?;
        let look = |pid: Pid| async move {
            let remains = self.read_through(&key::stock(&pid)).await?.record.is_some();
            Ok::<_, Error>((pid, remains))
        };
        // Only where units are counted: else no stock is touched.
        let looked_at = removed.into_iter().filter(|_| import.counted_in().is_some()).map(look);
        let looks = futures::stream::iter(looked_at).buffer_unordered(READS_PARALLEL);
        let remains: Result<HashMap<Pid, bool>, Error> =
            looks.collect::<Vec<_>>().await.into_iter().collect();
        Ok(Seen { client, products, remains: remains? })
    }
}
