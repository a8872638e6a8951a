//! The table of a coordinator, line by line.

use alloc::vec;
use alloc::vec::Vec;

use super::*;

#[derive(Debug)]
struct Plain;

impl Contents for Plain {
    type Part = &'static str;
    type Own = &'static str;
    type Results = u8;
    type Failure = &'static str;
}

fn id(number: u64) -> CrossId {
    CrossId { group: 1, epoch: Epoch(5), number }
}

const FAR: Arc = Arc { after: 10, up_to: 20 };
const FARTHER: Arc = Arc { after: 20, up_to: 30 };

fn branch(participant: usize, offset: u64, range: Arc) -> Branch<u8> {
    Branch { participant, offset, range, results: 0 }
}

fn leader() -> Coordinator<Plain> {
    let mut coordinator = Coordinator::new(1);
    coordinator.step(Input::Lead(Epoch(5)));
    coordinator.step(Input::Ready(Vec::new()));
    coordinator
}

fn begun() -> Coordinator<Plain> {
    let mut coordinator = leader();
    let out = coordinator.step(Input::Begin { request: 8, own: "own", parts: vec!["a", "b"] });
    assert!(matches!(
        out[..],
        [
            Output::Prepare { participant: 0, part: "a", .. },
            Output::Prepare { participant: 1, part: "b", .. },
        ]
    ));
    coordinator
}

fn appended() -> Coordinator<Plain> {
    let mut coordinator = begun();
    assert!(coordinator.step(Input::Prepared(id(1), branch(1, 70, FARTHER))).is_empty());
    let out = coordinator.step(Input::Prepared(id(1), branch(0, 60, FAR)));
    let [Output::AppendDecision { branches, own: "own", .. }] = &out[..] else { panic!("{out:?}") };
    assert_eq!(branches.iter().map(|branch| branch.offset).collect::<Vec<_>>(), [60, 70]);
    coordinator
}

#[test]
fn a_transaction_is_decided_when_all_are_prepared_and_forgotten_when_all_are_covered() {
    let mut coordinator = appended();
    assert_eq!(coordinator.ask(id(1)), Standing::Appended);
    let out = coordinator.step(Input::Applied { id: id(1), is_committed: true });
    assert!(matches!(
        out[..],
        [Output::Commit { offset: 60, range: FAR, .. }, Output::Commit { offset: 70, .. }]
    ));
    assert_eq!(coordinator.ask(id(1)), Standing::Look);
    assert!(
        coordinator.step(Input::Acked(id(1), 60, Arc { after: 5, up_to: 15 })).is_empty(),
        "half of a range"
    );
    assert!(coordinator.step(Input::Acked(id(1), 61, Arc::WHOLE)).is_empty(), "another prepare");
    assert!(coordinator.step(Input::Acked(id(1), 70, Arc::WHOLE)).is_empty());
    assert!(matches!(coordinator.step(Input::Resend)[..], [Output::Commit { offset: 60, .. }]));
    let out = coordinator.step(Input::Acked(id(1), 60, Arc { after: 15, up_to: 25 }));
    assert!(matches!(out[..], [Output::AppendForget(_)]));
    assert!(matches!(coordinator.step(Input::Resend)[..], [Output::AppendForget(_)]));
    coordinator.step(Input::Forgotten(id(1)));
    assert_eq!((coordinator.counts(), coordinator.ask(id(1))), ((0, 0), Standing::Look));
}

#[test]
fn whoever_prepares_twice_is_named_by_the_first() {
    let mut coordinator = begun();
    coordinator.step(Input::Prepared(id(1), branch(0, 60, FAR)));
    coordinator.step(Input::Prepared(id(1), branch(0, 65, FAR)));
    assert!(coordinator.step(Input::Prepared(id(1), branch(9, 65, FAR))).is_empty(), "nobody");
    let out = coordinator.step(Input::Prepared(id(1), branch(1, 70, FARTHER)));
    assert!(matches!(&out[..], [Output::AppendDecision { branches, .. }] if branches[0].offset == 60));
}

#[test]
fn what_is_appended_is_never_given_up() {
    let mut coordinator = appended();
    for hindrance in [Hindrance::Silent, Hindrance::Locked, Hindrance::NotLeader] {
        assert!(coordinator.step(Input::Hindered(id(1), hindrance)).is_empty());
    }
    assert!(coordinator.step(Input::Failed(id(1), "late")).is_empty());
    assert!(coordinator.step(Input::Prepared(id(1), branch(0, 99, FAR))).is_empty());
    assert!(coordinator.step(Input::Resend).is_empty());
    assert_eq!(coordinator.ask(id(1)), Standing::Appended);
    let out = coordinator.step(Input::Applied { id: id(1), is_committed: false });
    assert!(matches!(out[..], [Output::Abort { part: "a", .. }, Output::Abort { part: "b", .. }]));
}

#[test]
fn a_failure_is_appended_before_anybody_hears_of_it() {
    let mut coordinator = begun();
    coordinator.step(Input::Prepared(id(1), branch(0, 60, FAR)));
    let out = coordinator.step(Input::Failed(id(1), "sold out"));
    assert!(matches!(out[..], [Output::AppendRefusal { own: "own", failure: "sold out", .. }]));
    assert_eq!(coordinator.ask(id(1)), Standing::Appended);
    assert_eq!(coordinator.step(Input::Applied { id: id(1), is_committed: false }).len(), 2);
    assert_eq!((coordinator.ask(id(1)), coordinator.counts()), (Standing::Look, (0, 0)));
}

#[test]
fn what_the_log_has_not_taken_is_given_up() {
    let mut coordinator = appended();
    let out = coordinator.step(Input::NotAppended(id(1), Hindrance::Overloaded));
    assert!(matches!(
        out[..],
        [Output::GiveUp(8, Hindrance::Overloaded), Output::Abort { .. }, Output::Abort { .. }]
    ));
    assert_eq!((coordinator.ask(id(1)), coordinator.counts()), (Standing::Look, (0, 0)));
    let mut coordinator = begun();
    assert!(
        coordinator.step(Input::NotAppended(id(1), Hindrance::Overloaded)).is_empty(),
        "it was not to be appended"
    );
}

#[test]
fn what_is_hindered_is_given_up_and_all_are_told() {
    let mut coordinator = begun();
    assert_eq!(coordinator.ask(id(1)), Standing::Preparing);
    let out = coordinator.step(Input::Hindered(id(1), Hindrance::Locked));
    assert!(matches!(
        out[..],
        [Output::GiveUp(8, Hindrance::Locked), Output::Abort { .. }, Output::Abort { .. }]
    ));
    assert_eq!((coordinator.ask(id(1)), coordinator.counts()), (Standing::Look, (0, 0)));
    assert!(coordinator.step(Input::Prepared(id(1), branch(0, 60, FAR))).is_empty(), "too late");
}

#[test]
fn with_leadership_everything_is_lost() {
    let mut coordinator = appended();
    coordinator.step(Input::Begin { request: 9, own: "own", parts: vec!["a"] });
    let out = coordinator.step(Input::Lost);
    assert!(matches!(out[..], [Output::AnswerUnknown(8), Output::GiveUp(9, Hindrance::NotLeader)]));
    assert_eq!((coordinator.ask(id(1)), coordinator.counts()), (Standing::Elsewhere, (0, 0)));
    assert!(coordinator.step(Input::Applied { id: id(1), is_committed: true }).is_empty());
    let begin = Input::Begin { request: 9, own: "own", parts: vec!["a"] };
    assert!(matches!(coordinator.step(begin)[..], [Output::GiveUp(9, Hindrance::NotLeader)]));
}

#[test]
fn a_leader_answers_when_its_first_entry_is_applied_and_never_for_later_epochs() {
    let mut coordinator = leader();
    coordinator.step(Input::Lead(Epoch(6)));
    assert_eq!(coordinator.ask(id(1)), Standing::Elsewhere, "an entry of epoch 5 may still come");
    let old = CrossId { epoch: Epoch(5), ..id(3) };
    let out = coordinator.step(Input::Ready(vec![(old, vec![(FAR, 60)])]));
    assert!(matches!(out[..], [Output::Commit { offset: 60, range: FAR, .. }]), "it drives on what it finds");
    assert_eq!(coordinator.ask(id(1)), Standing::Look);
    assert_eq!(coordinator.ask(CrossId { epoch: Epoch(7), ..id(1) }), Standing::Elsewhere);
    assert_eq!(
        coordinator.ask(CrossId { epoch: Epoch(6), ..id(1) }),
        Standing::Elsewhere,
        "it never began it"
    );
    assert_eq!(
        coordinator.ask(CrossId { group: 2, epoch: Epoch(9), number: 1 }),
        Standing::Look,
        "it moved here"
    );
    assert!(matches!(coordinator.step(Input::Acked(old, 60, FAR))[..], [Output::AppendForget(_)]));
}

#[test]
fn what_is_open_is_bounded() {
    let mut coordinator = leader();
    let begin = |parts: usize| Input::Begin { request: 1, own: "own", parts: vec!["a"; parts] };
    for wrong in [0, GROUPS_MAX] {
        assert!(matches!(coordinator.step(begin(wrong))[..], [Output::GiveUp(1, Hindrance::Invalid)]));
    }
    for _ in 0..PREPARING_MAX {
        assert_eq!(coordinator.step(begin(1)).len(), 1);
    }
    assert!(matches!(coordinator.step(begin(1))[..], [Output::GiveUp(1, Hindrance::Overloaded)]));
    coordinator.step(Input::Hindered(id(7), Hindrance::Silent));
    assert!(matches!(coordinator.step(begin(1))[..], [Output::Prepare { .. }]));
}
