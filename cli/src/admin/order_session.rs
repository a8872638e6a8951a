//! The administrators' verbs about orders, bound to calls.

use portal::document::staff_note::StaffReason;
use portal::error::Error;
use proto::portal::{OrderState, StaffListOrdersRequest};

use super::order_view;
use super::orders::{self, Meant, Move, NEWEST};
use super::paging::Part;
use crate::failure::{Failure, Reader, sentence_of};
use crate::reach::portals::Portals;
use crate::reach::request::request_id;
use crate::repl::ask::Asker;
use crate::repl::ids::Ids;
use crate::shop::orders::{Content, lines};
use crate::shop::view::merged;
use crate::show::answer::Answer;
use crate::show::moment;
use crate::verb::admin::Admin;
use crate::verb::call::Call;
use crate::verb::shared::EXTRA;
use crate::verb::spec::Kind;

/// What the verbs about orders need.
pub struct Orders<'a> {
    /// The portals.
    pub portals: &'a Portals,
    /// Live ids.
    pub ids: &'a Ids,
    /// How a missing reason is asked for, if a person is there.
    pub asker: Option<&'a Asker>,
}

impl Orders<'_> {
    /// Carries out one of them.
    ///
    /// # Errors
    /// What the portal says; or the command lacks a reason.
    pub async fn act(&self, call: &Call<Admin>) -> Result<Answer, Failure> {
        let done = match call.verb.operation {
            Admin::ListOrders => self.list(call).await,
            Admin::GetOrder => self.get(call).await,
            _ => self.change(call).await,
        };
        done.map_err(for_staff)
    }

    async fn list(&self, call: &Call<Admin>) -> Result<Answer, Failure> {
        let part = Part { limit: call.count("--limit"), after: call.get("--after").unwrap_or("") };
        let found = orders::list(self.portals, &wanted(call, store_client::now_ms()), part).await?;
        found.items.iter().for_each(|one| self.ids.add(Kind::Oid, &one.order.oid));
        let told = found.notes(Reader::Staff, "order", |one| one.cursor.clone());
        let shown: Vec<_> = found.items.into_iter().map(|one| one.order).collect();
        Ok(order_view::orders(&shown).warning(told))
    }

    async fn get(&self, call: &Call<Admin>) -> Result<Answer, Failure> {
        let order = orders::get(self.portals, call.text("CID"), call.text("OID")).await?;
        Ok(order_view::order("", &order))
    }

    async fn change(&self, call: &Call<Admin>) -> Result<Answer, Failure> {
        let by = call.get("--by").unwrap_or("");
        // Before anybody is asked for a reason.
        let given = call.lines("PID=QUANTITY")?;
        let meant = Meant {
            cid: call.text("CID"),
            oid: call.text("OID"),
            if_match: call.count("--if-match").unwrap_or(0),
            reason: self.reason(call, by).await?,
            by,
            request: request_id(call.get("--request")),
        };
        let (what, order, told) = match call.verb.operation {
            Admin::ModifyOrder => {
                let extra = call.get(EXTRA.name).unwrap_or("").to_owned();
                let content = Content { lines: lines(&given), extra };
                let order = orders::modify(self.portals, meant, content).await?;
                ("changed ", order, merged(&given))
            }
            Admin::ConfirmOrder => {
                let total = call.get("--total").unwrap_or("");
                ("confirmed ", orders::confirm(self.portals, meant, total).await?, None)
            }
            Admin::PayOrder => ("paid ", orders::advance(self.portals, meant, Move::Pay).await?, None),
            Admin::PackOrder => ("packed ", orders::advance(self.portals, meant, Move::Pack).await?, None),
            Admin::SendOrder => ("sent ", orders::advance(self.portals, meant, Move::Send).await?, None),
            Admin::ReturnOrder => {
                let restock = call.has("--restock");
                ("returned ", orders::take_back(self.portals, meant, restock).await?, None)
            }
            Admin::RefundOrder => ("refunded ", orders::refund(self.portals, meant).await?, None),
            _ => ("cancelled ", orders::cancel(self.portals, meant).await?, None),
        };
        self.ids.add(Kind::Oid, &order.oid);
        Ok(order_view::order(what, &order).noting(told))
    }

    /// Why: as the command says, or a person who is asked.
    async fn reason(&self, call: &Call<Admin>, by: &str) -> Result<String, Failure> {
        let needs_none = matches!(call.verb.operation, Admin::PayOrder | Admin::PackOrder | Admin::SendOrder);
        let accepted = |reason: &str| {
            let parse = if needs_none { StaffReason::maybe } else { StaffReason::parse };
            parse(reason, by).map(|_| reason.to_owned()).map_err(|error| sentence_of(&error))
        };
        match (call.get("--reason"), self.asker) {
            (None, _) if needs_none => accepted("").map_err(Failure::usage),
            (Some(reason), _) => accepted(reason).map_err(Failure::usage),
            (None, Some(asker)) => asker.ask_until("why, for the client and for other staff", accepted).await,
            (None, None) => Err(Failure::usage("the reason is missing")
                .next(format!("say why with --reason, such as: {}", call.verb.example))),
        }
    }
}

/// Which orders a command names.
fn wanted(call: &Call<Admin>, now_ms: i64) -> StaffListOrdersRequest {
    let text = |name: &str| call.get(name).unwrap_or("").to_owned();
    let state = call.get("--state").and_then(proto::json::state::named);
    let ms = |name: &str| {
        call.get(name).map_or(0, |word| moment::read(word, now_ms).expect("checked when the line was read"))
    };
    StaffListOrdersRequest {
        state: state.unwrap_or(OrderState::Unspecified).into(),
        cid: text("CID"),
        pid: text("--product"),
        changed_from_ms: ms("--since"),
        changed_to_ms: ms("--until"),
        sort: if call.has("--newest") { NEWEST } else { "" }.to_owned(),
        ..StaffListOrdersRequest::default()
    }
}

/// What staff can do about it, where it is another thing than for whoever ordered.
fn for_staff(failure: Failure) -> Failure {
    match failure.error() {
        Some(Error::NotYours { .. }) => failure.next("list-orders shows each order with its client"),
        Some(Error::NotOpen { .. }) => {
            failure.next("nothing was changed; get-order shows the order, and what staff did to it")
        }
        Some(Error::WrongState { .. }) => {
            failure.next("nothing was changed; help lists the moves, get-order shows what was done so far")
        }
        Some(Error::Gone { .. }) => {
            failure.next("nothing was changed; the orders of a removed client are as they stay: get-order")
        }
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verb::admin::MENU;
    use crate::verb::call::parse;
    use crate::verb::words::words;

    fn call(line: &str) -> Call<Admin> {
        parse(&MENU, &words(line).expect("words")).expect("a command")
    }

    #[test]
    fn the_filters_of_a_command_are_those_of_the_request() {
        const NOW_MS: i64 = 1_795_962_000_000;
        assert_eq!(wanted(&call("list-orders"), NOW_MS), StaffListOrdersRequest::default());
        assert_eq!(wanted(&call("list-orders --newest"), NOW_MS).sort, "newest");
        let line = "listarPedidos ana --state confirmed --product fig --since 12h --until 2026-11-29";
        let asked = StaffListOrdersRequest {
            state: OrderState::Confirmed.into(),
            cid: "ana".into(),
            pid: "fig".into(),
            changed_from_ms: NOW_MS - 12 * 3_600_000,
            changed_to_ms: 1_795_910_400_000,
            ..StaffListOrdersRequest::default()
        };
        assert_eq!(wanted(&call(line), NOW_MS), asked);
    }

    #[test]
    fn staff_are_told_what_staff_can_do() {
        let of = |error: Error| for_staff(Failure::of_status(&error.into())).next.unwrap_or_default();
        assert!(of(Error::NotYours { oid: "x".into() }).contains("list-orders"));
        let not_open = Error::NotOpen { oid: "x".into(), state: "confirmed".into() };
        assert!(of(not_open).contains("get-order"));
        assert!(of(Error::Gone { id: "ana".into() }).contains("removed client"));
    }
}
