//! Calls to real portals in this process, over a store in memory with planned faults.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ::portal::Error;
use proto::portal::admin_client::AdminClient;
use proto::portal::{AdjustStockRequest, Client, GetClientRequest, InsertClientRequest, RequestId};
use store_client::Cause;
use store_engine::memory::{Faults, MemoryStore};
use tokio::sync::oneshot;
use tonic::body::Body;
use tonic::codegen::{Service as _, http};
use tonic::service::interceptor::ResponseBody;
use tonic::{Response, Status};

use super::named_channel::NamedChannel;
use super::open_requests::OpenRequests;
use super::places::{Call, READ};
use super::portals::Portals;
use crate::failure::{Failure, Kind};
use crate::show::answer::Answer;

/// Long enough that a test which waited for it would be seen to.
const PATIENCE: Duration = Duration::from_secs(60);

/// A portal of its own over the store; it ends with the test.
async fn portal(store: &Arc<MemoryStore>) -> String {
    let (bound, address) = oneshot::channel();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut config = ::portal::Config::new("admin-portal-1", any, Arc::clone(store) as Arc<_>);
    config.bound = Some(bound);
    tokio::spawn(admin_portal::serve(config, Box::pin(std::future::pending())));
    address.await.unwrap().to_string()
}

/// Counts how often it is asked for.
async fn insert(portals: &Portals, request: &RequestId, asked: &AtomicUsize) -> Result<(), Failure> {
    let message =
        InsertClientRequest { cid: "ana".into(), data: "{}".into(), request: Some(request.clone()) };
    let rpc = |named_channel, message| {
        asked.fetch_add(1, Ordering::Relaxed);
        async move { AdminClient::new(named_channel).insert_client(message).await }
    };
    portals.send(Call::write(request), message, rpc).await.map(drop)
}

async fn get(named_channel: NamedChannel) -> Result<Response<Client>, Status> {
    AdminClient::new(named_channel).get_client(GetClientRequest { cid: "ana".into() }).await
}

/// To people and to programs: what stands in the way, who of these says so, and what to do.
#[track_caller]
fn is_told(refused: &Failure, reason: &str, addresses: &[String], what_to_do: &str) {
    assert_eq!((refused.kind, refused.reason.as_str()), (Kind::Unreachable, reason), "{refused}");
    assert!(addresses.iter().any(|at| refused.by == format!("admin portal {at}")), "{}", refused.by);
    let told = refused.to_string();
    assert!(told.contains(&format!("({} says so)", refused.by)) && told.contains(what_to_do), "{told}");
    let document = Answer::of_failure(refused);
    let error = &document["error"];
    assert_eq!((&error["from"], &error["reason"]), (&refused.by.as_str().into(), &reason.into()), "{error}");
    assert_eq!(error["exit"], 3, "{error}");
}

fn id(created_ms: i64) -> RequestId {
    RequestId { id: "r".into(), created_ms }
}

#[tokio::test]
async fn what_waiting_does_not_cure_is_tried_once_at_each_portal_and_told() {
    let store = Arc::new(MemoryStore::new());
    let addresses = [portal(&store).await, portal(&store).await];
    for (cause, reason, what_to_do) in [
        (Cause::OutOfSpace, "STORE_OUT_OF_SPACE", "free disk space"),
        (Cause::ClocksApart, "CLOCKS_APART", "compare date -u"),
        (Cause::Diverged, "STORE_DIVERGED", "feira audit shows who differs"),
    ] {
        store.set_in_the_way(Some(cause));
        let portals = Portals::new("admin portal", &addresses, None, PATIENCE, None).unwrap();
        let (begun, asked) = (Instant::now(), AtomicUsize::new(0));
        let refused = insert(&portals, &id(0), &asked).await.unwrap_err();
        assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
        assert_eq!(asked.into_inner(), 2, "each portal once: {refused}");
        is_told(&refused, reason, &addresses, what_to_do);
        let read = portals.call(READ, get).await.unwrap_err();
        is_told(&read, reason, &addresses, what_to_do);
        store.set_in_the_way(None);
        assert_eq!(portals.call(READ, get).await.unwrap_err().reason, "NOT_FOUND", "nothing was done");
    }
    // One portal of two knows better.
    let full = Arc::new(MemoryStore::new());
    full.set_in_the_way(Some(Cause::OutOfSpace));
    let addresses = [portal(&full).await, portal(&store).await];
    for _ in 0..4 {
        let portals = Portals::new("admin portal", &addresses, None, PATIENCE, None).unwrap();
        let done = insert(&portals, &id(0), &AtomicUsize::new(0)).await;
        assert!(done.is_ok(), "{done:?}");
    }
}

/// The connections of these portals, one of each.
async fn doors(portals: &Portals) -> Vec<NamedChannel> {
    let doors = parking_lot::Mutex::new(Vec::new());
    let stuck = Error::Unavailable { cause: Cause::OutOfSpace, why: String::new() };
    let next = |named_channel| {
        doors.lock().push(named_channel);
        let stuck = stuck.clone();
        async { Err::<Response<()>, Status>(stuck.into()) }
    };
    portals.call(READ, next).await.unwrap_err();
    doors.into_inner()
}

type Untaken = http::Response<ResponseBody<Body>>;

/// Asks on this connection for what nobody takes, for much at a time and then for less, until it may have no more of either.
async fn fill(mut named_channel: NamedChannel) -> Vec<Untaken> {
    let mut untaken = Vec::new();
    for (method, message) in [("ListClients", "\0\0\0\0\0"), ("GetClient", "\0\0\0\0\x09\x0a\x07large-0")] {
        loop {
            let request = http::Request::post(format!("http://portal/feira.portal.v1.Admin/{method}"))
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .body(Body::new(message.to_owned()))
                .unwrap();
            poll_fn(|context| named_channel.poll_ready(context)).await.unwrap();
            let answer = named_channel.call(request).await.unwrap();
            let Some(refused) = Status::from_header_map(answer.headers()) else {
                untaken.push(answer);
                continue;
            };
            let refused = Error::from_status(&refused);
            assert!(matches!(refused, Some(Error::Overloaded { own: true, .. })), "{refused:?}");
            break;
        }
    }
    untaken
}

#[tokio::test]
async fn an_overload_of_the_callers_own_making_is_tried_once_at_each_portal_and_told() {
    let store = Arc::new(MemoryStore::new());
    let addresses = [portal(&store).await, portal(&store).await];
    let portals = Portals::new("admin portal", &addresses, None, PATIENCE, None).unwrap();
    let portals = portals.beginning_with_the_first();
    for at in 0..20 {
        let data = format!("{{\"name\":\"{}\"}}", "x".repeat(60_000));
        let message = InsertClientRequest { cid: format!("large-{at}"), data, request: None };
        let rpc = |named_channel, message| async move {
            AdminClient::new(named_channel).insert_client(message).await
        };
        portals.send(READ, message, rpc).await.unwrap();
    }
    let doors = doors(&portals).await;
    assert_eq!(doors.len(), 2);
    let mut untaken = futures::future::join_all(doors.into_iter().map(fill)).await;
    let (begun, asked) = (Instant::now(), AtomicUsize::new(0));
    let refused = insert(&portals, &id(0), &asked).await.unwrap_err();
    assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
    assert_eq!(asked.into_inner(), 2, "each portal once: {refused}");
    is_told(&refused, "OVERLOADED", &addresses, "nothing was done");
    assert!(refused.message.contains("this connection has all that one may have"), "{refused}");
    // Who takes what waits for him on one connection is served there.
    untaken.pop();
    let done = insert(&portals, &id(0), &AtomicUsize::new(0)).await;
    assert!(done.is_ok(), "{done:?}");
}

#[tokio::test]
async fn patience_ends_with_the_last_reason_and_who_gave_it() {
    let down = Arc::new(MemoryStore::new());
    down.set_down(true);
    let address = portal(&down).await;
    // Nobody listens there.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let addresses = [address.clone(), nobody];
    let portals = |patience| Portals::new("admin portal", &addresses, None, patience, None).unwrap();
    let impatient = portals(Duration::from_secs(1));
    let refused = insert(&impatient, &id(0), &AtomicUsize::new(0)).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Unreachable);
    assert_eq!(
        (refused.message.as_str(), refused.by),
        ("a planned fault refused it", format!("admin portal {address}"))
    );
    down.set_down(false);
    // The portal has seen its shop; from now on it reads nothing before it writes: what is lost is the write's answer.
    let seen = RequestId { id: "seen".into(), created_ms: 0 };
    insert(&portals(PATIENCE), &seen, &AtomicUsize::new(0)).await.unwrap();
    down.set_faults(Some(Faults { lose_per_mille: 1_000, ..Faults::default() }));
    let message =
        AdjustStockRequest { pid: "lime".into(), amount: 1, request: Some(id(0)), if_match_stock: 0 };
    let rpc = |channel, message| async move { AdminClient::new(channel).adjust_stock(message).await };
    let lost = impatient.send(Call::write(&id(0)), message, rpc).await.unwrap_err();
    assert_eq!(lost.kind, Kind::Unknown, "{lost}");
    let told = lost.to_string();
    assert!(told.starts_with("outcome unknown: a planned fault lost the answer"), "{told}");
    assert!(told.contains("--request r"), "{told}");
}

/// The portal that has the lost attempt may still decide it anew.
#[tokio::test]
async fn a_refusal_after_a_lost_attempt_leaves_the_request_open() {
    let store = Arc::new(MemoryStore::new());
    let address = portal(&store).await;
    let folder = tempfile::tempdir().unwrap();
    let history = Some(folder.path().join("history"));
    let open = OpenRequests::beside(history, "admin", String::new(), false);
    let portals = Portals::new("admin portal", &[address], None, PATIENCE, None).unwrap();
    let portals = portals.keeping(Arc::clone(&open));
    // The portal has seen its shop; from now on it reads nothing before it writes: what is lost is the write's answer.
    let seen = RequestId { id: "seen".into(), created_ms: 0 };
    insert(&portals, &seen, &AtomicUsize::new(0)).await.unwrap();
    for is_lost in [false, true] {
        let request = RequestId { id: format!("lost: {is_lost}"), created_ms: 0 };
        open.begin((&request.id, false), &["adjust-stock".to_owned()], "");
        let asked = AtomicUsize::new(0);
        let rpc = |channel, message| {
            let is_first = asked.fetch_add(1, Ordering::Relaxed) == 0;
            let all = Faults { lose_per_mille: 1_000, ..Faults::default() };
            store.set_faults((is_first && is_lost).then_some(all));
            async move { AdminClient::new(channel).adjust_stock(message).await }
        };
        let asks = Some(request.clone());
        let message = AdjustStockRequest { pid: "lime".into(), amount: 1, request: asks, if_match_stock: 0 };
        let refused = portals.send(Call::write(&request), message, rpc).await.unwrap_err();
        assert_eq!((refused.kind, refused.reason.as_str()), (Kind::Refused, "NOT_FOUND"), "{refused}");
        assert_eq!(asked.load(Ordering::Relaxed), 1 + usize::from(is_lost));
        assert_eq!(open.ended(false, false).is_some(), is_lost);
        assert_eq!(open.find(&request.id).is_some(), is_lost);
    }
}

#[tokio::test]
async fn a_clock_two_days_behind_is_named_and_not_the_request_id() {
    let address = portal(&Arc::new(MemoryStore::new())).await;
    let portals = Portals::new("admin portal", &[address], None, PATIENCE, None).unwrap();
    let two_days_ms = 48 * 3_600_000;
    let refused =
        insert(&portals, &id(store_client::now_ms() - two_days_ms), &AtomicUsize::new(0)).await.unwrap_err();
    let told = refused.to_string();
    assert!(told.contains("the clock of this machine is about 48 h behind that of admin portal"), "{told}");
    assert!(told.contains("date -u") && !told.contains("request id"), "{told}");
    assert_eq!((refused.kind, refused.reason.as_str()), (Kind::Refused, "CLOCKS_APART"));
}

#[test]
fn a_second_portal_is_used_from_the_start() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _inside = runtime.enter();
    let addresses = ["127.0.0.1:1".to_owned(), "127.0.0.1:2".to_owned()];
    let first = || Portals::new("admin portal", &addresses, None, PATIENCE, None).unwrap();
    let begins: std::collections::BTreeSet<String> = (0..64).map(|_| first().address().to_owned()).collect();
    assert_eq!(begins.len(), 2, "{begins:?}");
    assert!((0..64).all(|_| first().beginning_with_the_first().address() == addresses[0]));
}
