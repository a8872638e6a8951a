//! The rows of the indexes, by which products and clients are listed in other orders than that of their ids. Pure.
//!
//! ```text
//!   i/p/d/maca fuji kg /{maca-fuji-kg}      a product, by the words of its description
//!   i/p/p/000000000002.550000/{maca-fuji-kg}   the same, by its price
//!   i/c/n/maria silva /{maria-silva}        a client, by the words of its name
//!   i/p, i/c                                  the marks: each product, each client, has its rows
//! ```
//!
//! A row stands under the id of its record in braces, hence in the group of that record, and is written in its transactions. The
//! sorted part is cut to [`SORTED_BYTES_MAX`] bytes at the end of a character; records with the same sorted part come in the order of
//! their ids. A row's data is what filters look at ([`Entry`]), so that a list reads only the records that it shows.
//!
//! **Invariant** (`index-holds-its-records`): *each row is one of [`rows_of`] of the record of its id as it is; where the mark is
//! set, each record has all of its rows.* It holds since each transaction that inserts, changes or deletes what rows are made of
//! guards the version of the record whose rows it removes ([`moved`]): of two that race, the later fails, and is decided anew from what
//! the first left. Orders move the count of a client's record, of which no row is made. Marks are set where there was no record
//! at all before the first, and at the end of a reindex. Portals of earlier versions write no rows: none may run any more
//! when a mark is set.
//!
//! Leaves out: reading lists (`list`), making rows anew (`admin-portal`), rows of orders.

use bytes::Bytes;
use proto::portal::{Client, ListSort, Product};
use proto::store::{Record, Txn};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::document::client::ClientRecord;
use crate::document::product::ProductRecord;
use crate::document::{State, read, write};
use crate::error::{Error, Kind};
use crate::id::{Cid, Pid, folded};
use crate::key;
use crate::limits::{
    CATEGORY_BYTES_MAX, FOUND_BYTES_MAX, PRICE_DECIMALS_MAX, PRICE_WHOLE_DIGITS_MAX, SORTED_BYTES_MAX,
};
use crate::money::Price;

/// The member of a product's document that holds its category.
const CATEGORY: &str = "category";

/// The orders of lists that have an index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sort {
    /// Products by description.
    Description,
    /// Products by price.
    Price,
    /// Clients by name.
    Name,
}

impl Sort {
    /// All of them.
    pub const ALL: [Sort; 3] = [Sort::Description, Sort::Price, Sort::Name];

    /// What the keys of its rows begin with.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Sort::Description => "i/p/d/",
            Sort::Price => "i/p/p/",
            Sort::Name => "i/c/n/",
        }
    }

    /// Of what it is.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Sort::Description | Sort::Price => Kind::Product,
            Sort::Name => Kind::Client,
        }
    }

    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Sort::Description => "description",
            Sort::Price => "price",
            Sort::Name => "name",
        }
    }
}

/// The mark of an index: each record of the kind has its rows.
#[must_use]
pub const fn mark(kind: Kind) -> Bytes {
    Bytes::from_static(match kind {
        Kind::Client => b"i/c",
        Kind::Product | Kind::Order | Kind::Shop => b"i/p",
    })
}

/// What the keys of all rows of a kind begin with.
#[must_use]
pub const fn rows(kind: Kind) -> Bytes {
    Bytes::from_static(match kind {
        Kind::Client => b"i/c/",
        Kind::Product | Kind::Order | Kind::Shop => b"i/p/",
    })
}

/// A row, as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Its key.
    pub key: Bytes,
    /// Its data, an [`Entry`] as JSON.
    pub data: Bytes,
}

/// What filters of lists look at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The state, left out if it is active.
    #[serde(default = "active", skip_serializing_if = "is_active")]
    pub state: State,
    /// The words of the description or name ([`folded`]), of its first [`FOUND_BYTES_MAX`] bytes.
    pub words: String,
    /// A product's category: text of at most [`CATEGORY_BYTES_MAX`] bytes; without such there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
}

const fn active() -> State {
    State::Active
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_active(state: &State) -> bool {
    *state == State::Active
}

impl Entry {
    /// Of a product.
    #[must_use]
    pub fn of_product(product: &ProductRecord) -> Entry {
        let category = product.extra.get(CATEGORY).and_then(text_in);
        let category = category.filter(|category| category.len() <= CATEGORY_BYTES_MAX);
        Entry { state: product.state, words: words_of(&product.description), category }
    }

    /// Of a client.
    #[must_use]
    pub fn of_client(client: &ClientRecord) -> Entry {
        let words = name_in(client.data.get()).map(|name| words_of(&name)).unwrap_or_default();
        Entry { state: client.state, words, category: None }
    }

    /// Of the record under `key`; `None`: of a client that is gone, whom no list shows.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn of_record(key: &[u8], record: &Record) -> Result<Option<Entry>, Error> {
        match key.first() {
            Some(b'p') => Ok(Some(Entry::of_product(&ProductRecord::read(key, record)?))),
            _ => {
                let client = ClientRecord::read(key, record)?;
                Ok((client.state != State::Gone).then(|| Entry::of_client(&client)))
            }
        }
    }

    /// Reads what is stored under a row's key.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn read(key: &[u8], record: &Record) -> Result<Entry, Error> {
        read(key, &record.data)
    }
}

/// The words of the beginning of a text.
fn words_of(text: &str) -> String {
    folded(beginning(text, FOUND_BYTES_MAX))
}

/// At most so many bytes of a text, which end with a character.
fn beginning(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The text of a JSON string; `None`: it is something else.
fn text_in(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// The member `name` of a client's data, if it is text.
fn name_in(data: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Named<'d> {
        #[serde(borrow)]
        name: Option<&'d RawValue>,
    }
    serde_json::from_str::<Named<'_>>(data).ok()?.name.and_then(text_in)
}

/// A price, so that prices sort as numbers: `000000000002.550000`.
fn sortable(price: Price) -> String {
    let shown = price.to_string();
    let (whole, decimals) = shown.split_once('.').unwrap_or((&shown, ""));
    format!("{whole:0>PRICE_WHOLE_DIGITS_MAX$}.{decimals:0<PRICE_DECIMALS_MAX$}")
}

/// The key of a row; `encoded`: the id as it stands in keys.
fn key_of(sort: Sort, sorted: &str, encoded: &str) -> Bytes {
    Bytes::from(format!("{}{}/{{{encoded}}}", sort.prefix(), beginning(sorted, SORTED_BYTES_MAX)))
}

/// The rows of a product.
#[must_use]
pub fn rows_of_product(pid: &Pid, product: &ProductRecord) -> Vec<Row> {
    let entry = Entry::of_product(product);
    let data = Bytes::from(write(&entry));
    let by_description = key_of(Sort::Description, &entry.words, pid.encoded());
    let by_price = key_of(Sort::Price, &sortable(product.price), pid.encoded());
    [by_description, by_price].into_iter().map(|key| Row { key, data: data.clone() }).collect()
}

/// The rows of a client; one that is gone has none.
#[must_use]
pub fn rows_of_client(cid: &Cid, client: &ClientRecord) -> Vec<Row> {
    if client.state == State::Gone {
        return Vec::new();
    }
    let entry = Entry::of_client(client);
    vec![Row { key: key_of(Sort::Name, &entry.words, cid.encoded()), data: Bytes::from(write(&entry)) }]
}

/// The rows of the record under `key`, a product or a client.
///
/// # Errors
/// [`Error::Damaged`]: it is not what portals write, and has no rows.
pub fn rows_of(key: &[u8], record: &Record) -> Result<Vec<Row>, Error> {
    let wrong = || Error::damaged(key, "not the key of a product or client");
    let id = key::id_in(key).ok_or_else(wrong)?;
    match key.first() {
        Some(b'p') => {
            let pid = Pid::stored("pid", &id).map_err(|_| wrong())?;
            Ok(rows_of_product(&pid, &ProductRecord::read(key, record)?))
        }
        Some(b'c') => {
            let cid = Cid::stored("cid", &id).map_err(|_| wrong())?;
            Ok(rows_of_client(&cid, &ClientRecord::read(key, record)?))
        }
        _ => Err(wrong()),
    }
}

/// Adds to a transaction the change from the rows `before` to the rows `after`. The transaction must guard the version of the record that
/// `before` is of, and leave one that `after` is of.
#[must_use]
pub fn moved(txn: Txn, before: &[Row], after: &[Row], now_ms: i64) -> Txn {
    let stays = |row: &&Row| !after.iter().any(|one| one.key == row.key);
    let txn = before.iter().filter(stays).fold(txn, |txn, row| txn.delete(row.key.clone()));
    after.iter().fold(txn, |txn, row| txn.put(row.key.clone(), now_ms, row.data.clone()))
}

/// What stands in a row's key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Whose index.
    pub sort: Sort,
    /// The id of the record.
    pub id: String,
    /// The key of the record.
    pub record: Bytes,
}

/// Reads a row's key; `None`: it is none.
#[must_use]
pub fn place(key: &[u8]) -> Option<Place> {
    let text = std::str::from_utf8(key).ok()?;
    let sort = Sort::ALL.into_iter().find(|sort| text.starts_with(sort.prefix()))?;
    let (sorted, rest) = text.strip_prefix(sort.prefix())?.split_once("/{")?;
    let id = proto::keys::decode_id(rest.strip_suffix('}')?).ok()?;
    let record = match sort.kind() {
        Kind::Client => key::client(&Cid::stored("cid", &id).ok()?),
        _ => key::product(&Pid::stored("pid", &id).ok()?),
    };
    let is_sorted = sorted.len() <= SORTED_BYTES_MAX && !sorted.contains(['/', '{', '}', '%']);
    is_sorted.then_some(Place { sort, id, record })
}

/// Whether a key is that of a row, which is never read by its key.
#[must_use]
pub fn is_row(key: &[u8]) -> bool {
    key.starts_with(b"i/") && key.contains(&b'{')
}

/// Letters before the sorted part in a key that a cursor leaves out: `i/p/`.
const BEFORE_CURSOR: usize = 4;

/// The cursor of a row's key, `d/maca fuji /{maca-fuji}`; `None`: it is no key of a row, or its id can be in no request.
#[must_use]
pub fn cursor_of(key: &[u8]) -> Option<String> {
    let Place { id, .. } = place(key)?;
    Pid::parse("after", &id).ok()?;
    std::str::from_utf8(&key[BEFORE_CURSOR..]).ok().map(str::to_owned)
}

/// The key of the row that a cursor of a list of this kind is about, and its order; `None`: it is none.
#[must_use]
pub fn row_at(kind: Kind, cursor: &str) -> Option<(Sort, Bytes)> {
    let key = [&rows(kind)[..], cursor.as_bytes()].concat();
    let place = place(&key)?;
    Some((place.sort, Bytes::from(key)))
}

/// The cursor behind a product of a list in this order, as the list itself says it; empty: it is no product of ours.
#[must_use]
pub fn after_product(sort: ListSort, product: &Product) -> String {
    let (sort, sorted) = match sort {
        ListSort::Description => (Sort::Description, words_of(&product.description)),
        ListSort::Price => (Sort::Price, Price::parse(&product.price).map(sortable).unwrap_or_default()),
        _ => return product.pid.clone(),
    };
    after(sort, &sorted, &product.pid)
}

/// The cursor behind a client, likewise.
#[must_use]
pub fn after_client(sort: ListSort, client: &Client) -> String {
    if sort != ListSort::Name {
        return client.cid.clone();
    }
    let words = name_in(&client.data).map(|name| words_of(&name)).unwrap_or_default();
    after(Sort::Name, &words, &client.cid)
}

fn after(sort: Sort, sorted: &str, id: &str) -> String {
    let encoded = proto::keys::encode_id(id).unwrap_or_default();
    cursor_of(&key_of(sort, sorted, &encoded)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
