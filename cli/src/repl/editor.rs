//! The terminal: reedline on a thread of its own, so that answers can come while a line is being edited.
//!
//! Promises: history is kept in a file and bounded; Ctrl-C clears the line, Ctrl-D leaves; what is typed ahead is taken
//! in turn, whatever it was typed into ([`super::mode`]); the terminal is given back when the editor is dropped.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::mpsc::SyncSender;
use std::thread;

use reedline::{
    ColumnarMenu, Emacs, ExternalPrinter, FileBackedHistory, KeyCode, KeyModifiers, MenuBuilder, Prompt,
    PromptEditMode, PromptHistorySearch, Reedline, ReedlineEvent, ReedlineMenu, Signal,
    default_emacs_keybindings,
};
use tokio::sync::mpsc;

use super::ask::{Asker, TerminalRequest};
use super::complete::TableCompleter;
use super::highlight::TableHighlighter;
use super::hint::TableHinter;
use super::ids::Ids;
use super::mode::Held;
use crate::failure::Failure;
use crate::private;
use crate::show::out::wants_color;
use crate::verb::spec::Menu;

/// Lines that history keeps.
const HISTORY_LINES_MAX: usize = 2_000;
/// Answers that may wait to be printed above the line.
const PRINTED_WAITING_MAX: usize = 256;
const MENU_NAME: &str = "completion";

/// What the thread says.
#[derive(Debug)]
pub enum Typed {
    /// A line.
    Line(String),
    /// Ctrl-D.
    End,
}

/// A terminal being read.
pub struct Editor {
    asks: mpsc::Sender<TerminalRequest>,
    typed: mpsc::Receiver<Result<Typed, Failure>>,
    /// A prompt is shown, and its line has not come.
    asked: bool,
    /// Prints above the line being edited.
    pub printer: SyncSender<String>,
    /// While it lives, what is typed between lines waits; `None` if the terminal does not let itself be told.
    _held: Option<Held>,
}

impl Editor {
    /// Starts the thread.
    #[must_use]
    pub fn start<O: Send + Sync + 'static>(menu: &'static Menu<O>, ids: Ids) -> Editor {
        let held = Held::hold();
        let external = ExternalPrinter::new(PRINTED_WAITING_MAX);
        let printer = external.sender();
        let (asks, mut prompts) = mpsc::channel::<TerminalRequest>(1);
        let (tell, typed) = mpsc::channel(1);
        let run = move || {
            let mut reedline = terminal(menu, ids, external);
            let mut plain = Reedline::create().with_ansi_colors(wants_color());
            while let Some(asked) = prompts.blocking_recv() {
                match asked {
                    TerminalRequest::Line(prompt) => {
                        let line = read(&mut reedline, &Words { words: prompt, mark: "> " });
                        if tell.blocking_send(line).is_err() {
                            return;
                        }
                    }
                    TerminalRequest::Question(question, answer) => {
                        // Whoever asked may have gone: then the answer is nobody's.
                        let _ = answer.send(reply(&mut plain, &Words { words: question, mark: ": " }));
                    }
                }
            }
        };
        thread::Builder::new().name("terminal".into()).spawn(run).expect("a thread can be started");
        Editor { asks, typed, asked: false, printer, _held: held }
    }

    /// A way to ask questions between lines.
    #[must_use]
    pub fn asker(&self) -> Asker {
        Asker(self.asks.clone())
    }

    /// Shows a prompt and reads a line. Safe to drop and call again: the line asked for is given then.
    ///
    /// # Errors
    /// The terminal is gone.
    pub async fn next(&mut self, prompt: &str) -> Result<Typed, Failure> {
        if !self.asked {
            self.asks.send(TerminalRequest::Line(prompt.to_owned())).await.map_err(|_| gone())?;
            self.asked = true;
        }
        let typed = self.typed.recv().await.unwrap_or_else(|| Err(gone()));
        self.asked = false;
        typed
    }
}

fn gone() -> Failure {
    Failure::refused("the terminal is gone")
}

fn read(reedline: &mut Reedline, prompt: &Words) -> Result<Typed, Failure> {
    loop {
        match reedline.read_line(prompt) {
            Ok(Signal::Success(line)) => {
                // Now, and not when the thread ends: leaving does not wait for it. Without a file there is none to
                // write, which is no failure of the line.
                let _ = reedline.sync_history();
                return Ok(Typed::Line(line));
            }
            Ok(Signal::CtrlD) => return Ok(Typed::End),
            Ok(_) => {}
            Err(error) => return Err(Failure::refused(format!("the terminal cannot be read: {error}"))),
        }
    }
}

/// The answer to a question; `None` if it is empty.
fn reply(plain: &mut Reedline, question: &Words) -> Result<Option<String>, Failure> {
    match plain.read_line(question) {
        Ok(Signal::Success(line)) => Ok(Some(line.trim().to_owned()).filter(|answer| !answer.is_empty())),
        Ok(_) => Err(Failure::usage("cancelled: nothing was sent")),
        Err(error) => Err(Failure::refused(format!("the terminal cannot be read: {error}"))),
    }
}

fn terminal<O: Send + Sync>(menu: &'static Menu<O>, ids: Ids, printer: ExternalPrinter<String>) -> Reedline {
    let color = wants_color();
    let mut keys = default_emacs_keybindings();
    let complete = vec![ReedlineEvent::Menu(MENU_NAME.to_owned()), ReedlineEvent::MenuNext];
    keys.add_binding(KeyModifiers::NONE, KeyCode::Tab, ReedlineEvent::UntilFound(complete));
    let columns = ColumnarMenu::default().with_name(MENU_NAME).with_columns(2);
    let reedline = Reedline::create()
        .with_ansi_colors(color)
        .with_completer(Box::new(TableCompleter { menu, ids: ids.clone() }))
        .with_hinter(Box::new(TableHinter::new(menu, ids)))
        .with_highlighter(Box::new(TableHighlighter { menu, color }))
        .with_menu(ReedlineMenu::EngineCompleter(Box::new(columns)))
        .with_edit_mode(Box::new(Emacs::new(keys)))
        .with_quick_completions(true)
        .with_partial_completions(true)
        .with_external_printer(printer);
    let kept = history_file().and_then(|path| {
        private::keep(&path);
        FileBackedHistory::with_file(HISTORY_LINES_MAX, path).ok()
    });
    match kept {
        Some(history) => reedline.with_history(Box::new(history)),
        None => reedline,
    }
}

/// FEIRA_HISTORY, else `.feira_history` at home; without a home, history lasts as long as the session.
#[must_use]
pub fn history_file() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("FEIRA_HISTORY") {
        return (!path.is_empty()).then(|| PathBuf::from(path));
    }
    std::env::home_dir().map(|home| home.join(".feira_history"))
}

/// A prompt of plain words.
struct Words {
    words: String,
    /// What parts it from what is typed.
    mark: &'static str,
}

impl Prompt for Words {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.words)
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    fn render_prompt_indicator(&self, _mode: PromptEditMode) -> Cow<'_, str> {
        Cow::Borrowed(self.mark)
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        Cow::Borrowed(". ")
    }

    fn render_prompt_history_search_indicator(&self, search: PromptHistorySearch) -> Cow<'_, str> {
        Cow::Owned(format!("(searching {:?}) ", search.term))
    }
}
