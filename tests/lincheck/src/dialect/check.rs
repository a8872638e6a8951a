//! Judging a file: finds its model if none is named, and says the verdict with its explanation in lines.

use std::fmt;
use std::io::BufRead;
use std::str::FromStr;

use super::Dialect;
use super::line::{Event, Line};
use super::read::{InputError, history, read};
use crate::append::KvAppend;
use crate::check::check_history;
use crate::limits::Limits;
use crate::records::Records;
use crate::register::CasRegister;
use crate::verdict::{SHOWN_DEFAULT, Verdict};

/// The models by their names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ModelName {
    /// [`CasRegister`].
    CasRegister,
    /// [`KvAppend`].
    KvAppend,
    /// [`Records`].
    Records,
}

impl ModelName {
    /// Every name.
    pub const NAMES: [&'static str; 3] = [CasRegister::NAME, KvAppend::NAME, Records::NAME];

    fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

impl FromStr for ModelName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        [ModelName::CasRegister, ModelName::KvAppend, ModelName::Records]
            .into_iter()
            .find(|model| model.name() == name)
            .ok_or_else(|| format!("no model {name:?}: there are {}", Self::NAMES.join(", ")))
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What came of judging a file.
#[derive(Clone, Debug)]
pub struct FileReport {
    /// The model; `None`: nothing is asked in the file, which fits every model.
    pub model: Option<ModelName>,
    /// Operations that ran or may have run.
    pub operations: usize,
    /// `linearizable`, `not-linearizable` or `undecided`.
    pub word: &'static str,
    /// Why not, in lines for people; empty: it is linearizable.
    pub why: Vec<String>,
    /// Steps that it took.
    pub steps: u64,
}

/// Checks a history in lines.
///
/// # Errors
/// [`InputError`]: it is no history, or none of the model.
pub fn check_lines(
    input: impl BufRead,
    model: Option<ModelName>,
    limits: &Limits,
) -> Result<FileReport, InputError> {
    let lines = read(input)?;
    let found = match model {
        Some(model) => Some(model),
        None => model_of(&lines)?,
    };
    match found {
        None | Some(ModelName::CasRegister) => check_as::<CasRegister>(found, &lines, limits),
        Some(ModelName::KvAppend) => check_as::<KvAppend>(found, &lines, limits),
        Some(ModelName::Records) => check_as::<Records>(found, &lines, limits),
    }
}

fn check_as<M: Dialect + Default>(
    name: Option<ModelName>,
    lines: &[(u64, Line)],
    limits: &Limits,
) -> Result<FileReport, InputError> {
    let model = M::default();
    let history = history::<M>(lines)?;
    let judgement = check_history(&model, &history, limits);
    let word = judgement.verdict.word();
    let why = match judgement.verdict {
        Verdict::Linearizable(_) => Vec::new(),
        Verdict::NotLinearizable(explanation) => explanation.text(&model, &history, SHOWN_DEFAULT),
        Verdict::Undecided { reason, explanation } => {
            let mut why = vec![format!("not decided: {reason}; what follows is how far it came")];
            why.extend(explanation.text(&model, &history, SHOWN_DEFAULT));
            why
        }
    };
    Ok(FileReport { model: name, operations: history.len(), word, why, steps: judgement.steps })
}

/// The model whose functions these are; `None`: there are no lines. `get` and `put` are of two models: with nothing
/// else they are records if any line tells a version or a get finds nothing (null), and texts otherwise.
fn model_of(lines: &[(u64, Line)]) -> Result<Option<ModelName>, InputError> {
    let mut found: Option<(ModelName, &str)> = None;
    let (mut shared, mut of_records) = (None, false);
    for (line, event) in lines {
        let model = match event.f.as_str() {
            "read" | "write" | "cas" => ModelName::CasRegister,
            "append" => ModelName::KvAppend,
            "set" | "delete" | "delete-version" | "test-and-set" => ModelName::Records,
            "get" | "put" => {
                let absent =
                    event.t == Event::Ok && event.f == "get" && event.v == Some(serde_json::Value::Null);
                of_records = of_records || absent || event.n.is_some() || event.seen.is_some();
                shared = shared.or(Some(event.f.as_str()));
                if let Some((ModelName::CasRegister, first)) = found {
                    return Err(mixed(*line, event, first, ModelName::CasRegister));
                }
                continue;
            }
            _ => {
                let what = format!(
                    "f is {:?}, a function of none of the models {}",
                    event.f,
                    ModelName::NAMES.join(", ")
                );
                return Err(InputError::NoEvent { line: *line, what });
            }
        };
        match (found, shared) {
            (Some((other, first)), _) if other != model => return Err(mixed(*line, event, first, other)),
            (None, Some(first)) if model == ModelName::CasRegister => {
                return Err(mixed(*line, event, first, ModelName::KvAppend));
            }
            _ => found = found.or(Some((model, &event.f))),
        }
    }
    let by_shared = if of_records { ModelName::Records } else { ModelName::KvAppend };
    Ok(found.map(|(model, _)| model).or(shared.map(|_| by_shared)))
}

fn mixed(line: u64, event: &Line, first: &str, model: ModelName) -> InputError {
    InputError::MixedModels { line, function: event.f.clone(), first: first.to_owned(), model: model.name() }
}
