//! A CSV file as rows: its separator, its header, and each record with what is wrong with it.

use std::io::{BufRead, Cursor, Read};
use std::sync::Arc;

use clap::ValueEnum;

use super::cells::{Refusal, Row};
use super::collection::{Collection, is_online_retail};
use super::number::Decimal;
use super::quotes::Watched;
use crate::failure::Failure;

/// The longest header, bytes.
const HEADER_BYTES_MAX: u64 = 64 << 10;

/// What parts cells.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Separator {
    /// ,
    #[value(alias = ",")]
    Comma,
    /// ;
    #[value(alias = ";")]
    Semicolon,
    /// A tabulator
    Tab,
}

impl Separator {
    const fn byte(self) -> u8 {
        match self {
            Separator::Comma => b',',
            Separator::Semicolon => b';',
            Separator::Tab => b'\t',
        }
    }

    /// The one that a header has most of; without any there is one column.
    fn of(header: &[u8]) -> Separator {
        let count = |one: &Separator| header.iter().filter(|byte| **byte == one.byte()).count();
        // The last of those that are as many counts.
        [Separator::Tab, Separator::Semicolon, Separator::Comma]
            .into_iter()
            .max_by_key(count)
            .unwrap_or(Separator::Comma)
    }
}

/// The rows of a file.
pub struct Table<R> {
    reader: csv::Reader<Watched<std::io::Chain<Cursor<Vec<u8>>, R>>>,
    header: Arc<[String]>,
    decimal: Decimal,
}

impl<R: BufRead> Table<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// It cannot be read, or it is of another kind of file.
    pub fn open(
        mut input: R,
        collection: Collection,
        separator: Option<Separator>,
        decimal: Decimal,
    ) -> Result<Table<R>, Failure> {
        let mut first = Vec::new();
        input.by_ref().take(HEADER_BYTES_MAX).read_until(b'\n', &mut first).map_err(|e| unreadable(&e))?;
        // Its quotes are no quotes of cells.
        if first.trim_ascii_start().starts_with(b"{") {
            return Err(Failure::usage("the file is of JSON lines").next("--format jsonl reads it"));
        }
        let separator = separator.unwrap_or_else(|| Separator::of(&first)).byte();
        let watched = Watched::new(Cursor::new(first).chain(input), separator);
        let mut reader = csv::ReaderBuilder::new();
        let reader = reader.has_headers(false).flexible(true).delimiter(separator).from_reader(watched);
        let mut table = Table { reader, header: Arc::from([]), decimal };
        let header = match table.next_row()? {
            Some(Ok(row)) => row.cells.iter().map(|name| name.trim().to_lowercase()).collect::<Vec<_>>(),
            Some(Err(refusal)) => {
                let why = format!("the first line, which names the columns: {}", refusal.reason);
                return Err(Failure::usage(why));
            }
            None => return Err(Failure::usage("the file is empty: its first line names the columns")),
        };
        check(collection, &header)?;
        table.header = header.into();
        Ok(table)
    }

    /// The names of the columns.
    #[must_use]
    pub fn header(&self) -> &[String] {
        &self.header
    }

    /// The next row, or what is wrong with it; `None`: there are no more.
    ///
    /// # Errors
    /// The file cannot be read on.
    pub fn next_row(&mut self) -> Result<Option<Result<Row, Refusal>>, Failure> {
        let mut cells = csv::ByteRecord::new();
        let is_there = self.reader.read_byte_record(&mut cells).map_err(|e| unreadable(&e))?;
        if !is_there {
            return Ok(None);
        }
        let Some(sound) = self.reader.get_mut().next_record() else {
            return Err(Failure::refused("the file cannot be read: its records end where none begins"));
        };
        if let Some(flaw) = sound.flaw {
            return Ok(Some(Err(Refusal::new(sound.line, "", flaw))));
        }
        Ok(Some(self.row(sound.line, cells)))
    }

    fn row(&self, line: u64, cells: csv::ByteRecord) -> Result<Row, Refusal> {
        let name = |at: usize| self.header.get(at).cloned().unwrap_or_default();
        let cells = csv::StringRecord::from_byte_record(cells).map_err(|error| {
            let why = "is not UTF-8: --encoding latin-1 reads files with one byte a letter";
            Refusal::new(line, name(error.utf8_error().field()), why)
        })?;
        // Of the header itself nobody knows yet how many it has.
        let columns = self.header.len();
        if columns > 0 && cells.len() != columns {
            let why = format!("has {} cells, and the first line names {columns} columns", cells.len());
            return Err(Refusal::new(line, "", why));
        }
        Ok(Row { line, header: Arc::clone(&self.header), cells, decimal: self.decimal })
    }
}

/// The file cannot be read on.
pub fn unreadable(error: &dyn std::fmt::Display) -> Failure {
    Failure::refused(format!("the file cannot be read: {error}"))
}

/// Refuses a header of another kind of file, or one of which a column would get lost.
fn check(collection: Collection, header: &[String]) -> Result<(), Failure> {
    let shown = header.join(",");
    if let Some(at) = header.iter().position(String::is_empty) {
        return Err(Failure::usage(format!("the first line has no name for column {}: {shown:?}", at + 1))
            .next("name each column, or take the empty one out"));
    }
    if is_online_retail(header) {
        return Err(Failure::usage("the file is of Online Retail").next("feira import FILE imports it whole"));
    }
    let twice = header.iter().enumerate().find(|(at, name)| header[..*at].contains(name));
    if let Some((_, name)) = twice {
        return Err(Failure::usage(format!("the first line names the column {name:?} twice")));
    }
    let missing = collection.required().iter().find(|name| !header.iter().any(|one| one == *name));
    let found = Collection::of(header);
    if let Some(found) =
        found.filter(|found| *found != collection && (missing.is_some() || collection == Collection::Clients))
    {
        let word = found.word();
        return Err(Failure::usage(format!(
            "the file has the columns of {word}, not of {}",
            collection.word()
        ))
        .next(format!("feira import {word} FILE")));
    }
    if let Some(missing) = missing {
        return Err(Failure::usage(format!("the first line has no column {missing}: {shown:?}"))
            .next(format!("it must be such as {}", collection.columns().join(","))));
    }
    if collection == Collection::Clients && found.is_none() {
        return Err(Failure::usage(format!("the first line names neither cid nor name: {shown:?}"))
            .next("it must be such as cid,data or cid,name,city"));
    }
    let is_extra = |name: &&String| !collection.columns().contains(&name.as_str());
    let has_rest = collection.rest().is_none_or(|rest| header.iter().any(|name| name == rest));
    match header.iter().find(is_extra) {
        Some(name) if has_rest => {
            let why = match collection.rest() {
                Some(rest) => format!("the column {name:?} has no place: {rest} holds all other members"),
                None => format!("{name:?} is no column of {}", collection.word()),
            };
            Err(Failure::usage(why).next(format!("the columns are {}", collection.columns().join(","))))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(text: &[u8], collection: Collection) -> Result<Table<&[u8]>, Failure> {
        Table::open(text, collection, None, Decimal::Point)
    }

    fn rows(text: &[u8], collection: Collection) -> Vec<Result<(u64, Vec<String>), Refusal>> {
        let mut table = open(text, collection).unwrap();
        let mut rows = Vec::new();
        while let Some(row) = table.next_row().unwrap() {
            rows.push(row.map(|row| (row.line, row.cells.iter().map(str::to_owned).collect())));
        }
        rows
    }

    #[test]
    fn each_column_has_a_name() {
        let said = open(b"cid,,name\nana,x,Ana\n", Collection::Clients).map(drop).unwrap_err().to_string();
        assert!(said.contains("no name for column 2"), "{said}");
    }

    #[test]
    fn the_header_says_what_parts_the_cells() {
        for separator in [",", ";", "\t"] {
            let text = format!("CID{separator} Name\nana{separator}\"A,n;a\"\n");
            let row = Ok((2, vec!["ana".to_owned(), "A,n;a".to_owned()]));
            assert_eq!(rows(text.as_bytes(), Collection::Clients), [row]);
        }
        assert_eq!(rows(b"name\nAna\n", Collection::Clients).len(), 1);
    }

    #[test]
    fn a_row_that_is_wrong_is_told_and_the_others_are_read() {
        let text = b"cid,name\nana,Ana\nbia\ncaf\xe9,x\nd,\"e\"f\n\"g\nh\",i\n";
        let rows = rows(text, Collection::Clients);
        let refused: Vec<(u64, &str)> =
            rows.iter().filter_map(|row| row.as_ref().err()).map(|r| (r.line, r.column.as_str())).collect();
        assert_eq!(refused, [(3, ""), (4, "cid"), (5, "")]);
        assert_eq!(
            rows[4],
            Ok((6, vec!["g\nh".to_owned(), "i".to_owned()])),
            "a cell may have several lines"
        );
        let why = &rows[2].as_ref().unwrap_err().reason;
        assert!(why.contains("--encoding latin-1"), "{why}");
    }

    #[test]
    fn a_file_of_another_kind_is_named() {
        let said = |text: &str, collection| open(text.as_bytes(), collection).err().expect(text).to_string();
        let products = "pid,description,quantity,price,unit\n";
        let orders = format!("{}\n", Collection::Orders.columns().join(","));
        assert!(said(products, Collection::Clients).contains("columns of products"));
        assert!(said(&orders, Collection::Clients).contains("columns of orders"));
        assert!(said("cid,name\n", Collection::Products).contains("columns of clients"));
        assert!(said("pid,available\n", Collection::Products).contains("columns of stock"));
        let retail = "Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country\n";
        assert!(said(retail, Collection::Products).contains("Online Retail"));
        assert!(said("a,b\n", Collection::Clients).contains("neither cid nor name"));
        assert!(said("", Collection::Clients).contains("is empty"));
        assert!(said("cid,data,city\n", Collection::Clients).contains("data holds all other members"));
        assert!(said("pid,available,note\n", Collection::Stock).contains("is no column of stock"));
        assert!(said("cid,name,name\n", Collection::Clients).contains("twice"));
        assert!(said("pid,quantity,price\n", Collection::Products).contains("no column description"));
        for collection in Collection::ALL {
            let header = collection.columns().join(",");
            assert!(open(header.as_bytes(), collection).is_ok(), "{header}");
        }
    }
}
