//! The life of streams, step by step; what becomes of operations is in [`super::pending`].

use std::task::Waker;

use bytes::Bytes;
use proto::store::{Failure, TxnResponse};

use super::*;
use crate::failure::{failure, not_leader};

const MS: Duration = Duration::from_millis(1);
const ROUTE: Route = Route { cluster_id: 5, log_id: 6, ..Route::to(1, 1) };

fn node(node: u64, epoch: u64) -> LeaderHint {
    LeaderHint { node, address: format!("h:{node}"), epoch }
}

fn link() -> Link {
    Link::new(Options { deadline: Duration::from_secs(5), stall: Duration::from_secs(1) })
}

fn write(link: &mut Link, now: Moment) -> oneshot::Receiver<Answer> {
    link.ask(Kind::Named, Body::Ready(Bytes::from_static(b"write")), now).expect("there is room")
}

fn sent(link: &mut Link, stream: StreamId, now: Moment) -> Vec<u64> {
    let next = || match link.next(stream, now, Waker::noop()) {
        Next::Send(number, _) => Some(number),
        Next::Wait | Next::End => None,
    };
    std::iter::from_fn(next).collect()
}

fn says(number: u64, response: Response) -> PipelineResponse {
    PipelineResponse { number, response: Some(response) }
}

fn refusal(number: u64, failure: Failure) -> PipelineResponse {
    says(number, Response::Failure(failure))
}

/// A link with one write sent on its first stream, to node 1 of epoch 3.
fn with_stream(now: Moment) -> (Link, oneshot::Receiver<Answer>) {
    let mut link = link();
    let answer = write(&mut link, now);
    assert_eq!(link.turn(|| ROUTE, now), [Act::Find]);
    link.found(Ok(node(1, 3)), now);
    assert_eq!(link.turn(|| ROUTE, now), [Act::Open { stream: 1, target: node(1, 3) }]);
    assert_eq!(sent(&mut link, 1, now), [0]);
    link.opened(1);
    (link, answer)
}

#[test]
fn nothing_is_found_or_opened_before_something_waits() {
    let mut link = link();
    assert!(!link.has_work() && link.turn(|| ROUTE, MS).is_empty());
    let _answer = write(&mut link, MS);
    assert!(link.has_work());
    assert_eq!(link.turn(|| ROUTE, MS), [Act::Find]);
    assert!(!link.has_work() && link.turn(|| ROUTE, 2 * MS).is_empty(), "one search at a time");
}

#[test]
fn a_hint_is_followed_at_once_a_few_times_and_then_after_a_pause() {
    let now = 10 * MS;
    let (mut link, _answer) = with_stream(now);
    for hop in 1..=4 {
        let elsewhere = not_leader(Some(node(hop + 1, 3)));
        link.heard(hop, refusal(0, elsewhere), now);
        link.ended(hop, "ended the stream", None, now);
        let acts = link.turn(|| ROUTE, now);
        if hop > u64::from(HOPS_MAX) {
            assert_eq!(acts, [Act::Close { stream: hop }], "it goes round in circles");
            let until = link.wakes_at(now);
            assert!(until > now && until <= now + 80 * MS);
            assert_eq!(link.turn(|| ROUTE, until), [Act::Find]);
        } else {
            let target = node(hop + 1, 3);
            assert_eq!(acts, [Act::Close { stream: hop }, Act::Open { stream: hop + 1, target }]);
            assert_eq!(sent(&mut link, hop + 1, now), [0], "it is sent again");
        }
    }
}

#[test]
fn a_node_that_names_itself_is_no_hint() {
    let (mut link, _answer) = with_stream(MS);
    link.ended(1, "not now", Some(node(1, 3)), MS);
    assert_eq!(link.turn(|| ROUTE, MS), [Act::Close { stream: 1 }]);
}

#[test]
fn a_stream_that_is_not_opened_in_time_is_given_up_with_its_connection() {
    let mut link = link();
    let _answer = write(&mut link, MS);
    link.turn(|| ROUTE, MS);
    link.found(Ok(node(1, 3)), MS);
    link.turn(|| ROUTE, MS);
    let late = MS + OPEN_MAX;
    assert!(link.turn(|| ROUTE, late - MS).is_empty());
    let address = "h:1".to_owned();
    assert_eq!(link.turn(|| ROUTE, late), [Act::Forget { address }, Act::Close { stream: 1 }]);
    assert!(link.problem(late).is_some_and(|why| why.contains("h:1 did not open a stream within 1000 ms")));
}

#[test]
fn what_was_sent_before_a_refusal_is_still_answered_and_nothing_more_is_sent() {
    let now = MS;
    let (mut link, mut first) = with_stream(now);
    let mut second = write(&mut link, now);
    assert_eq!(sent(&mut link, 1, now), [1]);
    link.heard(1, refusal(1, not_leader(None)), now);
    let mut third = write(&mut link, now);
    assert_eq!(sent(&mut link, 1, now), [0; 0]);
    link.heard(1, says(0, Response::Txn(TxnResponse::default())), now);
    assert!(matches!(first.try_recv(), Ok(Ok(Response::Txn(_)))));
    assert!(link.turn(|| ROUTE, now).is_empty(), "answers may still come");
    assert_eq!(link.turn(|| ROUTE, now + DRAIN_MAX), [Act::Close { stream: 1 }]);
    assert!(second.try_recv().is_err() && third.try_recv().is_err(), "both are sent again");
}

#[test]
fn what_a_stream_says_that_was_given_up_counts_for_nothing() {
    let (mut link, mut answer) = with_stream(MS);
    link.ended(1, "connection reset", None, MS);
    link.heard(1, says(0, Response::Txn(TxnResponse::default())), MS);
    link.ended(1, "connection reset", Some(node(2, 4)), MS);
    assert!(answer.try_recv().is_err());
    assert_eq!(link.turn(|| ROUTE, MS), [Act::Close { stream: 1 }], "its hint is not followed");
}

#[test]
fn a_silent_leader_is_left_for_one_of_a_later_epoch_alone() {
    let (mut link, _answer) = with_stream(MS);
    let silent = MS + Duration::from_secs(1);
    assert_eq!(link.turn(|| ROUTE, silent), [Act::Look { stream: 1 }]);
    assert!(link.turn(|| ROUTE, silent + MS).is_empty(), "one search at a time");
    link.looked(1, Some(node(2, 3)), silent);
    let later = silent + Duration::from_secs(1);
    assert!(
        link.turn(|| ROUTE, later - MS).is_empty(),
        "nobody leads in a later epoch: not asked again at once"
    );
    assert_eq!(link.turn(|| ROUTE, later), [Act::Look { stream: 1 }]);
    link.looked(1, Some(node(2, 4)), later);
    let address = "h:1".to_owned();
    let open = Act::Open { stream: 2, target: node(2, 4) };
    assert_eq!(link.turn(|| ROUTE, later), [Act::Forget { address }, Act::Close { stream: 1 }, open]);
}

#[test]
fn another_clusters_node_is_avoided_and_its_hint_not_followed() {
    let (mut link, mut answer) = with_stream(MS);
    let anothers = Failure { leader: Some(node(2, 9)), ..failure(FailureReason::WrongCluster, "not ours") };
    link.heard(1, refusal(0, anothers), MS);
    link.ended(1, "ended the stream", None, MS);
    let address = "h:1".to_owned();
    assert_eq!(link.turn(|| ROUTE, MS), [Act::Avoid { address }, Act::Close { stream: 1 }]);
    assert!(answer.try_recv().is_err(), "it did not happen, and is asked elsewhere");
}

#[test]
fn an_answer_that_another_try_would_not_change_is_given_with_who_gave_it() {
    let (mut link, mut answer) = with_stream(MS);
    link.heard(1, refusal(0, failure(FailureReason::OutOfSpace, "no room")), MS);
    let Ok(Err(Error::Retry { message, .. })) = answer.try_recv() else { panic!("an error") };
    assert_eq!(message, "h:1: no room");
    assert!(link.is_open() && link.turn(|| ROUTE, MS).is_empty(), "the stream goes on");
}

#[test]
fn pauses_grow_until_a_stream_was_well_for_a_while() {
    let (mut link, _answer) = with_stream(MS);
    let mut now = MS;
    let mut longest = Duration::ZERO;
    for stream in 1..80 {
        link.ended(stream, "connection reset", None, now);
        link.turn(|| ROUTE, now);
        let State::Pausing { until } = link.state else { panic!("{:?}", link.state) };
        longest = longest.max(until - now);
        // Within an election pauses are short, and then they grow.
        let most = if stream <= u64::from(ATTEMPTS_ELECTION) { BACKOFF_MS_ELECTION } else { BACKOFF_MS_MAX };
        assert!(until - now <= Duration::from_millis(most), "after {stream} attempts");
        now = until;
        let _other = link.ask(Kind::Read, Body::Ready(Bytes::from_static(b"read")), now);
        assert_eq!(link.turn(|| ROUTE, now), [Act::Find]);
        link.found(Ok(node(1, 3)), now);
        link.turn(|| ROUTE, now);
    }
    assert!(longest >= Duration::from_millis(BACKOFF_MS_MAX / 2), "{longest:?}");
    let _last = write(&mut link, now);
    let number = sent(&mut link, 80, now)[0];
    link.heard(80, says(number, Response::Txn(TxnResponse::default())), now);
    link.ended(80, "connection reset", None, now + STEADY);
    let State::Pausing { until } = link.state else { panic!("{:?}", link.state) };
    assert!(until - (now + STEADY) <= Duration::from_millis(BACKOFF_MS_FIRST));
}

#[test]
fn who_leads_is_not_kept_for_operations_that_come_later() {
    let mut link = Link::new(Options { deadline: 10 * MS, stall: Duration::from_secs(1) });
    let mut answer = write(&mut link, MS);
    assert_eq!(link.turn(|| ROUTE, MS), [Act::Find]);
    assert!(link.turn(|| ROUTE, 20 * MS).is_empty());
    assert!(matches!(answer.try_recv(), Ok(Err(Error::Retry { .. }))), "its time is over");
    link.found(Ok(node(1, 3)), 30 * MS);
    assert!(link.turn(|| ROUTE, 30 * MS).is_empty());
    let _later = write(&mut link, Duration::from_secs(3_600));
    assert_eq!(link.turn(|| ROUTE, Duration::from_secs(3_600)), [Act::Find]);
}
