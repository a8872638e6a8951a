//! The tables of a record: a row for each system and number of clients, as text for people and as Markdown. Pure.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::args::{Kind, Work};
use crate::record::{Record, Round};
use crate::stats::{Latency, Spread};

/// The rounds of one system with one number of clients that count.
#[derive(Debug)]
pub struct Cell<'a> {
    /// The system's name.
    pub system: &'a str,
    /// How many clients.
    pub clients: u16,
    /// In the order in which they ran.
    pub rounds: Vec<&'a Round>,
}

impl Cell<'_> {
    /// Operations a second.
    #[must_use]
    pub fn rates(&self) -> Option<Spread> {
        Spread::of(self.rounds.iter().map(|round| round.outcome.operations_per_second))
    }

    /// A latency in milliseconds, of each round.
    #[must_use]
    pub fn latency_ms(&self, of: fn(Latency) -> u64) -> Option<Spread> {
        let known = self.rounds.iter().filter_map(|round| round.outcome.latency_us);
        Spread::of(known.map(|latency| of(latency) as f64 / 1_000.0))
    }

    /// Processor seconds of all servers for 10,000 operations, of each round.
    #[must_use]
    pub fn cpu(&self) -> Option<Spread> {
        Spread::of(self.rounds.iter().filter_map(|round| round.outcome.cpu_of_10000()))
    }
}

/// The cells of a work, by number of clients and then in the order of the systems.
#[must_use]
pub fn cells(record: &Record, work: Work) -> Vec<Cell<'_>> {
    let mut cells = Vec::new();
    for clients in &record.settings.clients {
        for about in &record.systems {
            let of_cell = |round: &&Round| {
                round.work == work
                    && round.clients == *clients
                    && round.system == about.name
                    && !round.repeated
            };
            let rounds: Vec<&Round> = record.rounds.iter().filter(of_cell).collect();
            if !rounds.is_empty() {
                cells.push(Cell { system: &about.name, clients: *clients, rounds });
            }
        }
    }
    cells
}

/// The kinds of work that a record has rounds of.
#[must_use]
pub fn works(record: &Record) -> Vec<Work> {
    let mut works: Vec<Work> = record.rounds.iter().map(|round| round.work).collect();
    works.sort_unstable();
    works.dedup();
    works
}

/// A table with what is to be said below it.
struct Section {
    title: String,
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    notes: Vec<String>,
}

fn sections(record: &Record) -> Vec<Section> {
    let mut sections: Vec<Section> = works(record).into_iter().map(|work| of_work(record, work)).collect();
    if !record.failovers.is_empty() {
        sections.push(of_failover(record));
    }
    sections
}

fn of_work(record: &Record, work: Work) -> Section {
    let cells = cells(record, work);
    let feira = |clients: u16| {
        let own = cells.iter().find(|cell| cell.system == Kind::Feira.word() && cell.clients == clients);
        own.and_then(Cell::rates).map(|rates| rates.median)
    };
    let row = |cell: &Cell<'_>| {
        let rates = cell.rates();
        let ratio = rates.and_then(|rates| Some(rates.median / feira(cell.clients)?));
        let median = |spread: Option<Spread>, show: fn(f64) -> String| {
            spread.map_or_else(dash, |spread| show(spread.median))
        };
        vec![
            cell.clients.to_string(),
            cell.system.to_owned(),
            median(rates, rate),
            rates.map_or_else(dash, |rates| format!("{}–{}", rate(rates.min), rate(rates.max))),
            ratio.filter(|ratio| ratio.is_finite()).map_or_else(dash, |ratio| format!("{ratio:.2}")),
            median(cell.latency_ms(|latency| latency.p50), digits),
            median(cell.latency_ms(|latency| latency.p99), digits),
            median(cell.latency_ms(|latency| latency.p99_9), digits),
            median(cell.cpu(), |seconds| format!("{seconds:.2}")),
        ]
    };
    Section {
        title: work.word().to_owned(),
        head: vec![
            "clients",
            "system",
            "ops/s",
            "min–max",
            "× feira",
            "p50 ms",
            "p99 ms",
            "p99.9 ms",
            "CPU s",
        ],
        rows: cells.iter().map(row).collect(),
        notes: cells.iter().flat_map(|cell| notes(cell, record.settings.disturbed)).collect(),
    }
}

/// What did not go well in a cell, and how often its transactions were tried again.
fn notes(cell: &Cell<'_>, disturbed: f64) -> Vec<String> {
    let mut notes = Vec::new();
    let mut note = |what: String| {
        notes.push(format!("{}, {}: {what}", cell.system, counted(cell.clients.into(), "client")));
    };
    let mut errors: BTreeMap<&str, u64> = BTreeMap::new();
    for (reason, count) in cell.rounds.iter().flat_map(|round| &round.outcome.errors) {
        *errors.entry(reason).or_default() += count;
    }
    if !errors.is_empty() {
        let each: Vec<String> = errors.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        note(format!("failed: {}", each.join(", ")));
    }
    let answered: u64 = cell.rounds.iter().map(|round| round.outcome.answered).sum();
    let retries: u64 = cell.rounds.iter().filter_map(|round| round.outcome.retries).sum();
    if retries > 0 && answered > 0 {
        note(format!("{:.2} attempts an order more than one", retries as f64 / answered as f64));
    }
    let others = cell.rounds.iter().map(|round| round.others_cores).filter(|cores| *cores > disturbed);
    if let Some(others) = Spread::of(others.clone()) {
        note(format!(
            "rounds disturbed by other programs: {} (up to {:.2} cores)",
            others_count(cell, disturbed),
            others.max
        ));
    }
    notes
}

fn others_count(cell: &Cell<'_>, disturbed: f64) -> String {
    let count = cell.rounds.iter().filter(|round| round.others_cores > disturbed).count();
    format!("{count} of {}", cell.rounds.len())
}

fn of_failover(record: &Record) -> Section {
    let row = |failover: &crate::record::Failover| {
        let gaps = Spread::of(failover.gaps_ms.iter().copied());
        let shown = |of: fn(Spread) -> f64| gaps.map_or_else(dash, |gaps| format!("{:.0}", of(gaps)));
        let kills = failover.gaps_ms.len().to_string();
        vec![
            failover.system.clone(),
            kills,
            shown(|gaps| gaps.median),
            shown(|gaps| gaps.min),
            shown(|gaps| gaps.max),
        ]
    };
    Section {
        title: Work::Failover.word().to_owned(),
        head: vec!["system", "kills", "median ms", "min ms", "max ms"],
        rows: record.failovers.iter().map(row).collect(),
        notes: vec![
            "the longest time without an acknowledged write around a kill -9 of the leader".to_owned(),
        ],
    }
}

/// How it was measured, in lines.
fn head(record: &Record) -> Vec<String> {
    let (hardware, settings) = (&record.hardware, &record.settings);
    let mut lines = vec![
        format!(
            "{} of {}, Linux {}, servers' folders in {}; began {} (seconds since 1970, UTC)",
            counted(hardware.processors, "processor"),
            hardware.model,
            hardware.kernel,
            hardware.folder,
            record.began_unix
        ),
        format!(
            "{} of {} s after {} s of warm-up, in turns; median of the rounds, and lowest and highest rate; CPU: seconds of all \
             servers for 10,000 operations",
            counted(usize::try_from(settings.rounds).unwrap_or(usize::MAX), "round"),
            settings.seconds,
            settings.warm_up
        ),
    ];
    let spread =
        |of: fn(&Round) -> u64| Spread::of(record.rounds.iter().map(|round| of(round) as f64 / 1_000.0));
    let loops = spread(|round| round.machine.cpu_loop_us);
    if let (Some(loops), Some(syncs)) = (loops, spread(|round| round.machine.fdatasync_us)) {
        let told =
            |spread: Spread| format!("{:.2} ms, {:.2} to {:.2}", spread.median, spread.min, spread.max);
        lines.push(format!("before the rounds: a CPU loop {}; an fdatasync {}", told(loops), told(syncs)));
    }
    let repeated = record.rounds.iter().filter(|round| round.repeated).count();
    lines.push(format!(
        "rounds run again because other programs used more than {} cores: {repeated} of {}",
        settings.disturbed,
        record.rounds.len()
    ));
    lines.extend(
        record.systems.iter().map(|about| format!("{}: {}; {}", about.name, about.version, about.setup)),
    );
    lines
}

/// The tables for people.
#[must_use]
pub fn text(record: &Record) -> String {
    let mut text = head(record).join("\n") + "\n";
    for section in sections(record) {
        let all = || {
            std::iter::once(section.head.iter().map(|cell| (*cell).to_owned()).collect())
                .chain(section.rows.clone())
        };
        let width = |at: usize| all().map(|row: Vec<String>| row[at].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..section.head.len()).map(width).collect();
        let _ = writeln!(text, "\n{}", section.title);
        for row in all() {
            // Names are to the left, numbers to the right.
            let cell = |(at, cell): (usize, &String)| match section.head[at] {
                "system" => format!("{cell:<0$}", widths[at]),
                _ => format!("{cell:>0$}", widths[at]),
            };
            let cells: Vec<String> = row.iter().enumerate().map(cell).collect();
            let _ = writeln!(text, "  {}", cells.join("  ").trim_end());
        }
        for note in &section.notes {
            let _ = writeln!(text, "  {note}");
        }
    }
    text
}

/// The same as Markdown.
#[must_use]
pub fn markdown(record: &Record) -> String {
    let mut text: String = head(record).iter().map(|line| format!("- {line}\n")).collect();
    for section in sections(record) {
        let _ = write!(text, "\n### `{}`\n\n| {} |\n|", section.title, section.head.join(" | "));
        section.head.iter().for_each(|name| text.push_str(if *name == "system" { "---|" } else { "---:|" }));
        text.push('\n');
        for row in &section.rows {
            let _ = writeln!(text, "| {} |", row.join(" | "));
        }
        if !section.notes.is_empty() {
            text.push('\n');
            for note in &section.notes {
                let _ = writeln!(text, "- {note}");
            }
        }
    }
    text
}

/// A round in a line, as soon as it is over.
#[must_use]
pub fn line(round: &Round, of: u32) -> String {
    let outcome = &round.outcome;
    let latency = outcome.latency_us.map_or_else(String::new, |latency| {
        format!(
            ", p50 {} ms, p99 {} ms",
            digits(latency.p50 as f64 / 1_000.0),
            digits(latency.p99 as f64 / 1_000.0)
        )
    });
    let failed: u64 = outcome.errors.values().sum();
    let failed = if failed == 0 { String::new() } else { format!(", {failed} failed") };
    let again = if round.repeated { "; run again" } else { "" };
    format!(
        "round {} of {of}, {}, {}, {}: {} operations/s{latency}{failed}; others {:.2} cores{again}",
        round.round,
        round.work.word(),
        round.system,
        counted(round.clients.into(), "client"),
        rate(outcome.operations_per_second),
        round.others_cores
    )
}

fn dash() -> String {
    "-".to_owned()
}

fn counted(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// Whole where a tenth says nothing.
fn rate(rate: f64) -> String {
    if rate < 100.0 { format!("{rate:.1}") } else { format!("{rate:.0}") }
}

/// Three digits that count.
fn digits(number: f64) -> String {
    match number {
        ..9.995 => format!("{number:.2}"),
        ..99.95 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::args::Settings;
    use crate::machine::{Hardware, Machine};
    use crate::record::{About, Failover, Outcome};

    fn round(system: &str, number: u32, rate: f64, repeated: bool) -> Round {
        let latency_us = Some(Latency { p50: 4_000, p99: 12_300, p99_9: 20_000, max: 123_456 });
        let mut outcome =
            Outcome { operations_per_second: rate, answered: 20_000, latency_us, ..Outcome::default() };
        outcome.cpu_seconds = Some(3.0);
        if system == "etcd" {
            outcome.retries = Some(5_000);
            outcome.errors.insert("CONFLICT".to_owned(), 2);
        }
        let machine = Machine { cpu_loop_us: 8_125, fdatasync_us: 640 };
        let others_cores = if repeated { 0.9 } else { 0.01 };
        let system = system.to_owned();
        Round {
            system,
            work: Work::OrderHot,
            clients: 64,
            round: number,
            machine,
            others_cores,
            repeated,
            outcome,
        }
    }

    /// A record of two systems.
    pub(crate) fn record() -> Record {
        let settings = Settings {
            clients: vec![64],
            rounds: 3,
            seconds: 4,
            warm_up: 1,
            disturbed: 0.2,
            ..Settings::default()
        };
        let mut record = Record::new(settings, Hardware { processors: 2, ..Hardware::default() });
        for name in ["feira", "etcd"] {
            record.systems.push(About {
                name: name.to_owned(),
                version: "1".to_owned(),
                setup: "3 nodes".to_owned(),
            });
        }
        record.rounds.push(round("feira", 1, 9_000.0, true));
        for (number, rate) in [(1, 1_000.0), (2, 3_000.0), (3, 2_000.0)] {
            record.rounds.push(round("feira", number, rate, false));
            record.rounds.push(round("etcd", number, rate / 2.0, false));
        }
        record.failovers.push(Failover { system: "etcd".to_owned(), gaps_ms: vec![900.0, 1_500.4, 1_200.0] });
        record
    }

    #[test]
    fn a_row_has_the_median_of_the_rounds_that_count_and_the_ratio_to_feira() {
        let text = text(&record());
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert!(
            rows.contains(&vec!["64", "feira", "2000", "1000–3000", "1.00", "4.00", "12.3", "20.0", "1.50"]),
            "{text}"
        );
        assert!(
            rows.contains(&vec!["64", "etcd", "1000", "500–1500", "0.50", "4.00", "12.3", "20.0", "1.50"]),
            "{text}"
        );
        assert!(rows.contains(&vec!["etcd", "3", "1200", "900", "1500"]), "{text}");
        assert!(text.contains("etcd, 64 clients: failed: 6 CONFLICT\n"), "{text}");
        assert!(text.contains("etcd, 64 clients: 0.25 attempts an order more than one\n"), "{text}");
        assert!(text.contains("more than 0.2 cores: 1 of 7\n"), "{text}");
        assert!(!text.contains("disturbed by"), "{text}");
    }

    #[test]
    fn a_disturbed_round_that_counts_is_told_of() {
        let mut record = record();
        record.rounds[1].others_cores = 0.5;
        let text = text(&record);
        assert!(
            text.contains("feira, 64 clients: rounds disturbed by other programs: 1 of 3 (up to 0.50 cores)"),
            "{text}"
        );
    }

    #[test]
    fn markdown_has_the_same_rows() {
        let text = markdown(&record());
        assert!(text.contains("\n### `order-hot`\n\n| clients | system | ops/s |"), "{text}");
        assert!(text.contains("\n|---:|---|---:|"), "{text}");
        assert!(
            text.contains("\n| 64 | etcd | 1000 | 500–1500 | 0.50 | 4.00 | 12.3 | 20.0 | 1.50 |\n"),
            "{text}"
        );
        assert!(text.contains("\n| etcd | 3 | 1200 | 900 | 1500 |\n"), "{text}");
    }

    #[test]
    fn an_empty_record_is_a_head_alone() {
        let text = text(&Record::default());
        assert!(text.contains("0 processors") && text.lines().count() == 3, "{text}");
    }

    #[test]
    fn a_round_is_told_in_a_line() {
        let told = line(&round("etcd", 2, 812.25, true), 3);
        let expected = "round 2 of 3, order-hot, etcd, 64 clients: 812 operations/s, p50 4.00 ms, p99 12.3 ms, 2 failed; others 0.90 \
                        cores; run again";
        assert_eq!(told, expected);
    }

    #[test]
    fn numbers_have_the_digits_that_count() {
        assert_eq!(
            [0.0, 9.994, 9.995, 99.94, 99.95, 1_234.5].map(digits),
            ["0.00", "9.99", "10.0", "99.9", "100", "1234"]
        );
    }
}
