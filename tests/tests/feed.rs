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
use proto::portal::admin_client::AdminClient;
use proto::portal::{Event, ListEventsRequest, OrderRequest, WatchEventsRequest};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish};
use rumqttc::v5::{AsyncClient, Event as Polled, MqttOptions};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

const ORDERS: usize = 60;
/// Longer than a keeper's lease and a waiting portal's pause.
const TAKEOVER: Duration = Duration::from_secs(60);

/// A reader that waits for events dies after so long.
const LIFE_MAX: Duration = Duration::from_millis(500);
/// Between two lives of a reader whose portal does not answer.
const PAUSE: Duration = Duration::from_millis(20);

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

/// What a reader has worked off; the cursor of the last is all that it keeps over its death.
type Heard = Arc<Mutex<Vec<Event>>>;

/// One life of a reader: it works off what it is given behind the last cursor, and dies over the event after so many.
async fn read(admin: &mut AdminClient<Channel>, heard: &Heard, dies_after: usize) {
    let after = heard.lock().unwrap().last().map(|event| event.cursor.clone()).unwrap_or_default();
    let asked = WatchEventsRequest { after, ..WatchEventsRequest::default() };
    let Ok(answer) = admin.watch_events(asked).await else { return };
    let (mut pages, mut worked_off) = (answer.into_inner(), 0);
    while let Ok(Some(page)) = pages.message().await {
        for event in page.events {
            if worked_off == dies_after {
                return;
            }
            heard.lock().unwrap().push(event);
            worked_off += 1;
        }
    }
}

/// A reader that dies over its work again and again, and lives on at the other portal, until it has worked off `count` events. How often it died
/// with something worked off.
async fn killed_reader(
    mut admins: [AdminClient<Channel>; 2],
    heard: Heard,
    mut count: watch::Receiver<usize>,
) -> usize {
    let (mut lives, mut deaths) = (0, 0);
    loop {
        let known = *count.borrow_and_update();
        if known > 0 && heard.lock().unwrap().len() >= known {
            return deaths;
        }
        let (dies_after, before) = (1 + lives % 7, heard.lock().unwrap().len());
        let admin = &mut admins[lives % 2];
        lives += 1;
        tokio::select! {
            () = read(admin, &heard, dies_after) => {}
            // It dies while it waits, too.
            _ = count.changed() => {}
            () = wait::pass(LIFE_MAX) => {}
        }
        if heard.lock().unwrap().len() > before {
            deaths += 1;
        } else {
            wait::pass(PAUSE).await;
        }
    }
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

/// The portal of staff that keeps the feed.
async fn publisher(cluster: &Cluster) -> &'static str {
    wait::until("a portal to keep the feed", PATIENCE, || async {
        let keeps = |name: &&str| cluster.log_of(name).contains("this portal keeps the feed of events");
        ["admin-1", "admin-2"].into_iter().find(keeps).ok_or("none does")
    })
    .await
}

/// Messages of the broker come in the order of the log, but for those that come again.
fn are_in_order(messages: &[(String, Option<String>)], events: &[Event]) {
    // Each message names the one before it: nobody has to count.
    let before: BTreeMap<&str, Option<&str>> = events
        .iter()
        .zip(std::iter::once(None).chain(events.iter().map(Some)))
        .map(|(event, before)| (event.cursor.as_str(), before.map(|before| before.cursor.as_str())))
        .collect();
    for (cursor, previous) in messages {
        assert_eq!(previous.as_deref(), before[cursor.as_str()], "{cursor}");
    }
    let mut seen = BTreeSet::new();
    let firsts = messages.iter().map(|(cursor, _)| cursor).filter(|cursor| seen.insert(*cursor));
    assert!(firsts.eq(events.iter().map(|event| &event.cursor)), "and they come in the order of the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_and_the_broker_are_told_of_everything_whoever_is_killed() {
    let options = Options { admin_portals: 2, client_portals: 1, ..Options::default() };
    let mut cluster = Cluster::start(feira_tests::feira!(), options).await;
    let (told, listening) = subscribe(&cluster);
    let (heard, (tell, count)) = (Heard::default(), watch::channel(0));
    let reader = tokio::spawn(killed_reader([1, 2].map(|at| cluster.admin(at)), Arc::clone(&heard), count));
    insert_client(&mut cluster.admin(1), "ana").await.unwrap();
    insert_product(&mut cluster.admin(1), "fig", 1_000, "1.50").await.unwrap();
    let publisher = publisher(&cluster).await;
    let mut done = 2;
    for number in 0..ORDERS {
        match number {
            15 => {
                let leader = cluster.leader().await;
                cluster.kill(&leader);
                cluster.run(&leader);
            }
            // It publishes no more: the other has to take its place.
            30 => cluster.kill(publisher),
            _ => {}
        }
        let order = order_persistently(&mut cluster.shop(1), &order_request("ana", &[("fig", 2)])).await;
        done += 1;
        if number % 2 == 0 {
            confirm(&cluster, "ana", &order.oid).await;
            done += 1;
        }
    }
    let events = all(&cluster, if publisher == "admin-1" { 2 } else { 1 }).await;
    assert_eq!(events.len(), done, "one event an operation");
    assert!(events.is_sorted_by_key(|event| event.offset));

    tell.send(done).unwrap();
    let deaths = tokio::time::timeout(TAKEOVER, reader).await.unwrap().unwrap();
    assert!(deaths >= ORDERS / 7, "it was killed over its work: {deaths}");
    assert_eq!(
        *heard.lock().unwrap(),
        events,
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
    let messages = std::mem::take(&mut told.lock().unwrap().messages);
    are_in_order(&messages, &events);
    cluster.run(publisher);
    println!("{done} events, {} messages; the reader died {deaths} times", messages.len());
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
