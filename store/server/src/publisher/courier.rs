//! One MQTT 5 connection: a task that only polls it, and a handle that only queues. When anything goes wrong the
//! whole connection is given up: what it had on its way is published again by the next.
//!
//! Anybody on the broker can publish to the topic of nonces. So the broker is told not to send what is larger than a
//! nonce (MQTT 5, 3.1.2.11.4: it discards that, and the connection lives on); what is no nonce, or asks the leader of
//! another log, is counted, told of once a connection, and ignored.

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use proto::store::Nonce;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason, Publish};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::config::{Login, split_address};
use crate::shared::Identity;

use super::plan::IN_FLIGHT_MAX;

/// Requests that may wait in the client: every message on its way, and the subscription.
const REQUESTS_MAX: usize = IN_FLIGHT_MAX + 1;
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
pub(super) struct Courier {
    client: AsyncClient,
    topic: String,
    seen: watch::Receiver<Seen>,
    nonces: mpsc::Receiver<Heard>,
    /// A nonce that was received while waiting.
    heard: Option<Heard>,
    polling: JoinHandle<()>,
}

impl Drop for Courier {
    fn drop(&mut self) {
        self.polling.abort();
    }
}

impl Courier {
    /// Connects with a clean start and subscribes to nonces for the leader of this log.
    pub(super) async fn connect(
        me: &Identity,
        log_id: u64,
        broker: &str,
        login: Option<&Login>,
    ) -> Result<Courier, Lost> {
        let (host, port) =
            split_address(broker).ok_or_else(|| Lost(format!("{broker:?} is not host:port")))?;
        let name = format!("feira-{}-store-{}-{:x}", me.cluster, me.member.node.0, fastrand::u32(..));
        let mut options = MqttOptions::new(name, host, port);
        options.set_keep_alive(Duration::from_secs(KEEP_ALIVE_S)).set_clean_start(true);
        options.set_max_packet_size(Some(PACKET_BYTES_MAX));
        if let Some(Login { user, password }) = login {
            options.set_credentials(user, password);
        }
        let (client, events) = AsyncClient::new(options, REQUESTS_MAX);
        let nonce_topic = format!("feira/{}/nonce/{}", me.cluster, me.route.group);
        client.try_subscribe(nonce_topic, QoS::AtMostOnce).map_err(|error| Lost(error.to_string()))?;
        let (tell, mut seen) = watch::channel(Seen::default());
        let (sender, nonces) = mpsc::channel(NONCES_MAX);
        let ear = Ear { log_id, nonces: sender, ignored: 0 };
        let polling = tokio::spawn(poll(events, tell, ear));
        let topic = format!("feira/{}/changes/{}", me.cluster, me.route.group);
        let limit = Duration::from_millis(CONNECT_MS_MAX);
        let ready = tokio::time::timeout(limit, seen.wait_for(|seen| seen.subscribed || seen.lost.is_some()));
        let lost = match ready.await {
            Ok(Ok(seen)) => seen.lost.clone(),
            Ok(Err(_)) => Some("the connection ended".to_owned()),
            Err(_) => Some(format!("no answer within {CONNECT_MS_MAX} ms")),
        };
        let courier = Courier { client, topic, seen, nonces, heard: None, polling };
        match lost {
            None => Ok(courier),
            Some(why) => Err(Lost(why)),
        }
    }

    /// Queues a message; the plan leaves room for it.
    pub(super) async fn publish(&mut self, payload: Bytes) -> Result<(), Lost> {
        let queued = self.client.try_publish(self.topic.clone(), QoS::AtLeastOnce, false, payload);
        queued.map_err(|error| Lost(error.to_string()))?;
        // Lets the polling task begin with it.
        tokio::task::yield_now().await;
        Ok(())
    }

    /// Bytes of the largest message that the broker takes.
    pub(super) fn message_bytes_max(&self) -> usize {
        let said = self.seen.borrow().packet_bytes_max.unwrap_or(SENT_BYTES_MAX);
        (said.min(SENT_BYTES_MAX) as usize).saturating_sub(self.topic.len() + SENT_BYTES_BESIDE)
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
async fn poll(mut events: EventLoop, tell: watch::Sender<Seen>, mut ear: Ear) {
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
                ear.hear(&publish);
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
struct Ear {
    /// The log whose leader is meant here.
    log_id: u64,
    nonces: mpsc::Sender<Heard>,
    /// Messages that were none of ours.
    ignored: u64,
}

impl Ear {
    fn hear(&mut self, publish: &Publish) {
        match Nonce::decode(publish.payload.clone()) {
            Ok(Nonce { nonce, log_id }) if log_id == self.log_id => match Heard::try_from(&nonce[..]) {
                // Full: the portal is not named now, and asks again.
                Ok(nonce) => drop(self.nonces.try_send(nonce)),
                Err(_) => self.ignore(publish, "a nonce of another length"),
            },
            Ok(_) => self.ignore(publish, "a nonce for another cluster of this name"),
            Err(_) => self.ignore(publish, "no nonce"),
        }
    }

    /// Told of once: whoever sends one such sends more.
    fn ignore(&mut self, publish: &Publish, what: &str) {
        self.ignored += 1;
        let (bytes, ignored) = (publish.payload.len(), self.ignored);
        if ignored == 1 {
            tracing::warn!(what, bytes, "ignored on the topic of nonces; more are ignored without a word");
        } else {
            tracing::debug!(what, bytes, ignored, "ignored on the topic of nonces");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ear(log_id: u64) -> (Ear, mpsc::Receiver<Heard>) {
        let (nonces, heard) = mpsc::channel(2);
        (Ear { log_id, nonces, ignored: 0 }, heard)
    }

    fn publish(payload: Vec<u8>) -> Publish {
        Publish::new("feira/c/nonce/1", QoS::AtMostOnce, payload, None)
    }

    fn nonce(bytes: usize, log_id: u64) -> Publish {
        publish(Nonce { nonce: vec![7; bytes].into(), log_id }.encode_to_vec())
    }

    #[test]
    fn two_clusters_of_one_name_do_not_answer_each_others_nonces() {
        let (mut ear, mut heard) = ear(5);
        ear.hear(&nonce(NONCE_BYTES, 6));
        assert!(heard.try_recv().is_err());
        ear.hear(&nonce(NONCE_BYTES, 5));
        assert_eq!((heard.try_recv(), ear.ignored), (Ok([7; NONCE_BYTES]), 1));
    }

    #[test]
    fn what_is_no_nonce_is_counted_and_ignored() {
        let (mut ear, mut heard) = ear(5);
        for bad in [nonce(NONCE_BYTES - 1, 5), nonce(1_000, 5), publish(vec![0xff; 9]), publish(Vec::new())] {
            ear.hear(&bad);
        }
        assert_eq!((ear.ignored, heard.try_recv().is_err()), (4, true));
    }

    #[test]
    fn more_nonces_than_fit_are_dropped() {
        let (mut ear, mut heard) = ear(5);
        (0..5).for_each(|_| ear.hear(&nonce(NONCE_BYTES, 5)));
        assert!(heard.try_recv().is_ok() && heard.try_recv().is_ok() && heard.try_recv().is_err());
    }
}
