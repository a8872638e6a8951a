//! The feed over real processes: a reader who is killed again and again, and the broker, are told of everything that was done, in order,
//! while the leader and the portals of staff are killed, the one that publishes among them; an order's way is explained from it.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use feira_tests::cluster::{Cluster, Options, PATIENCE};
use feira_tests::http1;
use feira_tests::shop::{
    insert_client, insert_product, order_persistently, order_request, patient, request_id,
};
use feira_tests::shopper::place;
use feira_tests::wait;
use proto::portal::{Event, ListEventsRequest, OrderRequest, WatchEventsRequest};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish};
use rumqttc::v5::{AsyncClient, Event as Polled, MqttOptions};
use tokio::task::JoinHandle;

const ORDERS: usize = 60;
/// Longer than a keeper's lease and a waiting portal's pause.
const TAKEOVER: Duration = Duration::from_secs(60);

/// What the broker told of events.
#[derive(Default)]
struct Told {
    /// Cursors in the order in which they came, each with the one before it as the message says.
    messages: Vec<(String, Option<String>)>,
    /// Where the feed ends, as it is retained.
    last: Option<String>,
}

impl Told {
    fn take(&mut self, message: &Publish) {
        let text = String::from_utf8(message.payload.to_vec()).unwrap();
        if message.topic.ends_with(b"/last/1") {
            self.last = Some(text);
            return;
        }
        let event: Event = serde_json::from_str(&text).unwrap();
        let properties = message.properties.clone().unwrap_or_default();
        let previous = properties.user_properties.into_iter().find(|(name, _)| name == "previous");
        self.messages.push((event.cursor, previous.map(|(_, cursor)| cursor)));
    }
}

/// Hears the broker, for as long as the handle is held.
fn subscribe(cluster: &Cluster) -> (Arc<Mutex<Told>>, JoinHandle<()>) {
    let broker = place(cluster);
    let mut options = MqttOptions::new("listener", broker.host, broker.port);
    options.set_clean_start(true);
    let (client, mut events) = AsyncClient::new(options, 8);
    let told = Arc::new(Mutex::new(Told::default()));
    let hearing = Arc::clone(&told);
    let task = tokio::spawn(async move {
        loop {
            match events.poll().await.unwrap() {
                Polled::Incoming(Packet::ConnAck(_)) => {
                    client.try_subscribe("feira/test/events", QoS::AtLeastOnce).unwrap();
                    client.try_subscribe("feira/test/events/last/+", QoS::AtLeastOnce).unwrap();
                }
                Polled::Incoming(Packet::Publish(message)) => hearing.lock().unwrap().take(&message),
                _ => {}
            }
        }
    });
    (told, task)
}

/// All events that are there, from any portal of staff that answers.
async fn all(cluster: &Cluster, portal: usize) -> Vec<Event> {
    let (mut events, mut after) = (Vec::new(), String::new());
    loop {
        let asked = ListEventsRequest { after: after.clone(), limit: 1_000, ..Default::default() };
        let page = wait::until("a page of events", PATIENCE, || async {
            let answer = cluster.admin(portal).list_events(patient(asked.clone())).await;
            answer.map(tonic::Response::into_inner).map_err(|status| status.to_string())
        })
        .await;
        events.extend(page.events);
        after = page.next;
        if !page.more {
            return events;
        }
    }
}

/// A reader that takes a few events of a stream, is killed, and asks another portal behind the last cursor that it kept; until it has heard `count`
/// different events.
async fn read_until(cluster: &Cluster, count: usize) -> Vec<Event> {
    let (mut heard, mut cursors) = (Vec::<Event>::new(), BTreeSet::new());
    let mut life = 0;
    while cursors.len() < count {
        life += 1;
        let after = heard.last().map(|event| event.cursor.clone()).unwrap_or_default();
        let asked = WatchEventsRequest { after, ..WatchEventsRequest::default() };
        let Ok(answer) = cluster.admin(1 + life % 2).watch_events(asked).await else {
            tokio::task::yield_now().await;
            continue;
        };
        let mut pages = answer.into_inner();
        let Ok(Ok(Some(page))) = tokio::time::timeout(PATIENCE, pages.message()).await else { continue };
        // It dies over the next one.
        for event in page.events.into_iter().take(1 + life % 7) {
            cursors.insert(event.cursor.clone());
            heard.push(event);
        }
    }
    heard
}

async fn confirm(cluster: &Cluster, cid: &str, oid: &str) {
    let (cid, oid, request) = (cid.to_owned(), oid.to_owned(), request_id());
    let asked = OrderRequest { cid, oid, request, ..OrderRequest::default() };
    wait::until("the confirmation", PATIENCE, || async {
        let answer = cluster.shop(1).confirm_order(patient(asked.clone())).await;
        answer.map(drop).map_err(|status| status.to_string())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_and_the_broker_are_told_of_everything_whoever_is_killed() {
    let options = Options { admin_portals: 2, client_portals: 1, ..Options::default() };
    let mut cluster = Cluster::start(feira_tests::feira!(), options).await;
    let (told, listening) = subscribe(&cluster);
    insert_client(&mut cluster.admin(1), "ana").await.unwrap();
    insert_product(&mut cluster.admin(1), "fig", 1_000, "1.50").await.unwrap();
    let mut done = 2;
    for number in 0..ORDERS {
        match number {
            15 => {
                let leader = cluster.leader().await;
                cluster.kill(&leader);
                cluster.run(&leader);
            }
            // Whichever of them published does so no more; another has to take its place.
            30 => ["admin-1", "admin-2"].into_iter().for_each(|portal| {
                cluster.kill(portal);
                cluster.run(portal);
            }),
            _ => {}
        }
        let order = order_persistently(&mut cluster.shop(1), &order_request("ana", &[("fig", 2)])).await;
        done += 1;
        if number % 2 == 0 {
            confirm(&cluster, "ana", &order.oid).await;
            done += 1;
        }
    }
    let events = all(&cluster, 1).await;
    assert_eq!(events.len(), done, "one event an operation");
    assert!(events.is_sorted_by_key(|event| event.offset));

    let heard = tokio::time::timeout(TAKEOVER, read_until(&cluster, done)).await.unwrap();
    assert_eq!(
        heard, events,
        "behind the cursor that it kept a reader is given what follows, and nothing else"
    );

    wait::until("the broker to have been told of everything", TAKEOVER, || async {
        let told = told.lock().unwrap();
        let cursors: BTreeSet<&String> = told.messages.iter().map(|(cursor, _)| cursor).collect();
        let is_all = cursors.len() == done && told.last.as_ref() == events.last().map(|event| &event.cursor);
        if is_all { Ok(()) } else { Err(format!("{} of {done}, last {:?}", cursors.len(), told.last)) }
    })
    .await;
    listening.abort();
    // Each message names the one before it: nobody has to count.
    let messages = std::mem::take(&mut told.lock().unwrap().messages);
    let before: BTreeMap<&str, Option<&str>> = events
        .iter()
        .zip(std::iter::once(None).chain(events.iter().map(Some)))
        .map(|(event, before)| (event.cursor.as_str(), before.map(|before| before.cursor.as_str())))
        .collect();
    for (cursor, previous) in &messages {
        assert_eq!(previous.as_deref(), before[cursor.as_str()], "{cursor}");
    }
    println!("{done} events, {} messages", messages.len());
    cluster.assert_audited().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_explained_and_events_are_sent_to_browsers() {
    let cluster = Cluster::start(feira_tests::feira!(), Options::default()).await;
    insert_client(&mut cluster.admin(1), "ana").await.unwrap();
    insert_product(&mut cluster.admin(1), "fig", 10, "1.50").await.unwrap();
    let order = order_persistently(&mut cluster.shop(1), &order_request("ana", &[("fig", 2)])).await;
    confirm(&cluster, "ana", &order.oid).await;
    let events = all(&cluster, 1).await;
    assert_eq!(events.len(), 4);

    let explained = cluster.tool(&["explain", &order.oid]);
    assert!(explained.status.success(), "{explained:?}");
    let text = String::from_utf8_lossy(&explained.stdout).into_owned();
    for said in ["2 steps in", "created", "confirmed", "fig 0 → 2"] {
        assert!(text.contains(said), "{said}: {text}");
    }
    let trail = cluster.tool(&["audit", "--trail", "fig", "--json"]);
    let trail = String::from_utf8_lossy(&trail.stdout).into_owned();
    assert!(trail.contains("\"inserted\"") && trail.contains("\"created\""), "{trail}");

    // What follows the second, as a browser asks that has had it.
    let line = "GET /v1/events/stream";
    let last = events[1].cursor.as_str();
    let sent = http1::read_some(cluster.address("admin-1"), line, &[("Last-Event-ID", last)], |text| {
        text.matches("data: ").count() >= 2
    });
    let ids: Vec<&str> = sent.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    assert_eq!(ids, [events[2].cursor.as_str(), events[3].cursor.as_str()], "{sent}");
    assert!(sent.contains("content-type: text/event-stream"), "{sent}");

    // Whoever has all of them has an answer all the same, and not only when something happens.
    let last = events.last().unwrap().cursor.as_str();
    let sent = http1::read_some(cluster.address("admin-1"), line, &[("Last-Event-ID", last)], |text| {
        text.contains("text/event-stream") && text.contains("\r\n\r\n")
    });
    assert!(!sent.contains("id: "), "nothing is told, but that it goes on: {sent}");
}
