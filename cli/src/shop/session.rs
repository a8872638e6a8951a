//! The shoppers' verbs, bound to calls. The client is named once (`use CID`, or `feira shop --cid CID`).

use std::sync::Arc;

use client_portal::operations::Settle;
use portal::index::after_product;
use proto::json::sort::named;
use proto::portal::{BrowseProductsRequest, Order, Product, SettleRequest};
use serde_json::json;

use super::orders::Content;
use super::via::{Asking, Asks};
use super::{orders, settled, view};
use crate::admin::paging::Part;
use crate::admin::{cache, view as things};
use crate::failure::{Failure, Reader};
use crate::reach::matter::Matter;
use crate::reach::open_requests::OpenRequests;
use crate::reach::places::READ;
use crate::reach::request::request_id;
use crate::repl::ask::Asker;
use crate::repl::drive::{Session, Step};
use crate::repl::ids::{IDS_MAX, Ids};
use crate::repl::meant::{LOOK_MAX, Looks, missing, proposing};
use crate::show::answer::{Answer, counted};
use crate::show::written::in_line;
use crate::verb::call::Call;
use crate::verb::shared::EXTRA;
use crate::verb::shop::{MENU, Shop};
use crate::verb::spec::{Kind, Menu};

/// A shopper's session.
pub struct ShopSession {
    portals: Asking,
    ids: Ids,
    /// Who orders.
    cid: Option<String>,
    /// For ids that were meant.
    looks: Looks,
    /// Requests that were not answered yet.
    open: Arc<OpenRequests>,
}

impl ShopSession {
    /// Over these portals, as this client if one is named; `ids` feeds completion.
    #[must_use]
    pub fn new(portals: Asking, ids: Ids, cid: Option<String>) -> ShopSession {
        if let Some(cid) = &cid {
            ids.add(Kind::Cid, cid);
        }
        ShopSession { portals, ids, cid, looks: Looks::default(), open: Arc::default() }
    }

    /// The same, which keeps its requests there until they are answered.
    #[must_use]
    pub fn keeping(self, open: Arc<OpenRequests>) -> ShopSession {
        let portals = self.portals.keeping(&open);
        ShopSession { portals, open, ..self }
    }

    /// Fetches ids for completion. Failing to is no matter: there is less to complete with.
    pub async fn refresh(&self) {
        let Some(cid) = &self.cid else { return };
        let some = Part::first(IDS_MAX as u64);
        let all = BrowseProductsRequest { cid: cid.clone(), ..BrowseProductsRequest::default() };
        if let Ok(found) = orders::browse(&self.portals, &all, some).await {
            self.ids.replace(Kind::Pid, found.items.into_iter().map(|product| product.pid));
        }
        if let Ok(found) = orders::list(&self.portals, cid, some).await {
            self.ids.replace(Kind::Oid, found.items.into_iter().map(|order| order.oid));
        }
    }

    fn cid<'a>(&'a self, call: &'a Call<Shop>) -> Result<&'a str, Failure> {
        call.get("--cid").or(self.cid.as_deref()).ok_or_else(|| {
            Failure::usage("say who you are first: use CID").next("or add --cid CID to the command")
        })
    }

    async fn enter(&mut self, cid: &str) -> Result<Answer, Failure> {
        // Asking for orders is how the portal tells a registered client from a stranger.
        let found = orders::list(&self.portals, cid, Part::first(IDS_MAX as u64)).await?;
        self.cid = Some(cid.to_owned());
        self.ids.add(Kind::Cid, cid);
        let count = found.items.len();
        self.ids.replace(Kind::Oid, found.items.into_iter().map(|order| order.oid));
        self.refresh().await;
        let at_least = if found.more { "more than " } else { "" };
        Ok(Answer::line(
            format!("you are {cid}; {at_least}{} so far", counted(count, "order")),
            json!({"cid": cid, "orders": count}),
        ))
    }

    async fn change(&self, call: &Call<Shop>) -> Result<Answer, Failure> {
        let cid = self.cid(call)?;
        let request = request_id(call.get("--request"));
        let given = call.lines("PID=QUANTITY")?;
        let extra = call.get(EXTRA.name).unwrap_or("").to_owned();
        let (merged, content) = (view::merged(&given), Content { lines: orders::lines(&given), extra });
        let (what, order): (&str, Order) = match call.verb.operation {
            Shop::CreateOrder => {
                ("opened ", orders::create(&self.portals, cid, content, request, false).await?)
            }
            Shop::ModifyOrder => {
                let if_match = call.count("--if-match").unwrap_or(0);
                let which = (cid, call.text("OID"));
                ("changed ", orders::modify(&self.portals, which, content, if_match, request, false).await?)
            }
            Shop::ConfirmOrder => {
                let total = call.get("--total").unwrap_or("");
                let which = (cid, call.text("OID"));
                ("confirmed ", orders::confirm(&self.portals, which, total, request).await?)
            }
            _ => ("cancelled ", orders::cancel(&self.portals, cid, call.text("OID"), request).await?),
        };
        self.ids.add(Kind::Oid, &order.oid);
        Ok(view::order(what, &order).noting(merged))
    }

    async fn settle(&self, call: &Call<Shop>) -> Result<Answer, Failure> {
        let id = call.text("ID");
        let remembered = self.open.find(id).map(|one| one.begun.cid).filter(|cid| !cid.is_empty());
        let cid = match (call.get("--cid"), remembered) {
            (None, Some(cid)) => cid,
            _ => self.cid(call)?.to_owned(),
        };
        let matter = Matter::of_client(&cid);
        let request = Some(request_id(Some(id)));
        let settled = self.portals.ask::<Settle>(READ, SettleRequest { cid, request }).await;
        let settled = settled.map_err(|failure| settled::not_known(failure, id, &matter))?;
        self.open.settled(id, &matter);
        Ok(settled::answer(id, &matter, &settled, settled.order.as_ref().map(|order| view::order("", order))))
    }

    async fn show(&self, call: &Call<Shop>) -> Result<Answer, Failure> {
        let cid = self.cid(call)?;
        let part = Part { limit: call.count("--limit"), after: call.get("--after").unwrap_or("") };
        Ok(match call.verb.operation {
            Shop::GetOrder => view::order("", &orders::get(&self.portals, cid, call.text("OID")).await?),
            Shop::ListOrders => {
                let found = orders::list(&self.portals, cid, part).await?;
                view::orders(&found.items)
                    .warning(found.notes(Reader::Shopper, "order", |order| order.oid.clone()))
            }
            Shop::Product => {
                let product = orders::product(&self.portals, cid, call.text("PID")).await?;
                things::product(String::new(), &product, Reader::Shopper)
            }
            _ => {
                let wanted = browsing(cid, call);
                let found = orders::browse(&self.portals, &wanted, part).await?;
                let cursor = |product: &Product| after_product(wanted.sort(), product);
                let told = found.notes(Reader::Shopper, "product", cursor);
                things::products(&found.items, Reader::Shopper).warning(told)
            }
        })
    }
}

/// What a list of products is to be.
fn browsing(cid: &str, call: &Call<Shop>) -> BrowseProductsRequest {
    let text = |name| call.get(name).unwrap_or("").to_owned();
    BrowseProductsRequest {
        cid: cid.to_owned(),
        prefix: text("PREFIX"),
        sort: named(&text("--sort")).into(),
        words: text("--words"),
        category: text("--category"),
        ..BrowseProductsRequest::default()
    }
}

impl Session for ShopSession {
    type Operation = Shop;

    fn menu(&self) -> &'static Menu<Shop> {
        &MENU
    }

    fn prompt(&self) -> String {
        self.cid.as_deref().map_or_else(|| "shop".to_owned(), |cid| in_line(cid).into_owned())
    }

    fn open(&self) -> &Arc<OpenRequests> {
        &self.open
    }

    fn in_name_of<'a>(&'a self, call: &'a Call<Shop>) -> Option<&'a str> {
        call.get("--cid").or(self.cid.as_deref())
    }

    fn ask_with(&mut self, _asker: Option<Asker>) {}

    async fn run(&mut self, call: Call<Shop>) -> Result<Step, Failure> {
        // What is known here are the orders of this session's client.
        let is_anothers = call.get("--cid").is_some_and(|cid| self.cid.as_deref() != Some(cid));
        match self.act(&call).await {
            Err(failure) => {
                let failure = failure.read_by(Reader::Shopper);
                let is_of_order = missing(&failure).is_some_and(|(kind, _)| kind == Kind::Oid);
                if is_anothers && is_of_order { Err(failure) } else { Err(self.advised(failure).await) }
            }
            done => done,
        }
    }
}

impl ShopSession {
    /// A failure with the id that was probably meant. Of clients a shopper sees none but those named here.
    async fn advised(&mut self, failure: Failure) -> Failure {
        let known = proposing(failure.clone(), &self.ids);
        if known != failure {
            return known;
        }
        if missing(&failure).is_some_and(|(kind, _)| kind != Kind::Cid) && self.looks.another() {
            // Without it there is only less to propose.
            let _ = tokio::time::timeout(LOOK_MAX, self.refresh()).await;
        }
        proposing(failure, &self.ids)
    }

    async fn act(&mut self, call: &Call<Shop>) -> Result<Step, Failure> {
        let answer = match call.verb.operation {
            Shop::Use => self.enter(call.text("CID")).await?,
            Shop::CreateOrder | Shop::ModifyOrder | Shop::ConfirmOrder | Shop::CancelOrder => {
                self.change(call).await?
            }
            Shop::GetOrder | Shop::ListOrders | Shop::Products | Shop::Product => self.show(call).await?,
            Shop::Settle => self.settle(call).await?,
            Shop::Portal => cache::ask(self.portals.portals()?).await?,
            Shop::Help => return Ok(Step::Help),
            Shop::Exit => return Ok(Step::Leave),
        };
        Ok(Step::Show(answer))
    }
}
