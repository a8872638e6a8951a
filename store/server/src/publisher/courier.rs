//! One MQTT 5 connection: a task that only polls it, and a handle that only queues. When anything goes wrong the
//! whole connection is given up: what it had on its way is published again by the next.

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use proto::store::Nonce;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason, Publish};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::config::split_address;
use crate::shared::Identity;

use super::plan::IN_FLIGHT_MAX;

/// Requests that may wait in the client: every message on its way, and the subscription.
const REQUESTS_MAX: usize = IN_FLIGHT_MAX + 1;
/// Nonces that may wait; more are dropped, and their portals ask again.
const NONCES_MAX: usize = 1_024;
/// Bytes of a nonce.
const NONCE_BYTES: usize = 16;
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
    /// Messages that the broker acknowledged; it does so in their order (MQTT 5, 4.6).
    acks: u64,
    /// Why the connection ended.
    lost: Option<String>,
}

/// The handle.
pub(super) struct Courier {
    client: AsyncClient,
    topic: String,
    seen: watch::Receiver<Seen>,
    nonces: mpsc::Receiver<Bytes>,
    /// A nonce that was received while waiting.
    heard: Option<Bytes>,
    polling: JoinHandle<()>,
}

impl Drop for Courier {
    fn drop(&mut self) {
        self.polling.abort();
    }
}

impl Courier {
    /// Connects with a clean start and subscribes to nonces.
    pub(super) async fn connect(me: &Identity, broker: &str) -> Result<Courier, Lost> {
        let (host, port) =
            split_address(broker).ok_or_else(|| Lost(format!("{broker:?} is not host:port")))?;
        let name = format!("feira-{}-store-{}-{:x}", me.cluster, me.member.node.0, fastrand::u32(..));
        let mut options = MqttOptions::new(name, host, port);
        options.set_keep_alive(Duration::from_secs(KEEP_ALIVE_S)).set_clean_start(true);
        let (client, events) = AsyncClient::new(options, REQUESTS_MAX);
        let nonce_topic = format!("feira/{}/nonce/{}", me.cluster, me.route.group);
        client.try_subscribe(nonce_topic, QoS::AtMostOnce).map_err(|error| Lost(error.to_string()))?;
        let (tell, mut seen) = watch::channel(Seen::default());
        let (sender, nonces) = mpsc::channel(NONCES_MAX);
        let polling = tokio::spawn(poll(events, tell, sender));
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
        self.heard.take().or_else(|| self.nonces.try_recv().ok())
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
async fn poll(mut events: EventLoop, tell: watch::Sender<Seen>, nonces: mpsc::Sender<Bytes>) {
    loop {
        let lost = match events.poll().await {
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
                hear(&publish, &nonces);
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

fn hear(publish: &Publish, nonces: &mpsc::Sender<Bytes>) {
    match Nonce::decode(publish.payload.clone()) {
        Ok(nonce) if nonce.nonce.len() == NONCE_BYTES => {
            // Full: the portal is not named now, and asks again.
            let _ = nonces.try_send(nonce.nonce);
        }
        _ => tracing::debug!(bytes = publish.payload.len(), "a nonce that is none"),
    }
}
