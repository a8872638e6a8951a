//! The administrators' verbs, bound to calls.
//!
//! The tool makes a CID from the client's name and a PID from the product's description, unless one is given, and
//! always shows it.

use std::sync::Arc;

use portal::error::Error;
use portal::id::slug;
use portal::index::{after_client, after_product};
use portal::money::{Price, Total};
use proto::json::{record_state, sort};
use proto::portal::{Client, ListRequest, Product, StaffListOrdersRequest};

use super::order_session::Orders;
use super::paging::{Part, prefixed};
use super::stock_rules::RuleFlags;
use super::{cache, clients, events, form, orders, products, reindex, sales, settle, shop, view};
use crate::document::{Document, Members, members_of, of_words, text_member, text_of};
use crate::failure::{Failure, Reader};
use crate::names::{Names, OF_CLIENT, OF_PRODUCT};
use crate::reach::open_requests::OpenRequests;
use crate::reach::portals::Portals;
use crate::repl::ask::Asker;
use crate::repl::drive::{Session, Step};
use crate::repl::ids::{IDS_MAX, Ids};
use crate::repl::meant::{LOOK_IDS_MAX, LOOK_MAX, Looks, beginning, missing, proposing};
use crate::show::answer::{Answer, counted};
use crate::verb::admin::{Admin, MENU};
use crate::verb::call::{Call, check_id};
use crate::verb::spec::{Kind, Menu};
use tokio::sync::OnceCell;
use tokio::time::timeout;

/// An administrator's session.
pub struct AdminSession {
    portals: Portals,
    ids: Ids,
    /// How missing data is asked for, if a person is there.
    asker: Option<Asker>,
    /// For ids that were meant.
    looks: Looks,
    /// With how many decimals the shop shows totals, once it was asked.
    decimals: OnceCell<u32>,
    /// Requests that were not answered yet.
    open: Arc<OpenRequests>,
}

impl AdminSession {
    /// Over these portals; `ids` feeds completion.
    #[must_use]
    pub fn new(portals: Portals, ids: Ids) -> AdminSession {
        AdminSession {
            portals,
            ids,
            asker: None,
            looks: Looks::default(),
            decimals: OnceCell::new(),
            open: Arc::default(),
        }
    }

    /// The same, which keeps its requests there until they are answered.
    #[must_use]
    pub fn keeping(self, open: Arc<OpenRequests>) -> AdminSession {
        let portals = self.portals.keeping(Arc::clone(&open));
        AdminSession { portals, open, ..self }
    }

    /// Fetches ids for completion. Failing to is no matter: there is less to complete with.
    pub async fn refresh(&self) {
        self.fetch(Kind::Cid, "", IDS_MAX as u64, &self.ids).await;
        self.fetch(Kind::Pid, "", IDS_MAX as u64, &self.ids).await;
        self.fetch(Kind::Oid, "", IDS_MAX as u64, &self.ids).await;
    }

    async fn fetch(&self, kind: Kind, prefix: &str, most: u64, into: &Ids) {
        let some = Part::first(most);
        let wanted = prefixed(prefix);
        match kind {
            Kind::Cid => {
                if let Ok(found) = clients::list(&self.portals, &wanted, some).await {
                    into.replace(kind, found.items.into_iter().map(|client| client.cid));
                }
            }
            Kind::Pid => {
                if let Ok(found) = products::list(&self.portals, &wanted, some).await {
                    into.replace(kind, found.items.into_iter().map(|product| product.pid));
                }
            }
            Kind::Oid => {
                let any = StaffListOrdersRequest::default();
                if let Ok(found) = orders::list(&self.portals, &any, some).await {
                    into.replace(kind, found.items.into_iter().map(|one| one.order.oid));
                }
            }
            _ => {}
        }
    }

    /// A failure with the id that was probably meant, if one is near.
    async fn advised(&mut self, failure: Failure) -> Failure {
        let Some((kind, typed)) = missing(&failure) else { return failure };
        let known = proposing(failure.clone(), &self.ids);
        if known != failure || !self.looks.another() {
            return known;
        }
        let found = Ids::default();
        let look = async {
            for prefix in [beginning(typed), String::new()] {
                self.fetch(kind, &prefix, LOOK_IDS_MAX, &found).await;
                if proposing(failure.clone(), &found) != failure {
                    return;
                }
            }
        };
        // Without it there is only less to propose.
        let _ = timeout(LOOK_MAX, look).await;
        proposing(failure, &found)
    }

    async fn insert_client(&self, call: &Call<Admin>) -> Result<Answer, Failure> {
        let (id, words) = split_id(call, "CID")?;
        let data = match (words, &self.asker) {
            ([], Some(asker)) => text_of(&form::client(asker).await?),
            ([], None) => return Err(no_data("insert-client name='Maria Silva' city=Recife")),
            (words, _) => {
                let document = of_words(words)?;
                names(call, OF_CLIENT).check(&document.members()?, &Members::new())?;
                document.text()
            }
        };
        let cid = self.id_for(one_of(call.get("--cid"), id, "--cid")?, &data, "name", "--cid")?;
        let client = clients::insert(&self.portals, &cid, &data, call.get("--request")).await;
        let client = client.map_err(|failure| taken(failure, "--cid"))?;
        self.ids.add(Kind::Cid, &client.cid);
        Ok(view::client(format!("registered with the CID {}", client.cid), &client))
    }

    async fn insert_product(&self, call: &Call<Admin>) -> Result<Answer, Failure> {
        let (id, words) = split_id(call, "PID")?;
        let data = match (words, &self.asker) {
            ([], Some(asker)) => text_of(&form::product(asker).await?),
            ([], None) => {
                return Err(no_data("insert-product description='Banana prata' quantity=120 price=6.90"));
            }
            (words, _) => {
                let document = of_words(words)?.with_point("price");
                names(call, OF_PRODUCT).check(&document.members()?, &Members::new())?;
                document.text()
            }
        };
        let odd = self.is_meant(&members_of(&data)?).await?;
        let pid = self.id_for(one_of(call.get("--pid"), id, "--pid")?, &data, "description", "--pid")?;
        let product = products::insert(
            &self.portals,
            &pid,
            &data,
            RuleFlags::of(call)?.over(None),
            call.get("--request"),
        )
        .await;
        let product = product.map_err(|failure| taken(failure, "--pid"))?;
        self.ids.add(Kind::Pid, &product.pid);
        let head = format!("added with the PID {}", product.pid);
        Ok(view::product(head, &product, Reader::Staff).warning(odd))
    }

    /// A price that is most often a slip is asked back; where nobody can answer it is a warning.
    async fn is_meant(&self, given: &Members) -> Result<Option<String>, Failure> {
        let price = given.get("price").and_then(|price| Price::parse(price.get().trim_matches('"')).ok());
        let Some(price) = price else { return Ok(None) };
        let decimals = match fineness(price) {
            0 => 0,
            _ => *self.decimals.get_or_try_init(|| shop::decimals(&self.portals)).await?,
        };
        let Some(odd) = odd_price(price, decimals) else { return Ok(None) };
        let OddPrice { what, so } = odd;
        match &self.asker {
            None => Ok(Some(format!("{what}: {so}"))),
            Some(asker) => {
                let question = format!("{what}: {so}; is that meant? (y: yes, Enter: no)");
                let refused = || Failure::refused(format!("{what}; nothing was changed"));
                if asker.agrees(&question).await? { Ok(None) } else { Err(refused()) }
            }
        }
    }

    /// The id given, or one made from the member that names the thing.
    fn id_for(&self, given: Option<&str>, data: &str, member: &str, flag: &str) -> Result<String, Failure> {
        if let Some(id) = given {
            return Ok(id.to_owned());
        }
        let name = text_member(&members_of(data)?, member);
        name.and_then(|name| slug(&name)).ok_or_else(|| {
            Failure::usage(format!("the data has no {member} to make an id from"))
                .next(format!("add {member}=…, or give the id with {flag}"))
        })
    }

    async fn change(&self, call: &Call<Admin>) -> Result<Answer, Failure> {
        let (if_match, request) = (call.count("--if-match").unwrap_or(0), call.get("--request"));
        let product = call.verb.operation == Admin::UpdateProduct;
        let rules = if product { RuleFlags::of(call)? } else { RuleFlags::default() };
        let document = match (call.all("DATA"), &self.asker) {
            ([], _) if rules.are_given() => Document::Members(Members::new()),
            ([], Some(asker)) => {
                let known = if product { OF_PRODUCT } else { OF_CLIENT };
                Document::Members(form::members(asker, known, Members::new()).await?)
            }
            ([], None) => return Err(no_data(call.verb.example)),
            (words, _) => of_words(words)?,
        };
        if product {
            let pid = call.text("PID");
            let (document, names) = (document.with_point("price"), names(call, OF_PRODUCT));
            let odd = self.is_meant(&document.members()?).await?;
            let unless = products::Unless { etag: if_match, left: call.integer("--if-left") };
            let wanted = products::Wanted { document: &document, rules };
            let changed = products::update(&self.portals, pid, wanted, &names, unless, request).await?;
            let answer = view::product(format!("changed product {pid}"), &changed.product, Reader::Staff);
            return Ok(answer.warning(odd).warning(view::overwritten(pid, &changed)));
        }
        let (cid, names) = (call.text("CID"), names(call, OF_CLIENT));
        let changed = clients::update(&self.portals, cid, &document, &names, if_match, request).await?;
        Ok(view::client(format!("changed client {cid}"), &changed))
    }

    async fn delete(&self, call: &Call<Admin>) -> Result<Answer, Failure> {
        let (cascade, request) = (call.has("--cascade"), call.get("--request"));
        let if_match = call.count("--if-match").unwrap_or(0);
        if call.verb.operation == Admin::DeleteProduct {
            let pid = call.text("PID");
            let deleted = products::delete(&self.portals, pid, cascade, if_match, request).await?;
            self.ids.remove(Kind::Pid, pid);
            return Ok(view::deleted("product", pid, &deleted));
        }
        let cid = call.text("CID");
        let deleted = clients::delete(&self.portals, cid, cascade, if_match, request).await?;
        self.ids.remove(Kind::Cid, cid);
        Ok(view::deleted("client", cid, &deleted))
    }

    async fn show(&self, call: &Call<Admin>) -> Result<Answer, Failure> {
        let wanted = listing(call);
        let part = Part { limit: call.count("--limit"), after: call.get("--after").unwrap_or("") };
        Ok(match call.verb.operation {
            Admin::GetClient => {
                view::client(String::new(), &clients::get(&self.portals, call.text("CID")).await?)
            }
            Admin::GetProduct => {
                let product = products::get(&self.portals, call.text("PID")).await?;
                view::product(String::new(), &product, Reader::Staff)
            }
            Admin::ListClients => {
                let found = clients::list(&self.portals, &wanted, part).await?;
                let cursor = |client: &Client| after_client(wanted.sort(), client);
                view::clients(&found.items).warning(found.notes(Reader::Staff, "client", cursor))
            }
            _ => {
                let found = products::list(&self.portals, &wanted, part).await?;
                let cursor = |product: &Product| after_product(wanted.sort(), product);
                let told = found.notes(Reader::Staff, "product", cursor);
                view::products(&found.items, Reader::Staff).warning(told)
            }
        })
    }

    async fn adjust(&self, call: &Call<Admin>) -> Result<Answer, Failure> {
        let (pid, amount) = (call.text("PID"), call.integer("AMOUNT").unwrap_or(0));
        let adjusted = products::adjust(&self.portals, pid, amount, call.get("--request")).await;
        let product = adjusted.map_err(|failure| short_of(failure, amount))?;
        Ok(view::product(format!("moved the stock of {pid} by {amount}"), &product, Reader::Staff))
    }
}

impl Session for AdminSession {
    type Operation = Admin;

    fn menu(&self) -> &'static Menu<Admin> {
        &MENU
    }

    fn prompt(&self) -> String {
        "admin".to_owned()
    }

    fn open(&self) -> &Arc<OpenRequests> {
        &self.open
    }

    fn in_name_of<'a>(&'a self, _call: &'a Call<Admin>) -> Option<&'a str> {
        None
    }

    fn ask_with(&mut self, asker: Option<Asker>) {
        self.asker = asker;
    }

    async fn run(&mut self, call: Call<Admin>) -> Result<Step, Failure> {
        match self.act(&call).await {
            Err(failure) => Err(self.advised(failure).await),
            done => done,
        }
    }
}

impl AdminSession {
    async fn act(&mut self, call: &Call<Admin>) -> Result<Step, Failure> {
        let answer = match call.verb.operation {
            Admin::InsertClient => self.insert_client(call).await?,
            Admin::InsertProduct => self.insert_product(call).await?,
            Admin::UpdateClient | Admin::UpdateProduct => self.change(call).await?,
            Admin::DeleteClient | Admin::DeleteProduct => self.delete(call).await?,
            Admin::GetClient | Admin::GetProduct | Admin::ListClients | Admin::ListProducts => {
                self.show(call).await?
            }
            Admin::AdjustStock => self.adjust(call).await?,
            Admin::ListOrders
            | Admin::GetOrder
            | Admin::ModifyOrder
            | Admin::ConfirmOrder
            | Admin::CancelOrder
            | Admin::PayOrder
            | Admin::PackOrder
            | Admin::SendOrder
            | Admin::ReturnOrder
            | Admin::RefundOrder => {
                let asker = self.asker.as_ref();
                Orders { portals: &self.portals, ids: &self.ids, asker }.act(call).await?
            }
            Admin::GetShop => shop::show(&self.portals).await?,
            Admin::SetShop => {
                self.decimals.take();
                shop::set(&self.portals, call).await?
            }
            Admin::ListEvents => events::list(&self.portals, call).await?,
            Admin::ListSales => sales::list(&self.portals, call).await?,
            Admin::Reindex => reindex::run(&self.portals).await?,
            Admin::Settle => settle::run(&self.portals, &self.open, call).await?,
            Admin::Portal => cache::ask(&self.portals).await?,
            Admin::Help => return Ok(Step::Help),
            Admin::Exit => return Ok(Step::Leave),
        };
        Ok(Step::Show(answer))
    }
}

/// What a list of clients or products is to be.
fn listing(call: &Call<Admin>) -> ListRequest {
    let text = |name| call.get(name).unwrap_or("").to_owned();
    ListRequest {
        prefix: text("PREFIX"),
        sort: sort::named(&text("--sort")).into(),
        state: record_state::named(&text("--state")).into(),
        words: text("--words"),
        category: text("--category"),
        ..ListRequest::default()
    }
}

/// `maria name=Maria`: a first word that is no part of a document is the id.
fn split_id<'a>(call: &'a Call<Admin>, name: &str) -> Result<(Option<&'a str>, &'a [String]), Failure> {
    let words = call.all(call.verb.args[0].name);
    match words.split_first() {
        Some((id, rest)) if !id.contains('=') && !id.trim_start().starts_with('{') => {
            check_id(call.verb, name, id)?;
            Ok((Some(id), rest))
        }
        _ => Ok((None, words)),
    }
}

/// The id, given by its flag or by its place, but not both.
fn one_of<'a>(
    flag: Option<&'a str>,
    placed: Option<&'a str>,
    name: &str,
) -> Result<Option<&'a str>, Failure> {
    match (flag, placed) {
        (Some(one), Some(other)) => {
            Err(Failure::usage(format!("two ids are given: {other}, and {one} with {name}"))
                .next("leave one of the two"))
        }
        (flag, placed) => Ok(flag.or(placed)),
    }
}

/// The names that the document of a command may have.
fn names<'a>(call: &'a Call<Admin>, known: &'static [&'static str]) -> Names<'a> {
    let of = if known == OF_PRODUCT { "product" } else { "client" };
    Names { of, known, new: call.all("--new") }
}

/// A price that is taken, and is most often a slip.
struct OddPrice {
    /// What is odd about it.
    what: String,
    /// What follows.
    so: &'static str,
}

/// Decimals of a price that are not 0 at its end.
fn fineness(price: Price) -> usize {
    let shown = price.to_string();
    shown.split_once('.').map_or(0, |(_, decimals)| decimals.trim_end_matches('0').len())
}

/// A price of nothing, or finer than people pay in a shop whose totals have so many decimals: unit prices below a cent are real, and rare.
fn odd_price(price: Price, decimals: u32) -> Option<OddPrice> {
    if price.times(1) == Total::ZERO {
        return Some(OddPrice { what: "the price is 0".to_owned(), so: "whoever orders it pays nothing" });
    }
    let fineness = fineness(price);
    (fineness > decimals as usize).then(|| OddPrice {
        what: format!("the price {price} has {}", counted(fineness as u64, "decimal")),
        so: "it is kept and summed exactly, and sums are shown rounded",
    })
}

/// Not enough to take away, as staff read it who take it away.
fn short_of(failure: Failure, amount: i64) -> Failure {
    let Some(Error::ShortStock { short, .. }) = failure.error() else { return failure };
    let Some(left) = short.first().map(|one| one.left) else { return failure };
    let verb = if left == 1 { "is" } else { "are" };
    failure
        .saying(format!("{left} {verb} left, {} cannot be taken away", amount.unsigned_abs()))
        .next("nothing was changed; get-product shows what is left and what orders hold")
}

fn no_data(example: &str) -> Failure {
    Failure::usage("the data is missing").next(format!("such as: {example}"))
}

fn taken(failure: Failure, flag: &str) -> Failure {
    if failure.reason == "ALREADY_EXISTS" {
        return failure.next(format!("if it is another one, give it an id of its own with {flag}"));
    }
    failure
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verb::call::parse;
    use crate::verb::words::words;

    #[test]
    fn a_price_that_is_most_often_a_slip_is_known_however_it_is_written() {
        let odd =
            |price: &str, decimals| odd_price(Price::parse(price).unwrap(), decimals).map(|odd| odd.what);
        for zero in ["0", "0.00", "0.000", "000"] {
            assert_eq!(odd(zero, 2).unwrap(), "the price is 0", "{zero}");
        }
        for (fine, decimals) in [("1", 0), ("0.01", 2), ("1.990", 2), ("1.999", 3), ("7.00", 0)] {
            assert_eq!(odd(fine, decimals), None, "{fine}");
        }
        assert_eq!(odd("1.999", 2).unwrap(), "the price 1.999 has 3 decimals");
        assert_eq!(odd("7.50", 0).unwrap(), "the price 7.50 has 1 decimal");
    }

    #[test]
    fn who_takes_too_much_away_is_told_what_is_left() {
        let short = portal::error::Short { pid: "fig".into(), wanted: 100, left: 17, holds: 0 };
        let error = Error::ShortStock { short: vec![short], more: 0 };
        let failure = short_of(Failure::of_status(&error.into()), -100);
        assert_eq!(failure.sentence(), "17 are left, 100 cannot be taken away");
        assert!(failure.message.starts_with("FAILED_PRECONDITION: not enough stock"), "{failure}");
    }

    #[test]
    fn a_first_word_that_is_no_data_is_the_id() {
        let id_of = |line: &str| {
            let call = parse(&MENU, &words(line).unwrap()).unwrap();
            split_id(&call, "CID").map(|(id, _)| id.map(str::to_owned))
        };
        assert_eq!(id_of("insert-client ana name=Ana").unwrap().as_deref(), Some("ana"));
        assert_eq!(id_of("insert-client name=Ana").unwrap(), None);
        assert_eq!(id_of("insert-client '{\"name\":\"Ana\"}'").unwrap(), None);
        assert_eq!(id_of("insert-client").unwrap(), None);
        assert!(one_of(Some("ana"), Some("bia"), "--cid").unwrap_err().message.contains("two ids"));
        assert_eq!(one_of(None, Some("bia"), "--cid").unwrap(), Some("bia"));
        let empty = id_of("insert-client '' name=Ana").unwrap_err();
        assert!(empty.to_string().contains("CID is \"\", and must be an id of 1 to 128 bytes"), "{empty}");
    }
}
