//! Asking a person at the terminal for what a command left out.

use std::io::Write;

use crate::failure::Failure;

/// Asks one question; an empty answer is `None`.
///
/// # Errors
/// The terminal is gone, or the person gave up (end of input).
pub async fn ask(question: &str) -> Result<Option<String>, Failure> {
    let question = question.to_owned();
    let asked = tokio::task::spawn_blocking(move || {
        let mut screen = std::io::stderr();
        write!(screen, "{question}: ")?;
        screen.flush()?;
        let mut line = String::new();
        let bytes = std::io::stdin().read_line(&mut line)?;
        Ok::<_, std::io::Error>((bytes > 0).then(|| line.trim().to_owned()))
    });
    let answer = asked.await.map_err(|e| Failure::refused(format!("the question was cut off: {e}")))?;
    match answer.map_err(|e| Failure::refused(format!("the terminal cannot be read: {e}")))? {
        Some(text) => Ok((!text.is_empty()).then_some(text)),
        None => Err(Failure::usage("given up: nothing was sent")),
    }
}

/// Asks until there is an answer.
///
/// # Errors
/// As [`ask`].
pub async fn ask_until(question: &str) -> Result<String, Failure> {
    loop {
        if let Some(answer) = ask(question).await? {
            return Ok(answer);
        }
    }
}
