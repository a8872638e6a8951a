//! Lists of products and clients: their order, their filters, their cursors; the marks of the indexes.
//!
//! By id a list reads the records themselves; in another order the rows of an index ([`crate::index`]), and then the records of those
//! rows that the filters take. A row is only believed if it is one of its record's as the record is now, so that a list shows nothing in
//! a place where it no longer is.
//!
//! Promises: what is at its place from the first page to the last is shown once, whatever else moves meanwhile. A request looks at
//! [`FILTERED_PAGES_MAX`] pages of the store at most; the cursor is the last key *looked at*, so that a page may be short or empty and
//! not the last. A list by id without filters is one page of the store. An index whose mark is missing sorts no list.
//!
//! Leaves out: what is shown of a record (`page`, and the portals).

use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::future::join_all;
use proto::json::sort::{OF_CLIENTS, OF_PRODUCTS};
use proto::portal::{BrowseProductsRequest, ListRequest, ListSort, RecordState};
use proto::store::{KeyRecord, Txn};
use store_client::{Range, now_ms};

use crate::attempt::send_step;
use crate::document::{State, read};
use crate::error::{Error, Kind};
use crate::handle::Portal;
use crate::id::{Cid, Pid, folded, plain};
use crate::index::{self, Entry, Sort};
use crate::key;
use crate::limits::{CATEGORY_BYTES_MAX, FILTERED_PAGES_MAX, LISTED_BYTES_MAX, LISTED_PARALLEL, PAGE_MAX};
use crate::page::{self, LeftOut, Page};

/// Which products or clients a request wants, in which order, from where on.
#[derive(Clone, Debug)]
pub struct Query {
    kind: Kind,
    /// `None`: by id.
    sort: Option<Sort>,
    filter: Filter,
    /// What ids begin with.
    prefix: String,
    limit: usize,
    /// The key behind which the list goes on.
    after: Option<Bytes>,
}

/// What a list leaves out.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Filter {
    state: Option<State>,
    /// Beginnings of words, folded.
    words: Vec<String>,
    category: Option<String>,
}

impl Filter {
    fn takes_all(&self) -> bool {
        *self == Filter::default()
    }

    fn takes(&self, entry: &Entry) -> bool {
        let has = |beginning: &String| entry.words.split(' ').any(|word| word.starts_with(&**beginning));
        self.state.is_none_or(|state| entry.state == state)
            && self.words.iter().all(has)
            && (self.category.is_none() || entry.category == self.category)
    }
}

/// A page of records, and what was left out of it.
#[derive(Debug, Default)]
pub struct Found {
    /// The records of products or clients, in the order of the list.
    pub records: Vec<KeyRecord>,
    /// The cursor; empty: that was all.
    pub next: String,
    /// The damaged records among them so far.
    pub left_out: LeftOut,
    bytes: usize,
}

impl Query {
    /// Of staff, about products.
    ///
    /// # Errors
    /// INVALID_ARGUMENT.
    pub fn products(request: &ListRequest) -> Result<Query, Error> {
        let filter = filter(request.state, &request.words, &request.category)?;
        Query::new(Kind::Product, request.sort, filter, &request.prefix, request.limit, &request.after)
    }

    /// Of staff, about clients.
    ///
    /// # Errors
    /// INVALID_ARGUMENT.
    pub fn clients(request: &ListRequest) -> Result<Query, Error> {
        if !request.category.is_empty() {
            return Err(Error::invalid("category", "is of products; clients have none"));
        }
        let filter = filter(request.state, &request.words, "")?;
        Query::new(Kind::Client, request.sort, filter, &request.prefix, request.limit, &request.after)
    }

    /// Of a shopper.
    ///
    /// # Errors
    /// INVALID_ARGUMENT.
    pub fn browsing(request: &BrowseProductsRequest) -> Result<Query, Error> {
        let filter = filter(RecordState::Unspecified.into(), &request.words, &request.category)?;
        Query::new(Kind::Product, request.sort, filter, &request.prefix, request.limit, &request.after)
    }

    fn new(
        kind: Kind,
        sort: i32,
        filter: Filter,
        prefix: &str,
        limit: u32,
        after: &str,
    ) -> Result<Query, Error> {
        let limit = page::limit(limit)?;
        let (sort, prefix) = (sorted_by(kind, sort)?, page::prefix(prefix)?.to_owned());
        let after = after_key(kind, sort, after)?;
        Ok(Query { kind, sort, filter, prefix, limit: limit as usize, after })
    }

    /// Whether each record in the order of ids is shown.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.sort.is_none() && self.filter.takes_all()
    }

    /// Whether each key of the range is shown.
    fn takes_all(&self) -> bool {
        self.filter.takes_all() && (self.sort.is_none() || self.prefix.is_empty())
    }

    fn range(&self) -> Range {
        Range::Prefix(match self.sort {
            Some(sort) => Bytes::from_static(sort.prefix().as_bytes()),
            None => key::beginning_with(letter(self.kind), &self.prefix),
        })
    }

    /// What a cursor says of a key; `None`: it has no words for it. An id that reads as the cursor of another order is one such.
    fn cursor_of(&self, at: &[u8]) -> Option<String> {
        match self.sort {
            Some(_) => index::cursor_of(at),
            None => key::id_in(at)
                .filter(|id| Pid::parse("after", id).is_ok() && index::row_at(self.kind, id).is_none()),
        }
    }

    /// Whether a key that was looked at is of the list.
    fn takes(&self, one: &KeyRecord) -> Result<bool, Error> {
        if self.is_plain() {
            return Ok(true);
        }
        let Some(record) = &one.record else { return Ok(false) };
        let entry = match self.sort {
            None => {
                let of_none = || Error::damaged(&one.key, "not the key of a product or client");
                key::id_in(&one.key).ok_or_else(of_none)?;
                Entry::of_record(&one.key, record)?
            }
            Some(_) => {
                let place = index::place(&one.key);
                let place = place.ok_or_else(|| Error::damaged(&one.key, "not the key of an index's row"))?;
                let entry = Entry::read(&one.key, record)?;
                Some(entry).filter(|_| place.id.starts_with(&self.prefix))
            }
        };
        Ok(entry.is_some_and(|entry| self.filter.takes(&entry)))
    }

    fn is_full(&self, found: &Found) -> bool {
        let is_large = !self.is_plain() && found.bytes >= LISTED_BYTES_MAX;
        found.records.len() >= self.limit || is_large
    }
}

const fn letter(kind: Kind) -> char {
    match kind {
        Kind::Client => 'c',
        Kind::Product | Kind::Order | Kind::Shop => 'p',
    }
}

fn sorted_by(kind: Kind, sort: i32) -> Result<Option<Sort>, Error> {
    let words = if kind == Kind::Client { OF_CLIENTS } else { OF_PRODUCTS };
    let sorted = match ListSort::try_from(sort) {
        Ok(ListSort::Unspecified | ListSort::Id) => return Ok(None),
        Ok(ListSort::Description) => Some(Sort::Description),
        Ok(ListSort::Price) => Some(Sort::Price),
        Ok(ListSort::Name) => Some(Sort::Name),
        Err(_) => None,
    };
    let sorted = sorted.filter(|sort| sort.kind() == kind);
    let why = || format!("is no order of {kind}s; there are {}", words.join(", "));
    sorted.map(Some).ok_or_else(|| Error::invalid("sort", why()))
}

fn filter(state: i32, words: &str, category: &str) -> Result<Filter, Error> {
    let state = match RecordState::try_from(state) {
        Ok(RecordState::Unspecified) => None,
        Ok(RecordState::Active) => Some(State::Active),
        Ok(RecordState::Closing) => Some(State::Closing),
        Err(_) => return Err(Error::invalid("state", "is no state; there are active, closing")),
    };
    for (field, text) in [("words", words), ("category", category)] {
        if text.len() > CATEGORY_BYTES_MAX {
            let why = format!("{} bytes; at most {CATEGORY_BYTES_MAX}", text.len());
            return Err(Error::invalid(field, why));
        }
        plain(field, text)?;
    }
    let beginnings: Vec<String> = folded(words).split_whitespace().map(str::to_owned).collect();
    if beginnings.is_empty() && !words.is_empty() {
        return Err(Error::invalid("words", "has no letter or digit that a word could begin with"));
    }
    let category = Some(category.to_owned()).filter(|category| !category.is_empty());
    Ok(Filter { state, words: beginnings, category })
}

/// The key that a cursor is about.
fn after_key(kind: Kind, sort: Option<Sort>, after: &str) -> Result<Option<Bytes>, Error> {
    if after.is_empty() {
        return Ok(None);
    }
    let (of_sort, key) = index::row_at(kind, after).unzip();
    if sort.is_some() && of_sort == sort {
        return Ok(key);
    }
    let word = sort.map_or("id", Sort::word);
    match of_sort {
        Some(other) => {
            let why = format!("is a cursor of the list by {}, and this one is by {word}", other.word());
            Err(Error::invalid("after", why))
        }
        None if sort.is_some() => {
            let why = format!("is no cursor of the list by {word}; give back the answer's `next`");
            Err(Error::invalid("after", why))
        }
        None if kind == Kind::Client => Ok(Some(key::client(&Cid::parse("after", after)?))),
        None => Ok(Some(key::product(&Pid::parse("after", after)?))),
    }
}

impl Portal {
    /// A page of the records that a request wants.
    ///
    /// # Errors
    /// FAILED_PRECONDITION: the index is not complete; UNAVAILABLE.
    pub async fn found(&self, query: &Query) -> Result<Found, Error> {
        if query.sort.is_some() && !self.is_indexed(query.kind).await? {
            return Err(Error::NotIndexed { kind: query.kind });
        }
        let mut found = Found::default();
        let mut after = query.after.clone();
        for _ in 0..FILTERED_PAGES_MAX {
            let missing = u32::try_from(query.limit - found.records.len()).unwrap_or(PAGE_MAX);
            let most = if query.takes_all() { missing } else { PAGE_MAX };
            let cursor_of = |at: &[u8]| query.cursor_of(at);
            let Page { records, next } = self.page(query.range(), most, after, cursor_of).await?;
            let looked_at = self.take(query, &records, &mut found).await?;
            let last = records[..looked_at].last().map(|one| one.key.clone());
            let is_cut = looked_at < records.len();
            found.next = if is_cut { last.as_deref().and_then(cursor_of).unwrap_or_default() } else { next };
            if found.next.is_empty() || query.is_plain() || query.is_full(&found) {
                break;
            }
            after = last;
        }
        Ok(found)
    }

    /// Takes what is wanted of a page of the store until there is enough; how many of it were looked at.
    async fn take(&self, query: &Query, page: &[KeyRecord], found: &mut Found) -> Result<usize, Error> {
        let judged = page.iter().enumerate().map(|(at, one)| (at, query.takes(one)));
        let judged: Vec<(usize, Result<(), Error>)> = judged
            .filter(|(_, is_wanted)| *is_wanted != Ok(false))
            .map(|(at, one)| (at, one.map(drop)))
            .collect();
        for some in judged.chunks(LISTED_PARALLEL) {
            let reads = some.iter().map(async |(at, judged)| match judged {
                Ok(()) if query.sort.is_some() => self.record_of(query, &page[*at]).await,
                Ok(()) => Ok(Some(page[*at].clone())),
                Err(damaged) => Err(damaged.clone()),
            });
            let records = join_all(reads).await;
            for ((at, _), record) in some.iter().zip(records) {
                let record = found.left_out.or(record)?.flatten();
                found.bytes +=
                    record.as_ref().and_then(|one| one.record.as_ref()).map_or(0, |one| one.data.len());
                found.records.extend(record);
                // Only where a cursor can go on.
                if query.is_full(found) && query.cursor_of(&page[*at].key).is_some() {
                    return Ok(at + 1);
                }
            }
        }
        Ok(page.len())
    }

    /// The record whose row this is; `None`: it is no longer, or not wanted as it is now. What is in the cache is taken for it only if it
    /// says what the row says.
    async fn record_of(&self, query: &Query, row: &KeyRecord) -> Result<Option<KeyRecord>, Error> {
        let (Some(place), Some(listed)) = (index::place(&row.key), &row.record) else { return Ok(None) };
        let mut seen = self.read(&place.record).await?;
        loop {
            let rows = match &seen.record {
                Some(record) => index::rows_of(&place.record, record)?,
                None => Vec::new(),
            };
            let same = rows.into_iter().find(|one| one.key == row.key);
            let says = same.map(|one| one.data);
            let is_wanted = match &says {
                Some(data) if *data == listed.data => true,
                // It has changed since, and is at its place still: judged by what it is now.
                Some(data) if !seen.hit => query.filter.takes(&read(&row.key, data)?),
                _ => false,
            };
            if is_wanted {
                return Ok(Some(KeyRecord { key: place.record, record: seen.record }));
            }
            if !seen.hit {
                return Ok(None);
            }
            seen = self.read_through(&place.record).await?;
        }
    }

    /// Whether each record of the kind has its rows: the mark says so, or there is none.
    ///
    /// # Errors
    /// UNAVAILABLE.
    pub async fn is_indexed(&self, kind: Kind) -> Result<bool, Error> {
        let is_marked = self.read_verifying_absence(&index::mark(kind)).await?.record.is_some();
        Ok(is_marked || self.has_none(kind).await?)
    }

    async fn has_none(&self, kind: Kind) -> Result<bool, Error> {
        let all = Range::Prefix(key::beginning_with(letter(kind), ""));
        Ok(self.list(all, 1, None).await?.records.is_empty())
    }

    /// Before the insertion of a record: sets the mark if there is none yet. Whoever inserts the first one meanwhile writes its rows.
    ///
    /// # Errors
    /// UNAVAILABLE.
    pub async fn begin_index(&self, kind: Kind) -> Result<(), Error> {
        let is_known = self.shared.marks.of(kind);
        if is_known.load(Ordering::Relaxed) {
            return Ok(());
        }
        if self.read(&index::mark(kind)).await?.record.is_none() && self.has_none(kind).await? {
            self.complete_index(kind).await?;
        }
        // Once there were records without it, only a reindex sets it.
        is_known.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Sets the mark: each record of the kind has its rows.
    ///
    /// # Errors
    /// UNAVAILABLE.
    pub async fn complete_index(&self, kind: Kind) -> Result<(), Error> {
        let at = index::mark(kind);
        // Refused if it is there: that is as well.
        send_step(self, Txn::new().guard_absent(at.clone()).put(at, now_ms(), b"{}".to_vec())).await.map(drop)
    }
}
