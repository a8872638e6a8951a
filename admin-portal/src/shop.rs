//! GetShop and UpdateShop: the rules that all portals of the shop go by. They are one record of the store, and every portal sees a
//! change at most a cache lease later.

use portal::attempt::{Attempts, Request, shown};
use portal::document::event::{Facts, Subject, What};
use portal::document::shop::ShopRecord;
use portal::error::Kind;
use portal::shop::guarding;
use portal::{Error, Portal, key};
use proto::portal::{ShopRules, UpdateShopRequest};
use proto::store::Record;
use store_client::now_ms;

pub(crate) async fn get_shop(portal: &Portal) -> Result<ShopRules, Error> {
    let known = portal.shop().await?;
    Ok(known.shop.shown(known.offset))
}

pub(crate) async fn update_shop(portal: &Portal, mut input: UpdateShopRequest) -> Result<ShopRules, Error> {
    let given = input.request.take();
    let request = Request::new("UpdateShop", given, &input)?;
    let mut attempts = Attempts::new(portal, request);
    loop {
        let known = portal.shop().await?;
        let shop = known.shop.with_rules(&input)?;
        let offset = if input.if_match == 0 { known.offset } else { input.if_match };
        let txn = guarding(offset).put(key::shop(), now_ms(), shop.to_bytes()).returning_after();
        let (before, after) = Facts::differences(Facts::of_shop(&known.shop), Facts::of_shop(&shop));
        let event = portal.event(Subject::Shop, What::Updated).after_version(offset).facts(before, after);
        // The records of the shop have its key as their tag.
        let answer = attempts.send(event.append_to(txn, "shop")).await?;
        if answer.success {
            return match shown(&answer, &key::shop()) {
                Some(record) => Ok(ShopRecord::read(Some(record))?.shown(record.offset())),
                None => get_shop(portal).await,
            };
        }
        if input.if_match != 0 {
            let stored = answer.failed.first().and_then(|failed| failed.record.as_ref());
            let etag = stored.map_or(0, Record::offset);
            return Err(Error::Changed { kind: Kind::Shop, id: "rules".to_owned(), etag });
        }
        attempts.again(&answer).await?;
    }
}
