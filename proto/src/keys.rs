//! Integers and ids as keys or parts of keys, and back.
//!
//! **Integers** of any precision sort as numbers when their keys are compared bytewise: sign, length, magnitude.
//!
//! ```text
//!   n ≥ 0:  01 | length, 2 bytes | magnitude, big-endian, no leading zero      (0 has length 0)
//!   n < 0:  00 | the same of |n|, every bit turned
//! ```
//!
//! **Ids** (of clients, products, orders) are 1 to 128 bytes of UTF-8; in keys `{`, `}`, `/`, `%` and control
//! characters are percent-encoded, so that no id can end a part of a key or begin another.
//!
//! Both ways back are strict: only results of the way there are accepted, so equal things have one encoding.

use crate::check::KEY_BYTES_MAX;

/// Bytes of magnitude that fit in a key.
pub const MAGNITUDE_BYTES_MAX: usize = KEY_BYTES_MAX - PREFIX_BYTES;
/// Decimal digits that may fit: what is longer is refused before it is converted. 1149 > 477 · log10(256).
pub const DIGITS_MAX: usize = 1149;
/// Bytes of an id before it is encoded.
pub const ID_BYTES_MAX: usize = 128;

/// Sign and length.
const PREFIX_BYTES: usize = 3;
const _: () =
    assert!(DIGITS_MAX * 1000 > MAGNITUDE_BYTES_MAX * 2408 && MAGNITUDE_BYTES_MAX <= u16::MAX as usize);
const _: () = assert!(3 * ID_BYTES_MAX < KEY_BYTES_MAX, "an encoded id fits in a key");

/// Why a text is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not digits with an optional sign.
    #[error("{text:?} is not an integer: write decimal digits, with - before them if it is negative")]
    NotAnInteger {
        /// The beginning of what was given.
        text: String,
    },
    /// The number does not fit in a key.
    #[error(
        "the integer is too long: a key holds integers of up to {MAGNITUDE_BYTES_MAX} bytes (1,148 digits)"
    )]
    IntegerTooLong,
    /// The bytes are not an encoded integer.
    #[error("the key is not an encoded integer")]
    NotAnIntegerKey,
    /// An id of no bytes.
    #[error("the id is empty: an id has 1 to {ID_BYTES_MAX} bytes")]
    EmptyId,
    /// An id of too many bytes.
    #[error("the id has {bytes} bytes: an id has 1 to {ID_BYTES_MAX}")]
    IdTooLong {
        /// How many it has.
        bytes: usize,
    },
    /// Not what encoding makes.
    #[error("{text:?} is not an encoded id: at byte {at} {problem}")]
    NotAnEncodedId {
        /// The beginning of what was given.
        text: String,
        /// Where.
        at: usize,
        /// What is wrong.
        problem: &'static str,
    },
}

/// The key of an integer written in decimal. Leading zeros and a plus sign are accepted; -0 is 0.
///
/// # Errors
/// Not an integer, or one too long for a key.
pub fn integer_to_key(decimal: &str) -> Result<Vec<u8>, KeyError> {
    let (negative, digits) = match decimal.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(KeyError::NotAnInteger { text: beginning(decimal) });
    }
    let significant = &digits[digits.iter().take_while(|digit| **digit == b'0').count()..];
    if significant.len() > DIGITS_MAX {
        return Err(KeyError::IntegerTooLong);
    }
    let magnitude = magnitude_of(significant);
    if magnitude.len() > MAGNITUDE_BYTES_MAX {
        return Err(KeyError::IntegerTooLong);
    }
    let length = u16::try_from(magnitude.len()).map_err(|_| KeyError::IntegerTooLong)?;
    let mut key = Vec::with_capacity(PREFIX_BYTES + magnitude.len());
    key.push(1);
    key.extend(length.to_be_bytes());
    key.extend(magnitude);
    if negative && length > 0 {
        key.iter_mut().for_each(|byte| *byte = !*byte);
        key[0] = 0;
    }
    Ok(key)
}

/// The integer of a key, in decimal.
///
/// # Errors
/// The key was not made by [`integer_to_key`].
pub fn key_to_integer(key: &[u8]) -> Result<String, KeyError> {
    let negative = match key.first() {
        Some(0) => true,
        Some(1) => false,
        _ => return Err(KeyError::NotAnIntegerKey),
    };
    let plain: Vec<u8> = key[1..].iter().map(|byte| if negative { !byte } else { *byte }).collect();
    let Some((length, magnitude)) = plain.split_first_chunk::<2>() else {
        return Err(KeyError::NotAnIntegerKey);
    };
    let canonical = magnitude.first().map_or(!negative, |first| *first != 0);
    let length = usize::from(u16::from_be_bytes(*length));
    if length != magnitude.len() || length > MAGNITUDE_BYTES_MAX || !canonical {
        return Err(KeyError::NotAnIntegerKey);
    }
    let sign = if negative { "-" } else { "" };
    Ok(format!("{sign}{}", decimal_of(magnitude)))
}

/// Big-endian bytes of decimal digits: nine digits at a time into limbs of 32 bits.
fn magnitude_of(digits: &[u8]) -> Vec<u8> {
    let mut limbs: Vec<u32> = Vec::with_capacity(digits.len() / 9 + 1);
    let first = digits.len() % 9;
    let groups = std::iter::once(&digits[..first]).chain(digits[first..].chunks(9));
    for group in groups.filter(|group| !group.is_empty()) {
        let value = group.iter().fold(0u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
        let mut carry = value;
        for limb in &mut limbs {
            let wide = u64::from(*limb) * 10u64.pow(group.len().try_into().expect("at most nine")) + carry;
            *limb = low_half(wide);
            carry = wide >> 32;
        }
        if carry > 0 {
            limbs.push(low_half(carry));
        }
    }
    let bytes: Vec<u8> = limbs.iter().rev().flat_map(|limb| limb.to_be_bytes()).collect();
    let leading = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes[leading..].to_vec()
}

/// Decimal digits of big-endian bytes, nine digits at a time by division.
fn decimal_of(magnitude: &[u8]) -> String {
    let mut bytes = magnitude.to_vec();
    let mut groups: Vec<u64> = Vec::new();
    while bytes.iter().any(|byte| *byte != 0) {
        let mut rest = 0u64;
        for byte in &mut bytes {
            let wide = (rest << 8) | u64::from(*byte);
            *byte = u8::try_from(wide / 1_000_000_000).expect("the rest is below the divisor");
            rest = wide % 1_000_000_000;
        }
        groups.push(rest);
    }
    let Some(first) = groups.pop() else { return "0".to_owned() };
    groups.iter().rev().fold(first.to_string(), |text, group| text + &format!("{group:09}"))
}

fn low_half(wide: u64) -> u32 {
    u32::try_from(wide & u64::from(u32::MAX)).expect("masked")
}

fn beginning(text: &str) -> String {
    text.chars().take(40).collect()
}

/// Whether this character stands in a key only percent-encoded.
fn is_encoded(character: char) -> bool {
    matches!(character, '{' | '}' | '/' | '%') || character.is_control()
}

/// An id as part of a key.
///
/// # Errors
/// The id is empty or longer than [`ID_BYTES_MAX`].
pub fn encode_id(id: &str) -> Result<String, KeyError> {
    match id.len() {
        0 => return Err(KeyError::EmptyId),
        bytes if bytes > ID_BYTES_MAX => return Err(KeyError::IdTooLong { bytes }),
        _ => {}
    }
    let mut encoded = String::with_capacity(id.len());
    for character in id.chars() {
        if is_encoded(character) {
            let mut utf8 = [0; 4];
            for byte in character.encode_utf8(&mut utf8).bytes() {
                encoded.push('%');
                encoded.push(char::from(b"0123456789ABCDEF"[usize::from(byte >> 4)]));
                encoded.push(char::from(b"0123456789ABCDEF"[usize::from(byte & 15)]));
            }
        } else {
            encoded.push(character);
        }
    }
    Ok(encoded)
}

/// The id in a part of a key.
///
/// # Errors
/// Not exactly what [`encode_id`] makes of some id.
pub fn decode_id(encoded: &str) -> Result<String, KeyError> {
    let wrong = |at, problem| KeyError::NotAnEncodedId { text: beginning(encoded), at, problem };
    let bytes = encoded.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'%' {
            decoded.push(bytes[at]);
            at += 1;
            continue;
        }
        match bytes.get(at + 1..at + 3).and_then(|digits| Some((nibble(digits[0])?, nibble(digits[1])?))) {
            Some((high, low)) => decoded.push(high << 4 | low),
            None => return Err(wrong(at, "two capital hexadecimal digits must follow %")),
        }
        at += 3;
    }
    let id =
        String::from_utf8(decoded).map_err(|error| wrong(error.utf8_error().valid_up_to(), "UTF-8 ends"))?;
    let again = encode_id(&id)?;
    match again.bytes().zip(encoded.bytes()).position(|(right, given)| right != given) {
        None if again.len() == encoded.len() => Ok(id),
        at => Err(wrong(at.unwrap_or(0), "a character is encoded that need not be, or is not and must be")),
    }
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn integers_of_any_precision_come_back() {
        for text in
            ["0", "1", "-1", "255", "256", "-256", "18446744073709551616", "-340282366920938463463374607431"]
        {
            let key = integer_to_key(text).expect(text);
            assert_eq!(key_to_integer(&key).as_deref(), Ok(text));
        }
        let longest = "9".repeat(1148);
        assert_eq!(key_to_integer(&integer_to_key(&longest).expect("fits")), Ok(longest));
    }

    #[test]
    fn one_number_has_one_key() {
        for text in ["-0", "+0", "000", "0"] {
            assert_eq!(integer_to_key(text), Ok(vec![1, 0, 0]));
        }
        assert_eq!(integer_to_key("+007"), integer_to_key("7"));
    }

    #[test]
    fn what_is_no_integer_or_too_long_is_refused() {
        for text in ["", "-", "+", "1.0", "1e3", " 1", "1 ", "--1", "٣", "0x10"] {
            assert!(matches!(integer_to_key(text), Err(KeyError::NotAnInteger { .. })), "{text}");
        }
        for text in ["9".repeat(1149), "1".repeat(5000), format!("-{}", "9".repeat(1150))] {
            assert_eq!(integer_to_key(&text), Err(KeyError::IntegerTooLong));
        }
        for key in
            [&b""[..], b"\x02\0\0", b"\x01\0", b"\x01\0\x01", b"\x01\0\x01\0", b"\x00\xff\xff", b"text"]
        {
            assert_eq!(key_to_integer(key), Err(KeyError::NotAnIntegerKey), "{key:?}");
        }
    }

    proptest! {
        #[test]
        fn integer_keys_sort_as_numbers(a in any::<i128>(), b in any::<i128>(), small in -300i128..300) {
            for (a, b) in [(a, b), (a >> 64, b), (small, b >> 100), (small, a >> 119)] {
                let keys = (integer_to_key(&a.to_string()).unwrap(), integer_to_key(&b.to_string()).unwrap());
                prop_assert_eq!(a.cmp(&b), keys.0.cmp(&keys.1));
                prop_assert_eq!(key_to_integer(&keys.0).unwrap(), a.to_string());
            }
        }

        #[test]
        fn ids_come_back_and_keep_out_of_each_other(id in "[ -~\u{0}-\u{20}{}/%é\u{85}]{1,40}") {
            let encoded = encode_id(&id).unwrap();
            let loose = encoded.chars().any(|c| c != '%' && is_encoded(c));
            prop_assert!(!loose);
            prop_assert_eq!(decode_id(&encoded).unwrap(), id);
        }

        #[test]
        fn decoding_accepts_only_what_encoding_makes(text in "[a%0-9A-F{}/é]{0,12}") {
            if let Ok(id) = decode_id(&text) {
                prop_assert_eq!(encode_id(&id).unwrap(), text);
            }
        }
    }

    #[test]
    fn ids_are_encoded_as_documented() {
        assert_eq!(encode_id("a/b{c}%\n").as_deref(), Ok("a%2Fb%7Bc%7D%25%0A"));
        assert_eq!(encode_id("maçã 1 kg").as_deref(), Ok("maçã 1 kg"));
        assert_eq!(encode_id(""), Err(KeyError::EmptyId));
        assert_eq!(encode_id(&"x".repeat(129)), Err(KeyError::IdTooLong { bytes: 129 }));
        for bad in ["%2f", "%", "%4", "%41", "a/b", "%FF", "%zz", "{"] {
            assert!(matches!(decode_id(bad), Err(KeyError::NotAnEncodedId { .. })), "{bad}");
        }
        assert_eq!(decode_id(""), Err(KeyError::EmptyId));
    }
}
