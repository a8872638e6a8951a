//! The answers that callers get: every reason of a failure with its status and details, hints, the order of a pipeline,
//! reflection, health, and the operator's handles.
#![allow(clippy::unwrap_used, missing_docs)]

mod fixture;

use bytes::Bytes;
use fixture::{Nodes, ROUTE, eventually};
use futures::{StreamExt, stream};
use proto::store::pipeline_request::Request;
use proto::store::pipeline_response::Response;
use proto::store::{
    AuditRequest, FailureReason, Freshness, GetRequest, HoldCommitRequest, Identity, OutcomeRequest,
    PipelineRequest, Route, SetRequest, ShowLogRequest, StartAuditRequest, Status, TraceKind, TraceRequest,
    TraceResponse, TransferLeadershipRequest, Txn, TxnRequest,
};
use store_client::failure::failure_from;
use store_client::request_identity;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

fn set(key: &'static str) -> SetRequest {
    SetRequest {
        route: Some(ROUTE),
        key: Bytes::from_static(key.as_bytes()),
        timestamp_ms: 1,
        data: Bytes::from_static(b"x"),
        identity: None,
    }
}

fn txn(txn: Txn, identity: Option<Identity>) -> TxnRequest {
    TxnRequest { route: Some(ROUTE), txn: Some(txn), identity }
}

fn told<T: std::fmt::Debug>(answer: Result<T, tonic::Status>, reason: FailureReason, code: Code) -> String {
    let status = answer.expect_err("a failure");
    let failure = failure_from(&status);
    assert_eq!((failure.reason(), status.code()), (reason, code), "{status:?}");
    format!("{} {}", failure.field, failure.message)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_names_the_leader() {
    let nodes = Nodes::start(3).await;
    let leader = nodes.leader().await;
    let follower = nodes.follower().await;
    let status = nodes.kv(follower).set(set("k")).await.expect_err("it does not lead");
    let failure = failure_from(&status);
    assert_eq!((failure.reason(), status.code()), (FailureReason::NotLeader, Code::Unavailable));
    assert_eq!(failure.leader.unwrap().address, nodes.address(leader));
    let read = GetRequest { route: Some(ROUTE), key: Bytes::from_static(b"k"), freshness: None };
    told(nodes.kv(follower).get(read.clone()).await, FailureReason::NotLeader, Code::Unavailable);
    let stale = GetRequest { freshness: Some(Freshness::stale()), ..read };
    assert_eq!(nodes.kv(follower).get(stale).await.unwrap().into_inner().status(), Status::Error);
    nodes.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_refusal_has_its_status_and_reason() {
    let nodes = Nodes::start(1).await;
    nodes.leader().await;
    let mut kv = nodes.kv(0);
    let no_key = kv.set(SetRequest { key: Bytes::new(), ..set("k") }).await;
    assert!(told(no_key, FailureReason::Invalid, Code::InvalidArgument).starts_with("key "));
    let no_route = kv.set(SetRequest { route: None, ..set("k") }).await;
    assert!(told(no_route, FailureReason::Invalid, Code::InvalidArgument).starts_with("route"));
    let elsewhere = SetRequest { route: Some(Route::to(2, 1)), ..set("k") };
    told(kv.set(elsewhere).await, FailureReason::WrongRoute, Code::FailedPrecondition);

    let identity = request_identity([1; 16]);
    kv.txn(txn(Txn::new().put("k", 1, "x"), Some(identity.clone()))).await.unwrap();
    let other = Identity { digest: Bytes::from_static(&[2; 16]), ..identity };
    let reused = kv.txn(txn(Txn::new().put("k", 1, "x"), Some(other))).await;
    told(reused, FailureReason::IdReused, Code::AlreadyExists);
    let old = Identity::user(Bytes::from_static(b"old"), 1, 1, [1; 16]);
    let expired = kv.txn(txn(Txn::new().put("k", 1, "x"), Some(old))).await;
    told(expired, FailureReason::ExpiredId, Code::FailedPrecondition);
    let closed = request_identity([1; 16]);
    let tag = Bytes::from_static(b"k");
    kv.outcome(OutcomeRequest { route: Some(ROUTE), tag, identity: Some(closed.clone()) }).await.unwrap();
    let late = kv.txn(txn(Txn::new().put("k", 1, "x"), Some(closed))).await;
    told(late, FailureReason::ClosedId, Code::FailedPrecondition);

    let beyond = |freshness: Freshness| GetRequest {
        route: Some(ROUTE),
        key: Bytes::from_static(b"k"),
        freshness: Some(freshness.with_min_offset(1 << 40)),
    };
    let behind = kv.get(beyond(Freshness::stale())).await;
    told(behind, FailureReason::NotServing, Code::Unavailable);
    let future = kv.get(beyond(Freshness::linearizable())).await;
    let message = told(future, FailureReason::Invalid, Code::InvalidArgument);
    assert!(message.starts_with("freshness.min_offset"), "{message}");
    nodes.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_writes_and_reads_go_on() {
    let nodes = Nodes::start_with(1, |config| config.disk_reserve_bytes = u64::MAX / 2).await;
    nodes.leader().await;
    told(nodes.kv(0).set(set("k")).await, FailureReason::OutOfSpace, Code::ResourceExhausted);
    let read = GetRequest { route: Some(ROUTE), key: Bytes::from_static(b"k"), freshness: None };
    assert_eq!(nodes.kv(0).get(read).await.unwrap().into_inner().status(), Status::Error);
    nodes.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_without_a_majority_is_unknown_never_done() {
    let mut nodes = Nodes::start(3).await;
    let leader = nodes.leader().await;
    for i in (0..3).filter(|i| *i != leader) {
        nodes.stop(i).await;
    }
    let answer = nodes.kv(leader).set(set("k")).await;
    let status = answer.expect_err("no majority");
    // The leader may have stepped down already when it came.
    let reason = failure_from(&status).reason();
    assert!(matches!(reason, FailureReason::UnknownOutcome | FailureReason::NotLeader), "{status:?}");
    nodes.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_of_a_pipeline_are_executed_in_the_order_sent() {
    const WRITES: u64 = 1_000;
    let nodes = Nodes::start(3).await;
    let leader = nodes.leader().await;
    let request = |number: u64| {
        let step = match number {
            0 => Txn::new().put("counter", 0, r#"{"n":0}"#),
            n => {
                Txn::new().guard_json("counter", "/n", format!("{}", n - 1)).add("counter", 1, "/n", 1, None)
            }
        };
        PipelineRequest { number, request: Some(Request::Txn(txn(step, None))) }
    };
    let bad = PipelineRequest { number: 9_999, request: Some(Request::Get(GetRequest::default())) };
    let requests = stream::iter((0..=WRITES).map(request).chain([bad]));
    let mut answers = nodes.kv(leader).pipeline(requests).await.unwrap().into_inner();
    let mut done = 0;
    while let Some(answer) = answers.next().await {
        let answer = answer.unwrap();
        match answer.response.unwrap() {
            Response::Txn(answered) => {
                assert!(answered.success, "write {}: {:?}", answer.number, answered.failed);
                done += 1;
            }
            Response::Failure(failure) => {
                assert_eq!((answer.number, failure.reason()), (9_999, FailureReason::Invalid));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(done, WRITES + 1, "and the stream ends when all is answered");
    nodes.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_longer_than_any_is_refused_in_our_words() {
    let nodes = Nodes::start(1).await;
    let node = nodes.leader().await;
    let data = Bytes::from(vec![b'x'; 2 << 20]);
    let long = SetRequest { data: data.clone(), ..set("k") };
    let why = told(nodes.kv(node).set(long).await, FailureReason::Invalid, Code::InvalidArgument);
    assert!(why.starts_with("request is longer than"), "{why}");
    let start = StartAuditRequest { route: Some(ROUTE), prefixes: vec![data.clone()] };
    told(nodes.cluster(node).start_audit(start).await, FailureReason::Invalid, Code::InvalidArgument);

    let step = |number, txn_of| PipelineRequest { number, request: Some(Request::Txn(txn(txn_of, None))) };
    let requests = [step(1, Txn::new().put("a", 1, "1")), step(2, Txn::new().put("b", 1, data))];
    let mut answers = nodes.kv(node).pipeline(stream::iter(requests)).await.unwrap().into_inner();
    let first = answers.next().await.unwrap().unwrap();
    assert!(matches!(first.response, Some(Response::Txn(answered)) if first.number == 1 && answered.success));
    let end = answers.next().await.unwrap();
    let why = told(end, FailureReason::Invalid, Code::InvalidArgument);
    assert!(why.starts_with("request is longer than"), "{why}");
    nodes.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_that_meets_no_leader_ends_and_executes_nothing_later() {
    let nodes = Nodes::start(3).await;
    let follower = nodes.follower().await;
    let request = |number| {
        let put = Txn::new().put(format!("k{number}"), 0, "x");
        PipelineRequest { number, request: Some(Request::Txn(txn(put, None))) }
    };
    // The caller's side stays open: the node ends the stream.
    let requests = stream::iter((0..100).map(request)).chain(stream::pending());
    let mut answers = nodes.kv(follower).pipeline(requests).await.unwrap().into_inner();
    let mut refused = 0;
    while let Some(answer) = answers.next().await {
        let Some(Response::Failure(failure)) = answer.unwrap().response else { panic!("a refusal") };
        assert_eq!(failure.reason(), FailureReason::NotLeader);
        refused += 1;
    }
    assert!(refused > 0);
    nodes.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reflection_lists_the_services_and_health_says_serving() {
    let nodes = Nodes::start(1).await;
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(nodes.channel(0));
    let mut answers = reflection.server_reflection_info(stream::iter([ask])).await.unwrap().into_inner();
    let answer = answers.next().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(listed)) = answer else { panic!("{answer:?}") };
    let names: Vec<String> = listed.service.into_iter().map(|service| service.name).collect();
    for name in ["feira.store.v1.Kv", "feira.store.v1.Cluster", "feira.store.v1.Replication"] {
        assert!(names.iter().any(|listed| listed == name), "{name} in {names:?}");
        assert!(!names.iter().any(|listed| listed.contains("portal")), "only what is served here: {names:?}");
        let request = HealthCheckRequest { service: name.to_owned() };
        let health = HealthClient::new(nodes.channel(0)).check(request).await.unwrap().into_inner();
        assert_eq!(health.status, 1, "{name} is SERVING");
    }
    nodes.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_shows_the_same_picture_on_every_replica() {
    let nodes = Nodes::start(3).await;
    let leader = nodes.leader().await;
    for i in 0..1_200u32 {
        let put = Txn::new().put(format!("s/{i:04}"), 1, "x").put(format!("t/{i}"), 1, "x");
        nodes.kv(leader).txn(txn(put, None)).await.unwrap();
    }
    let request = StartAuditRequest { route: Some(ROUTE), prefixes: vec![Bytes::from_static(b"s/")] };
    let started = nodes.cluster(leader).start_audit(request).await.unwrap().into_inner();
    nodes.kv(leader).txn(txn(Txn::new().put("s/late", 1, "x"), None)).await.unwrap();
    let mut views = Vec::new();
    for i in 0..3 {
        let request = AuditRequest { route: Some(ROUTE), id: started.id.clone() };
        let mut answers = nodes.cluster(i).audit(request).await.unwrap().into_inner();
        let (mut records, mut state_hash) = (Vec::new(), None);
        while let Some(answer) = answers.next().await {
            let answer = answer.unwrap();
            assert_eq!(answer.position, started.position);
            records.extend(answer.records);
            state_hash = state_hash.or(answer.done.then_some(answer.state_hash));
        }
        assert_eq!(records.len(), 1_200, "what was written later is not in it");
        views.push((records, state_hash.expect("the last answer says so")));
    }
    assert!(views.windows(2).all(|pair| pair[0] == pair[1]));
    let unknown = AuditRequest { route: Some(ROUTE), id: Bytes::from_static(&[9; 16]) };
    told(nodes.cluster(leader).audit(unknown).await.map(drop), FailureReason::NotHere, Code::NotFound);
    nodes.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_goes_to_the_node_that_is_named() {
    let nodes = Nodes::start(3).await;
    let leader = nodes.leader().await;
    let to = (leader + 2) % 3;
    let request = |to: usize| TransferLeadershipRequest { route: Some(ROUTE), to: to as u64 + 1 };
    told(
        nodes.cluster(leader).transfer_leadership(request(leader)).await,
        FailureReason::Invalid,
        Code::InvalidArgument,
    );
    told(
        nodes.cluster(to).transfer_leadership(request(to)).await,
        FailureReason::NotLeader,
        Code::Unavailable,
    );
    // Whoever it would be if nobody was named, it is not each of them.
    for from in [leader, to, (to + 2) % 3] {
        let to = (from + 2) % 3;
        let handed = nodes.cluster(from).transfer_leadership(request(to)).await.unwrap().into_inner();
        assert_eq!(handed.leader.unwrap().address, nodes.address(to));
        assert_eq!(nodes.leader().await, to);
    }
    nodes.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_begins_at_once_makes_room_when_it_is_dropped_and_ends_with_its_node() {
    let mut nodes = Nodes::start(1).await;
    let leader = nodes.leader().await;
    let begin = || async {
        let request = TraceRequest { route: Some(ROUTE), from_start: false };
        nodes.cluster(leader).trace(request).await.map(tonic::Response::into_inner)
    };
    let mut traces = Vec::new();
    let full = loop {
        match begin().await {
            Ok(mut trace) => {
                let first = trace.message().await.unwrap().expect("it has begun");
                assert_eq!(first, TraceResponse::default());
                traces.push(trace);
            }
            Err(full) => break full,
        }
        assert!(traces.len() < 100, "so many look at once");
    };
    assert_eq!(failure_from(&full).reason(), FailureReason::Overloaded);
    traces.pop();
    let mut last = eventually("a place is free", || async { begin().await.ok() }).await;
    last.message().await.unwrap().expect("it has begun");
    nodes.kv(leader).txn(txn(Txn::new().put("traced", 1, "x"), None)).await.unwrap();
    let appended = TraceKind::Appends;
    while !last.message().await.unwrap().unwrap().events.iter().any(|event| event.kind() == appended) {}
    traces.push(last);
    nodes.stop(leader).await;
    for mut trace in traces {
        while let Ok(Some(_)) = trace.message().await {}
    }
    nodes.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commit_orders_are_held_back_only_in_a_rehearsal() {
    let nodes = Nodes::start_with(1, |config| config.rehearsal = false).await;
    let leader = nodes.leader().await;
    let hold = |hold| HoldCommitRequest { route: Some(ROUTE), hold };
    let refused = nodes.cluster(leader).hold_commit(hold(true)).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    assert!(refused.message().contains("rehearsal = true"), "{refused}");
    nodes.cluster(leader).hold_commit(hold(false)).await.expect("that plants nothing");
    nodes.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn held_commit_orders_show_in_the_replicas_logs() {
    let nodes = Nodes::start(3).await;
    let leader = nodes.leader().await;
    let hold = |hold| HoldCommitRequest { route: Some(ROUTE), hold };
    nodes.cluster(leader).hold_commit(hold(true)).await.unwrap();
    let (key, follower) = (txn(Txn::new().put("held", 1, "x"), None), (leader + 1) % 3);
    let mut kv = nodes.kv(leader);
    let writing = tokio::spawn(async move { kv.txn(key).await });
    let show = || async {
        let request = ShowLogRequest { route: Some(ROUTE), from_offset: 0, limit: 100 };
        let shown = nodes.cluster(follower).show_log(request).await.unwrap().into_inner();
        shown.lines.into_iter().find(|line| line.summary.contains("held"))
    };
    let line = eventually("the entry is in the replica's log", show).await;
    assert!(!line.committed && !line.applied, "intermediate: {line:?}");
    nodes.cluster(leader).hold_commit(hold(false)).await.unwrap();
    assert!(writing.await.unwrap().unwrap().into_inner().success);
    eventually("the entry is applied there", || async { show().await.filter(|line| line.applied) }).await;
    nodes.stop_all().await;
}

/// It was taken for clocks that are apart, and raised a problem at every node that it came to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_centuries_ahead_is_a_bad_argument_and_nobodys_problem() {
    let nodes = Nodes::start(1).await;
    nodes.leader().await;
    for identity in
        [Identity::user("x", i64::MAX, 1, [0; 16]), Identity::session([1; 16], 1 << 60, 1, 1, 1, [0; 16])]
    {
        let refused = nodes.kv(0).txn(txn(Txn::new().put("k", 1, "x"), Some(identity))).await;
        let why = told(refused, FailureReason::Invalid, Code::InvalidArgument);
        assert!(why.starts_with("identity.") && why.contains("a hundred years"), "{why}");
    }
    assert_eq!(nodes.status(0).await.unwrap().problem, "");
    nodes.stop_all().await;
}
