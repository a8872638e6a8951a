//! First act: the shop. Register, stock, order, modify, list, an order refused for stock, cancel.

use futures::{StreamExt, TryStreamExt, stream};
use portal::money::{Price, Total};

use super::market::{buyers, goods};
use super::stage::Stage;
use crate::admin::paging::{Part, prefixed};
use crate::admin::{clients, products, view as things};
use crate::failure::{Failure, Reader};
use crate::reach::request::request_id;
use crate::shop::{orders, view};
use crate::verb::call::GivenLine;

/// Requests at once while the market is set up.
const IN_FLIGHT: usize = 16;
/// The product that is bought, and its companion.
const BANANA: &str = "banana-prata";
const MAMAO: &str = "mamao-formosa";

/// Inserts the example market.
///
/// # Errors
/// Something is refused.
pub async fn set_up(stage: &Stage) -> Result<(), Failure> {
    let admin = &stage.admin;
    stream::iter(buyers()?)
        .map(|buyer| async move { clients::insert(admin, &buyer.cid, &buyer.document(), None).await })
        .buffer_unordered(IN_FLIGHT)
        .try_collect::<Vec<_>>()
        .await?;
    stream::iter(goods()?)
        .map(|good| async move { products::insert(admin, &good.pid, &good.document(), None, None).await })
        .buffer_unordered(IN_FLIGHT)
        .try_collect::<Vec<_>>()
        .await?;
    Ok(())
}

/// Plays the act.
///
/// # Errors
/// A promise does not hold.
pub async fn play(stage: &mut Stage) -> Result<(), Failure> {
    stage.act("The market opens: four clients, forty goods");
    set_up(stage).await?;
    stage.command("admin list-products ba");
    let found = products::list(&stage.admin, &prefixed("ba"), Part::default()).await?.items;
    stage.show(&things::products(&found, Reader::Staff));
    stage.promise(found.len() == 5, "five goods begin with \"ba\", in order")?;
    register(stage).await?;
    let oid = order(stage).await?;
    modify(stage, &oid).await?;
    refuse(stage, &oid).await?;
    cancel(stage, &oid).await
}

const CID: &str = "raimunda-alves";

async fn register(stage: &mut Stage) -> Result<(), Failure> {
    stage.act("A client is registered once");
    stage.command("admin insert-client name='Raimunda Alves' city=Manaus");
    let data = r#"{"name":"Raimunda Alves","city":"Manaus"}"#;
    let client = clients::insert(&stage.admin, CID, data, None).await?;
    stage.show(&things::client(format!("registered with the CID {}", client.cid), &client));
    let again = clients::insert(&stage.admin, CID, data, None).await;
    stage.refused(again, "ALREADY_EXISTS", "a second client of that CID is refused")?;
    let stranger = orders::list(&stage.shop, "nobody", Part::default()).await;
    stage.refused(stranger, "CLIENT_UNKNOWN", "who is not registered is not served")
}

/// Units left and in orders, from the store itself, not from a cache.
async fn stock(stage: &Stage, pid: &str) -> Result<(i64, i64), Failure> {
    let data = stage.read(&format!("s/{{{pid}}}")).await?.unwrap_or_default();
    let stock: portal::document::stock::StockRecord = serde_json::from_slice(&data)
        .map_err(|e| Failure::refused(format!("the stock of {pid} cannot be read: {e}")))?;
    Ok((stock.available, stock.held))
}

fn total(parts: &[(&str, i64)]) -> Result<String, Failure> {
    let goods = goods()?;
    let mut total = Total::ZERO;
    for (pid, quantity) in parts {
        let good = goods.iter().find(|good| good.pid == *pid);
        let price = good.and_then(|good| Price::parse(&good.price).ok());
        let price = price.ok_or_else(|| Failure::refused(format!("the market has no {pid}")))?;
        total = total.plus(price.times(*quantity));
    }
    Ok(total.to_string())
}

async fn order(stage: &mut Stage) -> Result<String, Failure> {
    stage.act("An order takes its stock in one transaction");
    let before = stock(stage, BANANA).await?;
    stage.command(&format!("shop --cid {CID} create-order {BANANA}=3 {MAMAO}=2"));
    let lines = orders::lines(&[GivenLine::of(BANANA, 3), GivenLine::of(MAMAO, 2)]);
    let order = orders::create(&stage.shop, CID, lines, request_id(None), false).await?;
    stage.show(&view::order("opened ", &order));
    let expected = total(&[(BANANA, 3), (MAMAO, 2)])?;
    stage.promise(order.total == expected, &format!("the total is {expected}, in exact decimals"))?;
    let after = stock(stage, BANANA).await?;
    stage.promise(after == (before.0 - 3, before.1 + 3), "three units went from the stall into the order")?;
    Ok(order.oid)
}

async fn modify(stage: &mut Stage, oid: &str) -> Result<(), Failure> {
    stage.act("A change moves exactly the difference; 0 removes a line");
    let before = (stock(stage, BANANA).await?, stock(stage, MAMAO).await?);
    stage.command(&format!("shop --cid {CID} modify-order {oid} {BANANA}=5 {MAMAO}=0"));
    let lines = orders::lines(&[GivenLine::of(BANANA, 5), GivenLine::of(MAMAO, 0)]);
    let order = orders::modify(&stage.shop, (CID, oid), lines, 0, request_id(None), false).await?;
    stage.show(&view::order("changed ", &order));
    let after = (stock(stage, BANANA).await?, stock(stage, MAMAO).await?);
    stage.promise(after.0.0 == before.0.0 - 2, "two more of the one")?;
    stage.promise(after.1 == (before.1.0 + 2, before.1.1 - 2), "all of the other went back")?;
    stage.command(&format!("shop --cid {CID} list-orders"));
    let list = orders::list(&stage.shop, CID, Part::default()).await?.items;
    stage.show(&view::orders(&list));
    let expected = total(&[(BANANA, 5)])?;
    let listed = list.len() == 1 && list[0].oid == oid && list[0].total == expected;
    stage.promise(listed, "the list shows the order and its total")
}

async fn refuse(stage: &mut Stage, oid: &str) -> Result<(), Failure> {
    stage.act("Nobody buys what is not there");
    let before = stock(stage, BANANA).await?;
    let too_many = before.0 + 6;
    stage.command(&format!("shop --cid {CID} modify-order {oid} {BANANA}={too_many}"));
    let lines = orders::lines(&[GivenLine::of(BANANA, too_many)]);
    let answer = orders::modify(&stage.shop, (CID, oid), lines, 0, request_id(None), false).await;
    stage.refused(answer, "STOCK_SHORT", "the order is refused, and the answer says how many are left")?;
    let after = stock(stage, BANANA).await?;
    stage.promise(after == before, "nothing moved")
}

async fn cancel(stage: &mut Stage, oid: &str) -> Result<(), Failure> {
    stage.act("A cancelled order gives its stock back, once");
    let before = stock(stage, BANANA).await?;
    stage.command(&format!("shop --cid {CID} cancel-order {oid}"));
    let order = orders::cancel(&stage.shop, CID, oid, request_id(None)).await?;
    stage.show(&view::order("cancelled ", &order));
    orders::cancel(&stage.shop, CID, oid, request_id(None)).await?;
    let after = stock(stage, BANANA).await?;
    stage
        .promise(after == (before.0 + before.1, 0), "all units are back, and a second cancel changed nothing")
}
