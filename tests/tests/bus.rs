//! Others on the broker: messages that are too large or none, and clusters of the same name. Caches
//! go on, LIVE and right, and connections stand; leaders and portals count and ignore the rest.
#![allow(clippy::unwrap_used)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use feira_tests::cluster::{Cluster, Options, PATIENCE};
use feira_tests::mosquitto::Mosquitto;
use feira_tests::port::Port;
use feira_tests::shop::{insert_client, patient};
use feira_tests::wait;
use prost::Message as _;
use proto::portal::{GetClientRequest, PortalStatusResponse};
use proto::store::{Sealed, Txn};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use store_client::{Store as _, request_identity};

/// A publisher that lost the broker so often has paused for 6.5 s at least; with the first pause alone it would be 0.6 s.
const CONNECTIONS: usize = 12;
const PAUSED_MIN: Duration = Duration::from_secs(5);

/// More than any nonce, and less than brokers take.
const LARGE_BYTES: usize = 600 << 10;

async fn status(cluster: &Cluster, portal: &str) -> PortalStatusResponse {
    cluster.portal_status(portal).await.unwrap()
}

/// Publishes these, one after the other, and waits until the broker has taken all of them.
async fn publish(broker: SocketAddr, messages: Vec<(&str, Vec<u8>)>) {
    let mut options = MqttOptions::new("stranger", broker.ip().to_string(), broker.port());
    options.set_clean_start(true);
    let (stranger, mut events) = AsyncClient::new(options, messages.len() + 1);
    let mut wanted = messages.len();
    for (topic, payload) in messages {
        stranger.publish(topic, QoS::AtLeastOnce, false, payload).await.unwrap();
    }
    while wanted > 0 {
        let event = tokio::time::timeout(PATIENCE, events.poll()).await.unwrap().unwrap();
        wanted -= usize::from(matches!(event, Event::Incoming(Packet::PubAck(_))));
    }
}

/// Beats come: two leases later the cache is LIVE (again, if this machine was busy), though it has not begun anew.
async fn heartbeats_come(cluster: &Cluster) {
    for portal in ["admin-1", "client-1"] {
        let before = status(cluster, portal).await;
        let after = wait::until("a lease from a beat", PATIENCE, || async {
            let now = status(cluster, portal).await;
            let held = now.groups[0].state == "LIVE" && now.up_ms > before.up_ms + 2_000;
            if held { Ok(now) } else { Err(format!("{now:?}")) }
        })
        .await;
        assert_eq!((after.flushes, after.gaps), (before.flushes, before.gaps), "{portal}: {after:?}");
    }
}

async fn strangers_messages_are_ignored(cluster: &Cluster, broker: SocketAddr) {
    insert_client(&mut cluster.admin(1), "ana").await.unwrap();
    heartbeats_come(cluster).await;
    let mut messages = Vec::new();
    for topic in ["feira/test/nonce/1", "feira/test/changes/1"] {
        messages.extend([(topic, vec![0xff; LARGE_BYTES]), (topic, vec![0xff; 7]), (topic, Vec::new())]);
    }
    publish(broker, messages).await;
    wait::until("the portal to count them", PATIENCE, || async {
        let ignored = status(cluster, "client-1").await.ignored;
        if ignored == 3 { Ok(()) } else { Err(ignored.to_string()) }
    })
    .await;
    heartbeats_come(cluster).await;
    let leader = cluster.log_of(&cluster.leader().await);
    assert!(!leader.contains("the broker is lost"), "the publisher's connection stands: {leader}");
    let told = leader.lines().filter(|line| line.contains("ignored on the topic of nonces")).count();
    assert!((1..=2).contains(&told), "one line a second at most: {leader}");
}

#[tokio::test]
async fn an_oversized_nonce_leaves_the_publisher_connected_on_mosquitto() {
    let cluster = Cluster::start(feira_tests::feira!(), Options::default()).await;
    let broker = cluster.mosquitto.as_ref().unwrap().address;
    strangers_messages_are_ignored(&cluster, broker).await;
}

#[tokio::test]
async fn an_oversized_nonce_leaves_the_publisher_connected_on_the_embedded_broker() {
    let options = Options { embedded_broker: true, ..Options::default() };
    let cluster = Cluster::start(feira_tests::feira!(), options).await;
    let broker = cluster.address("broker").parse().unwrap();
    strangers_messages_are_ignored(&cluster, broker).await;
}

/// The publisher began with it on one connection after the other, and caches stayed SUSPECT for good.
#[tokio::test]
async fn a_change_that_the_broker_does_not_take_is_a_gap_and_what_follows_is_published() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start_with(folder.path(), &["max_packet_size 65536"]);
    let shared_broker = Some(broker.address);
    let cluster =
        Cluster::start(feira_tests::feira!(), Options { nodes: 1, shared_broker, ..Options::default() })
            .await;
    heartbeats_come(&cluster).await;
    let prefix = vec![b'k'; 459];
    let large = (0..500).fold(Txn::new(), |txn, _| txn.append(prefix.clone(), 1, "{}", Vec::new()));
    let written = cluster.store().txn(large, Some(request_identity([7; 16]))).await.unwrap();
    assert!(written.success);
    let gaps = wait::until("the gap is seen", PATIENCE, || async {
        let gaps = status(&cluster, "admin-1").await.gaps;
        if gaps > 0 { Ok(gaps) } else { Err("none yet") }
    })
    .await;
    insert_client(&mut cluster.admin(1), "ana").await.unwrap();
    wait::until("the caches are live again", PATIENCE, || async {
        let now = status(&cluster, "client-1").await;
        if now.groups[0].state == "LIVE" { Ok(()) } else { Err(format!("{now:?}, after {gaps} gaps")) }
    })
    .await;
    heartbeats_come(&cluster).await;
    let leader = cluster.log_of(&cluster.leader().await);
    assert!(leader.contains("larger than the broker takes"), "{leader}");
    assert!(!leader.contains("the broker is lost"), "the publisher's connection stands: {leader}");
}

/// Everything on the topics of caches for a while, as anybody on the broker can record it.
async fn recorded(broker: SocketAddr, enough: usize) -> Vec<(String, Sealed)> {
    let mut options = MqttOptions::new("recorder", broker.ip().to_string(), broker.port());
    options.set_clean_start(true);
    let (recorder, mut events) = AsyncClient::new(options, 8);
    for filter in ["feira/+/changes/#", "feira/+/nonce/#"] {
        recorder.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
    }
    let mut all = Vec::new();
    while all.len() < enough {
        let event = tokio::time::timeout(PATIENCE, events.poll()).await.unwrap().unwrap();
        if let Event::Incoming(Packet::Publish(publish)) = event {
            let topic = String::from_utf8(publish.topic.to_vec()).unwrap();
            all.push((topic, Sealed::decode(publish.payload).unwrap()));
        }
    }
    all
}

#[tokio::test]
async fn a_stranger_moves_no_cache_and_is_counted_by_nodes_and_portals() {
    let options = Options { nodes: 1, ..Options::default() };
    let cluster = Cluster::start(feira_tests::feira!(), options).await;
    let broker = cluster.mosquitto.as_ref().unwrap().address;
    insert_client(&mut cluster.admin(1), "ana").await.unwrap();
    heartbeats_come(&cluster).await;
    let recorded = recorded(broker, 40).await;
    let (nonces, changes) = ("feira/test/nonce/1", "feira/test/changes/1");
    assert!([nonces, changes].iter().all(|topic| recorded.iter().any(|(on, _)| on == topic)));
    let mut said: Vec<(&str, Vec<u8>)> = Vec::new();
    for (topic, sealed) in &recorded {
        let (here, other) = if topic == nonces { (nonces, changes) } else { (changes, nonces) };
        let mutated = Sealed { mac: sealed.mac.iter().map(|byte| byte ^ 1).collect(), ..sealed.clone() };
        let bare = Sealed { mac: bytes::Bytes::new(), ..sealed.clone() };
        // Repeated where it was, in the other direction, mutated, without its proof, and as earlier versions had it.
        said.extend([(here, sealed.encode_to_vec()), (other, sealed.encode_to_vec())]);
        said.extend([(here, mutated.encode_to_vec()), (here, bare.encode_to_vec())]);
        said.push((here, sealed.content.to_vec()));
    }
    publish(broker, said).await;
    wait::until("node and portals to count them", PATIENCE, || async {
        let node = cluster.status("node-1").await.map_err(|status| status.to_string())?.bus_ignored;
        let portal = status(&cluster, "client-1").await;
        let counted = node >= 40 && portal.unproven >= 40 && portal.ignored > portal.unproven;
        if counted { Ok(()) } else { Err(format!("{node}, {portal:?}")) }
    })
    .await;
    heartbeats_come(&cluster).await;
    for name in ["node-1", "client-1"] {
        let log = cluster.log_of(name);
        let told = log.lines().filter(|line| line.contains("ignored on the topic of")).count();
        assert!((1..20).contains(&told), "{name} tells, one line a second at most: {log}");
    }
}

#[tokio::test]
async fn two_clusters_of_one_name_on_one_broker_misled_each_others_caches() {
    let options = Options { nodes: 1, ..Options::default() };
    let one = Cluster::start(feira_tests::feira!(), options).await;
    let shared_broker = Some(one.mosquitto.as_ref().unwrap().address);
    let other = Cluster::start(feira_tests::feira!(), Options { shared_broker, ..options }).await;
    // The same keys, at offsets that are far apart.
    insert_client(&mut one.admin(1), "ana").await.unwrap();
    for count in 0..100 {
        insert_client(&mut other.admin(1), &format!("client-{count}")).await.unwrap();
    }
    insert_client(&mut other.admin(1), "ana").await.unwrap();
    for cluster in [&one, &other] {
        heartbeats_come(cluster).await;
        wait::until("a hit", PATIENCE, || async {
            let before = status(cluster, "admin-1").await;
            let asked = GetClientRequest { cid: "ana".to_owned() };
            cluster.admin(1).get_client(patient(asked)).await.unwrap();
            let after = status(cluster, "admin-1").await;
            if after.hits > before.hits { Ok(()) } else { Err(format!("{after:?}")) }
        })
        .await;
        let seen = status(cluster, "admin-1").await;
        assert!(seen.ignored > 0 && seen.gaps == 0, "{seen:?}");
        let log = cluster.log_of("admin-1");
        let told = log.lines().filter(|line| line.contains("ignored on the topic of changes")).count();
        assert!(told > 0 && told < 20, "now and then: {log}");
        assert_eq!(seen.unproven, 0, "the other says whose it is");
    }
}

/// The body of the next packet (MQTT 5, 2.1).
fn packet(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut next = || {
        let mut byte = [0];
        stream.read_exact(&mut byte).map(|()| byte[0])
    };
    let (_kind, mut length) = (next()?, 0);
    for at in 0..4 {
        let byte = next()?;
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(body)
}

/// Takes a client and its subscription, and leaves it.
fn takes_the_subscription(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    packet(&mut stream)?;
    stream.write_all(&[0x20, 3, 0, 0, 0])?;
    let subscribe = packet(&mut stream)?;
    stream.write_all(&[0x90, 4, subscribe[0], subscribe[1], 0, 0])
}

/// Leaves a client as soon as it has come.
fn takes_nothing(stream: TcpStream) -> std::io::Result<()> {
    drop(stream);
    Ok(())
}

/// Connects again and again, ever less often: the time from the first connection to the last of so many.
async fn a_publisher_that_loses_its_broker(loses: fn(TcpStream) -> std::io::Result<()>) -> Duration {
    let (_port, listener): (Port, TcpListener) = Port::lease_bound();
    let broker = listener.local_addr().unwrap();
    let came = Arc::new(parking_lot::Mutex::new(Vec::new()));
    // It ends with the process of the tests.
    std::thread::spawn({
        let came = Arc::clone(&came);
        move || {
            for stream in listener.incoming() {
                came.lock().push(Instant::now());
                // The publisher may be gone first.
                let _ = stream.and_then(loses);
            }
        }
    });
    let options = Options {
        nodes: 1,
        admin_portals: 0,
        client_portals: 0,
        shared_broker: Some(broker),
        ..Options::default()
    };
    let mut cluster = Cluster::start(feira_tests::feira!(), options).await;
    cluster.store().txn(Txn::new().put("k", 1, "v"), Some(request_identity([1; 16]))).await.unwrap();
    let took = wait::until("the publisher to come again and again", 2 * PATIENCE, || async {
        match came.lock()[..] {
            [first, ref others @ ..] if others.len() + 1 >= CONNECTIONS => {
                Ok(others[CONNECTIONS - 2].duration_since(first))
            }
            ref came => Err(format!("{} connections", came.len())),
        }
    })
    .await;
    let told = cluster.log_of("node-1").lines().filter(|line| line.contains("broker")).count();
    assert!(told <= 2 * CONNECTIONS, "{}", cluster.log_of("node-1"));
    cluster.all_run();
    took
}

#[tokio::test]
async fn a_publisher_pauses_ever_longer_when_the_broker_drops_each_connection() {
    let took = a_publisher_that_loses_its_broker(takes_nothing).await;
    assert!(took >= PAUSED_MIN, "{CONNECTIONS} connections within {took:?}");
}

#[tokio::test]
async fn a_publisher_pauses_ever_longer_when_the_broker_takes_it_and_then_drops_it() {
    let took = a_publisher_that_loses_its_broker(takes_the_subscription).await;
    assert!(took >= PAUSED_MIN, "{CONNECTIONS} connections within {took:?}");
}
