//! The loop: reading goes on while answers come; leaving waits for them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use store_client::Store;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::request::{in_short, request_of};
use super::send::{Done, Sender};
use super::view::Of;
use crate::failure::{Failure, Kind};
use crate::repl::drive::{asks_help, explain, split, turns};
use crate::repl::ids::Ids;
use crate::repl::lines::{Given, Line, Lines};
use crate::repl::mode::Interrupts;
use crate::show::out::{Out, Switches};
use crate::show::waiting::Waiting;
use crate::verb::call::parse;
use crate::verb::kv::{Kv, MENU};
use crate::verb::spec;

/// Commands whose answers are awaited at once; reading pauses there.
const OPEN_MAX: usize = 1_024;

/// An answer with its number, as its task gives it.
type Ended = Result<(u64, Result<Done, Failure>), tokio::task::JoinError>;

/// How often a person who waits is told why.
const TELL: Duration = Duration::from_millis(500);
/// What may be waited for without a word.
const PATIENT: Duration = Duration::from_millis(500);

/// A command whose answer has not come.
struct Open {
    /// In short.
    command: String,
    /// Whether it may have changed something.
    writes: bool,
    /// How a person finds out whether it did.
    settle: String,
    /// How its answer is shown.
    switches: Switches,
}

/// The state of a run.
struct Tool {
    sender: Sender,
    out: Out,
    ids: Ids,
    /// Answers on their way.
    coming: JoinSet<(u64, Result<Done, Failure>)>,
    /// What they are answers to.
    open: BTreeMap<u64, Open>,
    /// The number of the last command that was sent.
    number: u64,
    /// Commands given, also those that were not understood.
    given: u64,
    /// The first command that was no success, and how many.
    first_bad: Option<(Kind, String)>,
    bad: u64,
    /// Ctrl-C of a person who waits.
    interrupts: Interrupts,
}

/// Runs commands until the end of input or `sair`, then waits for outstanding answers: `grace` at least, less only
/// if none is outstanding.
///
/// # Errors
/// Away from a terminal: the class of the first command that was invalid, refused, or without an answer.
pub async fn run(store: Arc<dyn Store>, given: &Given, grace: Duration, out: &Out) -> Result<(), Failure> {
    let ids = Ids::default();
    let mut lines = Lines::open(given, &MENU, ids.clone());
    let terminal = lines.is_terminal();
    let out = match &lines {
        Lines::Terminal(editor) => out.above(editor.printer.clone()),
        _ => out.clone(),
    };
    let mut tool = Tool {
        sender: Sender::new(store),
        out,
        ids,
        coming: JoinSet::new(),
        open: BTreeMap::new(),
        number: 0,
        given: 0,
        first_bad: None,
        bad: 0,
        interrupts: Interrupts::of(terminal),
    };
    if !tool.out.quiet && terminal {
        explain(&MENU, None, &tool.out)?;
    }
    let read = tool.read(&mut lines).await;
    // The terminal is given back: what comes now is printed plainly.
    drop(lines);
    tool.out = tool.out.plain();
    tool.leave(grace).await;
    read?;
    if terminal { Ok(()) } else { tool.verdict() }
}

impl Tool {
    async fn read(&mut self, lines: &mut Lines) -> Result<(), Failure> {
        loop {
            tokio::select! {
                Some(ended) = self.coming.join_next() => self.show(ended),
                line = lines.next("kv"), if self.open.len() < OPEN_MAX => match line? {
                    None => return Ok(()),
                    Some(line) => if !self.line(&line).await || self.out.check().is_err() { return Ok(()) },
                },
            }
        }
    }

    /// Understands and sends the commands of a line; false: leave.
    async fn line(&mut self, line: &Line) -> bool {
        if turns(line, &self.out) {
            return true;
        }
        let commands = match split(line) {
            Ok(commands) => commands,
            Err(failure) => {
                self.given += 1;
                self.failed(&failure, Switches::default());
                return true;
            }
        };
        for words in commands {
            self.given += 1;
            let (switches, words) = Switches::taken(&words);
            match self.command(&words, switches).await {
                Ok(true) => {}
                Ok(false) => return false,
                Err(failure) => self.failed(&failure, switches),
            }
        }
        true
    }

    async fn command(&mut self, words: &[String], switches: Switches) -> Result<bool, Failure> {
        if let Some(verb) = asks_help(words) {
            explain(&MENU, Some(verb), &self.out)?;
            return Ok(true);
        }
        let call = parse(&MENU, words)?;
        match call.verb.operation {
            Kv::Exit => return Ok(false),
            Kv::Help => explain(&MENU, call.get("COMMAND"), &self.out)?,
            Kv::Wait => {
                self.interrupts.forget();
                while let Some(ended) = self.next_answer().await {
                    self.show(ended);
                }
            }
            _ => {}
        }
        let Some(request) = request_of(&call) else { return Ok(true) };
        // One line may hold many commands: each waits here for room, as each line does.
        while self.open.len() >= OPEN_MAX {
            match self.coming.join_next().await {
                Some(ended) => self.show(ended),
                None => break,
            }
        }
        let number = self.number + 1;
        let of = Of { number, command: in_short(&call) };
        let writes = request.writes();
        let coming = self.sender.start(of.clone(), request)?;
        self.number = number;
        if let Some(key) = call.get("KEY") {
            self.ids.add(spec::Kind::Key, key);
        }
        let settle = match (call.get("KEY"), call.get("--request")) {
            (Some(key), Some(id)) => format!("what became of it, when the store answers again: outcome {key} {id}"),
            _ => "read the key when the store answers again (feira status); a write with --request ID can be switches for \
                  by outcome"
                .to_owned(),
        };
        self.open.insert(number, Open { command: of.command, writes, settle, switches });
        self.coming.spawn(async move { (number, coming.await) });
        Ok(true)
    }

    /// The next answer to come; `None`: nothing is open, or a person waits no longer.
    async fn next_answer(&mut self) -> Option<Ended> {
        tokio::select! {
            ended = self.coming.join_next() => ended,
            () = self.interrupts.next() => None,
        }
    }

    /// Shows answers as they come; false if there is nothing more to wait for before that moment.
    async fn show_until(&mut self, moment: Instant) -> bool {
        loop {
            match timeout_at(moment, self.next_answer()).await {
                Ok(Some(ended)) => self.show(ended),
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
    }

    fn show(&mut self, ended: Ended) {
        let (number, result) = ended.expect("answers neither panic nor are they cancelled");
        let switches = self.open.remove(&number).map_or_else(Switches::default, |open| open.switches);
        match result {
            Ok(done) => {
                self.out.with(switches).answer(&done.answer);
                if let Some(class) = done.class {
                    self.note(class, &done.answer.head);
                }
            }
            Err(failure) => self.failed(&failure, switches),
        }
    }

    fn failed(&mut self, failure: &Failure, switches: Switches) {
        self.out.with(switches).failure(failure);
        self.note(failure.kind, &failure.message);
    }

    fn note(&mut self, class: Kind, what: &str) {
        self.bad += 1;
        self.first_bad.get_or_insert_with(|| (class, what.to_owned()));
    }

    /// Shows answers until that moment, and tells a person why they do not come.
    async fn wait_telling(&mut self, end: Instant) {
        let mut waiting = Waiting::on_terminal(true);
        while self.show_until((Instant::now() + TELL).min(end)).await {
            let now = Instant::now();
            if now >= end {
                return;
            }
            if let Some(why) = self.sender.problem() {
                waiting.show(&format!("waiting, {} s left: {why}", (end - now).as_secs()));
            }
        }
    }

    /// Waits for outstanding answers, then lists what is still open.
    async fn leave(&mut self, grace: Duration) {
        if self.open.is_empty() {
            return;
        }
        let begun = Instant::now();
        self.interrupts.forget();
        if self.show_until(begun + PATIENT).await {
            let answers = if self.open.len() == 1 { "answer" } else { "answers" };
            self.out.insist(&format!(
                "waiting up to {} s for {} {answers}",
                grace.as_secs(),
                self.open.len()
            ));
            self.wait_telling(begun + grace).await;
        }
        for (number, Open { command, writes, settle, switches }) in std::mem::take(&mut self.open) {
            let failure = if writes {
                Failure::unknown(format!("#{number} {command}: no answer yet; it may still happen"))
                    .next(settle)
            } else {
                Failure::unreachable(format!("#{number} {command}: no answer"))
            };
            self.failed(&failure, switches);
        }
    }

    fn verdict(self) -> Result<(), Failure> {
        let Some((class, what)) = self.first_bad else { return Ok(()) };
        if self.given == 1 && !self.out.json {
            // It was told already, and a count of one says no more.
            let mut failure = Failure::refused(what).told();
            failure.kind = class;
            return Err(failure);
        }
        let which = what.split(": ").next().unwrap_or_default();
        let message = format!("{} of {} commands did not succeed; the first: {which}", self.bad, self.given);
        let mut failure = Failure::refused(message);
        failure.kind = class;
        Err(failure)
    }
}
