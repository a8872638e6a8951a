//! The shop's own record (`shop`): the version of the forms of its records, and the rules that all portals go by.
//!
//! ```json
//! {"schema":4,"orders_listed":true,"hold_ms":1800000,"currency":"BRL","feed_days":90,"decimals":3}
//! ```
//!
//! A shop without the record is of version 1, without rules. The first portal of a later program raises the version before it serves
//! anything; one that meets a later version than its own serves nothing, since it would call records damaged that it does not know. Rules are
//! in the store and in no portal's file: two portals never go by two rules.

use serde::{Deserialize, Serialize};

use proto::portal::{ShopRules, UpdateShopRequest};
use proto::store::Record;

use super::rules::is_zero;
use super::{read, write};
use crate::error::Error;
use crate::limits::{
    CURRENCY_LETTERS, DECIMALS_DEFAULT, DECIMALS_MAX, FEED_DAYS_DEFAULT, FEED_DAYS_MAX, HOLD_MINUTES_MAX,
};
use crate::money::Total;

/// The key of the record.
pub const KEY: &[u8] = b"shop";
/// The version that this program writes. 1: everything before the record was. 2: orders have rows in the list by time. 3: each
/// operation leaves an event in the feed; orders and their lines may have `extra`, and the shop `decimals`: programs before read both records
/// strictly and would call them damaged. 4: the record of the feed may say of when the dropped events were (`dropped_ms`), and clients and products
/// that are being deleted are noted for whoever goes on with it.
pub const SCHEMA_VERSION: u32 = 4;

const MINUTE_MS: i64 = 60_000;

/// The record as stored.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShopRecord {
    /// The version of the forms of the shop's records.
    pub schema: u32,
    /// Every order has its row, those of earlier versions too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub orders_listed: bool,
    /// Milliseconds after its last change that an order may be open; 0: for ever. Staff set whole minutes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hold_ms: i64,
    /// The currency of all prices, for people; empty: it is not said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub currency: String,
    /// Days that events are kept; 0: as many as by default.
    #[serde(default, skip_serializing_if = "is_no_days")]
    pub feed_days: u32,
    /// With how many decimals totals are shown; `None`: it is not said, and there are [`DECIMALS_DEFAULT`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decimals: Option<u32>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_no_days(days: &u32) -> bool {
    *days == 0
}

/// A version of the shop's record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KnownShop {
    /// The shop.
    pub shop: ShopRecord,
    /// The offset of that version; 0: there is no record.
    pub offset: u64,
}

/// What every version of the record has.
#[derive(Deserialize)]
struct Versioned {
    schema: u32,
}

impl Default for ShopRecord {
    /// That of a shop without the record.
    fn default() -> ShopRecord {
        let (hold_ms, currency, feed_days, decimals) = (0, String::new(), 0, None);
        ShopRecord { schema: 1, orders_listed: false, hold_ms, currency, feed_days, decimals }
    }
}

impl ShopRecord {
    /// Reads the stored record; there may be none.
    ///
    /// # Errors
    /// [`Error::Outdated`]: it is of a later program; [`Error::Damaged`].
    pub fn read(record: Option<&Record>) -> Result<ShopRecord, Error> {
        let Some(record) = record else { return Ok(ShopRecord::default()) };
        let Versioned { schema } = read(KEY, &record.data)?;
        if schema > SCHEMA_VERSION {
            return Err(Error::Outdated { schema, known: SCHEMA_VERSION });
        }
        read(KEY, &record.data)
    }

    /// The bytes to store.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        write(self)
    }

    /// The same shop with the rules of a request.
    ///
    /// # Errors
    /// INVALID_ARGUMENT, with the member that is wrong.
    pub fn with_rules(&self, asked: &UpdateShopRequest) -> Result<ShopRecord, Error> {
        let UpdateShopRequest { hold_minutes, currency, feed_days, decimals, .. } = asked;
        if *hold_minutes > HOLD_MINUTES_MAX {
            let why = format!("{hold_minutes} is not within 0 (never) and {HOLD_MINUTES_MAX} (a year)");
            return Err(Error::invalid("hold_minutes", why));
        }
        let is_code = currency.len() == CURRENCY_LETTERS && currency.bytes().all(|b| b.is_ascii_uppercase());
        if !currency.is_empty() && !is_code {
            let why = "must be three capital letters (ISO 4217) such as BRL, or empty";
            return Err(Error::invalid("currency", why));
        }
        if *feed_days > FEED_DAYS_MAX {
            let why = format!("{feed_days} is not within 0 ({FEED_DAYS_DEFAULT} days) and {FEED_DAYS_MAX}");
            return Err(Error::invalid("feed_days", why));
        }
        if let Some(decimals) = decimals.filter(|decimals| *decimals > DECIMALS_MAX) {
            let why = format!("{decimals} is not within 0 and {DECIMALS_MAX}");
            return Err(Error::invalid("decimals", why));
        }
        let hold_ms = i64::from(*hold_minutes) * MINUTE_MS;
        let (currency, feed_days, decimals) = (currency.clone(), *feed_days, *decimals);
        Ok(ShopRecord { hold_ms, currency, feed_days, decimals, ..self.clone() })
    }

    /// For how long after its last change an order may be open, milliseconds; `None`: for ever.
    #[must_use]
    pub fn hold_ms(&self) -> Option<i64> {
        (self.hold_ms > 0).then_some(self.hold_ms)
    }

    /// For how many days events are kept.
    #[must_use]
    pub const fn feed_days(&self) -> u32 {
        if self.feed_days == 0 { FEED_DAYS_DEFAULT } else { self.feed_days }
    }

    /// With how many decimals totals are shown.
    #[must_use]
    pub fn decimals(&self) -> u32 {
        self.decimals.unwrap_or(DECIMALS_DEFAULT)
    }

    /// A total as people are shown it.
    #[must_use]
    pub fn total_shown(&self, total: &str) -> String {
        Total::parse(total).map_or_else(|_| total.to_owned(), |total| total.rounded_text(self.decimals()))
    }

    /// What staff are shown; `etag` is the offset of the record.
    #[must_use]
    pub fn shown(&self, etag: u64) -> ShopRules {
        let ShopRecord { schema, orders_listed, hold_ms, currency, decimals, .. } = self.clone();
        let hold_minutes = u32::try_from(hold_ms.div_euclid(MINUTE_MS)).unwrap_or(HOLD_MINUTES_MAX);
        let feed_days = self.feed_days();
        ShopRules { hold_minutes, currency, feed_days, schema, orders_listed, etag, decimals }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(text: &str) -> Record {
        Record { data: text.to_owned().into(), ..Record::default() }
    }

    #[test]
    fn the_shop_is_stored_as_documented() {
        let (hold_ms, currency) = (1_800_000, "BRL".to_owned());
        let shop =
            ShopRecord { schema: 3, orders_listed: true, hold_ms, currency, feed_days: 90, decimals: None };
        let text = r#"{"schema":3,"orders_listed":true,"hold_ms":1800000,"currency":"BRL","feed_days":90}"#;
        assert_eq!(String::from_utf8_lossy(&shop.to_bytes()), text);
        assert_eq!(ShopRecord::read(Some(&stored(text))), Ok(shop));
        let decimals = ShopRecord { schema: 3, decimals: Some(0), ..ShopRecord::default() };
        assert_eq!(String::from_utf8_lossy(&decimals.to_bytes()), r#"{"schema":3,"decimals":0}"#);
        assert_eq!(ShopRecord::read(Some(&stored(r#"{"schema":3,"decimals":0}"#))), Ok(decimals));
        let bare = ShopRecord::default();
        assert_eq!(String::from_utf8_lossy(&bare.to_bytes()), r#"{"schema":1}"#);
        assert_eq!(ShopRecord::read(None), Ok(bare));
    }

    #[test]
    fn a_shop_of_a_later_program_is_no_damage() {
        let later = stored(r#"{"schema":99,"moons":["full"]}"#);
        assert_eq!(
            ShopRecord::read(Some(&later)),
            Err(Error::Outdated { schema: 99, known: SCHEMA_VERSION })
        );
        for bad in ["", "[]", r#"{"schema":2,"moons":1}"#, r#"{"schema":-1}"#, r#"{"hold_ms":3}"#] {
            let read = ShopRecord::read(Some(&stored(bad)));
            assert!(matches!(read, Err(Error::Damaged { .. })), "{bad}: {read:?}");
        }
    }

    #[test]
    fn wrong_rules_of_a_shop_are_named() {
        let asked = |hold_minutes, currency: &str| UpdateShopRequest {
            hold_minutes,
            currency: currency.to_owned(),
            ..UpdateShopRequest::default()
        };
        let shop = ShopRecord::default();
        let set = shop.with_rules(&asked(30, "BRL")).expect("rules");
        assert_eq!((set.hold_ms(), set.currency.as_str(), set.schema), (Some(1_800_000), "BRL", 1));
        assert_eq!(set.with_rules(&asked(0, "")).expect("no rules"), shop);
        let fine = UpdateShopRequest { decimals: Some(3), ..asked(0, "BRL") };
        let fine = shop.with_rules(&fine).expect("decimals");
        assert_eq!((fine.decimals(), fine.total_shown("4.3455").as_str()), (3, "4.346"));
        assert_eq!((shop.decimals(), shop.total_shown("4.3455").as_str()), (2, "4.35"));
        for (bad, field) in [
            (UpdateShopRequest { decimals: Some(DECIMALS_MAX + 1), ..asked(1, "") }, "decimals"),
            (asked(HOLD_MINUTES_MAX + 1, ""), "hold_minutes"),
            (asked(1, "R$"), "currency"),
            (asked(1, "brl"), "currency"),
            (UpdateShopRequest { feed_days: FEED_DAYS_MAX + 1, ..asked(1, "") }, "feed_days"),
        ] {
            let refused = shop.with_rules(&bad);
            assert!(matches!(&refused, Err(Error::Invalid { field: at, .. }) if at == field), "{refused:?}");
        }
    }
}
