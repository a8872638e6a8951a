//! The report of an import or export, as people and programs see it.

use std::time::Duration;

use serde_json::json;

use super::cells::Refusal;
use super::collection::Collection;
use crate::show::answer::{Answer, counted};
use crate::show::table::{Column, Table};

/// Refused lines that are told on the screen; the list of refused lines has all of them.
const TOLD_MAX: usize = 20;

/// What came of an import, or of the part of it that is done.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Totals {
    /// Records that were not there.
    pub new: u64,
    /// Records that were there, as the file has them.
    pub there: u64,
    /// Records that became as the file has them.
    pub changed: u64,
    /// Records that were only read.
    pub read: u64,
    /// Lines of all those records.
    pub lines_done: u64,
    /// Lines that were refused.
    pub lines_refused: u64,
    /// The first refused lines.
    pub first: Vec<Refusal>,
    /// The last line of the file of which what became of it is known, as of all lines before it.
    pub through: u64,
}

impl Totals {
    /// Counts refused lines.
    pub fn refuse(&mut self, refusals: &[Refusal]) {
        self.lines_refused += refusals.len() as u64;
        let room = TOLD_MAX.saturating_sub(self.first.len());
        self.first.extend(refusals.iter().take(room).cloned());
    }

    /// Records that were taken.
    #[must_use]
    pub const fn taken(&self) -> u64 {
        self.new + self.there + self.changed + self.read
    }
}

/// A refused line in words.
fn told(refusal: &Refusal) -> String {
    match refusal.column.as_str() {
        "" => format!("line {}: {}", refusal.line, refusal.reason),
        column => format!("line {}, {column}: {}", refusal.line, refusal.reason),
    }
}

/// The answer of an import that took so long; `None`: nothing was sent.
#[must_use]
pub fn imported(collection: Collection, totals: &Totals, took: Option<Duration>) -> Answer {
    let mut table = Table::new(&[Column::number("RECORDS"), Column::words("WHAT BECAME OF THEM")]);
    let counts = [
        (totals.new, "new"),
        (totals.changed, "changed to what the file says"),
        (totals.there, "there already, as the file has them: nothing was done"),
        (totals.read, "sound as far as the file alone tells: nothing was sent"),
    ];
    for (count, what) in counts.into_iter().filter(|(count, _)| *count > 0) {
        table.row([count.to_string(), what.to_owned()]);
    }
    if totals.lines_refused > 0 {
        table.row([String::new(), format!("refused: {}", counted(totals.lines_refused, "line"))]);
    }
    let seconds = took.unwrap_or_default().as_secs_f64();
    let taken = counted(totals.taken(), collection.one());
    let head = match took {
        Some(_) => format!("{taken} in {} of the file, {seconds:.1} s", counted(totals.lines_done, "line")),
        None => format!("{taken} in {} of the file", counted(totals.lines_done, "line")),
    };
    let refused = totals
        .first
        .iter()
        .map(|one| json!({ "line": one.line, "column": one.column, "reason": one.reason }));
    let document = json!({
        "what": collection.word(), "new": totals.new, "changed": totals.changed, "there_already": totals.there,
        "read": totals.read, "lines": totals.lines_done + totals.lines_refused, "refused": totals.lines_refused,
        "first_refused": refused.collect::<Vec<_>>(), "seconds": seconds,
    });
    let more = totals.lines_refused.saturating_sub(totals.first.len() as u64);
    let more = (more > 0).then(|| format!("and {} more", counted(more, "refused line")));
    let warnings = totals.first.iter().map(told).chain(more);
    Answer::table(head, document, table).warning(warnings.collect::<Vec<_>>())
}
