//! Numbers as people write them, with one reading or none.
//!
//! The mark before decimals is what the command line says: a point, or a comma. The other mark may stand between thousands where
//! nothing else can be meant (`1.234.567`, `1.234,50`). One that may be either (`1,234` where a point was said) is refused with both
//! readings.

use clap::ValueEnum;

/// The mark before decimals.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Decimal {
    /// 1.25
    Point,
    /// 1,25
    Comma,
}

impl Decimal {
    /// The mark, and the other one.
    const fn marks(self) -> (char, char) {
        match self {
            Decimal::Point => ('.', ','),
            Decimal::Comma => (',', '.'),
        }
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether it is `1.234.567` with this mark between thousands.
fn is_grouped(text: &str, mark: char) -> bool {
    let mut groups = text.split(mark);
    let first = groups.next().unwrap_or_default();
    is_digits(first) && first.len() <= 3 && groups.all(|group| is_digits(group) && group.len() == 3)
}

/// The number with a decimal point, digit for digit.
///
/// # Errors
/// Why it has no reading, or which two it has.
pub fn plain(text: &str, decimal: Decimal) -> Result<String, String> {
    let (mark, other) = decimal.marks();
    let (sign, digits) = text.trim().strip_prefix('-').map_or(("", text.trim()), |digits| ("-", digits));
    let none = || format!("{text:?} is no number");
    if !digits.contains(other) {
        return match digits.split_once(mark) {
            None if is_digits(digits) => Ok(format!("{sign}{digits}")),
            Some((whole, parts)) if is_digits(whole) && is_digits(parts) => {
                Ok(format!("{sign}{whole}.{parts}"))
            }
            _ => Err(none()),
        };
    }
    let (whole, parts) =
        digits.split_once(mark).map_or((digits, None), |(whole, parts)| (whole, Some(parts)));
    let joined = whole.replace(other, "");
    match parts {
        Some(parts) if is_grouped(whole, other) && is_digits(parts) => Ok(format!("{sign}{joined}.{parts}")),
        None if is_grouped(whole, other) && whole.matches(other).count() > 1 => Ok(format!("{sign}{joined}")),
        None if is_grouped(whole, other) => {
            let read = whole.replace(other, ".");
            Err(two_readings(text, &format!("{sign}{read}"), &format!("{sign}{joined}"), decimal))
        }
        None => match whole.split_once(other) {
            Some((whole, parts)) if is_digits(whole) && is_digits(parts) => Err(other_mark(text, decimal)),
            _ => Err(none()),
        },
        Some(_) => Err(none()),
    }
}

fn two_readings(text: &str, one: &str, other: &str, decimal: Decimal) -> String {
    let say = match decimal {
        Decimal::Point => "--decimal comma means the first; for the second leave the comma out",
        Decimal::Comma => "for the first write a comma, for the second leave the point out",
    };
    format!("{text:?} may be {one} or {other}: {say}")
}

fn other_mark(text: &str, decimal: Decimal) -> String {
    match decimal {
        Decimal::Point => format!("{text:?} has a decimal comma: --decimal comma reads it"),
        Decimal::Comma => {
            format!("{text:?} has a decimal point, and --decimal comma says that there are none")
        }
    }
}

/// A whole number.
///
/// # Errors
/// As [`plain`]; or it has decimals.
pub fn whole(text: &str, decimal: Decimal) -> Result<i64, String> {
    let number = plain(text, decimal)?;
    if let Some((whole, parts)) = number.split_once('.') {
        // Of what has no decimals, a mark before three digits is likely one between thousands.
        return Err(match parts.len() {
            3 if whole.trim_start_matches('-').len() <= 3 => {
                format!(
                    "{text:?} may be {whole}.{parts} or {whole}{parts}, and is to be a whole number: leave the mark out"
                )
            }
            _ => format!("{text:?} is no whole number"),
        });
    }
    number.parse().map_err(|_| format!("{text:?} is too large"))
}

/// Yes or no.
///
/// # Errors
/// It is neither.
pub fn flag(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "" | "false" => Ok(false),
        "true" => Ok(true),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_with_one_reading_is_read() {
        for (text, decimal, read) in [
            ("2.55", Decimal::Point, "2.55"),
            (" 7 ", Decimal::Point, "7"),
            ("1.234", Decimal::Point, "1.234"),
            ("1,234.50", Decimal::Point, "1234.50"),
            ("1,234,567", Decimal::Point, "1234567"),
            ("-3", Decimal::Point, "-3"),
            ("2,55", Decimal::Comma, "2.55"),
            ("1,234", Decimal::Comma, "1.234"),
            ("1.234,50", Decimal::Comma, "1234.50"),
            ("1.234.567", Decimal::Comma, "1234567"),
            ("12", Decimal::Comma, "12"),
        ] {
            assert_eq!(plain(text, decimal).as_deref(), Ok(read), "{text}");
        }
    }

    #[test]
    fn a_number_with_two_readings_is_refused_with_both() {
        let why = plain("1,234", Decimal::Point).unwrap_err();
        assert!(why.contains("may be 1.234 or 1234") && why.contains("--decimal comma"), "{why}");
        let why = plain("-1.234", Decimal::Comma).unwrap_err();
        assert!(why.contains("may be -1.234 or -1234"), "{why}");
        let why = whole("1.000", Decimal::Point).unwrap_err();
        assert!(why.contains("may be 1.000 or 1000"), "{why}");
        let why = whole("1,000", Decimal::Comma).unwrap_err();
        assert!(why.contains("may be 1.000 or 1000"), "{why}");
    }

    #[test]
    fn a_comma_is_a_decimal_comma_only_if_that_is_said() {
        assert!(plain("1,5", Decimal::Point).unwrap_err().contains("--decimal comma reads it"));
        assert!(plain("1.5", Decimal::Comma).unwrap_err().contains("has a decimal point"));
    }

    #[test]
    fn what_is_no_number_has_no_reading() {
        for text in [
            "",
            "-",
            ".",
            ",",
            "1.",
            ".5",
            "1,,2",
            "1e5",
            "NaN",
            "1,2,3",
            "1.2.3",
            "١",
            "1,23.4",
            "12,34,567",
            "+1",
            "1 000",
        ] {
            for decimal in [Decimal::Point, Decimal::Comma] {
                assert!(plain(text, decimal).is_err(), "{text}");
            }
        }
        assert_eq!((whole("007", Decimal::Point), whole("-12", Decimal::Comma)), (Ok(7), Ok(-12)));
        assert!(
            whole("2.5", Decimal::Point).is_err() && whole("99999999999999999999", Decimal::Point).is_err()
        );
        assert_eq!((flag(" TRUE"), flag("false"), flag("")), (Ok(true), Ok(false), Ok(false)));
        assert!(flag("1").is_err());
    }

    proptest! {
        #[test]
        fn a_plain_number_is_read_as_it_stands(whole in "[0-9]{1,12}", parts in "[0-9]{1,6}") {
            let with = |mark: char| format!("{whole}{mark}{parts}");
            prop_assert_eq!(plain(&with('.'), Decimal::Point), Ok(with('.')));
            prop_assert_eq!(plain(&with(','), Decimal::Comma), Ok(with('.')));
            // The other mark is never read as a decimal mark, and what is read has no digit less.
            if let Ok(read) = plain(&with(','), Decimal::Point) {
                prop_assert_eq!(read, format!("{whole}{parts}"));
            }
        }
    }
}
