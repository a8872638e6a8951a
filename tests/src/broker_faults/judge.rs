//! The verdict on a journal: what callers saw is compared with what callers wrote, and with nothing that a portal says of itself.
//!
//! - *Lease.* A read that shows a version although a later one was acknowledged longer than the lease before the read was begun.
//!   The request's own time is no excuse: the cache is looked into after the request was begun.
//! - *Session.* Versions are offsets of one log. A session that was shown offset F must from then on be shown of each record the latest
//!   version at or before F, whoever wrote it: its own writes and what it has seen are a part of that.
//! - *Prices.* An order at offset V has, of each line that came or changed, the price of the product's latest version before V;
//!   and, by the clock, one that was not replaced before the order was begun.
//! - *Content.* A version says what was written as that version, and nothing is read before it was asked for.
//!
//! A write whose outcome nobody learnt may be there or not, and excuses only what it would itself say.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use super::journal::{Entry, Key, Kind, Span};

/// Violations that are told; the others are counted.
const TOLD_MAX: usize = 20;

/// What was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// A hit is never older than the lease.
    Lease,
    /// A session reads its own writes and never goes back.
    Session,
    /// An order never rests on stale data.
    Price,
    /// What is shown was written.
    Content,
    /// What was found wrong at once: an undocumented error, a repetition that was answered otherwise, books.
    Other,
}

/// What came out.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Reads that were compared.
    pub reads: u64,
    /// Those of a session.
    pub session_reads: u64,
    /// Those of a session that had been shown a version of the record, which a cache may have had an older one of.
    pub bound_reads: u64,
    /// Acknowledged writes, one for each record.
    pub writes: u64,
    /// Orders made or modified.
    pub orders: u64,
    /// Their lines that came or changed.
    pub lines: u64,
    /// Reads that missed an acknowledged write, as the lease allows.
    pub old: u64,
    /// How long before the read such a write had been acknowledged, at most.
    pub oldest: Duration,
    /// Violations by what they broke.
    pub broken: BTreeMap<Promise, u64>,
    /// Some of them.
    pub told: Vec<String>,
}

impl Verdict {
    fn broke(&mut self, promise: Promise, what: impl FnOnce() -> String) {
        *self.broken.entry(promise).or_default() += 1;
        if self.told.len() < TOLD_MAX {
            self.told.push(format!("{promise:?}: {}", what()));
        }
    }

    /// How often a promise was broken.
    #[must_use]
    pub fn of(&self, promise: Promise) -> u64 {
        self.broken.get(&promise).copied().unwrap_or_default()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { reads, session_reads, bound_reads, writes, orders, lines, old, oldest, .. } = self;
        writeln!(f, "{reads} reads judged against {writes} acknowledged writes of records")?;
        writeln!(
            f,
            "{session_reads} of them in sessions, {bound_reads} of what the session had seen already"
        )?;
        writeln!(f, "{old} missed an acknowledged write, the oldest by {} ms", oldest.as_millis())?;
        writeln!(f, "{orders} orders made or modified, {lines} lines priced")?;
        write!(
            f,
            "violations: {} of the lease, {} of sessions, {} orders on stale data, {} of content, {} others",
            self.of(Promise::Lease),
            self.of(Promise::Session),
            self.of(Promise::Price),
            self.of(Promise::Content),
            self.of(Promise::Other)
        )?;
        self.told.iter().try_for_each(|what| write!(f, "\n  {what}"))
    }
}

/// One version of a record.
#[derive(Clone, Debug)]
struct Version {
    at: u64,
    span: Span,
    content: Option<String>,
    /// When the first of the versions after this one was acknowledged.
    replaced: Option<Instant>,
}

/// What was written of one record.
#[derive(Debug, Default)]
struct Written {
    /// By offset.
    versions: Vec<Version>,
    /// What nobody learnt the outcome of.
    perhaps: Vec<(Instant, String)>,
}

impl Written {
    fn sort(&mut self) {
        self.versions.sort_by_key(|version| version.at);
        let mut first: Option<Instant> = None;
        for version in self.versions.iter_mut().rev() {
            version.replaced = first;
            first = Some(first.map_or(version.span.returned, |first| first.min(version.span.returned)));
        }
    }

    /// How many versions are at or before this offset.
    fn until(&self, offset: u64) -> usize {
        self.versions.partition_point(|version| version.at <= offset)
    }

    fn latest(&self, offset: u64) -> Option<&Version> {
        self.until(offset).checked_sub(1).map(|at| &self.versions[at])
    }

    /// When the first version after this offset was acknowledged.
    fn replaced_after(&self, offset: u64) -> Option<Instant> {
        let next = self.versions.get(self.until(offset))?;
        Some(next.replaced.map_or(next.span.returned, |later| later.min(next.span.returned)))
    }

    /// What the record says at this offset.
    fn content(&self, offset: u64) -> Option<&str> {
        self.versions[..self.until(offset)].iter().rev().find_map(|version| version.content.as_deref())
    }

    fn is_perhaps(&self, content: &str, returned: Instant) -> bool {
        self.perhaps.iter().any(|(called, said)| said == content && *called <= returned)
    }
}

/// Judges a journal; `lease` is the bound on staleness.
#[must_use]
pub fn judge(journal: &[Entry], lease: Duration) -> Verdict {
    let mut verdict = Verdict::default();
    let written = written(journal, &mut verdict);
    let nothing = Written::default();
    for entry in journal {
        match entry {
            Entry::Read { key, span, version, content, floor, who } => {
                let of = written.get(key).unwrap_or(&nothing);
                let read = Read { key, span: *span, version: *version, content: content.as_deref(), who };
                verdict.reads += 1;
                judge_age(&read, of, lease, &mut verdict);
                judge_content(&read, of, &mut verdict);
                if let Some(floor) = floor {
                    judge_session(&read, of, *floor, &mut verdict);
                }
            }
            Entry::Priced { oid, span, version, lines, who } => {
                verdict.orders += 1;
                for (pid, price) in lines {
                    let of = written.get(&Key::new(Kind::Product, pid)).unwrap_or(&nothing);
                    judge_price((oid, pid, price, who), (*span, *version), of, &mut verdict);
                }
            }
            Entry::Wrong(what) => verdict.broke(Promise::Other, || what.clone()),
            Entry::Wrote { .. } | Entry::MayHaveWritten { .. } => {}
        }
    }
    verdict
}

fn written(journal: &[Entry], verdict: &mut Verdict) -> BTreeMap<Key, Written> {
    let mut written: BTreeMap<Key, Written> = BTreeMap::new();
    for entry in journal {
        match entry {
            Entry::Wrote { key, span, version, content } => {
                verdict.writes += 1;
                let version = Version { at: *version, span: *span, content: content.clone(), replaced: None };
                written.entry(key.clone()).or_default().versions.push(version);
            }
            Entry::MayHaveWritten { key, called, content } => {
                written.entry(key.clone()).or_default().perhaps.push((*called, content.clone()));
            }
            Entry::Read { .. } | Entry::Priced { .. } | Entry::Wrong(_) => {}
        }
    }
    written.values_mut().for_each(Written::sort);
    written
}

/// A record as it was shown.
struct Read<'j> {
    key: &'j Key,
    span: Span,
    version: u64,
    content: Option<&'j str>,
    who: &'j str,
}

impl fmt::Display for Read<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Read { key: Key { kind, id }, version, who, .. } = self;
        write!(f, "{who} was shown version {version} of {kind:?} {id}")
    }
}

fn judge_age(read: &Read<'_>, of: &Written, lease: Duration, verdict: &mut Verdict) {
    let Some(replaced) = of.replaced_after(read.version) else { return };
    let age = read.span.called.saturating_duration_since(replaced);
    verdict.old += u64::from(!age.is_zero());
    verdict.oldest = verdict.oldest.max(age);
    if age > lease {
        verdict.broke(Promise::Lease, || {
            format!("{read}, which was replaced {} ms before it asked", age.as_millis())
        });
    }
}

fn judge_session(read: &Read<'_>, of: &Written, floor: u64, verdict: &mut Verdict) {
    verdict.session_reads += 1;
    let Some(bound) = of.latest(floor) else { return };
    verdict.bound_reads += 1;
    if read.version < bound.at {
        verdict.broke(Promise::Session, || {
            format!("{read}; its session had seen the log up to {floor}, where version {} is", bound.at)
        });
    }
}

fn judge_content(read: &Read<'_>, of: &Written, verdict: &mut Verdict) {
    let Some(shown) = read.content else { return };
    let is_early = of.latest(read.version).is_some_and(|latest| latest.span.called > read.span.returned);
    let is_right = of.content(read.version) == Some(shown) || of.is_perhaps(shown, read.span.returned);
    if is_early || !is_right {
        verdict.broke(Promise::Content, || {
            format!("{read}, saying {shown}; written was {:?}", of.content(read.version))
        });
    }
}

fn judge_price(
    (oid, pid, price, who): (&str, &str, &str, &str),
    (span, version): (Span, u64),
    of: &Written,
    verdict: &mut Verdict,
) {
    verdict.lines += 1;
    if of.is_perhaps(price, span.returned) {
        return;
    }
    let said = |version: &&Version| version.content.as_deref() == Some(price);
    let had = of.versions.iter().filter(said).any(|version| {
        version.span.called <= span.returned && version.replaced.is_none_or(|at| at >= span.called)
    });
    let current = of.content(version);
    if !had || current != Some(price) {
        verdict.broke(Promise::Price, || {
            format!(
                "order {oid} of {who} has {pid} for {price} at offset {version}, where it was {current:?}"
            )
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(1);

    /// Entries on a clock of milliseconds.
    struct Clock(Instant);

    impl Clock {
        fn span(&self, called: u64, returned: u64) -> Span {
            let at = |ms| self.0 + Duration::from_millis(ms);
            Span { called: at(called), returned: at(returned) }
        }

        fn wrote(&self, (called, returned): (u64, u64), version: u64, price: &str) -> Entry {
            let (key, content) = (Key::new(Kind::Product, "fig"), Some(price.to_owned()));
            Entry::Wrote { key, span: self.span(called, returned), version, content }
        }

        fn read(&self, (called, returned): (u64, u64), version: u64, price: &str) -> Entry {
            self.read_after(None, (called, returned), version, price)
        }

        fn read_after(
            &self,
            floor: Option<u64>,
            (called, returned): (u64, u64),
            version: u64,
            price: &str,
        ) -> Entry {
            let (key, content, who) =
                (Key::new(Kind::Product, "fig"), Some(price.to_owned()), "ana".to_owned());
            Entry::Read { key, span: self.span(called, returned), version, content, floor, who }
        }

        fn priced(&self, (called, returned): (u64, u64), version: u64, price: &str) -> Entry {
            let lines = vec![("fig".to_owned(), price.to_owned())];
            let (oid, who) = ("o".to_owned(), "ana".to_owned());
            Entry::Priced { oid, span: self.span(called, returned), version, lines, who }
        }
    }

    /// What these break, after a price of 1 at offset 10 and one of 2 at offset 20, acknowledged at 100 ms.
    fn broken(entries: impl FnOnce(&Clock) -> Vec<Entry>) -> Vec<Promise> {
        let clock = Clock(Instant::now());
        let mut journal = vec![clock.wrote((0, 5), 10, "1"), clock.wrote((90, 100), 20, "2")];
        journal.extend(entries(&clock));
        judge(&journal, LEASE).broken.into_keys().collect()
    }

    #[test]
    fn a_read_may_be_a_lease_behind_what_was_acknowledged_when_it_began_and_no_more() {
        assert_eq!(broken(|at| vec![at.read((1_100, 1_100), 10, "1")]), []);
        assert_eq!(broken(|at| vec![at.read((1_101, 1_101), 10, "1")]), [Promise::Lease]);
        assert_eq!(broken(|at| vec![at.read((900, 9_000), 10, "1")]), [], "it began in time");
        assert_eq!(broken(|at| vec![at.read((9_000, 9_001), 20, "2")]), []);
        // A later version that was acknowledged earlier replaces it, too.
        let later = |at: &Clock| vec![at.wrote((5, 9), 30, "3"), at.read((1_050, 1_051), 10, "1")];
        assert_eq!(broken(later), [Promise::Lease]);
    }

    #[test]
    fn a_session_is_shown_what_it_has_seen_the_log_up_to() {
        for (floor, version, breaks) in [(19, 10, false), (20, 10, true), (25, 10, true), (25, 20, false)] {
            let price = if version == 10 { "1" } else { "2" };
            let found = broken(|at| vec![at.read_after(Some(floor), (101, 102), version, price)]);
            assert_eq!(found == [Promise::Session], breaks, "{floor}, {version}: {found:?}");
        }
    }

    #[test]
    fn an_order_has_the_price_of_its_place_in_the_log() {
        assert_eq!(broken(|at| vec![at.priced((95, 99), 15, "1")]), []);
        assert_eq!(broken(|at| vec![at.priced((95, 120), 21, "1")]), [Promise::Price]);
        assert_eq!(broken(|at| vec![at.priced((101, 120), 15, "1")]), [Promise::Price], "by the clock");
        assert_eq!(broken(|at| vec![at.priced((101, 120), 21, "2")]), []);
        assert_eq!(broken(|at| vec![at.priced((101, 120), 21, "7")]), [Promise::Price]);
    }

    #[test]
    fn what_nobody_wrote_or_nobody_had_asked_for_yet_is_not_shown() {
        assert_eq!(broken(|at| vec![at.read((101, 102), 20, "7")]), [Promise::Content]);
        assert_eq!(broken(|at| vec![at.read((50, 60), 20, "2")]), [Promise::Content]);
    }

    #[test]
    fn a_write_of_unknown_outcome_excuses_only_itself() {
        let perhaps = |at: &Clock| Entry::MayHaveWritten {
            key: Key::new(Kind::Product, "fig"),
            called: at.span(110, 110).called,
            content: "3".to_owned(),
        };
        assert_eq!(broken(|at| vec![perhaps(at), at.read((120, 121), 25, "3")]), []);
        assert_eq!(broken(|at| vec![perhaps(at), at.priced((120, 121), 26, "3")]), []);
        assert_eq!(broken(|at| vec![perhaps(at), at.read((100, 105), 25, "3")]), [Promise::Content]);
        assert_eq!(broken(|at| vec![perhaps(at), at.read((1_200, 1_201), 10, "1")]), [Promise::Lease]);
    }

    #[test]
    fn what_was_wrong_at_once_is_told() {
        assert_eq!(broken(|_| vec![Entry::Wrong("no such error".to_owned())]), [Promise::Other]);
    }
}
