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
use rumqttc::v5::mqttbytes::v5::{Packet, Publish, PublishProperties, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use serde::de::DeserializeOwned;
use store_client::backoff::Backoff;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tonic::{Response, Status};

use super::asking;
use super::mqtt::{PACKET_BYTES_MAX, REQUEST_CREATED, REQUEST_ID, STATUS, topic};
use crate::broker_socket::prompt;
use crate::config::Login;
use crate::error::Error;
use crate::lost_connection::forget;
use crate::meant::CLUSTER_HEADER;
use crate::operation::{Effect, Operation};
use crate::session::{KeptSession, SESSION_HEADER, SessionToken};

/// A request is repeated after so long without an answer.
pub const AGAIN: Duration = Duration::from_secs(1);
/// Where answers go: below this, to the caller's id at the broker.
pub const ANSWERS: &str = "feira-answers";
/// If nothing comes for so long, while it is repeated, it is repeated on another connection.
const SILENCE_MAX: Duration = Duration::from_secs(3);
const SILENT: &str = "no portal answers requests there";
/// And after a portal said that it cannot now.
const PAUSE_REFUSED: Duration = Duration::from_millis(200);
const KEEP_ALIVE: Duration = Duration::from_secs(5);
const CONNECT_SECONDS_MAX: u64 = 2;
const PAUSE_MS: (u64, u64) = (50, 1_000);
const PACKETS_MAX: u16 = 256;

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

/// What a portal published.
#[derive(Debug)]
struct Answer {
    /// The status that HTTP has for it.
    status: u16,
    body: Bytes,
    /// The token of the session.
    session: Option<String>,
}

/// Who waits for an answer.
type Answered = oneshot::Sender<Answer>;

struct Shared {
    /// Who waits, by correlation.
    waiting: Mutex<HashMap<Bytes, Answered>>,
    /// Whether answers can be heard; why not, if that is known.
    heard: watch::Sender<Result<(), String>>,
    /// When the broker last brought something, or was connected to.
    brought: Mutex<Instant>,
    /// It brings nothing, though somebody waits.
    silent: Notify,
}

/// A caller.
pub struct Caller {
    place: Place,
    answers_to: String,
    client: AsyncClient,
    /// All calls are of one session.
    session: KeptSession,
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
        Caller::in_session(place, KeptSession::default())
    }

    /// The same, of a session that may have begun elsewhere.
    #[must_use]
    pub fn in_session(place: Place, session: KeptSession) -> Caller {
        let id = format!("feira-caller-{}", uuid::Uuid::new_v4().simple());
        // A broker can let each of its clients hear its own topic only.
        let answers_to = format!("{ANSWERS}/{id}");
        let mut options = MqttOptions::new(id, place.host.clone(), place.port);
        options
            .set_network_options(prompt())
            .set_clean_start(true)
            .set_session_expiry_interval(Some(0))
            .set_keep_alive(KEEP_ALIVE)
            .set_connection_timeout(CONNECT_SECONDS_MAX)
            .set_max_packet_size(Some(PACKET_BYTES_MAX))
            .set_outgoing_inflight_upper_limit(PACKETS_MAX);
        if let Some(Login { user, password }) = &place.login {
            options.set_credentials(user.clone(), password.clone());
        }
        let (client, events) = AsyncClient::new(options, PACKETS_MAX.into());
        let heard = watch::Sender::new(Err("it does not answer".to_owned()));
        let (waiting, brought) = (Mutex::default(), Mutex::new(Instant::now()));
        let shared = Arc::new(Shared { waiting, heard, brought, silent: Notify::new() });
        let polling = tokio::spawn(poll(events, client.clone(), answers_to.clone(), Arc::clone(&shared)));
        Caller { place, answers_to, client, session, shared, polling }
    }

    /// The topic on which it hears its answers.
    #[must_use]
    pub fn answers_to(&self) -> &str {
        &self.answers_to
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
            let (status, body) =
                match self.attempt(O::NAME, &correlation, id.as_ref(), text.clone(), left).await {
                    Ok(answer) => answer,
                    Err(silence) => {
                        is_lost |= matches!(silence, Silence::Sent);
                        self.shared.unanswered();
                        silence.why().clone_into(&mut why);
                        continue;
                    }
                };
            match read::<O::Response>(status, &body) {
                // Asked again under its id, it says what became of it.
                Err(status) if is_open(&status) => {
                    is_lost = true;
                    status.message().clone_into(&mut why);
                }
                // It says nothing of an attempt before it that was not answered.
                Err(status) if passes(&status) || (is_lost && is_of_this_attempt(&status)) => {
                    said = Some(status);
                }
                answered => return answered.map(Response::new),
            }
            tokio::time::sleep_until(deadline.min(Instant::now() + PAUSE_REFUSED)).await;
        }
        let silent = format!("the broker at {}:{}: {why}", self.place.host, self.place.port);
        Err(match said {
            _ if is_lost && O::EFFECT == Effect::Changes => Status::deadline_exceeded(silent),
            Some(status) => status,
            None => Status::unavailable(silent),
        })
    }

    /// Asks once, in the session: the status that HTTP has for the answer, and its content.
    async fn attempt(
        &self,
        operation: &str,
        correlation: &Bytes,
        id: Option<&RequestId>,
        text: Vec<u8>,
        left: Duration,
    ) -> Result<(u16, Bytes), Silence> {
        let (answered, answer) = oneshot::channel();
        self.shared.waiting.lock().insert(correlation.clone(), answered);
        let _waits = Waits { shared: &self.shared, correlation };
        let token = self.session.token();
        let properties = self.properties(correlation, id, token.token.as_ref(), left);
        let to = topic(&self.place.cluster, &self.place.service, operation);
        let sent = self.client.publish_with_properties(to, QoS::AtLeastOnce, false, text, properties);
        if !matches!(timeout(left, sent).await, Ok(Ok(()))) {
            return Err(Silence::NotSent);
        }
        let Ok(Ok(Answer { status, body, session })) = timeout(left.min(AGAIN), answer).await else {
            return Err(Silence::Sent);
        };
        if let Some(session) = session {
            self.session.answered(&token, &session);
        }
        Ok((status, body))
    }

    fn properties(
        &self,
        correlation: &Bytes,
        id: Option<&RequestId>,
        token: Option<&SessionToken>,
        left: Duration,
    ) -> PublishProperties {
        let mut user_properties = Vec::new();
        user_properties.extend(token.map(|token| (SESSION_HEADER.to_owned(), token.to_string())));
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

/// Why an attempt brought no answer.
#[derive(Clone, Copy, Debug)]
enum Silence {
    /// It did not get to the broker.
    NotSent,
    /// It may have been carried out.
    Sent,
}

impl Silence {
    fn why(self) -> &'static str {
        match self {
            Silence::NotSent => "it takes nothing",
            Silence::Sent => SILENT,
        }
    }
}

/// What is told of a change whose answer lacks its lists.
const TRIMMED: &str =
    "it was done; its answer is too large for a message of the broker: look at it over HTTP or gRPC";

/// What an answer says, if it is whole.
fn read<T: DeserializeOwned>(status: u16, body: &[u8]) -> Result<T, Status> {
    let read = asking::answer(status, body)?;
    if is_trimmed(body) { Err(Status::resource_exhausted(TRIMMED)) } else { Ok(read) }
}

/// Whether an answer says that its lists were left out.
fn is_trimmed(body: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Trimmed {
        #[serde(default)]
        trimmed: bool,
    }
    serde_json::from_slice(body).is_ok_and(|answer: Trimmed| answer.trimmed)
}

/// Whether the portal does not know itself.
fn is_open(status: &Status) -> bool {
    matches!(Error::from_status(status), Some(Error::OutcomeUnknown { .. }))
}

/// Whether what a portal said may be otherwise soon: it did not happen, and nobody has to mend anything first.
fn passes(status: &Status) -> bool {
    match Error::from_status(status) {
        Some(Error::Unavailable { cause, .. }) => cause.passes(),
        Some(Error::Overloaded { own, .. }) => !own,
        _ => false,
    }
}

/// Whether what a portal said is about one attempt: another under the same request id may have been carried out.
fn is_of_this_attempt(status: &Status) -> bool {
    let error = Error::from_status(status);
    matches!(error, Some(Error::Unavailable { .. } | Error::Overloaded { .. } | Error::WrongCluster { .. }))
}

/// Somebody who waits; nobody, once this is dropped.
struct Waits<'c> {
    shared: &'c Shared,
    correlation: &'c Bytes,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.shared.waiting.lock().remove(self.correlation);
    }
}

/// Takes what the broker sends, until dropped.
async fn poll(mut events: EventLoop, client: AsyncClient, answers_to: String, shared: Arc<Shared>) {
    let mut backoff = Backoff::new(PAUSE_MS.0, PAUSE_MS.1);
    loop {
        let began = Instant::now();
        let why = loop {
            // Silence is told of a connection that is given up then: nothing of it is lost with the poll.
            let event = tokio::select! {
                event = events.poll() => event,
                () = shared.silent.notified() => break SILENT.to_owned(),
            };
            match event {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    if client.try_subscribe(answers_to.clone(), QoS::AtLeastOnce).is_err() {
                        break "it takes nothing".to_owned();
                    }
                }
                Ok(Event::Incoming(Packet::SubAck(ack))) => {
                    if !ack.return_codes.iter().all(|code| matches!(code, SubscribeReasonCode::Success(_))) {
                        break format!("it refuses that answers are heard at {answers_to}");
                    }
                    *shared.brought.lock() = Instant::now();
                    drop(shared.heard.send_replace(Ok(())));
                }
                Ok(Event::Incoming(Packet::Publish(publish))) => shared.answered(publish),
                Ok(Event::Incoming(Packet::Disconnect(_))) => break "it ended the connection".to_owned(),
                Ok(_) => {}
                Err(error) => break error.to_string(),
            }
        };
        drop(shared.heard.send_replace(Err(why)));
        forget(&mut events);
        tokio::time::sleep(backoff.after(began.elapsed())).await;
    }
}

impl Shared {
    /// Nobody has answered an attempt: perhaps since the broker brings nothing on this connection any more, as mosquitto 2.0.11 does once it has held back
    /// a few messages as too large.
    fn unanswered(&self) {
        let mut brought = self.brought.lock();
        if brought.elapsed() >= SILENCE_MAX {
            *brought = Instant::now();
            self.silent.notify_one();
        }
    }

    fn answered(&self, publish: Publish) {
        *self.brought.lock() = Instant::now();
        let Some(properties) = publish.properties else { return };
        let Some(correlation) = properties.correlation_data else { return };
        let waits = self.waiting.lock().remove(&correlation);
        let property = |wanted: &str| {
            let mut properties = properties.user_properties.iter();
            properties.find(|(name, _)| name == wanted).map(|(_, value)| value)
        };
        let status = property(STATUS).and_then(|value| value.parse().ok()).unwrap_or(0);
        let session = property(SESSION_HEADER).cloned();
        // Whoever does not wait any more has had an answer, or has given up.
        let _ = waits.map(|waits| waits.send(Answer { status, body: publish.payload, session }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_its_lists_is_not_taken_for_the_whole() {
        assert!(is_trimmed(br#"{"oid":"7","lines":[],"etag":3,"trimmed":true}"#));
        assert!(!is_trimmed(br#"{"oid":"7","lines":[],"etag":3}"#), "an order may be empty");
    }

    #[test]
    fn what_a_portal_does_not_know_is_open_and_what_it_refused_is_not() {
        let unknown = Error::OutcomeUnknown { why: "x".into(), request: "r".into(), created_ms: 1 };
        assert!(is_open(&unknown.into()) && !is_open(&Error::away("no leader").into()));
    }
}
