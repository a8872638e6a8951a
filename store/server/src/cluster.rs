//! The `Cluster` service: status, and the operator's calls.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use parking_lot::Mutex;
use prost::Message;
use proto::check;
use proto::store::command::Kind;
use proto::store::{
    AuditCommand, AuditRequest, AuditResponse, BackupRequest, BackupResponse, ChangeMembersRequest,
    ChangeMembersResponse, CutCommand, CutRequest, CutResponse, Failure, FailureReason, FreezeRequest,
    FreezeResponse, HoldCommitRequest, HoldCommitResponse, LogLine, ResyncRequest, ResyncResponse, Role,
    Route, ShowLogRequest, ShowLogResponse, StartAuditRequest, StartAuditResponse, StatusRequest,
    StatusResponse, ThawRequest, ThawResponse, TraceRequest, TraceResponse, TransferLeadershipRequest,
    TransferLeadershipResponse, VoterStatus,
};
use store_client::failure::{failure, invalid, not_leader, status_from};
use store_client::operator::proof_of;
use store_core::cut::CutId;
use store_core::{ChangeRefusal, NodeId, Offset};
use store_db::cut;
use store_db::limits::VERSION_OF_CUTS;
use store_engine::front::{NodeResponse, command_of};
use store_engine::{Answer, Job, Reply, convert, states};
use store_keys::operator::{Call, CallRefused, Challenges};
use store_keys::{End, Purpose};
use store_log::{LogReader, RealFile};
use tonic::{Request, Response, Status};

use crate::background::{Audits, Viewer};
use crate::backup::Backups;
use crate::cross::Cross;
use crate::describe;
use crate::forward::Forward;
use crate::members;
use crate::quarantine;
use crate::shared::{Ask, Shared};
use crate::thread_to_stream;

/// Lines of one answer.
const LINES_MAX: u32 = 1_000;
const LINES_DEFAULT: u32 = 50;
/// Bytes of entries read for one answer.
const LINES_BYTES_MAX: usize = 8 << 20;
/// How long an audit waits for its entry to be applied here.
const AUDIT_WAIT_S: u64 = 5;
/// Answers between an audit's consistent view and the connection.
const AUDIT_BUFFERED: usize = 4;
/// Bytes of the id of an audit or a cut.
const AUDIT_ID_BYTES: usize = 16;

/// The service.
#[derive(Clone)]
pub(crate) struct ClusterService {
    shared: Arc<Shared>,
    /// `None`: there is no other group.
    cross: Option<Arc<Cross>>,
    audits: Arc<Audits>,
    backups: Backups,
    log: LogReader<RealFile>,
    /// Held for a few MACs, never across a wait.
    challenges: Arc<Mutex<Challenges>>,
}

impl ClusterService {
    pub(crate) fn new(
        shared: Arc<Shared>,
        cross: Option<Arc<Cross>>,
        audits: Arc<Audits>,
        log: LogReader<RealFile>,
        challenges: Challenges,
    ) -> ClusterService {
        let backups = Backups::new(Arc::clone(&shared), Arc::clone(&audits));
        ClusterService { shared, cross, audits, backups, log, challenges: Arc::new(Mutex::new(challenges)) }
    }

    /// The part of this node in a cut, and the number of the cut's id; refused unless it leads one of several groups whose members
    /// all run a program that knows cuts.
    fn still(&self, route: Option<&Route>, id: &[u8]) -> Result<(&Arc<Cross>, CutId), Status> {
        self.validate(route)?;
        let refuse = |failure: Failure| status_from(&failure);
        let id = cut::id_of(id)
            .ok_or_else(|| refuse(invalid("id", format!("has {} bytes, not {AUDIT_ID_BYTES}", id.len()))))?;
        let alone = || refuse(invalid("route", "is of the only group, which needs no cut: it has one log"));
        let cross = self.cross.as_ref().ok_or_else(alone)?;
        self.lead()?;
        if self.shared.applied.borrow().version < VERSION_OF_CUTS {
            let message =
                "a consistent view of all groups is taken when every member of the group runs this program";
            return Err(refuse(failure(FailureReason::Upgrading, message)));
        }
        Ok((cross, id))
    }

    /// Refuses a caller without an operator's proof of this cluster; the request of one with it.
    fn proven<M: Message>(&self, method: &str, request: Request<M>) -> Result<M, Status> {
        let (address, proof) = (request.remote_addr(), proof_of(request.metadata()));
        let request = request.into_inner();
        self.check_proof(method, &request.encode_to_vec(), &proof).inspect_err(|refused| {
            self.shared.strangers.refuse(
                &self.shared.problems,
                &format!("calling {method}"),
                address,
                refused,
            );
        })?;
        Ok(request)
    }

    fn check_proof(&self, method: &str, request: &[u8], proof: &[u8]) -> Result<(), Status> {
        let (key, me) = (self.shared.keys.borrow().clone(), &self.shared.me);
        let call = Call {
            cluster: key.id(),
            group: me.route.group,
            node: End { node: me.member.node.0, incarnation: me.member.incarnation.0 },
            method,
            request,
        };
        let keys = key.keys(Purpose::Operator);
        let taken = self.challenges.lock().take(&keys, &call, proof, self.now_ms());
        taken.map_err(|refused| {
            let reason = match refused {
                CallRefused::TooMany => FailureReason::Overloaded,
                _ => FailureReason::Unproven,
            };
            let field = if refused == CallRefused::Challenge { "challenge" } else { "proof" };
            status_from(&Failure { field: field.to_owned(), ..failure(reason, refused.to_string()) })
        })
    }

    /// This node's own time, which never goes back.
    fn now_ms(&self) -> u64 {
        u64::try_from(self.shared.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn validate(&self, route: Option<&Route>) -> Result<(), Status> {
        self.shared.check_group(route).map_err(|failure| status_from(&failure))
    }

    /// Refuses unless this node leads.
    fn lead(&self) -> Result<(), Status> {
        let view = *self.shared.role.borrow();
        if view.role == store_core::Role::Leader {
            return Ok(());
        }
        Err(status_from(&not_leader(self.shared.leader_hint(view.leader, view.epoch))))
    }

    /// Why this leader takes no writes; empty: it does, or does not lead.
    fn writes_refused(&self, status: &store_engine::Status) -> String {
        match status.divergence {
            _ if status.role != store_core::Role::Leader => String::new(),
            divergence @ store_core::Divergence::NoMajority(_) => states::divergence_text(divergence),
            _ => status.writes_shortage.map_or_else(String::new, |shortage| shortage.to_string()),
        }
    }

    fn voters(&self, status: &store_engine::Status) -> Vec<VoterStatus> {
        let members = self.shared.members();
        let address = |node: u64| members.by_node.get(&node).map(|m| m.address.clone()).unwrap_or_default();
        let mut voters = vec![VoterStatus {
            node: status.node.0,
            address: address(status.node.0),
            durable: Some(convert::position_out(status.last)),
            progress: "itself".to_owned(),
            silent_ms: 0,
            quarantined: status.quarantine.is_some(),
        }];
        voters.extend(status.peers.iter().map(|peer| VoterStatus {
            node: peer.node.0,
            address: address(peer.node.0),
            durable: Some(convert::position_out(peer.durable)),
            progress: peer.feed.to_owned(),
            silent_ms: u64::from(peer.silent_ticks) * self.shared.config.tick_ms,
            quarantined: peer.quarantined,
        }));
        voters.sort_by_key(|voter| voter.node);
        voters
    }
}

fn role_of(shared: &Shared, status: &store_engine::Status) -> Role {
    if shared.is_non_member() {
        return Role::NonMember;
    }
    match status.role {
        store_core::Role::Leader => Role::Leader,
        _ if !status.is_voter => Role::Learner,
        store_core::Role::Candidate => Role::Candidate,
        store_core::Role::Follower => Role::Follower,
    }
}

/// Answers of a call, one after another.
pub(crate) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The calls of [`proto::store::cluster_server::Cluster`], for this replica.
impl ClusterService {
    pub(crate) fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        // A caller without a route wants to learn it.
        if let Some(route) = &request.into_inner().route {
            self.validate(Some(route))?;
        }
        let status = self.shared.status();
        let applied = *self.shared.applied.borrow();
        let view = *self.shared.role.borrow();
        Ok(Response::new(StatusResponse {
            cluster: self.shared.me.cluster.clone().into(),
            node: status.node.0,
            route: Some(self.shared.me.route),
            role: role_of(&self.shared, &status).into(),
            epoch: view.epoch.0,
            leader: self.shared.leader_hint(view.leader, view.epoch),
            // The applier may be ahead of the core's last word: what is applied is in the log, and committed.
            last: Some(convert::position_out(status.last.max(applied.position))),
            committed: status.committed.0.max(applied.position.offset.0),
            applied: Some(convert::position_out(applied.position)),
            voters: self.voters(&status),
            state_hash: applied.state_hash,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            snapshot: status.snapshot.offset.0,
            problem: self.shared.problems.text(),
            standing_problem: self.shared.problems.standing(),
            log_time_lag_ms: if view.role == store_core::Role::Leader { status.log_time_lag_ms } else { 0 },
            change_waits_for: status.awaited.iter().map(|node| node.0).collect(),
            members: members::statuses(&self.shared.members().membership),
            incarnation: self.shared.me.member.incarnation.0,
            quarantined: self
                .shared
                .quarantine
                .borrow()
                .as_ref()
                .map(states::quarantine_text)
                .unwrap_or_default(),
            divergence: states::divergence_text(status.divergence),
            checkpoint: status.checkpoint.map(convert::checkpoint_out),
            log_id: self.shared.log_id(),
            cluster_id: self.shared.cluster_id(),
            bus_ignored: self.shared.bus_ignored.load(Ordering::Relaxed),
            up_ms: self.now_ms(),
            challenge: Bytes::copy_from_slice(&self.challenges.lock().issue(self.now_ms())),
            keys: self.shared.keys.borrow().keys(Purpose::Peer).ids().map(|id| id.0).collect(),
            strangers: self.shared.strangers.count(),
            writes_refused: self.writes_refused(&status),
            ring: self.shared.forward.as_ref().map(Forward::slots).unwrap_or_default(),
        }))
    }

    pub(crate) async fn transfer_leadership(
        &self,
        request: Request<TransferLeadershipRequest>,
    ) -> Result<Response<TransferLeadershipResponse>, Status> {
        let request = self.proven("TransferLeadership", request)?;
        self.validate(request.route.as_ref())?;
        self.lead()?;
        let to = (request.to != 0).then_some(NodeId(request.to));
        if let Some(node) = to {
            let members = self.shared.members();
            let is_voter = members.membership.voters.iter().any(|voter| voter.node == node.0);
            let other = node != self.shared.me.member.node;
            if !is_voter || !other {
                let message = format!("{} is not another voter of this group", request.to);
                return Err(status_from(&invalid("to", message)));
            }
        }
        let limit = Duration::from_millis(self.shared.config.transfer_ms_max);
        match crate::leadership_transfer::transfer_leadership(&self.shared, to, limit).await {
            Some(leader) => Ok(Response::new(TransferLeadershipResponse { leader: Some(leader) })),
            None => Err(status_from(&failure(
                FailureReason::TransferGivenUp,
                "the leadership transfer was given up: no other voter has caught up, answers, and has a disk that has answered for some time",
            ))),
        }
    }

    pub(crate) async fn change_members(
        &self,
        request: Request<ChangeMembersRequest>,
    ) -> Result<Response<ChangeMembersResponse>, Status> {
        let request = self.proven("ChangeMembers", request)?;
        self.validate(request.route.as_ref())?;
        self.lead()?;
        let membership = &self.shared.members().membership;
        let asked = members::change_in(request.change, membership);
        let (change, address) = asked.map_err(|failure| status_from(&failure))?;
        tracing::info!(?change, address, "a change of members is asked for");
        let response = self.shared.ask(Ask::ChangeMembers(change, address)).await;
        let answer = match response.map_err(|failure| status_from(&failure))? {
            NodeResponse::Answer(answer) => answer,
            other => return Err(Status::internal(format!("a change was answered {other:?}"))),
        };
        match answer {
            Answer::Changed { at } => {
                Ok(Response::new(ChangeMembersResponse { changed: true, offset: at.0 }))
            }
            Answer::ChangeRefused(ChangeRefusal::Already) => {
                Ok(Response::new(ChangeMembersResponse::default()))
            }
            other => Err(status_from(&self.shared.failure_of(&other))),
        }
    }

    pub(crate) async fn resync(
        &self,
        request: Request<ResyncRequest>,
    ) -> Result<Response<ResyncResponse>, Status> {
        let request = self.proven("Resync", request)?;
        self.validate(request.route.as_ref())?;
        tracing::warn!("an operator says that this replica's state is wrong");
        match self.shared.ask(Ask::Resync).await.map_err(|failure| status_from(&failure))? {
            NodeResponse::Answer(Answer::Resyncing) => Ok(Response::new(ResyncResponse {})),
            NodeResponse::Answer(other) => Err(status_from(&self.shared.failure_of(&other))),
            other => Err(Status::internal(format!("a resync was answered {other:?}"))),
        }
    }

    pub(crate) fn hold_commit(
        &self,
        request: Request<HoldCommitRequest>,
    ) -> Result<Response<HoldCommitResponse>, Status> {
        let request = self.proven("HoldCommit", request)?;
        self.validate(request.route.as_ref())?;
        if request.hold && !self.shared.config.rehearsal {
            let message = "is a planted fault: this node's configuration does not say rehearsal = true";
            return Err(status_from(&invalid("hold", message)));
        }
        self.lead()?;
        self.shared.inbox.post([Job::HoldCommit { hold: request.hold }]);
        Ok(Response::new(HoldCommitResponse {}))
    }

    pub(crate) async fn show_log(
        &self,
        request: Request<ShowLogRequest>,
    ) -> Result<Response<ShowLogResponse>, Status> {
        let request = self.proven("ShowLog", request)?;
        self.validate(request.route.as_ref())?;
        if request.limit > LINES_MAX {
            let message = format!("is {}; at most {LINES_MAX}", request.limit);
            return Err(status_from(&invalid("limit", message)));
        }
        let limit = if request.limit == 0 { LINES_DEFAULT } else { request.limit };
        let (log, status) = (self.log.clone(), self.shared.status());
        let applied = self.shared.applied.borrow().position.offset.0;
        let committed = status.committed.0.max(applied);
        let read =
            tokio::task::spawn_blocking(move || show(&log, request.from_offset, limit, committed, applied));
        let lines = read.await.map_err(|error| Status::internal(error.to_string()))?;
        let lines = lines.map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(ShowLogResponse { lines, committed, applied }))
    }

    pub(crate) async fn audit(
        &self,
        request: Request<AuditRequest>,
    ) -> Result<Response<Answers<AuditResponse>>, Status> {
        let request = self.proven("Audit", request)?;
        self.validate(request.route.as_ref())?;
        if request.id.len() != AUDIT_ID_BYTES {
            let message = format!("has {} bytes, not {AUDIT_ID_BYTES}", request.id.len());
            return Err(status_from(&invalid("id", message)));
        }
        quarantine::check(&self.shared).map_err(|refused| status_from(&refused))?;
        let (auditor, answers) = thread_to_stream::channel(AUDIT_BUFFERED);
        let wait = Duration::from_secs(AUDIT_WAIT_S);
        self.audits.view(&request.id, Viewer::Audit(auditor), wait).await?;
        Ok(Response::new(Box::pin(answers)))
    }

    pub(crate) async fn backup(
        &self,
        request: Request<BackupRequest>,
    ) -> Result<Response<Answers<BackupResponse>>, Status> {
        let request = self.proven("Backup", request)?;
        self.validate(request.route.as_ref())?;
        Ok(Response::new(Box::pin(self.backups.begin(request).await?)))
    }

    pub(crate) async fn freeze(
        &self,
        request: Request<FreezeRequest>,
    ) -> Result<Response<FreezeResponse>, Status> {
        let request = self.proven("Freeze", request)?;
        let (cross, id) = self.still(request.route.as_ref(), &request.id)?;
        let offset = cross.freeze(id).await.map_err(|failure| status_from(&failure))?;
        Ok(Response::new(FreezeResponse { offset }))
    }

    pub(crate) async fn cut(&self, request: Request<CutRequest>) -> Result<Response<CutResponse>, Status> {
        let request = self.proven("Cut", request)?;
        check::cut(&request)
            .map_err(|violation| status_from(&invalid(violation.field, violation.problem)))?;
        self.still(request.route.as_ref(), &request.id)?;
        let CutRequest { id, frozen_at, prefixes, .. } = request;
        let command = command_of(Kind::Cut(CutCommand { id, frozen_at, prefixes }));
        let told = self.shared.ask(Ask::WriteAnyway(command)).await;
        let reply = told.and_then(|told| self.shared.reply_of(told));
        match reply.map_err(|failure| status_from(&failure))? {
            Reply::Done { position } => {
                Ok(Response::new(CutResponse { position: Some(convert::position_out(position)) }))
            }
            other => Err(Status::internal(format!("a cut was answered with {other:?}"))),
        }
    }

    pub(crate) async fn thaw(&self, request: Request<ThawRequest>) -> Result<Response<ThawResponse>, Status> {
        let request = self.proven("Thaw", request)?;
        let (cross, id) = self.still(request.route.as_ref(), &request.id)?;
        cross.thaw(id).await.map_err(|failure| status_from(&failure))?;
        Ok(Response::new(ThawResponse {}))
    }

    pub(crate) fn trace(
        &self,
        request: Request<TraceRequest>,
    ) -> Result<Response<Answers<TraceResponse>>, Status> {
        let request = self.proven("Trace", request)?;
        self.validate(request.route.as_ref())?;
        let watch = self.shared.trace.watch(request.from_start).ok_or_else(|| {
            status_from(&failure(
                FailureReason::Overloaded,
                "so many look at this node's protocol that no more can",
            ))
        })?;
        let stopping = self.shared.stopping.subscribe();
        let events = futures::stream::unfold((watch, stopping), |(mut watch, mut stopping)| async move {
            let batch = tokio::select! {
                batch = watch.next() => batch,
                _ = stopping.wait_for(|stops| *stops) => return None,
            };
            Some((Ok(batch), (watch, stopping)))
        });
        // It begins at once: whoever looks knows from when on nothing is missing.
        let begun = futures::stream::once(std::future::ready(Ok(TraceResponse::default())));
        Ok(Response::new(Box::pin(futures::StreamExt::chain(begun, events))))
    }

    pub(crate) async fn start_audit(
        &self,
        request: Request<StartAuditRequest>,
    ) -> Result<Response<StartAuditResponse>, Status> {
        let request = self.proven("StartAudit", request)?;
        let checked = check::start_audit(&request);
        checked.map_err(|violation| status_from(&invalid(violation.field, violation.problem)))?;
        self.validate(request.route.as_ref())?;
        let id = Bytes::copy_from_slice(&fastrand::u128(..).to_le_bytes());
        let command = command_of(Kind::Audit(AuditCommand { id: id.clone(), prefixes: request.prefixes }));
        let response = self.shared.ask(Ask::WriteAnyway(command)).await;
        match response
            .and_then(|response| self.shared.reply_of(response))
            .map_err(|failure| status_from(&failure))?
        {
            Reply::Done { position } => {
                let position = Some(convert::position_out(position));
                Ok(Response::new(StartAuditResponse { id, position }))
            }
            other => Err(Status::internal(format!("an audit was answered with {other:?}"))),
        }
    }
}

fn show(
    log: &LogReader<RealFile>,
    from: u64,
    limit: u32,
    committed: u64,
    applied: u64,
) -> Result<Vec<LogLine>, store_log::Error> {
    let from = Offset(from).max(log.base().next());
    if from > log.last() {
        return Ok(Vec::new());
    }
    let entries = log.read(from, limit as usize, LINES_BYTES_MAX)?;
    Ok(entries.iter().take(limit as usize).map(|entry| describe::line(entry, committed, applied)).collect())
}
