//! The bytes of a file as UTF-8, whatever it is written in.
//!
//! UTF-8 goes through as it is, without its byte order mark; who reads it finds what is wrong with it, with its line. UTF-16 is
//! taken by its mark, or if it is said. Latin-1 is only taken if it is said, since any bytes at all are Latin-1; it is Windows-1252,
//! as everybody writes it (WHATWG Encoding Standard, "iso-8859-1").

use std::io::{BufRead, Chain, Cursor, Error, ErrorKind, Read};

use clap::ValueEnum;
use encoding_rs::{Decoder, DecoderResult, UTF_16BE, UTF_16LE, WINDOWS_1252};

/// An encoding that a person can name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Encoding {
    /// With or without a byte order mark
    #[value(name = "utf-8")]
    Utf8,
    /// By its byte order mark; without one, by its first character
    #[value(name = "utf-16")]
    Utf16,
    /// One byte a letter, as Windows-1252 has it
    #[value(name = "latin-1")]
    Latin1,
}

/// Bytes that are looked at to tell encodings apart.
const LOOKED_AT: usize = 4;
/// Bytes that are decoded at once.
const CHUNK: usize = 16 << 10;

/// A file, decoded while it is read.
pub struct Decoded<R> {
    input: Chain<Cursor<Vec<u8>>, R>,
    /// `None`: it is UTF-8.
    decoder: Option<Decoder>,
    /// Decoded and not read yet, from `at` on.
    ready: Vec<u8>,
    at: usize,
    ended: bool,
    /// The line of what was decoded last.
    line: u64,
}

impl<R: BufRead> Decoded<R> {
    /// Looks at the beginning of a file, in the encoding that is said, if one is.
    ///
    /// # Errors
    /// It cannot be read, its mark says another encoding, or it seems to be UTF-16 and does not say so.
    pub fn open(mut input: R, said: Option<Encoding>) -> std::io::Result<Decoded<R>> {
        let mut begin = Vec::with_capacity(LOOKED_AT);
        input.by_ref().take(LOOKED_AT as u64).read_to_end(&mut begin)?;
        let marked = |mark: &str| {
            let why = format!("its mark says {mark}; leave --encoding out");
            Err(Error::new(ErrorKind::InvalidData, why))
        };
        let (decoder, mark) = match (said, begin.as_slice()) {
            (None | Some(Encoding::Utf8), [0xef, 0xbb, 0xbf, ..]) => (None, 3),
            (None | Some(Encoding::Utf16), [0xff, 0xfe, ..]) => (Some(UTF_16LE), 2),
            (None | Some(Encoding::Utf16), [0xfe, 0xff, ..]) => (Some(UTF_16BE), 2),
            (Some(Encoding::Utf16 | Encoding::Latin1), [0xef, 0xbb, 0xbf, ..]) => return marked("UTF-8"),
            (Some(Encoding::Utf8 | Encoding::Latin1), [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) => {
                return marked("UTF-16");
            }
            (Some(Encoding::Utf16), [0, ..]) => (Some(UTF_16BE), 0),
            (Some(Encoding::Utf16), _) => (Some(UTF_16LE), 0),
            (Some(Encoding::Latin1), _) => (Some(WINDOWS_1252), 0),
            (None, [0, _, ..] | [_, 0, ..]) => {
                let why = "it seems to be UTF-16 without a byte order mark: --encoding utf-16 reads it";
                return Err(Error::new(ErrorKind::InvalidData, why));
            }
            (None | Some(Encoding::Utf8), _) => (None, 0),
        };
        begin.drain(..mark);
        let decoder = decoder.map(encoding_rs::Encoding::new_decoder_without_bom_handling);
        let input = Cursor::new(begin).chain(input);
        Ok(Decoded { input, decoder, ready: Vec::new(), at: 0, ended: false, line: 1 })
    }

    /// Decodes the next piece.
    fn decode(&mut self) -> std::io::Result<()> {
        let Some(decoder) = &mut self.decoder else { return Ok(()) };
        let piece = self.input.fill_buf()?;
        let (read, is_last) = (piece.len().min(CHUNK), piece.is_empty());
        let most = decoder.max_utf8_buffer_length_without_replacement(read).unwrap_or(4 * CHUNK);
        self.ready.resize(most, 0);
        let (result, taken, written) =
            decoder.decode_to_utf8_without_replacement(&piece[..read], &mut self.ready, is_last);
        self.ready.truncate(written);
        self.at = 0;
        self.input.consume(taken);
        self.line += self.ready.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.ended = is_last;
        match result {
            DecoderResult::InputEmpty | DecoderResult::OutputFull => Ok(()),
            DecoderResult::Malformed(..) => {
                let why = format!("line {} is not UTF-16: a character is cut in half", self.line);
                Err(Error::new(ErrorKind::InvalidData, why))
            }
        }
    }
}

impl<R: BufRead> Read for Decoded<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.decoder.is_none() {
            return self.input.read(into);
        }
        while self.at == self.ready.len() && !self.ended {
            self.decode()?;
        }
        let count = into.len().min(self.ready.len() - self.at);
        into[..count].copy_from_slice(&self.ready[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8], said: Option<Encoding>) -> std::io::Result<Vec<u8>> {
        // Small pieces, as of a pipe.
        let mut all = Vec::new();
        Decoded::open(BufReader::with_capacity(3, bytes), said)?.read_to_end(&mut all)?;
        Ok(all)
    }

    fn utf16(text: &str, to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(to_bytes).collect()
    }

    #[test]
    fn a_byte_order_mark_says_what_a_file_is_and_is_no_part_of_it() {
        let text = "cid;maçã 🍎\n";
        assert_eq!(read(text.as_bytes(), None).unwrap(), text.as_bytes());
        assert_eq!(read(format!("\u{feff}{text}").as_bytes(), None).unwrap(), text.as_bytes());
        let marked = format!("\u{feff}{text}");
        for bytes in [utf16(&marked, u16::to_le_bytes), utf16(&marked, u16::to_be_bytes)] {
            assert_eq!(read(&bytes, None).unwrap(), text.as_bytes());
            assert_eq!(read(&bytes, Some(Encoding::Utf16)).unwrap(), text.as_bytes());
        }
        assert_eq!(read(b"", None).unwrap(), b"");
        assert_eq!(read(b"a", None).unwrap(), b"a");
    }

    #[test]
    fn utf_16_without_a_mark_is_read_only_if_it_is_said() {
        for bytes in [utf16("cid,name\n", u16::to_le_bytes), utf16("cid,name\n", u16::to_be_bytes)] {
            assert!(read(&bytes, None).unwrap_err().to_string().contains("--encoding utf-16"));
            assert_eq!(read(&bytes, Some(Encoding::Utf16)).unwrap(), b"cid,name\n");
        }
    }

    #[test]
    fn half_a_character_is_told_with_its_line() {
        let mut bytes = utf16("a\nb\n", u16::to_le_bytes);
        bytes.extend([0x3d, 0xd8, 0x20, 0x00]);
        let why = read(&bytes, Some(Encoding::Utf16)).unwrap_err().to_string();
        assert!(why.contains("line 3 is not UTF-16"), "{why}");
        assert!(read(b"a\0b", Some(Encoding::Utf16)).is_err(), "half a unit");
    }

    #[test]
    fn latin_1_is_read_as_everybody_writes_it() {
        assert_eq!(read(b"caf\xe9 \x80 5", Some(Encoding::Latin1)).unwrap(), "café € 5".as_bytes());
        assert_eq!(
            read(b"caf\xe9", None).unwrap(),
            b"caf\xe9",
            "who reads it finds what is wrong, with its line"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_the_same_in_each_encoding_of_it(text in "[a-z\u{e0}-\u{ff}\u{4e00}\u{1f34e}\n]{0,40}") {
            let marked = format!("\u{feff}{text}");
            prop_assert_eq!(read(&utf16(&marked, u16::to_le_bytes), None).unwrap(), text.as_bytes());
            prop_assert_eq!(read(&utf16(&marked, u16::to_be_bytes), None).unwrap(), text.as_bytes());
        }
    }
}
