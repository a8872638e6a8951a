//! A look at the quotes of a CSV file on their way to the CSV library, which reads anything at all: `"a"b` as `ab`, and from a quote
//! that never closes to the end of the file as one cell. Here each record is told with the line on which it begins, and what is wrong
//! with its quotes; and one that goes on for too long ends the reading before it fills the memory.
//!
//! It follows the library's own rules of where a record ends (LF, CR or both, outside quotes; an empty line is none), so that the n-th
//! record told here is the n-th that the library reads.

use std::collections::VecDeque;
use std::io::{Error, ErrorKind, Read};

/// Most bytes of one record: the largest order line with its notes takes far fewer.
pub const RECORD_BYTES_MAX: usize = 1 << 20;

/// A record of a file, as it lies there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sound {
    /// The line on which it begins, from 1.
    pub line: u64,
    /// What is wrong with its quotes.
    pub flaw: Option<&'static str>,
}

/// A quote in a cell that has no quotes around it.
pub const INSIDE: &str =
    "quotes out of balance: a cell with a quote in it stands in quotes, and that quote twice";
/// Something behind the closing quote.
pub const BEHIND: &str = "quotes out of balance: something stands behind the closing quote";
/// No closing quote.
pub const OPEN: &str =
    "quotes out of balance: the last quote does not close, and the rest of the file is in it";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    /// Before the first byte of a cell.
    Begin,
    /// In a cell without quotes.
    Plain,
    /// Between quotes.
    Quoted,
    /// Behind a quote: it closed the cell, or another one follows.
    Behind,
}

/// A reader whose records are looked at.
pub struct Watched<R> {
    input: R,
    separator: u8,
    at: At,
    /// The line of the next byte.
    line: u64,
    /// A CR was the last byte: an LF belongs to it.
    after_return: bool,
    /// The record that is being read: where it begins, and its bytes so far.
    begins: u64,
    bytes: usize,
    flaw: Option<&'static str>,
    ready: VecDeque<Sound>,
    ended: bool,
}

impl<R: Read> Watched<R> {
    /// Looks at a file from its beginning.
    pub fn new(input: R, separator: u8) -> Watched<R> {
        Watched {
            input,
            separator,
            at: At::Begin,
            line: 1,
            after_return: false,
            begins: 1,
            bytes: 0,
            flaw: None,
            ready: VecDeque::new(),
            ended: false,
        }
    }

    /// The next record, of those that went through.
    pub fn next_record(&mut self) -> Option<Sound> {
        self.ready.pop_front()
    }

    /// The line on which the record begins that is being read.
    #[must_use]
    pub fn begins(&self) -> u64 {
        self.begins
    }

    fn look(&mut self, byte: u8) {
        let is_end = matches!(byte, b'\n' | b'\r');
        if is_end && self.at != At::Quoted {
            self.end_record();
            self.count_line(byte);
            self.begins = self.line;
            return;
        }
        if self.bytes == 0 {
            self.begins = self.line;
        }
        self.bytes += 1;
        if is_end {
            self.count_line(byte);
        } else {
            self.after_return = false;
        }
        self.at = match (self.at, byte) {
            (At::Begin, b'"') => At::Quoted,
            (At::Quoted, b'"') => At::Behind,
            (At::Behind, b'"') | (At::Quoted, _) => At::Quoted,
            (_, byte) if byte == self.separator => At::Begin,
            (At::Plain, b'"') => self.flawed(INSIDE),
            (At::Behind, _) => self.flawed(BEHIND),
            (At::Begin | At::Plain, _) => At::Plain,
        };
    }

    fn flawed(&mut self, flaw: &'static str) -> At {
        self.flaw.get_or_insert(flaw);
        At::Plain
    }

    fn count_line(&mut self, byte: u8) {
        // CR LF is one end.
        if !(byte == b'\n' && self.after_return) {
            self.line += 1;
        }
        self.after_return = byte == b'\r';
    }

    fn end_record(&mut self) {
        if self.bytes > 0 {
            let flaw = self.flaw.take().or((self.at == At::Quoted).then_some(OPEN));
            self.ready.push_back(Sound { line: self.begins, flaw });
        }
        (self.bytes, self.flaw, self.at) = (0, None, At::Begin);
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = self.input.read(into)?;
        into[..count].iter().for_each(|byte| self.look(*byte));
        if self.bytes > RECORD_BYTES_MAX {
            let why = format!(
                "the record that begins on line {} has more than {RECORD_BYTES_MAX} bytes; does a quote not close there?",
                self.begins
            );
            return Err(Error::new(ErrorKind::InvalidData, why));
        }
        if count == 0 && !into.is_empty() && !self.ended {
            self.ended = true;
            self.end_record();
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn records(text: &str) -> Vec<(u64, Option<&'static str>)> {
        let mut watched = Watched::new(text.as_bytes(), b',');
        std::io::copy(&mut watched, &mut std::io::sink()).unwrap();
        std::iter::from_fn(|| watched.next_record()).map(|sound| (sound.line, sound.flaw)).collect()
    }

    #[test]
    fn each_record_is_told_with_the_line_on_which_it_begins() {
        assert_eq!(records("a,b\r\n\r\n1,\"two\nlines\"\n\n3,4"), [(1, None), (3, None), (6, None)]);
        assert_eq!(records(""), []);
        assert_eq!(records("\n\na\rb\n"), [(3, None), (4, None)]);
    }

    #[test]
    fn quotes_out_of_balance_are_told_of_their_own_record() {
        let text = "a,\"b\"\"c\"\n5\" pipe,x\n\"a\"b,c\nfine,\"\"\nx,\"open\nand on";
        let told = [(1, None), (2, Some(INSIDE)), (3, Some(BEHIND)), (4, None), (5, Some(OPEN))];
        assert_eq!(records(text), told);
    }

    #[test]
    fn a_record_without_an_end_ends_the_reading() {
        let text = format!("a\n\"{}", "x".repeat(RECORD_BYTES_MAX + 1));
        let mut watched = Watched::new(text.as_bytes(), b',');
        let why = std::io::copy(&mut watched, &mut std::io::sink()).unwrap_err().to_string();
        assert!(why.contains("begins on line 2"), "{why}");
    }

    proptest! {
        #[test]
        fn as_many_records_are_told_as_the_library_reads(text in "[a,\"\r\n]{0,40}") {
            let mut reader = csv::ReaderBuilder::new();
            let reader = reader.has_headers(false).flexible(true);
            let read = reader.from_reader(text.as_bytes()).into_byte_records().count();
            prop_assert_eq!(records(&text).len(), read, "{:?}", text);
        }

        #[test]
        fn what_the_library_writes_has_no_flaw(cells in prop::collection::vec("[a,\"\r\n ]{0,6}", 1..4)) {
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.write_record(&cells).unwrap();
            let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
            prop_assert_eq!(records(&text), vec![(1, None)], "{:?}", text);
        }
    }
}
