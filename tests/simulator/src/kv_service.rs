//! The service of one node: which clients' streams end here, over the front of the real one ([`store_engine::front`]).

use std::collections::{BTreeMap, BTreeSet};

use futures::channel::oneshot;
use proto::store::pipeline_request::Request;
use proto::store::{Failure, FailureReason, PipelineRequest, PipelineResponse, Route};
use store_client::failure::failure;
use store_core::{Epoch, MemberChange, Offset};
use store_cross::Append;
use store_cross::gate::{Named, is_locked};
pub(crate) use store_engine::front::NodeResponse;
use store_engine::front::{self, Admitted, PendingRequest, Standing, Stream, Waiting};
use store_engine::{Answer, ChangeRequest, Job, RequestId};

use crate::answers::{Answered, StreamId, hint, quarantined, read, refusal};
use crate::crossing::CrossSide;
use crate::table::SimTable;

/// Of what comes on no client's stream.
const NO_STREAM: StreamId = 0;

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
#[derive(Default)]
pub(crate) struct KvService {
    streams: BTreeMap<StreamId, Stream>,
    /// Whose a request is: its stream, and the stream's number for it.
    requests: BTreeMap<RequestId, (StreamId, u32)>,
    /// The publisher's requests.
    publishers: BTreeSet<RequestId>,
    /// What the driver of transactions over several groups waits for.
    appends: BTreeMap<RequestId, oneshot::Sender<NodeResponse>>,
    /// Named writes under way, by stream, on a ring.
    named: BTreeMap<StreamId, Named>,
    /// The operator's requests, by request id.
    changes: BTreeMap<RequestId, u64>,
    /// The last request id given out.
    request_ids: u64,
    /// Requests that came since the node was turned.
    came: Vec<(StreamId, Job)>,
}

impl KvService {
    /// A request has come to the node of the only group. What is wrong with it is said at once.
    pub(crate) fn take(
        &mut self,
        stream: StreamId,
        request: PipelineRequest,
        known: Known,
    ) -> Option<Answered> {
        let number = request.number;
        match front::admit(request, &known) {
            Ok(admitted) => self.admitted(stream, number, admitted, None),
            Err(refused) => Some(refusal(stream, number, refused)),
        }
    }

    /// The same, on a ring.
    pub(crate) fn take_on_ring(
        &mut self,
        stream: StreamId,
        request: PipelineRequest,
        cross: &CrossSide,
    ) -> Option<Answered> {
        let number = request.number;
        if let Some(Request::Finish(finish)) = &request.request {
            cross.ending(finish);
        }
        self.named.entry(stream).or_default().note(&request, cross.host.wall_ms());
        match front::admit(request, &*cross.host) {
            Ok(admitted) => self.admitted(stream, number, admitted, Some(cross)),
            Err(refused) => {
                self.named.entry(stream).or_default().forget(number);
                Some(refusal(stream, number, refused))
            }
        }
    }

    fn admitted(
        &mut self,
        stream: StreamId,
        number: u64,
        admitted: Admitted,
        cross: Option<&CrossSide>,
    ) -> Option<Answered> {
        let request_id = RequestId(self.request_ids + 1);
        let (job, asked) = match (admitted, cross) {
            (Admitted::Write(command), _) => {
                (Some(Job::Write { request_id, command }), PendingRequest::Write)
            }
            (Admitted::End(command), _) => {
                (Some(Job::WriteAnyway { request_id, command }), PendingRequest::Write)
            }
            (Admitted::Read(asked), _) => (Some(Job::Read { request_id }), asked),
            (Admitted::Cross(txn, identity), Some(cross)) => {
                cross.txn(request_id, txn, identity);
                (None, PendingRequest::Write)
            }
            (Admitted::Prepare(request), Some(cross)) => {
                cross.prepare(request_id, request);
                (None, PendingRequest::Write)
            }
            (Admitted::Ask(asked), Some(cross)) => {
                let response = Some(cross.answer(&asked));
                return Some((stream, PipelineResponse { number, response }));
            }
            (Admitted::Cross(..) | Admitted::Prepare(_) | Admitted::Ask(_), None) => {
                unreachable!("there is one group")
            }
        };
        let place = self.streams.entry(stream).or_default().enter(Waiting { number, asked })?;
        self.request_ids += 1;
        self.requests.insert(request_id, (stream, place));
        self.came.extend(job.map(|job| (stream, job)));
        None
    }

    /// The driver of transactions over several groups has something for the log.
    pub(crate) fn append(&mut self, append: Append, waits: oneshot::Sender<NodeResponse>) {
        self.request_ids += 1;
        let request_id = RequestId(self.request_ids);
        self.appends.insert(request_id, waits);
        let job = match append {
            Append::Write(command) => Job::Write { request_id, command },
            Append::WriteAnyway(command) => Job::WriteAnyway { request_id, command },
        };
        self.came.push((NO_STREAM, job));
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
                let (Job::Write { request_id, .. }
                | Job::WriteAnyway { request_id, .. }
                | Job::Read { request_id }) = job
                else {
                    continue;
                };
                let refused = Answer::NotLeader { epoch: Epoch(0), leader: None };
                answers.extend(self.answer(request_id, NodeResponse::Answer(refused), None, None));
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
        cross: Option<&CrossSide>,
    ) -> Option<Answered> {
        if let Some(waits) = self.appends.remove(&request_id) {
            // Whoever waited may have given up.
            let _ = waits.send(told);
            return None;
        }
        let (stream, place) = self.requests.remove(&request_id)?;
        let waiting = self.streams.get_mut(&stream)?.take(place, &told)?;
        let response = match told {
            NodeResponse::Answer(Answer::ReadReady { at }) => {
                match (table.map(|table| read(table, &waiting.asked, at)), cross) {
                    (Some(response), Some(cross)) if is_locked(&response) => {
                        self.wait(stream, waiting, at, cross);
                        return None;
                    }
                    (Some(response), _) => response,
                    (None, _) => quarantined(),
                }
            }
            told => front::response_of(told, hint),
        };
        if let Some(cross) = cross {
            self.named.entry(stream).or_default().tried(waiting.number, &response, &cross.host.gate);
        }
        Some((stream, PipelineResponse { number: waiting.number, response: Some(response) }))
    }

    /// Lets a read wait for the transactions over several groups that are in its way.
    fn wait(&mut self, stream: StreamId, waiting: Waiting, at: Offset, cross: &CrossSide) {
        let asked = waiting.asked.clone();
        let place = self.streams.get_mut(&stream).and_then(|stream| stream.reenter(waiting));
        if let Some(place) = place {
            self.request_ids += 1;
            let request_id = RequestId(self.request_ids);
            self.requests.insert(request_id, (stream, place));
            cross.patient(request_id, asked, at);
        }
    }
}
