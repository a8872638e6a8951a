//! The command `feira export`: the lists of the admin portals, page by page, in the order of their keys, into one file.
//!
//! Promises: the file is whole or not there; the same shop has the same bytes; no list is in memory as a whole (of the products in
//! orders only whether they are there). Damaged records are left out and named, as in every list.

use std::collections::HashMap;
use std::io::Write as _;

use admin_portal::operations::ListOrders;
use futures::{StreamExt, TryStreamExt, stream};
use portal::transport::calling::over_grpc;
use proto::portal::admin_client::AdminClient;
use proto::portal::{Damage, ImportOrderRequest, ListRequest, Order, Product, StaffListOrdersRequest};
use serde_json::json;

use super::args::{Export, ExportFormat};
use super::collection::Collection;
use super::orders::{self, Removed};
use super::stock::StockLine;
use super::target::Target;
use super::{clients, products};
use crate::admin::paging::warnings;
use crate::admin::{clients as client_calls, orders as calls, products as product_calls};
use crate::failure::Failure;
use crate::reach::places::READ;
use crate::reach::portals::Portals;
use crate::show::answer::{Answer, counted};
use crate::show::out::Out;

/// Items of a page.
const PAGE: u32 = 500;
/// Orders that are looked at at once.
const IN_FLIGHT: usize = 32;

/// The file, and what was written of it.
struct Writing {
    csv: Option<csv::Writer<Target>>,
    lines: Option<std::io::BufWriter<Target>>,
    records: u64,
    damage: Vec<String>,
}

/// Exports, and tells what came of it: beside what is exported, if that goes to standard output.
///
/// # Errors
/// A portal cannot be reached, or the file cannot be written.
pub async fn run(args: &Export, admin: &Portals, out: &Out) -> Result<(), Failure> {
    let path = args.out.clone().unwrap_or_else(|| "-".into());
    let mut writing = Writing::open(&path, args)?;
    match args.what {
        Collection::Clients => export_clients(admin, &mut writing).await?,
        Collection::Products | Collection::Stock => export_products(admin, args.what, &mut writing).await?,
        Collection::Orders => export_orders(admin, &mut writing).await?,
    }
    let (records, damage) = (writing.records, std::mem::take(&mut writing.damage));
    writing.close()?;
    let what = counted(records, args.what.one());
    let file = path.display().to_string();
    let document =
        json!({ "what": args.what.word(), "records": records, "file": file, "left_out": damage.len() });
    let answer = Answer::line(format!("{what} in {file}"), document).warning(damage);
    if file == "-" {
        out.say(&what);
        answer.warnings.iter().for_each(|warning| out.insist(&format!("warning: {warning}")));
    } else {
        out.answer(&answer);
    }
    Ok(())
}

impl Writing {
    fn open(path: &std::path::Path, args: &Export) -> Result<Writing, Failure> {
        let target = Target::open(path)?;
        let (mut csv, mut lines) = (None, None);
        match args.format {
            ExportFormat::Csv => csv = Some(csv::Writer::from_writer(target)),
            ExportFormat::Jsonl => lines = Some(std::io::BufWriter::new(target)),
        }
        let mut writing = Writing { csv, lines, records: 0, damage: Vec::new() };
        writing.row(args.what.columns())?;
        Ok(writing)
    }

    /// Writes a record: its rows, or its line.
    fn record(
        &mut self,
        rows: impl FnOnce() -> Vec<Vec<String>>,
        line: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        self.records += 1;
        if self.csv.is_some() {
            return rows().iter().try_for_each(|row| self.row(row));
        }
        let Some(lines) = &mut self.lines else { return Ok(()) };
        writeln!(lines, "{}", line()).map_err(|error| lines.get_ref().failure(&error))
    }

    /// Writes a product; one that is no line is left out and named.
    fn product(&mut self, product: &Product) -> Result<(), Failure> {
        if self.csv.is_some() {
            return self.record(|| vec![products::cells(product)], String::new);
        }
        match products::line(product) {
            Ok(line) => self.record(Vec::new, || line),
            Err(error) => {
                self.damage.push(format!("product {} is left out: {error}", product.pid));
                Ok(())
            }
        }
    }

    fn row<S: AsRef<[u8]>>(&mut self, cells: &[S]) -> Result<(), Failure> {
        let Some(csv) = &mut self.csv else { return Ok(()) };
        csv.write_record(cells).map_err(|error| csv.get_ref().failure(&error))
    }

    fn is_closed(&self) -> bool {
        let target = self.csv.as_ref().map(csv::Writer::get_ref);
        target.or(self.lines.as_ref().map(std::io::BufWriter::get_ref)).is_some_and(Target::is_closed)
    }

    fn left_out(&mut self, damage: Option<Damage>) {
        self.damage.extend(warnings(&damage.unwrap_or_default()));
    }

    fn close(self) -> Result<(), Failure> {
        let lost = |error: String| Failure::refused(format!("cannot write the export: {error}"));
        let csv = self.csv.map(|csv| csv.into_inner().map_err(|e| lost(e.to_string()))).transpose()?;
        let lines =
            self.lines.map(|lines| lines.into_inner().map_err(|e| lost(e.to_string()))).transpose()?;
        csv.or(lines).map_or(Ok(()), |mut target| {
            target.flush().map_err(|error| target.failure(&error))?;
            target.publish()
        })
    }
}

async fn export_clients(admin: &Portals, writing: &mut Writing) -> Result<(), Failure> {
    let mut after = String::new();
    loop {
        let message = ListRequest { limit: PAGE, after, ..ListRequest::default() };
        let rpc = |channel, message| async move { AdminClient::new(channel).list_clients(message).await };
        let page = admin.send(READ, message, rpc).await?;
        for client in &page.clients {
            writing.record(|| vec![clients::cells(client)], || clients::line(client))?;
        }
        writing.left_out(page.damage);
        after = page.next;
        if after.is_empty() || writing.is_closed() {
            return Ok(());
        }
    }
}

async fn export_products(admin: &Portals, what: Collection, writing: &mut Writing) -> Result<(), Failure> {
    let mut after = String::new();
    loop {
        let message = ListRequest { limit: PAGE, after, ..ListRequest::default() };
        let rpc = |channel, message| async move { AdminClient::new(channel).list_products(message).await };
        let page = admin.send(READ, message, rpc).await?;
        for product in &page.products {
            if what == Collection::Products {
                writing.product(product)?;
            } else {
                let stock = StockLine::of(product);
                writing.record(|| vec![stock.cells()], || stock.line())?;
            }
        }
        writing.left_out(page.damage);
        after = page.next;
        if after.is_empty() || writing.is_closed() {
            return Ok(());
        }
    }
}

async fn export_orders(admin: &Portals, writing: &mut Writing) -> Result<(), Failure> {
    let mut known = Known { client: None, products: HashMap::new() };
    let mut after = String::new();
    loop {
        let message = StaffListOrdersRequest { limit: PAGE, after, ..StaffListOrdersRequest::default() };
        let service = admin_portal::SERVICE;
        let rpc =
            |channel, message| over_grpc::<ListOrders, _>(channel, service, tonic::Request::new(message));
        let page = admin.send(READ, message, rpc).await?;
        let orders = stream::iter(&page.orders).map(|one| calls::get(admin, &one.cid, &one.oid));
        let mut orders = std::pin::pin!(orders.buffered(IN_FLIGHT));
        while let Some(order) = orders.try_next().await? {
            let order: ImportOrderRequest = orders::of_order(&order, &known.removed(admin, &order).await?);
            writing.record(|| orders::rows(&order), || orders::line(&order))?;
        }
        writing.left_out(page.damage);
        after = page.next;
        if after.is_empty() || writing.is_closed() {
            return Ok(());
        }
    }
}

/// Which clients and products are there: orders outlive both.
struct Known {
    /// The client of the order before, and whether it was removed: the orders of a client stand together.
    client: Option<(String, bool)>,
    /// Whether products were removed.
    products: HashMap<String, bool>,
}

impl Known {
    async fn removed(&mut self, admin: &Portals, order: &Order) -> Result<Removed, Failure> {
        let client = match &self.client {
            Some((cid, was_removed)) if *cid == order.cid => *was_removed,
            _ => {
                let was_removed = is_absent(client_calls::get(admin, &order.cid).await)?;
                self.client = Some((order.cid.clone(), was_removed));
                was_removed
            }
        };
        let mut removed = Vec::with_capacity(order.lines.len());
        for line in &order.lines {
            let was_removed = match self.products.get(&line.pid) {
                Some(was_removed) => *was_removed,
                None => {
                    let was_removed = is_absent(product_calls::get(admin, &line.pid).await)?;
                    self.products.insert(line.pid.clone(), was_removed);
                    was_removed
                }
            };
            removed.push(was_removed);
        }
        Ok(Removed { client, products: removed })
    }
}

fn is_absent<T>(answer: Result<T, Failure>) -> Result<bool, Failure> {
    match answer {
        Ok(_) => Ok(false),
        Err(failure) if ["NOT_FOUND", "CLIENT_GONE"].contains(&failure.reason.as_str()) => Ok(true),
        Err(failure) => Err(failure),
    }
}
