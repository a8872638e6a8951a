//! The stream to the leader of one group, over all its connections: find the leader, open the stream, send the waiting
//! requests in their order, take answers, and begin again when it breaks.
//!
//! One task does all of it. Callers only take a place in [`Pending`] and wait for their answer; the sending side
//! is polled by the connection, which packs everything that waits into its next frames.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::future::{Fuse, FusedFuture};
use futures::{FutureExt, Stream};
use parking_lot::{Mutex, MutexGuard};
use proto::store::pipeline_response::Response;
use proto::store::{Failure, FailureReason, LeaderHint, PipelineResponse};
use tokio::sync::oneshot;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Request, Status, Streaming};

use crate::backoff::Backoff;
use crate::error::Error;
use crate::failure::{error_from, failure_from};
use crate::pipeline::Kind;
use crate::replicated::codec::{Body, Numbered, PipelineCodec};
use crate::replicated::finder::Finder;
use crate::replicated::pending::{Answer, Next, Pending};

const PIPELINE: &str = "/feira.store.v1.Kv/Pipeline";
/// The leader must open the stream within this.
const OPEN_MS_MAX: u64 = 1_000;
/// If nothing is answered for this long, the other nodes are asked whether they know a later leader.
const STALL_MS: u64 = 1_000;
/// How often deadlines and stalls are looked at.
const SWEEP_MS: u64 = 100;
/// After a refusal, how long the answers to what was sent before are still collected.
const DRAIN_MS_MAX: u64 = 300;
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
/// An answer larger than this is not taken.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// What callers and the driving task share.
pub(crate) struct Link {
    finder: Arc<Finder>,
    deadline: Duration,
    pending: Mutex<Pending>,
    /// Whom the stream goes to now, or went to last.
    leader: Mutex<Option<LeaderHint>>,
    /// Why there was no stream last time, for errors.
    problem: Mutex<String>,
    /// Wakes the driving task when the first operation is asked while no stream is open.
    work: tokio::sync::Notify,
}

/// Why a stream ended.
struct Broken {
    why: String,
    /// Whom the node named as the leader.
    hint: Option<LeaderHint>,
    /// It answered something.
    answered: bool,
}

impl Link {
    pub(crate) fn new(finder: Arc<Finder>, deadline: Duration) -> Link {
        Link {
            finder,
            deadline,
            pending: Mutex::new(Pending::default()),
            leader: Mutex::new(None),
            problem: Mutex::new("no leader was found yet".to_owned()),
            work: tokio::sync::Notify::new(),
        }
    }

    /// Takes the next place. Does not wait, so that the order of calls is the order of operations.
    pub(crate) fn ask(&self, kind: Kind, body: Body) -> Result<oneshot::Receiver<Answer>, Error> {
        let mut pending = self.pending();
        let receiver = pending.ask(kind, body, Instant::now() + self.deadline)?;
        if !pending.is_open() {
            self.work.notify_one();
        }
        Ok(receiver)
    }

    /// Ends for good: the sending side of a stream, which the connection holds, ends too.
    pub(crate) fn end(&self) {
        self.pending().end();
    }

    /// Whether a stream is open.
    pub(crate) fn is_open(&self) -> bool {
        self.pending().is_open()
    }

    /// Why what waits is not answered: there is no stream, or the leader is silent.
    pub(crate) fn problem(&self) -> Option<String> {
        // One after the other: each takes the same lock.
        let waits = !self.pending().is_empty();
        let open = self.is_open();
        match self.leader() {
            Some(leader) if open && self.stalls() => {
                Some(format!("{} leads, and has not answered for a while", leader.address))
            }
            None if waits => Some(self.problem.lock().clone()),
            _ => None,
        }
    }

    /// Whom the stream goes to.
    pub(crate) fn leader(&self) -> Option<LeaderHint> {
        self.leader.lock().clone()
    }

    /// Drives the link until the handle is dropped.
    pub(crate) async fn drive(self: Arc<Link>) {
        let mut sweep = tokio::time::interval(Duration::from_millis(SWEEP_MS));
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let streams = Arc::clone(&self).keep_a_stream();
        tokio::pin!(streams);
        loop {
            tokio::select! {
                () = &mut streams => unreachable!("the loop over streams has no end"),
                _ = sweep.tick() => {
                    let why = self.problem.lock().clone();
                    self.pending().expire(Instant::now(), &why);
                }
            }
        }
    }

    async fn keep_a_stream(self: Arc<Link>) {
        let mut election = Backoff::new(BACKOFF_MS_FIRST, BACKOFF_MS_ELECTION);
        let mut longer = Backoff::new(BACKOFF_MS_ELECTION, BACKOFF_MS_MAX);
        let (mut attempts, mut hops, mut hint) = (0u32, 0u32, None);
        loop {
            while self.pending().is_empty() {
                self.work.notified().await;
            }
            let began = Instant::now();
            let broken = match self.target(hint.take()).await {
                Ok(target) => self.run(&target).await,
                Err(why) => Broken { why, hint: None, answered: false },
            };
            tracing::debug!(why = broken.why, "no stream to the leader of the group");
            self.pending().close(&broken.why);
            self.problem.lock().clone_from(&broken.why);
            // That something was answered is not enough: what breaks the stream may be asked again on the next.
            if broken.answered && began.elapsed() >= STEADY {
                (attempts, hops) = (0, 0);
                election.reset();
                longer.reset();
            }
            let hinted = broken.hint.map(|hint| self.finder.reached(hint));
            let was = self.leader().map(|leader| leader.address);
            let elsewhere = hinted.filter(|hint| {
                Some(&hint.address) != was.as_ref() && !self.finder.has_another(&hint.address)
            });
            self.leader.lock().take();
            if elsewhere.is_some() && hops < HOPS_MAX {
                hops += 1;
                hint = elsewhere;
                continue;
            }
            let backoff = if attempts < ATTEMPTS_ELECTION { &mut election } else { &mut longer };
            tokio::time::sleep(backoff.after(Duration::ZERO)).await;
            (attempts, hops) = (attempts.saturating_add(1), 0);
        }
    }

    async fn target(&self, hint: Option<LeaderHint>) -> Result<LeaderHint, String> {
        match hint {
            Some(hint) => Ok(hint),
            None => self.finder.find().await,
        }
    }

    /// One life of the stream.
    async fn run(self: &Arc<Link>, target: &LeaderHint) -> Broken {
        *self.leader.lock() = Some(target.clone());
        let number = self.pending().open(self.finder.route());
        let sending = Sending { link: Arc::clone(self), number };
        let opened =
            tokio::time::timeout(Duration::from_millis(OPEN_MS_MAX), self.open(target, sending)).await;
        let answers = match opened {
            Ok(Ok(answers)) => answers,
            Ok(Err(failure)) => {
                let why = format!("{}: {}", target.address, failure.message);
                return Broken { why, hint: failure.leader, answered: false };
            }
            Err(_) => {
                self.finder.forget(&target.address);
                let why = format!("{} did not open a stream within {OPEN_MS_MAX} ms", target.address);
                return Broken { why, hint: None, answered: false };
            }
        };
        self.collect(target, answers).await
    }

    async fn open(
        &self,
        target: &LeaderHint,
        sending: Sending,
    ) -> Result<Streaming<PipelineResponse>, Failure> {
        let transport = |error: Error| crate::failure::failure(FailureReason::Invalid, error.to_string());
        let channel = self.finder.channel(&target.address).map_err(transport)?;
        let mut grpc = tonic::client::Grpc::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
        grpc.ready().await.map_err(|error| failure_from(&Status::unavailable(error.to_string())))?;
        let path = PathAndQuery::from_static(PIPELINE);
        let opened = grpc.streaming(Request::new(sending), path, PipelineCodec).await;
        opened.map(tonic::Response::into_inner).map_err(|status| failure_from(&status))
    }

    /// Takes answers until the stream ends, refuses, or stalls while another leads.
    async fn collect(&self, target: &LeaderHint, mut answers: Streaming<PipelineResponse>) -> Broken {
        let mut broken = Broken { why: String::new(), hint: None, answered: false };
        let mut watch = tokio::time::interval(Duration::from_millis(STALL_MS));
        let search = Fuse::terminated();
        tokio::pin!(search);
        loop {
            let answer = tokio::select! {
                biased;
                answer = answers.message() => answer,
                // Beside the answers: they do not wait for a node that is slow to say who leads.
                found = &mut search, if !search.is_terminated() => {
                    let found: Option<LeaderHint> = found;
                    if let Some(later) = found && self.stalls() {
                        broken.why = format!("{} is silent, and node {} leads", target.address, later.node);
                        broken.hint = Some(later);
                        self.finder.forget(&target.address);
                        return broken;
                    }
                    continue;
                }
                _ = watch.tick(), if search.is_terminated() => {
                    if self.stalls() {
                        search.set(self.later_leader(target).fuse());
                    }
                    continue;
                }
            };
            match answer {
                Ok(Some(answer)) => match self.take(answer) {
                    None => broken.answered = true,
                    Some(failure) => {
                        broken.why = format!("{}: {}", target.address, failure.message);
                        // It did not happen, and is not to be asked there again.
                        if failure.reason() == FailureReason::WrongCluster {
                            self.finder.is_anothers(&target.address);
                        } else {
                            broken.hint = failure.leader;
                        }
                        self.drain(answers).await;
                        return broken;
                    }
                },
                Ok(None) => {
                    broken.why = format!("{} ended the stream", target.address);
                    return broken;
                }
                Err(status) => {
                    let failure = failure_from(&status);
                    broken.why = format!("{}: {}", target.address, failure.message);
                    broken.hint = failure.leader;
                    return broken;
                }
            }
        }
    }

    /// After a refusal: sends no more, and takes what is still answered, briefly.
    async fn drain(&self, mut answers: Streaming<PipelineResponse>) {
        self.pending().stop_sending();
        let rest = async {
            while let Ok(Some(answer)) = answers.message().await {
                self.take(answer);
            }
        };
        // What is not answered in time is simply asked again.
        let _ = tokio::time::timeout(Duration::from_millis(DRAIN_MS_MAX), rest).await;
    }

    /// Hands an answer to whom it belongs. A failure that another try may turn into an answer is returned
    /// instead: the operation keeps its place.
    fn take(&self, answer: PipelineResponse) -> Option<Failure> {
        let PipelineResponse { number, response } = answer;
        let result = match response {
            Some(Response::Failure(failure)) => match failure.reason() {
                FailureReason::NotLeader | FailureReason::NotServing | FailureReason::WrongCluster => {
                    self.pending().not_executed(number);
                    return Some(failure);
                }
                FailureReason::UnknownOutcome => return Some(failure),
                _ => Err(self.said_by_the_leader(error_from(&failure))),
            },
            Some(response) => Ok(response),
            None => Err(Error::Unknown { message: "the node sent an empty answer".to_owned() }),
        };
        self.pending().answer(number, Instant::now(), result);
        None
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
    fn stalls(&self) -> bool {
        self.pending().stalled_for(Instant::now()) >= Duration::from_millis(STALL_MS)
    }

    /// A leader of a later epoch than the one whose stream stalls.
    async fn later_leader(&self, target: &LeaderHint) -> Option<LeaderHint> {
        let found = self.finder.find().await.ok()?;
        (found.epoch > target.epoch && found.node != target.node).then_some(found)
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock()
    }
}

/// The sending side of one stream.
struct Sending {
    link: Arc<Link>,
    number: u64,
}

impl Stream for Sending {
    type Item = Numbered;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Numbered>> {
        let next = self.link.pending().next(self.number, Instant::now(), context.waker());
        match next {
            Next::Send(number, body) => Poll::Ready(Some((number, body))),
            Next::Wait => Poll::Pending,
            Next::End => Poll::Ready(None),
        }
    }
}
