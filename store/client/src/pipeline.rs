//! The operations of a handle as the requests of a `Pipeline`, and their answers back: one translation for every
//! handle that speaks over such streams, the real one and the simulated one.
//!
//! Promises: an operation is asked when its future is first polled, with no await before, so that it takes its place in
//! the order. Leaves out streams, retries and deadlines ([`Pipelined::ask`] has them) and changes, which have a stream of
//! their own.

use bytes::Bytes;
use proto::store::ask_request::Question;
use proto::store::pipeline_request::Request;
use proto::store::pipeline_response::Response;
use proto::store::prepare_request::Part;
use proto::store::{
    AskAnswer, AskRequest, FinishAck, FinishRequest, Finishing, Freshness, GetRequest, GetResponse, Identity,
    OutcomeRequest, OutcomeResponse, PrepareAnswer, PrepareRequest, Route, ScanRequest, Txn, TxnRequest,
    TxnResponse,
};

use crate::error::Error;
use crate::{Got, Page, Range};

/// What may be done with an operation whose answer was lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Changes nothing: sent again at will.
    Read,
    /// Has an identity: sent again, executed once.
    Named,
    /// A write without identity: never sent again once it may have arrived.
    Unnamed,
}

/// A handle that asks over such streams.
pub trait Pipelined: Sync {
    /// The group asked, under the ring version known.
    fn route(&self) -> Route;

    /// Asks until there is an answer.
    ///
    /// # Errors
    /// What became of it, as of every operation.
    fn ask(&self, kind: Kind, request: Request) -> impl Future<Output = Result<Response, Error>> + Send;
}

/// The request of a get.
pub fn get_request(pipe: &impl Pipelined, key: Bytes, freshness: Freshness) -> GetRequest {
    GetRequest { route: Some(pipe.route()), key, freshness: Some(freshness) }
}

/// What a get found.
#[must_use]
pub fn got(answer: GetResponse) -> Got {
    let (applied, log_id, pending) = (answer.applied.unwrap_or_default(), answer.log_id, answer.pending);
    Got { record: answer.record, applied, log_id, pending }
}

/// Gets a record or its absence.
///
/// # Errors
/// As [`crate::Store::get`].
pub async fn get(pipe: &impl Pipelined, request: GetRequest) -> Result<Got, Error> {
    match pipe.ask(Kind::Read, Request::Get(request)).await.map_err(Error::of_read)? {
        Response::Get(answer) => Ok(got(answer)),
        other => Err(mixed_up(&other).of_read()),
    }
}

/// Reads one page of a range.
///
/// # Errors
/// As [`crate::Store::scan`].
pub async fn scan(
    pipe: &impl Pipelined,
    range: Range,
    limit: u32,
    after: Option<Bytes>,
    freshness: Freshness,
) -> Result<Page, Error> {
    let route = pipe.route();
    let group = route.group;
    let request = ScanRequest {
        route: Some(route),
        range: Some(range.into()),
        limit,
        after: after.unwrap_or_default(),
        freshness: Some(freshness),
    };
    match pipe.ask(Kind::Read, Request::Scan(request)).await.map_err(Error::of_read)? {
        Response::Scan(answer) => Ok(Page {
            records: answer.records,
            next: (!answer.next.is_empty()).then_some(answer.next),
            applied: vec![(group, answer.applied.unwrap_or_default())],
        }),
        other => Err(mixed_up(&other).of_read()),
    }
}

/// Runs a transaction.
///
/// # Errors
/// As [`crate::Store::txn`].
pub async fn txn(pipe: &impl Pipelined, txn: Txn, identity: Option<Identity>) -> Result<TxnResponse, Error> {
    let kind = if identity.is_some() { Kind::Named } else { Kind::Unnamed };
    let request = TxnRequest { route: Some(pipe.route()), txn: Some(txn), identity };
    match pipe.ask(kind, Request::Txn(request)).await? {
        Response::Txn(answer) => Ok(answer),
        other => Err(mixed_up(&other)),
    }
}

/// Asks what became of a write.
///
/// # Errors
/// As [`crate::Store::outcome`].
pub async fn outcome(
    pipe: &impl Pipelined,
    tag: Bytes,
    identity: Identity,
) -> Result<OutcomeResponse, Error> {
    let request = OutcomeRequest { route: Some(pipe.route()), tag, identity: Some(identity) };
    match pipe.ask(Kind::Named, Request::Outcome(request)).await? {
        Response::Outcome(answer) => Ok(answer),
        other => Err(mixed_up(&other)),
    }
}

/// Has the leader of a group prepare branches of transactions that another group decides; answers are in their order. It may
/// be asked twice without harm.
///
/// # Errors
/// Nobody answered in time: perhaps they are prepared.
pub async fn prepare(pipe: &impl Pipelined, parts: Vec<Part>) -> Result<Vec<PrepareAnswer>, Error> {
    let request = PrepareRequest { route: Some(pipe.route()), parts };
    match pipe.ask(Kind::Read, Request::Prepare(request)).await? {
        Response::Prepare(answer) => Ok(answer.answers),
        other => Err(mixed_up(&other)),
    }
}

/// Has the leader of a group end prepared branches; what is done with. It may be asked twice without harm.
///
/// # Errors
/// Nobody answered in time: perhaps they are ended.
pub async fn finish(pipe: &impl Pipelined, finishes: Vec<Finishing>) -> Result<Vec<FinishAck>, Error> {
    let request = FinishRequest { route: Some(pipe.route()), finishes };
    match pipe.ask(Kind::Read, Request::Finish(request)).await? {
        Response::Finish(answer) => Ok(answer.acks),
        other => Err(mixed_up(&other)),
    }
}

/// Asks the leader of a group what it decided; answers are in the order of the questions.
///
/// # Errors
/// Nobody answered in time.
pub async fn ask(pipe: &impl Pipelined, questions: Vec<Question>) -> Result<Vec<AskAnswer>, Error> {
    let request = AskRequest { route: Some(pipe.route()), questions };
    match pipe.ask(Kind::Read, Request::Ask(request)).await.map_err(Error::of_read)? {
        Response::Ask(answer) => Ok(answer.answers),
        other => Err(mixed_up(&other).of_read()),
    }
}

/// The node answered one operation with the answer of another.
fn mixed_up(answer: &Response) -> Error {
    let kind = match answer {
        Response::Txn(_) => "a transaction",
        Response::Get(_) => "a get",
        Response::Scan(_) => "a scan",
        Response::Outcome(_) => "an outcome",
        Response::Prepare(_) => "a prepare",
        Response::Finish(_) => "a finish",
        Response::Ask(_) => "an ask",
        Response::Failure(_) => "a failure",
    };
    Error::Unknown { message: format!("the node sent the answer of {kind} to another operation") }
}
