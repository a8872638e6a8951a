//! Callers that do not take their answers: the bytes held for them are bounded, are given back when they
//! are gone, and others are served meanwhile.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use feira_tests::caller::{Caller, begun, framed};
use feira_tests::cluster::{Cluster, Options, PATIENCE};
use feira_tests::shop::{insert_client, insert_product, order, patient};
use feira_tests::wait;
use proto::portal::{GetClientRequest, ListRequest};
use proto::store::pipeline_request::Request as Call;
use proto::store::scan_request::Range;
use proto::store::{Freshness, GetRequest, PipelineRequest, Route, ScanRequest, SetRequest, TxnRequest};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};

/// What a process may hold under any of these attacks.
const UNDER_ATTACK_MAX: u64 = 300 << 20;
/// And soon after.
const AFTERWARDS_MAX: u64 = 150 << 20;
const SOON: Duration = Duration::from_secs(30);
/// How long an attack goes on.
const ATTACK: Duration = Duration::from_secs(10);

const ROUTE: Option<Route> = Some(Route { group: 1, ring_version: 1, cluster_id: 0, log_id: 0 });

fn scan() -> ScanRequest {
    let range = Some(Range::Prefix(Bytes::from_static(b"large/")));
    ScanRequest {
        route: ROUTE,
        range,
        limit: 1_000,
        freshness: Some(Freshness::stale()),
        ..ScanRequest::default()
    }
}

/// Records of which a page of a scan is a mebibyte.
async fn fill(cluster: &Cluster, leader: &str) {
    let mut kv = cluster.kv(leader);
    for at in 0..4 {
        let data = Bytes::from(vec![b'x'; 300 << 10]);
        let key = Bytes::from(format!("large/{at}"));
        kv.set(patient(SetRequest { route: ROUTE, key, data, ..SetRequest::default() })).await.unwrap();
    }
}

/// What ordinary users wait: a hundred operations, one after the other.
async fn ordinary(cluster: &Cluster) -> Vec<Duration> {
    let (mut admin, mut shop) = (cluster.admin(1), cluster.shop(1));
    let mut waits = Vec::new();
    for at in 0..100 {
        let begun = Instant::now();
        if at % 4 == 0 {
            order(&mut shop, "ana", &[("fig", 1)]).await.unwrap();
        } else {
            admin.get_client(patient(GetClientRequest { cid: "ana".into() })).await.unwrap();
        }
        waits.push(begun.elapsed());
    }
    waits
}

/// The wait that one in a hundred exceeds.
fn p99(mut waits: Vec<Duration>) -> Duration {
    waits.sort_unstable();
    waits[waits.len() * 99 / 100 - 1]
}

/// What users wait while nobody attacks.
async fn undisturbed(cluster: &Cluster) -> Duration {
    let mut waits = Vec::new();
    for _ in 0..5 {
        waits.extend(ordinary(cluster).await);
    }
    p99(waits)
}

async fn shop() -> (Cluster, String) {
    let options = Options { embedded_broker: true, ..Options::default() };
    let cluster = Cluster::start(feira_tests::feira!(), options).await;
    insert_client(&mut cluster.admin(1), "ana").await.unwrap();
    insert_product(&mut cluster.admin(1), "fig", 1_000_000, "1").await.unwrap();
    let leader = cluster.leader().await;
    fill(&cluster, &leader).await;
    (cluster, leader)
}

/// The most that a process holds while an attack goes on, with ordinary users at the same time.
async fn most_held(cluster: &Cluster, part: &str, undisturbed: Duration) -> u64 {
    let begun = Instant::now();
    let (mut most, mut waits) = (0, Vec::new());
    while begun.elapsed() < ATTACK {
        waits.extend(ordinary(cluster).await);
        most = most.max(cluster.memory_of(part));
    }
    let first = waits[..100].iter().max().copied().unwrap();
    let count = waits.len();
    let p99 = p99(waits);
    eprintln!(
        "{part} held {} MB; {count} operations of ordinary users: p99 {p99:?}, {:.1} times {undisturbed:?} undisturbed; \
         longest of the first hundred {first:?}",
        most >> 20,
        p99.as_secs_f64() / undisturbed.as_secs_f64(),
    );
    // No bound on a machine that is busy with other tests; what is measured stands in docs/evidence.
    assert!(p99 < PATIENCE, "others are served");
    most
}

async fn given_back(cluster: &Cluster, part: &str) {
    wait::until(&format!("{part} to give memory back"), SOON, || async {
        let held = cluster.memory_of(part);
        if held <= AFTERWARDS_MAX { Ok(()) } else { Err(format!("it holds {} MB", held >> 20)) }
    })
    .await;
}

async fn survives(mut cluster: Cluster, part: &str, undisturbed: Duration, callers: Vec<Caller>) {
    let most = most_held(&cluster, part, undisturbed).await;
    assert!(most <= UNDER_ATTACK_MAX, "{part} held {} MB", most >> 20);
    drop(callers);
    given_back(&cluster, part).await;
    ordinary(&cluster).await;
    cluster.all_run();
}

/// As libraries in other languages send: each request in a frame of its own. HTTP/2 below us ended the connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_takes_answers_may_have_thousands_of_small_requests_under_way() {
    const REQUESTS: u64 = 20_000;
    let options = Options { nodes: 1, admin_portals: 0, client_portals: 0, ..Options::default() };
    let mut cluster = Cluster::start(feira_tests::feira!(), options).await;
    let leader = cluster.leader().await;
    let get = GetRequest {
        route: ROUTE,
        key: Bytes::from_static(b"k"),
        freshness: Some(Freshness::linearizable()),
    };
    let requests: Vec<Bytes> = (1..=REQUESTS)
        .map(|number| framed(&PipelineRequest { number, request: Some(Call::Get(get.clone())) }))
        .collect();
    let mut caller = Caller::new(cluster.address(&leader), 1 << 20).await;
    assert!(caller.ask("/feira.store.v1.Kv/Pipeline", &requests).await);
    let (_head, mut body) = tokio::time::timeout(PATIENCE, caller.last_answer()).await.unwrap();
    let mut answered = BytesMut::new();
    while let Some(part) = tokio::time::timeout(PATIENCE, body.data()).await.unwrap() {
        let part = part.unwrap();
        body.flow_control().release_capacity(part.len()).unwrap();
        answered.extend_from_slice(&part);
    }
    assert_eq!((take_messages(&mut answered) as u64, answered.len()), (REQUESTS, 0));
    cluster.all_run();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scans_that_nobody_takes_stay_unread_in_the_database() {
    let (cluster, leader) = shop().await;
    let undisturbed = undisturbed(&cluster).await;
    let requests: Vec<Bytes> = (1..=1_500)
        .map(|number| framed(&PipelineRequest { number, request: Some(Call::Scan(scan())) }))
        .collect();
    let mut callers = Vec::new();
    // One that takes nothing, and one that takes a little at a time, as a slow line does.
    for window in [1, 65_535] {
        let mut caller = Caller::new(cluster.address(&leader), window).await;
        assert!(caller.ask("/feira.store.v1.Kv/Pipeline", &requests).await);
        callers.push(caller);
    }
    survives(cluster, &leader, undisturbed, callers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_takes_are_bounded_at_a_node() {
    let (cluster, leader) = shop().await;
    let undisturbed = undisturbed(&cluster).await;
    let get =
        GetRequest { route: ROUTE, key: Bytes::from_static(b"large/1"), freshness: Some(Freshness::stale()) };
    let calls = [("/feira.store.v1.Kv/Scan", framed(&scan())), ("/feira.store.v1.Kv/Get", framed(&get))];
    let mut callers = Vec::new();
    for window in [1, 65_535, 1 << 20] {
        let mut caller = Caller::new(cluster.address(&leader), window).await;
        for at in 0..600 {
            let (path, request) = &calls[at % 2];
            if !caller.ask(path, std::slice::from_ref(request)).await {
                break;
            }
        }
        callers.push(caller);
    }
    survives(cluster, &leader, undisturbed, callers).await;
}

/// Each is refused, and its answer is the record that is there: 300 KiB for a request of a few bytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_of_writes_that_nobody_takes_are_bounded() {
    let (cluster, leader) = shop().await;
    let undisturbed = undisturbed(&cluster).await;
    let key = Bytes::from_static(b"large/1");
    let set = proto::write::set(&SetRequest { route: ROUTE, key, ..SetRequest::default() });
    let txn = |number: u64| {
        let request = TxnRequest { route: ROUTE, txn: Some(set.clone()), identity: None };
        framed(&PipelineRequest { number, request: Some(Call::Txn(request)) })
    };
    let requests: Vec<Bytes> = (1..=3_000).map(txn).collect();
    let mut caller = Caller::new(cluster.address(&leader), 65_535).await;
    assert!(caller.ask("/feira.store.v1.Kv/Pipeline", &requests).await);
    survives(cluster, &leader, undisturbed, vec![caller]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_takes_are_bounded_at_a_portal() {
    let (cluster, _) = shop().await;
    let mut admin = cluster.admin(1);
    for at in 0..20 {
        let data = format!("{{\"name\":\"{}\"}}", "x".repeat(50_000));
        let request = proto::portal::InsertClientRequest {
            cid: format!("large-{at:02}"),
            data,
            request: feira_tests::shop::request_id(),
        };
        admin.insert_client(patient(request)).await.unwrap();
    }
    let undisturbed = undisturbed(&cluster).await;
    let list = framed(&ListRequest { limit: 1_000, ..ListRequest::default() });
    let mut callers = Vec::new();
    for window in [1, 65_535, 1 << 20] {
        let mut caller = Caller::new(cluster.address("admin-1"), window).await;
        for _ in 0..600 {
            if !caller.ask("/feira.portal.v1.Admin/ListClients", std::slice::from_ref(&list)).await {
                break;
            }
        }
        callers.push(caller);
    }
    survives(cluster, "admin-1", undisturbed, callers).await;
}

/// Requests of a mebibyte each that are begun and never ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_never_end_are_bounded() {
    let (cluster, leader) = shop().await;
    let undisturbed = undisturbed(&cluster).await;
    let bytes = begun(1 << 20, (1 << 20) - 100);
    let mut callers = Vec::new();
    for part in [leader.as_str(), "admin-1"] {
        let path =
            if part == "admin-1" { "/feira.portal.v1.Admin/InsertClient" } else { "/feira.store.v1.Kv/Set" };
        for _ in 0..4 {
            let mut caller = Caller::new(cluster.address(part), 65_535).await;
            for _ in 0..200 {
                if !caller.begin(path, &bytes).await {
                    break;
                }
            }
            callers.push(caller);
        }
    }
    let most = most_held(&cluster, "admin-1", undisturbed).await;
    assert!(most <= UNDER_ATTACK_MAX, "admin-1 held {} MB", most >> 20);
    survives(cluster, &leader, undisturbed, callers).await;
}

/// Requests of which the head has come and a byte at most, enough of them that their answers would need all the room that
/// there is: they hold nothing, others are served at once, and they are refused when they are late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_whose_bodies_never_come_hold_no_room_for_answers() {
    let (mut cluster, leader) = shop().await;
    let parts =
        [(leader.as_str(), "/feira.store.v1.Kv/Scan"), ("admin-1", "/feira.portal.v1.Admin/ListClients")];
    let mut callers = Vec::new();
    for (part, path) in parts {
        for bytes in [Bytes::new(), begun(100, 1)] {
            for _ in 0..8 {
                let mut caller = Caller::new(cluster.address(part), 65_535).await;
                for _ in 0..8 {
                    assert!(caller.begin(path, &bytes).await);
                }
                callers.push(caller);
            }
        }
    }
    let page = cluster.kv(&leader).scan(patient(scan())).await.unwrap().into_inner();
    assert_eq!(page.records.len(), 4, "a page that needs more room than is free of charge");
    let list = ListRequest { limit: 1_000, ..ListRequest::default() };
    cluster.admin(1).list_clients(patient(list)).await.unwrap();
    ordinary(&cluster).await;
    for caller in &mut callers {
        let (head, _body) = tokio::time::timeout(PATIENCE, caller.last_answer()).await.unwrap();
        let told = tonic::Status::from_header_map(&head).unwrap();
        assert_eq!(told.code(), tonic::Code::ResourceExhausted, "{told}");
        assert!(told.message().contains("did not come whole"), "{told}");
        assert!(!told.details().is_empty(), "in the words of our own table: {told}");
    }
    assert!(callers.iter().all(Caller::is_open), "they may ask again");
    ordinary(&cluster).await;
    cluster.all_run();
}

/// Takes all answers of a stream and counts them.
fn counted(mut body: h2::RecvStream) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&count);
    tokio::spawn(async move {
        let mut answered = BytesMut::new();
        while let Some(Ok(part)) = body.data().await {
            body.flow_control().release_capacity(part.len()).unwrap();
            answered.extend_from_slice(&part);
            counting.fetch_add(take_messages(&mut answered), Ordering::Relaxed);
        }
    });
    count
}

/// How many whole messages there were.
fn take_messages(answered: &mut BytesMut) -> usize {
    let mut count = 0;
    while let Some(length) = answered.get(1..5) {
        let whole = 5 + u32::from_be_bytes(length.try_into().unwrap()) as usize;
        if answered.len() < whole {
            break;
        }
        let _ = answered.split_to(whole);
        count += 1;
    }
    count
}

/// A portal with hundreds of requests under way, for longer than anybody may keep room that others wait for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_pipeline_is_not_cut_for_those_who_do_not_end_their_requests() {
    let options = Options { nodes: 1, admin_portals: 0, client_portals: 0, ..Options::default() };
    let mut cluster = Cluster::start(feira_tests::feira!(), options).await;
    let leader = cluster.leader().await;
    let mut busy = Caller::new(cluster.address(&leader), 1 << 20).await;
    assert!(busy.begin("/feira.store.v1.Kv/Pipeline", &Bytes::new()).await);
    let (_head, body) = tokio::time::timeout(PATIENCE, busy.last_answer()).await.unwrap();
    let answered = counted(body);
    // What no log has yet: each waits for a second, and is answered then.
    let freshness = Some(Freshness { min_offset: u64::MAX, ..Freshness::stale() });
    let get = GetRequest { route: ROUTE, key: Bytes::from_static(b"k"), freshness };
    let mut pipeline = busy.unended.pop().unwrap();
    let sending = tokio::spawn(async move {
        for number in 1.. {
            let request = PipelineRequest { number, request: Some(Call::Get(get.clone())) };
            if pipeline.send_data(framed(&request), false).is_err() {
                break;
            }
            if number % 100 == 0 {
                wait::pass(Duration::from_millis(100)).await;
            }
        }
    });
    wait::until("answers", PATIENCE, || async {
        let count = answered.load(Ordering::Relaxed);
        if count > 1_000 { Ok(()) } else { Err(count.to_string()) }
    })
    .await;
    let mut callers = Vec::new();
    for _ in 0..9 {
        let mut caller = Caller::new(cluster.address(&leader), 65_535).await;
        for _ in 0..8 {
            caller.begin("/feira.store.v1.Kv/Set", &begun(1 << 20, 20_000)).await;
        }
        callers.push(caller);
    }
    fill(&cluster, &leader).await;
    wait::until("somebody to be cut", PATIENCE, || async {
        fill(&cluster, &leader).await;
        if callers.iter().all(Caller::is_open) { Err("nobody was") } else { Ok(()) }
    })
    .await;
    let before = answered.load(Ordering::Relaxed);
    wait::until("further answers", PATIENCE, || async {
        let count = answered.load(Ordering::Relaxed);
        if count > before + 1_000 { Ok(()) } else { Err(count.to_string()) }
    })
    .await;
    assert!(busy.is_open() && !sending.is_finished());
    sending.abort();
    cluster.all_run();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscribers_that_do_not_read_are_bounded_at_the_broker() {
    let (cluster, _) = shop().await;
    let undisturbed = undisturbed(&cluster).await;
    let address = cluster.address("broker").to_owned();
    let deaf = tokio::task::spawn_blocking({
        let address = address.clone();
        move || {
            ["deaf-1", "deaf-2", "deaf-3"].map(|id| {
                let mut stream = std::net::TcpStream::connect(&address).unwrap();
                let length = u8::try_from(id.len()).unwrap();
                let connect = [0x10, 13 + length, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 0, 0, 0, length];
                let subscribe = [0x82, 7, 0, 1, 0, 0, 1, b'#', 1];
                stream.write_all(&[&connect[..], id.as_bytes(), &subscribe].concat()).unwrap();
                stream.read_exact(&mut [0; 1]).unwrap();
                stream
            })
        }
    });
    let deaf = deaf.await.unwrap();
    let (host, port) = address.rsplit_once(':').unwrap();
    let mut options = MqttOptions::new("loud", host, port.parse().unwrap());
    options.set_max_packet_size(Some(1 << 20));
    let (loud, mut events) = AsyncClient::new(options, 16);
    let heard = tokio::spawn(async move {
        let mut acknowledged = 0;
        while acknowledged < 600 {
            if let Event::Incoming(rumqttc::v5::mqttbytes::v5::Packet::PubAck(_)) =
                events.poll().await.unwrap()
            {
                acknowledged += 1;
            }
        }
    });
    let payload = vec![b'x'; 1_000_000];
    for at in 0..600 {
        loud.publish(format!("loud/{at}"), QoS::AtLeastOnce, false, payload.clone()).await.unwrap();
    }
    tokio::time::timeout(PATIENCE * 2, heard).await.unwrap().unwrap();
    let most = most_held(&cluster, "broker", undisturbed).await;
    assert!(most <= UNDER_ATTACK_MAX, "the broker held {} MB", most >> 20);
    cluster.wait_until_live().await;
    drop(deaf);
    given_back(&cluster, "broker").await;
}
