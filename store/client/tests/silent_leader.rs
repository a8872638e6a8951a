//! A leader that answers operations late, and never says again who leads.
#![allow(clippy::unwrap_used, missing_docs)]

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use proto::store::cluster_server::{Cluster, ClusterServer};
use proto::store::kv_server::{Kv, KvServer};
use proto::store::pipeline_response::Response as Answered;
use proto::store::{
    AuditRequest, AuditResponse, BackupRequest, BackupResponse, ChangeMembersRequest, ChangeMembersResponse,
    ChangesRequest, ChangesResponse, DeleteRequest, DeleteVersionRequest, GetRequest, GetResponse,
    HandOverRequest, HandOverResponse, HoldCommitRequest, HoldCommitResponse, OutcomeRequest,
    OutcomeResponse, PipelineRequest, PipelineResponse, ResyncRequest, ResyncResponse, Role, ScanRequest,
    ScanResponse, SetRequest, ShowLogRequest, ShowLogResponse, StartAuditRequest, StartAuditResponse,
    StatusRequest, StatusResponse, TestAndSetRequest, Txn, TxnRequest, TxnResponse, WriteResponse,
};
use store_client::{Config, Replicated, Store};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type Told<T> = Result<Response<T>, Status>;

fn no<T>() -> Told<T> {
    Err(Status::unimplemented("not in this test"))
}

#[derive(Clone, Default)]
struct Leader {
    asked: Arc<AtomicU32>,
    /// It was asked a second time who leads.
    asked_again: Arc<Notify>,
    answered_at: Arc<Mutex<Option<Instant>>>,
}

#[tonic::async_trait]
impl Cluster for Leader {
    type AuditStream = Answers<AuditResponse>;
    type BackupStream = Answers<BackupResponse>;

    async fn status(&self, _: Request<StatusRequest>) -> Told<StatusResponse> {
        if self.asked.fetch_add(1, Ordering::Relaxed) > 0 {
            self.asked_again.notify_one();
            std::future::pending::<()>().await;
        }
        let (role, node, epoch) = (Role::Leader.into(), 1, 1);
        Ok(Response::new(StatusResponse {
            role,
            node,
            epoch,
            cluster_id: 1,
            log_id: 1,
            ..StatusResponse::default()
        }))
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
impl Kv for Leader {
    type ChangesStream = Answers<ChangesResponse>;
    type PipelineStream = Answers<PipelineResponse>;

    async fn pipeline(&self, requests: Request<Streaming<PipelineRequest>>) -> Told<Self::PipelineStream> {
        let leader = self.clone();
        let answers = requests.into_inner().then(move |request| {
            let leader = leader.clone();
            async move {
                let number = request?.number;
                leader.asked_again.notified().await;
                *leader.answered_at.lock() = Some(Instant::now());
                let response = Some(Answered::Txn(TxnResponse { success: true, ..TxnResponse::default() }));
                Ok(PipelineResponse { number, response })
            }
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

/// A node has 700 ms to say who leads: answers that came meanwhile waited for that.
#[tokio::test]
async fn answers_waited_while_a_later_leader_was_looked_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let leader = Leader::default();
    let server = tonic::transport::Server::builder()
        .add_service(KvServer::new(leader.clone()))
        .add_service(ClusterServer::new(leader.clone()))
        .serve_with_incoming(TcpListenerStream::new(listener));
    let serving = tokio::spawn(server);

    let store = Replicated::new(Config::of(vec![address])).unwrap();
    let answer = store.txn(Txn::new().put("k", 1, "v"), None).await.expect("answered late");
    assert!(answer.success);
    let waited = leader.answered_at.lock().expect("it was asked again").elapsed();
    assert!(waited < Duration::from_millis(500), "the answer came {waited:?} after it was sent");
    serving.abort();
}
