//! One call over all its attempts: what was heard so far, whether another attempt is worth while, and what is told in the end.
//!
//! ```text
//!   an answer ───────────────────────────────► that is it
//!   a reason that passes, or no answer ──────► the next portal, until patience ends
//!   a reason that waiting does not cure ─────► each other portal once, at once
//! ```
//!
//! Promise: the last reason that a portal gave, and which portal, is what the caller is told; silence only if none gave any.

use std::time::Duration;

use portal::error::Error;
use tokio::time::Instant;
use tonic::{Code, ConnectError, Status};

use super::matter::Matter;
use super::places::{Call, Places};
use crate::failure::Failure;
use crate::show::waiting::Waiting;

/// Waits between attempts grow from the first to the second of these.
const PAUSE_MS: (u64, u64) = (20, 1_000);

/// What an attempt tells.
#[derive(Debug)]
pub enum Attempt {
    /// The portal answered: that is the answer.
    Final(Status),
    /// It did not happen; another attempt may do better.
    Again(Status),
    /// It did not happen, and will not before somebody mends what stands in the way.
    Stuck(Status),
    /// It may have happened.
    Lost(Status),
}

/// The attempts of one call.
pub struct Effort<'a> {
    places: &'a Places,
    call: Call<'a>,
    /// Patience ends then.
    pub deadline: Instant,
    pause_ms: u64,
    /// An attempt's outcome is open.
    lost: bool,
    /// Which portals were asked.
    tried: Vec<bool>,
    /// The last reason that waiting does not cure.
    stuck: Option<Failure>,
    /// The last reason that a portal gave.
    said: Option<Failure>,
    /// Why the last portal did not answer.
    silence: String,
    /// The line that tells a person meanwhile.
    pub waiting: Waiting,
}

impl<'a> Effort<'a> {
    /// None yet.
    pub fn new(places: &'a Places, call: Call<'a>) -> Effort<'a> {
        Effort {
            places,
            call,
            deadline: Instant::now() + places.patience,
            pause_ms: PAUSE_MS.0,
            lost: false,
            tried: vec![false; places.all.len()],
            stuck: None,
            said: None,
            silence: String::new(),
            waiting: Waiting::on_terminal(places.notices.is_some()),
        }
    }

    /// Takes what the portal at this place told; true: that was the last word.
    pub fn heard(&mut self, at: usize, attempt: &Attempt) -> bool {
        self.tried[at] = true;
        let address = self.places.all[at].0.as_str();
        match attempt {
            Attempt::Final(_) => {
                self.settled();
                return true;
            }
            Attempt::Again(status) | Attempt::Stuck(status) | Attempt::Lost(status) => {
                tracing::debug!(%address, %status, "portal did not serve");
                match Error::from_status(status) {
                    Some(error) => self.said = Some(self.reason(address, status, error)),
                    None => self.silence = deepest(status),
                }
            }
        }
        if matches!(attempt, Attempt::Stuck(_)) {
            self.stuck.clone_from(&self.said);
        }
        if matches!(attempt, Attempt::Lost(_)) {
            self.notice_lost(address);
        }
        self.tell(address);
        false
    }

    fn reason(&self, address: &str, status: &Status, error: Error) -> Failure {
        let failure = Failure::of_status(status);
        let failure = match error {
            Error::OutcomeUnknown { why, .. } | Error::Unavailable { why, .. } => failure.retold(why),
            _ => failure,
        };
        failure.by(format!("{} {address}", self.places.kind))
    }

    /// Waits before the next attempt; false: there is none.
    pub async fn pause(&mut self) -> bool {
        if self.stuck.is_some() {
            return !self.tried.iter().all(|tried| *tried);
        }
        if Instant::now() >= self.deadline {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(fastrand::u64(self.pause_ms / 2..=self.pause_ms))).await;
        self.pause_ms = (self.pause_ms * 2).min(PAUSE_MS.1);
        Instant::now() < self.deadline
    }

    /// Tells a person who waits why.
    pub fn tell(&mut self, asked: &str) {
        if !self.waiting.is_seen() {
            return;
        }
        let left = self.deadline.saturating_duration_since(Instant::now()).as_secs();
        let why = match &self.said {
            Some(failure) => format!("{}: {}", failure.by, failure.sentence()),
            None => format!("no answer from {} {asked}", self.places.kind),
        };
        self.waiting.show(&format!("waiting, {left} s left: {why}"));
    }

    /// What a portal says meanwhile of why it cannot answer yet.
    pub fn told_meanwhile(&mut self, address: &str, why: &str) {
        if !why.is_empty() {
            let failure = Failure::unreachable(why);
            self.said = Some(failure.by(format!("{} {address}", self.places.kind)));
        }
        self.tell(address);
    }

    fn notice_lost(&mut self, address: &str) {
        if let (false, Some(out), Some(request)) = (self.lost, &self.places.notices, self.call.request) {
            self.waiting.clear();
            let id = &request.id;
            out.insist(&format!(
                "the answer of {address} is not known yet: asking again with the same request id {id}"
            ));
        }
        self.lost = true;
    }

    /// There is an answer.
    pub fn settled(&mut self) {
        self.waiting.clear();
        if let (true, Some(out), Some(request)) = (self.lost, &self.places.notices, self.call.request) {
            out.say(&format!("settled: the request {} has its answer now", request.id));
        }
    }

    /// What is told after the last attempt.
    #[must_use]
    pub fn gave_up(mut self) -> Failure {
        self.waiting.clear();
        let why = match self.stuck.take().or(self.said.take()) {
            Some(said) => said,
            None => self.unanswered(),
        };
        match self.call.request {
            Some(request) if self.lost => {
                let mut unknown = why.of("outcome unknown");
                unknown.kind = crate::failure::Kind::Unknown;
                // Whoever knows the message says what it is about.
                unknown.next(Matter::default().ways_on(&request.id))
            }
            _ => why,
        }
    }

    fn unanswered(&self) -> Failure {
        let all: Vec<&str> = self.places.all.iter().map(|(address, _)| address.as_str()).collect();
        let silence = if self.silence.is_empty() { String::new() } else { format!(" ({})", self.silence) };
        let Places { kind, patience, .. } = self.places;
        Failure::unreachable(format!("no answer from {kind} {} within {patience:?}{silence}", all.join(", ")))
            .next(
                "see feira status: in a local cluster that runs, feira node start PART starts what is down; \
                 feira up starts a whole one",
            )
    }
}

/// What a status tells of an attempt. The portals' own errors say it themselves; anything else is a connection's.
#[must_use]
pub fn classify(status: Status, insistent: bool) -> Attempt {
    match Error::from_status(&status) {
        Some(Error::Unavailable { cause, .. }) if !cause.passes() => Attempt::Stuck(status),
        // Of our own making: another portal has another connection.
        Some(Error::Overloaded { own: true, .. }) => Attempt::Stuck(status),
        // Another portal may be of the cluster that is meant.
        Some(Error::WrongCluster { .. }) => Attempt::Stuck(status),
        Some(Error::Unavailable { .. } | Error::Overloaded { .. }) => Attempt::Again(status),
        Some(Error::Contended { .. }) if insistent => Attempt::Again(status),
        Some(Error::OutcomeUnknown { .. }) => Attempt::Lost(status),
        Some(_) => Attempt::Final(status),
        None if never_sent(&status) => Attempt::Again(status),
        None => match status.code() {
            Code::Unavailable | Code::Cancelled | Code::Unknown | Code::Internal | Code::DeadlineExceeded => {
                Attempt::Lost(status)
            }
            _ => Attempt::Final(status),
        },
    }
}

/// Whether no connection was made, so that nothing can have happened.
fn never_sent(status: &Status) -> bool {
    sources(status).any(|error| error.is::<ConnectError>())
}

/// What the system says below what the libraries say.
fn deepest(status: &Status) -> String {
    match sources(status).last() {
        Some(error) => error.to_string(),
        None => status.message().to_owned(),
    }
}

fn sources(status: &Status) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(std::error::Error::source(status), |error| error.source())
}
