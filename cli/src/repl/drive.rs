//! The loop of the synchronous REPLs: read, understand, run, show. [`Session`] has their differences.

use std::future::Future;

use super::ask::Asker;
use super::ids::Ids;
use super::lines::{Given, Line, Lines};
use super::mode::Interrupts;
use crate::failure::Failure;
use crate::show::answer::Answer;
use crate::show::out::Out;
use crate::verb::call::{Call, parse, unknown_verb};
use crate::verb::help;
use crate::verb::spec::Menu;
use crate::verb::words::{commands, words};

/// What a command leads to.
pub enum Step {
    /// Show this and go on.
    Show(Answer),
    /// Show everything that can be said.
    Help,
    /// Leave.
    Leave,
}

/// A REPL's own part.
pub trait Session: Send {
    /// What each verb does.
    type Operation: Copy + Send + Sync + 'static;

    /// The table of verbs.
    fn menu(&self) -> &'static Menu<Self::Operation>;
    /// Before the `>`.
    fn prompt(&self) -> String;
    /// How missing words may be asked for; `None`: nobody is there.
    fn ask_with(&mut self, asker: Option<Asker>);
    /// Runs one command.
    fn run(&mut self, call: Call<Self::Operation>) -> impl Future<Output = Result<Step, Failure>> + Send;
}

/// Reads and runs commands until the end, `sair`, or, away from a terminal, the first failure.
///
/// # Errors
/// The first failure, if no person is there to go on.
pub async fn drive<S: Session>(session: &mut S, given: &Given, ids: Ids, out: &Out) -> Result<(), Failure> {
    let mut lines = Lines::open(given, session.menu(), ids);
    let terminal = lines.is_terminal();
    session.ask_with(lines.asker());
    let mut interrupts = Interrupts::of(terminal);
    if terminal {
        out.title(session.menu().title);
        out.say("help lists the commands, Tab completes, exit (or sair) leaves");
    }
    while let Some(line) = lines.next(&session.prompt()).await? {
        interrupts.forget();
        let ran = tokio::select! {
            ran = run_line(session, &line, out) => ran,
            () = interrupts.next() => Err(given_up()),
        };
        match ran {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(failure) if terminal => out.failure(&failure),
            Err(mut failure) => {
                if let Some(place) = lines.place() {
                    failure.message = format!("line {place}: {}", failure.message);
                }
                return Err(failure);
            }
        }
    }
    Ok(())
}

/// A person does not want to wait for an answer any longer.
fn given_up() -> Failure {
    Failure::unknown("interrupted: what was sent may still be done")
        .next("look whether it was, before you repeat it")
}

/// Runs the commands of a line; false: leave.
async fn run_line<S: Session>(session: &mut S, line: &Line, out: &Out) -> Result<bool, Failure> {
    for words in split(line)? {
        if let Some(verb) = asks_help(&words) {
            explain(session.menu(), Some(verb), out)?;
            continue;
        }
        let call = parse(session.menu(), &words)?;
        let about = call.get("COMMAND").map(str::to_owned);
        match session.run(call).await? {
            Step::Show(answer) => {
                out.answer(&answer);
                // What follows in a script may rest on it.
                out.check()?;
            }
            Step::Help => explain(session.menu(), about.as_deref(), out)?,
            Step::Leave => return Ok(false),
        }
    }
    Ok(true)
}

/// The command that `COMMAND --help` asks about.
#[must_use]
pub fn asks_help(words: &[String]) -> Option<&str> {
    match words {
        [verb, flag] if flag == "--help" => Some(verb),
        _ => None,
    }
}

/// The commands of a line, in words.
///
/// # Errors
/// Quotes that do not close, or a line too long.
pub fn split(line: &Line) -> Result<Vec<Vec<String>>, Failure> {
    match line {
        Line::Words(words) => Ok(vec![words.clone()]),
        Line::Text(text) => commands(text)?.into_iter().map(words).collect(),
    }
}

/// Shows the menu, or everything about one command.
///
/// # Errors
/// There is no such command.
pub fn explain<O>(menu: &'static Menu<O>, about: Option<&str>, out: &Out) -> Result<(), Failure> {
    let Some(name) = about else {
        out.title(menu.title);
        for [usage, about] in help::menu(menu) {
            out.say(&format!("  {}\n      {about}", out.paint(nu_ansi_term::Style::new().bold(), &usage)));
        }
        out.say("separate commands with ;  words are quoted as in a shell");
        return Ok(());
    };
    let verb = menu.find(name).ok_or_else(|| unknown_verb(menu, name))?;
    out.say(&help::verb(verb));
    Ok(())
}
