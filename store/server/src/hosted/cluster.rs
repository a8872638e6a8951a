//! The `Cluster` service of a process with one replica or several: each call goes to the replica of the group that it names.

use proto::store::cluster_server::Cluster;
use proto::store::{
    AuditRequest, AuditResponse, BackupRequest, BackupResponse, ChangeMembersRequest, ChangeMembersResponse,
    CutRequest, CutResponse, FreezeRequest, FreezeResponse, HoldCommitRequest, HoldCommitResponse,
    ResyncRequest, ResyncResponse, ShowLogRequest, ShowLogResponse, StartAuditRequest, StartAuditResponse,
    StatusRequest, StatusResponse, ThawRequest, ThawResponse, TraceRequest, TraceResponse,
    TransferLeadershipRequest, TransferLeadershipResponse,
};
use tonic::{Request, Response, Status};

use super::Hosted;
use crate::cluster::{Answers, ClusterService};

/// The service.
#[derive(Clone)]
pub(crate) struct HostedCluster(pub(crate) Hosted<ClusterService>);

#[tonic::async_trait]
impl Cluster for HostedCluster {
    type AuditStream = Answers<AuditResponse>;
    type BackupStream = Answers<BackupResponse>;
    type TraceStream = Answers<TraceResponse>;

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        self.0.of(request.get_ref().route.as_ref()).status(request)
    }

    async fn transfer_leadership(
        &self,
        request: Request<TransferLeadershipRequest>,
    ) -> Result<Response<TransferLeadershipResponse>, Status> {
        self.0.of(request.get_ref().route.as_ref()).transfer_leadership(request).await
    }

    async fn change_members(
        &self,
        request: Request<ChangeMembersRequest>,
    ) -> Result<Response<ChangeMembersResponse>, Status> {
        self.0.of(request.get_ref().route.as_ref()).change_members(request).await
    }

    async fn resync(&self, request: Request<ResyncRequest>) -> Result<Response<ResyncResponse>, Status> {
        self.0.of(request.get_ref().route.as_ref()).resync(request).await
    }

    async fn hold_commit(
        &self,
        request: Request<HoldCommitRequest>,
    ) -> Result<Response<HoldCommitResponse>, Status> {
        self.0.of(request.get_ref().route.as_ref()).hold_commit(request)
    }

    async fn show_log(&self, request: Request<ShowLogRequest>) -> Result<Response<ShowLogResponse>, Status> {
        self.0.of(request.get_ref().route.as_ref()).show_log(request).await
    }

    async fn audit(&self, request: Request<AuditRequest>) -> Result<Response<Self::AuditStream>, Status> {
        self.0.of(request.get_ref().route.as_ref()).audit(request).await
    }

    async fn backup(&self, request: Request<BackupRequest>) -> Result<Response<Self::BackupStream>, Status> {
        self.0.of(request.get_ref().route.as_ref()).backup(request).await
    }

    async fn freeze(&self, request: Request<FreezeRequest>) -> Result<Response<FreezeResponse>, Status> {
        self.0.of(request.get_ref().route.as_ref()).freeze(request).await
    }

    async fn cut(&self, request: Request<CutRequest>) -> Result<Response<CutResponse>, Status> {
        self.0.of(request.get_ref().route.as_ref()).cut(request).await
    }

    async fn thaw(&self, request: Request<ThawRequest>) -> Result<Response<ThawResponse>, Status> {
        self.0.of(request.get_ref().route.as_ref()).thaw(request).await
    }

    async fn trace(&self, request: Request<TraceRequest>) -> Result<Response<Self::TraceStream>, Status> {
        self.0.of(request.get_ref().route.as_ref()).trace(request)
    }

    async fn start_audit(
        &self,
        request: Request<StartAuditRequest>,
    ) -> Result<Response<StartAuditResponse>, Status> {
        self.0.of(request.get_ref().route.as_ref()).start_audit(request).await
    }
}
