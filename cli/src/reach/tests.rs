//! Calls to real portals in this process, over a store in memory with planned faults.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proto::portal::admin_client::AdminClient;
use proto::portal::{AdjustStockRequest, GetClientRequest, InsertClientRequest, RequestId};
use store_engine::memory::{Faults, MemoryStore};
use tokio::sync::oneshot;

use super::places::{Call, READ};
use super::portals::Portals;
use crate::failure::{Failure, Kind};

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

async fn insert(portals: &Portals, request: &RequestId) -> Result<(), Failure> {
    let message =
        InsertClientRequest { cid: "ana".into(), data: "{}".into(), request: Some(request.clone()) };
    let rpc = |channel, message| async move { AdminClient::new(channel).insert_client(message).await };
    portals.send(Call::write(request), message, rpc).await.map(drop)
}

fn id(created_ms: i64) -> RequestId {
    RequestId { id: "r".into(), created_ms }
}

#[tokio::test]
async fn what_waiting_does_not_cure_is_tried_once_at_each_portal_and_told() {
    let full = Arc::new(MemoryStore::new());
    full.set_full(true);
    let addresses = [portal(&full).await, portal(&full).await];
    let portals = Portals::new("admin portal", &addresses, None, PATIENCE, None).unwrap();
    let begun = Instant::now();
    let refused = insert(&portals, &id(0)).await.unwrap_err();
    assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
    assert_eq!((refused.kind, refused.reason.as_str()), (Kind::Unreachable, "STORE_NO_ROOM"), "{refused}");
    assert!(addresses.iter().any(|at| refused.by == format!("admin portal {at}")), "{}", refused.by);
    assert!(
        refused.to_string().contains("says so") && refused.to_string().contains("free disk space"),
        "{refused}"
    );
    let read = READ;
    let get = |channel| async move {
        AdminClient::new(channel).get_client(GetClientRequest { cid: "ana".into() }).await
    };
    full.set_full(false);
    assert_eq!(portals.call(read, get).await.unwrap_err().reason, "NOT_FOUND", "nothing was done");
    // One portal of two knows better.
    let one = Arc::new(MemoryStore::new());
    one.set_full(true);
    let addresses = [portal(&one).await, portal(&full).await];
    for _ in 0..4 {
        let portals = Portals::new("admin portal", &addresses, None, PATIENCE, None).unwrap();
        let done = insert(&portals, &id(0)).await;
        assert!(done.is_ok(), "{done:?}");
    }
}

#[tokio::test]
async fn patience_ends_with_the_last_reason_and_who_gave_it() {
    let down = Arc::new(MemoryStore::new());
    down.set_down(true);
    let address = portal(&down).await;
    // Nobody listens there.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let addresses = [address.clone(), nobody];
    let portals = Portals::new("admin portal", &addresses, None, Duration::from_millis(300), None).unwrap();
    let refused = insert(&portals, &id(0)).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Unreachable);
    assert_eq!(
        (refused.message.as_str(), refused.by),
        ("a planned fault refused it", format!("admin portal {address}"))
    );
    down.set_down(false);
    down.set_faults(Some(Faults { lose_per_mille: 1_000, ..Faults::default() }));
    // It reads nothing before it writes: what is lost is the write's answer.
    let message = AdjustStockRequest { pid: "lime".into(), amount: 1, request: Some(id(0)) };
    let rpc = |channel, message| async move { AdminClient::new(channel).adjust_stock(message).await };
    let lost = portals.send(Call::write(&id(0)), message, rpc).await.unwrap_err();
    assert_eq!(lost.kind, Kind::Unknown, "{lost}");
    let told = lost.to_string();
    assert!(told.starts_with("outcome unknown: a planned fault lost the answer"), "{told}");
    assert!(told.contains("--request r"), "{told}");
}

#[tokio::test]
async fn a_clock_two_days_behind_is_named_and_not_the_request_id() {
    let address = portal(&Arc::new(MemoryStore::new())).await;
    let portals = Portals::new("admin portal", &[address], None, PATIENCE, None).unwrap();
    let two_days_ms = 48 * 3_600_000;
    let refused = insert(&portals, &id(store_client::now_ms() - two_days_ms)).await.unwrap_err();
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
