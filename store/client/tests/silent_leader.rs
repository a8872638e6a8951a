//! A leader that answers operations late, and never names the leader again.
#![allow(clippy::unwrap_used)]

mod fixture;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use proto::store::pipeline_response::Response as Answered;
use proto::store::{PipelineRequest, PipelineResponse, Role, StatusResponse, Txn, TxnResponse};
use store_client::{Config, Replicated, Store};
use tokio::sync::Notify;

#[derive(Clone, Default)]
struct Leader {
    asked: Arc<AtomicU32>,
    /// It was asked a second time who leads.
    asked_again: Arc<Notify>,
    answered_at: Arc<Mutex<Option<Instant>>>,
}

impl fixture::Node for Leader {
    async fn status(&self) -> StatusResponse {
        if self.asked.fetch_add(1, Ordering::Relaxed) > 0 {
            self.asked_again.notify_one();
            std::future::pending::<()>().await;
        }
        let (role, node, epoch) = (Role::Leader.into(), 1, 1);
        StatusResponse { role, node, epoch, cluster_id: 1, log_id: 1, ..StatusResponse::default() }
    }

    async fn operation(&self, asked: PipelineRequest) -> PipelineResponse {
        self.asked_again.notified().await;
        *self.answered_at.lock() = Some(Instant::now());
        let response = Some(Answered::Txn(TxnResponse { success: true, ..TxnResponse::default() }));
        PipelineResponse { number: asked.number, response }
    }
}

/// A node has 700 ms to say who leads: answers that came meanwhile waited for that.
#[tokio::test]
async fn answers_do_not_wait_while_a_later_leader_is_looked_for() {
    let (listener, address) = fixture::bind().await;
    let leader = Leader::default();
    let serving = fixture::serve(listener, leader.clone());

    let store = Replicated::new(Config::of(vec![address])).unwrap();
    let answer = store.txn(Txn::new().put("k", 1, "v"), None).await.expect("answered late");
    assert!(answer.success);
    let waited = leader.answered_at.lock().expect("it was asked again").elapsed();
    assert!(waited < Duration::from_millis(500), "the answer came {waited:?} after it was sent");
    serving.abort();
}
