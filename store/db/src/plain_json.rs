//! A member of a plain JSON object, found in one pass over its bytes. Pure.
//!
//! Plain is what nearly all records are: no string has an escape, and nothing is nested more than [`DEPTH_MAX`] deep.
//!
//! Promises: what is found here is what [`crate::json`] finds with a parser. Of what is not plain, or not JSON at all, nothing is
//! said: the parser decides. So there is one grammar, and replicas of releases with and without this file agree.

use std::ops::Range;

/// Arrays and objects in one another, the outermost included.
const DEPTH_MAX: u32 = 16;

/// The bytes of the member of this name, the last of several; `Some(None)`: the object has none. `None`: not a plain object.
pub(crate) fn member(text: &str, name: &str) -> Option<Option<Range<usize>>> {
    let mut scan = Scan { bytes: text.as_bytes(), at: 0 };
    let mut found = None;
    scan.blank();
    scan.take(b'{')?;
    scan.members(DEPTH_MAX - 1, |here, value| {
        if here == name.as_bytes() {
            found = Some(value);
        }
    })?;
    scan.blank();
    scan.is_over().then_some(found)
}

/// Whether the text is a string without escapes, and nothing else.
pub(crate) fn is_string(text: &str) -> bool {
    let mut scan = Scan { bytes: text.as_bytes(), at: 0 };
    scan.string().is_some() && scan.is_over()
}

/// A place in a text.
struct Scan<'t> {
    bytes: &'t [u8],
    at: usize,
}

impl<'t> Scan<'t> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn is_over(&self) -> bool {
        self.at == self.bytes.len()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Behind the brace that opens an object: each name and where its value is, up to behind the brace that closes it.
    fn members(&mut self, depth_left: u32, mut seen: impl FnMut(&'t [u8], Range<usize>)) -> Option<()> {
        self.blank();
        if self.take(b'}').is_some() {
            return Some(());
        }
        loop {
            let name = self.string()?;
            self.blank();
            self.take(b':')?;
            self.blank();
            let from = self.at;
            self.value(depth_left)?;
            seen(name, from..self.at);
            self.blank();
            if self.take(b'}').is_some() {
                return Some(());
            }
            self.take(b',')?;
            self.blank();
        }
    }

    /// Behind the bracket that opens an array, up to behind the one that closes it.
    fn elements(&mut self, depth_left: u32) -> Option<()> {
        self.blank();
        if self.take(b']').is_some() {
            return Some(());
        }
        loop {
            self.value(depth_left)?;
            self.blank();
            if self.take(b']').is_some() {
                return Some(());
            }
            self.take(b',')?;
            self.blank();
        }
    }

    fn value(&mut self, depth_left: u32) -> Option<()> {
        match self.peek()? {
            b'"' => self.string().map(drop),
            b'-' | b'0'..=b'9' => self.number(),
            b'{' => {
                self.at += 1;
                self.members(depth_left.checked_sub(1)?, |_, _| {})
            }
            b'[' => {
                self.at += 1;
                self.elements(depth_left.checked_sub(1)?)
            }
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => None,
        }
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.bytes[self.at..].starts_with(word).then(|| self.at += word.len())
    }

    /// What stands between two quotes.
    fn string(&mut self) -> Option<&'t [u8]> {
        self.take(b'"')?;
        let rest = &self.bytes[self.at..];
        let length = until_special(rest)?;
        self.at += length + 1;
        (rest[length] == b'"').then(|| &rest[..length])
    }

    fn number(&mut self) -> Option<()> {
        self.at += usize::from(self.peek()? == b'-');
        match self.peek()? {
            b'0' => self.at += 1,
            _ => self.digits()?,
        }
        if self.take(b'.').is_some() {
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        // A digit behind a leading zero is of no number.
        (!matches!(self.peek(), Some(b'0'..=b'9'))).then_some(())
    }

    /// At least one.
    fn digits(&mut self) -> Option<()> {
        let rest = &self.bytes[self.at..];
        let count = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
        self.at += count;
        (count > 0).then_some(())
    }
}

/// Where the first byte is that ends a string, begins an escape, or is of no string: eight at a time.
fn until_special(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const TOPS: u64 = u64::from_le_bytes([0x80; 8]);
    // Of each, the lowest top bit that is set is of a byte that it is about: borrows go upwards.
    let is_zero = |word: u64| word.wrapping_sub(ONES) & !word & TOPS;
    let is_control = |word: u64| word.wrapping_sub(ONES * 0x20) & !word & TOPS;
    let (words, rest) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let special = is_control(word)
            | is_zero(word ^ (ONES * u64::from(b'"')))
            | is_zero(word ^ (ONES * u64::from(b'\\')));
        if special != 0 {
            return Some(at * 8 + special.trailing_zeros() as usize / 8);
        }
    }
    let at = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))?;
    Some(words.len() * 8 + at)
}
