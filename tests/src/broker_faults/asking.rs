//! The requests of one caller: over each transport and at each portal, in a session or in none, and what came of them.
//!
//! A change whose outcome is not known is repeated under its id, over the other ways, until a portal says. What is not documented
//! is noted as wrong.

use std::fmt;
use std::time::{Duration, Instant};

use portal::Error;
use portal::operation::{Effect, Operation};
use portal::session::KeptSession;
use portal::transport::calling::{answered_within, over_grpc, over_http};
use portal::transport::mqtt_calling::{Caller, Place};
use portal::transport::session_channel::SessionChannel;
use store_client::Cause;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::journal::{Journal, Span};
use super::tally::{Ended, Tally};
use crate::wait;

/// An attempt is given up after so long.
const ATTEMPT: Duration = Duration::from_secs(10);
/// A change is repeated for so long, to learn what became of it.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);
/// Between two repetitions.
const PAUSE: Duration = Duration::from_millis(100);

/// How a portal is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// gRPC, at the portal of this place.
    Grpc(usize),
    /// HTTP/JSON, at the portal of this place.
    Http(usize),
    /// Over the broker, at whichever portal it chooses.
    Mqtt,
}

impl Via {
    /// The transport.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Via::Grpc(_) => "gRPC",
            Via::Http(_) => "HTTP",
            Via::Mqtt => "MQTT",
        }
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Via::Grpc(at) | Via::Http(at) => write!(f, "{} at portal {}", self.word(), at + 1),
            Via::Mqtt => f.write_str(self.word()),
        }
    }
}

/// What came of a request.
#[derive(Clone, Debug)]
pub enum Outcome<T> {
    /// This.
    Done(T),
    /// It was refused, and why: it was not done.
    Refused(Error),
    /// Nobody learnt it.
    Unknown,
}

/// A caller.
pub struct Asker {
    /// What it is called.
    pub name: String,
    service: &'static str,
    portals: Vec<SessionChannel<Channel>>,
    mqtt: Option<Caller>,
}

impl Asker {
    /// A caller of these portals, in this session.
    #[must_use]
    pub fn new(
        name: &str,
        service: &'static str,
        portals: impl IntoIterator<Item = Channel>,
        session: Option<&KeptSession>,
    ) -> Asker {
        let portals = portals.into_iter().map(|one| SessionChannel::new(one, session.cloned())).collect();
        Asker { name: name.to_owned(), service, portals, mqtt: None }
    }

    /// The same, which asks over a broker too. There it is always in a session: in one of its own, if in none else.
    #[must_use]
    pub fn over_broker(self, place: Place, session: Option<&KeptSession>) -> Asker {
        let session = session.cloned().unwrap_or_default();
        Asker { mqtt: Some(Caller::in_session(place, session)), ..self }
    }

    /// One of its ways.
    pub fn way(&self, rng: &mut fastrand::Rng) -> Via {
        let ways = if self.mqtt.is_some() { 3 } else { 2 };
        match rng.usize(..ways) {
            0 => Via::Grpc(rng.usize(..self.portals.len())),
            1 => Via::Http(rng.usize(..self.portals.len())),
            _ => Via::Mqtt,
        }
    }

    /// Asks once.
    pub async fn ask<O: Operation>(
        &self,
        via: Via,
        request: O::Request,
        (journal, tally): (&Journal, &Tally),
    ) -> (Outcome<O::Response>, Span) {
        let called = Instant::now();
        let answer = answered_within(ATTEMPT * 2, async {
            match (via, &self.mqtt) {
                (Via::Grpc(at), _) => {
                    let asking =
                        over_grpc::<O, _>(self.portals[at].clone(), self.service, Request::new(request));
                    answered_within(ATTEMPT, asking).await
                }
                (Via::Http(at), _) => {
                    answered_within(ATTEMPT, over_http::<O, _>(self.portals[at].clone(), request)).await
                }
                (Via::Mqtt, Some(caller)) => caller.call::<O>(request, ATTEMPT).await,
                (Via::Mqtt, None) => Err(Status::internal("it does not ask over a broker")),
            }
        })
        .await;
        let span = Span { called, returned: Instant::now() };
        let outcome = match answer {
            Ok(answer) => Outcome::Done(answer.into_inner()),
            Err(status) => outcome_of(&status, via).unwrap_or_else(|| {
                journal.wrong(format!(
                    "{} over {via}, {}: no documented error: {status:?}",
                    self.name,
                    O::NAME
                ));
                Outcome::Unknown
            }),
        };
        let ended = match &outcome {
            Outcome::Done(_) => Ended::Done,
            Outcome::Refused(error) => Ended::Refused(error.code_and_reason().1),
            Outcome::Unknown if O::EFFECT == Effect::Reads => Ended::NoAnswer,
            Outcome::Unknown => Ended::Unknown,
        };
        tally.count(O::NAME, via.word(), ended);
        if let Outcome::Refused(error) = &outcome
            && !may_be(error)
        {
            journal.wrong(format!("{} over {via}, {}: must not be refused so: {error}", self.name, O::NAME));
        }
        (outcome, span)
    }

    /// Asks for a change, and repeats it under its id over other ways until its outcome is known. The span is that of all attempts.
    pub async fn settle<O: Operation>(
        &self,
        rng: &mut fastrand::Rng,
        via: Via,
        request: &O::Request,
        to: (&Journal, &Tally),
    ) -> (Outcome<O::Response>, Span) {
        let (mut outcome, mut span) = self.ask::<O>(via, request.clone(), to).await;
        let until = span.called + SETTLED_WITHIN;
        while matches!(outcome, Outcome::Unknown) && Instant::now() < until {
            wait::pass(PAUSE).await;
            let (again, Span { returned, .. }) = self.ask::<O>(self.way(rng), request.clone(), to).await;
            span.returned = returned;
            outcome = match again {
                // It says nothing of the attempt before it.
                Outcome::Refused(Error::Unavailable { .. } | Error::Overloaded { .. }) => Outcome::Unknown,
                told => told,
            };
        }
        (outcome, span)
    }
}

/// What a status says; `None`: it is none that a portal, or the tool of a caller, documents.
fn outcome_of<T>(status: &Status, via: Via) -> Option<Outcome<T>> {
    match Error::from_status(status) {
        Some(Error::OutcomeUnknown { .. }) => Some(Outcome::Unknown),
        Some(error) => Some(Outcome::Refused(error)),
        None => {
            let is_silence = match via {
                Via::Mqtt => matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded),
                Via::Grpc(_) | Via::Http(_) => status.code() == Code::DeadlineExceeded,
            };
            is_silence.then_some(Outcome::Unknown)
        }
    }
}

/// Whether a request of this load may be refused so.
fn may_be(error: &Error) -> bool {
    matches!(
        error,
        Error::ShortStock { .. }
            | Error::OutsideQuantity { .. }
            | Error::NotOpen { .. }
            | Error::WrongState { .. }
            | Error::Changed { .. }
            | Error::Contended { .. }
            | Error::Overloaded { .. }
            | Error::Unavailable { cause: Cause::Away | Cause::Busy, .. }
    )
}
