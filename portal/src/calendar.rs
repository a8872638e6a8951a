//! The Gregorian calendar: days and months as people write them, at a place whose clocks are ahead of UTC or behind it.
//!
//! By the algorithm of Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms" (`days_from_civil`, `civil_from_days`).

use std::ops::Range;

/// Milliseconds of a minute.
const MINUTE_MS: i64 = 60_000;
/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;
/// No place's clocks are further from UTC.
const OFFSET_MINUTES_MAX: i64 = 14 * 60;

/// Days since 1970-01-01.
#[must_use]
pub const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day.
#[must_use]
pub const fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * shifted + 2) / 5 + 1, (shifted + 2) % 12 + 1);
    (era * 400 + year + if month <= 2 { 1 } else { 0 }, month, day)
}

/// How far clocks are ahead of UTC.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct UtcOffset {
    minutes: i64,
}

impl UtcOffset {
    /// Reads `-03:00`, `+05:30`, `Z`, or nothing, which is UTC too; `None`: it is none of them. A blank in the place of the sign is the `+` of
    /// whoever wrote it into a query as it is, where `+` says a blank.
    #[must_use]
    pub fn parse(text: &str) -> Option<UtcOffset> {
        if matches!(text, "" | "Z" | "z") {
            return Some(UtcOffset::default());
        }
        let (sign, text) = match text.split_at_checked(1)? {
            ("+" | " ", rest) => (1, rest),
            ("-", rest) => (-1, rest),
            _ => return None,
        };
        let (hours, minutes) = text.split_once(':')?;
        let (hours, minutes) = (number(hours, 2)?, number(minutes, 2)?);
        let minutes = sign * (hours * 60 + minutes);
        (minutes.abs() <= OFFSET_MINUTES_MAX && text.as_bytes()[3] < b'6').then_some(UtcOffset { minutes })
    }

    /// Milliseconds that clocks are ahead.
    #[must_use]
    pub const fn ms(self) -> i64 {
        self.minutes * MINUTE_MS
    }

    /// The day of a moment, as `2026-11-30`.
    #[must_use]
    pub fn day_of(self, ms: i64) -> String {
        let (year, month, day) = civil_from_days(ms.saturating_add(self.ms()).div_euclid(DAY_MS));
        format!("{year:04}-{month:02}-{day:02}")
    }

    /// When a day that is written `2026-11-30` begins and ends; `None`: there is no such day.
    #[must_use]
    pub fn day(self, text: &str) -> Option<Range<i64>> {
        let mut parts = text.splitn(3, '-');
        let mut part = |digits| number(parts.next()?, digits);
        let (year, month, day) = (part(4)?, part(2)?, part(2)?);
        let days = days_from_civil(year, month, day);
        // A day that there is not comes back as another one.
        (civil_from_days(days) == (year, month, day)).then(|| self.span(days, days + 1))
    }

    /// When a month that is written `2026-11` begins and ends; `None`: there is no such month.
    #[must_use]
    pub fn month(self, text: &str) -> Option<Range<i64>> {
        let (year, month) = text.split_once('-')?;
        let (year, month) = (number(year, 4)?, number(month, 2).filter(|month| (1..=12).contains(month))?);
        let next = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
        Some(self.span(days_from_civil(year, month, 1), days_from_civil(next.0, next.1, 1)))
    }

    const fn span(self, from_day: i64, to_day: i64) -> Range<i64> {
        from_day * DAY_MS - self.ms()..to_day * DAY_MS - self.ms()
    }
}

fn number(text: &str, digits: usize) -> Option<i64> {
    let is_number = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-29T14:20:00Z, by `date -u -d @1795962000`.
    const NOW_MS: i64 = 1_795_962_000_000;

    fn offset(text: &str) -> UtcOffset {
        UtcOffset::parse(text).expect(text)
    }

    #[test]
    fn a_moment_is_on_the_day_that_clocks_there_show() {
        for (text, day) in
            [("", "2026-11-29"), ("Z", "2026-11-29"), ("+09:39", "2026-11-29"), ("+09:40", "2026-11-30")]
        {
            assert_eq!(offset(text).day_of(NOW_MS), day, "{text}");
        }
        assert_eq!(offset("-14:00").day_of(NOW_MS), "2026-11-29");
        assert_eq!(offset("-14:00").day_of(NOW_MS - 21 * 60_000), "2026-11-28");
    }

    #[test]
    fn days_and_months_begin_at_midnight_there_and_end_where_the_next_begin() {
        for text in ["", "-03:00", "+05:30"] {
            let place = offset(text);
            let day = place.day("2026-11-29").expect("a day");
            assert!(day.contains(&NOW_MS) && day.end - day.start == DAY_MS, "{text}");
            assert_eq!(place.day_of(day.start), "2026-11-29");
            assert_eq!(place.day_of(day.start - 1), "2026-11-28");
            assert_eq!(place.day("2026-11-30").map(|next| next.start), Some(day.end));
            let month = place.month("2026-11").expect("a month");
            assert_eq!(place.day_of(month.start), "2026-11-01");
            assert_eq!(place.day_of(month.end - 1), "2026-11-30");
            assert_eq!(place.month("2026-12").map(|next| next.start), Some(month.end));
        }
        assert_eq!(offset("-03:00").day("1970-01-01"), Some(3 * 3_600_000..27 * 3_600_000));
        let leap = offset("").month("2024-02").expect("a month");
        assert_eq!((leap.end - leap.start) / DAY_MS, 29);
    }

    #[test]
    fn what_is_no_day_month_or_offset_is_refused() {
        for text in ["", "2026-11", "2026-02-29", "2026-13-01", "26-11-29", "2026-11-29-", "2026-11-2é"] {
            assert_eq!(offset("").day(text), None, "{text}");
        }
        for text in ["", "2026", "2026-13", "2026-00", "2026-1", "2026-11-29", "é026-11"] {
            assert_eq!(offset("").month(text), None, "{text}");
        }
        for text in
            ["3", "-3", "-3:00", "03:00", "+0300", "+14:01", "-15:00", "+05:60", "+é5:00", "+05:5", "  05:30"]
        {
            assert_eq!(UtcOffset::parse(text), None, "{text}");
        }
    }
}
