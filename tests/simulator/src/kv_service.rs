//! The door of one node: which clients' streams end here, what they asked and still wait for, and how what the node
//! or the applier says becomes an answer. It does what `store/server` does around its pipelines, without gRPC:
//! requests are checked, made commands, and of a stream that is *broken* nothing later is executed.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;
use proto::check;
use proto::store::command::Kind;
use proto::store::pipeline_request::Request;
use proto::store::pipeline_response::Response;
use proto::store::{
    Command, Failure, FailureReason, Freshness, GetRequest, GetResponse, LeaderHint, OutcomeCommand,
    PipelineRequest, PipelineResponse, ScanRequest, ScanResponse, Status, TxnCommand, scan_request,
};
use store_client::failure::{failure, invalid, not_leader};
use store_core::MemberChange;
use store_db::{Table as _, query, state};
use store_engine::{Answer, ChangeRequest, Job, Reply, RequestId};

use crate::table::SimTable;

/// A client's stream, unique over a run.
pub(crate) type StreamId = u64;

/// Of what comes on no client's stream.
const NO_STREAM: StreamId = 0;

/// An answer, and on which stream.
pub(crate) type Answered = (StreamId, PipelineResponse);

/// What was asked.
#[derive(Debug)]
enum PendingRequest {
    Write,
    Get(GetRequest),
    Scan(ScanRequest),
}

#[derive(Debug)]
struct Waiting {
    stream: StreamId,
    number: u64,
    asked: PendingRequest,
}

/// What is told about a request id.
#[derive(Debug)]
pub(crate) enum NodeResponse {
    Answer(Answer),
    Reply(Reply),
}

/// The `Kv` service of one life of a node.
#[derive(Debug, Default)]
pub(crate) struct KvService {
    /// Streams that are broken: one of their requests was not executed.
    broken: Vec<StreamId>,
    /// Who waits, by request id.
    waiting: BTreeMap<RequestId, Waiting>,
    /// The operator's requests, by request id.
    changes: BTreeMap<RequestId, u64>,
    /// The last request id given out.
    request_ids: u64,
    /// Requests that came since the node was turned.
    came: Vec<(StreamId, Job)>,
}

impl KvService {
    /// A request has come. What is wrong with it is said at once.
    pub(crate) fn take(
        &mut self,
        stream: StreamId,
        request: PipelineRequest,
        wall_ms: i64,
        is_non_member: bool,
    ) -> Option<Answered> {
        let number = request.number;
        let checked = check::pipeline(&request);
        let refused =
            |failure| Some((stream, PipelineResponse { number, response: Some(Response::Failure(failure)) }));
        if let Err(violation) = checked {
            return refused(invalid(violation.field, violation.problem));
        }
        if is_non_member {
            return refused(failure(FailureReason::NotServing, "this node is not a member of its group"));
        }
        let request_id = RequestId(self.request_ids + 1);
        let (job, asked) = match request.request.expect("checked") {
            Request::Txn(txn) => {
                let kind = Kind::Txn(TxnCommand { txn: txn.txn, identity: txn.identity });
                (command(kind, wall_ms), PendingRequest::Write)
            }
            Request::Outcome(outcome) => {
                let kind = Kind::Outcome(OutcomeCommand { tag: outcome.tag, identity: outcome.identity });
                (command(kind, wall_ms), PendingRequest::Write)
            }
            Request::Get(get) => (Ok(None), PendingRequest::Get(get)),
            Request::Scan(scan) => (Ok(None), PendingRequest::Scan(scan)),
        };
        let job = match job {
            Err(failure) => return refused(failure),
            Ok(Some(command)) => Job::Write { request_id, command },
            Ok(None) => Job::Read { request_id },
        };
        self.request_ids += 1;
        self.waiting.insert(request_id, Waiting { stream, number, asked });
        self.came.push((stream, job));
        None
    }

    /// The operator asks for a change of members.
    pub(crate) fn change(&mut self, number: u64, change: MemberChange, address: String) {
        self.request_ids += 1;
        let request_id = RequestId(self.request_ids);
        self.changes.insert(request_id, number);
        self.came.push((NO_STREAM, Job::ChangeMembers(ChangeRequest { request_id, change, address })));
    }

    /// The number of the operator's request, if it was one.
    pub(crate) fn operators(&mut self, request_id: RequestId) -> Option<u64> {
        self.changes.remove(&request_id)
    }

    /// Whether something came.
    pub(crate) fn has_work(&self) -> bool {
        !self.came.is_empty()
    }

    /// Takes what came, for the node. What came on a broken stream is refused.
    pub(crate) fn jobs(&mut self, into: &mut Vec<Job>, answers: &mut Vec<Answered>) {
        for (stream, job) in std::mem::take(&mut self.came) {
            if self.broken.contains(&stream) {
                let (Job::Write { request_id, .. } | Job::Read { request_id }) = job else { continue };
                let waiting = self.waiting.remove(&request_id).expect("it was let in");
                let response = Some(Response::Failure(not_leader(None)));
                answers.push((stream, PipelineResponse { number: waiting.number, response }));
            } else {
                into.push(job);
            }
        }
    }

    /// What a request id is told, as an answer to its caller. No table: it must not be read.
    pub(crate) fn answer(
        &mut self,
        request_id: RequestId,
        told: NodeResponse,
        table: Option<&SimTable>,
    ) -> Option<Answered> {
        let waiting = self.waiting.remove(&request_id)?;
        if matches!(told, NodeResponse::Answer(Answer::NotLeader { .. } | Answer::Unknown))
            && !self.broken.contains(&waiting.stream)
        {
            self.broken.push(waiting.stream);
        }
        let response = match (told, &waiting.asked) {
            (NodeResponse::Answer(Answer::ReadReady { .. }), asked) => match table {
                Some(table) => read(table, asked),
                None => Response::Failure(failure(FailureReason::NotServing, "this replica is quarantined")),
            },
            (NodeResponse::Answer(answer), _) => Response::Failure(failure_of(&answer)),
            (NodeResponse::Reply(Reply::Txn(answer)), _) => Response::Txn(answer),
            (NodeResponse::Reply(Reply::Outcome(answer)), _) => Response::Outcome(answer),
            (NodeResponse::Reply(Reply::Refused { reason, message, .. }), _) => {
                Response::Failure(failure(reason, message))
            }
            (NodeResponse::Reply(Reply::Unknown), _) => {
                Response::Failure(failure(FailureReason::UnknownOutcome, "this replica is quarantined"))
            }
            (NodeResponse::Reply(Reply::Done { .. }), _) => {
                unreachable!("no client asks for what has no answer")
            }
        };
        Some((waiting.stream, PipelineResponse { number: waiting.number, response: Some(response) }))
    }
}

/// The bytes of a client's command, unless its id was made in this node's future.
fn command(kind: Kind, wall_ms: i64) -> Result<Option<Bytes>, Failure> {
    let identity = match &kind {
        Kind::Txn(txn) => txn.identity.as_ref(),
        Kind::Outcome(outcome) => outcome.identity.as_ref(),
        _ => None,
    };
    if let Some(identity) = identity {
        check::made_by(identity, wall_ms).map_err(|found| invalid(found.field, found.problem))?;
    }
    Ok(Some(Command { kind: Some(kind) }.encode_to_vec().into()))
}

fn failure_of(answer: &Answer) -> Failure {
    match answer {
        Answer::NotLeader { epoch, leader } => {
            let hint = |node: store_core::NodeId| LeaderHint {
                node: node.0,
                address: String::new(),
                epoch: epoch.0,
            };
            not_leader(leader.map(hint))
        }
        Answer::Overloaded(shortage) => failure(shortage.reason(), shortage.to_string()),
        Answer::BadSize { bytes } => invalid("txn", format!("is {bytes} bytes")),
        Answer::Unknown => failure(FailureReason::UnknownOutcome, "leadership was lost before the commit"),
        Answer::Diverged { .. } => failure(FailureReason::Diverged, "the replicas differ"),
        Answer::Resyncing | Answer::CannotResync { .. } => {
            unreachable!("the operator's request ids are nobody's")
        }
        Answer::ReadReady { .. } => unreachable!("a read is run"),
        Answer::Changed { .. } | Answer::ChangeRefused(_) => {
            unreachable!("a change of members has a request id of the operator's")
        }
    }
}

/// Runs a read that may run.
fn read(table: &SimTable, asked: &PendingRequest) -> Response {
    let ran = table.read(|read| {
        let state = state::read(read)?;
        let (applied, log_id) = (state::applied(&state), state::log_id(&state));
        Ok(match asked {
            PendingRequest::Get(request) => match too_early(request.freshness.as_ref(), applied.offset) {
                Some(early) => Response::Failure(early),
                None => {
                    let record = query::get(read, &request.key)?;
                    let status = if record.is_some() { Status::Success } else { Status::Error };
                    Response::Get(GetResponse {
                        status: status.into(),
                        record,
                        applied: Some(applied),
                        log_id,
                    })
                }
            },
            PendingRequest::Scan(request) => {
                let all = scan_request::Range::Prefix(Bytes::new());
                let range = request.range.as_ref().unwrap_or(&all);
                let (records, next) = query::scan(read, range, request.limit, &request.after)?;
                let next = next.unwrap_or_default();
                Response::Scan(ScanResponse { records, next, applied: Some(applied) })
            }
            PendingRequest::Write => unreachable!("a write is not told that it may be read"),
        })
    });
    ran.expect("a table in memory can be read")
}

fn too_early(freshness: Option<&Freshness>, applied: u64) -> Option<Failure> {
    let min_offset = freshness.map_or(0, |freshness| freshness.min_offset);
    (min_offset > applied).then(|| invalid("freshness.min_offset", "nothing beyond was ever acknowledged"))
}
