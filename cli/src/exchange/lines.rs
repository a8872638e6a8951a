//! Lines of a file, one at a time, each of bounded length.

use std::io::{BufRead, Read};

/// A line as read.
#[derive(PartialEq, Eq, Debug)]
pub enum Raw {
    /// Its bytes, without the line's end.
    Line(Vec<u8>),
    /// It was longer than it may be.
    TooLong,
}

/// Reads the next line of at most so many bytes; longer ones are skipped without being kept. `None` at the end. A last line without a
/// line's end counts, an empty rest does not.
///
/// # Errors
/// The file cannot be read.
pub fn next(input: &mut impl BufRead, bytes_max: usize) -> std::io::Result<Option<Raw>> {
    let mut line = Vec::new();
    let most = bytes_max as u64 + 1;
    if input.by_ref().take(most).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    let ended = line.last() == Some(&b'\n');
    if !ended && line.len() as u64 == most {
        skip_rest(input)?;
        return Ok(Some(Raw::TooLong));
    }
    if ended {
        line.pop();
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(Some(Raw::Line(line)))
}

fn skip_rest(input: &mut impl BufRead) -> std::io::Result<()> {
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            return Ok(());
        }
        match buffer.iter().position(|byte| *byte == b'\n') {
            Some(at) => {
                input.consume(at + 1);
                return Ok(());
            }
            None => {
                let bytes = buffer.len();
                input.consume(bytes);
            }
        }
    }
}
