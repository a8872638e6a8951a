//! The outcome of a request as people and programs see it.

use portal::settle::{DONE, NOT_DONE, REFUSED};
use proto::portal::Settled;

use crate::failure::{Failure, Kind};
use crate::show::answer::Answer;
use crate::show::written::in_line;

/// The answer; `shown`: what was done, as it is shown elsewhere.
#[must_use]
pub fn answer(id: &str, settled: &Settled, shown: Option<Answer>) -> Answer {
    let id = in_line(id);
    let said = match settled.outcome.as_str() {
        DONE => format!("the request {id} was done"),
        REFUSED => format!("the request {id} was refused: nothing was done, and it never will be"),
        NOT_DONE => format!("the request {id} was not done, and now it never will be"),
        // Expired; or what a later version says.
        _ => format!(
            "nobody knows any more whether the request {id} was done; it never runs again: look at what it was about"
        ),
    };
    let document = serde_json::to_value(settled).expect("our messages are JSON");
    match shown.filter(|_| settled.outcome == DONE) {
        Some(shown) if shown.head.is_empty() => Answer { head: said, document, ..shown },
        Some(shown) => Answer { head: format!("{said}: {}", shown.head), document, ..shown },
        None => Answer::line(said, document),
    }
}

/// The failure of asking: nothing was closed.
#[must_use]
pub fn not_known(failure: Failure, id: &str) -> Failure {
    if !matches!(failure.kind, Kind::Unreachable | Kind::Unknown) {
        return failure;
    }
    let id = in_line(id);
    let mut failure = failure.of(format!("what became of the request {id} is not known yet"));
    failure.kind = Kind::Unreachable;
    failure.next(format!("nothing was closed: settle {id} again when the store can be reached"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(outcome: &str, shown: Option<Answer>) -> String {
        answer("r1", &Settled { outcome: outcome.into(), order: None }, shown).head
    }

    #[test]
    fn each_outcome_says_whether_it_was_done_and_whether_it_will_be() {
        let shown = || Some(Answer::line("order 7 (open): total 1.00", serde_json::Value::Null));
        assert_eq!(told("done", shown()), "the request r1 was done: order 7 (open): total 1.00");
        assert_eq!(told("done", None), "the request r1 was done");
        assert_eq!(told("not_done", shown()), "the request r1 was not done, and now it never will be");
        assert!(told("refused", shown()).ends_with("nothing was done, and it never will be"));
        assert!(told("expired", None).contains("nobody knows any more"));
    }

    #[test]
    fn a_store_that_cannot_be_asked_leaves_the_request_open() {
        let failure = not_known(Failure::unreachable("no leader"), "r1");
        assert_eq!(failure.message, "what became of the request r1 is not known yet: no leader");
        assert!(failure.next.unwrap().contains("nothing was closed"));
        assert_eq!(not_known(Failure::refused("no"), "r1").message, "no");
    }
}
