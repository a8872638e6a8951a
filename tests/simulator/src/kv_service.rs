//! The service of one node: which clients' streams end here, over the front of the real one ([`store_engine::front`]).

use std::collections::{BTreeMap, BTreeSet};

use proto::store::pipeline_response::Response;
use proto::store::{Failure, FailureReason, LeaderHint, PipelineRequest, PipelineResponse, Route};
use store_client::failure::failure;
use store_core::{Epoch, MemberChange, NodeId, Offset};
use store_db::Table as _;
pub(crate) use store_engine::front::NodeResponse;
use store_engine::front::{self, Admitted, PendingRequest, Standing, Stream, Waiting};
use store_engine::{Answer, ChangeRequest, Job, RequestId};

use crate::table::SimTable;

/// A client's stream, unique over a run.
pub(crate) type StreamId = u64;

/// Of what comes on no client's stream.
const NO_STREAM: StreamId = 0;

/// An answer, and on which stream.
pub(crate) type Answered = (StreamId, PipelineResponse);

/// What the node knows of itself as a request comes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) wall_ms: i64,
    pub(crate) is_non_member: bool,
    pub(crate) leads: bool,
    /// The version of the state machine that it has applied.
    pub(crate) version: u32,
}

impl Standing for Known {
    fn check_route(&self, _: Option<&Route>) -> Result<(), Failure> {
        if !self.is_non_member {
            return Ok(());
        }
        Err(failure(FailureReason::NotServing, "this node is not a member of its group"))
    }

    fn leads(&self) -> bool {
        self.leads
    }

    fn wall_ms(&self) -> i64 {
        self.wall_ms
    }

    fn state_machine_version(&self) -> u32 {
        self.version
    }
}

/// The `Kv` service of one life of a node.
#[derive(Debug, Default)]
pub(crate) struct KvService {
    streams: BTreeMap<StreamId, Stream>,
    /// Whose a request is: its stream, and the stream's number for it.
    requests: BTreeMap<RequestId, (StreamId, u32)>,
    /// The publisher's requests.
    publishers: BTreeSet<RequestId>,
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
        known: Known,
    ) -> Option<Answered> {
        let number = request.number;
        let admitted = match front::admit(request, &known) {
            Ok(admitted) => admitted,
            Err(failure) => {
                let response = Some(Response::Failure(failure));
                return Some((stream, PipelineResponse { number, response }));
            }
        };
        let request_id = RequestId(self.request_ids + 1);
        let (job, asked) = match admitted {
            Admitted::Write(command) => (Job::Write { request_id, command }, PendingRequest::Write),
            Admitted::Read(asked) => (Job::Read { request_id }, asked),
            Admitted::Cross(..) | Admitted::Prepare(_) | Admitted::End(_) | Admitted::Ask(_) => {
                unreachable!("the simulated ring has one shard")
            }
        };
        let place = self.streams.entry(stream).or_default().enter(Waiting { number, asked })?;
        self.request_ids += 1;
        self.requests.insert(request_id, (stream, place));
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

    /// The node's publisher asks.
    pub(crate) fn ask(&mut self, job: impl FnOnce(RequestId) -> Job) -> RequestId {
        self.request_ids += 1;
        let request_id = RequestId(self.request_ids);
        self.publishers.insert(request_id);
        self.came.push((NO_STREAM, job(request_id)));
        request_id
    }

    /// Whether it was the publisher's request.
    pub(crate) fn publishers(&mut self, request_id: RequestId) -> bool {
        self.publishers.remove(&request_id)
    }

    /// Whether something came.
    pub(crate) fn has_work(&self) -> bool {
        !self.came.is_empty()
    }

    /// Takes what came, for the node. What came on a broken stream is refused.
    pub(crate) fn jobs(&mut self, into: &mut Vec<Job>, answers: &mut Vec<Answered>) {
        for (stream, job) in std::mem::take(&mut self.came) {
            if self.streams.get(&stream).is_some_and(Stream::is_broken) {
                let (Job::Write { request_id, .. } | Job::Read { request_id }) = job else { continue };
                let refused = Answer::NotLeader { epoch: Epoch(0), leader: None };
                answers.extend(self.answer(request_id, NodeResponse::Answer(refused), None));
            } else {
                into.push(job);
            }
        }
    }

    /// Whether a stream ends here after what it was answered: it is broken, and nothing waits on it.
    pub(crate) fn ends(&self, stream: StreamId) -> bool {
        self.streams.get(&stream).is_some_and(|stream| stream.is_broken() && stream.open() == 0)
    }

    /// What a request id is told, as an answer to its caller. No table: it must not be read.
    pub(crate) fn answer(
        &mut self,
        request_id: RequestId,
        told: NodeResponse,
        table: Option<&SimTable>,
    ) -> Option<Answered> {
        let (stream, place) = self.requests.remove(&request_id)?;
        let waiting = self.streams.get_mut(&stream)?.take(place, &told)?;
        let response = match told {
            NodeResponse::Answer(Answer::ReadReady { at }) => match table {
                Some(table) => read(table, &waiting.asked, at),
                None => Response::Failure(failure(FailureReason::NotServing, "this replica is quarantined")),
            },
            told => front::response_of(told, hint),
        };
        Some((stream, PipelineResponse { number: waiting.number, response: Some(response) }))
    }
}

fn hint(leader: Option<NodeId>, epoch: Epoch) -> Option<LeaderHint> {
    let node = leader?.0;
    Some(LeaderHint { node, address: format!("node-{node}"), epoch: epoch.0 })
}

/// Runs a read that may run.
fn read(table: &SimTable, asked: &PendingRequest, at: Offset) -> Response {
    let mut answers = Vec::new();
    let ran = table.read(|read| front::reads::run(read, &[(asked, at)], usize::MAX, &mut answers));
    ran.expect("a table in memory can be read");
    answers.pop().expect("a read has one answer")
}
