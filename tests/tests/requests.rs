//! Requests over a broker, as a stranger's client of MQTT 5 makes them: what is refused and why, what nobody can be answered, one
//! effect for each request id over whichever portal and transport it comes, and portals that die or stop while requests run.
//! What the operations do is the suite in `shop.rs`, which runs over mosquitto and the embedded broker too.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use client_portal::operations::{CreateOrder, ListOrders, Settle};
use feira_tests::cluster::{Cluster, Options, PATIENCE};
use feira_tests::http1;
use feira_tests::mosquitto::Mosquitto;
use feira_tests::shop::{insert_client, insert_product, lines, patient, request_id};
use feira_tests::shopper::place;
use feira_tests::wait;
use nix::sys::signal::Signal;
use portal::operation::Operation as _;
use portal::transport::asking;
use portal::transport::mqtt::UNDER_WAY_MAX;
use portal::transport::mqtt_calling::{Caller, Place};
use proto::portal::{
    CreateOrderRequest, InsertProductRequest, ListOrdersRequest, RequestId, SettleRequest, Settled,
};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PublishProperties};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tonic::{Code, Response, Status};

/// So many shoppers' portals; `ana`, and 100 figs.
async fn open(client_portals: usize, embedded_broker: bool) -> Cluster {
    let options = Options { client_portals, embedded_broker, ..Options::default() };
    let cluster = Cluster::start(feira_tests::feira!(), options).await;
    let mut admin = cluster.admin(1);
    insert_client(&mut admin, "ana").await.unwrap();
    insert_product(&mut admin, "fig", 100, "1.50").await.unwrap();
    cluster
}

/// An answer: its status, its content.
type Answer = (String, Value);

/// A client of the library, by hand.
struct Stranger {
    client: AsyncClient,
    answers: mpsc::UnboundedReceiver<(Bytes, Answer)>,
    number: u8,
    early: HashMap<Bytes, Answer>,
    retains: bool,
    qos: QoS,
}

const ANSWERS: &str = "strangers/answers";

impl Stranger {
    async fn connect(cluster: &Cluster) -> Stranger {
        let place = place(cluster);
        let mut options = MqttOptions::new("a-stranger", place.host, place.port);
        options.set_clean_start(true).set_max_packet_size(Some(1 << 20));
        let (client, mut events) = AsyncClient::new(options, 64);
        client.subscribe(ANSWERS, QoS::AtLeastOnce).await.unwrap();
        let (told, answers) = mpsc::unbounded_channel();
        let (granted, mut is_granted) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(event) = events.poll().await {
                match event {
                    Event::Incoming(Packet::SubAck(_)) => granted.send(()).unwrap(),
                    Event::Incoming(Packet::Publish(publish)) => {
                        let properties = publish.properties.unwrap();
                        let status = properties.user_properties.iter().find(|(name, _)| name == "status");
                        let answer =
                            (status.unwrap().1.clone(), serde_json::from_slice(&publish.payload).unwrap());
                        if told.send((properties.correlation_data.unwrap(), answer)).is_err() {
                            return;
                        }
                    }
                    _ => {}
                }
            }
        });
        is_granted.recv().await.unwrap();
        Stranger { client, answers, number: 0, early: HashMap::new(), retains: false, qos: QoS::AtLeastOnce }
    }

    /// Publishes a request; its correlation.
    async fn publish(&mut self, operation: &str, properties: &[(&str, &str)], body: &str) -> Bytes {
        self.number += 1;
        let correlation = Bytes::from(vec![self.number]);
        let user_properties =
            properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let properties = PublishProperties {
            response_topic: Some(ANSWERS.to_owned()),
            correlation_data: Some(correlation.clone()),
            user_properties: user_properties.collect(),
            ..PublishProperties::default()
        };
        self.publish_with(operation, properties, body).await;
        correlation
    }

    async fn publish_retained(&mut self, operation: &str, properties: &[(&str, &str)], body: &str) -> Bytes {
        self.retains = true;
        let correlation = self.publish(operation, properties, body).await;
        self.retains = false;
        correlation
    }

    async fn publish_with(&self, operation: &str, properties: PublishProperties, body: &str) {
        let topic = format!("feira/test/shop/{operation}");
        let body = body.to_owned();
        self.client.publish_with_properties(topic, self.qos, self.retains, body, properties).await.unwrap();
    }

    async fn answer(&mut self, correlation: &Bytes) -> Answer {
        loop {
            if let Some(answer) = self.early.remove(correlation) {
                return answer;
            }
            let (of, answer) = tokio::time::timeout(PATIENCE, self.answers.recv()).await.unwrap().unwrap();
            self.early.insert(of, answer);
        }
    }

    async fn ask(&mut self, operation: &str, properties: &[(&str, &str)], body: &str) -> Answer {
        let correlation = self.publish(operation, properties, body).await;
        self.answer(&correlation).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_orders_over_a_broker_with_properties_and_json_alone() {
    for embedded in [false, true] {
        let cluster = open(1, embedded).await;
        let mut stranger = Stranger::connect(&cluster).await;
        let ana = [("cid", "ana"), ("request-id", "r-1"), ("tracing", "ignored")];
        let body = r#"{"lines":[{"pid":"fig","quantity":2}]}"#;
        let (status, made) = stranger.ask("create-order", &ana, body).await;
        assert_eq!((status.as_str(), &made["total"]), ("201", &json!("3.00")), "{made}");
        let again = stranger.ask("create-order", &ana, body).await;
        assert_eq!(again, ("201".to_owned(), made.clone()), "its id is its own");
        let (status, listed) = stranger.ask("list-orders", &[("cid", "ana")], "").await;
        assert_eq!((status.as_str(), listed["orders"].as_array().unwrap().len()), ("200", 1), "{listed}");
        let other = stranger.ask("create-order", &ana, r#"{"lines":[{"pid":"fig","quantity":3}]}"#).await;
        assert_eq!((other.0.as_str(), &other.1["reason"]), ("422", &json!("REQUEST_ID_REUSED")));
        let (status, short) = stranger
            .ask(
                "create-order",
                &[("cid", "ana"), ("request-id", "r-2")],
                r#"{"lines":[{"pid":"fig","quantity":99}]}"#,
            )
            .await;
        assert_eq!((status.as_str(), &short["short"][0]["left"]), ("409", &json!(98)), "{short}");
        // It would stay at the broker, for whoever subscribes.
        let correlation =
            stranger.publish_retained("create-order", &[("cid", "ana"), ("request-id", "r-3")], "{}").await;
        let (status, problem) = stranger.answer(&correlation).await;
        assert_eq!((status.as_str(), &problem["field"]), ("400", &json!("retain")), "{problem}");
        cluster.assert_audited().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_or_answered_is_refused_or_counted_and_nothing_is_done() {
    let cluster = open(1, false).await;
    let mut stranger = Stranger::connect(&cluster).await;
    let (cid, id) = (("cid", "ana"), ("request-id", "r"));
    for (operation, properties, body, field) in [
        ("create-order", vec![cid], "{}", "request-id"),
        ("create-order", vec![cid, id, ("request-id", "s")], "{}", "request-id"),
        ("create-order", vec![cid, id, ("request-created-ms", "soon")], "{}", "request-created-ms"),
        ("create-order", vec![cid, id], "[]", "body"),
        ("create-order", vec![cid, id], r#"{"cid":"bia"}"#, "body"),
        ("create-order", vec![cid, id], r#"{"lines":[{"pid":"fig","quantity":"2"}]}"#, "lines[0].quantity"),
        ("drop-tables", vec![cid, id], "{}", "topic"),
        ("insert-client", vec![cid, id], "{}", "topic"),
        ("create-order", vec![cid, id, ("feira-cluster-id", "mine")], "{}", "feira-cluster-id"),
    ] {
        let (status, problem) = stranger.ask(operation, &properties, body).await;
        assert_eq!(
            (status.as_str(), &problem["field"]),
            ("400", &json!(field)),
            "{operation} {properties:?} {body}"
        );
    }
    let elsewhere = [cid, id, ("feira-cluster-id", "00000000000000ff")];
    assert_eq!(stranger.ask("create-order", &elsewhere, "{}").await.0, "421");
    let with = |response_topic: Option<&str>| PublishProperties {
        response_topic: response_topic.map(str::to_owned),
        user_properties: vec![
            ("cid".to_owned(), "ana".to_owned()),
            ("request-id".to_owned(), "u".to_owned()),
        ],
        ..PublishProperties::default()
    };
    let body = r#"{"lines":[{"pid":"fig","quantity":1}]}"#;
    for topic in [None, Some("feira/test/shop/create-order"), Some("feira/test/changes/1"), Some("$SYS/x")] {
        stranger.publish_with("create-order", with(topic), body).await;
    }
    wait::until("four that nobody could be answered", PATIENCE, || async {
        let status = cluster.portal_status("client-1").await.map_err(|status| status.to_string())?;
        if status.unanswerable == 4 { Ok(()) } else { Err(format!("{}", status.unanswerable)) }
    })
    .await;
    let (_, listed) = stranger.ask("list-orders", &[cid], "").await;
    assert_eq!(listed["orders"], json!([]), "none of it was done");
    cluster.assert_audited().await;
}

/// A page of large documents is more than a message may be: it is told, and the connection and the answers of others stay.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_no_message_can_hold_is_told_and_harms_nobody() {
    for embedded in [false, true] {
        let cluster = open(1, embedded).await;
        let mut admin = cluster.admin(1);
        for at in 0..20 {
            let filler = "x".repeat(60_000);
            let data =
                format!("{{\"description\":\"d\",\"price\":\"1\",\"quantity\":1,\"filler\":\"{filler}\"}}");
            let request =
                InsertProductRequest { pid: format!("p{at:02}"), data, request: request_id(), rules: None };
            admin.insert_product(patient(request)).await.unwrap();
        }
        let mut stranger = Stranger::connect(&cluster).await;
        let large = stranger.publish("browse-products", &[("cid", "ana")], "").await;
        let small = stranger.publish("browse-products", &[("cid", "ana")], r#"{"limit":3}"#).await;
        let (status, problem) = stranger.answer(&large).await;
        assert_eq!((status.as_str(), &problem["field"]), ("400", &json!("answer")), "{problem}");
        let (status, page) = stranger.answer(&small).await;
        assert_eq!((status.as_str(), page["products"].as_array().unwrap().len()), ("200", 3));
        assert_eq!(cluster.log_of("client-1").matches("requests are taken from the broker").count(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_portal_that_is_told_so_takes_no_requests_from_the_broker() {
    let mut cluster = open(1, false).await;
    cluster.kill("client-1");
    cluster.run_with("client-1", &[("FEIRA_PORTAL__MQTT", "false")]);
    cluster.wait_until_live().await;
    let caller = Caller::new(place(&cluster));
    let list = || ListOrdersRequest { cid: "ana".into(), ..Default::default() };
    let silent = caller.call::<ListOrders>(list(), Duration::from_millis(1_500)).await;
    assert_eq!(silent.unwrap_err().code(), Code::Unavailable);
    cluster.kill("client-1");
    cluster.run("client-1");
    assert!(caller.call::<ListOrders>(list(), PATIENCE).await.unwrap().into_inner().orders.is_empty());
}

/// A broker hands out so many of QoS 1 at a time as the portal takes; those of QoS 0 it holds back for nobody.
#[tokio::test(flavor = "multi_thread")]
async fn more_requests_at_a_time_than_a_portal_takes_are_told_so_and_the_next_are_served() {
    for embedded in [false, true] {
        let cluster = open(1, embedded).await;
        let mut stranger = Stranger::connect(&cluster).await;
        // Nobody answers the portal: requests pile up in it.
        cluster.nodes().iter().for_each(|node| cluster.signal(node, Signal::SIGSTOP));
        let many = u8::try_from(UNDER_WAY_MAX).unwrap() + 40;
        stranger.qos = QoS::AtMostOnce;
        let mut asked = Vec::new();
        for _ in 0..many {
            asked.push(stranger.publish("browse-products", &[("cid", "ana")], "").await);
        }
        let mut overloaded = 0;
        for correlation in asked {
            let (status, problem) = stranger.answer(&correlation).await;
            match problem["reason"].as_str() {
                Some("OVERLOADED") => {
                    assert_eq!(status, "429", "{problem}");
                    overloaded += 1;
                }
                _ => assert_eq!((status.as_str(), &problem["reason"]), ("503", &json!("STORE_UNAVAILABLE"))),
            }
        }
        assert!((1..=40).contains(&overloaded), "as many as were too many: {overloaded}");
        cluster.nodes().iter().for_each(|node| cluster.signal(node, Signal::SIGCONT));
        stranger.qos = QoS::AtLeastOnce;
        let order = r#"{"lines":[{"pid":"fig","quantity":2}]}"#;
        let made = wait::until("an order after all that", PATIENCE, || async {
            let mut stranger = Stranger::connect(&cluster).await;
            match stranger.ask("create-order", &[("cid", "ana"), ("request-id", "r")], order).await {
                (status, made) if status == "201" => Ok(made),
                refused => Err(format!("{refused:?}")),
            }
        })
        .await;
        assert_eq!(made["total"], json!("3.00"));
        cluster.assert_audited().await;
    }
}

/// mosquitto 2.0.11 counts what it holds back as too large as under way for ever, and sends nothing more when as many are as may.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_brings_no_requests_or_answers_any_more_is_connected_to_anew() {
    let folder = tempfile::tempdir().unwrap();
    let broker =
        Mosquitto::start_with(folder.path(), &["max_inflight_messages 4", "max_packet_size 4194304"]);
    let options = Options { client_portals: 1, shared_broker: Some(broker.address), ..Options::default() };
    let cluster = Cluster::start(feira_tests::feira!(), options).await;
    insert_client(&mut cluster.admin(1), "ana").await.unwrap();
    let (host, port) = (broker.address.ip().to_string(), broker.address.port());
    let (name, service) = ("test".to_owned(), client_portal::TOPICS.to_owned());
    let caller = Caller::new(Place { host, port, login: None, cluster: name, cluster_id: None, service });
    let listed = async || {
        let asked = ListOrdersRequest { cid: "ana".to_owned(), ..Default::default() };
        caller.call::<ListOrders>(asked, PATIENCE).await
    };
    listed().await.unwrap();
    let mut options = MqttOptions::new("a-large-stranger", "127.0.0.1", port);
    options.set_clean_start(true);
    let (client, mut events) = AsyncClient::new(options, 64);
    // More than a portal or a caller takes, as many as may be under way: of a portal as many as it said, of others as the broker says.
    let large = vec![0xff; 9 << 17];
    let topics = [("feira/test/shop/list-orders", usize::from(UNDER_WAY_MAX)), (caller.answers_to(), 4)];
    for topic in topics.into_iter().flat_map(|(topic, count)| std::iter::repeat_n(topic, count)) {
        client.publish(topic, QoS::AtLeastOnce, false, large.clone()).await.unwrap();
        while !matches!(events.poll().await.unwrap(), Event::Incoming(Packet::PubAck(_))) {}
    }
    listed().await.unwrap();
}

/// Settle over each transport: over HTTP at the second portal, over gRPC at the first, over the broker at whichever takes it.
async fn settled(
    cluster: &Cluster,
    caller: &Caller,
    request: Option<RequestId>,
) -> [Result<Settled, Status>; 3] {
    let asked = || SettleRequest { cid: "ana".into(), request: request.clone() };
    let over_http = asking::request(Settle::RESOURCE, &asked(), request.as_ref()).unwrap();
    let mut headers = vec![("content-type", "application/json")];
    for name in ["idempotency-key", "idempotency-key-created-ms"] {
        headers.extend(over_http.headers().get(name).map(|value| (name, value.to_str().unwrap())));
    }
    let line = format!("{} {}", over_http.method(), over_http.uri());
    let answer = http1::ask(cluster.address("client-2"), &line, &headers, "{}");
    [
        asking::answer(answer.status, answer.body.as_bytes()),
        caller.call::<Settle>(asked(), PATIENCE).await.map(Response::into_inner),
        cluster.shop(1).settle(asked()).await.map(Response::into_inner),
    ]
}

/// What was asked over one transport is settled over each: done, or never to be.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_settled_over_each_transport_and_closed_for_all() {
    for embedded in [false, true] {
        let cluster = open(2, embedded).await;
        let caller = Caller::new(place(&cluster));
        let made = |request, figs| CreateOrderRequest {
            cid: "ana".into(),
            lines: lines(&[("fig", figs)]),
            request,
            ..CreateOrderRequest::default()
        };
        let (done, refused, open) = (request_id(), request_id(), request_id());
        let order = cluster.shop(1).create_order(made(done.clone(), 4)).await.unwrap().into_inner();
        cluster.shop(1).create_order(made(refused.clone(), 101)).await.unwrap_err();
        let id = |created_ms| Some(RequestId { created_ms, ..request_id().unwrap() });
        let outcomes = [
            (done, "done", Some(order)),
            (refused, "refused", None),
            (open.clone(), "not_done", None),
            // It may have been done, longer ago than anybody remembers.
            (id(1), "expired", None),
            (id(0), "not_remembered", None),
        ];
        for (request, outcome, order) in outcomes {
            let is = Settled { outcome: outcome.to_owned(), order };
            for told in settled(&cluster, &caller, request).await {
                assert_eq!(told.unwrap(), is);
            }
        }
        for told in settled(&cluster, &caller, None).await {
            let refusal = feira_tests::shop::refused(told);
            assert_eq!(refusal.class(), (Code::InvalidArgument, "INVALID_FIELD"), "{refusal:?}");
        }
        let mqtt = caller.call::<CreateOrder>(made(open.clone(), 1), PATIENCE).await.map(drop);
        for late in [mqtt, cluster.shop(1).create_order(made(open, 1)).await.map(drop)] {
            let refusal = feira_tests::shop::refused(late);
            assert_eq!(refusal.class(), (Code::Aborted, "REQUEST_ID_CLOSED"), "{refusal:?}");
        }
        cluster.assert_audited().await;
    }
}

/// The caller repeats what nobody answers: a portal that dies takes with it what the broker gave it.
#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered_once_while_portals_are_killed_and_stopped() {
    let mut cluster = open(3, false).await;
    let caller = Arc::new(Caller::new(place(&cluster)));
    let (is_over, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let shopper = || {
        let (caller, is_over, count) = (Arc::clone(&caller), Arc::clone(&is_over), Arc::clone(&count));
        tokio::spawn(async move {
            let mut oids = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let lines = lines(&[("fig", 0)][1..]);
                let message = CreateOrderRequest {
                    cid: "ana".into(),
                    lines,
                    request: request_id(),
                    ..CreateOrderRequest::default()
                };
                let made = caller.call::<CreateOrder>(message, PATIENCE * 2).await.unwrap();
                oids.push(made.into_inner().oid);
                count.fetch_add(1, Ordering::Relaxed);
            }
            oids
        })
    };
    let ordering: Vec<_> = (0..3).map(|_| shopper()).collect();
    let mut rounds = 0;
    while rounds < 2 || count.load(Ordering::Relaxed) < 20 {
        rounds += 1;
        assert!(rounds < 300, "orders go on");
        cluster.kill("client-1");
        cluster.run("client-1");
        cluster.stop("client-2");
        cluster.run("client-2");
        cluster.kill("client-3");
        cluster.run("client-3");
        cluster.wait_until_live().await;
    }
    is_over.store(true, Ordering::Relaxed);
    let mut oids = Vec::new();
    for order in ordering {
        oids.extend(order.await.unwrap());
    }
    let made = oids.len();
    oids.sort();
    oids.dedup();
    assert!(oids.len() == made && made >= 20, "each request made an order of its own: {made}");
    cluster.wait_until_live().await;
    let (mut listed, mut after) = (Vec::new(), String::new());
    loop {
        let list = ListOrdersRequest { cid: "ana".into(), limit: 1_000, after };
        let page = caller.call::<ListOrders>(list, PATIENCE).await.unwrap().into_inner();
        listed.extend(page.orders.into_iter().map(|order| order.oid));
        after = page.next;
        if after.is_empty() {
            break;
        }
    }
    assert_eq!(listed, oids, "and no request made two");
    cluster.assert_audited().await;
}
