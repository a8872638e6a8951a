//! The driver of a [`Link`]: its streams over gRPC, its search for the leader, its clock.
//!
//! One task does all of it. Callers only take a place in the link and wait for their answer; the sending side is polled by the
//! connection, which packs everything that waits into its next frames.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, OptionFuture};
use futures::{FutureExt, Stream};
use parking_lot::{Mutex, MutexGuard};
use proto::store::pipeline_response::Response;
use proto::store::{Failure, FailureReason, LeaderHint, PipelineResponse};
use tokio::sync::{Notify, oneshot};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Request, Status, Streaming};

use crate::error::Error;
use crate::failure::failure_from;
use crate::link::{Act, Answer, Body, Link, Moment, Next, Options, StreamId};
use crate::pipeline::Kind;
use crate::replicated::codec::{Numbered, PipelineCodec};
use crate::replicated::finder::Finder;

const PIPELINE: &str = "/feira.store.v1.Kv/Pipeline";
/// If nothing is answered for this long, the other nodes are asked whether they know a later leader.
const STALL: Duration = Duration::from_secs(1);
/// An answer larger than this is not taken.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Answers that are handed over at once.
const ANSWERS_MAX: usize = 256;

/// What callers and the driving task share.
pub(crate) struct Driver {
    finder: Arc<Finder>,
    link: Mutex<Link>,
    /// When the link's time began.
    begun: Instant,
    /// Wakes the driving task when the first operation is asked while no stream is open.
    work: Notify,
}

/// What has come of the driving task's errands.
enum Event {
    Found(Result<LeaderHint, String>),
    Opened(StreamId, Result<Streaming<PipelineResponse>, Failure>),
    Answers(Option<Result<PipelineResponse, Status>>),
    Looked(StreamId, Option<LeaderHint>),
    Time,
}

type Opening = (StreamId, Result<Streaming<PipelineResponse>, Failure>);

/// The errands under way: at most one of each.
#[derive(Default)]
struct Errands {
    finding: OptionFuture<BoxFuture<'static, Result<LeaderHint, String>>>,
    opening: OptionFuture<BoxFuture<'static, Opening>>,
    looking: OptionFuture<BoxFuture<'static, (StreamId, Option<LeaderHint>)>>,
    answers: Option<(StreamId, Streaming<PipelineResponse>)>,
}

impl Errands {
    /// Waits until one of them has come to something. Answers first: they do not wait for a node that is slow to say who
    /// leads.
    async fn next(&mut self) -> Event {
        let answers: OptionFuture<_> = self.answers.as_mut().map(|(_, answers)| answers.message()).into();
        tokio::select! {
            biased;
            Some(answer) = answers => Event::Answers(answer.transpose()),
            Some((stream, opened)) = &mut self.opening => {
                self.opening = None.into();
                Event::Opened(stream, opened)
            }
            Some(found) = &mut self.finding => {
                self.finding = None.into();
                Event::Found(found)
            }
            Some((stream, found)) = &mut self.looking => {
                self.looking = None.into();
                Event::Looked(stream, found)
            }
            else => std::future::pending().await,
        }
    }
}

impl Driver {
    pub(crate) fn new(finder: Arc<Finder>, deadline: Duration) -> Driver {
        let link = Mutex::new(Link::new(Options { deadline, stall: STALL }));
        Driver { finder, link, begun: Instant::now(), work: Notify::new() }
    }

    /// Takes the next place. Does not wait, so that the order of calls is the order of operations.
    pub(crate) fn ask(&self, kind: Kind, body: Body) -> Result<oneshot::Receiver<Answer>, Error> {
        let mut link = self.link();
        let receiver = link.ask(kind, body, self.now())?;
        if link.has_work() {
            self.work.notify_one();
        }
        Ok(receiver)
    }

    /// Ends for good: the sending side of a stream, which the connection holds, ends too.
    pub(crate) fn end(&self) {
        self.link().end();
    }

    /// Whether a stream is open.
    pub(crate) fn is_open(&self) -> bool {
        self.link().is_open()
    }

    /// Why what waits is not answered.
    pub(crate) fn problem(&self) -> Option<String> {
        self.link().problem(self.now())
    }

    /// Whom the stream goes to.
    pub(crate) fn leader(&self) -> Option<LeaderHint> {
        self.link().leader().cloned()
    }

    /// Drives the link until the handle is dropped.
    pub(crate) async fn drive(self: Arc<Driver>) {
        let mut errands = Errands::default();
        let alarm = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(alarm);
        loop {
            let now = self.now();
            let (acts, wakes_at) = {
                let mut link = self.link();
                (link.turn(|| self.finder.route(), now), link.wakes_at(now))
            };
            for act in acts {
                self.act(act, &mut errands);
            }
            let at = tokio::time::Instant::from_std(self.begun + wakes_at);
            if alarm.deadline() != at {
                alarm.as_mut().reset(at);
            }
            let event = tokio::select! {
                biased;
                event = errands.next() => event,
                () = self.work.notified() => Event::Time,
                () = &mut alarm => Event::Time,
            };
            self.happened(event, &mut errands);
        }
    }

    fn act(self: &Arc<Driver>, act: Act, errands: &mut Errands) {
        match act {
            Act::Find => {
                let finder = Arc::clone(&self.finder);
                errands.finding = Some(async move { finder.find().await }.boxed()).into();
            }
            Act::Open { stream, target } => {
                let (finder, sending) =
                    (Arc::clone(&self.finder), Sending { driver: Arc::clone(self), stream });
                let opening = async move { (stream, open(&finder, &target, sending).await) };
                errands.opening = Some(opening.boxed()).into();
            }
            Act::Look { stream } => {
                let finder = Arc::clone(&self.finder);
                let looking = async move { (stream, finder.find().await.ok()) };
                errands.looking = Some(looking.boxed()).into();
            }
            Act::Close { .. } => {
                errands.opening = None.into();
                errands.looking = None.into();
                errands.answers = None;
            }
            Act::Forget { address } => self.finder.forget(&address),
            Act::Avoid { address } => self.finder.is_anothers(&address),
        }
    }

    fn happened(&self, event: Event, errands: &mut Errands) {
        let now = self.now();
        match event {
            Event::Found(found) => self.link().found(found, now),
            Event::Opened(stream, Ok(answers)) => {
                errands.answers = Some((stream, answers));
                self.link().opened(stream);
            }
            Event::Opened(stream, Err(failure)) => {
                let hint = self.hint(failure.leader);
                self.link().ended(stream, &failure.message, hint, now);
            }
            Event::Looked(stream, found) => self.link().looked(stream, found, now),
            Event::Answers(first) => {
                if let Some((stream, answers)) = &mut errands.answers {
                    self.take(*stream, first, answers, now);
                }
            }
            Event::Time => {}
        }
    }

    /// Hands over all answers that have come.
    fn take(
        &self,
        stream: StreamId,
        first: Option<Result<PipelineResponse, Status>>,
        answers: &mut Streaming<PipelineResponse>,
        now: Moment,
    ) {
        let mut next = Some(first);
        let mut count = 0;
        while let Some(answer) = next.take() {
            match answer {
                Some(Ok(mut answer)) => {
                    if let Some(Response::Failure(failure)) = &mut answer.response {
                        failure.leader = self.hint(failure.leader.take());
                    }
                    self.link().heard(stream, answer, now);
                }
                Some(Err(status)) => {
                    let failure = failure_from(&status);
                    let hint = self.hint(failure.leader);
                    self.link().ended(stream, &failure.message, hint, now);
                    return;
                }
                None => {
                    self.link().ended(stream, "ended the stream", None, now);
                    return;
                }
            }
            count += 1;
            if count < ANSWERS_MAX {
                next = answers.message().now_or_never().map(Result::transpose);
            }
        }
    }

    /// A hint with the address that is that node's from here, unless another cluster answers there.
    fn hint(&self, hint: Option<LeaderHint>) -> Option<LeaderHint> {
        let hint = self.finder.reached(hint?);
        (!self.finder.has_another(&hint.address)).then_some(hint)
    }

    fn now(&self) -> Moment {
        self.begun.elapsed()
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock()
    }
}

async fn open(
    finder: &Finder,
    target: &LeaderHint,
    sending: Sending,
) -> Result<Streaming<PipelineResponse>, Failure> {
    let transport = |error: Error| crate::failure::failure(FailureReason::Invalid, error.to_string());
    if finder.has_another(&target.address) {
        return Err(crate::failure::failure(FailureReason::NotServing, "it is the port of another cluster"));
    }
    let channel = finder.channel(&target.address).map_err(transport)?;
    let mut grpc = tonic::client::Grpc::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
    grpc.ready().await.map_err(|error| failure_from(&Status::unavailable(error.to_string())))?;
    let path = PathAndQuery::from_static(PIPELINE);
    let opened = grpc.streaming(Request::new(sending), path, PipelineCodec).await;
    opened.map(tonic::Response::into_inner).map_err(|status| failure_from(&status))
}

/// The sending side of one stream.
struct Sending {
    driver: Arc<Driver>,
    stream: StreamId,
}

impl Stream for Sending {
    type Item = Numbered;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Numbered>> {
        let now = self.driver.now();
        let next = self.driver.link().next(self.stream, now, context.waker());
        match next {
            Next::Send(number, body) => Poll::Ready(Some((number, body))),
            Next::Wait => Poll::Pending,
            Next::End => Poll::Ready(None),
        }
    }
}
