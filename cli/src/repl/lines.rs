//! Lines, whatever they come from: `-c`, words after the command, a script on standard input, or a terminal.
//!
//! Promises: a line longer than [`LINE_BYTES_MAX`] is an error, not memory; bytes that are not UTF-8 are an error
//! that names the line. Reading never blocks the tasks that show answers.

use std::io::{BufRead, IsTerminal, Read};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::ask::Asker;
use super::editor::{Editor, Typed};
use super::ids::Ids;
use crate::failure::Failure;
use crate::verb::spec::Menu;
use crate::verb::words::{LINE_BYTES_MAX, commands};

/// Commands that were not run are counted up to here.
const LEFT_MAX: usize = 1_000_000;
/// Nobody waits longer for their count.
const LEFT_WAIT: Duration = Duration::from_secs(1);

/// U+FEFF in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Where the commands of a run come from.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// `-c`.
    pub command: Option<String>,
    /// Words after the tool's name: one command, already split.
    pub words: Vec<String>,
    /// Whether a script goes on after a command that failed.
    pub keep_going: bool,
}

/// A source of lines.
pub enum Lines {
    /// One command, already split into words.
    Words(Option<Vec<String>>),
    /// One line.
    Command(Option<String>),
    /// A pipe or file.
    Script {
        /// Lines as a thread reads them.
        lines: mpsc::Receiver<Result<String, Failure>>,
        /// The number of the line given last.
        number: u64,
    },
    /// A person.
    Terminal(Editor),
}

/// One line, or one command already split.
#[derive(Debug)]
pub enum Line {
    /// Still to be split.
    Text(String),
    /// Already split.
    Words(Vec<String>),
}

/// Whether a person will type.
#[must_use]
pub fn is_person(given: &Given) -> bool {
    given.words.is_empty() && given.command.is_none() && std::io::stdin().is_terminal()
}

impl Lines {
    /// The source that was given: words, `-c`, else standard input, which may be a terminal.
    #[must_use]
    pub fn open<O: Send + Sync + 'static>(given: &Given, menu: &'static Menu<O>, ids: Ids) -> Lines {
        if !given.words.is_empty() {
            return Lines::Words(Some(given.words.clone()));
        }
        if let Some(command) = &given.command {
            return Lines::Command(Some(command.clone()));
        }
        if std::io::stdin().is_terminal() {
            return Lines::Terminal(Editor::start(menu, ids));
        }
        Lines::Script { lines: script(), number: 0 }
    }

    /// Whether a person types.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        matches!(self, Lines::Terminal(_))
    }

    /// A way to ask the person who types; `None` if nobody does.
    #[must_use]
    pub fn asker(&self) -> Option<Asker> {
        match self {
            Lines::Terminal(editor) => Some(editor.asker()),
            _ => None,
        }
    }

    /// The next line; `None` at the end. Safe to drop and call again: no line is lost.
    ///
    /// # Errors
    /// The source cannot be read.
    pub async fn next(&mut self, prompt: &str) -> Result<Option<Line>, Failure> {
        match self {
            Lines::Words(words) => Ok(words.take().map(Line::Words)),
            Lines::Command(command) => Ok(command.take().map(Line::Text)),
            Lines::Script { lines, number } => {
                let line = lines.recv().await.transpose();
                *number += 1;
                line.map(|some| some.map(Line::Text)).map_err(|failure| failure.of(format!("line {number}")))
            }
            Lines::Terminal(editor) => Ok(match editor.next(prompt).await? {
                Typed::Line(line) => Some(Line::Text(line)),
                Typed::End => None,
            }),
        }
    }

    /// The commands that are left, counted without understanding them. Of a pipe that does not end soon only those that are
    /// there are counted.
    pub async fn left(&mut self) -> usize {
        let mut left = 0;
        let counting = async {
            while let Lines::Script { lines, .. } = &mut *self
                && let Some(line) = lines.recv().await
                && left < LEFT_MAX
            {
                left += line.ok().and_then(|line| commands(&line).ok().map(|them| them.len())).unwrap_or(1);
            }
        };
        let _ = timeout(LEFT_WAIT, counting).await;
        left
    }

    /// Where the line given last stands, for messages.
    #[must_use]
    pub fn place(&self) -> Option<u64> {
        match self {
            Lines::Script { number, .. } => Some(*number),
            _ => None,
        }
    }
}

/// Reads standard input on a thread; a reader that lags behind makes it wait.
fn script() -> mpsc::Receiver<Result<String, Failure>> {
    let (send, lines) = mpsc::channel(64);
    let run = move || {
        let mut input = std::io::stdin().lock();
        skip_mark(&mut input);
        while let Some(line) = read_line(&mut input) {
            let failed = line.is_err();
            if send.blocking_send(line).is_err() || failed {
                return;
            }
        }
    };
    thread::Builder::new().name("script".into()).spawn(run).expect("a thread can be started");
    lines
}

/// Editors on other systems begin a file with a byte order mark; it is no part of the first command.
fn skip_mark(input: &mut impl BufRead) {
    if input.fill_buf().is_ok_and(|begin| begin.starts_with(BYTE_ORDER_MARK)) {
        input.consume(BYTE_ORDER_MARK.len());
    }
}

fn read_line(input: &mut impl BufRead) -> Option<Result<String, Failure>> {
    let mut bytes = Vec::new();
    let most = LINE_BYTES_MAX as u64 + 1;
    match input.take(most).read_until(b'\n', &mut bytes) {
        Ok(0) => None,
        Ok(_) if bytes.len() as u64 == most && bytes.last() != Some(&b'\n') => {
            Some(Err(Failure::usage(format!("has more than {LINE_BYTES_MAX} bytes"))))
        }
        Ok(_) => Some(
            String::from_utf8(bytes)
                .map(|line| line.trim_end_matches(['\n', '\r']).to_owned())
                .map_err(|_| Failure::usage("is not UTF-8")),
        ),
        Err(error) => Some(Err(Failure::refused(format!("standard input cannot be read: {error}")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_command() {
        let mut input: &[u8] = b"\xef\xbb\xbflist-orders\r\n";
        skip_mark(&mut input);
        assert_eq!(read_line(&mut input).unwrap().unwrap(), "list-orders");
    }

    #[test]
    fn script_lines_are_bounded_and_checked() {
        let mut input: &[u8] = b"one\r\ntwo";
        assert_eq!(read_line(&mut input).unwrap().unwrap(), "one");
        assert_eq!(read_line(&mut input).unwrap().unwrap(), "two");
        assert!(read_line(&mut input).is_none());
        let mut bad: &[u8] = b"\xff\n";
        assert!(read_line(&mut bad).unwrap().unwrap_err().message.contains("UTF-8"));
        let long = vec![b'x'; LINE_BYTES_MAX + 2];
        assert!(read_line(&mut long.as_slice()).unwrap().unwrap_err().message.contains("more than"));
    }
}
