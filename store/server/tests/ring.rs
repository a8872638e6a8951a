//! A ring of three shards of three nodes each, or on three nodes with a replica of each: any node answers for any key, over the hops
//! of theory; a request that means another ring, group or cluster is refused.
#![allow(clippy::unwrap_used, clippy::panic)]

mod fixture;

use bytes::Bytes;
use fixture::eventually;
use fixture::ring::RingNodes;
use proto::hash::ring_hash;
use proto::store::kv_client::KvClient;
use proto::store::outcome_response::Verdict;
use proto::store::{
    DeleteRequest, DeleteVersionRequest, FailureReason, GetRequest, Identity, OutcomeRequest,
    PipelineRequest, Route, ScanRequest, SetRequest, Status as Outcome, StatusRequest, StatusResponse,
    TestAndSetRequest, Txn, TxnRequest, pipeline_request, pipeline_response, scan_request,
};
use store_client::failure::failure_from;
use store_client::{Range, Store, StoreExt, request_identity};
use store_core::ring::{Ring, RoutingTable};
use store_server::Routing;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

/// It names no group: any node may be asked.
const ANYWHERE: Option<Route> = Some(Route::to(0, 0));

fn key(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn hops<T>(answer: &Response<T>) -> Option<usize> {
    answer.metadata().get("feira-hops").map(|hops| hops.to_str().unwrap().parse().unwrap())
}

async fn set(
    kv: &mut KvClient<Channel>,
    text: &str,
    identity: Option<Identity>,
) -> Result<Response<proto::store::WriteResponse>, Status> {
    let request = SetRequest { route: ANYWHERE, key: key(text), timestamp_ms: 7, data: key("one"), identity };
    kv.set(request).await
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, FailureReason, String) {
    let status = answer.unwrap_err();
    (status.code(), failure_from(&status).reason(), status.message().to_owned())
}

/// One key of each shard of a ring of three, by slot.
fn keys_of_shards() -> Vec<String> {
    let ring = Ring::even(3).unwrap();
    let of =
        |slot| (0..).map(|n| format!("k{n}")).find(|text| ring.owner(ring_hash(text.as_bytes())) == slot);
    (0..3).map(|slot| of(slot).unwrap()).collect()
}

/// Every operation on a key that was never used, at a node that is so many hops from its shard. An error: the shard's leader changed,
/// as it may where many tests share a machine.
async fn every_operation(kv: &mut KvClient<Channel>, text: &str, away: usize) -> Result<(), Status> {
    let id = request_identity([1; 16]);
    let answer = set(kv, text, Some(id.clone())).await?;
    assert_eq!(hops(&answer).unwrap_or(0), away, "{text}");
    assert_eq!((answer.get_ref().status(), answer.get_ref().version), (Outcome::Success, 1));
    assert_eq!(set(kv, text, None).await?.get_ref().status(), Outcome::Error, "it is there");
    let get = GetRequest { route: ANYWHERE, key: key(text), freshness: None };
    let got = kv.get(get).await?.into_inner();
    assert_eq!((got.status(), &got.record.unwrap().data[..]), (Outcome::Success, &b"one"[..]));

    let change = TestAndSetRequest {
        route: ANYWHERE,
        key: key(text),
        data: key("two"),
        timestamp_ms: 8,
        version: 1,
        identity: None,
    };
    assert_eq!(kv.test_and_set(change.clone()).await?.get_ref().status(), Outcome::Success);
    assert_eq!(kv.test_and_set(change).await?.get_ref().status(), Outcome::ErrorWv);
    let delete = DeleteVersionRequest { route: ANYWHERE, key: key(text), version: 1, identity: None };
    assert_eq!(kv.delete_version(delete).await?.get_ref().status(), Outcome::ErrorWv);
    let txn = Some(Txn::new().put(key(text), 9, "three"));
    let txn = TxnRequest { route: ANYWHERE, txn, identity: None };
    assert!(kv.txn(txn).await?.get_ref().success);
    let delete = DeleteRequest { route: ANYWHERE, key: key(text), identity: None };
    assert_eq!(kv.delete(delete.clone()).await?.get_ref().status(), Outcome::Success);
    assert_eq!(kv.delete(delete).await?.get_ref().status(), Outcome::Error);
    let outcome = OutcomeRequest { route: ANYWHERE, tag: key(text), identity: Some(id) };
    assert_eq!(kv.outcome(outcome).await?.get_ref().verdict(), Verdict::Done);
    Ok(())
}

#[tokio::test]
async fn any_node_answers_every_operation_for_any_key() {
    let nodes = RingNodes::start(3, 3, Routing::Full).await;
    for at in 0..9 {
        let mut kv = nodes.kv(at);
        for (slot, of_shard) in keys_of_shards().iter().enumerate() {
            let away = usize::from(at / 3 != slot);
            for attempt in 0.. {
                // In braces, so that it is of that shard for every node that asks.
                let text = format!("{{{of_shard}}}{of_shard}/{at}/{attempt}");
                let Err(status) = every_operation(&mut kv, &text, away).await else { break };
                let reason = failure_from(&status).reason();
                let leader_changed =
                    matches!(reason, FailureReason::UnknownOutcome | FailureReason::NotLeader);
                assert!(leader_changed && attempt < 10, "{at} for shard {slot}: {status}");
            }
        }
    }
    nodes.stop_all().await;
}

#[tokio::test]
async fn requests_arrive_over_the_hops_of_theory_with_every_table() {
    for routing in [Routing::Full, Routing::Fingers, Routing::Neighbours] {
        let table = match routing {
            Routing::Full => RoutingTable::Full,
            Routing::Fingers => RoutingTable::Fingers,
            Routing::Neighbours => RoutingTable::Neighbours,
        };
        let (count, mut most) = (6, 0);
        let nodes = RingNodes::start(count, 1, routing).await;
        let ring = Ring::even(count).unwrap();
        for at in 0..count {
            let mut kv = nodes.kv(at);
            for text in (0..20).map(|n| format!("{at}-{n}")) {
                let owner = ring.owner(ring_hash(text.as_bytes()));
                let (mut place, mut expected) = (at, 0);
                while let Some(next) = ring.next(table, place, owner) {
                    (place, expected) = (next, expected + 1);
                }
                let answer = set(&mut kv, &text, None).await.unwrap();
                assert_eq!(hops(&answer).unwrap_or(0), expected, "{routing:?}: {text} from {at} to {owner}");
                let get = GetRequest { route: ANYWHERE, key: key(&text), freshness: None };
                assert_eq!(kv.get(get).await.unwrap().get_ref().status(), Outcome::Success);
                most = most.max(expected);
            }
        }
        assert!((1..=table.hops_max(count)).contains(&most), "{routing:?}: {most}");
        nodes.stop_all().await;
    }
}

#[tokio::test]
async fn what_means_another_ring_group_or_cluster_is_refused() {
    let nodes = RingNodes::start(3, 1, Routing::Neighbours).await;
    let keys = keys_of_shards();
    let mut kv = nodes.kv(0);
    let get = |route, text: &str| GetRequest { route: Some(route), key: key(text), freshness: None };

    // The owner's group may be named at any node; another may not, wherever.
    kv.get(get(Route::to(2, 1), &keys[1])).await.unwrap();
    for (asked, of) in [(3, &keys[1]), (2, &keys[0]), (9, &keys[0])] {
        let (code, reason, _) = refused(kv.get(get(Route::to(asked, 1), of)).await);
        assert_eq!((code, reason), (Code::FailedPrecondition, FailureReason::WrongRoute), "{asked}: {of}");
    }
    let (_, reason, why) = refused(kv.get(get(Route::to(0, 2), &keys[1])).await);
    assert!(reason == FailureReason::WrongRoute && why.contains("ring version"), "{why}");
    let stranger = Route { cluster_id: 77, ..Route::to(0, 0) };
    assert_eq!(refused(kv.get(get(stranger, &keys[1])).await).1, FailureReason::WrongCluster);
    assert_eq!(refused(kv.get(get(stranger, &keys[0])).await).1, FailureReason::WrongCluster);

    // A request that goes round ends.
    let counted = |hops: &'static str| {
        let mut request = Request::new(get(Route::to(0, 0), &keys[1]));
        request.metadata_mut().insert("feira-hops", hops.parse().unwrap());
        request
    };
    let (_, reason, why) = refused(kv.get(counted("1")).await);
    assert!(reason == FailureReason::WrongRoute && why.contains("1 hops"), "{why}");
    assert_eq!(refused(kv.get(counted("some")).await).1, FailureReason::Invalid);

    // A stream is for one shard: its handle knows the ring.
    let elsewhere = nodes.handle_on_wrong_shard();
    let error = elsewhere.read(key(&keys[1])).await.unwrap_err();
    assert!(error.is_retry(), "{error}");
    nodes.stop_all().await;
}

#[tokio::test]
async fn a_scan_without_a_group_goes_through_all_shards_in_order() {
    let nodes = RingNodes::start(3, 1, Routing::Full).await;
    let sharded = nodes.sharded();
    let mut all: Vec<String> = (0..40).map(|n| format!("s/{{{n:02}}}/{}", n % 7)).collect();
    for text in &all {
        assert!(sharded.txn(Txn::new().put(key(text), 1, "x"), None).await.unwrap().success);
    }
    all.sort();
    let owners = all.iter().map(|text| sharded.group_of(text.as_bytes()));
    assert_eq!(owners.collect::<std::collections::BTreeSet<_>>().len(), 3, "every shard has some");
    for limit in [1, 3, 7, 100] {
        let (mut seen, mut after) = (Vec::new(), Bytes::new());
        loop {
            let request = ScanRequest {
                route: ANYWHERE,
                range: Some(scan_request::Range::Prefix(key("s/"))),
                limit,
                after,
                freshness: None,
            };
            let page = nodes.kv(1).scan(request).await.unwrap().into_inner();
            assert!(page.records.len() <= limit as usize);
            seen.extend(
                page.records.into_iter().map(|record| String::from_utf8(record.key.to_vec()).unwrap()),
            );
            after = page.next;
            if after.is_empty() {
                break;
            }
        }
        assert_eq!(seen, all, "by {limit}");
    }
    // With a group: what that one has.
    let page = |group| ScanRequest {
        route: Some(Route::to(group, 1)),
        range: Some(scan_request::Range::Prefix(Bytes::new())),
        ..ScanRequest::default()
    };
    let one =
        eventually("shard 2 to lead", || async { nodes.kv(1).scan(page(2)).await.ok() }).await.into_inner();
    assert!(!one.records.is_empty() && one.records.iter().all(|it| sharded.group_of(&it.key) == 2));
    assert_eq!(refused(nodes.kv(1).scan(page(1)).await).1, FailureReason::WrongRoute);
    let mixed = sharded.scan(
        Range::Prefix(Bytes::new()),
        9,
        None,
        proto::store::Freshness::linearizable().with_min_offset(3),
    );
    assert!(mixed.await.unwrap_err().to_string().contains("min_offset"));
    nodes.stop_all().await;
}

#[tokio::test]
async fn the_ring_answers_while_one_node_of_every_shard_is_down() {
    let mut nodes = RingNodes::start(3, 3, Routing::Neighbours).await;
    let sharded = nodes.sharded();
    for (at, text) in keys_of_shards().iter().enumerate() {
        sharded.set(key(text), 1, key("x"), Some(request_identity([2; 16]))).await.unwrap();
        // The leader, so that the others elect.
        let leader = sharded.shard(at).leader().unwrap().node;
        nodes.stop(usize::try_from(leader).unwrap() - 1).await;
    }
    let up: Vec<usize> = nodes.running().collect();
    assert_eq!(up.len(), 6);
    for at in up {
        for text in keys_of_shards() {
            let found = eventually("an answer", || async {
                let get = GetRequest { route: ANYWHERE, key: key(&text), freshness: None };
                nodes.kv(at).get(get).await.ok()
            });
            assert_eq!(found.await.get_ref().status(), Outcome::Success, "{text} by {at}");
        }
    }
    nodes.stop_all().await;
}

/// Keys of two shards of three.
fn two_shards() -> (String, String) {
    let keys = keys_of_shards();
    (format!("a/{{{}}}", keys[0]), format!("b/{{{}}}", keys[2]))
}

#[tokio::test]
async fn a_transaction_over_several_shards_is_all_or_nothing_and_done_once() {
    let nodes = RingNodes::start(3, 1, Routing::Full).await;
    let sharded = nodes.sharded();
    let (here, there) = two_shards();
    let id = request_identity([5; 16]);
    let both = || Txn::new().put(key(&here), 1, r#"{"n":5}"#).put(key(&there), 1, r#"{"n":0}"#);
    let done = sharded.txn(both(), Some(id.clone())).await.unwrap();
    assert!(done.success && !done.remembered && done.results.len() == 2, "{done:?}");
    let again = sharded.txn(both(), Some(id.clone())).await.unwrap();
    assert!(again.success && again.remembered && again.results == done.results, "{again:?}");
    for at in [&here, &there] {
        assert_eq!(sharded.read(key(at)).await.unwrap().record.unwrap().version, 1, "{at}: written once");
    }
    let outcome = sharded.outcome(key(&here), id).await.unwrap();
    assert_eq!(outcome.verdict(), Verdict::Done);

    // A guard that fails, at the group that decides or at the other: nothing is done, and the indices are those of the whole.
    let moved = |from: i64| {
        Txn::new()
            .guard_exists(key(&here))
            .guard_json(key(&there), "/n", from.to_string())
            .add(key(&here), 2, "/n", -2, Some(0))
            .add(key(&there), 2, "/n", 2, None)
    };
    let refused = sharded.txn(moved(7), None).await.unwrap();
    assert_eq!(
        (refused.success, refused.failed.len(), refused.failed[0].index),
        (false, 1, 1),
        "{refused:?}"
    );
    assert!(sharded.txn(moved(0), None).await.unwrap().success);
    assert!(sharded.txn(moved(2), None).await.unwrap().success);
    let short = sharded.txn(moved(4), None).await.unwrap();
    assert!(!short.success && short.failed[0].operation && short.failed[0].index == 0, "{short:?}");
    let data =
        |record: Option<proto::store::Record>| String::from_utf8(record.unwrap().data.to_vec()).unwrap();
    let read = async |at: &str| data(sharded.read(key(at)).await.unwrap().record);
    assert_eq!((read(&here).await.as_str(), read(&there).await.as_str()), (r#"{"n":1}"#, r#"{"n":4}"#));

    // Several records in one picture.
    let both = sharded.txn(Txn::new().get(key(&here)).get(key(&there)), None).await.unwrap();
    let seen: Vec<String> = both.results.into_iter().map(|one| data(one.record)).collect();
    assert_eq!(seen, [r#"{"n":1}"#, r#"{"n":4}"#]);
    // By a node of a third shard, too.
    let txn = Some(Txn::new().put(key(&here), 3, "x").delete(key(&there)));
    let request = TxnRequest { route: ANYWHERE, txn, identity: None };
    assert!(nodes.kv(1).txn(request).await.unwrap().get_ref().success);
    assert!(sharded.read(key(&there)).await.unwrap().record.is_none());
    nodes.stop_all().await;
}

/// What one account holds.
async fn balance(store: &store_client::Sharded, account: &str) -> i64 {
    let record = store.read(key(account)).await.unwrap().record.unwrap();
    let text = String::from_utf8(record.data.to_vec()).unwrap();
    text.trim_start_matches("{\"n\":").trim_end_matches('}').parse().unwrap()
}

/// Moves units between any two accounts until told to stop.
async fn move_money(
    seed: u64,
    store: store_client::Sharded,
    accounts: Vec<String>,
    done: std::sync::Arc<std::sync::atomic::AtomicU64>,
    stopped: tokio::sync::watch::Receiver<bool>,
) {
    let mut random = fastrand::Rng::with_seed(seed);
    while !*stopped.borrow() {
        let (from, to) = (random.usize(..accounts.len()), random.usize(..accounts.len()));
        if from == to {
            continue;
        }
        let txn = Txn::new()
            .guard_exists(key(&accounts[from]))
            .add(key(&accounts[from]), 1, "/n", -1, Some(0))
            .add(key(&accounts[to]), 1, "/n", 1, None);
        let id = request_identity([7; 16]);
        let moved = loop {
            match store.txn(txn.clone(), Some(id.clone())).await {
                Ok(moved) => break moved,
                Err(error) => assert!(!matches!(error, store_client::Error::Refused { .. }), "{error}"),
            }
        };
        done.fetch_add(u64::from(moved.success), std::sync::atomic::Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transfers_over_shards_conserve_the_sum_while_leaders_stop() {
    let nodes = RingNodes::start(3, 3, Routing::Full).await;
    transfers_conserve_the_sum(nodes, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transfers_conserve_the_sum_while_nodes_with_replicas_of_all_shards_stop() {
    let nodes = RingNodes::start_shared(3, 3, Routing::Full).await;
    transfers_conserve_the_sum(nodes, true).await;
}

/// A node with replicas of all shards starts again before the next one stops.
async fn transfers_conserve_the_sum(mut nodes: RingNodes, is_shared: bool) {
    const ACCOUNTS: usize = 6;
    let sharded = nodes.sharded();
    let accounts: Vec<String> = (0..ACCOUNTS).map(|n| format!("acc/{{{n}}}")).collect();
    for account in &accounts {
        assert!(sharded.txn(Txn::new().put(key(account), 1, r#"{"n":10}"#), None).await.unwrap().success);
    }
    let done = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let stop = tokio::sync::watch::Sender::new(false);
    let movers = (0..8u64).map(|mover| {
        tokio::spawn(move_money(
            mover,
            sharded.clone(),
            accounts.clone(),
            std::sync::Arc::clone(&done),
            stop.subscribe(),
        ))
    });
    let movers: Vec<_> = movers.collect();
    for round in 0..3 {
        let before = done.load(std::sync::atomic::Ordering::Relaxed);
        eventually("transfers go on", || async {
            (done.load(std::sync::atomic::Ordering::Relaxed) > before + 50).then_some(())
        })
        .await;
        let leader = sharded.shard(round).leader().map(|leader| usize::try_from(leader.node).unwrap() - 1);
        if let Some(leader) = leader {
            nodes.stop(leader).await;
        }
        // One picture of all of them, at any time.
        let all = accounts.iter().fold(Txn::new(), |txn, account| txn.get(key(account)));
        let seen = sharded.txn(all, Some(request_identity([8; 16]))).await.unwrap();
        let sum: i64 = seen
            .results
            .iter()
            .map(|one| {
                let text = String::from_utf8(one.record.clone().unwrap().data.to_vec()).unwrap();
                text.trim_start_matches("{\"n\":").trim_end_matches('}').parse::<i64>().unwrap()
            })
            .sum();
        assert_eq!(sum, 10 * i64::try_from(ACCOUNTS).unwrap(), "round {round}");
        if let Some(leader) = leader.filter(|_| is_shared) {
            nodes.start_again(leader).await;
        }
    }
    stop.send_replace(true);
    for mover in movers {
        mover.await.unwrap();
    }
    let mut sum = 0;
    for account in &accounts {
        let balance = balance(&sharded, account).await;
        assert!(balance >= 0, "{account}: {balance}");
        sum += balance;
    }
    assert_eq!(sum, 10 * i64::try_from(ACCOUNTS).unwrap());
    nodes.stop_all().await;
}

/// What a node says of its replica of a group.
async fn status(nodes: &RingNodes, at: usize, group: u64) -> StatusResponse {
    let request = StatusRequest { route: Some(Route::to(group, 1)) };
    nodes.cluster(at).status(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn a_node_with_replicas_of_all_shards_answers_for_each_of_them() {
    let nodes = RingNodes::start_shared(3, 3, Routing::Full).await;
    for (at, group) in (0..3).flat_map(|at| (1..=3).map(move |group| (at, group))) {
        let told = status(&nodes, at, group).await;
        assert_eq!((told.node, told.route.unwrap().group), (at as u64 + 1, group));
        // The leaders are spread over the nodes, as they were asked to be.
        let led = eventually("the preferred leader", || async {
            let told = status(&nodes, at, group).await;
            told.leader.filter(|leader| leader.node == group)
        });
        led.await;
    }
    for at in 0..3 {
        let mut kv = nodes.kv(at);
        for of_shard in keys_of_shards() {
            for attempt in 0.. {
                let text = format!("{{{of_shard}}}{of_shard}/{at}/{attempt}");
                let Err(status) = every_operation(&mut kv, &text, 0).await else { break };
                let reason = failure_from(&status).reason();
                assert!(reason == FailureReason::UnknownOutcome && attempt < 10, "{at}: {status}");
            }
        }
        for text in keys_of_shards() {
            let text = format!("{{{text}}}{at}");
            eventually("a record", || async { set(&mut nodes.kv(at), &text, None).await.ok() }).await;
        }
        // Of a group that no node has.
        let get = GetRequest { route: Some(Route::to(9, 1)), key: key("k"), freshness: None };
        assert_eq!(refused(kv.get(get).await).1, FailureReason::WrongRoute);
        // Each replica has the records of its own shard only.
        for group in 1..=3 {
            let page = || ScanRequest {
                route: Some(Route::to(group, 1)),
                range: Some(scan_request::Range::Prefix(Bytes::new())),
                freshness: Some(proto::store::Freshness::stale()),
                ..ScanRequest::default()
            };
            let kv = nodes.kv(at);
            let found = eventually("records", || async {
                let page = kv.clone().scan(page()).await.ok()?.into_inner();
                (!page.records.is_empty()).then_some(page)
            });
            let sharded = nodes.sharded();
            assert!(found.await.records.iter().all(|record| sharded.group_of(&record.key) == group));
        }
    }
    nodes.stop_all().await;
}

#[tokio::test]
async fn a_stream_is_of_the_replica_that_its_first_request_names() {
    let nodes = RingNodes::start_shared(3, 1, Routing::Full).await;
    let keys = keys_of_shards();
    for (slot, text) in keys.iter().enumerate() {
        let mut kv = nodes.kv(0);
        set(&mut kv, text, None).await.unwrap();
        let route = Some(Route::to(slot as u64 + 1, 1));
        let get = GetRequest { route, key: key(text), freshness: None };
        let request = pipeline_request::Request::Get(get);
        let request = PipelineRequest { number: 7, request: Some(request) };
        let mut answers = kv.pipeline(tokio_stream::iter([request])).await.unwrap().into_inner();
        let answer = answers.message().await.unwrap().unwrap();
        let Some(pipeline_response::Response::Get(got)) = answer.response else { panic!("{answer:?}") };
        assert_eq!((answer.number, got.status()), (7, Outcome::Success), "shard {slot}");
        assert!(answers.message().await.unwrap().is_none());
    }
    // A stream that ends before it began.
    let mut answers = nodes.kv(0).pipeline(tokio_stream::empty()).await.unwrap().into_inner();
    assert!(answers.message().await.unwrap().is_none());
    nodes.stop_all().await;
}

#[tokio::test]
async fn what_cannot_be_of_one_node_is_refused() {
    let (_stopper, stop) = store_server::stop();
    let ring = vec![store_server::ShardNodes { nodes: vec!["localhost:1".to_owned()] }; 2];
    let config = store_server::Config { folder: "nowhere".into(), ring, ..store_server::Config::default() };
    let other = store_server::Config { node: 2, ..config.clone() };
    for (configs, why) in [
        (vec![], "without a replica"),
        (vec![config.clone(), config.clone()], "1 is there twice"),
        (vec![config.clone(), store_server::Config { group: 2, ..other }], "replicas of one node"),
    ] {
        let keys = tokio::sync::watch::channel(fixture::key()).1;
        let served = store_server::serve_all(configs, keys, stop.clone(), Box::new(|_| {})).await;
        let error = served.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}
