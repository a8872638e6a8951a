//! A text that can be replaced and appended to: the model `kv-append`. It is empty at first.

use crate::model::Model;
use crate::operation::Operation;

/// What a text may be asked.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum AppendOp {
    /// What is the text?
    Get,
    /// The text is now this.
    Put(String),
    /// The text is now longer by this.
    Append(String),
}

/// What a text may answer.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum AppendAnswer {
    /// To a get: the text.
    Text(String),
    /// To a put or an append.
    Done,
}

/// The text, as far as this history can see it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum AppendState {
    /// This text: the plain form, before anything is learned.
    Text(String),
    /// The beginning of an answered text: short, where the text itself may be long.
    Beginning {
        /// Which: the first, in order, that begins so.
        answered: usize,
        /// How much of it, bytes.
        length: usize,
    },
    /// A text with which no answered get begins: no get can follow, until a put replaces it.
    Astray,
}

/// The model. See [`AppendOp`] and [`AppendAnswer`].
///
/// **What it learns.** Texts only grow until a put replaces them. If no get of the whole history was answered with a
/// text that begins with the present one, then no get can be answered before the next put, and whatever is appended,
/// that stays so. All such texts are one state, *astray*. This is what keeps n unknown appends from meaning n! texts:
/// every order that nobody saw is the same dead end. An append of something that is part of no answered text leads
/// astray from every state, so all such appends are one operation.
#[derive(Clone, Default, Debug)]
pub struct KvAppend {
    /// The answered texts in order, without those with which a longer one begins; `None`: nothing learned.
    answered: Option<Vec<String>>,
    /// Stands for every unknown append that is part of no answered text; `None`: there is none.
    stray: Option<String>,
}

impl KvAppend {
    fn state(&self, text: String) -> AppendState {
        let Some(texts) = &self.answered else { return AppendState::Text(text) };
        // What begins with the text comes right at or after the text itself.
        let answered = texts.partition_point(|answer| *answer < text);
        if texts.get(answered).is_some_and(|answer| answer.starts_with(&text)) {
            AppendState::Beginning { answered, length: text.len() }
        } else {
            AppendState::Astray
        }
    }

    /// The text, if any get could show it.
    fn text<'a>(&'a self, state: &'a AppendState) -> Option<&'a str> {
        match state {
            AppendState::Text(text) => Some(text),
            AppendState::Beginning { answered, length } => {
                self.answered.as_ref()?.get(*answered)?.get(..*length)
            }
            AppendState::Astray => None,
        }
    }

    fn leads_astray(&self, appended: &str) -> bool {
        self.answered.as_ref().is_some_and(|answered| answered.iter().all(|text| !text.contains(appended)))
    }
}

impl Model for KvAppend {
    type Op = AppendOp;
    type Answer = AppendAnswer;
    type State = AppendState;

    fn initial(&self) -> AppendState {
        self.state(String::new())
    }

    fn step(&self, state: &AppendState, op: &AppendOp, answer: Option<&AppendAnswer>) -> Option<AppendState> {
        match (op, answer) {
            (AppendOp::Get, None) => Some(state.clone()),
            (AppendOp::Get, Some(AppendAnswer::Text(told))) => {
                (self.text(state) == Some(told)).then(|| state.clone())
            }
            (AppendOp::Put(text), None | Some(AppendAnswer::Done)) => Some(self.state(text.clone())),
            (AppendOp::Append(more), None | Some(AppendAnswer::Done)) => {
                Some(self.text(state).map_or(AppendState::Astray, |text| self.state(format!("{text}{more}"))))
            }
            _ => None,
        }
    }

    fn only_observes(&self, op: &AppendOp, _answer: Option<&AppendAnswer>) -> bool {
        *op == AppendOp::Get
    }

    fn learn(&mut self, history: &[&Operation<AppendOp, AppendAnswer>]) {
        let mut answered: Vec<String> = history
            .iter()
            .filter_map(|operation| match operation.answer() {
                Some(AppendAnswer::Text(text)) => Some(text.clone()),
                _ => None,
            })
            .collect();
        answered.sort_unstable();
        // Only the longest of a line of texts is kept: in order, each stands right before what begins with it.
        answered.reverse();
        answered.dedup_by(|shorter, longer| longer.starts_with(shorter.as_str()));
        answered.reverse();
        self.answered = Some(answered);
        let unknown = history.iter().filter(|operation| operation.answer().is_none());
        self.stray = unknown
            .filter_map(|operation| match &operation.asked {
                AppendOp::Append(more) => Some(more),
                _ => None,
            })
            .find(|more| self.leads_astray(more))
            .cloned();
    }

    fn canonical(&self, op: &AppendOp) -> AppendOp {
        match (op, &self.stray) {
            (AppendOp::Append(more), Some(stray)) if self.leads_astray(more) => {
                AppendOp::Append(stray.clone())
            }
            _ => op.clone(),
        }
    }

    /// From no state is less possible than from where an append leads that nobody saw: astray.
    fn stands_in(&self, strong: &AppendOp, weak: &AppendOp) -> bool {
        match (weak, &self.stray) {
            (AppendOp::Append(more), Some(stray)) => more == stray && strong != weak,
            _ => false,
        }
    }

    fn describe(&self, op: &AppendOp, answer: Option<&AppendAnswer>) -> String {
        let asked = match op {
            AppendOp::Get => "get".to_owned(),
            AppendOp::Put(text) => format!("put {text:?}"),
            AppendOp::Append(more) => format!("append {more:?}"),
        };
        match answer {
            None => format!("{asked}: unknown"),
            Some(AppendAnswer::Text(text)) => format!("{asked}: {text:?}"),
            Some(AppendAnswer::Done) => format!("{asked}: done"),
        }
    }

    fn describe_state(&self, state: &AppendState) -> String {
        match self.text(state) {
            Some(text) => format!("{text:?}"),
            None => "a text with which no answered get begins".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::Outcome;

    fn operation(asked: AppendOp, answer: Option<AppendAnswer>) -> Operation<AppendOp, AppendAnswer> {
        let outcome = answer.map_or(Outcome::Unknown, |answer| Outcome::Answered { returned: 1, answer });
        Operation { process: 0, key: String::new(), asked, called: 0, outcome }
    }

    fn learned(texts: &[&str], unknown: &[&str]) -> KvAppend {
        let mut history: Vec<_> = texts
            .iter()
            .map(|text| operation(AppendOp::Get, Some(AppendAnswer::Text((*text).to_owned()))))
            .collect();
        history.extend(unknown.iter().map(|more| operation(AppendOp::Append((*more).to_owned()), None)));
        let mut model = KvAppend::default();
        model.learn(&history.iter().collect::<Vec<_>>());
        model
    }

    #[test]
    fn a_text_that_no_answer_begins_with_is_astray() {
        let model = learned(&["ab", "abc", "a", "xy"], &[]);
        assert_eq!(model.answered, Some(vec!["abc".to_owned(), "xy".to_owned()]));
        for (text, seen) in
            [("", true), ("a", true), ("abc", true), ("abd", false), ("b", false), ("x", true), ("z", false)]
        {
            assert_eq!(model.state(text.to_owned()) != AppendState::Astray, seen, "{text}");
        }
        assert_eq!(learned(&[], &[]).initial(), AppendState::Astray);
    }

    #[test]
    fn appends_that_no_answer_shows_are_one() {
        let model = learned(&["abc"], &["p", "q", "b"]);
        let canonical = |more: &str| model.canonical(&AppendOp::Append(more.to_owned()));
        assert_eq!(canonical("p"), canonical("q"));
        assert_ne!(canonical("p"), canonical("b"));
    }
}
