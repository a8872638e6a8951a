//! The calls of operators' tools to one node, each with its proof: a challenge of the node is asked for, and answered.

use bytes::Bytes;
use prost::Message;
use proto::store as wire;
use proto::store::cluster_client::ClusterClient;
use store_keys::operator::{CHALLENGE_BYTES, Call, prove};
use store_keys::{ClusterKey, End, NONCE_BYTES, Purpose};
use tonic::metadata::{BinaryMetadataValue, MetadataMap};
use tonic::transport::Channel;
use tonic::{IntoRequest, Request, Response, Status, Streaming};

use crate::failure::{failure, status_from};

/// The header of a call that has its proof.
pub const PROOF_HEADER: &str = "feira-proof-bin";

/// A client of one node's `Cluster` service.
#[derive(Clone, Debug)]
pub struct Operator {
    client: ClusterClient<Channel>,
    key: ClusterKey,
    /// The node that is meant: another one that answers is asked for nothing.
    node: Option<u64>,
}

impl Operator {
    /// A client with the cluster's key.
    #[must_use]
    pub fn new(client: ClusterClient<Channel>, key: ClusterKey) -> Operator {
        Operator { client, key, node: None }
    }

    /// Means this node only.
    #[must_use]
    pub fn of_node(self, node: u64) -> Operator {
        Operator { node: Some(node), ..self }
    }

    /// What the node says of itself.
    ///
    /// # Errors
    /// As the service says.
    pub async fn status(
        &mut self,
        request: impl IntoRequest<wire::StatusRequest>,
    ) -> Result<Response<wire::StatusResponse>, Status> {
        self.client.status(request).await
    }

    /// Puts the proof into a call of the replica of this group.
    async fn proven<M: Message>(
        &mut self,
        method: &str,
        mut request: Request<M>,
        group: u64,
    ) -> Result<Request<M>, Status> {
        // A node may have replicas of several groups: each asks for a proof of its own.
        let route = (group != 0).then(|| wire::Route::to(group, 0));
        let status = self.client.status(wire::StatusRequest { route }).await?.into_inner();
        if let Some(meant) = self.node.filter(|meant| *meant != status.node) {
            let message = format!("node {} answers there, not node {meant}", status.node);
            return Err(status_from(&failure(wire::FailureReason::WrongRoute, message)));
        }
        let challenge: [u8; CHALLENGE_BYTES] = status.challenge[..].try_into().map_err(|_| {
            Status::failed_precondition(format!(
                "node {} is of a version that asks for no proof",
                status.node
            ))
        })?;
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|error| Status::internal(error.to_string()))?;
        let encoded = request.get_ref().encode_to_vec();
        let call = Call {
            cluster: self.key.id(),
            group: status.route.unwrap_or_default().group,
            node: End { node: status.node, incarnation: status.incarnation },
            method,
            request: &encoded,
        };
        let proof = prove(&self.key.keys(Purpose::Operator), &call, &challenge, &nonce);
        request.metadata_mut().insert_bin(PROOF_HEADER, BinaryMetadataValue::from_bytes(&proof));
        Ok(request)
    }
}

/// The proof that a call brings; empty: none.
#[must_use]
pub fn proof_of(metadata: &MetadataMap) -> Bytes {
    let proof = metadata.get_bin(PROOF_HEADER).and_then(|proof| proof.to_bytes().ok());
    proof.unwrap_or_default()
}

macro_rules! calls {
    ($($name:ident $method:literal $request:ident $response:ty;)*) => {
        impl Operator {$(
            #[doc = concat!("`Cluster.", $method, "`.")]
            ///
            /// # Errors
            /// As the service says.
            pub async fn $name(
                &mut self,
                request: impl IntoRequest<wire::$request>,
            ) -> Result<Response<$response>, Status> {
                let request = request.into_request();
                let group = request.get_ref().route.map_or(0, |route| route.group);
                let request = self.proven($method, request, group).await?;
                self.client.$name(request).await
            }
        )*}
    };
}

calls! {
    transfer_leadership "TransferLeadership" TransferLeadershipRequest wire::TransferLeadershipResponse;
    hold_commit "HoldCommit" HoldCommitRequest wire::HoldCommitResponse;
    show_log "ShowLog" ShowLogRequest wire::ShowLogResponse;
    start_audit "StartAudit" StartAuditRequest wire::StartAuditResponse;
    audit "Audit" AuditRequest Streaming<wire::AuditResponse>;
    freeze "Freeze" FreezeRequest wire::FreezeResponse;
    cut "Cut" CutRequest wire::CutResponse;
    thaw "Thaw" ThawRequest wire::ThawResponse;
    change_members "ChangeMembers" ChangeMembersRequest wire::ChangeMembersResponse;
    resync "Resync" ResyncRequest wire::ResyncResponse;
    backup "Backup" BackupRequest Streaming<wire::BackupResponse>;
    trace "Trace" TraceRequest Streaming<wire::TraceResponse>;
}
