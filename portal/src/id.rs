//! Ids: of clients (CID), products (PID) and orders (OID).
//!
//! CIDs and PIDs are 1 to 128 bytes of UTF-8, chosen by staff or made from a name ([`slug`]). Whatever they hold,
//! they are safe in keys: [`proto::keys`] encodes them. A new one looks like no other: it is in Unicode's normal form C
//! (UAX #15), and has no invisible character. Ids of earlier versions keep their bytes.
//!
//! An **OID** is made by the portal, the same for the same client and request id, so that a repeated CreateOrder
//! finds its own order. It is 24 characters of Crockford's base32 in small letters:
//!
//! ```text
//!   unique, 12 characters = 60 bits   of digest("oid", CID, request id)
//!   owner,   8 characters = 40 bits   of digest("owner", CID, unique)
//!   check,   4 characters = 20 bits   of digest("check", unique, owner)
//! ```
//!
//! So a portal can tell, from the id alone and without asking the store, whether a CID's order is meant
//! (`owner` fits), another client's (`check` fits, `owner` does not: PERMISSION_DENIED) or nobody's (NOT_FOUND).
//! Since no record is looked up for a foreign OID, that answer says nothing about whether such an order exists;
//! and since `owner` also depends on `unique`, the OIDs of one client have nothing visible in common. The digests
//! are no secrets: a holder of an OID with a guess of its CID can confirm the guess, which the API allows anyway.

use std::fmt;

use proto::hash::digest;
use unicode_normalization::char::is_combining_mark;
use unicode_normalization::{UnicodeNormalization as _, is_nfc};
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory as _};

use crate::error::Error;
use crate::limits::ID_BYTES_MAX;

const _: () = assert!(ID_BYTES_MAX == proto::keys::ID_BYTES_MAX);

/// Checks that a text of one line has no character that would break the line or that nobody sees: control characters
/// (newlines, tabs, escape sequences) and separators of lines and paragraphs.
///
/// # Errors
/// INVALID_ARGUMENT: it has one; which, and where.
pub fn plain(field: &str, text: &str) -> Result<(), Error> {
    let hidden = |one: &(usize, char)| one.1.is_control() || matches!(one.1, '\u{2028}' | '\u{2029}');
    match text.char_indices().find(hidden) {
        Some((at, bad)) => {
            let why =
                format!("has the control character U+{:04X} at byte {at}; leave it out", u32::from(bad));
            Err(Error::invalid(field, why))
        }
        None => Ok(()),
    }
}

/// Characters that leave no trace on a screen, though they are no format characters (Unicode 16, DerivedCoreProperties,
/// `Default_Ignorable_Code_Point`): joiners, fillers and variation selectors.
const UNSEEN: [std::ops::RangeInclusive<char>; 9] = [
    '\u{34f}'..='\u{34f}',
    '\u{115f}'..='\u{1160}',
    '\u{17b4}'..='\u{17b5}',
    '\u{180b}'..='\u{180f}',
    '\u{2800}'..='\u{2800}',
    '\u{3164}'..='\u{3164}',
    '\u{fe00}'..='\u{fe0f}',
    '\u{ffa0}'..='\u{ffa0}',
    '\u{e0100}'..='\u{e01ef}',
];

/// Whether nobody sees this character.
#[must_use]
pub fn is_unseen(character: char) -> bool {
    let format = character.general_category() == GeneralCategory::Format;
    format || UNSEEN.iter().any(|range| range.contains(&character))
}

/// Whether this is a blank that looks like the ordinary one.
#[must_use]
pub fn is_odd_blank(character: char) -> bool {
    character != ' ' && character.general_category() == GeneralCategory::SpaceSeparator
}

/// Checks that a text has no character that nobody sees, nor a blank that looks like another one: with them two texts
/// look the same.
fn seen(field: &str, text: &str) -> Result<(), Error> {
    let found = text.char_indices().find(|(_, one)| is_unseen(*one) || is_odd_blank(*one));
    found.map_or(Ok(()), |(at, bad)| {
        let (what, next) = if is_odd_blank(bad) {
            ("blank", "looks like the ordinary one; use that")
        } else {
            ("character", "nobody sees; leave it out")
        };
        let why = format!("has the {what} U+{:04X} at byte {at}, which {next}", u32::from(bad));
        Err(Error::invalid(field, why))
    })
}

/// An id of at most 128 bytes, checked and as it stands in keys.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct Name {
    /// As people write it.
    text: String,
    /// As it stands in keys.
    encoded: String,
}

impl Name {
    fn parse(field: &str, text: &str) -> Result<Name, Error> {
        match proto::keys::encode_id(text) {
            Ok(encoded) => Ok(Name { text: text.to_owned(), encoded }),
            Err(error) => Err(Error::invalid(field, error.to_string())),
        }
    }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $type(Name);

        impl $type {
            /// Checks an id given in `field`.
            ///
            /// # Errors
            /// INVALID_ARGUMENT: it is not 1 to 128 bytes long, or has a control character.
            pub fn parse(field: &str, text: &str) -> Result<$type, Error> {
                plain(field, text)?;
                $type::stored(field, text)
            }

            /// Checks an id for something new: beside what [`Self::parse`] asks, one that people can name again and that
            /// looks like no other. It is in normal form, in whichever form it was given.
            ///
            /// # Errors
            /// INVALID_ARGUMENT: as [`Self::parse`], or it begins or ends with a blank, begins with a dash, or has a
            /// character that nobody sees.
            pub fn chosen(field: &str, text: &str) -> Result<$type, Error> {
                let text = &*text.nfc().collect::<String>();
                let id = $type::parse(field, text)?;
                if text.trim() != text {
                    return Err(Error::invalid(field, "begins or ends with a blank, which nobody would see"));
                }
                if text.starts_with('-') {
                    return Err(Error::invalid(field, "begins with -, as only the flags of tools do"));
                }
                seen(field, text)?;
                Ok(id)
            }

            /// The id in normal form; `None`: it is so already.
            #[must_use]
            pub fn in_normal_form(&self) -> Option<$type> {
                let text = self.as_str();
                if is_nfc(text) {
                    return None;
                }
                $type::stored("id", &text.nfc().collect::<String>()).ok()
            }

            /// An id that stands in a record or key: also one that nobody may choose any more.
            ///
            /// # Errors
            /// INVALID_ARGUMENT: it is not 1 to 128 bytes long.
            pub fn stored(field: &str, text: &str) -> Result<$type, Error> {
                Name::parse(field, text).map($type)
            }

            /// As people write it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0.text
            }

            /// As it stands in keys.
            #[must_use]
            pub fn encoded(&self) -> &str {
                &self.0.encoded
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0.text)
            }
        }
    };
}

name_type! {
    /// The id of a client.
    Cid
}
name_type! {
    /// The id of a product.
    Pid
}

/// The id of an order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Oid([u8; OID_CHARS]);

/// Characters of an OID.
pub const OID_CHARS: usize = 24;
const UNIQUE_CHARS: usize = 12;
const OWNER_CHARS: usize = 8;
const CHECK_CHARS: usize = OID_CHARS - UNIQUE_CHARS - OWNER_CHARS;
/// Crockford's base32: no i, l, o, u.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

impl Oid {
    /// The OID of the order that this client creates with this request id.
    #[must_use]
    pub fn derive(cid: &Cid, request_id: &[u8]) -> Oid {
        let mut oid = [0; OID_CHARS];
        write_base32(digest(&[b"oid", cid.as_str().as_bytes(), request_id]), &mut oid[..UNIQUE_CHARS]);
        let (owner, check) = Oid::tags(cid, &oid[..UNIQUE_CHARS]);
        oid[UNIQUE_CHARS..OID_CHARS - CHECK_CHARS].copy_from_slice(&owner);
        oid[OID_CHARS - CHECK_CHARS..].copy_from_slice(&check);
        Oid(oid)
    }

    fn tags(cid: &Cid, unique: &[u8]) -> ([u8; OWNER_CHARS], [u8; CHECK_CHARS]) {
        let mut owner = [0; OWNER_CHARS];
        write_base32(digest(&[b"owner", cid.as_str().as_bytes(), unique]), &mut owner);
        (owner, Oid::check(unique, &owner))
    }

    fn check(unique: &[u8], owner: &[u8]) -> [u8; CHECK_CHARS] {
        let mut check = [0; CHECK_CHARS];
        write_base32(digest(&[b"check", unique, owner]), &mut check);
        check
    }

    /// Reads an OID; `None` if no portal ever made this text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Oid> {
        let oid: [u8; OID_CHARS] = text.as_bytes().try_into().ok()?;
        let (unique, rest) = oid.split_at(UNIQUE_CHARS);
        let (owner, check) = rest.split_at(OWNER_CHARS);
        (Oid::check(unique, owner) == check && oid.iter().all(|byte| ALPHABET.contains(byte)))
            .then_some(Oid(oid))
    }

    /// Whether this client made the order.
    #[must_use]
    pub fn belongs_to(&self, cid: &Cid) -> bool {
        let (owner, _) = Oid::tags(cid, &self.0[..UNIQUE_CHARS]);
        self.0[UNIQUE_CHARS..OID_CHARS - CHECK_CHARS] == owner
    }

    /// As people write it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("base32 is ASCII")
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Writes the highest bits of a digest, five a character.
fn write_base32(digest: [u8; 16], into: &mut [u8]) {
    let mut bits = u128::from_be_bytes(digest);
    for character in into {
        *character = ALPHABET[(bits >> 123) as usize];
        bits <<= 5;
    }
}

/// Longest id that is made from a name, bytes.
const SLUG_BYTES_MAX: usize = 64;
const _: () = assert!(SLUG_BYTES_MAX <= ID_BYTES_MAX);

/// An id made from a name: small letters and digits, accents of Latin letters dropped, everything else one dash.
/// "Maçã Fuji (kg)" is "maca-fuji-kg". Letters of other scripts are kept. `None` if nothing is left. How the name's
/// letters are composed makes no difference.
#[must_use]
pub fn slug(name: &str) -> Option<String> {
    let mut slug = String::new();
    for character in without_accents(name).nfc() {
        let mut utf8 = [0; 4];
        let part = plain_letters(character, &mut utf8);
        if slug.len() + part.len() >= SLUG_BYTES_MAX {
            break;
        }
        let gap = part.is_empty() && !slug.is_empty() && !slug.ends_with('-');
        slug.push_str(if gap { "-" } else { part });
    }
    let slug = slug.trim_end_matches('-');
    (!slug.is_empty()).then(|| slug.to_owned())
}

/// The words of a text, in small letters and digits, accents of Latin letters dropped, each followed by one blank: what lists
/// are sorted by and found with. "Maçã Fuji (kg)" is "maca fuji kg ". It has neither braces nor slashes nor control characters,
/// and its blanks are below all its letters, so that a text comes before those that go on after its last word.
#[must_use]
pub fn folded(text: &str) -> String {
    let mut folded = String::with_capacity(text.len() + 1);
    for character in without_accents(text).nfc() {
        let mut utf8 = [0; 4];
        let part = plain_letters(character, &mut utf8);
        let gap = part.is_empty() && !folded.is_empty() && !folded.ends_with(' ');
        folded.push_str(if gap { " " } else { part });
    }
    if !folded.is_empty() && !folded.ends_with(' ') {
        folded.push(' ');
    }
    folded
}

/// A small letter or digit without its accent; empty for anything else, which separates words.
fn plain_letters(character: char, utf8: &mut [u8; 4]) -> &str {
    match without_accent(character) {
        "" if character.is_alphanumeric() || is_combining_mark(character) => &*character.encode_utf8(utf8),
        plain => plain,
    }
}

/// A name in small letters, decomposed, without the marks of Latin letters and what is written without a gap: apostrophes,
/// and characters that nobody sees. The marks of other scripts are part of their letters.
fn without_accents(name: &str) -> String {
    let mut keeps_marks = false;
    let mut kept = String::with_capacity(name.len());
    for character in name.chars().flat_map(char::to_lowercase).nfd() {
        if is_unseen(character) || matches!(character, '\'' | '\u{2019}' | '\u{2bc}') {
            continue;
        }
        if is_combining_mark(character) {
            kept.extend(keeps_marks.then_some(character));
            continue;
        }
        let is_latin = character.is_ascii() || !without_accent(character).is_empty();
        keeps_marks = character.is_alphanumeric() && !is_latin;
        kept.push(character);
    }
    kept
}

/// The plain letters of a small Latin letter that has no decomposition; empty for anything else.
fn without_accent(character: char) -> &'static str {
    match character {
        'ª' => "a",
        'đ' | 'ð' => "d",
        'ħ' => "h",
        'ı' => "i",
        'ł' => "l",
        'ø' | 'º' => "o",
        'ŧ' => "t",
        'æ' => "ae",
        'œ' => "oe",
        'ß' => "ss",
        'þ' => "th",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cid(text: &str) -> Cid {
        Cid::parse("cid", text).expect("an id")
    }

    #[test]
    fn names_become_ids() {
        for (name, id) in [
            ("Maçã Fuji", "maca-fuji"),
            ("  João d'Água & Filhos! ", "joao-dagua-filhos"),
            ("Pa\u{303}o de queijo", "pao-de-queijo"),
            ("Straße № 7", "strasse-7"),
            ("Яблоко", "яблоко"),
            ("Café d\u{2019}Àngel", "cafe-dangel"),
            ("Nguyễn Thị Hạnh", "nguyen-thi-hanh"),
            ("Ana\u{200b} \u{2060}Maria", "ana-maria"),
            ("Чай", "чай"),
            ("हिन्दी", "हिन्दी"),
        ] {
            assert_eq!(slug(name).as_deref(), Some(id));
        }
        assert_eq!(slug(" -- !"), None);
    }

    #[test]
    fn texts_are_folded_to_their_words() {
        for (text, words) in [
            ("Maçã Fuji", "maca fuji "),
            ("  João d'Água & Filhos! ", "joao dagua filhos "),
            ("Straße № 7", "strasse 7 "),
            ("{a}/b%", "a b "),
            ("Яблоко", "яблоко "),
            (" -- !", ""),
        ] {
            assert_eq!(folded(text), words);
        }
        assert!(folded("Maçã") < folded("maca 2") && folded("Maçã 2") < folded("maca fuji"));
        assert!(folded("Maçã Fuji") < folded("maca2"), "a word comes before those that go on");
    }

    #[test]
    fn ids_have_bounds() {
        assert!(Cid::parse("cid", &"x".repeat(128)).is_ok());
        for bad in [String::new(), "x".repeat(129), "é".repeat(65)] {
            let error = Pid::parse("lines[3].pid", &bad).expect_err("too long or empty");
            assert!(matches!(error, Error::Invalid { field, .. } if field == "lines[3].pid"));
        }
    }

    #[test]
    fn an_id_is_neither_blank_nor_a_flag() {
        for bad in [" ", " ana", "ana\u{a0}", "--help", "-", ""] {
            let error = Cid::chosen("cid", bad).expect_err(bad);
            assert!(matches!(error, Error::Invalid { field, .. } if field == "cid"), "{bad}");
        }
        for good in ["ana maria", "a-b", "{}/%"] {
            assert!(Pid::chosen("pid", good).is_ok(), "{good}");
        }
        assert!(Cid::parse("cid", "--help").is_ok(), "one that is there can still be named, and deleted");
    }

    #[test]
    fn a_new_id_has_no_character_that_nobody_sees() {
        for bad in ["ana\u{200b}", "a\u{200d}na", "\u{feff}ana", "an\u{ad}a", "ana\u{e0041}", "ana\u{3164}b"]
        {
            let error = Cid::chosen("cid", bad).expect_err(bad).to_string();
            assert!(
                error.starts_with("cid: has the character U+") && error.contains("nobody sees"),
                "{error}"
            );
            assert!(Cid::parse("cid", bad).is_ok(), "one that is there can still be named");
        }
        let blank = Cid::chosen("cid", "ana\u{a0}maria").expect_err("another blank").to_string();
        assert!(blank.contains("the blank U+00A0 at byte 3"), "{blank}");
    }

    #[test]
    fn a_new_id_is_in_normal_form_and_a_stored_one_is_what_its_bytes_say() {
        let (composed, decomposed) = ("caf\u{e9}", "cafe\u{301}");
        assert_eq!(Cid::chosen("cid", decomposed).expect("an id").as_str(), composed);
        let stored = Cid::parse("cid", decomposed).expect("an id");
        assert_eq!(stored.as_str(), decomposed);
        assert_eq!(stored.in_normal_form().expect("another form").as_str(), composed);
        assert_eq!(Cid::parse("cid", composed).expect("an id").in_normal_form(), None);
    }

    #[test]
    fn an_id_with_a_control_character_is_refused_with_its_place() {
        for (bad, code, at) in [("a\nb", "U+000A", 1), ("é\u{1b}[1m", "U+001B", 2), ("\u{85}", "U+0085", 0)]
        {
            let error = Cid::parse("cid", bad).expect_err("a control character").to_string();
            assert!(error.starts_with("cid: has the control character"), "{error}");
            assert!(error.contains(&format!("{code} at byte {at};")) && !error.contains(bad), "{error}");
        }
        assert!(Pid::stored("pid", "a\nb").is_ok(), "what is stored can still be listed");
        assert!(Pid::parse("pid", "a\u{2028}").is_err() && Pid::parse("pid", "{}/% ção").is_ok());
    }

    #[test]
    fn an_order_id_knows_its_owner_and_nobody_else() {
        let oid = Oid::derive(&cid("ana"), b"request-1");
        assert_eq!(oid, Oid::derive(&cid("ana"), b"request-1"));
        assert_ne!(oid, Oid::derive(&cid("ana"), b"request-2"));
        assert_ne!(oid, Oid::derive(&cid("bia"), b"request-1"));
        assert!(oid.belongs_to(&cid("ana")) && !oid.belongs_to(&cid("bia")));
        assert_eq!(Oid::parse(oid.as_str()), Some(oid));
    }

    #[test]
    fn what_no_portal_made_is_no_order_id() {
        let oid = Oid::derive(&cid("ana"), b"request-1").to_string();
        for bad in ["", "nope", &oid[1..], &oid.to_uppercase(), &format!("{}0", &oid[..23]), &"é".repeat(12)]
        {
            assert!(*bad == *oid || Oid::parse(bad).is_none(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn slugs_are_ids_and_stay_as_they_are(name in "\\PC{0,100}") {
            if let Some(id) = slug(&name) {
                let chosen = Cid::chosen("cid", &id).expect("an id");
                prop_assert_eq!(chosen.as_str(), id.as_str());
                prop_assert_eq!(slug(&id), Some(id.clone()));
                prop_assert!(id.len() <= SLUG_BYTES_MAX);
            }
        }

        #[test]
        fn one_name_makes_one_id_however_its_letters_are_composed(name in "[a-zà-žА-яấ-ỹ가-각 ]{1,30}") {
            let (composed, decomposed): (String, String) = (name.nfc().collect(), name.nfd().collect());
            prop_assert_eq!(slug(&composed), slug(&decomposed));
        }

        #[test]
        fn what_is_folded_is_words_and_stays_as_it_is(text in "\\PC{0,100}") {
            let words = folded(&text);
            prop_assert_eq!(&folded(&words), &words);
            prop_assert!(words.is_empty() || words.ends_with(' '));
            prop_assert!(!words.contains("  ") && !words.starts_with(' '));
            let is_ours = |one: char| "{}/%".contains(one) || one.is_control();
            prop_assert!(!words.contains(is_ours));
        }

        #[test]
        fn one_wrong_character_is_noticed(at in 0usize..OID_CHARS, by in 1u8..32) {
            let mut text = Oid::derive(&cid("ana"), b"r").to_string().into_bytes();
            let value = ALPHABET.iter().position(|one| *one == text[at]).expect("in the alphabet");
            text[at] = ALPHABET[(value + usize::from(by)) % 32];
            let changed = String::from_utf8(text).expect("ASCII");
            // 20 bits of check: with these fixed inputs none passes.
            prop_assert_eq!(Oid::parse(&changed), None);
        }
    }
}
