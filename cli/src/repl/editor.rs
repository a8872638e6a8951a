//! The terminal: reedline on a thread of its own, so that answers can come while a line is being edited.
//!
//! Promises: history is kept in a file and bounded; Ctrl-C clears the line, Ctrl-D leaves.

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

use super::complete::TableCompleter;
use super::highlight::TableHighlighter;
use super::hint::TableHinter;
use super::ids::Ids;
use crate::failure::Failure;
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
    asks: mpsc::Sender<String>,
    typed: mpsc::Receiver<Result<Typed, Failure>>,
    /// A prompt is shown, and its line has not come.
    asked: bool,
    /// Prints above the line being edited.
    pub printer: SyncSender<String>,
}

impl Editor {
    /// Starts the thread.
    #[must_use]
    pub fn start<O: Send + Sync + 'static>(menu: &'static Menu<O>, ids: Ids) -> Editor {
        let external = ExternalPrinter::new(PRINTED_WAITING_MAX);
        let printer = external.sender();
        let (asks, mut prompts) = mpsc::channel::<String>(1);
        let (tell, typed) = mpsc::channel(1);
        let run = move || {
            let mut reedline = terminal(menu, ids, external);
            while let Some(prompt) = prompts.blocking_recv() {
                if tell.blocking_send(read(&mut reedline, &Words(prompt))).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("terminal".into()).spawn(run).expect("a thread can be started");
        Editor { asks, typed, asked: false, printer }
    }

    /// Shows a prompt and reads a line. Safe to drop and call again: the line asked for is given then.
    ///
    /// # Errors
    /// The terminal is gone.
    pub async fn next(&mut self, prompt: &str) -> Result<Typed, Failure> {
        if !self.asked {
            self.asks.send(prompt.to_owned()).await.map_err(|_| gone())?;
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

fn terminal<O: Send + Sync>(menu: &'static Menu<O>, ids: Ids, printer: ExternalPrinter<String>) -> Reedline {
    let color = wants_color();
    let mut keys = default_emacs_keybindings();
    let complete = vec![ReedlineEvent::Menu(MENU_NAME.to_owned()), ReedlineEvent::MenuNext];
    keys.add_binding(KeyModifiers::NONE, KeyCode::Tab, ReedlineEvent::UntilFound(complete));
    let columns = ColumnarMenu::default().with_name(MENU_NAME).with_columns(2);
    let reedline = Reedline::create()
        .with_ansi_colors(color)
        .with_completer(Box::new(TableCompleter { menu, ids }))
        .with_hinter(Box::new(TableHinter::new(menu)))
        .with_highlighter(Box::new(TableHighlighter { menu, color }))
        .with_menu(ReedlineMenu::EngineCompleter(Box::new(columns)))
        .with_edit_mode(Box::new(Emacs::new(keys)))
        .with_quick_completions(true)
        .with_partial_completions(true)
        .with_external_printer(printer);
    match history_file().and_then(|path| FileBackedHistory::with_file(HISTORY_LINES_MAX, path).ok()) {
        Some(history) => reedline.with_history(Box::new(history)),
        None => reedline,
    }
}

/// FEIRA_HISTORY, else `.feira_history` at home; without a home, history lasts as long as the session.
fn history_file() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("FEIRA_HISTORY") {
        return (!path.is_empty()).then(|| PathBuf::from(path));
    }
    std::env::home_dir().map(|home| home.join(".feira_history"))
}

/// A prompt of plain words.
struct Words(String);

impl Prompt for Words {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.0)
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    fn render_prompt_indicator(&self, _mode: PromptEditMode) -> Cow<'_, str> {
        Cow::Borrowed("> ")
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        Cow::Borrowed(". ")
    }

    fn render_prompt_history_search_indicator(&self, search: PromptHistorySearch) -> Cow<'_, str> {
        Cow::Owned(format!("(searching {:?}) ", search.term))
    }
}
