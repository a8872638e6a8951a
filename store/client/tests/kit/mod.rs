//! A node of the store that says and answers what a test wants, over a real connection.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

use std::future::Future;
use std::pin::Pin;

use futures::{Stream, StreamExt as _};
use proto::store::cluster_server::{Cluster, ClusterServer};
use proto::store::kv_server::{Kv, KvServer};
use proto::store::{
    AuditRequest, AuditResponse, BackupRequest, BackupResponse, ChangeMembersRequest, ChangeMembersResponse,
    ChangesRequest, ChangesResponse, DeleteRequest, DeleteVersionRequest, GetRequest, GetResponse,
    HandOverRequest, HandOverResponse, HoldCommitRequest, HoldCommitResponse, OutcomeRequest,
    OutcomeResponse, PipelineRequest, PipelineResponse, ResyncRequest, ResyncResponse, ScanRequest,
    ScanResponse, SetRequest, ShowLogRequest, ShowLogResponse, StartAuditRequest, StartAuditResponse,
    StatusRequest, StatusResponse, TestAndSetRequest, TxnRequest, TxnResponse, WriteResponse,
};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type Told<T> = Result<Response<T>, Status>;

/// What a node says of itself, and what it answers to operations.
pub trait Node: Clone + Send + Sync + 'static {
    fn status(&self) -> impl Future<Output = StatusResponse> + Send;

    fn operation(&self, asked: PipelineRequest) -> impl Future<Output = PipelineResponse> + Send;
}

/// A port that is bound and not served yet.
pub async fn bind() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// Serves a node for as long as the test runs.
pub fn serve(listener: TcpListener, node: impl Node) -> JoinHandle<()> {
    let server = tonic::transport::Server::builder()
        .add_service(KvServer::new(Serving(node.clone())))
        .add_service(ClusterServer::new(Serving(node)))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(async move { server.await.unwrap() })
}

struct Serving<N>(N);

fn no<T>() -> Told<T> {
    Err(Status::unimplemented("not in this test"))
}

#[tonic::async_trait]
impl<N: Node> Cluster for Serving<N> {
    type AuditStream = Answers<AuditResponse>;
    type BackupStream = Answers<BackupResponse>;

    async fn status(&self, _: Request<StatusRequest>) -> Told<StatusResponse> {
        Ok(Response::new(self.0.status().await))
    }
    async fn hand_over(&self, _: Request<HandOverRequest>) -> Told<HandOverResponse> {
        no()
    }
    async fn hold_commit(&self, _: Request<HoldCommitRequest>) -> Told<HoldCommitResponse> {
        no()
    }
    async fn resync(&self, _: Request<ResyncRequest>) -> Told<ResyncResponse> {
        no()
    }
    async fn show_log(&self, _: Request<ShowLogRequest>) -> Told<ShowLogResponse> {
        no()
    }
    async fn audit(&self, _: Request<AuditRequest>) -> Told<Self::AuditStream> {
        no()
    }
    async fn backup(&self, _: Request<BackupRequest>) -> Told<Self::BackupStream> {
        no()
    }
    async fn start_audit(&self, _: Request<StartAuditRequest>) -> Told<StartAuditResponse> {
        no()
    }
    async fn change_members(&self, _: Request<ChangeMembersRequest>) -> Told<ChangeMembersResponse> {
        no()
    }
}

#[tonic::async_trait]
impl<N: Node> Kv for Serving<N> {
    type ChangesStream = Answers<ChangesResponse>;
    type PipelineStream = Answers<PipelineResponse>;

    async fn pipeline(&self, requests: Request<Streaming<PipelineRequest>>) -> Told<Self::PipelineStream> {
        let node = self.0.clone();
        let answers = requests.into_inner().then(move |asked| {
            let node = node.clone();
            async move { Ok(node.operation(asked?).await) }
        });
        Ok(Response::new(Box::pin(answers)))
    }
    async fn set(&self, _: Request<SetRequest>) -> Told<WriteResponse> {
        no()
    }
    async fn get(&self, _: Request<GetRequest>) -> Told<GetResponse> {
        no()
    }
    async fn delete(&self, _: Request<DeleteRequest>) -> Told<WriteResponse> {
        no()
    }
    async fn delete_version(&self, _: Request<DeleteVersionRequest>) -> Told<WriteResponse> {
        no()
    }
    async fn test_and_set(&self, _: Request<TestAndSetRequest>) -> Told<WriteResponse> {
        no()
    }
    async fn scan(&self, _: Request<ScanRequest>) -> Told<ScanResponse> {
        no()
    }
    async fn txn(&self, _: Request<TxnRequest>) -> Told<TxnResponse> {
        no()
    }
    async fn outcome(&self, _: Request<OutcomeRequest>) -> Told<OutcomeResponse> {
        no()
    }
    async fn changes(&self, _: Request<ChangesRequest>) -> Told<Self::ChangesStream> {
        no()
    }
}
