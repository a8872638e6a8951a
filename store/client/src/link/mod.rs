//! The link to the leader of one group: which stream is open, what goes out on it, what its answers mean, and what follows when
//! it breaks. Pure: no thread, socket or clock. The handle ([`crate::Replicated`]) drives it over gRPC, the simulator over
//! a network of its own.
//!
//! ```text
//!          work          found             opened         refused: what was sent before is still answered
//!   Idle ───────► Finding ─────► Opening ──────────► Open ──────────────────────► Draining
//!    ▲               ▲              │ not in time      │ broken                      │
//!    │ nothing waits │ time is up   ▼                  ▼                             ▼
//!    └──────────── Pausing ◄────────┴──────────────────┴─────────────────────────────┘
//!                     a hint at another leader is followed at once, a few times
//! ```
//!
//! Promises: operations go out in the order in which they were asked, on each stream again from the first that is not
//! answered; one stream sends at a time; each operation is answered once, its deadline at the latest; what may have been
//! executed is never said to be undone. A write without identity is sent once.
//!
//! Leaves out: who leads (whoever drives it finds out), and the encoding ([`Body`]).

mod body;
mod pending;
#[cfg(test)]
mod tests;

use std::time::Duration;

use proto::store::pipeline_response::Response;
use proto::store::{FailureReason, LeaderHint, PipelineResponse, Route};
use store_core::mutant;
use tokio::sync::oneshot;

pub use self::body::Body;
use self::pending::Pending;
pub use self::pending::{Answer, Moment, Next};
use crate::backoff::Backoff;
use crate::error::Error;
use crate::failure::error_from;
use crate::pipeline::Kind;

/// A stream, numbered by the link from 1.
pub type StreamId = u64;

/// The leader must open the stream within this.
pub const OPEN_MAX: Duration = Duration::from_secs(1);
/// Between two searches for a later leader, at most.
const LOOK_MAX: Duration = Duration::from_secs(1);
/// How often deadlines and stalls are looked at.
const SWEEP: Duration = Duration::from_millis(100);
/// After a refusal, how long the answers to what was sent before are still collected.
const DRAIN_MAX: Duration = Duration::from_millis(300);
/// Waits between attempts: doubled each time, with jitter. An election takes some 400 ms, and a wait beyond its
/// end is for nothing; an attempt costs each node one small call. What has failed for longer than any election is tried
/// more seldom.
const BACKOFF_MS_FIRST: u64 = 20;
const BACKOFF_MS_ELECTION: u64 = 80;
const BACKOFF_MS_MAX: u64 = 640;
/// Attempts that an election may take.
const ATTEMPTS_ELECTION: u32 = 40;
/// A stream that answered for so long was well.
const STEADY: Duration = Duration::from_secs(1);
/// Hints that are followed without a wait, one after the other.
const HOPS_MAX: u32 = 3;

/// How patient a link is.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// An operation is answered within this, if only by an error.
    pub deadline: Duration,
    /// If nothing is answered for this long, the other nodes are asked whether they know a later leader.
    pub stall: Duration,
}

/// What whoever drives the link is to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Act {
    /// Find the leader, and say it by [`Link::found`].
    Find,
    /// Open a stream to this node, say [`Link::opened`] and then [`Link::heard`] or [`Link::ended`]; until it is closed send on
    /// it what [`Link::next`] gives, in that order.
    Open {
        /// The stream's number.
        stream: StreamId,
        /// The node.
        target: LeaderHint,
    },
    /// Find the leader meanwhile, and say it by [`Link::looked`].
    Look {
        /// The stream that stalls.
        stream: StreamId,
    },
    /// Give the stream up.
    Close {
        /// The stream's number.
        stream: StreamId,
    },
    /// Make the next connection to this address anew.
    Forget {
        /// Of a node that is silent.
        address: String,
    },
    /// Another cluster answers at this address.
    Avoid {
        /// Of a node of another cluster.
        address: String,
    },
}

/// The stream that is opened, open, or answered to its end.
#[derive(Debug)]
struct Stream {
    id: StreamId,
    target: LeaderHint,
    phase: Phase,
    /// It answered something.
    has_answered: bool,
    search: Search,
}

#[derive(Debug)]
enum Phase {
    Opening { until: Moment },
    Open,
    Draining { until: Moment, why: String, hint: Option<LeaderHint> },
}

/// The search for a later leader while a stream stalls.
#[derive(Debug)]
enum Search {
    /// Somebody looks.
    UnderWay,
    /// Nobody does before this.
    NotBefore(Moment),
}

#[derive(Debug)]
enum State {
    Idle,
    Finding,
    /// A stream to this node is to be opened when something waits.
    Found(LeaderHint),
    On(Stream),
    Pausing {
        until: Moment,
    },
}

/// See the module.
pub struct Link {
    options: Options,
    pending: Pending,
    state: State,
    acts: Vec<Act>,
    /// When the stream was opened that is open, or was last.
    begun: Moment,
    /// Why there was no stream last time, for errors.
    problem: String,
    /// Pauses as long as an election may be under way, and after it.
    election: Backoff,
    longer: Backoff,
    attempts: u32,
    hops: u32,
}

impl Link {
    /// Without a stream.
    #[must_use]
    pub fn new(options: Options) -> Link {
        Link {
            options,
            pending: Pending::default(),
            state: State::Idle,
            acts: Vec::new(),
            begun: Moment::ZERO,
            problem: "no leader was found yet".to_owned(),
            election: Backoff::new(BACKOFF_MS_FIRST, BACKOFF_MS_ELECTION),
            longer: Backoff::new(BACKOFF_MS_ELECTION, BACKOFF_MS_MAX),
            attempts: 0,
            hops: 0,
        }
    }

    /// Takes the next place for an operation. The order of calls is the order of operations.
    ///
    /// # Errors
    /// Too much waits already: it did not happen.
    pub fn ask(&mut self, kind: Kind, body: Body, now: Moment) -> Result<oneshot::Receiver<Answer>, Error> {
        self.pending.ask(kind, body, now + self.options.deadline)
    }

    /// Whether a [`Link::turn`] has something to do at once.
    #[must_use]
    pub fn has_work(&self) -> bool {
        let waits = matches!(self.state, State::Idle | State::Found(_)) && !self.pending.is_empty();
        waits || !self.acts.is_empty()
    }

    /// When the next turn is due at the latest.
    #[must_use]
    pub fn wakes_at(&self, now: Moment) -> Moment {
        // The same moment, however often it is asked for before.
        let sweep = SWEEP * u32::try_from(now.as_millis() / SWEEP.as_millis() + 1).unwrap_or(u32::MAX);
        match &self.state {
            State::Pausing { until }
            | State::On(Stream { phase: Phase::Opening { until } | Phase::Draining { until, .. }, .. }) => {
                sweep.min(*until)
            }
            State::Idle | State::Finding | State::Found(_) | State::On(_) => sweep,
        }
    }

    /// Goes on, after something was said or time has passed; what is to be done now. `route`: the group, with the cluster and
    /// the log that are meant, as far as they are known.
    pub fn turn(&mut self, route: impl FnOnce() -> Route, now: Moment) -> Vec<Act> {
        self.pending.expire(now, &self.problem);
        self.time_has_passed(now);
        // Who leads when somebody asks again may be another.
        if self.pending.is_empty() && matches!(self.state, State::Found(_)) {
            self.state = State::Idle;
        }
        if matches!(self.state, State::Idle) && !self.pending.is_empty() {
            self.state = State::Finding;
            self.acts.push(Act::Find);
        }
        if !self.pending.is_empty()
            && let State::Found(target) = &self.state
        {
            let (id, target) = (self.pending.open(route()), target.clone());
            self.acts.push(Act::Open { stream: id, target: target.clone() });
            let phase = Phase::Opening { until: now + OPEN_MAX };
            let search = Search::NotBefore(now);
            self.begun = now;
            self.state = State::On(Stream { id, target, phase, has_answered: false, search });
        }
        std::mem::take(&mut self.acts)
    }

    fn time_has_passed(&mut self, now: Moment) {
        let stalls = self.stalls(now);
        match &mut self.state {
            State::Pausing { until } if *until <= now => self.state = State::Idle,
            State::On(stream) => match &mut stream.phase {
                Phase::Opening { until } if *until <= now => {
                    let address = stream.target.address.clone();
                    let why = format!("{address} did not open a stream within {} ms", OPEN_MAX.as_millis());
                    self.acts.push(Act::Forget { address });
                    self.broken(why, None, now);
                }
                Phase::Draining { until, why, hint } if *until <= now => {
                    // What was not answered in time is simply asked again.
                    let (why, hint) = (std::mem::take(why), hint.take());
                    self.broken(why, hint, now);
                }
                Phase::Open if stalls && matches!(stream.search, Search::NotBefore(at) if at <= now) => {
                    stream.search = Search::UnderWay;
                    self.acts.push(Act::Look { stream: stream.id });
                }
                Phase::Opening { .. } | Phase::Open | Phase::Draining { .. } => {}
            },
            State::Idle | State::Finding | State::Found(_) | State::Pausing { .. } => {}
        }
    }

    /// Who leads, or why nobody knows.
    pub fn found(&mut self, found: Result<LeaderHint, String>, now: Moment) {
        if !matches!(self.state, State::Finding) {
            return;
        }
        match found {
            Ok(target) => self.state = State::Found(target),
            Err(why) => self.broken(why, None, now),
        }
    }

    /// The next request for a stream.
    pub fn next(&mut self, stream: StreamId, now: Moment, waker: &std::task::Waker) -> Next {
        self.pending.next(stream, now, waker)
    }

    /// The node has opened the stream.
    pub fn opened(&mut self, stream: StreamId) {
        if let Some(open) = self.stream(stream)
            && matches!(open.phase, Phase::Opening { .. })
        {
            open.phase = Phase::Open;
        }
    }

    /// An answer has come. A failure that another try may turn into an answer ends the stream instead: the operation keeps its
    /// place.
    pub fn heard(&mut self, stream: StreamId, answer: PipelineResponse, now: Moment) {
        self.opened(stream);
        if self.stream(stream).is_none() {
            return;
        }
        let PipelineResponse { number, response } = answer;
        let failure = match response {
            Some(Response::Failure(failure)) => failure,
            Some(response) => return self.answered(number, Ok(response), now),
            None => {
                let message = "the node sent an empty answer".to_owned();
                return self.answered(number, Err(Error::Unknown { message }), now);
            }
        };
        match failure.reason() {
            FailureReason::NotLeader | FailureReason::NotServing | FailureReason::WrongCluster => {
                self.pending.not_executed(number);
            }
            FailureReason::UnknownOutcome if mutant!(UnknownIsUndone) => self.pending.not_executed(number),
            FailureReason::UnknownOutcome => {}
            _ => return self.answered(number, Err(self.said_by_the_leader(error_from(&failure))), now),
        }
        let is_anothers = failure.reason() == FailureReason::WrongCluster;
        if let Some(open) = self.stream(stream)
            && matches!(open.phase, Phase::Open)
        {
            let address = open.target.address.clone();
            let why = format!("{address}: {}", failure.message);
            // It did not happen, and is not to be asked there again.
            let hint = failure.leader.filter(|_| !is_anothers);
            open.phase = Phase::Draining { until: now + DRAIN_MAX, why, hint };
            if is_anothers {
                self.acts.push(Act::Avoid { address });
            }
            self.pending.stop_sending();
        }
    }

    fn answered(&mut self, number: u64, answer: Answer, now: Moment) {
        if let State::On(stream) = &mut self.state {
            stream.has_answered = true;
        }
        self.pending.answer(number, now, answer);
    }

    /// The stream has ended, or could not be opened; `hint`: whom the node named as the leader.
    pub fn ended(&mut self, stream: StreamId, why: &str, hint: Option<LeaderHint>, now: Moment) {
        let Some(open) = self.stream(stream) else { return };
        match &mut open.phase {
            Phase::Draining { why, hint, .. } => {
                let (why, hint) = (std::mem::take(why), hint.take());
                self.broken(why, hint, now);
            }
            Phase::Opening { .. } | Phase::Open => {
                let why = format!("{}: {why}", open.target.address);
                self.broken(why, hint, now);
            }
        }
    }

    /// Who leads, as the other nodes know, while a stream stalls.
    pub fn looked(&mut self, stream: StreamId, found: Option<LeaderHint>, now: Moment) {
        let (stalls, pause) = (self.stalls(now), self.options.stall.min(LOOK_MAX));
        let Some(open) = self.stream(stream) else { return };
        open.search = Search::NotBefore(now + pause);
        let later = found.filter(|found| {
            let is_later = found.epoch > open.target.epoch && found.node != open.target.node;
            is_later && stalls && matches!(open.phase, Phase::Open)
        });
        if let Some(later) = later {
            let address = open.target.address.clone();
            let why = format!("{address} is silent, and node {} leads", later.node);
            self.acts.push(Act::Forget { address });
            self.broken(why, Some(later), now);
        }
    }

    /// Ends for good: no stream sends any more.
    pub fn end(&mut self) {
        self.pending.end();
    }

    /// Whether a stream may send.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.pending.is_open()
    }

    /// Whom the stream goes to.
    #[must_use]
    pub fn leader(&self) -> Option<&LeaderHint> {
        match &self.state {
            State::On(stream) => Some(&stream.target),
            State::Idle | State::Finding | State::Found(_) | State::Pausing { .. } => None,
        }
    }

    /// Why what waits is not answered: there is no stream, or the leader is silent.
    #[must_use]
    pub fn problem(&self, now: Moment) -> Option<String> {
        match self.leader() {
            Some(leader) if self.is_open() && self.stalls(now) => {
                Some(format!("{} leads, and has not answered for a while", leader.address))
            }
            None if !self.pending.is_empty() => Some(self.problem.clone()),
            _ => None,
        }
    }

    /// The stream of this number, unless it was given up.
    fn stream(&mut self, id: StreamId) -> Option<&mut Stream> {
        match &mut self.state {
            State::On(stream) if stream.id == id => Some(stream),
            _ => None,
        }
    }

    /// The same error with who gave it, where that may be what somebody has to know to mend it.
    fn said_by_the_leader(&self, error: Error) -> Error {
        match (error, self.leader()) {
            (Error::Retry { cause, message }, Some(leader)) => {
                Error::Retry { cause, message: format!("{}: {message}", leader.address) }
            }
            (error, _) => error,
        }
    }

    /// Whether nothing was answered for too long.
    fn stalls(&self, now: Moment) -> bool {
        self.pending.stalled_for(now) >= self.options.stall
    }

    /// The attempt is over: what it left unanswered goes out again.
    fn broken(&mut self, why: String, hint: Option<LeaderHint>, now: Moment) {
        tracing::debug!(why, "no stream to the leader of the group");
        self.pending.close(&why);
        self.problem = why;
        let was = match std::mem::replace(&mut self.state, State::Idle) {
            State::On(stream) => {
                self.acts.push(Act::Close { stream: stream.id });
                // That something was answered is not enough: what breaks the stream may be asked again on the next.
                if stream.has_answered && now.saturating_sub(self.begun) >= STEADY {
                    (self.attempts, self.hops) = (0, 0);
                    self.election.reset();
                    self.longer.reset();
                }
                Some(stream.target.address)
            }
            State::Idle | State::Finding | State::Found(_) | State::Pausing { .. } => None,
        };
        let elsewhere = hint.filter(|hint| Some(&hint.address) != was.as_ref() && self.hops < HOPS_MAX);
        self.state = match elsewhere {
            Some(hint) => {
                self.hops += 1;
                State::Found(hint)
            }
            None => {
                let is_election = self.attempts < ATTEMPTS_ELECTION;
                let backoff = if is_election { &mut self.election } else { &mut self.longer };
                let until = now + backoff.after(Duration::ZERO);
                (self.attempts, self.hops) = (self.attempts.saturating_add(1), 0);
                State::Pausing { until }
            }
        };
    }
}
