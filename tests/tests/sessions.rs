//! Sessions over real processes: a client that takes its token from portal to portal, and from transport to transport, reads its
//! own writes and never goes back, also while no portal hears of changes (the broker is stopped, and caches are LIVE for a lease).
#![allow(clippy::unwrap_used)]

use client_portal::SERVICE;
use client_portal::operations::{CreateOrder, GetOrder, GetProduct, ModifyOrder};
use feira_tests::cluster::{Cluster, Options, PATIENCE};
use feira_tests::shop::{insert_client, insert_product, order, request_id};
use feira_tests::shopper::place;
use nix::sys::signal::Signal;
use portal::operation::Operation;
use portal::session::{KeptSession, SESSION_HEADER};
use portal::transport::calling::{answered_within, over_grpc, over_http};
use portal::transport::mqtt_calling::Caller;
use portal::transport::session_channel::SessionChannel;
use proto::portal::{
    CreateOrderRequest, GetOrderRequest, LineChange, ModifyOrderRequest, Order, Product,
    ShopGetProductRequest,
};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// How a client asks.
enum Way {
    Grpc(SessionChannel<Channel>),
    Http(SessionChannel<Channel>),
    Mqtt(Caller),
}

impl Way {
    async fn ask<O: Operation>(&self, request: O::Request) -> Result<O::Response, Status> {
        let asking = async {
            match self {
                Way::Grpc(channel) => {
                    over_grpc::<O, _>(channel.clone(), SERVICE, Request::new(request)).await
                }
                Way::Http(channel) => over_http::<O, _>(channel.clone(), request).await,
                Way::Mqtt(caller) => caller.call::<O>(request, PATIENCE).await,
            }
        };
        Ok(answered_within(PATIENCE, asking).await?.into_inner())
    }
}

fn grpc(cluster: &Cluster, portal: &str, session: Option<KeptSession>) -> Way {
    Way::Grpc(SessionChannel::new(cluster.channel(portal), session))
}

fn http(cluster: &Cluster, portal: &str, session: Option<KeptSession>) -> Way {
    Way::Http(SessionChannel::new(cluster.channel(portal), session))
}

fn lines(pid: &str, quantity: i64) -> Vec<LineChange> {
    vec![LineChange { pid: pid.to_owned(), quantity, ..LineChange::default() }]
}

async fn modified(way: &Way, made: &Order, quantity: i64) -> Order {
    let (cid, oid) = (made.cid.clone(), made.oid.clone());
    let request = request_id();
    let change = ModifyOrderRequest {
        cid,
        oid,
        lines: lines("fig", quantity),
        if_match: 0,
        request,
        ..ModifyOrderRequest::default()
    };
    way.ask::<ModifyOrder>(change).await.unwrap()
}

async fn quantity(way: &Way, made: &Order) -> i64 {
    let request = GetOrderRequest { cid: made.cid.clone(), oid: made.oid.clone() };
    way.ask::<GetOrder>(request).await.unwrap().lines[0].quantity
}

async fn shop(options: Options) -> Cluster {
    let cluster = Cluster::start(feira_tests::feira!(), Options { client_portals: 2, ..options }).await;
    insert_client(&mut cluster.admin(1), "ana").await.unwrap();
    insert_product(&mut cluster.admin(1), "fig", 1_000, "1").await.unwrap();
    cluster
}

fn broker(cluster: &Cluster, signal: Signal) {
    cluster.mosquitto.as_ref().unwrap().process.as_ref().unwrap().signal(signal);
}

#[tokio::test]
async fn a_session_reads_its_own_writes_over_portals_and_transports() {
    let cluster = shop(Options::default()).await;
    let session = KeptSession::default();
    let own = || Some(session.clone());
    let ways = [
        grpc(&cluster, "client-1", own()),
        http(&cluster, "client-2", own()),
        Way::Mqtt(Caller::in_session(place(&cluster), session.clone())),
        grpc(&cluster, "client-2", own()),
        http(&cluster, "client-1", own()),
    ];
    let made = order(&mut cluster.shop(1), "ana", &[("fig", 1)]).await.unwrap();
    for round in 0..100_usize {
        let wanted = i64::try_from(round % 7).unwrap() + 1;
        modified(&ways[round % ways.len()], &made, wanted).await;
        // Each of the others in turn.
        let other = &ways[(round + 1 + round / ways.len() % (ways.len() - 1)) % ways.len()];
        assert_eq!(quantity(other, &made).await, wanted, "round {round}: {:?}", session.token());
    }
}

#[tokio::test]
async fn a_session_reads_its_own_writes_while_no_portal_hears_of_them() {
    let cluster = shop(Options::default()).await;
    let session = KeptSession::default();
    let here = grpc(&cluster, "client-1", Some(session.clone()));
    let there = grpc(&cluster, "client-2", Some(session.clone()));
    let of_no_session = http(&cluster, "client-2", None);
    let made = order(&mut cluster.shop(1), "ana", &[("fig", 1)]).await.unwrap();
    let mut shown_the_past = 0;
    for wanted in 2..12 {
        cluster.wait_until_live().await;
        quantity(&of_no_session, &made).await;
        broker(&cluster, Signal::SIGSTOP);
        modified(&here, &made, wanted).await;
        shown_the_past += u32::from(quantity(&of_no_session, &made).await < wanted);
        assert_eq!(quantity(&there, &made).await, wanted, "{:?}", session.token());
        broker(&cluster, Signal::SIGCONT);
    }
    assert!(shown_the_past > 0, "no cache was ever behind: nothing was tried here");
}

#[tokio::test]
async fn a_session_sees_what_its_order_did_in_other_shards() {
    let cluster = shop(Options { shards: 3, ..Options::default() }).await;
    let session = KeptSession::default();
    let here = grpc(&cluster, "client-1", Some(session.clone()));
    let there = http(&cluster, "client-2", Some(session.clone()));
    let of_no_session = grpc(&cluster, "client-2", None);
    let pids: Vec<String> = (0..6).map(|number| format!("pid-{number}")).collect();
    for pid in &pids {
        insert_product(&mut cluster.admin(1), pid, 100, "1").await.unwrap();
    }
    let left = async |way: &Way, pid: &str| {
        let request = ShopGetProductRequest { cid: "ana".into(), pid: pid.to_owned() };
        let product: Product = way.ask::<GetProduct>(request).await.unwrap();
        product.stock.unwrap().available
    };
    let mut shown_the_past = 0;
    for round in 1..=8 {
        cluster.wait_until_live().await;
        for pid in &pids {
            left(&of_no_session, pid).await;
        }
        broker(&cluster, Signal::SIGSTOP);
        let lines = pids.iter().flat_map(|pid| lines(pid, 1)).collect();
        here.ask::<CreateOrder>(CreateOrderRequest {
            cid: "ana".into(),
            lines,
            request: None,
            ..CreateOrderRequest::default()
        })
        .await
        .unwrap();
        for pid in &pids {
            shown_the_past += u32::from(left(&of_no_session, pid).await > 100 - round);
            assert_eq!(left(&there, pid).await, 100 - round, "{pid}: {:?}", session.token());
        }
        broker(&cluster, Signal::SIGCONT);
    }
    // Somebody else buys the rest of one, and the order is refused for it, by whichever shard has it.
    for pid in &pids {
        cluster.wait_until_live().await;
        left(&of_no_session, pid).await;
        broker(&cluster, Signal::SIGSTOP);
        order(&mut cluster.shop(1), "ana", &[(pid, 92)]).await.unwrap();
        let lines = pids.iter().flat_map(|pid| lines(pid, 1)).collect();
        let refused = here
            .ask::<CreateOrder>(CreateOrderRequest {
                cid: "ana".into(),
                lines,
                request: None,
                ..CreateOrderRequest::default()
            })
            .await;
        assert_eq!(refused.unwrap_err().code(), Code::FailedPrecondition);
        shown_the_past += u32::from(left(&of_no_session, pid).await > 0);
        assert_eq!(left(&there, pid).await, 0, "{pid}: {:?}", session.token());
        broker(&cluster, Signal::SIGCONT);
    }
    assert!(shown_the_past > 0, "no cache was ever behind: nothing was tried here");
}

#[tokio::test]
async fn a_token_of_another_cluster_is_refused_and_the_next_one_is_taken() {
    let cluster = shop(Options::default()).await;
    for token in ["0000000000000abc;1=5", "nonsense", "-;1=18446744073709551615"] {
        let mut request = Request::new(ShopGetProductRequest { cid: "ana".into(), pid: "fig".into() });
        request.metadata_mut().insert(SESSION_HEADER, token.parse().unwrap());
        let refused = cluster.shop(1).get_product(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{token}: {refused}");
        assert!(refused.message().contains(SESSION_HEADER), "{refused}");
        let anew = refused.metadata().get(SESSION_HEADER).unwrap().clone();
        assert_eq!(anew.to_str().unwrap(), cluster.id().to_string());
        let mut request = Request::new(ShopGetProductRequest { cid: "ana".into(), pid: "fig".into() });
        request.metadata_mut().insert(SESSION_HEADER, anew);
        let seen = cluster.shop(2).get_product(request).await.unwrap();
        let token = seen.metadata().get(SESSION_HEADER).unwrap().to_str().unwrap();
        assert!(token.starts_with(&format!("{};1=", cluster.id())), "{token}");
    }
}
