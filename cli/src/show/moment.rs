//! Points in time, as people write and read them: in UTC, so that staff in two places mean the same.
//!
//! Written: `2026-11-29`, `2026-11-29T08:30` (seconds and a Z may follow), or so long ago: `90m`, `12h`, `7d`.

use portal::calendar::{UtcOffset, civil_from_days, days_from_civil};

const SECOND_MS: i64 = 1_000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// How it is written, for people.
pub const FORMS: &str = "a time: 2026-11-29, 2026-11-29T08:30 (UTC), or so long ago: 90m, 12h, 7d";

/// Milliseconds since 1970 of what is written; `None`: it is no time, or before 1970.
#[must_use]
pub fn read(text: &str, now_ms: i64) -> Option<i64> {
    read_at(text, now_ms, UtcOffset::default())
}

/// The same where clocks are so far ahead of UTC; what has a Z is UTC all the same.
#[must_use]
pub fn read_at(text: &str, now_ms: i64, place: UtcOffset) -> Option<i64> {
    let ahead_ms = if text.ends_with('Z') { 0 } else { place.ms() };
    let ms =
        ago_ms(text).map(|ago| now_ms.saturating_sub(ago)).or_else(|| Some(date_ms(text)? - ahead_ms))?;
    (ms > 0).then_some(ms)
}

/// `2026-11-29 08:30`, or nothing if it is not known.
#[must_use]
pub fn shown(ms: i64) -> String {
    if ms <= 0 {
        return String::new();
    }
    let (year, month, day) = civil_from_days(ms.div_euclid(DAY_MS));
    let (hour, minute) = (ms.rem_euclid(DAY_MS) / HOUR_MS, ms.rem_euclid(HOUR_MS) / MINUTE_MS);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}")
}

fn ago_ms(text: &str) -> Option<i64> {
    let (number, unit_ms) = [('m', MINUTE_MS), ('h', HOUR_MS), ('d', DAY_MS)]
        .into_iter()
        .find_map(|(unit, ms)| Some((text.strip_suffix(unit)?, ms)))?;
    number_of(number, 1..=6)?.checked_mul(unit_ms)
}

fn date_ms(text: &str) -> Option<i64> {
    let (date, time) = match text.split_once(['T', ' ']) {
        Some((date, time)) => (date, time.strip_suffix('Z').unwrap_or(time)),
        None => (text, "00:00"),
    };
    let mut parts = date.split('-');
    let mut part = |digits| number_of(parts.next()?, digits..=digits);
    let (year, month, day) = (part(4)?, part(2)?, part(2)?);
    let days = days_from_civil(year, month, day);
    // A day that there is not comes back as another one.
    if parts.next().is_some() || civil_from_days(days) != (year, month, day) {
        return None;
    }
    let mut parts = time.split(':');
    let mut part = |most: i64| number_of(parts.next()?, 2..=2).filter(|part| *part <= most);
    let (hour, minute) = (part(23)?, part(59)?);
    let second = match parts.next() {
        Some(second) => number_of(second, 2..=2).filter(|part| *part <= 59)?,
        None => 0,
    };
    let is_whole = parts.next().is_none();
    is_whole.then_some(days * DAY_MS + hour * HOUR_MS + minute * MINUTE_MS + second * SECOND_MS)
}

fn number_of(text: &str, digits: std::ops::RangeInclusive<usize>) -> Option<i64> {
    let is_number = digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-29T14:20:00Z, by `date -u -d @1795962000`.
    const NOW_MS: i64 = 1_795_962_000_000;

    #[test]
    fn times_are_read_in_each_form() {
        for (text, ms) in [
            ("2026-11-29", NOW_MS - 14 * HOUR_MS - 20 * MINUTE_MS),
            ("2026-11-29T14:20", NOW_MS),
            ("2026-11-29T14:20Z", NOW_MS),
            ("2026-11-29 14:20:05", NOW_MS + 5_000),
            ("2024-02-29", 1_709_164_800_000),
            ("2000-03-01", 951_868_800_000),
            ("90m", NOW_MS - 90 * MINUTE_MS),
            ("12h", NOW_MS - 12 * HOUR_MS),
            ("7d", NOW_MS - 7 * DAY_MS),
        ] {
            assert_eq!(read(text, NOW_MS), Some(ms), "{text}");
        }
    }

    #[test]
    fn a_time_of_a_place_is_before_or_after_that_of_utc_and_so_long_ago_is_the_same() {
        let place = UtcOffset::parse("-03:00").expect("an offset");
        for (text, ms) in [
            ("2026-11-29T11:20", NOW_MS),
            ("2026-11-29T14:20Z", NOW_MS),
            ("2026-11-29", NOW_MS - 11 * HOUR_MS - 20 * MINUTE_MS),
            ("12h", NOW_MS - 12 * HOUR_MS),
        ] {
            assert_eq!(read_at(text, NOW_MS, place), Some(ms), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "h",
            "1w",
            "-1h",
            "+1h",
            "1.5h",
            "1234567d",
            "2026",
            "2026-13-01",
            "2026-02-29",
            "2026-00-10",
            "2026-11-00",
            "26-11-29",
            "2026-11-29T24:00",
            "2026-11-29T08",
            "2026-11-29T08:60",
            "2026-11-29T08:30:61",
            "2026-11-29T08:30:00:00",
            "2026-11-29-1",
            "1969-12-31",
            "yesterday",
            "2026-11-2é",
        ] {
            assert_eq!(read(text, NOW_MS), None, "{text}");
        }
        assert_eq!(read("999999d", NOW_MS), None, "before 1970");
    }

    #[test]
    fn what_is_shown_is_read_back() {
        assert_eq!((shown(NOW_MS).as_str(), shown(0).as_str()), ("2026-11-29 14:20", ""));
        for day in (1..60_000).step_by(97) {
            let ms = day * DAY_MS + 61 * MINUTE_MS;
            assert_eq!(read(&shown(ms), NOW_MS), Some(ms), "{}", shown(ms));
        }
    }
}
