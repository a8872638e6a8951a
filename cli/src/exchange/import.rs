//! The command `feira import` of clients, products, stock and orders: reads the file while it sends what it has read.
//!
//! Promises: at most `in_flight` records are on their way, and about as many wait; each refused line is in the list of refused lines,
//! in the order of the file, also if the import ends before the file does; when it ends early it says which lines are done.

use std::fs::File;
use std::io::{BufReader, Seek};
use std::path::{Path, PathBuf};
use std::time::Instant;

use futures::{StreamExt, stream};
use indicatif::ProgressBar;
use tokio::sync::mpsc;

use super::args::ExportFormat;
use super::cells::Refusal;
use super::collection::Collection;
use super::entries::{Entries, Entry, Form};
use super::report::{Totals, imported};
use super::send::{Done, Sender};
use super::target::{Target, is_another};
use crate::failure::Failure;
use crate::reach::portals::Portals;
use crate::show::answer::Answer;
use crate::show::out::Out;

/// What to import and how.
#[derive(Clone, Debug)]
pub struct Job {
    /// What is in the file.
    pub collection: Collection,
    /// The file.
    pub file: PathBuf,
    /// How it is written.
    pub form: Form,
    /// What is there and differs becomes as it is in the file.
    pub update: bool,
    /// Records that begin before this line are done.
    pub from_line: u64,
    /// Where refused lines are listed; `None`: beside us, named after the file.
    pub refused: Option<PathBuf>,
    /// Records on their way at once.
    pub in_flight: usize,
}

/// What came of an import.
#[derive(Debug)]
pub struct Outcome {
    /// For people and programs.
    pub answer: Answer,
    /// In numbers.
    pub totals: Totals,
}

/// Imports.
///
/// # Errors
/// The file cannot be read, is of another kind, or a portal cannot be reached: what was done until then is told.
pub async fn run(job: &Job, admin: &Portals, out: &Out) -> Result<Outcome, Failure> {
    let path = job.refused.clone().unwrap_or_else(|| refused_beside(&job.file, job.from_line));
    // Before anything is sent.
    let mut list = List::open(&path, &job.file)?;
    let entries = open(job)?;
    let began = Instant::now();
    let mut totals = Totals::default();
    let ended = send_all(job, admin, entries, (&mut totals, &mut list)).await;
    let closed = list.close();
    if closed.is_ok() {
        let lines = totals.lines_refused;
        out.say(&format!("what was refused is listed in {} ({lines} lines)", path.display()));
    }
    match ended {
        Ok(()) => {
            closed?;
            let answer = imported(job.collection, &totals, Some(began.elapsed()));
            Ok(Outcome { answer, totals })
        }
        Err(failure) => {
            // What ended the import matters more.
            if let Err(lost) = closed {
                out.insist(&format!("warning: {lost}"));
            }
            Err(cut_off(failure, job, &totals))
        }
    }
}

/// Only reads and counts.
///
/// # Errors
/// The file cannot be read, or is of another kind.
pub fn dry_run(job: &Job) -> Result<Outcome, Failure> {
    let mut list = job.refused.as_ref().map(|path| List::open(path, &job.file)).transpose()?;
    let mut entries = open(job)?;
    let mut totals = Totals::default();
    while let Some(Entry { lines, record }) = entries.next_entry()? {
        if lines[0] < job.from_line {
            continue;
        }
        match record {
            Ok(_) => {
                totals.read += 1;
                totals.lines_done += lines.len() as u64;
            }
            Err(refusal) => {
                let refusals = spread(&lines, &refusal);
                totals.refuse(&refusals);
                list.iter_mut().try_for_each(|list| list.write(&refusals))?;
            }
        }
    }
    list.map_or(Ok(()), List::close)?;
    Ok(Outcome { answer: imported(job.collection, &totals, None), totals })
}

fn open(job: &Job) -> Result<Entries<BufReader<File>>, Failure> {
    let failed = |error: std::io::Error| Failure::file("open", &job.file, &error);
    let mut input = File::open(&job.file).map_err(failed)?;
    let is_read_twice = job.collection == Collection::Orders && matches!(job.form.format, ExportFormat::Csv);
    if is_read_twice && !input.metadata().map_err(failed)?.is_file() {
        // A pipe gives its bytes once.
        let failed = |error: std::io::Error| Failure::file("keep a copy of", &job.file, &error);
        let mut copy = tempfile::tempfile().map_err(failed)?;
        std::io::copy(&mut input, &mut copy).map_err(failed)?;
        copy.rewind().map_err(failed)?;
        input = copy;
    }
    let input = BufReader::with_capacity(1 << 18, input);
    Entries::open(input, job.collection, job.form).map_err(|failure| failure.of(job.file.display()))
}

/// The entries as they are read, on a thread of their own: as many as may be on their way wait.
fn reading(job: &Job, mut entries: Entries<BufReader<File>>) -> mpsc::Receiver<Result<Entry, Failure>> {
    let (read, entered) = mpsc::channel(job.in_flight);
    let (from_line, file) = (job.from_line, job.file.clone());
    tokio::task::spawn_blocking(move || {
        loop {
            let next = match entries.next_entry() {
                Ok(Some(entry)) if entry.lines[0] < from_line => continue,
                Ok(Some(entry)) => Ok(entry),
                Ok(None) => return,
                Err(failure) => Err(failure.of(file.display())),
            };
            let is_last = next.is_err();
            // Whoever wanted them has gone.
            if read.blocking_send(next).is_err() || is_last {
                return;
            }
        }
    });
    entered
}

async fn send_all(
    job: &Job,
    admin: &Portals,
    entries: Entries<BufReader<File>>,
    (totals, list): (&mut Totals, &mut List),
) -> Result<(), Failure> {
    let sender = Sender { admin, update: job.update, keeps_extra: entries.keeps_extra() };
    let entered = stream::unfold(reading(job, entries), |mut entered| async move {
        entered.recv().await.map(|entry| (entry, entered))
    });
    let send = |entry: Result<Entry, Failure>| async move {
        let Entry { lines, record } = entry?;
        let done = match record {
            Ok(record) => sender.send(record).await?,
            Err(refusal) => {
                let refusals = spread(&lines, &refusal);
                return Ok((lines, refusals, None));
            }
        };
        let refusals = match &done {
            Done::Refused(column, reason) => spread(&lines, &Refusal::new(lines[0], column, reason)),
            Done::New | Done::There | Done::Changed => Vec::new(),
        };
        Ok::<_, Failure>((lines, refusals, Some(done)))
    };
    // In the order of the file: so that it is known which lines are done.
    let mut ended = std::pin::pin!(entered.map(send).buffered(job.in_flight));
    let bar = bar(job.collection);
    while let Some(one) = ended.next().await {
        let (lines, refusals, done) = one?;
        bar.inc(1);
        totals.through = lines.last().copied().unwrap_or(totals.through).max(totals.through);
        match done {
            Some(Done::New) => totals.new += 1,
            Some(Done::There) => totals.there += 1,
            Some(Done::Changed) => totals.changed += 1,
            Some(Done::Refused(..)) | None => {
                totals.refuse(&refusals);
                list.write(&refusals)?;
                continue;
            }
        }
        totals.lines_done += lines.len() as u64;
    }
    bar.finish_and_clear();
    Ok(())
}

/// The refused lines of a record: the one that it is about, and the others with it.
fn spread(lines: &[u64], refusal: &Refusal) -> Vec<Refusal> {
    let about = refusal.line;
    let with = |line: &u64| match *line {
        line if line == about => refusal.clone(),
        line => Refusal::new(line, "", format!("of an order that is refused because of line {about}")),
    };
    lines.iter().map(with).collect()
}

/// What was done before the end, and how to go on.
fn cut_off(failure: Failure, job: &Job, totals: &Totals) -> Failure {
    let Totals { new, changed, there, through, .. } = totals;
    let done = match through {
        0 => "nothing of the file is done".to_owned(),
        through => format!(
            "what is on the lines up to {through} is done: {new} new, {changed} changed, {there} there already, \
             {} lines refused",
            totals.lines_refused
        ),
    };
    let again = match through {
        0 => "run the same import again".to_owned(),
        through => format!(
            "run the same import again: it changes nothing twice; --from-line {} begins where this one ended",
            through + 1
        ),
    };
    let next = match &failure.next {
        Some(next) => format!("{next}; then {again}"),
        None => again,
    };
    let message = format!("{}; the import of {} was cut off: {done}", failure.message, job.file.display());
    failure.retold(message).next(next)
}

fn bar(collection: Collection) -> ProgressBar {
    let style = indicatif::ProgressStyle::with_template("{prefix:>9} {pos} {per_sec} {elapsed}");
    let style = style.expect("the template is right");
    // Hidden away from a terminal.
    ProgressBar::new_spinner().with_style(style).with_prefix(collection.word())
}

/// An import that begins further down has a list of its own: that of the lines before stays.
fn refused_beside(file: &Path, from_line: u64) -> PathBuf {
    let stem = file.file_stem().map_or_else(|| "import".into(), |stem| stem.to_string_lossy().into_owned());
    PathBuf::from(match from_line {
        0 | 1 => format!("{stem}.refused.csv"),
        line => format!("{stem}.refused-from-{line}.csv"),
    })
}

/// The list of refused lines, written while it grows.
struct List {
    rows: csv::Writer<Target>,
}

impl List {
    fn open(path: &Path, input: &Path) -> Result<List, Failure> {
        is_another(path, input)?;
        let mut list = List { rows: csv::Writer::from_writer(Target::open(path)?) };
        list.row(["line", "column", "reason"])?;
        Ok(list)
    }

    fn write(&mut self, refusals: &[Refusal]) -> Result<(), Failure> {
        refusals.iter().try_for_each(|one| self.row([&one.line.to_string(), &one.column, &one.reason]))
    }

    fn row(&mut self, cells: [&str; 3]) -> Result<(), Failure> {
        self.rows.write_record(cells).map_err(|error| self.rows.get_ref().failure(&error))
    }

    fn close(mut self) -> Result<(), Failure> {
        self.rows.flush().map_err(|error| self.rows.get_ref().failure(&error))?;
        let to = self.rows.into_inner().map_err(|error| Failure::refused(error.to_string()))?;
        to.publish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_the_lines_before_stays_when_an_import_goes_on() {
        let of = |line| refused_beside(Path::new("folder/orders.csv"), line);
        assert_eq!(of(0), PathBuf::from("orders.refused.csv"));
        assert_eq!(of(42), PathBuf::from("orders.refused-from-42.csv"));
    }
}
