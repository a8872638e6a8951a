//! The broker as feira's own client library sees it: MQTT 5 through rumqttc over real sockets.
//!
//! Every wait has a deadline; nothing sleeps. Each test has its own broker on its own port.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::time::Duration;

use broker::{Config, Error, limits, serve};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectProperties, Packet, Publish};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

const DEADLINE: Duration = Duration::from_secs(20);

struct Running {
    at: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), Error>>,
}

fn on_port(port: u16) -> Config {
    Config { at: SocketAddr::from(([127, 0, 0, 1], port)), ..Config::default() }
}

async fn start(config: Config) -> Running {
    let (stop, stopped) = watch::channel(false);
    let (ready, bound) = oneshot::channel();
    let task = tokio::spawn(serve(config, stopped, ready));
    let at = tokio::time::timeout(DEADLINE, bound).await.unwrap().unwrap();
    Running { at, stop, task }
}

impl Running {
    async fn stop(self) {
        self.stop.send(true).unwrap();
        tokio::time::timeout(limits::STOP_GRACE + DEADLINE, self.task).await.unwrap().unwrap().unwrap();
    }
}

fn options(id: &str, at: SocketAddr) -> MqttOptions {
    let mut options = MqttOptions::new(id, at.ip().to_string(), at.port());
    options.set_clean_start(true);
    // More than the broker takes, so that it is the broker that refuses.
    options.set_max_packet_size(Some(4 << 20));
    options
}

struct Peer {
    client: AsyncClient,
    events: EventLoop,
}

impl Peer {
    async fn connect(options: MqttOptions) -> Peer {
        let (client, events) = AsyncClient::new(options, 64);
        let mut peer = Peer { client, events };
        peer.until("connack", |packet| matches!(packet, Packet::ConnAck(_)).then_some(())).await;
        peer
    }

    /// Polls until `pick` takes a packet.
    async fn until<T>(&mut self, what: &str, mut pick: impl FnMut(Packet) -> Option<T>) -> T {
        let wait = async {
            loop {
                if let Event::Incoming(packet) = self.events.poll().await.unwrap()
                    && let Some(found) = pick(packet)
                {
                    return found;
                }
            }
        };
        tokio::time::timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("no {what} in time"))
    }

    async fn subscribe(&mut self, filter: &str) {
        self.client.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
        self.until("suback", |packet| matches!(packet, Packet::SubAck(_)).then_some(())).await;
    }

    /// Publishes at QoS 1 and waits until the broker has taken it.
    async fn publish(&mut self, topic: &str, retain: bool, payload: &str) {
        self.client.publish(topic, QoS::AtLeastOnce, retain, payload.to_owned()).await.unwrap();
        self.until("puback", |packet| matches!(packet, Packet::PubAck(_)).then_some(())).await;
    }

    async fn received(&mut self) -> Publish {
        self.until("publish", |packet| match packet {
            Packet::Publish(publish) => Some(publish),
            _ => None,
        })
        .await
    }

    async fn payloads(&mut self, count: usize) -> Vec<String> {
        let mut all = Vec::new();
        while all.len() < count {
            all.push(String::from_utf8(self.received().await.payload.to_vec()).unwrap());
        }
        all
    }

    /// Polls until the connection fails, and says how.
    async fn failure(&mut self) -> ConnectionError {
        let wait = async {
            loop {
                if let Err(error) = self.events.poll().await {
                    return error;
                }
            }
        };
        tokio::time::timeout(DEADLINE, wait).await.unwrap()
    }
}

#[tokio::test]
async fn two_subscribers_each_get_every_message_in_order() {
    let broker = start(on_port(0)).await;
    let mut one = Peer::connect(options("one", broker.at)).await;
    let mut two = Peer::connect(options("two", broker.at)).await;
    let mut publisher = Peer::connect(options("publisher", broker.at)).await;
    one.subscribe("feira/c/changes/0").await;
    two.subscribe("feira/c/changes/0").await;
    let expected: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    for payload in &expected {
        publisher.publish("feira/c/changes/0", false, payload).await;
    }
    assert_eq!(one.payloads(expected.len()).await, expected);
    assert_eq!(two.payloads(expected.len()).await, expected);
    broker.stop().await;
}

#[tokio::test]
async fn wildcards_match_levels_and_nothing_else() {
    let broker = start(on_port(0)).await;
    let mut one_level = Peer::connect(options("one-level", broker.at)).await;
    let mut all_below = Peer::connect(options("all-below", broker.at)).await;
    let mut publisher = Peer::connect(options("publisher", broker.at)).await;
    one_level.subscribe("feira/+/changes/0").await;
    all_below.subscribe("feira/#").await;
    for topic in ["feira/a/changes/0", "feira/a/changes/1", "other/a/changes/0", "feira/b/changes/0"] {
        publisher.publish(topic, false, topic).await;
    }
    assert_eq!(one_level.payloads(2).await, ["feira/a/changes/0", "feira/b/changes/0"]);
    assert_eq!(all_below.payloads(3).await, ["feira/a/changes/0", "feira/a/changes/1", "feira/b/changes/0"]);
    broker.stop().await;
}

#[tokio::test]
async fn a_late_subscriber_gets_the_retained_message() {
    let broker = start(on_port(0)).await;
    let mut publisher = Peer::connect(options("publisher", broker.at)).await;
    publisher.publish("feira/c/last", true, "old").await;
    publisher.publish("feira/c/last", true, "new").await;
    for round in 0..2 {
        let mut late = Peer::connect(options(&format!("late-{round}"), broker.at)).await;
        late.client.subscribe("feira/c/last", QoS::AtLeastOnce).await.unwrap();
        let publish = late.received().await;
        assert_eq!((publish.payload.as_ref(), publish.retain), (&b"new"[..], true));
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_client_that_connects_anew_subscribes_anew_and_gets_what_follows() {
    let broker = start(on_port(0)).await;
    let mut publisher = Peer::connect(options("publisher", broker.at)).await;
    let mut first = Peer::connect(options("portal", broker.at)).await;
    first.subscribe("feira/c/changes/0").await;
    publisher.publish("feira/c/changes/0", false, "before").await;
    assert_eq!(first.payloads(1).await, ["before"]);
    drop(first);
    let mut again = Peer::connect(options("portal", broker.at)).await;
    publisher.publish("feira/c/changes/0", false, "between").await;
    again.subscribe("feira/c/changes/0").await;
    publisher.publish("feira/c/changes/0", false, "after").await;
    assert_eq!(again.payloads(1).await, ["after"], "a clean start has no memory of its subscriptions");
    broker.stop().await;
}

#[tokio::test]
async fn a_session_that_asks_to_last_gets_what_came_while_it_was_away() {
    let broker = start(on_port(0)).await;
    let mut publisher = Peer::connect(options("publisher", broker.at)).await;
    let mut lasting = options("script", broker.at);
    let properties = ConnectProperties { session_expiry_interval: Some(30), ..ConnectProperties::new() };
    lasting.set_clean_start(false).set_connect_properties(properties);
    let mut first = Peer::connect(lasting.clone()).await;
    first.subscribe("feira/c/replies/1").await;
    drop(first);
    publisher.publish("feira/c/replies/1", false, "while away").await;
    let mut again = Peer::connect(lasting).await;
    assert_eq!(again.payloads(1).await, ["while away"]);
    broker.stop().await;
}

#[tokio::test]
async fn a_shared_subscription_gives_each_message_to_one_of_its_members() {
    let broker = start(on_port(0)).await;
    let mut publisher = Peer::connect(options("publisher", broker.at)).await;
    let mut one = Peer::connect(options("portal-1", broker.at)).await;
    let mut two = Peer::connect(options("portal-2", broker.at)).await;
    one.subscribe("$share/portals/feira/c/shop/+").await;
    two.subscribe("$share/portals/feira/c/shop/+").await;
    for n in 0..20 {
        publisher.publish("feira/c/shop/CreateOrder", false, &n.to_string()).await;
    }
    let mut seen = Vec::new();
    while seen.len() < 20 {
        let publish = tokio::select! {
            publish = one.received() => publish,
            publish = two.received() => publish,
        };
        seen.push(String::from_utf8(publish.payload.to_vec()).unwrap().parse::<u32>().unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..20).collect::<Vec<_>>());
    broker.stop().await;
}

#[tokio::test]
async fn a_broker_restarted_on_the_same_port_serves_again() {
    let broker = start(on_port(0)).await;
    let port = broker.at.port();
    let mut before = Peer::connect(options("portal", broker.at)).await;
    before.subscribe("feira/#").await;
    let stopping = tokio::spawn(broker.stop());
    before.failure().await;
    drop(before);
    stopping.await.unwrap();
    let broker = start(on_port(port)).await;
    assert_eq!(broker.at.port(), port);
    let mut after = Peer::connect(options("portal", broker.at)).await;
    after.subscribe("feira/#").await;
    after.publish("feira/c/changes/0", false, "again").await;
    assert_eq!(after.payloads(1).await, ["again"]);
    broker.stop().await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error_that_says_what_to_do() {
    let broker = start(on_port(0)).await;
    let (_stop, stopped) = watch::channel(false);
    let (ready, bound) = oneshot::channel();
    let error = serve(on_port(broker.at.port()), stopped, ready).await.unwrap_err();
    assert!(matches!(error, Error::Bind { at, .. } if at == broker.at), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("choose another port") && text.contains("Address already in use"), "{text}");
    assert_eq!(text.matches("port").count(), 1, "one hint: {text}");
    assert!(std::error::Error::source(&error).is_none(), "nothing is told a second time by its causes");
    assert!(bound.await.is_err(), "nothing was reported as bound");
    broker.stop().await;
}

#[tokio::test]
async fn a_packet_over_the_limit_ends_that_connection_and_no_other() {
    let broker = start(on_port(0)).await;
    let mut watcher = Peer::connect(options("watcher", broker.at)).await;
    watcher.subscribe("feira/#").await;
    let mut greedy = Peer::connect(options("greedy", broker.at)).await;
    let large = "x".repeat(limits::PACKET_BYTES_MAX + 1);
    greedy.client.publish("feira/large", QoS::AtLeastOnce, false, large).await.unwrap();
    greedy.failure().await;
    watcher.publish("feira/small", false, "fits").await;
    assert_eq!(watcher.payloads(1).await, ["fits"]);
    broker.stop().await;
}

#[tokio::test]
async fn one_client_more_than_allowed_is_turned_away() {
    let broker = start(Config { clients_max: 1, ..on_port(0) }).await;
    let mut allowed = Peer::connect(options("allowed", broker.at)).await;
    allowed.subscribe("feira/#").await;
    let (client, events) = AsyncClient::new(options("too-many", broker.at), 8);
    let mut refused = Peer { client, events };
    refused.failure().await;
    allowed.publish("feira/c", false, "still here").await;
    assert_eq!(allowed.payloads(1).await, ["still here"]);
    broker.stop().await;
}

#[tokio::test]
async fn a_stop_before_the_first_client_ends_at_once() {
    let (stop, stopped) = watch::channel(true);
    let (ready, _bound) = oneshot::channel();
    let ended = tokio::time::timeout(DEADLINE, serve(on_port(0), stopped, ready)).await.unwrap();
    assert!(ended.is_ok(), "{ended:?}");
    drop(stop);
}
