//! One MQTT 5 connection: a task that only polls it, and a handle that only queues. When anything goes wrong the
//! whole connection is given up: the next one publishes its unacknowledged messages again.
//!
//! Anybody on the broker can publish to the topic of nonces. So the broker is told not to send packets larger than a
//! nonce (MQTT 5, 3.1.2.11.4: it discards them, and the connection goes on). A message that is no nonce, asks the leader
//! of another log, or is not proven by the cluster's bus key is counted, told of now and then, and ignored.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message as _;
use proto::store::Nonce;
use rumqttc::NetworkOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason, Publish};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use store_client::bus::{Direction, Foreign, SEAL_BYTES_MAX, Seals, Topic};
use store_client::pace::Pace;
use store_keys::ClusterKey;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::config::{Login, split_address};
use crate::shared::Shared;

use store_engine::publisher::IN_FLIGHT_MAX;

/// Requests that may wait in the client: every message on its way, and the subscription.
const REQUESTS_MAX: usize = IN_FLIGHT_MAX + 1;
/// Messages that the broker has not acknowledged. rumqttc 0.25.1 makes a place for each of as many as there may be at once: 14 MB, if it is
/// not told (findings/rumqttc-inflight-places.sh).
const UNACKNOWLEDGED_MAX: u16 = 1_024;
const _: () = assert!(REQUESTS_MAX <= UNACKNOWLEDGED_MAX as usize);
/// Nonces that may wait; more are dropped, and their portals ask again.
const NONCES_MAX: usize = 1_024;
/// Bytes of a nonce.
const NONCE_BYTES: usize = 16;
/// Bytes of the largest packet that the broker may send: the topic is the longest part of one with a nonce, and the
/// cluster's name of the topic.
const PACKET_BYTES_MAX: u32 = 4 << 10;
/// Bytes of the largest packet that is sent: what `mosquitto.conf` and the embedded broker take, and what portals ask for.
const SENT_BYTES_MAX: u32 = 1 << 20;
/// Bytes of a packet beside topic and payload (MQTT 5, 3.3): a header, lengths, the packet's id, no properties.
const SENT_BYTES_BESIDE: usize = 16;
/// The broker must take the connection and the subscription within this.
const CONNECT_MS_MAX: u64 = 3_000;
/// A broker that is silent for longer is lost.
const KEEP_ALIVE_S: u64 = 5;

/// The connection is lost, and why.
#[derive(Debug)]
pub(super) struct Lost(pub(super) String);

/// What the polling task has seen.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// The subscription stands.
    subscribed: bool,
    /// The largest packet that the broker says it takes.
    packet_bytes_max: Option<u32>,
    /// Messages that the broker acknowledged; it does so in their order (MQTT 5, 4.6).
    acks: u64,
    /// Why the connection ended.
    lost: Option<String>,
}

/// A nonce, in memory of its own: a slice of the packet would keep all of it.
type Heard = [u8; NONCE_BYTES];

/// The handle.
pub(super) struct PublisherSession {
    client: AsyncClient,
    topic: Topic,
    seals: Arc<Seals<ClusterKey>>,
    seen: watch::Receiver<Seen>,
    nonces: mpsc::Receiver<Heard>,
    /// A nonce that was received while waiting.
    heard: Option<Heard>,
    polling: JoinHandle<()>,
}

impl Drop for PublisherSession {
    fn drop(&mut self) {
        self.polling.abort();
    }
}

impl PublisherSession {
    /// Connects with a clean start and subscribes to nonces for the leader of this log.
    pub(super) async fn connect(
        shared: &Arc<Shared>,
        log_id: u64,
        broker: &str,
        login: Option<&Login>,
    ) -> Result<PublisherSession, Lost> {
        let me = &shared.me;
        let (host, port) =
            split_address(broker).ok_or_else(|| Lost(format!("{broker:?} is not host:port")))?;
        let name = format!("feira-{}-store-{}-{:x}", me.cluster, me.member.node.0, fastrand::u32(..));
        let mut options = MqttOptions::new(name, host, port);
        // Events go out at once, not when the broker has acknowledged what was sent before.
        let mut socket = NetworkOptions::new();
        socket.set_tcp_nodelay(true);
        options.set_network_options(socket);
        options.set_keep_alive(Duration::from_secs(KEEP_ALIVE_S)).set_clean_start(true);
        options.set_max_packet_size(Some(PACKET_BYTES_MAX));
        options.set_outgoing_inflight_upper_limit(UNACKNOWLEDGED_MAX);
        if let Some(Login { user, password }) = login {
            options.set_credentials(user, password);
        }
        let (client, events) = AsyncClient::new(options, REQUESTS_MAX);
        let topic = |direction| Topic::new(direction, &me.cluster, me.route.group);
        let nonce_topic = topic(Direction::Nonces);
        client.try_subscribe(nonce_topic.name(), QoS::AtMostOnce).map_err(|error| Lost(error.to_string()))?;
        let (tell, mut seen) = watch::channel(Seen::default());
        let (sender, nonces) = mpsc::channel(NONCES_MAX);
        let seals = Arc::new(Seals::new(shared.keys.clone()));
        let nonce_subscriber = NonceSubscriber {
            ignored: Arc::clone(&shared.bus_ignored),
            log_id,
            topic: nonce_topic,
            seals: Arc::clone(&seals),
            nonces: sender,
            began: Instant::now(),
            telling: Pace::default(),
        };
        let polling = tokio::spawn(poll(events, tell, nonce_subscriber));
        let topic = topic(Direction::Changes);
        let limit = Duration::from_millis(CONNECT_MS_MAX);
        let ready = tokio::time::timeout(limit, seen.wait_for(|seen| seen.subscribed || seen.lost.is_some()));
        let lost = match ready.await {
            Ok(Ok(seen)) => seen.lost.clone(),
            Ok(Err(_)) => Some("the connection ended".to_owned()),
            Err(_) => Some(format!("no answer within {CONNECT_MS_MAX} ms")),
        };
        let publisher_session = PublisherSession { client, topic, seals, seen, nonces, heard: None, polling };
        match lost {
            None => Ok(publisher_session),
            Some(why) => Err(Lost(why)),
        }
    }

    /// Queues a message; the plan leaves room for it.
    pub(super) async fn publish(&mut self, message: Vec<u8>) -> Result<(), Lost> {
        let payload = self.seals.seal(&self.topic, message);
        let queued = self.client.try_publish(self.topic.name(), QoS::AtLeastOnce, false, payload);
        queued.map_err(|error| Lost(error.to_string()))?;
        // Lets the polling task begin with it.
        tokio::task::yield_now().await;
        Ok(())
    }

    /// Bytes of the largest message that the broker takes, in its envelope.
    pub(super) fn message_bytes_max(&self) -> usize {
        let said = self.seen.borrow().packet_bytes_max.unwrap_or(SENT_BYTES_MAX);
        (said.min(SENT_BYTES_MAX) as usize)
            .saturating_sub(self.topic.name().len() + SENT_BYTES_BESIDE + SEAL_BYTES_MAX)
    }

    /// Messages acknowledged so far.
    pub(super) fn acked(&mut self) -> Result<u64, Lost> {
        let seen = self.seen.borrow_and_update();
        match &seen.lost {
            None => Ok(seen.acks),
            Some(why) => Err(Lost(why.clone())),
        }
    }

    /// The next nonce, if one is there.
    pub(super) fn nonce(&mut self) -> Option<Bytes> {
        let nonce = self.heard.take().or_else(|| self.nonces.try_recv().ok())?;
        Some(Bytes::copy_from_slice(&nonce))
    }

    /// Waits until there is something to look at.
    pub(super) async fn heard(&mut self) -> Result<(), Lost> {
        let ended = || Lost("the connection ended".to_owned());
        tokio::select! {
            changed = self.seen.changed() => changed.map_err(|_| ended()),
            nonce = self.nonces.recv(), if self.heard.is_none() => {
                self.heard = Some(nonce.ok_or_else(ended)?);
                Ok(())
            }
        }
    }
}

/// Polls the connection until it is lost. It never publishes, and never waits for anything else.
async fn poll(mut events: EventLoop, tell: watch::Sender<Seen>, mut nonce_subscriber: NonceSubscriber) {
    loop {
        let lost = match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(ack))) => {
                let said = ack.properties.and_then(|properties| properties.max_packet_size);
                tell.send_modify(|seen| seen.packet_bytes_max = said);
                None
            }
            Ok(Event::Incoming(Packet::SubAck(_))) => {
                tell.send_modify(|seen| seen.subscribed = true);
                None
            }
            Ok(Event::Incoming(Packet::PubAck(ack))) => match ack.reason {
                PubAckReason::Success | PubAckReason::NoMatchingSubscribers => {
                    tell.send_modify(|seen| seen.acks += 1);
                    None
                }
                reason => Some(format!("the broker refused a message: {reason:?}")),
            },
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                nonce_subscriber.hear(&publish);
                None
            }
            Ok(Event::Incoming(Packet::Disconnect(why))) => Some(format!("{:?}", why.reason_code)),
            Ok(_) => None,
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = lost {
            tell.send_modify(|seen| seen.lost = Some(why));
            return;
        }
    }
}

/// Takes the nonces out of what comes.
struct NonceSubscriber {
    /// Deliveries that were none of ours.
    ignored: Arc<AtomicU64>,
    /// The log whose leader is meant here.
    log_id: u64,
    /// Where nonces are proven for.
    topic: Topic,
    seals: Arc<Seals<ClusterKey>>,
    nonces: mpsc::Sender<Heard>,
    began: Instant,
    /// When what is ignored is told of.
    telling: Pace,
}

/// Bytes of a nonce of ours.
fn heard(nonce: &Nonce, log_id: u64) -> Result<Heard, Foreign> {
    if nonce.log_id != log_id {
        return Err(Foreign::OtherCluster);
    }
    Heard::try_from(&nonce.nonce[..]).map_err(|_| Foreign::Malformed)
}

impl NonceSubscriber {
    fn hear(&mut self, publish: &Publish) {
        let content = self.seals.open(&self.topic, publish.payload.clone());
        let nonce = content.and_then(|content| Nonce::decode(content).map_err(|_| Foreign::Malformed));
        match nonce.and_then(|nonce| heard(&nonce, self.log_id)) {
            // Full: the portal is not named now, and asks again.
            Ok(nonce) => drop(self.nonces.try_send(nonce)),
            Err(why) => self.ignore(publish.payload.len(), why),
        }
    }

    /// Counts it, and tells of it now and then: a sender of one such sends more.
    fn ignore(&mut self, bytes: usize, why: Foreign) {
        self.ignored.fetch_add(1, Ordering::Relaxed);
        let now_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if let Some(count) = self.telling.note(now_ms) {
            tracing::warn!(%why, bytes, count, "ignored on the topic of nonces");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::store::Sealed;
    use store_keys::{ClusterId, KEY_BYTES, Secret};

    const LOG: u64 = 5;

    fn key(secret: u8) -> watch::Receiver<ClusterKey> {
        let id = ClusterId::new(7).expect("an id");
        watch::channel(ClusterKey::new(id, Secret::new([secret; KEY_BYTES]))).1
    }

    fn topic(direction: Direction, group: u64) -> Topic {
        Topic::new(direction, "c", group)
    }

    fn nonce_subscriber() -> (NonceSubscriber, mpsc::Receiver<Heard>) {
        let (nonces, heard) = mpsc::channel(2);
        let nonce_subscriber = NonceSubscriber {
            ignored: Arc::default(),
            log_id: LOG,
            topic: topic(Direction::Nonces, 1),
            seals: Arc::new(Seals::new(key(1))),
            nonces,
            began: Instant::now(),
            telling: Pace::default(),
        };
        (nonce_subscriber, heard)
    }

    fn publish(payload: Bytes) -> Publish {
        Publish::new("feira/c/nonce/1", QoS::AtMostOnce, payload, None)
    }

    /// What a portal with this secret says, for this topic.
    fn nonce(secret: u8, topic: &Topic, bytes: usize, log_id: u64) -> Publish {
        let nonce = Nonce { nonce: vec![7; bytes].into(), log_id };
        publish(Seals::new(key(secret)).seal(topic, nonce.encode_to_vec()))
    }

    #[test]
    fn a_nonce_is_heard_on_its_topic_under_the_clusters_key_for_this_log_only() {
        let (mut nonce_subscriber, mut heard) = nonce_subscriber();
        let ours = topic(Direction::Nonces, 1);
        for foreign in [
            nonce(1, &ours, NONCE_BYTES, LOG + 1),
            nonce(2, &ours, NONCE_BYTES, LOG),
            nonce(1, &topic(Direction::Nonces, 2), NONCE_BYTES, LOG),
            nonce(1, &topic(Direction::Changes, 1), NONCE_BYTES, LOG),
        ] {
            nonce_subscriber.hear(&foreign);
            assert!(heard.try_recv().is_err());
        }
        nonce_subscriber.hear(&nonce(1, &ours, NONCE_BYTES, LOG));
        assert_eq!(
            (heard.try_recv(), nonce_subscriber.ignored.load(Ordering::Relaxed)),
            (Ok([7; NONCE_BYTES]), 4)
        );
    }

    #[test]
    fn what_is_no_nonce_is_counted_and_ignored() {
        let (mut nonce_subscriber, mut heard) = nonce_subscriber();
        let ours = topic(Direction::Nonces, 1);
        let bare = Nonce { nonce: vec![7; NONCE_BYTES].into(), log_id: LOG }.encode_to_vec();
        let unproven = Sealed { content: bare.clone().into(), cluster_id: 7, ..Sealed::default() };
        for bad in [
            nonce(1, &ours, NONCE_BYTES - 1, LOG),
            nonce(1, &ours, 1_000, LOG),
            publish(Bytes::from_static(&[0xff; 9])),
            publish(Bytes::new()),
            publish(bare.into()),
            publish(unproven.encode_to_vec().into()),
        ] {
            nonce_subscriber.hear(&bad);
        }
        assert_eq!((nonce_subscriber.ignored.load(Ordering::Relaxed), heard.try_recv().is_err()), (6, true));
    }

    #[test]
    fn more_nonces_than_fit_are_dropped() {
        let (mut nonce_subscriber, mut heard) = nonce_subscriber();
        let one = nonce(1, &topic(Direction::Nonces, 1), NONCE_BYTES, LOG);
        (0..5).for_each(|_| nonce_subscriber.hear(&one));
        assert!(heard.try_recv().is_ok() && heard.try_recv().is_ok() && heard.try_recv().is_err());
    }
}
