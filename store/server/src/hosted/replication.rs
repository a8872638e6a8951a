//! The `Replication` service of a process with one replica or several: each call goes to the replica of the group that its caller
//! introduces itself as a member of.

use proto::store::replication_server::Replication;
use proto::store::{Frame, Hello, Welcome};
use tonic::{Request, Response, Status, Streaming};

use super::Hosted;
use crate::peers::{Frames, ReplicationService};

/// The service.
#[derive(Clone)]
pub(crate) struct HostedReplication(pub(crate) Hosted<ReplicationService>);

fn group_in(hello: Option<&Hello>) -> u64 {
    hello.and_then(|hello| hello.peer.as_ref()).map_or(0, |peer| peer.group)
}

#[tonic::async_trait]
impl Replication for HostedReplication {
    type PushStream = Frames;
    type FetchSnapshotStream = Frames;

    async fn introduce(&self, request: Request<Hello>) -> Result<Response<Welcome>, Status> {
        self.0.of_group(group_in(Some(request.get_ref()))).introduce(request)
    }

    async fn push(&self, mut request: Request<Streaming<Frame>>) -> Result<Response<Frames>, Status> {
        let first = request.get_mut().message().await?.unwrap_or_default();
        self.0.of_group(group_in(first.hello.as_ref())).push(first, request)
    }

    async fn vote(&self, request: Request<Frame>) -> Result<Response<Frame>, Status> {
        self.0.of_group(group_in(request.get_ref().hello.as_ref())).vote(request).await
    }

    async fn fetch_snapshot(&self, request: Request<Frame>) -> Result<Response<Frames>, Status> {
        self.0.of_group(group_in(request.get_ref().hello.as_ref())).fetch_snapshot(request).await
    }
}
