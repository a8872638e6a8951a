//! A node whose port another cluster has taken, while the others still take it for their leader: what it refuses did not happen,
//! and is not asked of it again.
#![allow(clippy::unwrap_used)]

mod fixture;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use proto::store::pipeline_response::Response as Answered;
use proto::store::{
    FailureReason, LeaderHint, PipelineRequest, PipelineResponse, Role, StatusResponse, Txn, TxnResponse,
};
use store_client::failure::failure;
use store_client::{Config, Error, Replicated, Store};
use store_keys::ClusterId;

const OURS: u64 = 5;
const OTHER: u64 = 6;
/// Times that a handle looks for a leader meanwhile.
const LOOKS: u32 = 8;

/// The port that another cluster takes.
#[derive(Clone, Default)]
struct Taken {
    /// The other cluster has it.
    is_taken: Arc<AtomicBool>,
    /// Operations asked there.
    operations: Arc<AtomicU32>,
    /// Times that it said of which cluster it is, since it was taken.
    looks: Arc<AtomicU32>,
}

impl fixture::Node for Taken {
    async fn status(&self) -> StatusResponse {
        let is_taken = self.is_taken.load(Ordering::Relaxed);
        self.looks.fetch_add(u32::from(is_taken), Ordering::Relaxed);
        let cluster_id = if is_taken { OTHER } else { OURS };
        let (role, cluster) = (Role::Leader.into(), "shop".into());
        StatusResponse {
            role,
            node: 2,
            epoch: 7,
            cluster,
            cluster_id,
            log_id: 9,
            ..StatusResponse::default()
        }
    }

    /// It was taken after it said that it leads.
    async fn operation(&self, asked: PipelineRequest) -> PipelineResponse {
        self.is_taken.store(true, Ordering::Relaxed);
        self.operations.fetch_add(1, Ordering::Relaxed);
        let refused = failure(FailureReason::WrongCluster, "this is the port of node 2 of cluster shop");
        PipelineResponse { number: asked.number, response: Some(Answered::Failure(refused)) }
    }
}

/// One of ours, which takes the node at that port for its leader, until it leads itself.
#[derive(Clone)]
struct Follower {
    leader: LeaderHint,
    of: Taken,
    /// It is elected at last.
    leads_at_last: bool,
}

impl Follower {
    fn leads(&self) -> bool {
        self.leads_at_last && self.of.looks.load(Ordering::Relaxed) >= LOOKS
    }
}

impl fixture::Node for Follower {
    async fn status(&self) -> StatusResponse {
        let (node, cluster_id, log_id) = (1, OURS, 9);
        let ours = StatusResponse { node, cluster_id, log_id, ..StatusResponse::default() };
        match self.leads() {
            true => StatusResponse { role: Role::Leader.into(), epoch: 8, ..ours },
            false => StatusResponse { leader: Some(self.leader.clone()), epoch: 7, ..ours },
        }
    }

    async fn operation(&self, asked: PipelineRequest) -> PipelineResponse {
        let response = match self.leads() {
            true => Answered::Txn(TxnResponse { success: true, ..TxnResponse::default() }),
            false => Answered::Failure(proto::store::Failure {
                leader: Some(self.leader.clone()),
                ..failure(FailureReason::NotLeader, "node 2 leads")
            }),
        };
        PipelineResponse { number: asked.number, response: Some(response) }
    }
}

/// One write while the port is taken: its answer, and what that port saw.
async fn write_while_taken(leads_at_last: bool, deadline: Duration) -> (Result<bool, Error>, Taken) {
    let ((here, ours), (there, port)) = (fixture::bind().await, fixture::bind().await);
    let taken = Taken::default();
    let leader = LeaderHint { node: 2, address: port.clone(), epoch: 7 };
    let follower = Follower { leader, of: taken.clone(), leads_at_last };
    let serving = [fixture::serve(here, follower), fixture::serve(there, taken.clone())];
    let reach = Config::of_nodes([(1, ours), (2, port)]);
    let store = Replicated::new(Config { cluster: ClusterId::new(OURS), deadline, ..reach }).unwrap();
    let answer = store.txn(Txn::new().put("k", 1, "v"), None).await;
    serving.iter().for_each(tokio::task::JoinHandle::abort);
    (answer.map(|done| done.success), taken)
}

#[tokio::test]
async fn what_a_node_of_another_cluster_refused_is_not_asked_of_it_again_but_of_its_own() {
    let (answer, taken) = write_while_taken(true, Duration::from_secs(60)).await;
    assert!(answer.unwrap(), "its own cluster did it");
    assert!(taken.looks.load(Ordering::Relaxed) >= LOOKS, "the handle looked on");
    assert_eq!(taken.operations.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn where_nobody_else_leads_the_answer_says_whose_port_it_is() {
    let (answer, taken) = write_while_taken(false, Duration::from_secs(4)).await;
    let said = answer.unwrap_err().to_string();
    assert!(said.contains("is the port of node 2 of cluster shop (0000000000000006)"), "{said}");
    assert_eq!(taken.operations.load(Ordering::Relaxed), 1);
}
