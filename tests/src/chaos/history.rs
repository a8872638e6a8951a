//! Clients' requests and answers, as the lines that `cargo xtask lincheck` reads: one file of records, one of lists,
//! since a file has one model.
//!
//! An operation is written down before it is sent and again after its answer came, under one lock, so that the
//! order of lines is the order of events. An outcome that nobody learnt is `info`: it stays possible for ever, and
//! its process number is never used again.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write as _};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use feira_lincheck::dialect::check::check_lines;
use feira_lincheck::dialect::{Dialect, Line};
use feira_lincheck::{KvAppend, Limits, Records};
use parking_lot::Mutex;

/// What a client hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard<A> {
    /// An answer of the state machine.
    Answer(A),
    /// It did not happen.
    Refused,
    /// Nobody knows.
    Unknown,
}

impl<A> Heard<A> {
    /// The same with the answer in other words.
    pub fn map<B>(self, words: impl FnOnce(A) -> B) -> Heard<B> {
        match self {
            Heard::Answer(answer) => Heard::Answer(words(answer)),
            Heard::Refused => Heard::Refused,
            Heard::Unknown => Heard::Unknown,
        }
    }
}

/// The history under way.
#[derive(Debug)]
pub struct History {
    /// Registers: records that are set, put, tested and deleted.
    pub records: Lines<Records>,
    /// Append-only lists.
    pub lists: Lines<KvAppend>,
    /// The next process number.
    processes: AtomicU64,
}

/// One file of a history.
#[derive(Debug)]
pub struct Lines<M> {
    /// Where it is.
    path: PathBuf,
    /// The file, one line an event.
    lines: Mutex<BufWriter<File>>,
    /// Whose operations these are.
    model: PhantomData<fn() -> M>,
}

impl History {
    /// A history that goes to `path` and, for the lists, to a file beside it; both are made anew.
    ///
    /// # Errors
    /// A file cannot be made.
    pub fn create(path: &Path) -> std::io::Result<History> {
        let lists = Lines::create(path.with_extension("lists.jsonl"))?;
        Ok(History { records: Lines::create(path.to_owned())?, lists, processes: AtomicU64::new(0) })
    }

    /// A number for a process that has asked nothing yet.
    pub fn process(&self) -> u64 {
        self.processes.fetch_add(1, Ordering::Relaxed)
    }

    /// Checks everything written down so far; the operations that were judged.
    ///
    /// # Errors
    /// It is not linearizable, could not be decided, or a file is none of its model: with file and reason.
    pub fn check(&self, limits: &Limits) -> Result<usize, String> {
        Ok(self.records.check(limits)? + self.lists.check(limits)?)
    }
}

impl<M: Dialect> Lines<M> {
    fn create(path: PathBuf) -> std::io::Result<Lines<M>> {
        let lines = Mutex::new(BufWriter::new(File::create(&path)?));
        Ok(Lines { path, lines, model: PhantomData })
    }

    /// A client is about to ask.
    pub fn call(&self, process: u64, key: &str, op: &M::Op) {
        self.line(&M::call_line(process, key, op));
    }

    /// A client has heard.
    pub fn hear(&self, process: u64, key: &str, op: &M::Op, heard: &Heard<M::Answer>) {
        self.line(&match heard {
            Heard::Answer(answer) => M::answer_line(process, key, op, answer),
            Heard::Refused => M::did_not_run_line(process, key, op),
            Heard::Unknown => M::unknown_line(process, key, op),
        });
    }

    fn line(&self, line: &Line) {
        writeln!(self.lines.lock(), "{line}").expect("the history can be written");
    }

    fn check(&self, limits: &Limits) -> Result<usize, String> {
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", self.path.display());
        self.lines.lock().flush().map_err(|error| failed(&error))?;
        let file = File::open(&self.path).map_err(|error| failed(&error))?;
        let name = M::NAME.parse().map_err(|error: String| failed(&error))?;
        let checked =
            check_lines(BufReader::new(file), Some(name), limits).map_err(|error| failed(&error))?;
        match checked.word {
            "linearizable" => Ok(checked.operations),
            word => Err(failed(&format!("{word}: {}", checked.why.join("\n")))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use feira_lincheck::{AppendAnswer, AppendOp, Found, RecordAnswer, RecordOp};

    #[test]
    fn a_lost_write_that_was_acknowledged_is_found_and_an_unknown_one_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, heard, holds) in [
            (
                "lost",
                Heard::Answer(RecordAnswer { done: true, found: Found::Untold, version: Some(1) }),
                false,
            ),
            ("unknown", Heard::Unknown, true),
        ] {
            let history = History::create(&folder.path().join(name)).expect("files");
            let (put, get) = (RecordOp::Put(7.into()), RecordOp::Get);
            history.records.call(0, "r/1", &put);
            history.records.hear(0, "r/1", &put, &heard);
            history.records.call(1, "r/1", &get);
            let absent = RecordAnswer { done: true, found: Found::Absent, version: None };
            history.records.hear(1, "r/1", &get, &Heard::Answer(absent));
            let (append, list) = (AppendOp::Append("<1>".to_owned()), AppendOp::Get);
            history.lists.call(2, "a/1", &append);
            history.lists.hear(2, "a/1", &append, &Heard::Refused);
            history.lists.call(2, "a/1", &list);
            history.lists.hear(2, "a/1", &list, &Heard::Answer(AppendAnswer::Text(String::new())));
            let checked = history.check(&Limits::default());
            assert_eq!(checked.is_ok(), holds, "{name}: {checked:?}");
        }
    }
}
