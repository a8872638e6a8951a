//! The rules of the shop: shown, and set one by one.

use admin_portal::operations::{GetShop, UpdateShop};
use portal::limits::DECIMALS_DEFAULT;
use proto::portal::{GetShopRequest, ShopRules, UpdateShopRequest};

use super::asking::ask;
use crate::failure::Failure;
use crate::reach::places::{Call as Reach, READ};
use crate::reach::portals::Portals;
use crate::reach::request::request_id;
use crate::show::answer::{Answer, counted};
use crate::show::document::document;
use crate::verb::admin::Admin;
use crate::verb::call::Call;
use crate::verb::shared::{CURRENCY, DECIMALS, FEED_DAYS, HOLD_MINUTES, NO_CURRENCY};

/// `get-shop`.
///
/// # Errors
/// As every call.
pub async fn show(portals: &Portals) -> Result<Answer, Failure> {
    Ok(view("the shop's rules", &ask::<GetShop>(portals, READ, GetShopRequest {}).await?))
}

/// `set-shop`: what is not named stays as it is.
///
/// # Errors
/// No rule is named; ABORTED: somebody else changed them just now; or as every call.
pub async fn set(portals: &Portals, call: &Call<Admin>) -> Result<Answer, Failure> {
    let minutes = call.count(HOLD_MINUTES.name).map(|minutes| u32::try_from(minutes).unwrap_or(u32::MAX));
    let days = call.count(FEED_DAYS.name).map(|days| u32::try_from(days).unwrap_or(u32::MAX));
    let currency = match (call.get(CURRENCY.name), call.has(NO_CURRENCY.name)) {
        (Some(_), true) => {
            let both = format!("{} and {} contradict each other", CURRENCY.name, NO_CURRENCY.name);
            return Err(Failure::usage(both).next("give one of them"));
        }
        (given, is_none) => given.or(is_none.then_some("")),
    };
    let decimals = call.count(DECIMALS.name).map(|decimals| u32::try_from(decimals).unwrap_or(u32::MAX));
    let numbers = [minutes, days, decimals];
    if numbers.iter().all(Option::is_none) && currency.is_none() {
        return Err(Failure::usage("no rule is named").next(format!("such as: {}", call.verb.example)));
    }
    let now = ask::<GetShop>(portals, READ, GetShopRequest {}).await?;
    let request = request_id(call.get("--request"));
    let message = UpdateShopRequest {
        hold_minutes: minutes.unwrap_or(now.hold_minutes),
        currency: currency.map_or(now.currency, str::to_owned),
        feed_days: days.unwrap_or(now.feed_days),
        decimals: decimals.or(now.decimals),
        if_match: call.count("--if-match").unwrap_or(now.etag),
        request: Some(request.clone()),
    };
    Ok(view("set", &ask::<UpdateShop>(portals, Reach::write(&request), message).await?))
}

/// With how many decimals totals are shown.
///
/// # Errors
/// As every call.
pub async fn decimals(portals: &Portals) -> Result<u32, Failure> {
    Ok(decimals_of(&ask::<GetShop>(portals, READ, GetShopRequest {}).await?))
}

fn decimals_of(shop: &ShopRules) -> u32 {
    shop.decimals.unwrap_or(DECIMALS_DEFAULT)
}

/// The rules, under a line.
#[must_use]
pub fn view(head: &str, shop: &ShopRules) -> Answer {
    let document = document(shop);
    let held = match shop.hold_minutes {
        0 => "until they are cancelled".to_owned(),
        minutes => format!("for {} after the last change", counted(u64::from(minutes), "minute")),
    };
    let currency = if shop.currency.is_empty() { "none" } else { &shop.currency };
    let mut answer = Answer::line(head, document);
    answer.fields = vec![
        ("OPEN ORDERS HOLD STOCK".to_owned(), held),
        ("CURRENCY".to_owned(), currency.to_owned()),
        ("EVENTS ARE KEPT".to_owned(), format!("for {}", counted(u64::from(shop.feed_days), "day"))),
        ("TOTALS ARE SHOWN WITH".to_owned(), counted(u64::from(decimals_of(shop)), "decimal")),
        ("SCHEMA".to_owned(), shop.schema.to_string()),
        ("ETAG".to_owned(), shop.etag.to_string()),
    ];
    let listing = (!shop.orders_listed)
        .then(|| "orders of earlier versions are still being put into the list by time".to_owned());
    answer.noting(listing)
}
