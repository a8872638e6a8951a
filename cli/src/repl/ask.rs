//! Asking the person at the terminal for what a command left out.
//!
//! Promises: questions are read by the same thread as lines, so that answers typed or pasted ahead are taken in turn.

use tokio::sync::{mpsc, oneshot};

use crate::failure::Failure;
use crate::show::written::in_line;

/// A request to the terminal's thread.
pub enum TerminalRequest {
    /// A line, after this prompt.
    Line(String),
    /// The answer to a question; `None`: an empty one.
    Question(String, oneshot::Sender<Result<Option<String>, Failure>>),
}

/// A way to ask.
#[derive(Clone)]
pub struct Asker(pub mpsc::Sender<TerminalRequest>);

impl Asker {
    /// Asks one question; an empty answer is `None`.
    ///
    /// # Errors
    /// The terminal is gone, or the person gave up (Ctrl-C, Ctrl-D).
    pub async fn ask(&self, question: &str) -> Result<Option<String>, Failure> {
        let (answer, answered) = oneshot::channel();
        let gone = || Failure::refused("the terminal is gone");
        self.0.send(TerminalRequest::Question(question.to_owned(), answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// Asks a question that only a clear yes agrees to.
    ///
    /// # Errors
    /// As [`Asker::ask`].
    pub async fn agrees(&self, question: &str) -> Result<bool, Failure> {
        let answer = self.ask(question).await?.unwrap_or_default();
        Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes" | "s" | "sim"))
    }

    /// Asks until there is an answer that `accept` takes; what is wrong with one is said above the next question.
    ///
    /// # Errors
    /// As [`Asker::ask`].
    pub async fn ask_until<T>(
        &self,
        question: &str,
        accept: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, Failure> {
        let mut asked = question.to_owned();
        loop {
            let Some(answer) = self.ask(&asked).await? else { continue };
            match accept(&answer) {
                Ok(accepted) => return Ok(accepted),
                Err(why) => asked = format!("  {}\n{question}", in_line(&why)),
            }
        }
    }
}
