//! The change publisher: hints over MQTT that make caches quick (docs/PROTOCOL.md, 5). Only the group's leader
//! publishes; events come from the change feed in the table, in offset order, so nothing is ever queued here.
//!
//! ```text
//!   feed ──► Plan: the next message to publish ────► PublisherSession: one MQTT 5 connection ──► broker
//!              ▲ acks ◄──────────────────────────────┘ nonces ◄──────────────────────────┘
//! ```
//!
//! A *session* is one leadership over one connection. It begins at the last publish mark in the log, or, on a new
//! connection, after the broker's last ack. When the broker is slow, the plan waits for its acks; when the
//! connection is lost, the next session begins where the broker's acks ended: duplicates, never gaps. The broker
//! dead, slow or stopped touches nothing else in the node: this task waits for it alone.
//!
//! The module `v5` of rumqttc is used: reason codes say whether an ack is one, and mosquitto and the embedded
//! broker both speak MQTT 5.

mod publisher_session;

use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message as _;
use proto::store::command::Kind;
use proto::store::{BusMessage, Events, FreshnessHeartbeat, PublishMark, bus_message};
use store_client::backoff::Backoff;
use store_core::{Epoch, Role};
use store_db::changes::since;
use store_db::{Table as _, state};
use store_engine::Answer;
use store_engine::front::{NodeResponse, command_of};
use store_engine::publisher::{self as plan, Found, Plan, Step};

use crate::config::Login;
use crate::problems::About;
use crate::shared::{Ask, Shared};
use publisher_session::{Lost, PublisherSession};

/// Waits between connections.
const BACKOFF_MS_FIRST: u64 = 50;
const BACKOFF_MS_MAX: u64 = 2_000;
/// A message that so many connections were lost over, one after the other, is skipped: the broker does not take it.
const LIVES_MAX: u32 = 5;
/// Bytes of a message beside its changes or nonces, more than there ever are.
const MESSAGE_BYTES_BESIDE: usize = 256;
/// Waits after a step that the node refused, or a table that could not be read.
const REFUSED_MS: u64 = 100;

/// Publishes for as long as the node runs.
pub(crate) async fn run(shared: Arc<Shared>, broker: String, login: Option<Login>) {
    let mut backoff = Backoff::new(BACKOFF_MS_FIRST, BACKOFF_MS_MAX);
    let (mut acked, mut stuck, mut failures) = (None, Stuck::default(), 0u32);
    loop {
        let epoch = leading(&shared).await;
        let log = log(&shared);
        let began = Instant::now();
        match PublisherSession::connect(&shared, log.id, &broker, login.as_ref()).await {
            Ok(publisher_session) => {
                failures = 0;
                shared.problems.clear(About::Broker);
                tracing::info!(broker, %epoch, "publishing changes");
                let acked_before = acked.filter(|(of, _)| *of == epoch).map(|(_, acked)| acked);
                let mut session = LeaderSession::begin(&shared, publisher_session, epoch, log, acked_before);
                let from = session.plan.acked();
                let ended = session.live().await;
                acked = Some((epoch, session.plan.acked()));
                if session.plan.acked() > from {
                    backoff.reset();
                }
                if let Err(Lost(why)) = ended {
                    if let Some(skipped) =
                        stuck.lost(session.plan.acked() > from, session.plan.first_unacked())
                    {
                        tracing::warn!(
                            up_to = skipped,
                            "the broker does not take these changes: caches will see a gap"
                        );
                        acked = Some((epoch, skipped));
                    }
                    tracing::warn!(
                        broker,
                        why,
                        "the broker is lost; changes will be published from here on later"
                    );
                }
            }
            Err(Lost(why)) => {
                unreached(&shared, &broker, &why, failures);
                failures = failures.saturating_add(1);
            }
        }
        tokio::time::sleep(backoff.after(began.elapsed())).await;
    }
}

/// A message over which one connection after the other was lost.
#[derive(Debug, Default)]
struct Stuck {
    /// Its last change.
    up_to: u64,
    /// The connections.
    lives: u32,
}

impl Stuck {
    /// A connection was lost, with or without getting on, and this was what the broker had not acknowledged first. Returns
    /// the end of what is to be skipped.
    fn lost(&mut self, got_on: bool, unacked: Option<u64>) -> Option<u64> {
        let up_to = unacked.filter(|_| !got_on)?;
        if self.up_to != up_to {
            *self = Stuck { up_to, lives: 0 };
        }
        self.lives += 1;
        (self.lives >= LIVES_MAX).then(|| std::mem::take(self).up_to)
    }
}

/// No connection came about. NodeResponse from the second time on: at a start of everything the broker may come up last.
fn unreached(shared: &Shared, broker: &str, why: &str, failures: u32) {
    if failures == 0 {
        return;
    }
    let text = format!(
        "the broker at {broker} cannot be used: {why}; changes are published when it can, and caches read the store until then"
    );
    if shared.problems.raise(About::Broker, text) {
        tracing::warn!(broker, why, "the broker cannot be used; it is tried again and again");
    }
}

/// What the log says of itself.
#[derive(Clone, Copy)]
struct Log {
    /// Which it is; 0 if the table could not be read: portals ignore what is said of log 0.
    id: u64,
    /// Every change up to here was published.
    mark: u64,
}

fn log(shared: &Shared) -> Log {
    let read = shared.table.read(|read| {
        let state = state::read(read)?;
        Ok(Log { id: state::log_id(&state), mark: state.publish_mark })
    });
    read.unwrap_or_else(|error| {
        tracing::error!(%error, "the publish mark cannot be read; publishing from the start of the feed");
        Log { id: 0, mark: 0 }
    })
}

/// Waits until this node leads, and has applied the first entry of its log: by the initial members that it names the log is
/// known.
async fn leading(shared: &Shared) -> Epoch {
    let (mut applied, mut role) = (shared.applied.subscribe(), shared.role.subscribe());
    if role.borrow().role != Role::Leader {
        // A node that does not lead needs no broker.
        shared.problems.clear(About::Broker);
    }
    let begun = applied.wait_for(|applied| applied.position.offset.0 > 0).await.is_ok();
    let epoch = role.wait_for(|view| view.role == Role::Leader).await.map(|view| view.epoch);
    match epoch {
        Ok(epoch) if begun => epoch,
        // The node ends, and this task with it.
        _ => std::future::pending().await,
    }
}

/// One leadership over one connection.
struct LeaderSession<'a> {
    shared: &'a Shared,
    publisher_session: PublisherSession,
    epoch: Epoch,
    log_id: u64,
    plan: Plan,
    began: Instant,
}

impl<'a> LeaderSession<'a> {
    fn begin(
        shared: &'a Shared,
        publisher_session: PublisherSession,
        epoch: Epoch,
        log: Log,
        acked: Option<u64>,
    ) -> LeaderSession<'a> {
        let plan = Plan::new(log.mark, acked);
        LeaderSession { shared, publisher_session, epoch, log_id: log.id, plan, began: Instant::now() }
    }

    /// Publishes until the connection is lost or another leads.
    async fn live(&mut self) -> Result<(), Lost> {
        while self.still_leads() {
            while let Some(nonce) = self.publisher_session.nonce() {
                let now = self.now_ms();
                self.plan.nonce(nonce, now);
            }
            let now = self.now_ms();
            self.plan.acknowledged(self.publisher_session.acked()?, now);
            let last_change = self.shared.applied.borrow().last_change.0;
            match self.plan.next(now, last_change) {
                Step::Read { after } => self.publish_events(after).await?,
                Step::Ask => self.ask_barrier().await,
                Step::FreshnessHeartbeat { offset, previous, mut nonces } => {
                    // A portal that is not named asks again.
                    nonces.truncate(plan::nonces_fitting(self.headroom_bytes()));
                    let heartbeat = FreshnessHeartbeat { offset, previous, nonces };
                    self.send(bus_message::Kind::FreshnessHeartbeat(heartbeat)).await?;
                }
                Step::Mark { offset } => self.mark(offset).await,
                Step::Wait { until_ms } => self.wait(until_ms).await?,
            }
        }
        Ok(())
    }

    fn still_leads(&self) -> bool {
        let view = self.shared.role.borrow();
        view.role == Role::Leader && view.epoch == self.epoch
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn publish_events(&mut self, after: u64) -> Result<(), Lost> {
        let feed = self.shared.table.read(|read| since(read, after, plan::EVENTS_MAX));
        match feed {
            Ok(feed) => match plan::found(feed, after, self.headroom_bytes()) {
                Found::Changes { changes, up_to } => {
                    let (last, count) = (changes.last().map(|change| change.offset), changes.len());
                    if last.is_some() {
                        self.send(bus_message::Kind::Events(Events { changes })).await?;
                    }
                    self.plan.read(last, up_to, count);
                }
                Found::TooLarge { offset, keys } => {
                    tracing::warn!(
                        offset,
                        keys,
                        "a change is larger than the broker takes: caches will see a gap"
                    );
                    self.plan.skip(offset);
                }
                Found::Trimmed { first } => {
                    tracing::warn!(
                        after,
                        first,
                        "changes were trimmed before they were published: caches will see a gap"
                    );
                    self.plan.skip_to(first);
                }
            },
            Err(error) => {
                tracing::error!(%error, "the change feed cannot be read");
                tokio::time::sleep(Duration::from_millis(REFUSED_MS)).await;
            }
        }
        Ok(())
    }

    /// What a message can carry to this broker.
    fn headroom_bytes(&self) -> usize {
        self.publisher_session.message_bytes_max().saturating_sub(MESSAGE_BYTES_BESIDE)
    }

    async fn send(&mut self, kind: bus_message::Kind) -> Result<(), Lost> {
        let route = self.shared.me.route;
        let message = BusMessage {
            group: route.group,
            ring_version: route.ring_version,
            epoch: self.epoch.0,
            kind: Some(kind),
            log_id: self.log_id,
        };
        self.publisher_session.publish(message.encode_to_vec()).await?;
        self.plan.sent();
        Ok(())
    }

    /// A read-index round that is sent after the nonces were gathered.
    async fn ask_barrier(&mut self) {
        match self.shared.ask(Ask::Read).await {
            Ok(NodeResponse::Answer(Answer::ReadReady { at })) => self.plan.confirmed(at.0),
            // No quorum round, no freshness heartbeat.
            _ => {
                self.plan.not_confirmed();
                tokio::time::sleep(Duration::from_millis(REFUSED_MS)).await;
            }
        }
    }

    async fn mark(&mut self, offset: u64) {
        let command = command_of(Kind::PublishMark(PublishMark { offset }));
        match self.shared.ask(Ask::Write(command)).await {
            Ok(NodeResponse::Reply(_)) => {}
            other => tracing::debug!(?other, "a publish mark was not written; the next one will say more"),
        }
        let now = self.now_ms();
        self.plan.marked(offset, now);
    }

    /// Waits for a change, a nonce, an ack, another leader, or the time that the plan names.
    async fn wait(&mut self, until_ms: Option<u64>) -> Result<(), Lost> {
        let mut applied = self.shared.applied.subscribe();
        let mut role = self.shared.role.subscribe();
        let until = self.began + Duration::from_millis(until_ms.unwrap_or(u64::from(u32::MAX)));
        let (has_headroom, last) = (self.plan.has_headroom(), self.plan.last_sent());
        let epoch = self.epoch;
        tokio::select! {
            _ = applied.wait_for(|applied| has_headroom && applied.last_change.0 > last) => Ok(()),
            _ = role.wait_for(|view| view.role != Role::Leader || view.epoch != epoch) => Ok(()),
            heard = self.publisher_session.heard() => heard,
            () = tokio::time::sleep_until(until.into()) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_connection_after_the_other_is_lost_over_is_skipped() {
        let mut stuck = Stuck::default();
        let mut lost = |got_on, unacked| stuck.lost(got_on, unacked);
        assert!((1..LIVES_MAX).all(|_| lost(false, Some(7)).is_none()));
        assert_eq!(lost(false, None), None, "the broker was lost over nothing");
        assert_eq!(lost(true, Some(9)), None, "it took something");
        assert_eq!(lost(false, Some(7)), Some(7));
        assert!((1..LIVES_MAX).all(|_| lost(false, Some(9)).is_none()), "another message is counted anew");
        assert!((1..LIVES_MAX).all(|_| lost(false, Some(8)).is_none()));
        assert_eq!(lost(false, Some(8)), Some(8));
    }
}
