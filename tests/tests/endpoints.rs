//! Every gRPC endpoint as a stranger finds it: reflection and health; each reason of a failure with its status and
//! details, as docs/SCHEMA.md and the store's schema have them; nonsense, large messages, wrong routes and wrong
//! peers get a clear error, and nothing dies of them.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use feira_tests::cluster::{Cluster, Options, PATIENCE};
use feira_tests::peer::{begin, hello};
use feira_tests::shop::{
    Refusal, insert_client, insert_product, lines, order, patient, refusal, refused, request_id,
};
use feira_tests::shopper::{Shop, Via};
use feira_tests::wait;
use futures::StreamExt;
use nix::sys::signal::Signal;
use proto::portal::{
    CreateOrderRequest, GetClientRequest, InsertClientRequest, ModifyOrderRequest, OrderRequest,
};
use proto::store::kv_client::KvClient;
use proto::store::replication_client::ReplicationClient;
use proto::store::{
    AuditRequest, CallKind, FetchSnapshotRequest, Frame, Freshness, GetRequest, Hello, HoldCommitRequest,
    Identity, OutcomeRequest, Peer, Position, Route, SetRequest, Status as Outcome, StatusRequest, Txn,
    TxnRequest, VoteRequest,
};
use store_client::{Store, StoreExt, request_identity};
use store_keys::ClusterKey;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1alpha;
use tonic_reflection::pb::v1alpha::server_reflection_client::ServerReflectionClient as OlderReflectionClient;
use tonic_types::StatusExt;

const ROUTE: Option<Route> = Some(Route::to(1, 1));

fn only_store(nodes: u64) -> Options {
    Options { nodes, admin_portals: 0, client_portals: 0, ..Options::default() }
}

fn set(key: &'static str) -> SetRequest {
    let (key, data) = (Bytes::from_static(key.as_bytes()), Bytes::from_static(b"x"));
    SetRequest { route: ROUTE, key, timestamp_ms: 1, data, identity: None }
}

fn put(identity: Identity) -> TxnRequest {
    TxnRequest { route: ROUTE, txn: Some(Txn::new().put("k", 1, "x")), identity: Some(identity) }
}

/// What reflection answers to one question.
async fn reflected(cluster: &Cluster, name: &str, question: MessageRequest) -> MessageResponse {
    let ask = ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    let mut reflection = ServerReflectionClient::new(cluster.channel(name));
    let answers = reflection.server_reflection_info(futures::stream::iter([ask])).await.unwrap();
    answers.into_inner().next().await.unwrap().unwrap().message_response.unwrap()
}

/// The services that the version of reflection before the first whole one lists.
async fn listed_to_older_tools(cluster: &Cluster, name: &str) -> Vec<String> {
    let question = v1alpha::server_reflection_request::MessageRequest::ListServices(String::new());
    let ask = v1alpha::ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    let mut reflection = OlderReflectionClient::new(cluster.channel(name));
    let answers = reflection.server_reflection_info(futures::stream::iter([ask])).await.unwrap();
    let answer = answers.into_inner().next().await.unwrap().unwrap().message_response.unwrap();
    let v1alpha::server_reflection_response::MessageResponse::ListServicesResponse(listed) = answer else {
        panic!("{name}: {answer:?}")
    };
    let mut listed: Vec<String> = listed.service.into_iter().map(|one| one.name).collect();
    listed.retain(|service| !service.starts_with("grpc."));
    listed.sort();
    listed
}

#[tokio::test]
async fn every_endpoint_lists_what_it_serves_and_is_serving() {
    let cluster = Cluster::start(feira_tests::feira!(), Options::default()).await;
    let store = ["feira.store.v1.Cluster", "feira.store.v1.Kv", "feira.store.v1.Replication"];
    let admin = ["feira.portal.v1.Admin", "feira.portal.v1.Portal"];
    let shop = ["feira.portal.v1.Portal", "feira.portal.v1.Shop"];
    for (name, own) in [
        ("node-1", &store[..]),
        ("node-2", &store[..]),
        ("node-3", &store[..]),
        ("admin-1", &admin[..]),
        ("client-1", &shop[..]),
    ] {
        let listed = reflected(&cluster, name, MessageRequest::ListServices(String::new())).await;
        let MessageResponse::ListServicesResponse(listed) = listed else { panic!("{name}: {listed:?}") };
        let mut listed: Vec<String> = listed.service.into_iter().map(|one| one.name).collect();
        listed.retain(|service| !service.starts_with("grpc."));
        listed.sort();
        assert_eq!(listed, own, "{name} lists what it serves, and nothing else");
        assert_eq!(listed_to_older_tools(&cluster, name).await, own, "{name}, asked by an older tool");
        for service in own.iter().copied().chain([""]) {
            let request = HealthCheckRequest { service: service.to_owned() };
            let health = HealthClient::new(cluster.channel(name)).check(request).await.unwrap().into_inner();
            assert_eq!(health.status, 1, "{service:?} of {name} is SERVING");
        }
        for service in own {
            let question = MessageRequest::FileContainingSymbol((*service).to_owned());
            let file = reflected(&cluster, name, question).await;
            let MessageResponse::FileDescriptorResponse(file) = file else { panic!("{service}: {file:?}") };
            assert!(!file.file_descriptor_proto.is_empty(), "{service} is described");
        }
        let request = HealthCheckRequest { service: "no.such.Service".to_owned() };
        let unknown = HealthClient::new(cluster.channel(name)).check(request).await.unwrap_err();
        assert_eq!(unknown.code(), Code::NotFound);
    }
    // What is not served there is said to be so.
    let misplaced = proto::portal::admin_client::AdminClient::new(cluster.channel("client-1"))
        .get_client(GetClientRequest { cid: "ana".into() })
        .await;
    assert_eq!(misplaced.unwrap_err().code(), Code::Unimplemented);
    let misplaced = KvClient::new(cluster.channel("admin-1")).set(set("k")).await;
    assert_eq!(misplaced.unwrap_err().code(), Code::Unimplemented);
}

/// Ids that were used for something else, are too old, are of the future, or were closed.
async fn refuses_ids(kv: &mut KvClient<Channel>) {
    let identity = request_identity([1; 16]);
    kv.txn(put(identity.clone())).await.unwrap();
    let reused = Identity { digest: Bytes::from_static(&[2; 16]), ..identity };
    assert_eq!(refusal(kv.txn(put(reused)).await).class(), (Code::AlreadyExists, "ID_REUSED"));
    let old = Identity::user(Bytes::from_static(b"old"), 1, 1, [1; 16]);
    assert_eq!(refusal(kv.txn(put(old)).await).class(), (Code::FailedPrecondition, "EXPIRED_ID"));
    let an_hour_ahead = store_client::now_ms() + 3_600_000;
    let future = Identity::user(Bytes::from_static(b"future"), an_hour_ahead, 1, [1; 16]);
    assert_eq!(refusal(kv.txn(put(future)).await).class(), (Code::Unavailable, "CLOCKS_APART"));
    let closed = request_identity([1; 16]);
    let tag = Bytes::from_static(b"k");
    kv.outcome(OutcomeRequest { route: ROUTE, tag, identity: Some(closed.clone()) }).await.unwrap();
    assert_eq!(refusal(kv.txn(put(closed)).await).class(), (Code::FailedPrecondition, "CLOSED_ID"));
}

#[tokio::test]
async fn every_reason_of_the_store_has_its_status_and_details() {
    let cluster = Cluster::start(feira_tests::feira!(), only_store(3)).await;
    let leader = cluster.leader().await;
    let follower = cluster.nodes().into_iter().find(|node| *node != leader).unwrap();
    let mut kv = cluster.kv(&leader);

    let invalid = refusal(kv.set(SetRequest { key: Bytes::new(), ..set("k") }).await);
    assert_eq!(
        (invalid.class(), &invalid.fields[..]),
        ((Code::InvalidArgument, "INVALID"), &["key".to_owned()][..])
    );
    let invalid = refusal(kv.set(SetRequest { route: None, ..set("k") }).await);
    assert_eq!((invalid.code, invalid.fields[0].as_str()), (Code::InvalidArgument, "route"));
    let wait = wait::until("the follower to know the leader", PATIENCE, || async {
        let not_leader = refusal(cluster.kv(&follower).set(set("k")).await);
        assert_eq!(not_leader.class(), (Code::Unavailable, "NOT_LEADER"));
        let known = not_leader.metadata.contains_key("leader_address");
        if known { Ok(not_leader) } else { Err(format!("{not_leader:?}")) }
    });
    let not_leader = wait.await;
    assert_eq!(not_leader.says("leader_address"), cluster.address(&leader));
    assert_eq!(format!("node-{}", not_leader.says("leader_node")), leader);
    let status = cluster.kv(&follower).set(set("k")).await.unwrap_err();
    assert!(status.get_error_details().retry_info().is_some(), "when to ask again: {status:?}");
    for route in [Route::to(2, 1), Route::to(1, 9)] {
        let wrong = refusal(kv.set(SetRequest { route: Some(route), ..set("k") }).await);
        assert_eq!(wrong.class(), (Code::FailedPrecondition, "WRONG_ROUTE"));
        let request = StatusRequest { route: Some(route) };
        let wrong = refusal(cluster.operator(&follower).status(request).await);
        assert_eq!(wrong.class(), (Code::FailedPrecondition, "WRONG_ROUTE"));
    }

    refuses_ids(&mut kv).await;
    let key = Bytes::from_static(b"k");
    let beyond = |freshness: Freshness| {
        let freshness = Some(freshness.with_min_offset(1 << 40));
        GetRequest { route: ROUTE, key: key.clone(), freshness }
    };
    let behind = refusal(kv.get(beyond(Freshness::stale())).await);
    assert_eq!(behind.class(), (Code::Unavailable, "NOT_SERVING"));
    let future = refusal(kv.get(beyond(Freshness::linearizable())).await);
    assert_eq!(
        (future.class(), future.fields[0].as_str()),
        ((Code::InvalidArgument, "INVALID"), "freshness.min_offset")
    );
    let mut control = cluster.operator(&leader);
    let unknown = AuditRequest { route: ROUTE, id: Bytes::from_static(&[9; 16]) };
    assert_eq!(refused(control.audit(unknown).await.map(drop)).class(), (Code::NotFound, "NOT_HERE"));
    let hold = HoldCommitRequest { route: ROUTE, hold: true };
    let elsewhere = cluster.operator(&follower).hold_commit(hold).await;
    assert_eq!(refusal(elsewhere).class(), (Code::Unavailable, "NOT_LEADER"));
}

#[tokio::test]
async fn a_write_that_loses_its_majority_has_an_unknown_outcome_which_the_same_id_settles() {
    let cluster = Cluster::start(feira_tests::feira!(), only_store(3)).await;
    let identity = request_identity([1; 16]);
    let unknown = wait::until("a write to lose its majority", PATIENCE, || async {
        let leader = cluster.leader().await;
        let others: Vec<String> = cluster.nodes().into_iter().filter(|node| *node != leader).collect();
        let mut kv = cluster.kv(&leader);
        // Connected, so that the write is there before the leader can miss the others.
        kv.get(GetRequest {
            route: ROUTE,
            key: Bytes::from_static(b"k"),
            freshness: Some(Freshness::stale()),
        })
        .await
        .unwrap();
        others.iter().for_each(|node| cluster.signal(node, Signal::SIGSTOP));
        let lost = refusal(kv.txn(put(identity.clone())).await);
        others.iter().for_each(|node| cluster.signal(node, Signal::SIGCONT));
        if lost.reason == "UNKNOWN_OUTCOME" { Ok(lost) } else { Err(format!("{lost:?}")) }
    })
    .await;
    assert_eq!(unknown.code, Code::Unknown);
    let done = cluster.store().txn(Txn::new().put("k", 1, "x"), Some(identity)).await.unwrap();
    assert!(done.success);
    let found = cluster.store().read(Bytes::from_static(b"k")).await.unwrap();
    assert_eq!(found.record.unwrap().version, 1, "written once");
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_reads_go_on() {
    let options = Options { store: "disk_reserve_bytes = 17592186044416", ..only_store(1) };
    let cluster = Cluster::start(feira_tests::feira!(), options).await;
    cluster.leader().await;
    let mut kv = cluster.kv("node-1");
    let full = refusal(kv.set(set("k")).await);
    assert_eq!(full.class(), (Code::ResourceExhausted, "OUT_OF_SPACE"));
    let read = GetRequest { route: ROUTE, key: Bytes::from_static(b"k"), freshness: None };
    assert_eq!(kv.get(read).await.unwrap().into_inner().status(), Outcome::Error);
}

#[track_caller]
fn is_closing(refusal: &Refusal, kind: &str) {
    assert_eq!(
        (refusal.class(), refusal.says("kind")),
        ((Code::FailedPrecondition, "CLOSING"), kind),
        "{refusal:?}"
    );
}

#[tokio::test]
async fn a_shop_says_what_is_closing_damaged_or_was_closed_by_asking() {
    let cluster = Cluster::start(feira_tests::feira!(), Options::default()).await;
    let (mut admin, mut shop, store) = (cluster.admin(1), cluster.shop(1), cluster.store());
    for cid in ["ana", "bia"] {
        insert_client(&mut admin, cid).await.unwrap();
    }
    insert_product(&mut admin, "fig", 10, "1").await.unwrap();
    let made = order(&mut shop, "ana", &[("fig", 1)]).await.unwrap();

    // As a cascade that was interrupted after its first step leaves them.
    let closing = |key: &'static str| store.txn(Txn::new().set_json(key, 0, "/state", "\"closing\""), None);
    assert!(closing("p/{fig}").await.unwrap().success);
    is_closing(&refused(order(&mut shop, "bia", &[("fig", 1)]).await), "product");
    assert!(closing("c/{ana}").await.unwrap().success);
    is_closing(&refused(order(&mut shop, "ana", &[]).await), "client");
    let of = || OrderRequest {
        cid: "ana".into(),
        oid: made.oid.clone(),
        request: request_id(),
        ..OrderRequest::default()
    };
    is_closing(&refusal(shop.confirm_order(patient(of())).await), "client");
    is_closing(&refusal(shop.cancel_order(patient(of())).await), "client");
    let change = ModifyOrderRequest {
        cid: "ana".into(),
        oid: made.oid.clone(),
        lines: lines(&[("fig", 0)]),
        if_match: 0,
        request: request_id(),
        ..ModifyOrderRequest::default()
    };
    is_closing(&refusal(shop.modify_order(patient(change)).await), "client");

    for (key, data) in
        [("c/{odd}", "not JSON"), ("c/{new}", r#"{"state":"active","open_orders":0,"data":{},"x":1}"#)]
    {
        assert!(store.txn(Txn::new().put(key, 0, data), None).await.unwrap().success);
        let cid = key[3..key.len() - 1].to_owned();
        let damaged = refusal(admin.get_client(patient(GetClientRequest { cid })).await);
        assert_eq!((damaged.class(), damaged.says("key")), ((Code::Internal, "DAMAGED_RECORD"), key));
        assert!(!damaged.says("why").is_empty());
    }

    let request = request_id();
    let id = request.clone().unwrap();
    let identity = Identity::user(id.id.clone().into_bytes(), id.created_ms, 1, [0; 16]);
    store.outcome(Bytes::from_static(b"c/{late}"), identity).await.unwrap();
    let late = InsertClientRequest { cid: "late".into(), data: "{}".into(), request };
    let late = refusal(admin.insert_client(patient(late)).await);
    assert_eq!((late.class(), late.says("request")), ((Code::Aborted, "REQUEST_ID_CLOSED"), id.id.as_str()));
}

#[tokio::test]
async fn an_order_is_full_at_two_thousand_lines() {
    let cluster = Cluster::start(feira_tests::feira!(), Options::default()).await;
    let (admin, mut shop) = (cluster.admin(1), cluster.shop(1));
    insert_client(&mut admin.clone(), "ana").await.unwrap();
    let pids: Vec<String> = (0..2_001).map(|at| format!("p{at}")).collect();
    futures::stream::iter(&pids)
        .for_each_concurrent(64, |pid| {
            let mut admin = admin.clone();
            async move { drop(insert_product(&mut admin, pid, 1, "1").await.unwrap()) }
        })
        .await;
    let wanted: Vec<(&str, i64)> = pids.iter().map(|pid| (pid.as_str(), 1)).collect();
    let made = order(&mut shop, "ana", &wanted[..1_000]).await.unwrap();
    let change = |wanted: &[(&str, i64)]| ModifyOrderRequest {
        cid: "ana".into(),
        oid: made.oid.clone(),
        lines: lines(wanted),
        if_match: 0,
        request: request_id(),
        ..ModifyOrderRequest::default()
    };
    let full = shop.modify_order(patient(change(&wanted[1_000..2_000]))).await.unwrap().into_inner();
    assert_eq!((full.lines.len(), full.total.as_str()), (2_000, "2000.00"));
    for via in [Via::Grpc, Via::Http, Via::Mosquitto] {
        let mut shop = Shop::new(via, &cluster, "client-1");
        let over = refusal(shop.modify_order(patient(change(&wanted[2_000..]))).await);
        let class = (Code::FailedPrecondition, "ORDER_FULL");
        assert_eq!((over.class(), over.says("lines")), (class, "2001"), "{via:?}");
    }
    let many = refusal(
        shop.create_order(patient(CreateOrderRequest {
            cid: "ana".into(),
            lines: lines(&wanted),
            request: request_id(),
            ..CreateOrderRequest::default()
        }))
        .await,
    );
    assert_eq!((many.class(), many.fields[0].as_str()), ((Code::InvalidArgument, "INVALID_FIELD"), "lines"));
}

#[tokio::test]
async fn a_portal_with_too_much_to_do_says_so_and_goes_on() {
    let cluster = Cluster::start(feira_tests::feira!(), Options::default()).await;
    insert_client(&mut cluster.admin(1), "ana").await.unwrap();
    // Nobody answers the portal: requests pile up in it.
    cluster.nodes().iter().for_each(|node| cluster.signal(node, Signal::SIGSTOP));
    let admins: Vec<_> = (0..10).map(|_| cluster.admin(1)).collect();
    let asked = (0..5_000).map(|at| {
        let mut admin = admins[at % admins.len()].clone();
        let request = patient(GetClientRequest { cid: format!("c{at}") });
        tokio::spawn(async move { refused(admin.get_client(request).await.map(drop)) })
    });
    let mut overloaded = 0;
    for answer in asked.collect::<Vec<_>>() {
        let refused = answer.await.unwrap();
        match refused.reason.as_str() {
            "OVERLOADED" => {
                assert_eq!(refused.code, Code::ResourceExhausted);
                overloaded += 1;
            }
            _ => assert_eq!(refused.class(), (Code::Unavailable, "STORE_UNAVAILABLE")),
        }
    }
    assert!(overloaded > 0, "5,000 requests at once are more than one portal takes");
    cluster.nodes().iter().for_each(|node| cluster.signal(node, Signal::SIGCONT));
    wait::until("the portal to serve again", PATIENCE, || async {
        let answer = cluster.admin(1).get_client(patient(GetClientRequest { cid: "ana".into() })).await;
        answer.map(drop).map_err(|status| status.to_string())
    })
    .await;
}

/// What strangers send: nothing, noise, other protocols, and the right one badly.
fn nonsense() -> Vec<Vec<u8>> {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let noise: Vec<u8> = (0..65_536u32).map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[1]).collect();
    let huge_frame = [&preface[..], &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]].concat();
    let bad_headers =
        [&preface[..], &[0, 0, 0, 4, 0, 0, 0, 0, 0], &[0, 0, 4, 1, 4, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]]
            .concat();
    let get = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
    let tls = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    let mqtt_long = [&[0x10, 0xff, 0xff, 0xff, 0x7f][..], &noise[..1_000]].concat();
    let mqtt_bad = vec![0x30, 0x05, 0xff, 0xff, 1, 2, 3];
    vec![Vec::new(), noise, huge_frame, bad_headers, get, tls, mqtt_long, mqtt_bad, preface.to_vec()]
}

/// Sends bytes, says that no more will come, and reads what is answered until the other side closes or is silent.
fn shout(address: &str, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    // It may hang up in the middle: that is its right.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = [0; 4_096];
    while matches!(stream.read(&mut answer), Ok(bytes) if bytes > 0) {}
}

#[tokio::test]
async fn nonsense_on_any_port_kills_nothing() {
    let options = Options { embedded_broker: true, ..Options::default() };
    let mut cluster = Cluster::start(feira_tests::feira!(), options).await;
    let names = ["node-1", "node-2", "node-3", "admin-1", "client-1", "broker"];
    let addresses: Vec<String> = names.iter().map(|name| cluster.address(name).to_owned()).collect();
    let silent: Vec<TcpStream> =
        addresses.iter().map(|address| TcpStream::connect(address).unwrap()).collect();
    let shouting: Vec<_> = addresses
        .into_iter()
        .map(|address| {
            tokio::task::spawn_blocking(move || nonsense().iter().for_each(|it| shout(&address, it)))
        })
        .collect();
    for one in shouting {
        one.await.unwrap();
    }
    cluster.all_run();
    cluster.wait_until_live().await;
    insert_client(&mut cluster.admin(1), "ana").await.unwrap();
    order(&mut cluster.shop(1), "ana", &[]).await.unwrap();
    cluster.wait_until_equal().await;
    drop(silent);
    cluster.all_run();
}

#[tokio::test]
async fn messages_that_are_too_large_are_refused_and_the_next_is_served() {
    let mut cluster = Cluster::start(feira_tests::feira!(), Options::default()).await;
    let leader = cluster.leader().await;
    let (mut kv, mut admin) = (cluster.kv(&leader), cluster.admin(1));
    let large = SetRequest { data: vec![b'x'; 32 << 20].into(), ..set("k") };
    let long = refusal(kv.set(large).await);
    assert_eq!(long.class(), (Code::InvalidArgument, "INVALID"), "{long:?}");
    assert_eq!(long.fields, ["request"], "{long:?}");
    let request = InsertClientRequest { cid: "ana".into(), data: "x".repeat(8 << 20), request: None };
    let long = refusal(admin.insert_client(patient(request)).await);
    assert_eq!(long.class(), (Code::InvalidArgument, "INVALID_FIELD"), "{long:?}");
    assert_eq!(long.fields, ["request"], "{long:?}");
    let mut many = patient(GetClientRequest { cid: "ana".into() });
    many.metadata_mut().insert("x-long", "y".repeat(1 << 20).parse().unwrap());
    admin.get_client(many).await.unwrap_err();
    kv.set(set("k")).await.unwrap();
    insert_client(&mut admin, "ana").await.unwrap();
    cluster.all_run();
}

/// Who the nodes are: their incarnations, as the first start wrote them down.
fn incarnations(cluster: &Cluster) -> Vec<u64> {
    let text = std::fs::read_to_string(cluster.path().join("data/cluster.json")).unwrap();
    let founded: serde_json::Value = serde_json::from_str(&text).unwrap();
    let nodes = founded["nodes"].as_array().unwrap();
    nodes.iter().map(|node| node["incarnation"].as_u64().unwrap()).collect()
}

/// What another folder of node 2, which `right` introduces, is answered at node 1.
async fn other_folders_are_heard_with_more_in_their_log_only(
    cluster: &Cluster,
    key: &ClusterKey,
    right: Peer,
    other_folder: u64,
) {
    // Another folder of a node that is known may be the newer one: then it has more in its log, or leads.
    let other = Peer { incarnation: other_folder, ..right.clone() };
    let begun = begin(cluster.channel("node-1"), key, hello(key, CallKind::Vote, other));
    let last = Some(Position { epoch: 1, offset: 1 });
    let vote = VoteRequest { epoch: 1 << 20, last, pre: false, transferred: true };
    let asking = begun.await.unwrap().call(&vote);
    let other = refused(ReplicationClient::new(cluster.channel("node-1")).vote(asking).await.map(drop));
    assert_eq!(
        (other.class(), &other.fields[..]),
        ((Code::InvalidArgument, "INVALID"), &["peer.incarnation".to_owned()][..])
    );
    assert!(cluster.status("node-1").await.unwrap().epoch < 1 << 20, "none of it was listened to");
    let at = Some(Position { epoch: 1 << 40, offset: 1 << 40 });
    let fetch = FetchSnapshotRequest { at, snapshot: 0, from_byte: 0 };
    let begun = begin(cluster.channel("node-1"), key, hello(key, CallKind::Fetch, right)).await;
    let asking = begun.unwrap().call(&fetch);
    let none = ReplicationClient::new(cluster.channel("node-1")).fetch_snapshot(asking).await.map(drop);
    assert_eq!(refused(none).class(), (Code::NotFound, "NOT_HERE"));
}

#[tokio::test]
async fn peers_that_are_not_who_they_should_be_are_refused_by_field() {
    let mut cluster = Cluster::start(feira_tests::feira!(), only_store(3)).await;
    let who = incarnations(&cluster);
    let right = Peer {
        cluster: Bytes::from_static(b"test"),
        group: 1,
        ring_version: 1,
        node: 2,
        incarnation: who[1],
        to_node: 1,
        to_incarnation: who[0],
        address: String::new(),
    };
    let key = cluster.key();
    let with = |change: fn(&mut Peer)| {
        let mut peer = right.clone();
        change(&mut peer);
        hello(&key, CallKind::Vote, peer)
    };
    for (hello, field) in [
        (Hello { peer: None, ..with(|_| ()) }, "peer.cluster"),
        (Hello { cluster_id: key.id().get() ^ 1, ..with(|_| ()) }, "peer.cluster"),
        (Hello { kind: 0, ..with(|_| ()) }, "peer.kind"),
        (Hello { nonce: Bytes::new(), ..with(|_| ()) }, "peer.nonce"),
        (with(|peer| peer.cluster = Bytes::from_static(b"other")), "peer.cluster"),
        (with(|peer| peer.group = 2), "peer.group"),
        (with(|peer| peer.ring_version = 2), "peer.group"),
        (with(|peer| peer.to_node = 3), "peer.to_node"),
        (with(|peer| peer.to_incarnation ^= 1), "peer.to_incarnation"),
        (with(|peer| peer.node = 0), "peer.node"),
        (with(|peer| peer.node = 1), "peer.node"),
    ] {
        let mut peers = ReplicationClient::new(cluster.channel("node-1"));
        let frame = Frame { hello: Some(hello.clone()), number: 1, ..Frame::default() };
        for refused in [
            refused(peers.introduce(hello).await.map(drop)),
            refused(peers.vote(frame.clone()).await.map(drop)),
            refused(peers.fetch_snapshot(frame.clone()).await.map(drop)),
            refused(peers.push(futures::stream::iter([frame])).await.map(drop)),
        ] {
            assert_eq!(refused.class(), (Code::InvalidArgument, "INVALID"), "{refused:?}");
            assert!(refused.fields == [field] || refused.fields == ["peer.kind"], "{refused:?}");
        }
    }
    other_folders_are_heard_with_more_in_their_log_only(&cluster, &key, right, who[1] ^ 1).await;
    cluster.all_run();
    cluster.store().set(Bytes::from_static(b"k"), 0, Bytes::new(), None).await.unwrap();
    cluster.wait_until_equal().await;
}
