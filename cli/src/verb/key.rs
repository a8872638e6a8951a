//! Keys as people write them: an integer of any length, or text. `text:17` is the text of two digits;
//! `hex:00ff` is bytes.
//!
//! Promise: what [`shown`] writes of a key means that key, and no other, when it is typed again; a word that holds blanks
//! is quoted besides ([`super::words::quoted`]).

use proto::keys::{integer_to_key, key_to_integer};

use crate::show::written::is_hidden;

/// LMDB takes 511 bytes; the store says 480.
pub const KEY_BYTES_MAX: usize = 480;

/// The key that a word means.
///
/// # Errors
/// What is wrong with it, in words.
pub fn key_of(word: &str) -> Result<Vec<u8>, String> {
    let key = if let Some(text) = word.strip_prefix("text:") {
        text.as_bytes().to_vec()
    } else if let Some(hex) = word.strip_prefix("hex:") {
        bytes_of_hex(hex).ok_or("hex: must be followed by pairs of 0-9 and a-f")?
    } else if looks_like_integer(word) {
        integer_to_key(word).map_err(|e| e.to_string())?
    } else {
        word.as_bytes().to_vec()
    };
    match key.len() {
        0 => Err("a key has at least one byte".to_owned()),
        1..=KEY_BYTES_MAX => Ok(key),
        bytes => Err(format!("the key has {bytes} bytes; at most {KEY_BYTES_MAX}")),
    }
}

/// A key as people would write it.
#[must_use]
pub fn shown(key: &[u8]) -> String {
    if let Ok(integer) = key_to_integer(key) {
        return integer;
    }
    match std::str::from_utf8(key) {
        Ok(text) if text.chars().any(is_hidden) => hex(key),
        Ok(text) if looks_like_integer(text) || is_marked(text) => format!("text:{text}"),
        Ok(text) => text.to_owned(),
        Err(_) => hex(key),
    }
}

/// Whether a word says itself how it is to be read.
fn is_marked(word: &str) -> bool {
    word.starts_with("text:") || word.starts_with("hex:")
}

fn hex(key: &[u8]) -> String {
    format!("hex:{}", key.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// Data as text where it is text, else in hexadecimal.
#[must_use]
pub fn data_shown(data: &[u8]) -> String {
    match std::str::from_utf8(data) {
        Ok(text) => text.to_owned(),
        Err(_) => hex(data),
    }
}

fn looks_like_integer(word: &str) -> bool {
    let digits = word.strip_prefix(['-', '+']).unwrap_or(word);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// The bytes of pairs of hexadecimal digits; `None`: they are none.
#[must_use]
pub fn bytes_of_hex(hex: &str) -> Option<Vec<u8>> {
    if hex.is_empty() || !hex.len().is_multiple_of(2) || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_are_shown_as_they_are_written() {
        for word in ["0", "-17", "123456789012345678901234567890", "p/banana", "text:17", "hex:00ff"] {
            assert_eq!(shown(&key_of(word).unwrap()), word);
        }
        assert_eq!(key_of("+5"), key_of("005"));
        assert_ne!(key_of("5"), key_of("text:5"));
    }

    #[test]
    fn a_key_is_shown_in_the_form_that_means_it() {
        for (word, means) in [("text:text:abc", "text:abc"), ("text:hex:00", "hex:00"), ("text:+5", "+5")] {
            assert_eq!(key_of(word).unwrap(), means.as_bytes());
            assert_eq!(shown(means.as_bytes()), word);
        }
        let hidden = "ana\u{200b}";
        assert_eq!(shown(hidden.as_bytes()), "hex:616e61e2808b", "it would look like another");
    }

    proptest! {
        #[test]
        fn every_key_that_is_shown_is_typed_again(
            text in "(text:|hex:|[-+])?[0-9a-f]{0,8}\\PC{0,8}",
            bytes in prop::collection::vec(any::<u8>(), 1..24),
        ) {
            for key in [text.as_bytes(), &bytes].into_iter().filter(|key| !key.is_empty()) {
                let typed = crate::verb::words::quoted(&shown(key));
                let words = crate::verb::words::words(&typed).unwrap();
                prop_assert_eq!(words.len(), 1);
                prop_assert_eq!(key_of(&words[0]).unwrap(), key);
            }
        }
    }

    #[test]
    fn wrong_keys_are_explained() {
        assert!(key_of("").unwrap_err().contains("at least one byte"));
        assert!(key_of(&"k".repeat(481)).unwrap_err().contains("at most 480"));
        assert!(key_of("hex:0g").unwrap_err().contains("pairs"));
        assert!(key_of(&"9".repeat(1_149)).unwrap_err().contains("too long"));
    }
}
