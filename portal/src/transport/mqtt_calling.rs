//! The caller's side of requests over a broker.
//!
//! ```text
//!   call ─► publish, with a correlation of its own ─► no answer within AGAIN ─► publish again, under the same request id
//!                                                 └─► an answer, of whichever attempt ─► done
//! ```
//!
//! Nothing tells a caller that nobody hears the topic, or that the portal that was given the request has died: so it repeats. What
//! changes something has a request id, and is done once.
//!
//! Leaves out: the choice of a portal, which is the broker's.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use proto::portal::RequestId;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish, PublishProperties};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use store_client::backoff::Backoff;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tonic::{Response, Status};

use super::asking;
use super::mqtt::{PACKET_BYTES_MAX, REQUEST_CREATED, REQUEST_ID, STATUS, topic};
use crate::config::Login;
use crate::error::Error;
use crate::meant::CLUSTER_HEADER;
use crate::operation::{Effect, Operation};

/// A request is repeated after so long without an answer.
pub const AGAIN: Duration = Duration::from_secs(1);
/// Where answers go: below this, to the caller's id at the broker.
pub const ANSWERS: &str = "feira-answers";
/// And after a portal said that it cannot now.
const PAUSE_REFUSED: Duration = Duration::from_millis(200);
const KEEP_ALIVE: Duration = Duration::from_secs(5);
const CONNECT_SECONDS_MAX: u64 = 2;
const PAUSE_MS: (u64, u64) = (50, 1_000);
const PACKETS_MAX: usize = 256;

/// Where requests go.
#[derive(Clone, Debug)]
pub struct Place {
    /// The broker's host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The caller's login there, if the broker asks.
    pub login: Option<Login>,
    /// The cluster's name.
    pub cluster: String,
    /// Its id, if only that one is meant.
    pub cluster_id: Option<String>,
    /// The service's word in topics.
    pub service: String,
}

type Answered = oneshot::Sender<(bool, Bytes)>;

struct Shared {
    /// Who waits, by correlation.
    waiting: Mutex<HashMap<Bytes, Answered>>,
    /// Whether answers can be heard; why not, if that is known.
    heard: watch::Sender<Result<(), String>>,
}

/// A caller.
pub struct Caller {
    place: Place,
    answers_to: String,
    client: AsyncClient,
    shared: Arc<Shared>,
    polling: JoinHandle<()>,
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.polling.abort();
    }
}

impl Caller {
    /// A caller of a cluster's portals; it connects by and by.
    #[must_use]
    pub fn new(place: Place) -> Caller {
        let id = format!("feira-caller-{}", uuid::Uuid::new_v4().simple());
        // A broker can let each of its clients hear its own topic only.
        let answers_to = format!("{ANSWERS}/{id}");
        let mut options = MqttOptions::new(id, place.host.clone(), place.port);
        options
            .set_clean_start(true)
            .set_session_expiry_interval(Some(0))
            .set_keep_alive(KEEP_ALIVE)
            .set_connection_timeout(CONNECT_SECONDS_MAX)
            .set_max_packet_size(Some(PACKET_BYTES_MAX));
        if let Some(Login { user, password }) = &place.login {
            options.set_credentials(user.clone(), password.clone());
        }
        let (client, events) = AsyncClient::new(options, PACKETS_MAX);
        let heard = watch::Sender::new(Err("it does not answer".to_owned()));
        let shared = Arc::new(Shared { waiting: Mutex::default(), heard });
        let polling = tokio::spawn(poll(events, client.clone(), answers_to.clone(), Arc::clone(&shared)));
        Caller { place, answers_to, client, shared, polling }
    }

    /// Asks until there is an answer, for at most this long.
    ///
    /// # Errors
    /// As the portal answers. UNAVAILABLE: nobody answered, and why; DEADLINE_EXCEEDED: nobody answered what may have been done.
    pub async fn call<O: Operation>(
        &self,
        mut message: O::Request,
        patience: Duration,
    ) -> Result<Response<O::Response>, Status> {
        let deadline = Instant::now() + patience;
        let id = O::id(&mut message).and_then(Option::take);
        let text = serde_json::to_vec(&message).expect("our messages are JSON");
        let correlation = Bytes::copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        let mut heard = self.shared.heard.subscribe();
        // An attempt may have been carried out; what a portal said last; why there was no answer.
        let (mut is_lost, mut said, mut why) = (false, None, String::new());
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            // Before the answers can be heard a request is only done unheard.
            let can_hear = matches!(timeout(left, heard.wait_for(Result::is_ok)).await, Ok(Ok(_)));
            if !can_hear {
                why = heard.borrow().as_ref().err().cloned().unwrap_or_default();
                break;
            }
            let (answered, answer) = oneshot::channel();
            self.shared.waiting.lock().insert(correlation.clone(), answered);
            let properties = self.properties(&correlation, id.as_ref(), left);
            let to = topic(&self.place.cluster, &self.place.service, O::NAME);
            let sent =
                self.client.publish_with_properties(to, QoS::AtLeastOnce, false, text.clone(), properties);
            let was_sent = sent.await.is_ok();
            let Ok(Ok((is_success, body))) = timeout(left.min(AGAIN), answer).await else {
                is_lost |= was_sent;
                why = "no portal answers requests there".to_owned();
                continue;
            };
            match asking::answer(is_success, &body) {
                Err(status) if passes(&status) => said = Some(status),
                answered => return answered.map(Response::new),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            tokio::time::sleep(left.min(PAUSE_REFUSED)).await;
        }
        self.shared.waiting.lock().remove(&correlation);
        let silent = format!("the broker at {}:{}: {why}", self.place.host, self.place.port);
        Err(match said {
            _ if is_lost && O::EFFECT == Effect::Changes => Status::deadline_exceeded(silent),
            Some(status) => status,
            None => Status::unavailable(silent),
        })
    }

    fn properties(&self, correlation: &Bytes, id: Option<&RequestId>, left: Duration) -> PublishProperties {
        let mut user_properties = Vec::new();
        if let Some(id) = id {
            user_properties.push((REQUEST_ID.to_owned(), id.id.clone()));
            user_properties.push((REQUEST_CREATED.to_owned(), id.created_ms.to_string()));
        }
        if let Some(cluster) = &self.place.cluster_id {
            user_properties.push((CLUSTER_HEADER.to_owned(), cluster.clone()));
        }
        PublishProperties {
            response_topic: Some(self.answers_to.clone()),
            correlation_data: Some(correlation.clone()),
            message_expiry_interval: Some(u32::try_from(left.as_secs()).unwrap_or(u32::MAX).max(1)),
            content_type: Some("application/json".to_owned()),
            user_properties,
            ..PublishProperties::default()
        }
    }
}

/// Whether what a portal said may be otherwise soon: it did not happen, and nobody has to mend anything first.
fn passes(status: &Status) -> bool {
    match Error::from_status(status) {
        Some(Error::Unavailable { cause, .. }) => cause.passes(),
        Some(Error::Overloaded { own, .. }) => !own,
        _ => false,
    }
}

/// Takes what the broker sends, until dropped.
async fn poll(mut events: EventLoop, client: AsyncClient, answers_to: String, shared: Arc<Shared>) {
    let mut backoff = Backoff::new(PAUSE_MS.0, PAUSE_MS.1);
    loop {
        let began = Instant::now();
        let why = loop {
            match events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    if client.try_subscribe(answers_to.clone(), QoS::AtLeastOnce).is_err() {
                        break "it takes nothing".to_owned();
                    }
                }
                Ok(Event::Incoming(Packet::SubAck(_))) => drop(shared.heard.send_replace(Ok(()))),
                Ok(Event::Incoming(Packet::Publish(publish))) => shared.answered(publish),
                Ok(Event::Incoming(Packet::Disconnect(_))) => break "it ended the connection".to_owned(),
                Ok(_) => {}
                Err(error) => break error.to_string(),
            }
        };
        drop(shared.heard.send_replace(Err(why)));
        events.clean();
        tokio::time::sleep(backoff.after(began.elapsed())).await;
    }
}

impl Shared {
    fn answered(&self, publish: Publish) {
        let Some(properties) = publish.properties else { return };
        let Some(correlation) = properties.correlation_data else { return };
        let waits = self.waiting.lock().remove(&correlation);
        let is_success =
            properties.user_properties.iter().any(|(name, value)| name == STATUS && value.starts_with('2'));
        // Whoever does not wait any more has had an answer, or has given up.
        let _ = waits.map(|waits| waits.send((is_success, publish.payload)));
    }
}
