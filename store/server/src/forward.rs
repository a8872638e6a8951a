//! Requests for keys of other shards (the specification's queue F4): each goes over the interface that clients use, to the owner or to a
//! shard nearer to it, and the node first asked answers. A request that names no group may come to any node of the ring.
//!
//! ```text
//!   client ── Get k ──► any node ── not ours: nearest known shard ──► … ──► a node that knows the owner ──► the owner's leader
//!                                   each hop counts in the header `feira-hops`
//! ```
//!
//! Promises: a request is never kept waiting by others that wait; every hop comes nearer to the owner, and a request that took more hops
//! than the table needs is refused, rather than go round. What became of a request is told as for one's own: a write without
//! identity is never sent twice.
//! Leaves out: which place a key has (`proto::hash`), and the choice of the next slot ([`store_core::ring`]).

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use proto::hash::ring_hash;
use proto::store::kv_client::KvClient;
use proto::store::{
    Failure, FailureReason, Freshness, GetRequest, GetResponse, Identity, OutcomeRequest, OutcomeResponse,
    RingSlot, Route, ScanRequest, ScanResponse, Status as Outcome, Txn, TxnRequest, TxnResponse,
    scan_request,
};
use store_client::connect::{Windows, connect};
use store_client::failure::{failure, failure_from, failure_of, invalid, status_from};
use store_client::{Range, Sharded, Store};
use store_core::ring::{Ring, RoutingTable};
use store_keys::ClusterId;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::config::Config;

/// The header that counts the hops of a request, and tells them in its answer.
const HOPS: &str = "feira-hops";
const WINDOWS: Windows = Windows { stream_bytes: 1 << 20, connection_bytes: 4 << 20 };

/// The ring as one of its nodes sees it.
pub(crate) struct Forward {
    ring: Ring,
    /// The slot of this node's shard.
    slot: usize,
    table: RoutingTable,
    /// Addresses of nodes, by slot.
    nodes: Vec<Vec<String>>,
    deadline: Duration,
    /// The handle on the whole ring, made when it is first needed.
    handle: OnceLock<Sharded>,
    /// One connection an address of `nodes`, for hops on the way.
    channels: Mutex<HashMap<String, Channel>>,
    /// Which node of a slot is asked first: the one that answered last.
    first: Vec<AtomicUsize>,
}

/// A request that is for another node: of another shard, or the leader of this one.
pub(crate) struct Away<'f> {
    forward: &'f Forward,
    owner: usize,
    cluster: ClusterId,
    /// How many it has taken already.
    hops: usize,
}

impl Forward {
    /// Of a node that was told where the shards of its ring are.
    pub(crate) fn of(config: &Config) -> Option<Forward> {
        let (ring, slot) = config.shard().ring().ok()?;
        let slot = slot.filter(|_| !config.ring.is_empty())?;
        Some(Forward {
            slot,
            table: config.routing.table(),
            nodes: config.ring.iter().map(|shard| shard.nodes.clone()).collect(),
            deadline: Duration::from_millis(config.request_ms_max),
            handle: OnceLock::new(),
            channels: Mutex::default(),
            first: ring.slots().iter().map(|_| AtomicUsize::new(0)).collect(),
            ring,
        })
    }

    /// The ring and where its shards are, for callers.
    pub(crate) fn slots(&self) -> Vec<RingSlot> {
        let each = self.ring.slots().iter().zip(&self.nodes);
        each.map(|(slot, nodes)| RingSlot { id: slot.id, group: slot.group.0, nodes: nodes.clone() })
            .collect()
    }

    /// Whether there is no other shard.
    pub(crate) fn is_whole(&self) -> bool {
        self.ring.slots().len() == 1
    }

    /// Whether this node's shard owns a key.
    pub(crate) fn owns(&self, key: &[u8]) -> bool {
        self.is_whole() || self.ring.owner(ring_hash(key)) == self.slot
    }

    /// The group that owns a key.
    pub(crate) fn group_of(&self, key: &[u8]) -> u64 {
        self.ring.group_of(ring_hash(key)).0
    }

    /// The way to the leader of this node's own shard.
    pub(crate) fn to_leader(&self, cluster: ClusterId, hops: usize) -> Away<'_> {
        Away { forward: self, owner: self.slot, cluster, hops }
    }

    /// The way to the owner of a key, if that is another shard; it has come so many hops already.
    pub(crate) fn away(
        &self,
        key: &[u8],
        cluster: ClusterId,
        hops: usize,
    ) -> Result<Option<Away<'_>>, Failure> {
        if self.owns(key) {
            return Ok(None);
        }
        let owner = self.ring.owner(ring_hash(key));
        if hops >= self.table.hops_max(self.ring.slots().len()) {
            let message = format!(
                "the request came over {hops} hops to a shard that does not own its key: the nodes have different rings or \
                 routing tables"
            );
            return Err(failure(FailureReason::WrongRoute, message));
        }
        Ok(Some(Away { forward: self, owner, cluster, hops }))
    }

    /// The handle on the whole ring.
    fn handle(&self, cluster: ClusterId) -> Result<&Sharded, Failure> {
        if let Some(handle) = self.handle.get() {
            return Ok(handle);
        }
        let made = self.new_handle(cluster, self.deadline)?;
        Ok(self.handle.get_or_init(|| made))
    }

    /// A handle on the whole ring whose operations may take so long.
    pub(crate) fn new_handle(&self, cluster: ClusterId, deadline: Duration) -> Result<Sharded, Failure> {
        let shards = self.nodes.iter().map(|nodes| store_client::Config {
            cluster: Some(cluster),
            deadline,
            ..store_client::Config::of(nodes.clone())
        });
        Sharded::new(shards.collect()).map_err(|error| failure_of(&error))
    }

    /// One page of the records of all shards.
    pub(crate) async fn scan(
        &self,
        cluster: ClusterId,
        request: ScanRequest,
    ) -> Result<ScanResponse, Status> {
        let handle = self.handle(cluster).map_err(|failure| status_from(&failure))?;
        let range = match request.range {
            Some(scan_request::Range::Between(between)) => Range::Between(between.from, between.to),
            Some(scan_request::Range::Prefix(prefix)) => Range::Prefix(prefix),
            None => Range::Prefix(Bytes::new()),
        };
        let after = Some(request.after).filter(|after| !after.is_empty());
        let freshness = by_the_leader(request.freshness);
        let page = handle.scan(range, request.limit, after, freshness).await;
        let page = page.map_err(|error| status_from(&failure_of(&error)))?;
        let applied = Some(page.position());
        Ok(ScanResponse { records: page.records, next: page.next.unwrap_or_default(), applied })
    }

    fn channel(&self, address: &str) -> Result<Channel, Status> {
        let mut channels = self.channels.lock();
        if let Some(channel) = channels.get(address) {
            return Ok(channel.clone());
        }
        let channel = connect(address, WINDOWS).map_err(|error| {
            status_from(&failure(FailureReason::NotServing, format!("{address}: {error}")))
        })?;
        channels.insert(address.to_owned(), channel.clone());
        Ok(channel)
    }
}

impl Away<'_> {
    /// Runs a transaction there.
    pub(crate) async fn txn(
        self,
        txn: Txn,
        identity: Option<Identity>,
    ) -> Result<Response<TxnResponse>, Status> {
        let Some(next) = self.on_the_way() else {
            return self.answered(self.handle()?.txn(txn, identity).await);
        };
        let again = identity.is_some();
        let request = TxnRequest { route: Some(self.route()), txn: Some(txn), identity };
        self.hop(next, again, request, async |mut node, request| node.txn(request).await).await
    }

    /// Reads a record there.
    pub(crate) async fn get(
        self,
        key: Bytes,
        freshness: Option<Freshness>,
    ) -> Result<Response<GetResponse>, Status> {
        let Some(next) = self.on_the_way() else {
            let got = self.handle()?.get(key, by_the_leader(freshness)).await;
            return self.answered(got.map(|got| {
                let status = if got.record.is_some() { Outcome::Success } else { Outcome::Error };
                let applied = Some(got.applied);
                GetResponse {
                    status: status.into(),
                    record: got.record,
                    applied,
                    log_id: got.log_id,
                    pending: got.pending,
                }
            }));
        };
        let request = GetRequest { route: Some(self.route()), key, freshness };
        self.hop(next, true, request, async |mut node, request| node.get(request).await).await
    }

    /// Asks there what became of a write.
    pub(crate) async fn outcome(
        self,
        tag: Bytes,
        identity: Identity,
    ) -> Result<Response<OutcomeResponse>, Status> {
        let Some(next) = self.on_the_way() else {
            return self.answered(self.handle()?.outcome(tag, identity).await);
        };
        let request = OutcomeRequest { route: Some(self.route()), tag, identity: Some(identity) };
        self.hop(next, true, request, async |mut node, request| node.outcome(request).await).await
    }

    /// The slot to which it goes first; `None`: to the owner itself.
    fn on_the_way(&self) -> Option<usize> {
        let forward = self.forward;
        forward.ring.next(forward.table, forward.slot, self.owner).filter(|next| *next != self.owner)
    }

    fn handle(&self) -> Result<&Sharded, Status> {
        self.forward.handle(self.cluster).map_err(|failure| status_from(&failure))
    }

    /// The owner's group, in this cluster; which log that has is the owner's to know.
    fn route(&self) -> Route {
        let group = self.forward.ring.slots()[self.owner].group.0;
        Route { cluster_id: self.cluster.get(), ..Route::to(group, crate::shard::RING_VERSION) }
    }

    /// Between nodes of one shard there is no hop of the ring.
    fn hops_done(&self) -> usize {
        self.hops + usize::from(self.owner != self.forward.slot)
    }

    fn answered<T>(&self, answer: Result<T, store_client::Error>) -> Result<Response<T>, Status> {
        let answer = answer.map_err(|error| status_from(&failure_of(&error)))?;
        Ok(counted(Response::new(answer), self.hops_done()))
    }

    /// Sends it to a node of a shard on the way; to another one if that did nothing, or may be asked `again`.
    async fn hop<Q: Clone, A>(
        &self,
        slot: usize,
        again: bool,
        request: Q,
        call: impl AsyncFn(KvClient<Channel>, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<Response<A>, Status> {
        let forward = self.forward;
        let nodes = &forward.nodes[slot];
        let first = forward.first[slot].load(Ordering::Relaxed);
        let mut last = Status::unavailable("no node of the next shard is known");
        for at in (0..nodes.len()).map(|step| (first + step) % nodes.len()) {
            let node = KvClient::new(forward.channel(&nodes[at])?);
            let mut request = Request::new(request.clone());
            request.metadata_mut().insert(HOPS, (self.hops + 1).into());
            request.set_timeout(forward.deadline);
            let status = match call(node, request).await {
                Ok(answer) => {
                    forward.first[slot].store(at, Ordering::Relaxed);
                    let hops = hops_in(answer.metadata()).unwrap_or(self.hops + 1);
                    return Ok(counted(answer, hops));
                }
                Err(status) => status,
            };
            match failure_from(&status).reason() {
                FailureReason::NotServing => {}
                // Somebody else's words: the connection's.
                FailureReason::Unspecified if again => {}
                FailureReason::Unspecified => {
                    let message = format!("the answer of {} was lost: {}", nodes[at], status.message());
                    return Err(status_from(&failure(FailureReason::UnknownOutcome, message)));
                }
                _ => return Err(status),
            }
            last = status;
        }
        match failure_from(&last).reason() {
            FailureReason::Unspecified => {
                let message = format!("no node of the next shard could be asked: {}", last.message());
                Err(status_from(&failure(FailureReason::NotServing, message)))
            }
            _ => Err(last),
        }
    }
}

/// How fresh a read is that is asked of another node: it goes to the leader, so that even one that may be stale is not. (Of a stale
/// one that no replica can answer yet, the handle would take every node for one that does not serve.)
fn by_the_leader(asked: Option<Freshness>) -> Freshness {
    Freshness::linearizable().with_min_offset(asked.map_or(0, |freshness| freshness.min_offset))
}

fn counted<T>(mut answer: Response<T>, hops: usize) -> Response<T> {
    answer.metadata_mut().insert(HOPS, hops.into());
    answer
}

fn hops_in(metadata: &MetadataMap) -> Option<usize> {
    metadata.get(HOPS)?.to_str().ok()?.parse().ok()
}

/// How many hops a request has taken.
///
/// # Errors
/// The header is no number.
pub(crate) fn hops_of<T>(request: &Request<T>) -> Result<usize, Status> {
    match request.metadata().get(HOPS) {
        None => Ok(0),
        Some(_) => hops_in(request.metadata())
            .ok_or_else(|| status_from(&invalid(HOPS, "is not a number: leave it out, nodes count in it"))),
    }
}
