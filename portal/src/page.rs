//! Pages of lists: limits, prefixes, cursors, and what is left out of them.
//!
//! Lists by id are in key order, which is the order of the ids' bytes as they stand in keys (`{ } / %` and control
//! characters percent-encoded). Their cursor is the id of the last thing shown; `list` has those of other orders. The store ends a page
//! early when its records grow large (1 MiB), so that the answer fits in a message: only an empty cursor is the end.
//!
//! One damaged record must not take a list down: it is left out and named ([`LeftOut`]), and the cursor goes past it
//! also where its key holds no id that a cursor could be ([`Portal::page`]).

use bytes::Bytes;
use proto::portal::{Damage, DamagedRecord};
use proto::store::KeyRecord;
use store_client::Range;

use crate::error::Error;
use crate::handle::Portal;
use crate::id::plain;
use crate::limits::{ERROR_LIST_MAX, ID_BYTES_MAX, PAGE_DEFAULT, PAGE_MAX};
use crate::status::cut_damage;

/// Pages read on in one request because no cursor can name the key that a page ends at.
const STRAY_PAGES_MAX: usize = 16;

/// The size of a page that a request asks for.
///
/// # Errors
/// INVALID_ARGUMENT.
pub fn limit(limit_wanted: u32) -> Result<u32, Error> {
    match limit_wanted {
        0 => Ok(PAGE_DEFAULT),
        1..=PAGE_MAX => Ok(limit_wanted),
        _ => Err(Error::invalid(
            "limit",
            format!("{limit_wanted} is not within 1 and {PAGE_MAX} (0 means {PAGE_DEFAULT})"),
        )),
    }
}

/// The prefix that a request asks for.
///
/// # Errors
/// INVALID_ARGUMENT.
pub fn prefix(limit_wanted: &str) -> Result<&str, Error> {
    if limit_wanted.len() > ID_BYTES_MAX {
        return Err(Error::invalid(
            "prefix",
            format!("{} bytes; ids have at most {ID_BYTES_MAX}", limit_wanted.len()),
        ));
    }
    plain("prefix", limit_wanted)?;
    Ok(limit_wanted)
}

/// One page of records.
#[derive(Debug)]
pub struct Page {
    /// In key order.
    pub records: Vec<KeyRecord>,
    /// The cursor; empty: that was all.
    pub next: String,
}

/// The records of a page that are not what portals write, each named, up to a bound.
#[derive(Debug, Default)]
pub struct LeftOut(Damage);

impl LeftOut {
    /// What a record shows; a damaged one is noted and shows nothing.
    ///
    /// # Errors
    /// Any other error.
    pub fn or<T>(&mut self, shown: Result<T, Error>) -> Result<Option<T>, Error> {
        match shown {
            Ok(shown) => Ok(Some(shown)),
            Err(Error::Damaged { key, why }) => {
                tracing::warn!(%key, %why, "a damaged record is left out of a list");
                if self.0.records.len() < ERROR_LIST_MAX {
                    let (key, why) = cut_damage(&key, &why);
                    self.0.records.push(DamagedRecord { key, why });
                } else {
                    self.0.more += 1;
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// For the answer; `None`: nothing was left out.
    #[must_use]
    pub fn damage(self) -> Option<Damage> {
        Some(self.0).filter(|damage| !damage.records.is_empty())
    }
}

impl Portal {
    /// One page of the store, past the cache. `cursor_of` is what a cursor says of a key; where it has no words, which
    /// only keys that no portal wrote have, the page goes on to the next key that has.
    ///
    /// # Errors
    /// UNAVAILABLE; [`Error::Damaged`] if there are too many such keys in a row.
    pub async fn page(
        &self,
        range: Range,
        limit: u32,
        after: Option<Bytes>,
        cursor_of: impl Fn(&[u8]) -> Option<String>,
    ) -> Result<Page, Error> {
        let mut listed = self.list(range.clone(), limit, after).await?;
        for _ in 0..STRAY_PAGES_MAX {
            let last = listed.records.last().filter(|_| listed.more).map(|one| one.key.clone());
            let Some(last) = last else { return Ok(Page { records: listed.records, next: String::new() }) };
            if let Some(next) = cursor_of(&last) {
                return Ok(Page { records: listed.records, next });
            }
            let mut further = self.list(range.clone(), PAGE_MAX, Some(last)).await?;
            let keep = further.records.iter().position(|one| cursor_of(&one.key).is_some());
            let keep = keep.map_or(further.records.len(), |at| at + 1);
            listed.more = further.more || keep < further.records.len();
            listed.records.extend(further.records.drain(..keep));
        }
        let last = listed.records.last().map_or(&b""[..], |one| &one.key);
        Err(Error::damaged(
            last,
            "and thousands before it: keys that no portal wrote; delete them with feira kv",
        ))
    }
}
