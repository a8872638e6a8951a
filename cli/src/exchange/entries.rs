//! The records of a file, one after the other, each with the lines that it takes up.
//!
//! Promises: each line of the file is in exactly one entry; a record that is taken has an id that no record before it has; of a row
//! that cannot be read, or has no oid, nobody knows whose it is, so that the orders on either side of it are refused with it; an order
//! whose rows stand apart is refused wherever they stand. So none is taken without a line. A CSV file of orders is read twice for that.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{BufRead, BufReader, Cursor, Read, Seek};

use portal::Error;
use portal::document::Members;
use proto::json::Object;
use proto::portal::{ImportOrderRequest, InsertClientRequest, InsertProductRequest};
use serde::de::DeserializeOwned;

use super::args::ExportFormat;
use super::cells::{Refusal, Row};
use super::collection::Collection;
use super::encoding::{Decoded, Encoding};
use super::lines::{Raw, next};
use super::number::Decimal;
use super::quotes::RECORD_BYTES_MAX;
use super::record::Record;
use super::stock::StockLine;
use super::table::{Separator, Table, unreadable};
use super::{clients, orders, products};
use crate::failure::Failure;

/// How a file is written.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// JSON lines or CSV.
    pub format: ExportFormat,
    /// `None`: as its beginning says.
    pub encoding: Option<Encoding>,
    /// `None`: as its header says.
    pub separator: Option<Separator>,
    /// Before decimals.
    pub decimal: Decimal,
}

/// Some lines of a file, and what they are.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    /// The lines on which its rows begin; at least one.
    pub lines: Vec<u64>,
    /// The record, or why it is none.
    pub record: Result<Record, Refusal>,
}

/// The entries of a file.
pub struct Entries<R: BufRead> {
    collection: Collection,
    source: Source<R>,
    /// Read, and not given out yet.
    ready: VecDeque<Entry>,
    /// The lines on which ids stood, by the ids' digests: they are shorter.
    ids: HashMap<[u8; 16], u64>,
}

enum Source<R: BufRead> {
    Rows(Box<Table<BufReader<Decoded<R>>>>, Group),
    Lines(BufReader<Decoded<R>>, u64),
}

/// The rows of an order while they are read.
#[derive(Default)]
struct Group {
    rows: Vec<Row>,
    /// Digests of the orders whose rows stand apart.
    apart: HashSet<[u8; 16]>,
    /// A row that cannot be read stands beside or among them, on this line.
    beside: Option<u64>,
    /// The same, of the rows that come next.
    before: Option<u64>,
    ended: bool,
}

impl<R: BufRead> Entries<R> {
    /// Opens a file.
    ///
    /// # Errors
    /// It cannot be read, or is of another kind.
    pub fn open(mut input: R, collection: Collection, form: Form) -> Result<Entries<R>, Failure>
    where
        R: Seek,
    {
        let apart = match (form.format, collection) {
            (ExportFormat::Csv, Collection::Orders) => orders_apart(&mut input, form)?,
            _ => HashSet::new(),
        };
        let decoded = Decoded::open(input, form.encoding).map_err(|e| unreadable(&e))?;
        let decoded = BufReader::new(decoded);
        let source = match form.format {
            ExportFormat::Csv => {
                let table = Table::open(decoded, collection, form.separator, form.decimal)?;
                Source::Rows(Box::new(table), Group { apart, ..Group::default() })
            }
            ExportFormat::Jsonl => Source::Lines(decoded, 0),
        };
        Ok(Entries { collection, source, ready: VecDeque::new(), ids: HashMap::new() })
    }

    /// Whether the file says nothing of the further members of products: a line of JSON says all of them.
    #[must_use]
    pub fn keeps_extra(&self) -> bool {
        matches!(&self.source, Source::Rows(table, _) if products::keeps_extra(table.header()))
    }

    /// The next entry; `None`: there are no more.
    ///
    /// # Errors
    /// The file cannot be read on.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Failure> {
        while self.ready.is_empty() {
            let is_more = match (&mut self.source, self.collection) {
                (Source::Rows(table, group), Collection::Orders) => group.read(table, &mut self.ready)?,
                (Source::Rows(table, _), collection) => read_row(table, collection, &mut self.ready)?,
                (Source::Lines(input, at), collection) => read_line(input, at, collection, &mut self.ready)?,
            };
            if !is_more {
                break;
            }
        }
        Ok(self.ready.pop_front().map(|entry| self.alone(entry)))
    }

    /// Refuses an id that stood before.
    fn alone(&mut self, mut entry: Entry) -> Entry {
        if let Ok(record) = &entry.record {
            let line = entry.lines[0];
            let first = *self.ids.entry(proto::hash::digest(&[record.id().as_bytes()])).or_insert(line);
            if first != line {
                let why = format!("{} is on line {first} already", record.id());
                entry.record = Err(Refusal::new(line, record.id_column(), why));
            }
        }
        entry
    }
}

/// The orders whose rows stand apart: reads the file once, and leaves it at its beginning.
fn orders_apart<R: BufRead + Seek>(input: &mut R, form: Form) -> Result<HashSet<[u8; 16]>, Failure> {
    let decoded = Decoded::open(&mut *input, form.encoding).map_err(|e| unreadable(&e))?;
    let mut table = Table::open(BufReader::new(decoded), Collection::Orders, form.separator, form.decimal)?;
    let apart = orders::apart(&mut table)?;
    drop(table);
    input.rewind().map_err(|e| unreadable(&e))?;
    Ok(apart)
}

fn entry(lines: Vec<u64>, record: Result<Record, Refusal>) -> Entry {
    Entry { lines, record }
}

/// Reads the record of one row; false: there are no more.
fn read_row<R: BufRead>(
    table: &mut Table<R>,
    collection: Collection,
    ready: &mut VecDeque<Entry>,
) -> Result<bool, Failure> {
    let Some(row) = table.next_row()? else { return Ok(false) };
    let row = match row {
        Ok(row) => row,
        Err(refusal) => {
            ready.push_back(entry(vec![refusal.line], Err(refusal)));
            return Ok(true);
        }
    };
    let record = match collection {
        Collection::Clients => clients::of_row(&row).map(Record::Client),
        Collection::Products => products::of_row(&row).map(Record::Product),
        Collection::Stock => StockLine::of_row(&row).map(Record::Stock),
        Collection::Orders => unreachable!("the rows of an order are read together"),
    };
    let checked = record.and_then(|record| record.checked().map_err(|error| Refusal::of(row.line, &error)));
    ready.push_back(entry(vec![row.line], checked));
    Ok(true)
}

impl Group {
    /// Reads rows until an order is whole, or one cannot be read; false: there are no more.
    fn read<R: BufRead>(
        &mut self,
        table: &mut Table<R>,
        ready: &mut VecDeque<Entry>,
    ) -> Result<bool, Failure> {
        match table.next_row()?.map(|row| row.and_then(orders::with_oid)) {
            Some(Ok(row)) => {
                let before = self.before.take();
                if self.rows.first().is_none_or(|first| !orders::is_same(first, &row)) {
                    self.end(ready);
                    self.beside = before;
                }
                self.rows.push(row);
            }
            Some(Err(refusal)) => {
                self.before = Some(refusal.line);
                if !self.rows.is_empty() {
                    self.beside = self.beside.or(Some(refusal.line));
                }
                ready.push_back(entry(vec![refusal.line], Err(refusal)));
            }
            None if self.ended => return Ok(false),
            None => {
                self.ended = true;
                self.end(ready);
            }
        }
        Ok(true)
    }

    fn end(&mut self, ready: &mut VecDeque<Entry>) {
        let (rows, beside) = (std::mem::take(&mut self.rows), self.beside.take());
        let Some(first) = rows.first() else { return };
        let record = match beside {
            Some(line) => {
                let why = format!("line {line} beside it is not taken, and may be of this order");
                Err(Refusal::new(first.line, "", why))
            }
            None if self.apart.contains(&orders::digest(first)) => {
                let why = "its rows stand apart, and some may be lost; sort the file by oid";
                Err(Refusal::new(first.line, "oid", why))
            }
            None => orders::of_rows(&rows).and_then(|order| {
                let record = Record::Order(Box::new(order));
                record.checked().map_err(|error| orders::refused(&rows, &error))
            }),
        };
        ready.push_back(entry(rows.iter().map(|row| row.line).collect(), record));
    }
}

/// Reads the record of one line of JSON; false: there are no more.
fn read_line(
    input: &mut impl BufRead,
    at: &mut u64,
    collection: Collection,
    ready: &mut VecDeque<Entry>,
) -> Result<bool, Failure> {
    let Some(raw) = next(input, RECORD_BYTES_MAX).map_err(|e| unreadable(&e))? else { return Ok(false) };
    *at += 1;
    let record = match &raw {
        Raw::Line(bytes) if bytes.trim_ascii().is_empty() => return Ok(true),
        Raw::Line(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => {
                if *at == 1 {
                    is_of(collection, text)?;
                }
                of_json(*at, collection, text)
            }
            Err(_) => Err(Refusal::new(
                *at,
                "",
                "is not UTF-8: --encoding latin-1 reads files with one byte a letter",
            )),
        },
        Raw::TooLong => Err(Refusal::new(*at, "", format!("has more than {RECORD_BYTES_MAX} bytes"))),
    };
    ready.push_back(entry(vec![*at], record));
    Ok(true)
}

fn of_json(line: u64, collection: Collection, text: &str) -> Result<Record, Refusal> {
    let record = match collection {
        Collection::Clients => Record::Client(read::<InsertClientRequest>(line, text)?),
        Collection::Products => Record::Product(read::<InsertProductRequest>(line, text)?),
        Collection::Stock => Record::Stock(read::<StockLine>(line, text)?),
        Collection::Orders => Record::Order(Box::new(read::<ImportOrderRequest>(line, text)?)),
    };
    record.checked().map_err(|error| match error {
        Error::Invalid { field, why } => Refusal::new(line, field, why),
        other => Refusal::of(line, &other),
    })
}

/// Reads an object, and names the member that is wrong.
fn read<T: DeserializeOwned>(line: u64, text: &str) -> Result<T, Refusal> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let refused = |path: String, why: &serde_json::Error| {
        let why = why.to_string();
        let why = why.rsplit_once(" at line ").map_or(why.as_str(), |(said, _)| said).to_owned();
        Refusal::new(line, if path == "." { String::new() } else { path }, why)
    };
    let read = serde_path_to_error::deserialize(&mut reader);
    let Object(read) = read.map_err(|error| refused(error.path().to_string(), error.inner()))?;
    reader.end().map_err(|error| refused(String::new(), &error))?;
    Ok(read)
}

/// Refuses a file whose first line is of another kind.
fn is_of(collection: Collection, first: &str) -> Result<(), Failure> {
    if !first.trim_start().starts_with('{') {
        return Err(Failure::usage("the first line is no JSON object: is the file CSV?")
            .next("--format csv reads it; each JSON line begins with { "));
    }
    let Ok(members) = Members::parse("line", first) else { return Ok(()) };
    let has = |name: &str| members.get(name).is_some();
    let found = match () {
        () if has("oid") => Collection::Orders,
        () if has("available") => Collection::Stock,
        () if has("pid") => Collection::Products,
        () if has("cid") => Collection::Clients,
        () => collection,
    };
    if found == collection {
        return Ok(());
    }
    let word = found.word();
    Err(Failure::usage(format!("the file is of {word}, not of {}", collection.word()))
        .next(format!("feira import {word} FILE")))
}

/// All entries of a text, for tests and for small files.
///
/// # Errors
/// As [`Entries::open`] and [`Entries::next_entry`].
pub fn all(mut input: impl Read, collection: Collection, form: Form) -> Result<Vec<Entry>, Failure> {
    let mut text = Vec::new();
    input.read_to_end(&mut text).map_err(|e| unreadable(&e))?;
    let mut entries = Entries::open(Cursor::new(text), collection, form)?;
    let mut all = Vec::new();
    while let Some(entry) = entries.next_entry()? {
        all.push(entry);
    }
    Ok(all)
}
