//! Tables: columns that say what may become of them where the screen is narrow, and the drawing in so many columns.
//!
//! ```text
//!   wide enough ─► as it is
//!   narrower    ─► words wrap, what may be cut is cut with …
//!   narrower    ─► columns go in the order that they state, and are named below the table
//!   narrower    ─► each row vertical: a line a column, nothing left out
//! ```
//!
//! Promises: ids and numbers are never broken nor cut, because people copy them; a table that is drawn as one is no wider than
//! the screen. Pure. Leaves out how wide the screen is.

use std::borrow::Cow;

use comfy_table::{Attribute, Cell, CellAlignment, presets};

use super::wrap::{columns, cut, lines, longest_word};
use super::written::in_line;

/// A column of cells that wrap at words is no narrower, if it has so much to show.
const WORDS_MIN: usize = 16;
/// A word that is longer is cut where it stands in a column with others, and shown whole by the vertical form.
const WORD_MAX: usize = 40;
/// A column of cells that are cut is no narrower, if it has so much to show.
const CUT_MIN: usize = 10;
/// Beside the labels of the vertical form there is so much room at least, whatever the width.
const VALUE_MIN: usize = 20;

/// What may become of a column's cells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fit {
    /// Nothing.
    Whole,
    /// They are cut.
    Cut,
    /// They wrap at words.
    Words,
}

/// A column.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Column {
    /// Above it.
    pub title: Cow<'static, str>,
    /// Numbers stand to the right.
    right: bool,
    fit: Fit,
    /// Which column goes first where all do not fit: that with the lowest number; 0: it stays.
    drop: u8,
}

impl Column {
    /// Of ids, addresses and words of a fixed set.
    #[must_use]
    pub const fn whole(title: &'static str) -> Column {
        Column { title: Cow::Borrowed(title), right: false, fit: Fit::Whole, drop: 0 }
    }

    /// Of numbers.
    #[must_use]
    pub const fn number(title: &'static str) -> Column {
        Column { title: Cow::Borrowed(title), right: true, fit: Fit::Whole, drop: 0 }
    }

    /// Of text whose beginning says most.
    #[must_use]
    pub const fn cut(title: &'static str) -> Column {
        Column { title: Cow::Borrowed(title), right: false, fit: Fit::Cut, drop: 0 }
    }

    /// Of sentences.
    #[must_use]
    pub const fn words(title: &'static str) -> Column {
        Column { title: Cow::Borrowed(title), right: false, fit: Fit::Words, drop: 0 }
    }

    /// The same, left out as the `order`th where not all fit.
    #[must_use]
    pub const fn dropped(mut self, order: u8) -> Column {
        self.drop = order;
        self
    }

    /// The same under another title.
    #[must_use]
    pub fn titled(self, title: String) -> Column {
        Column { title: title.into(), ..self }
    }
}

/// Columns and rows.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Table {
    /// What stands in them.
    pub columns: Vec<Column>,
    /// As many cells as columns in each.
    pub rows: Vec<Vec<String>>,
}

/// How a person wants tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Form {
    /// As the width lets them.
    #[default]
    Fitted,
    /// Whole, however wide.
    Wide,
    /// A line a column.
    Vertical,
}

/// For whom tables and sentences are drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Look {
    /// Columns of the screen; `None`: there is none, and nothing is cut.
    pub width: Option<usize>,
    /// How tables are wanted.
    pub form: Form,
    /// Whether colours are.
    pub color: bool,
}

impl Table {
    /// An empty table of these columns.
    #[must_use]
    pub fn new(columns: &[Column]) -> Table {
        Table { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let row: Vec<String> = cells.into_iter().collect();
        assert_eq!(row.len(), self.columns.len(), "a row has a cell for each column");
        self.rows.push(row);
    }

    /// Adds a row of which only the first cells are known; dashes stand for the rest.
    pub fn row_begun(&mut self, cells: impl IntoIterator<Item = String>) {
        let mut row: Vec<String> = cells.into_iter().collect();
        row.resize_with(self.columns.len(), || "-".to_owned());
        self.rows.push(row);
    }

    /// The table as text.
    #[must_use]
    pub fn drawn(&self, look: Look) -> String {
        if self.rows.is_empty() {
            return "(none)".to_owned();
        }
        let rows = self.rows.iter().map(|row| row.iter().map(|cell| in_line(cell).into_owned()).collect());
        let shown = Table { columns: self.columns.clone(), rows: rows.collect() };
        let natural: Vec<usize> = shown.measured().iter().map(|one| one.natural).collect();
        let all: Vec<usize> = (0..shown.columns.len()).collect();
        match (look.form, look.width) {
            (Form::Vertical, width) => shown.vertical(width),
            (Form::Wide, _) | (Form::Fitted, None) => shown.framed(&all, &natural, look.color),
            (Form::Fitted, Some(width)) => match shown.fitted(width) {
                Some((kept, widths)) => shown.framed(&kept, &widths, look.color),
                None => shown.vertical(Some(width)),
            },
        }
    }

    /// What is left out at this width, by title.
    #[must_use]
    pub fn left_out(&self, look: Look) -> Vec<&str> {
        let kept = match (look.form, look.width) {
            (Form::Fitted, Some(width)) if !self.rows.is_empty() => self.fitted(width),
            _ => None,
        };
        let gone = |(kept, _): (Vec<usize>, Vec<usize>)| {
            let all = self.columns.iter().enumerate();
            all.filter(|(at, _)| !kept.contains(at)).map(|(_, column)| &*column.title).collect()
        };
        kept.map_or_else(Vec::new, gone)
    }

    fn measured(&self) -> Vec<Measure> {
        let of = |(at, column): (usize, &Column)| {
            let cells = || self.rows.iter().map(|row| in_line(&row[at]));
            let title = columns(&column.title);
            let natural = cells().map(|cell| columns(&cell)).max().unwrap_or(0).max(title);
            let word = || cells().map(|cell| longest_word(&cell)).max().unwrap_or(0).min(WORD_MAX);
            let least = match column.fit {
                Fit::Whole => natural,
                Fit::Cut => natural.min(CUT_MIN).max(title),
                Fit::Words => natural.min(WORDS_MIN.max(word())).max(title),
            };
            Measure { natural, least }
        };
        self.columns.iter().enumerate().map(of).collect()
    }

    /// The columns that fit, and how wide each is; `None`: those that must stay do not.
    fn fitted(&self, width: usize) -> Option<(Vec<usize>, Vec<usize>)> {
        let measured = self.measured();
        let mut kept: Vec<usize> = (0..self.columns.len()).collect();
        loop {
            let least: usize = kept.iter().map(|at| measured[*at].least).sum();
            if let Some(mut slack) = width.checked_sub(least + frame(kept.len())) {
                let mut widths: Vec<usize> = kept.iter().map(|at| measured[*at].least).collect();
                // To whoever lacks most, column by column of the screen.
                while slack > 0 {
                    let lack = |place: &usize| measured[kept[*place]].natural - widths[*place];
                    let Some(most) = (0..kept.len()).rev().max_by_key(lack).filter(|place| lack(place) > 0)
                    else {
                        break;
                    };
                    widths[most] += 1;
                    slack -= 1;
                }
                return Some((kept, widths));
            }
            let droppable = kept.iter().filter(|at| self.columns[**at].drop > 0);
            let first = *droppable.min_by_key(|at| self.columns[**at].drop)?;
            kept.retain(|at| *at != first);
        }
    }

    /// A frame around these columns, each so wide.
    fn framed(&self, kept: &[usize], widths: &[usize], color: bool) -> String {
        let mut drawn = comfy_table::Table::new();
        drawn.load_style(presets::UTF8_FULL_CONDENSED);
        if !color {
            drawn.force_no_tty();
        }
        drawn.set_header(
            kept.iter().map(|at| Cell::new(&self.columns[*at].title).add_attribute(Attribute::Bold)),
        );
        for row in &self.rows {
            drawn.add_row(kept.iter().zip(widths).map(|(at, width)| {
                let column = &self.columns[*at];
                let side = if column.right { CellAlignment::Right } else { CellAlignment::Left };
                let cell = match column.fit {
                    Fit::Whole => row[*at].clone(),
                    Fit::Cut => cut(&row[*at], *width),
                    Fit::Words => in_column(&row[*at], *width),
                };
                Cell::new(cell).set_alignment(side)
            }));
        }
        drawn.to_string()
    }

    /// Each row as lines of a title and a cell.
    fn vertical(&self, width: Option<usize>) -> String {
        let mut text: Vec<String> = Vec::new();
        for (number, row) in (1..).zip(&self.rows) {
            if self.rows.len() > 1 {
                text.push(format!("── {number} ──"));
            }
            let titled = self.columns.iter().zip(row).map(|(column, cell)| (&*column.title, cell.as_str()));
            text.extend(labelled(titled, width));
        }
        text.join("\n")
    }
}

/// What a column needs.
struct Measure {
    /// To show everything in one line.
    natural: usize,
    /// To be of use.
    least: usize,
}

/// What lines between and around so many columns take.
fn frame(columns: usize) -> usize {
    3 * columns + 1
}

/// Words in a column; a word that does not fit is cut.
fn in_column(text: &str, width: usize) -> String {
    let lines: Vec<String> = lines(text, width).iter().map(|line| cut(line, width)).collect();
    lines.join("\n")
}

/// Lines of a label and what it is of, below each other.
#[must_use]
pub fn labelled<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>, width: Option<usize>) -> Vec<String> {
    let pairs: Vec<(String, String)> =
        pairs.map(|(label, text)| (in_line(label).into_owned(), in_line(text).into_owned())).collect();
    let most = pairs.iter().map(|(label, _)| columns(label)).max().unwrap_or(0);
    let room = width.map(|width| width.saturating_sub(most + 2).max(VALUE_MIN));
    let mut all = Vec::new();
    for (label, text) in &pairs {
        let beside = match room {
            Some(room) => lines(text, room),
            None => vec![text.clone()],
        };
        if let (Some(width), Some(room)) = (width, room)
            && beside.iter().any(|line| columns(line) > room)
        {
            // A long id stands below its label, as far to the left as it needs to be whole.
            all.push(label.clone());
            let indent = if longest_word(text) + 2 > width { "" } else { "  " };
            all.extend(lines(text, width - indent.len()).iter().map(|line| format!("{indent}{line}")));
            continue;
        }
        for (at, line) in beside.iter().enumerate() {
            let label = if at == 0 { label } else { "" };
            let blanks = " ".repeat(most - columns(label));
            all.push(format!("{label}{blanks}  {line}").trim_end().to_owned());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const OID: &str = "0123456789abcdefghjkmnpq";

    fn look(width: usize) -> Look {
        Look { width: Some(width), ..Look::default() }
    }

    fn orders() -> Table {
        let mut table = Table::new(&[
            Column::whole("OID"),
            Column::words("DESCRIPTION"),
            Column::number("TOTAL"),
            Column::number("ETAG").dropped(1),
        ]);
        let text = "a long description of a small thing ".repeat(4);
        table.row([OID.into(), text.trim_end().into(), "1999999999.00".into(), "77777777".into()]);
        table
    }

    #[test]
    fn any_table_can_be_drawn_however_narrow_the_terminal() {
        let mut table = orders();
        table.row(["ana, maria".into(), "日本の果物 e\u{301}".into(), "1".into(), String::new()]);
        for width in 0..40 {
            for form in [Form::Fitted, Form::Vertical, Form::Wide] {
                let drawn = table.drawn(Look { form, ..look(width) });
                assert!(drawn.contains(OID) && drawn.contains("1999999999.00"), "{width} {form:?}:\n{drawn}");
            }
        }
    }

    fn is_within(text: &str, width: usize) -> bool {
        text.lines().all(|line| columns(line) <= width)
    }

    #[test]
    fn tables_have_a_head_and_rows_and_no_colour_codes() {
        let mut table = Table::new(&[Column::whole("PID"), Column::number("LEFT")]);
        assert_eq!(table.drawn(Look::default()), "(none)");
        table.row(["banana".into(), "12".into()]);
        let text = table.drawn(Look::default());
        assert!(text.contains("PID") && text.contains("banana") && !text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn a_narrow_screen_breaks_no_id() {
        let text = orders().drawn(look(84));
        assert!(text.contains(OID) && text.contains("1999999999.00") && text.contains("77777777"), "{text}");
        assert!(text.lines().count() > 5 && is_within(&text, 84), "{text}");
    }

    #[test]
    fn columns_go_in_their_order_and_are_named() {
        let (table, look) = (orders(), look(70));
        let text = table.drawn(look);
        assert!(!text.contains("ETAG") && text.contains("1999999999.00") && is_within(&text, 70), "{text}");
        assert_eq!(table.left_out(look), ["ETAG"]);
        assert!(table.left_out(Look { form: Form::Wide, ..look }).is_empty());
    }

    #[test]
    fn what_does_not_fit_stands_below_each_other_with_nothing_left_out() {
        let (table, look) = (orders(), look(50));
        let text = table.drawn(look);
        assert!(
            text.contains("ETAG         77777777") && text.contains(OID) && is_within(&text, 50),
            "{text}"
        );
        assert!(table.left_out(look).is_empty());
        assert_eq!(table.drawn(Look { form: Form::Vertical, ..look }), text);
    }

    #[test]
    fn a_long_id_stands_below_its_label_and_is_whole() {
        let key = format!("o/{{maria-aparecida-dos-santos}}/{OID}");
        let text = labelled([("KEY", key.as_str()), ("TIMESTAMP", "7")].into_iter(), Some(60)).join("\n");
        assert_eq!(text, format!("KEY\n  {key}\nTIMESTAMP  7"));
    }

    #[test]
    fn a_stored_escape_sequence_is_shown_not_obeyed() {
        let mut table = Table::new(&[Column::words("DESCRIPTION"), Column::number("LEFT")]);
        table.row(["\u{1b}[2Jred\u{7}\u{202e}".into(), "1".into()]);
        let text = table.drawn(Look::default());
        assert!(text.contains("\\u{1b}[2Jred\\u{7}\\u{202e}") && !text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn an_id_with_a_line_feed_stays_in_one_row() {
        let mut table = Table::new(&[Column::whole("PID"), Column::number("LEFT")]);
        table.row(["a\nb".into(), "1".into()]);
        let text = table.drawn(Look::default());
        assert!(text.contains("a\\nb") && text.lines().count() == 5, "{text}");
    }
}
