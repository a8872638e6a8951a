//! The loop of the synchronous REPLs: read, understand, run, show. [`Session`] has their differences.

use std::future::Future;
use std::sync::Arc;

use super::ask::Asker;
use super::ids::Ids;
use super::lines::{Given, Line, Lines};
use super::mode::Interrupts;
use super::unanswered;
use crate::failure::{Failure, Kind};
use crate::reach::matter::Matter;
use crate::reach::open_requests::{AsOpen, OpenRequests};
use crate::reach::request::new_id;
use crate::show::answer::{Answer, counted};
use crate::show::out::{Out, Switches};
use crate::verb::call::{Call, parse, unknown_verb};
use crate::verb::help;
use crate::verb::shared::REQUEST;
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
    /// Where requests are kept until they are answered.
    fn open(&self) -> &Arc<OpenRequests>;
    /// The client in whose name a command is, if in any.
    fn in_name_of<'a>(&'a self, call: &'a Call<Self::Operation>) -> Option<&'a str>;
    /// How missing words may be asked for; `None`: nobody is there.
    fn ask_with(&mut self, asker: Option<Asker>);
    /// Runs one command.
    fn run(&mut self, call: Call<Self::Operation>) -> impl Future<Output = Result<Step, Failure>> + Send;
}

/// Reads and runs commands until the end, `sair`, or, away from a terminal, the first failure, unless scripts go on.
///
/// # Errors
/// The first failure, if no person is there to go on; it was told already if there is more to say.
pub async fn drive<S: Session>(session: &mut S, given: &Given, ids: Ids, out: &Out) -> Result<(), Failure> {
    let mut lines = Lines::open(given, session.menu(), ids);
    let terminal = lines.is_terminal();
    session.ask_with(lines.asker());
    let mut interrupts = Interrupts::of(terminal);
    if terminal && !out.quiet {
        out.title(session.menu().title);
        out.say("help lists the commands, Tab completes, exit (or sair) leaves");
    }
    if terminal {
        unanswered::tell(&session.open().left(), out);
    }
    let mut tally = Tally { goes_on: terminal || given.keep_going, terminal, ..Tally::default() };
    while let Some(line) = lines.next(&session.prompt()).await? {
        interrupts.forget();
        tally.place = lines.place();
        let ran = tokio::select! {
            ran = run_line(session, &line, &mut tally, out) => ran,
            () = interrupts.next() => {
                tally.failed(given_up(session.open().interrupted()), 0, Switches::default(), out)
            }
        };
        match ran {
            Ok(true) => {}
            Ok(false) => break,
            Err(stopped) => return Err(stopped.tell(&mut lines, out).await),
        }
    }
    tally.verdict()
}

/// What became of the commands of a run.
#[derive(Default)]
struct Tally {
    /// Whether a failure is told, and the next command run.
    goes_on: bool,
    /// Whether a person types, who sees what failed.
    terminal: bool,
    /// The number of the line, in a script.
    place: Option<u64>,
    /// Commands begun.
    begun: usize,
    /// Those that failed, and the first of them.
    bad: usize,
    first: Option<Failure>,
}

/// The end of a run by a failure.
struct Stopped {
    failure: Box<Failure>,
    /// The commands of its line that were not run.
    left: usize,
    /// How its answer was to be shown.
    switches: Switches,
}

impl Stopped {
    /// Tells why a script ends here, and how much of it was not run.
    async fn tell(self, lines: &mut Lines, out: &Out) -> Failure {
        // First: what is left may take a while to come.
        out.with(self.switches).failure(&self.failure);
        let left = self.left + lines.left().await;
        if left > 0 {
            let were = if left == 1 { "was" } else { "were" };
            out.insist(&format!(
                "{} after it {were} not run; --keep-going runs them all the same",
                counted(left, "command")
            ));
        }
        self.failure.told()
    }
}

impl Tally {
    /// Takes note of a failure; whether the run goes on.
    fn failed(
        &mut self,
        failure: Failure,
        left: usize,
        switches: Switches,
        out: &Out,
    ) -> Result<bool, Stopped> {
        let failure = match self.place {
            Some(place) => failure.of(format!("line {place}")),
            None => failure,
        };
        if !self.goes_on {
            return Err(Stopped { failure: Box::new(failure), left, switches });
        }
        out.with(switches).failure(&failure);
        self.bad += 1;
        self.first.get_or_insert(failure);
        Ok(true)
    }

    fn verdict(self) -> Result<(), Failure> {
        let (Some(first), false) = (self.first, self.terminal) else { return Ok(()) };
        let of = self.place.map_or_else(String::new, |_| {
            format!("; the first: {}", first.message.split(": ").next().unwrap_or_default())
        });
        let message = format!("{} of {} commands did not succeed{of}", self.bad, self.begun);
        let mut failure = Failure::refused(message);
        failure.kind = first.kind;
        Err(failure)
    }
}

/// A person does not want to wait for an answer any longer. The id stays open: nobody asked to close it.
fn given_up(open: Option<(String, Matter)>) -> Failure {
    let failure = Failure::unknown("interrupted: what was sent may still be done");
    match open {
        Some((id, matter)) => failure.next(matter.ways_on(&id)),
        None => failure.next("look whether it was, before you repeat it"),
    }
}

/// Refusals after which a request never runs, whatever of it is still on its way.
const NEVER: [&str; 2] = ["REQUEST_ID_CLOSED", "REQUEST_ID_EXPIRED"];

/// A repetition that was not sent says nothing of what was sent before it; nor does a refusal of an attempt that was not answered, or of another command.
fn still_open(as_open: AsOpen, id: &str, matter: &Matter) -> String {
    let what = match as_open {
        AsOpen::Unsent => "nothing was sent this time; of what was sent before, ",
        AsOpen::Lost => "",
        AsOpen::Others => "another command under this id was not answered: ",
    };
    format!("{what}{} tells what became of it, and closes it", matter.settling(id))
}

/// The failure of a command after which something is as open as before. Of what was sent and lost, the last answer does not say that it did not happen.
fn left_open(failure: Failure, as_open: AsOpen, id: &str, matter: &Matter) -> Failure {
    let last = match failure.kind {
        Kind::Unknown => return failure,
        Kind::Unreachable if as_open != AsOpen::Lost => return failure,
        Kind::Unreachable => "not done",
        Kind::Refused | Kind::Usage | Kind::Conflict => "refused",
    };
    let failure = failure.next(still_open(as_open, id, matter));
    if as_open != AsOpen::Lost {
        return failure;
    }
    let open =
        "outcome unknown: an earlier attempt was not answered, and may still be done; the last one was";
    let mut failure = failure.of(format!("{open} {last}"));
    failure.kind = Kind::Unknown;
    failure
}

/// Whether a line turns vertical tables on or off, as in psql; it is no command of the table of verbs.
#[must_use]
pub fn turns(line: &Line, out: &Out) -> bool {
    let Line::Text(text) = line else { return false };
    let turns = text.trim() == "\\x";
    if turns {
        let state = if out.turn() { "on" } else { "off" };
        out.say(&format!("vertical tables are {state}"));
    }
    turns
}

/// Runs the commands of a line; false: leave.
async fn run_line<S: Session>(
    session: &mut S,
    line: &Line,
    tally: &mut Tally,
    out: &Out,
) -> Result<bool, Stopped> {
    if turns(line, out) {
        return Ok(true);
    }
    let commands = match split(line) {
        Ok(commands) => commands,
        Err(failure) => {
            tally.begun += 1;
            return tally.failed(failure, 0, Switches::default(), out);
        }
    };
    let all = commands.len();
    for (at, words) in commands.into_iter().enumerate() {
        tally.begun += 1;
        let (switches, words) = Switches::taken(&words);
        match run_command(session, &words, &out.with(switches)).await {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(failure) => {
                let left = all - at - 1;
                tally.failed(failure, left, switches, out)?;
                if tally.terminal && left > 0 {
                    // What follows on a person's line most often rests on what failed.
                    out.insist(&format!("not run: {} after it on the line", counted(left, "command")));
                    return Ok(true);
                }
            }
        }
    }
    Ok(true)
}

/// Runs one command; false: leave.
async fn run_command<S: Session>(session: &mut S, words: &[String], out: &Out) -> Result<bool, Failure> {
    if let Some(verb) = asks_help(words) {
        explain(session.menu(), Some(verb), out)?;
        return Ok(true);
    }
    let mut call = parse(session.menu(), words)?;
    let about = call.get("COMMAND").map(str::to_owned);
    let open = begun(session, &mut call, words);
    let mut ran = session.run(call).await;
    if let Some(open) = open {
        let kind = ran.as_ref().err().map(|failure| failure.kind);
        let is_definite = ran.as_ref().err().is_none_or(|failure| NEVER.contains(&failure.reason.as_str()));
        let as_open = open.ended(kind == Some(Kind::Unknown), is_definite);
        if let Some((as_open, id, matter)) = as_open {
            ran = ran.map_err(|failure| left_open(failure, as_open, &id, &matter));
        }
    }
    match ran? {
        Step::Show(answer) => {
            out.answer(&answer);
            // What follows in a script may rest on it.
            out.check()?;
        }
        Step::Help => explain(session.menu(), about.as_deref(), out)?,
        Step::Leave => return Ok(false),
    }
    Ok(true)
}

/// Keeps a command that changes something, under its request id, until it is answered; `None`: it changes nothing.
fn begun<S: Session>(
    session: &S,
    call: &mut Call<S::Operation>,
    words: &[String],
) -> Option<Arc<OpenRequests>> {
    let is_given = call.has(REQUEST.name);
    let id = call.request(new_id)?.to_owned();
    let cid = session.in_name_of(call).unwrap_or_default();
    session.open().begin((&id, is_given), &unanswered::without_id(words), cid);
    Some(Arc::clone(session.open()))
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
        out.explain(|look| help::menu(menu, look));
        return Ok(());
    };
    let verb = menu.find(name).ok_or_else(|| unknown_verb(menu, name))?;
    out.explain(|look| help::verb(verb, look));
    Ok(())
}

#[cfg(test)]
mod tests {
    use proto::portal::{CreateOrderRequest, RequestId};

    use super::*;
    use crate::verb::shop::{MENU, Shop};

    /// A session at a shop that refuses everything, perhaps after an attempt was lost.
    struct Losing {
        open: Arc<OpenRequests>,
        is_lost: bool,
        refusal: Failure,
    }

    impl Session for Losing {
        type Operation = Shop;

        fn menu(&self) -> &'static Menu<Shop> {
            &MENU
        }

        fn prompt(&self) -> String {
            String::new()
        }

        fn open(&self) -> &Arc<OpenRequests> {
            &self.open
        }

        fn in_name_of<'a>(&'a self, _: &'a Call<Shop>) -> Option<&'a str> {
            Some("ana")
        }

        fn ask_with(&mut self, _: Option<Asker>) {}

        async fn run(&mut self, mut call: Call<Shop>) -> Result<Step, Failure> {
            let id = call.request(new_id).expect("it changes something").to_owned();
            let request = RequestId { id: id.clone(), created_ms: 0 };
            let message = CreateOrderRequest { cid: "ana".into(), ..CreateOrderRequest::default() };
            self.open.sending(&request, message);
            if self.is_lost {
                self.open.lost(&id);
            }
            Err(self.refusal.clone())
        }
    }

    async fn ended(is_lost: bool, refusal: Failure) -> Failure {
        let folder = tempfile::tempdir().unwrap();
        let open = OpenRequests::beside(Some(folder.path().join("history")), "shop", String::new(), false);
        let mut session = Losing { open, is_lost, refusal };
        let words = ["create-order", "fig=1", "--request", "r1"].map(str::to_owned).to_vec();
        let mut out = Out::new(false);
        out.quiet = true;
        let given = Given { words, ..Given::default() };
        drive(&mut session, &given, Ids::default(), &out).await.unwrap_err()
    }

    /// A script that took "it did not happen" for granted would order again, under another id.
    #[tokio::test]
    async fn a_refusal_after_a_lost_attempt_ends_with_the_exit_code_of_an_unknown_outcome() {
        let because = |reason: &str| {
            let mut failure = Failure::refused("there are 0 of fig");
            reason.clone_into(&mut failure.reason);
            failure
        };
        for (refusal, code) in [
            (because("STOCK"), 1),
            (Failure::usage("no such field"), 2),
            (Failure::conflict("another version"), 4),
        ] {
            let answered = ended(false, refusal.clone()).await;
            assert_eq!((answered.kind.exit_code(), &answered.message), (code, &refusal.message));
            let lost = ended(true, refusal.clone()).await;
            assert_eq!(lost.kind.exit_code(), 5, "{lost}");
            let told = lost.to_string();
            assert!(told.starts_with("outcome unknown: ") && told.contains(&refusal.message), "{told}");
            assert!(told.contains("settle r1 --cid ana"), "{told}");
        }
        // After these nothing of it can be done any more.
        for reason in NEVER {
            assert_eq!(ended(true, because(reason)).await.kind.exit_code(), 1, "{reason}");
        }
    }
}
