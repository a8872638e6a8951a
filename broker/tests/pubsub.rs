//! The broker that feira needs, over real sockets through its own client library: one suite, run over the embedded
//! broker and over mosquitto.
//!
//! Every wait has a deadline. Each test has its own broker on its own port.
#![allow(clippy::unwrap_used)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use bytes::Bytes;
use fixture::{DEADLINE, Peer, Running, on_port, options, start};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectProperties, Filter, LastWill, Packet, PublishProperties};

mod fixture;

/// Runs each of these tests over both brokers.
macro_rules! over_both {
    ($($name:ident),* $(,)?) => {
        mod embedded {
            $(#[tokio::test] async fn $name() { super::$name(super::start(super::on_port(0)).await).await; })*
        }
        mod mosquitto {
            $(#[tokio::test] async fn $name() { super::$name(super::fixture::mosquitto()).await; })*
        }
    };
}

over_both!(
    two_subscribers_each_get_every_message_in_order,
    wildcards_match_levels_and_nothing_else,
    a_late_subscriber_gets_the_retained_message,
    a_client_that_connects_anew_subscribes_anew_and_gets_what_follows,
    a_session_that_asks_to_last_gets_what_came_while_it_was_away,
    a_shared_subscription_gives_each_message_to_one_of_its_members,
    what_a_message_carries_reaches_its_subscriber,
    a_message_that_expired_is_not_delivered,
    an_empty_retained_message_takes_the_one_before_away,
    a_will_is_published_when_its_client_is_gone_without_a_word,
    a_client_does_not_hear_itself_if_it_asks_so,
    a_client_that_takes_one_message_at_a_time_gets_all,
    an_unsubscribed_client_gets_nothing_more,
    a_client_that_falls_silent_is_cut,
);

async fn two_subscribers_each_get_every_message_in_order(broker: Running) {
    let mut one = Peer::connect(options("one", broker.at)).await;
    let mut two = Peer::connect(options("two", broker.at)).await;
    let mut publisher = Peer::connect(options("publisher", broker.at)).await;
    one.subscribe("feira/c/changes/0").await;
    two.subscribe("feira/c/changes/0").await;
    // More than are sent to whoever acknowledges none yet: the others wait in the broker.
    let expected: Vec<String> = (0..600).map(|n| n.to_string()).collect();
    for payload in &expected {
        publisher.publish("feira/c/changes/0", false, payload).await;
    }
    assert_eq!(one.payloads(expected.len()).await, expected);
    assert_eq!(two.payloads(expected.len()).await, expected);
    broker.stop().await;
}

async fn wildcards_match_levels_and_nothing_else(broker: Running) {
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

async fn a_late_subscriber_gets_the_retained_message(broker: Running) {
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

async fn a_client_that_connects_anew_subscribes_anew_and_gets_what_follows(broker: Running) {
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

async fn a_session_that_asks_to_last_gets_what_came_while_it_was_away(broker: Running) {
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

async fn a_shared_subscription_gives_each_message_to_one_of_its_members(broker: Running) {
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

async fn what_a_message_carries_reaches_its_subscriber(broker: Running) {
    let mut subscriber = Peer::connect(options("subscriber", broker.at)).await;
    let mut publisher = Peer::connect(options("publisher", broker.at)).await;
    subscriber.subscribe("feira/c/shop/+").await;
    let properties = PublishProperties {
        payload_format_indicator: Some(1),
        message_expiry_interval: Some(3_600),
        response_topic: Some("feira/c/replies/7".to_owned()),
        correlation_data: Some(Bytes::from_static(b"request 7")),
        user_properties: vec![("cid".to_owned(), "ana".to_owned()), ("cid".to_owned(), "again".to_owned())],
        content_type: Some("application/json".to_owned()),
        ..PublishProperties::default()
    };
    publisher.publish_with("feira/c/shop/CreateOrder", false, "{}", properties.clone()).await;
    let received = subscriber.received().await;
    let mut carried = received.properties.unwrap();
    let left = carried.message_expiry_interval.unwrap();
    assert!((3_000..=3_600).contains(&left), "{left}");
    carried.message_expiry_interval = properties.message_expiry_interval;
    assert_eq!((carried, received.payload.as_ref()), (properties, &b"{}"[..]));
    broker.stop().await;
}

async fn a_message_that_expired_is_not_delivered(broker: Running) {
    let mut publisher = Peer::connect(options("publisher", broker.at)).await;
    let mut lasting = options("script", broker.at);
    let properties = ConnectProperties { session_expiry_interval: Some(30), ..ConnectProperties::new() };
    lasting.set_clean_start(false).set_connect_properties(properties);
    let mut first = Peer::connect(lasting.clone()).await;
    first.subscribe("feira/c/replies/1").await;
    drop(first);
    let expiring = |seconds| PublishProperties {
        message_expiry_interval: Some(seconds),
        ..PublishProperties::default()
    };
    publisher.publish_with("feira/c/replies/1", false, "short", expiring(1)).await;
    publisher.publish_with("feira/c/last", true, "short", expiring(3)).await;
    publisher.publish("feira/c/replies/1", false, "long").await;
    until_nothing_is_retained(&broker, &mut publisher).await;
    let mut again = Peer::connect(lasting).await;
    assert_eq!(again.payloads(1).await, ["long"]);
    again.client.subscribe("feira/c/last", QoS::AtLeastOnce).await.unwrap();
    again.until("suback", |packet| matches!(packet, Packet::SubAck(_)).then_some(())).await;
    publisher.publish("feira/c/last", false, "fresh").await;
    assert_eq!(again.payloads(1).await, ["fresh"], "nor is what was retained");
    broker.stop().await;
}

/// Waits until a new subscriber of the topic hears what is published to another first.
async fn until_nothing_is_retained(broker: &Running, publisher: &mut Peer) {
    let wait = async {
        loop {
            let mut late = Peer::connect(options("late", broker.at)).await;
            late.subscribe("feira/c/mark").await;
            late.client.subscribe("feira/c/last", QoS::AtLeastOnce).await.unwrap();
            let subscribed =
                |packet| matches!(packet, Packet::SubAck(_) | Packet::Publish(_)).then_some(packet);
            let first = late.until("suback", subscribed).await;
            if matches!(first, Packet::Publish(_)) {
                continue;
            }
            publisher.publish("feira/c/mark", false, "mark").await;
            if late.payloads(1).await == ["mark"] {
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.unwrap();
}

async fn an_empty_retained_message_takes_the_one_before_away(broker: Running) {
    let mut publisher = Peer::connect(options("publisher", broker.at)).await;
    publisher.publish("feira/c/last", true, "old").await;
    publisher.publish("feira/c/last", true, "").await;
    let mut late = Peer::connect(options("late", broker.at)).await;
    late.subscribe("feira/c/last").await;
    publisher.publish("feira/c/last", true, "new").await;
    let first = late.received().await;
    assert_eq!(
        (first.payload.as_ref(), first.retain),
        (&b"new"[..], false),
        "it is no retained one to who is there"
    );
    broker.stop().await;
}

async fn a_will_is_published_when_its_client_is_gone_without_a_word(broker: Running) {
    let mut watcher = Peer::connect(options("watcher", broker.at)).await;
    watcher.subscribe("feira/c/gone/+").await;
    for (id, says_goodbye) in [("polite", true), ("lost", false)] {
        let mut dying = options(id, broker.at);
        dying.set_last_will(LastWill::new(format!("feira/c/gone/{id}"), id, QoS::AtLeastOnce, false, None));
        let mut dying = Peer::connect(dying).await;
        if says_goodbye {
            dying.client.disconnect().await.unwrap();
            dying.failure().await;
        }
    }
    assert_eq!(watcher.payloads(1).await, ["lost"]);
    broker.stop().await;
}

async fn a_client_does_not_hear_itself_if_it_asks_so(broker: Running) {
    let mut own = Peer::connect(options("own", broker.at)).await;
    let mut other = Peer::connect(options("other", broker.at)).await;
    let mut filter = Filter::new("feira/c/changes/0", QoS::AtLeastOnce);
    filter.nolocal = true;
    own.client.subscribe_many([filter]).await.unwrap();
    own.until("suback", |packet| matches!(packet, Packet::SubAck(_)).then_some(())).await;
    own.publish("feira/c/changes/0", false, "mine").await;
    other.publish("feira/c/changes/0", false, "theirs").await;
    assert_eq!(own.payloads(1).await, ["theirs"]);
    broker.stop().await;
}

async fn a_client_that_takes_one_message_at_a_time_gets_all(broker: Running) {
    let mut slow = options("slow", broker.at);
    slow.set_manual_acks(true);
    let properties = ConnectProperties { receive_maximum: Some(1), ..ConnectProperties::new() };
    slow.set_connect_properties(properties);
    let mut slow = Peer::connect(slow).await;
    slow.subscribe("feira/#").await;
    let mut publisher = Peer::connect(options("publisher", broker.at)).await;
    for n in 0..5 {
        publisher.publish("feira/c", false, &n.to_string()).await;
    }
    for n in 0..5 {
        let publish = slow.received().await;
        assert_eq!(publish.payload, n.to_string());
        slow.client.ack(&publish).await.unwrap();
    }
    broker.stop().await;
}

async fn an_unsubscribed_client_gets_nothing_more(broker: Running) {
    let mut subscriber = Peer::connect(options("subscriber", broker.at)).await;
    subscriber.subscribe("feira/a").await;
    subscriber.subscribe("feira/b").await;
    subscriber.client.unsubscribe("feira/a").await.unwrap();
    subscriber.until("unsuback", |packet| matches!(packet, Packet::UnsubAck(_)).then_some(())).await;
    let mut publisher = Peer::connect(options("publisher", broker.at)).await;
    publisher.publish("feira/a", false, "no more").await;
    publisher.publish("feira/b", false, "still").await;
    assert_eq!(subscriber.payloads(1).await, ["still"]);
    broker.stop().await;
}

async fn a_client_that_falls_silent_is_cut(broker: Running) {
    let at = broker.at;
    let cut = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(at).unwrap();
        // CONNECT, version 5, clean start, keepalive 1 s, client id "x".
        stream.write_all(b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x01\x00\x00\x01x").unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard)
    });
    assert!(cut.await.unwrap().is_ok(), "it was closed");
    broker.stop().await;
}
