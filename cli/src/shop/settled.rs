//! The outcome of a request as people and programs see it.

use portal::settle::{BEGUN, DONE, NOT_DONE, NOT_REMEMBERED, REFUSED};
use proto::portal::Settled;

use crate::failure::{Failure, Kind};
use crate::reach::matter::Matter;
use crate::reach::request::request_id;
use crate::show::answer::Answer;
use crate::show::document::document;
use crate::show::written::in_line;

/// The answer about what was asked for; `shown`: what was done, as it is shown elsewhere.
#[must_use]
pub fn answer(id: &str, matter: &Matter, settled: &Settled, shown: Option<Answer>) -> Answer {
    let is_timed = request_id(Some(id)).created_ms > 0;
    let id = in_line(id);
    let said = match settled.outcome.as_str() {
        DONE => format!("the request {id} was done"),
        REFUSED if is_timed => {
            format!("the request {id} was refused: nothing was done, and it never will be")
        }
        REFUSED => format!(
            "the request {id} was refused: nothing was done, nor will be for as long as that is remembered, a day"
        ),
        NOT_REMEMBERED => format!(
            "the request {id} was not done within what is remembered, a day, nor will be for as long: the id does not say when it was made, so look at what it was about if it is older"
        ),
        BEGUN => format!(
            "the request {id} was begun and is not at its end: what it deletes takes nothing new; delete it again, with --cascade and without this id"
        ),
        NOT_DONE => format!("the request {id} was not done, and now it never will be"),
        // Expired; or what a later version says.
        _ => format!(
            "nobody knows any more whether the request {id} was done; it never runs again: look at what it was about"
        ),
    };
    let said = format!("{}: {said}", matter.shown());
    let document = document(settled);
    match shown.filter(|_| settled.outcome == DONE) {
        Some(shown) if shown.head.is_empty() => Answer { head: said, document, ..shown },
        Some(shown) => Answer { head: format!("{said}: {}", shown.head), document, ..shown },
        None => Answer::line(said, document),
    }
}

/// The failure of asking: the answer did not come, and whether the id was closed is not known.
#[must_use]
pub fn not_known(failure: Failure, id: &str, matter: &Matter) -> Failure {
    if !matches!(failure.kind, Kind::Unreachable | Kind::Unknown) {
        return failure;
    }
    let again = matter.settling(id);
    let id = in_line(id);
    let mut failure = failure.of(format!("what became of the request {id} is not known yet"));
    failure.kind = Kind::Unreachable;
    failure.next(format!("it may have been closed: {again}, once more, when the store can be reached"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMED: &str = "0193f7a2-5b1c-7c3e-9a4d-2f6b8c1d0e5a";

    fn told(outcome: &str, shown: Option<Answer>) -> String {
        told_of(TIMED, outcome, shown).replace(TIMED, "r1")
    }

    fn told_of(id: &str, outcome: &str, shown: Option<Answer>) -> String {
        answer(id, &Matter::of_client("ana"), &Settled { outcome: outcome.into(), order: None }, shown).head
    }

    #[test]
    fn each_outcome_says_whether_it_was_done_and_whether_it_will_be() {
        let shown = || Some(Answer::line("order 7 (open): total 1.00", serde_json::Value::Null));
        assert_eq!(
            told("done", shown()),
            "of client ana: the request r1 was done: order 7 (open): total 1.00"
        );
        assert_eq!(told("done", None), "of client ana: the request r1 was done");
        assert_eq!(
            told("not_done", shown()),
            "of client ana: the request r1 was not done, and now it never will be"
        );
        assert!(told("refused", shown()).ends_with("nothing was done, and it never will be"));
        assert!(told("expired", None).contains("nobody knows any more"));
        assert!(
            told("begun", shown())
                .contains("is not at its end: what it deletes takes nothing new; delete it again")
        );
    }

    #[test]
    fn of_an_id_without_a_time_nothing_is_said_of_ever() {
        for outcome in ["refused", "not_remembered"] {
            let told = told_of("nightly-7", outcome, None);
            assert!(told.contains("remembered, a day") && !told.contains("never"), "{told}");
        }
    }

    #[test]
    fn a_store_that_cannot_be_asked_leaves_the_request_open() {
        let failure = not_known(Failure::unreachable("no leader"), "r1", &Matter::of_client("ana"));
        assert_eq!(failure.message, "what became of the request r1 is not known yet: no leader");
        let next = failure.next.unwrap();
        assert!(next.starts_with("it may have been closed: settle r1 --cid ana, once more"), "{next}");
        assert_eq!(not_known(Failure::refused("no"), "r1", &Matter::default()).message, "no");
    }
}
