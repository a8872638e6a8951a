//! The two outputs of a command. Promises: standard output carries only answers (with `--json` only documents, one a line);
//! colours are used only on a terminal and never if NO_COLOR is set; a closed pipe ends output, not the work; an answer that
//! could not be written (a full disk) is a failure of the command.

use std::borrow::Cow;
use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, OnceLock};

use comfy_table::{Attribute, Cell, CellAlignment, ColumnConstraint, ContentArrangement, presets};
use nu_ansi_term::{Color, Style};

use super::answer::{Answer, Table};
use crate::failure::Failure;

/// A handle on the person's screen, or on a program's pipe.
#[derive(Clone)]
pub struct Out {
    /// Documents instead of tables.
    pub json: bool,
    /// Whether colours are wanted.
    pub color: bool,
    /// While a line is being edited: prints above it.
    above: Option<SyncSender<String>>,
    /// Why an answer could not be written, the first time.
    lost: Arc<OnceLock<String>>,
}

impl Out {
    /// For this process's standard output.
    #[must_use]
    pub fn new(json: bool) -> Out {
        let color = !json && wants_color() && std::io::stdout().is_terminal();
        Out { json, color, above: None, lost: Arc::default() }
    }

    /// The same, printing above a line that is being edited.
    #[must_use]
    pub fn above(&self, printer: SyncSender<String>) -> Out {
        Out { above: Some(printer), ..self.clone() }
    }

    /// The same, no longer above a line.
    #[must_use]
    pub fn plain(&self) -> Out {
        Out { above: None, ..self.clone() }
    }

    /// Whether every answer so far was written, or nobody wants them any more.
    ///
    /// # Errors
    /// One was not, for another reason than a closed pipe.
    pub fn check(&self) -> Result<(), Failure> {
        match self.lost.get() {
            None => Ok(()),
            Some(why) => {
                let message = format!("cannot write to standard output: {why}");
                Err(Failure::refused(message)
                    .next("the command itself was done; make room, and ask for the answer again"))
            }
        }
    }

    /// Prints an answer.
    pub fn answer(&self, answer: &Answer) {
        self.data_of(answer);
        for warning in &answer.warnings {
            let word = self.paint(Color::Yellow.bold(), "warning");
            self.say(&format!("{word}: {}", in_lines(warning)));
        }
    }

    fn data_of(&self, answer: &Answer) {
        if self.json {
            return self.data(&answer.document.to_string());
        }
        let mut lines: Vec<Cow<'_, str>> = Vec::new();
        if !answer.head.is_empty() {
            lines.push(in_line(&answer.head));
        }
        lines.extend(answer.table.as_ref().map(|table| self.rendered(table).into()));
        lines.extend(answer.notes.iter().map(|note| in_line(note)));
        self.data(&lines.join("\n"));
    }

    /// Empties the screen, if there is one: the next consistent view takes the place of this one.
    pub fn clear(&self) {
        if !self.json && std::io::stdout().is_terminal() {
            // Home, and clear what is below: without flicker.
            self.data("\u{1b}[H\u{1b}[J");
        }
    }

    /// Prints why there is no answer: on standard error, and with `--json` as a document too.
    pub fn failure(&self, failure: &Failure) {
        self.data_of_failure(failure);
        let word = self.paint(Color::Red.bold(), failure.kind.word());
        self.say(&format!("{word}: {}", in_lines(&failure.to_string())));
    }

    /// With `--json`: the failure as a document, and nothing for people.
    pub fn data_of_failure(&self, failure: &Failure) {
        if self.json {
            self.data(&Answer::of_failure(failure).to_string());
        }
    }

    /// Says something beside the answers.
    pub fn say(&self, text: &str) {
        match &self.above {
            // A gone editor means that the tool is leaving: then the plain way is right.
            Some(printer) if printer.send(text.to_owned()).is_ok() => {}
            _ => drop(writeln!(std::io::stderr(), "{text}")),
        }
    }

    /// Tells what belongs to the answers (a tour's own words): standard output for people, standard error beside
    /// documents.
    pub fn tell(&self, text: &str) {
        if self.json { self.say(text) } else { self.data(text) }
    }

    /// Says something beside the answers, marked as the head of what follows.
    pub fn title(&self, text: &str) {
        self.say(&self.paint(Style::new().bold(), text));
    }

    /// A piece of text in a style, if colours are wanted.
    #[must_use]
    pub fn paint(&self, style: Style, text: &str) -> String {
        if self.color { style.paint(text).to_string() } else { text.to_owned() }
    }

    /// A table as text.
    #[must_use]
    pub fn rendered(&self, table: &Table) -> String {
        if table.rows.is_empty() {
            return "(none)".to_owned();
        }
        let width =
            std::io::stdout().is_terminal().then(comfy_table::Table::new).and_then(|table| table.width());
        // A terminal that says 0 does not know (a serial line, `docker run -t`, expect).
        self.drawn(table, width.filter(|width| *width > 0))
    }

    /// A table no wider than that, if text can be broken so far; ids and numbers are never broken, because people copy
    /// them.
    fn drawn(&self, table: &Table, width: Option<u16>) -> String {
        let mut drawn = comfy_table::Table::new();
        drawn.load_style(presets::UTF8_FULL_CONDENSED);
        if !self.color {
            drawn.force_no_tty();
        }
        let title = |name: &&'static str| Cell::new(name).add_attribute(Attribute::Bold);
        drawn.set_header(table.columns.iter().map(title));
        for row in &table.rows {
            drawn.add_row(row.iter().enumerate().map(|(at, cell)| {
                let to_right = table.right.contains(&at);
                let side = if to_right { CellAlignment::Right } else { CellAlignment::Left };
                Cell::new(in_line(cell)).set_alignment(side)
            }));
        }
        if let Some(width) = width {
            drawn.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
            let whole = std::iter::once(0).chain(table.right.iter().copied());
            for at in whole {
                if let Some(column) = drawn.column_mut(at) {
                    column.set_constraint(ColumnConstraint::ContentWidth);
                }
            }
        }
        drawn.to_string()
    }

    fn data(&self, text: &str) {
        match &self.above {
            Some(printer) if !self.json && printer.send(text.to_owned()).is_ok() => {}
            // A reader that went away (`| head`) wants no more; that is no failure of the command.
            _ => match writeln!(std::io::stdout(), "{text}") {
                Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                    self.lost.get_or_init(|| error.to_string());
                }
                _ => {}
            },
        }
    }
}

/// Text that somebody stored, with what a terminal would obey written out: a product's description must not move the
/// cursor, colour the screen or turn the direction of what follows.
/// Nor may it begin another line, which would read as another answer.
#[must_use]
pub fn in_line(text: &str) -> Cow<'_, str> {
    written_out(text, false)
}

/// An id as people read it: also what they would not see of it is written out, so that two ids never look the same.
#[must_use]
pub fn id(text: &str) -> String {
    if !text.contains(is_hidden) {
        return text.to_owned();
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_hidden(c) { shown.extend(c.escape_unicode()) } else { shown.push(c) }
    }
    shown
}

/// Whether a character is obeyed or left out by a terminal, or looks like an ordinary blank.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}')
        || portal::id::is_unseen(c)
        || portal::id::is_odd_blank(c)
}

/// The same for text that may have several lines.
fn in_lines(text: &str) -> Cow<'_, str> {
    written_out(text, true)
}

fn written_out(text: &str, lines: bool) -> Cow<'_, str> {
    let obeyed = |c: char| {
        (c.is_control() && !(lines && c == '\n'))
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
    };
    if !text.contains(obeyed) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if obeyed(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown.into()
}

/// NO_COLOR (no-color.org): set and not empty means no colours.
#[must_use]
pub fn wants_color() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_a_head_and_rows_and_no_colour_codes() {
        let out = Out { color: false, ..Out::new(false) };
        let mut table = Table::new(&["PID", "LEFT"], &[1]);
        assert_eq!(out.rendered(&table), "(none)");
        table.row(["banana".into(), "12".into()]);
        let text = out.rendered(&table);
        assert!(text.contains("PID") && text.contains("banana") && !text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn a_narrow_terminal_breaks_no_id() {
        let out = Out { color: false, ..Out::new(false) };
        let mut table = Table::new(&["OID", "DESCRIPTION", "TOTAL"], &[2]);
        let oid = "0123456789abcdefghjkmnpq";
        table.row([oid.into(), "a long description of a small thing ".repeat(4), "1999999999.00".into()]);
        let text = out.drawn(&table, Some(70));
        assert!(text.contains(oid) && text.contains("1999999999.00"), "{text}");
        assert!(text.lines().count() > 5 && text.lines().all(|line| line.chars().count() <= 70), "{text}");
    }

    #[test]
    fn a_stored_escape_sequence_is_shown_not_obeyed() {
        let out = Out { color: false, ..Out::new(false) };
        let mut table = Table::new(&["DESCRIPTION", "LEFT"], &[1]);
        table.row(["\u{1b}[2Jred\u{7}\u{202e}".into(), "1".into()]);
        let text = out.rendered(&table);
        assert!(text.contains("\\u{1b}[2Jred\\u{7}\\u{202e}") && !text.contains('\u{1b}'), "{text}");
        assert_eq!(in_lines("Mamão, 日本\nb"), "Mamão, 日本\nb");
    }

    #[test]
    fn two_ids_never_look_the_same() {
        assert_eq!(id("ana maria"), "ana maria");
        assert_eq!(id("ana\u{200b}"), "ana\\u{200b}");
        assert_eq!(id("ana\u{a0}maria"), "ana\\u{a0}maria");
    }

    #[test]
    fn an_id_with_a_line_feed_stays_in_one_row() {
        let out = Out { color: false, ..Out::new(false) };
        let mut table = Table::new(&["PID", "LEFT"], &[1]);
        table.row(["a\nb".into(), "1".into()]);
        let text = out.rendered(&table);
        assert!(text.contains("a\\nb") && text.lines().count() == 5, "{text}");
        assert_eq!(in_line("deleted client a\r\nb"), "deleted client a\\r\\nb");
    }
}
