//! The admission of a node's calls: the room of each, and the calls of members only.

use admission::limits::{REQUEST_MS_MAX, REQUESTS_MAX, WINDOW_BYTES};
use admission::place::Full;
use admission::{Admission, Kind, Limits, Rules};
use proto::store::FailureReason;
use store_client::failure::{failure, status_from};
use store_engine::limits::MEMBERS_MAX;
use tonic::Status;

use crate::too_large::REQUEST_BYTES_MAX;

/// Bytes with which every HTTP/2 connection begins (RFC 9113, 3.4).
pub(crate) const PREFACE_BYTES: usize = 24;
/// File descriptors that a node needs beside its callers' connections: files, and connections of its own.
const DESCRIPTORS_RESERVED: usize = 48;
/// Connections of one member: what it pushes, and what it asks.
const CONNECTIONS_PER_MEMBER: usize = 2;

/// What a call that answers with one record is expected to hold, if nothing else is known.
const RECORD_BYTES: usize = 256 << 10;
/// And one that answers with many.
const RECORDS_BYTES: usize = 1 << 20;

const _: () = assert!(REQUESTS_MAX >= 100, "what RFC 9113, 6.5.2, recommends");
const _: () =
    assert!(WINDOW_BYTES as usize * 4 > REQUEST_BYTES_MAX, "the longest request comes in a few windows");

/// The places of a node's callers.
pub(crate) fn limits() -> Limits {
    Limits::of_process(DESCRIPTORS_RESERVED, MEMBERS_MAX * CONNECTIONS_PER_MEMBER)
}

/// The layer.
pub(crate) fn layer() -> Admission {
    Admission::new(Rules { kind, is_plain: |_| false, message_bytes_max: REQUEST_BYTES_MAX, full, late })
}

fn full(full: Full) -> Status {
    let message = match full {
        Full::Own => {
            "this connection has all that one may have of answers not taken, or of streams: take them"
        }
        Full::All => "the room for answers is taken up: try again later",
    };
    status_from(&failure(FailureReason::Overloaded, message))
}

fn late() -> Status {
    let message =
        format!("the request did not come whole within {REQUEST_MS_MAX} ms: nothing was done, send it again");
    status_from(&failure(FailureReason::Overloaded, message))
}

fn kind(path: &str) -> Kind {
    let Some((service, method)) = path.trim_start_matches('/').split_once('/') else { return Kind::Free };
    match (service, method) {
        ("feira.store.v1.Replication", _) => Kind::Members,
        ("feira.store.v1.Kv", "Pipeline" | "Changes")
        | ("feira.store.v1.Cluster", "Audit" | "Backup" | "Trace") => Kind::Stream,
        ("feira.store.v1.Kv", "Scan" | "Txn") | ("feira.store.v1.Cluster", "ShowLog") => {
            Kind::Call(RECORDS_BYTES)
        }
        ("feira.store.v1.Kv", _) => Kind::Call(RECORD_BYTES),
        (service, _) if service.starts_with("grpc.reflection.") => Kind::Stream,
        ("grpc.health.v1.Health", "Watch") => Kind::Stream,
        // Status, and what an operator says to a node: short, and needed most when all is full.
        _ => Kind::Free,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::store::cluster_server::ClusterServer;
    use proto::store::kv_server::KvServer;
    use proto::store::replication_server::ReplicationServer;
    use tonic::server::NamedService;

    #[test]
    fn calls_are_named_as_their_services_are() {
        let kv = <KvServer<crate::kv::KvService> as NamedService>::NAME;
        let cluster = <ClusterServer<crate::cluster::ClusterService> as NamedService>::NAME;
        let replication = <ReplicationServer<crate::peers::ReplicationService> as NamedService>::NAME;
        assert_eq!(kind(&format!("/{kv}/Pipeline")), Kind::Stream);
        assert_eq!(kind(&format!("/{kv}/Get")), Kind::Call(RECORD_BYTES));
        assert_eq!(kind(&format!("/{cluster}/Audit")), Kind::Stream);
        assert_eq!(kind(&format!("/{cluster}/Status")), Kind::Free);
        assert_eq!(kind(&format!("/{replication}/Vote")), Kind::Members);
    }

    #[test]
    fn a_caller_without_room_is_told_what_to_do() {
        for (whose, what) in [(Full::Own, "take them"), (Full::All, "later")] {
            let refusal = full(whose);
            assert!(
                refusal.code() == tonic::Code::ResourceExhausted && refusal.message().contains(what),
                "{refusal}"
            );
        }
        let refusal = late();
        assert!(
            refusal.code() == tonic::Code::ResourceExhausted && refusal.message().contains("again"),
            "{refusal}"
        );
    }
}
