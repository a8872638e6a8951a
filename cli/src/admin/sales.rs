//! `list-sales`: what was sold on a day, in a month or between two times, and the best sellers: the pages of the portals, added up.

use std::collections::BTreeMap;
use std::ops::Range;

use admin_portal::operations::GetSales;
use portal::calendar::UtcOffset;
use portal::money::Sum;
use proto::portal::{Damage, GetSalesRequest, Sales};
use serde_json::{Value, json};
use store_client::now_ms;

use super::asking::ask;
use super::paging::warnings;
use crate::failure::Failure;
use crate::reach::places::READ;
use crate::reach::portals::Portals;
use crate::show::answer::{Answer, counted};
use crate::show::moment;
use crate::show::table::{Column, Table};
use crate::show::written::id;
use crate::verb::admin::Admin;
use crate::verb::call::Call;

/// Damaged records that are named; the others are counted.
const NAMED_MAX: usize = 20;
/// How offsets are written, for people.
const OFFSETS: &str = "such as -03:00 or +05:30";

/// The sales that a command names.
///
/// # Errors
/// Flags that contradict each other; FAILED_PRECONDITION: events of the span are kept no more; or as every call.
pub async fn list(portals: &Portals, call: &Call<Admin>) -> Result<Answer, Failure> {
    let asked = Asked::of(call, now_ms())?;
    let mut added = Added::default();
    let mut message = GetSalesRequest {
        from_ms: asked.span.start,
        to_ms: asked.span.end,
        utc_offset: asked.offset.clone(),
        ..GetSalesRequest::default()
    };
    loop {
        let page = ask::<GetSales>(portals, READ, message.clone()).await.map_err(trimmed)?;
        message.after.clone_from(&page.next);
        added.add(page)?;
        if message.after.is_empty() {
            return Ok(view(&asked, &added));
        }
    }
}

/// A part of what was asked for is known no more: what can be asked for is in the portal's own words.
fn trimmed(failure: Failure) -> Failure {
    match failure.reason.as_str() {
        "FEED_TRIMMED" => {
            failure.next("ask for a later span; set-shop --feed-days says for how long it is known what was sold, from now on")
        }
        _ => failure,
    }
}

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    /// The span, milliseconds since 1970.
    pub span: Range<i64>,
    /// What the span is called.
    pub name: String,
    /// How far the shop's clocks are ahead of UTC, as it was written.
    pub offset: String,
    /// The rows are products.
    pub by_product: bool,
    /// How many rows at most; 0: all.
    pub limit: usize,
}

impl Asked {
    /// What a command asks for at this time.
    ///
    /// # Errors
    /// Two spans, or one that is none.
    pub fn of(call: &Call<Admin>, now_ms: i64) -> Result<Asked, Failure> {
        let usage = |message: String| {
            Failure::usage(format!("list-sales: {message}")).next(format!("such as: {}", call.verb.example))
        };
        let offset = call.get("--utc-offset").unwrap_or_default();
        let place = UtcOffset::parse(offset)
            .ok_or_else(|| usage(format!("--utc-offset is {offset:?}, and must be an offset, {OFFSETS}")))?;
        let of_word = |name: &str, span: Option<Range<i64>>, form: &str| {
            let word = call.get(name).unwrap_or_default();
            span.map(|span| (span, word.to_owned()))
                .ok_or_else(|| usage(format!("{name} is {word:?}, and must be {form}")))
        };
        let time = |name: &str, none: i64| match call.get(name) {
            None => Ok(none),
            Some(word) => moment::read_at(word, now_ms, place)
                .ok_or_else(|| usage(format!("{name} is {word:?}, and must be {}", moment::FORMS))),
        };
        let today = place.day_of(now_ms);
        let (span, name) =
            match (call.get("--day"), call.get("--month"), call.has("--from") || call.has("--to")) {
                (None, None, false) => {
                    of_word("--day", place.day(&today), "a day").map(|(span, _)| (span, today))?
                }
                (Some(day), None, false) => of_word("--day", place.day(day), "a day, such as 2026-11-30")?,
                (None, Some(month), false) => {
                    of_word("--month", place.month(month), "a month, such as 2026-11")?
                }
                (None, None, true) => {
                    let span = time("--from", 1)?..time("--to", now_ms)?;
                    let shown = |ms: i64| moment::shown(ms.saturating_add(place.ms()));
                    let from =
                        if call.has("--from") { shown(span.start) } else { "the beginning".to_owned() };
                    let name = format!("{from} to {}", shown(span.end));
                    (span, name)
                }
                _ => return Err(usage("--day, --month, and --from with --to exclude each other".to_owned())),
            };
        if span.is_empty() {
            return Err(usage(format!("nothing is in between: {name}")));
        }
        let limit = usize::try_from(call.count("--limit").unwrap_or(0)).unwrap_or(usize::MAX);
        let by_product = call.get("--by") == Some("product");
        let name = if offset.is_empty() { name } else { format!("{name} ({offset})") };
        Ok(Asked { span: span.start.max(1)..span.end, name, offset: offset.to_owned(), by_product, limit })
    }
}

/// Orders, units, money.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Count {
    orders: u64,
    units: u64,
    amount: Sum,
}

impl Count {
    fn of(orders: u64, units: u64, amount: &str) -> Result<Count, Failure> {
        let amount = Sum::parse(amount).ok_or_else(|| {
            Failure::refused(format!("a portal answered {amount:?}, which is no sum of money"))
        })?;
        Ok(Count { orders, units, amount })
    }

    fn add(&mut self, more: Count) {
        self.orders = self.orders.saturating_add(more.orders);
        self.units = self.units.saturating_add(more.units);
        self.amount = self.amount.and(more.amount);
    }
}

/// What was sold, and what was taken back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Counts {
    sold: Count,
    back: Count,
}

impl Counts {
    fn add(&mut self, more: Counts) {
        self.sold.add(more.sold);
        self.back.add(more.back);
    }

    fn net_units(&self) -> i128 {
        i128::from(self.sold.units) - i128::from(self.back.units)
    }

    fn net(&self) -> Sum {
        self.sold.amount.less(self.back.amount)
    }

    fn document(&self, decimals: u32) -> Value {
        let Counts { sold, back } = self;
        json!({
            "orders": sold.orders, "units": sold.units, "amount": sold.amount.to_string(),
            "orders_back": back.orders, "units_back": back.units, "amount_back": back.amount.to_string(),
            "net_units": sold.units.cast_signed().saturating_sub_unsigned(back.units),
            "net_amount": self.net().to_string(), "net_shown": self.net().rounded_text(decimals),
        })
    }
}

/// The pages so far.
#[derive(Debug, Default)]
pub struct Added {
    days: BTreeMap<String, Counts>,
    products: BTreeMap<String, (String, Counts)>,
    since_ms: i64,
    so_far: bool,
    damage: Damage,
    currency: String,
    decimals: u32,
}

impl Added {
    /// Adds a page.
    ///
    /// # Errors
    /// It has what is no sum of money.
    pub fn add(&mut self, page: Sales) -> Result<(), Failure> {
        for day in page.days {
            let sold = Count::of(day.orders, day.units, &day.amount)?;
            let back = Count::of(day.orders_back, day.units_back, &day.amount_back)?;
            self.days.entry(day.day).or_default().add(Counts { sold, back });
        }
        for one in page.products {
            let sold = Count::of(one.orders, one.units, &one.amount)?;
            let back = Count::of(one.orders_back, one.units_back, &one.amount_back)?;
            let (description, counts) = self.products.entry(one.pid).or_default();
            *description = one.description;
            counts.add(Counts { sold, back });
        }
        self.since_ms = self.since_ms.max(page.since_ms);
        (self.so_far, self.currency, self.decimals) = (page.so_far, page.currency, page.decimals);
        let damage = page.damage.unwrap_or_default();
        self.damage.records.extend(damage.records);
        let beyond = self.damage.records.len().saturating_sub(NAMED_MAX) as u64;
        self.damage.more += damage.more + beyond;
        self.damage.records.truncate(NAMED_MAX);
        Ok(())
    }

    fn total(&self) -> Counts {
        self.days.values().fold(Counts::default(), |mut total, counts| {
            total.add(*counts);
            total
        })
    }

    /// The best sellers first: by units, then by money, then by id.
    fn best(&self) -> Vec<(&str, &str, Counts)> {
        let all = self.products.iter();
        let mut all: Vec<_> =
            all.map(|(pid, (description, counts))| (pid.as_str(), description.as_str(), *counts)).collect();
        all.sort_by_key(|(_, _, counts)| (-counts.net_units(), std::cmp::Reverse(counts.net())));
        all
    }
}

/// The sales as people and programs see them.
#[must_use]
pub fn view(asked: &Asked, added: &Added) -> Answer {
    let (rows, table, all): Rows = if asked.by_product { products(asked, added) } else { days(asked, added) };
    let cut = (all > rows.len()).then(|| {
        let word = if asked.by_product { "product" } else { "day" };
        format!("{} shown of {all}: --limit 0 shows all", counted(rows.len(), word))
    });
    let total = added.total();
    let document = json!({
        "from_ms": asked.span.start, "to_ms": asked.span.end, "utc_offset": asked.offset,
        "currency": added.currency, "decimals": added.decimals,
        "since_ms": added.since_ms, "so_far": added.so_far,
        "total": total.document(added.decimals),
        (if asked.by_product { "products" } else { "days" }): rows,
    });
    Answer::table(head(asked, added, &total), document, table).noting(cut).warning(told(asked, added))
}

fn head(asked: &Asked, added: &Added, total: &Counts) -> String {
    let money = |sum: Sum| match added.currency.as_str() {
        "" => sum.rounded_text(added.decimals),
        currency => format!("{} {currency}", sum.rounded_text(added.decimals)),
    };
    let Counts { sold, back } = total;
    let of = |count: &Count| {
        format!(
            "{}, {}, {}",
            counted(count.orders, "order"),
            counted(count.units, "unit"),
            money(count.amount)
        )
    };
    let so_far = if added.so_far { " so far" } else { "" };
    let head = format!("sold, {}{so_far}: {}", asked.name, of(sold));
    if back.orders == 0 {
        return head;
    }
    format!("{head}; taken back: {}; net {}", of(back), money(total.net()))
}

/// What is to be known beside the sums.
fn told(asked: &Asked, added: &Added) -> Vec<String> {
    let since = (added.since_ms > 0).then(|| {
        let place = UtcOffset::parse(&asked.offset).unwrap_or_default();
        format!(
            "sales before {} may be missing: portals of an earlier program, which leave no events, may have been there until then",
            moment::shown(added.since_ms.saturating_add(place.ms()))
        )
    });
    since.into_iter().chain(warnings(&added.damage)).collect()
}

/// The columns of both tables behind their first.
fn columns(first: &[Column]) -> Vec<Column> {
    let counts = [
        Column::number("ORDERS"),
        Column::number("UNITS"),
        Column::number("AMOUNT"),
        Column::number("BACK").dropped(2),
        Column::number("AMOUNT BACK").dropped(1),
        Column::number("NET"),
    ];
    first.iter().cloned().chain(counts).collect()
}

fn cells(counts: &Counts, decimals: u32) -> [String; 6] {
    let Counts { sold, back } = counts;
    let back_of = |text: String| if back.orders == 0 { String::new() } else { text };
    [
        sold.orders.to_string(),
        sold.units.to_string(),
        sold.amount.rounded_text(decimals),
        back_of(back.units.to_string()),
        back_of(back.amount.rounded_text(decimals)),
        counts.net().rounded_text(decimals),
    ]
}

/// The shown rows for programs, those for people, and how many there are.
type Rows = (Vec<Value>, Table, usize);

fn most(asked: &Asked) -> usize {
    if asked.limit == 0 { usize::MAX } else { asked.limit }
}

fn days(asked: &Asked, added: &Added) -> Rows {
    let mut table = Table::new(&columns(&[Column::whole("DAY")]));
    let mut documents = Vec::new();
    for (day, counts) in added.days.iter().take(most(asked)) {
        table.row(std::iter::once(day.clone()).chain(cells(counts, added.decimals)));
        let mut document = counts.document(added.decimals);
        document["day"] = day.as_str().into();
        documents.push(document);
    }
    (documents, table, added.days.len())
}

fn products(asked: &Asked, added: &Added) -> Rows {
    let mut table = Table::new(&columns(&[Column::whole("PID"), Column::words("DESCRIPTION").dropped(3)]));
    let (best, mut documents) = (added.best(), Vec::new());
    for (pid, description, counts) in best.iter().take(most(asked)) {
        let first = [id(pid), (*description).to_owned()];
        table.row(first.into_iter().chain(cells(counts, added.decimals)));
        let mut document = counts.document(added.decimals);
        (document["pid"], document["description"]) = ((*pid).into(), (*description).into());
        documents.push(document);
    }
    (documents, table, best.len())
}

#[cfg(test)]
mod tests {
    use proto::portal::{SalesOfDay, SalesOfProduct};

    use super::*;
    use crate::verb::admin::MENU;
    use crate::verb::call::parse;
    use crate::verb::words::words;

    /// 2026-11-30T01:20:00Z: the day before, three hours west.
    const NOW_MS: i64 = 1_796_001_600_000;
    const HOUR_MS: i64 = 3_600_000;

    fn asked(line: &str) -> Result<Asked, Failure> {
        let call = parse(&MENU, &words(&format!("sales {line}")).unwrap()).unwrap();
        Asked::of(&call, NOW_MS)
    }

    #[test]
    fn a_command_names_its_span_by_day_month_or_times_of_the_place() {
        let midnight_ms = NOW_MS - HOUR_MS - 20 * 60_000;
        let today = asked("").unwrap();
        assert_eq!(
            (today.span, today.name.as_str()),
            (midnight_ms..midnight_ms + 24 * HOUR_MS, "2026-11-30")
        );
        let there = asked("--utc-offset -03:00").unwrap();
        let from_ms = midnight_ms - 21 * HOUR_MS;
        assert_eq!(
            (there.span, there.name.as_str()),
            (from_ms..from_ms + 24 * HOUR_MS, "2026-11-29 (-03:00)")
        );
        let month = asked("--month 2026-11").unwrap();
        assert_eq!((month.span.end - month.span.start) / (24 * HOUR_MS), 30);
        let times = asked("--from 2026-11-29T22:00 --to 2026-11-29T23:00 --utc-offset -03:00").unwrap();
        assert_eq!(times.span, midnight_ms + HOUR_MS..midnight_ms + 2 * HOUR_MS);
        assert_eq!(times.name, "2026-11-29 22:00 to 2026-11-29 23:00 (-03:00)");
        let so_far = asked("--from 2h").unwrap();
        assert_eq!(so_far.span, NOW_MS - 2 * HOUR_MS..NOW_MS);
        assert_eq!(asked("--to 1h").unwrap().name, "the beginning to 2026-11-30 00:20");
        for (wrong, why) in [
            ("--day 2026-11-31", "--day"),
            ("--month 2026-13", "--month"),
            ("--utc-offset 3", "--utc-offset"),
            ("--day 2026-11-30 --month 2026-11", "exclude each other"),
            ("--day 2026-11-30 --from 7d", "exclude each other"),
            ("--from 1h --to 2h", "nothing is in between"),
        ] {
            let failure = asked(wrong).unwrap_err();
            assert!(failure.message.contains(why), "{wrong}: {failure}");
        }
    }

    #[test]
    fn who_asks_for_what_is_known_no_more_is_told_what_is() {
        let error = portal::Error::FeedTrimmed { oldest: "1:7.65535".into(), kept_ms: NOW_MS };
        let told = trimmed(Failure::of_status(&error.into())).to_string();
        assert!(told.contains("all are kept that were done from 2026-11-30T01:20:00Z on"), "{told}");
        assert!(told.contains("ask for a later span") && !told.contains("--after"), "{told}");
    }

    #[test]
    fn pages_are_added_up_exactly_and_the_best_sellers_come_first() {
        let day = |day: &str, amount: &str, amount_back: &str| SalesOfDay {
            day: day.into(),
            orders: 1,
            units: 3,
            amount: amount.into(),
            orders_back: 1,
            units_back: 1,
            amount_back: amount_back.into(),
        };
        let product = |pid: &str, units, units_back, amount: &str| SalesOfProduct {
            pid: pid.into(),
            units,
            units_back,
            amount: amount.into(),
            amount_back: "0.00".into(),
            ..SalesOfProduct::default()
        };
        let mut added = Added::default();
        for (amount, since_ms) in [("0.0000005", 7), ("0.10", 7), ("0.20", 0), ("0.10", 0)] {
            let page = Sales {
                days: vec![day("2026-11-30", amount, "0.05")],
                products: vec![
                    product("b", 5, 4, "1.00"),
                    product("a", 1, 0, "1.00"),
                    product("c", 1, 0, "9.00"),
                ],
                since_ms,
                decimals: 2,
                ..Sales::default()
            };
            let is_exact = amount.len() < 9;
            assert_eq!(added.add(page).is_ok(), is_exact, "{amount}: no price is so fine");
        }
        assert_eq!(added.total().net().to_string(), "0.25");
        assert_eq!(added.best().iter().map(|(pid, ..)| *pid).collect::<Vec<_>>(), ["c", "a", "b"]);
        assert_eq!(added.since_ms, 7);
        let shown = view(&asked("--limit 1 --by product").unwrap(), &added);
        assert_eq!(shown.document["total"]["net_amount"], "0.25");
        assert_eq!(shown.document["products"][0]["pid"], "c");
        assert_eq!(shown.notes, ["1 product shown of 3: --limit 0 shows all"]);
    }
}
