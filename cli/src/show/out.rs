//! The two outputs of a command. Promises: standard output carries only answers (with `--json` only documents, one a line);
//! colours are used only on a terminal and never if NO_COLOR is set; a closed pipe ends output, not the work; an answer that
//! could not be written (a full disk) is a failure of the command.

use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, OnceLock};

use nu_ansi_term::Style;

use super::answer::Answer;
use super::screen;
use super::table::{Form, Look};
use super::wrap::wrapped;
use super::written::in_lines;
use crate::failure::Failure;

/// A handle on the person's screen, or on a program's pipe.
#[derive(Clone)]
pub struct Out {
    /// Documents instead of tables.
    pub json: bool,
    /// Whether colours are wanted.
    pub color: bool,
    /// Nothing beside answers, warnings and failures.
    pub quiet: bool,
    /// Tables whole, however wide.
    pub wide: bool,
    /// Tables vertical: a person turns it on and off between commands, in all handles on one screen.
    vertical: Arc<AtomicBool>,
    /// While a line is being edited: prints above it.
    above: Option<SyncSender<String>>,
    /// Why an answer could not be written, the first time.
    lost: Arc<OnceLock<String>>,
    /// Whoever read the answers has gone.
    closed: Arc<AtomicBool>,
}

impl Out {
    /// For this process's standard output.
    #[must_use]
    pub fn new(json: bool) -> Out {
        let color = !json && wants_color() && std::io::stdout().is_terminal();
        let (vertical, lost, closed) = (Arc::default(), Arc::default(), Arc::default());
        Out { json, color, quiet: false, wide: false, vertical, above: None, lost, closed }
    }

    /// The same with what these flags ask for, which may stand anywhere on a line.
    #[must_use]
    pub fn with(&self, switches: Switches) -> Out {
        let json = self.json || switches.json;
        let (quiet, wide) = (self.quiet || switches.quiet, self.wide || switches.wide);
        Out { json, quiet, wide, color: self.color && !json, ..self.clone() }
    }

    /// Turns vertical tables on or off; whether they are on now.
    #[must_use]
    pub fn turn(&self) -> bool {
        !self.vertical.fetch_xor(true, Ordering::Relaxed)
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

    /// Whether nobody wants answers any more: whatever goes on until it is stopped ends then.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Prints an answer.
    pub fn answer(&self, answer: &Answer) {
        if self.json {
            self.data(&answer.document.to_string());
        } else {
            self.data(&screen::answer(answer, self.look(std::io::stdout().is_terminal())));
        }
        for warning in &answer.warnings {
            self.print(&screen::warning(warning, self.beside()));
        }
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
        self.print(&screen::failure(failure, std::io::stderr().is_terminal(), self.beside()));
    }

    /// With `--json`: the failure as a document, and nothing for people.
    pub fn data_of_failure(&self, failure: &Failure) {
        if self.json {
            self.data(&Answer::of_failure(failure).to_string());
        }
    }

    /// Says something beside the answers, unless nobody wants to hear it.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            self.insist(text);
        }
    }

    /// Says something beside the answers that was asked for, or that must be known.
    pub fn insist(&self, text: &str) {
        self.print(&wrapped(&in_lines(text), self.beside().width));
    }

    /// Shows help that was asked for, beside the answers.
    pub fn explain(&self, help: impl FnOnce(Look) -> String) {
        self.print(&help(self.beside()));
    }

    fn print(&self, text: &str) {
        match &self.above {
            // A gone editor means that the tool is leaving: then the plain way is right.
            Some(printer) if printer.send(text.to_owned()).is_ok() => {}
            _ => drop(writeln!(std::io::stderr(), "{text}")),
        }
    }

    /// Tells what belongs to the answers (a tour's own words): standard output for people, standard error beside
    /// documents.
    pub fn tell(&self, text: &str) {
        if self.json {
            self.say(text);
        } else {
            self.data(&wrapped(text, self.look(std::io::stdout().is_terminal()).width));
        }
    }

    /// A failure in the words for whoever reads the answers.
    #[must_use]
    pub fn told(&self, failure: &Failure) -> String {
        let told = if std::io::stdout().is_terminal() { failure.for_people() } else { failure.to_string() };
        in_lines(&told).into_owned()
    }

    /// Says something beside the answers, marked as the head of what follows.
    pub fn title(&self, text: &str) {
        self.print(&self.paint(Style::new().bold(), &wrapped(text, self.beside().width)));
    }

    /// A piece of text in a style, if colours are wanted.
    #[must_use]
    pub fn paint(&self, style: Style, text: &str) -> String {
        if self.color { style.paint(text).to_string() } else { text.to_owned() }
    }

    /// How what goes to that stream is drawn, at this moment: terminals change their width.
    fn look(&self, is_terminal: bool) -> Look {
        self.look_of(is_terminal.then(comfy_table::Table::new))
    }

    fn beside(&self) -> Look {
        let is_terminal = std::io::stderr().is_terminal();
        let look = self.look_of(is_terminal.then(|| {
            let mut table = comfy_table::Table::new();
            table.use_stderr();
            table
        }));
        Look { color: look.color && is_terminal, ..look }
    }

    /// How what goes to the terminal of this table is drawn; `None`: it is none.
    fn look_of(&self, terminal: Option<comfy_table::Table>) -> Look {
        let width = terminal.and_then(|table| table.width());
        // A terminal that says 0 does not know (a serial line, `docker run -t`, expect).
        let width = width.filter(|width| *width > 0).map(usize::from);
        let form = match (self.vertical.load(Ordering::Relaxed), self.wide) {
            (true, _) => Form::Vertical,
            (_, true) => Form::Wide,
            _ => Form::Fitted,
        };
        Look { width, form, color: self.color }
    }

    fn data(&self, text: &str) {
        match &self.above {
            Some(printer) if !self.json && printer.send(text.to_owned()).is_ok() => {}
            // A reader that went away (`| head`) wants no more; that is no failure of the command.
            _ => match writeln!(std::io::stdout(), "{text}") {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                    self.closed.store(true, Ordering::Relaxed);
                }
                Err(error) => drop(self.lost.get_or_init(|| error.to_string())),
                Ok(()) => {}
            },
        }
    }
}

/// Flags that change how answers are shown, and may stand anywhere on a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Switches {
    /// `--json`.
    pub json: bool,
    /// `--quiet`.
    pub quiet: bool,
    /// `--wide`.
    pub wide: bool,
}

impl Switches {
    /// Both.
    #[must_use]
    pub fn and(self, other: Switches) -> Switches {
        let (json, quiet, wide) =
            (self.json || other.json, self.quiet || other.quiet, self.wide || other.wide);
        Switches { json, quiet, wide }
    }

    /// Those among the words, and the words without them. What follows `--` is no flag.
    #[must_use]
    pub fn taken(words: &[String]) -> (Switches, Vec<String>) {
        let (mut switches, mut rest) = (Switches::default(), Vec::with_capacity(words.len()));
        let mut words = words.iter();
        for word in words.by_ref() {
            match word.as_str() {
                "--json" => switches.json = true,
                "--quiet" => switches.quiet = true,
                "--wide" => switches.wide = true,
                "--" => {
                    rest.push(word.clone());
                    break;
                }
                _ => rest.push(word.clone()),
            }
        }
        rest.extend(words.cloned());
        (switches, rest)
    }
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
    fn flags_of_the_screen_stand_anywhere_on_a_line() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let (switches, rest) = Switches::taken(&words("get-order --json 7 --wide"));
        assert_eq!((switches.json, switches.wide, switches.quiet), (true, true, false));
        assert_eq!(rest, words("get-order 7"));
        let (switches, rest) = Switches::taken(&words("set 1 -- --json"));
        assert_eq!((switches, rest), (Switches::default(), words("set 1 -- --json")));
    }

    #[test]
    fn vertical_is_turned_on_and_off_in_all_handles_on_one_screen() {
        let out = Out::new(false);
        let other = out.plain();
        assert!(out.turn() && other.look(false).form == Form::Vertical);
        assert!(!other.turn() && out.look(false).form == Form::Fitted);
    }
}
