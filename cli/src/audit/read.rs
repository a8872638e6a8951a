//! Snapshots of all replicas at the position of one audit entry.

use std::time::Duration;

use bytes::Bytes;
use proto::store::{AuditRequest, KeyRecord, Position, StartAuditRequest};
use tokio::time::{Instant, sleep};

use super::books::PREFIXES;
use crate::config::load::Loaded;
use crate::config::shape::{Node, Replica};
use crate::failure::{Failure, Kind};
use crate::reach::nodes;

/// What an election may take before the audit entry is given up.
const START_MAX: Duration = Duration::from_secs(15);
/// What a replica may take to send its consistent view.
const VIEW_MAX: Duration = Duration::from_secs(300);

/// An audit entry in the log.
#[derive(Clone, Debug)]
pub struct Entry {
    /// By which replicas know it.
    pub id: Bytes,
    /// Where it stands.
    pub position: Position,
}

/// What one replica held there.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ReplicaState {
    /// The position it speaks of.
    pub position: Position,
    /// In key order.
    pub records: Vec<KeyRecord>,
    /// The running state hash.
    pub state_hash: u64,
}

/// Has the leader write an audit entry, waiting for one if there is none.
///
/// # Errors
/// No leader could be found that wrote it.
pub async fn start(loaded: &Loaded) -> Result<Entry, Failure> {
    let deadline = Instant::now() + START_MAX;
    loop {
        let last = match nodes::leading(&loaded.config, nodes::statuses(&loaded.config).await) {
            Ok((leader, _)) => {
                let prefixes = PREFIXES.iter().map(|prefix| Bytes::from_static(prefix)).collect();
                let request = StartAuditRequest { route: nodes::route(leader), prefixes };
                match nodes::operator(loaded, leader.node)?.start_audit(request).await {
                    Ok(answer) => {
                        let answer = answer.into_inner();
                        return Ok(Entry { id: answer.id, position: answer.position.unwrap_or_default() });
                    }
                    Err(status) => Failure::of_status(&status),
                }
            }
            // No wait cures that a port is another cluster's.
            Err(refused) if refused.kind == Kind::Refused => return Err(refused),
            Err(nobody) => nobody,
        };
        if Instant::now() >= deadline {
            return Err(last);
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// What a replica held where it applied the entry.
///
/// # Errors
/// It cannot be reached, or had no consistent view of it any more.
pub async fn view(loaded: &Loaded, replica: Replica<'_>, entry: &Entry) -> Result<ReplicaState, Failure> {
    let node = replica.node;
    let reading = async {
        // Whose port it is, is told better than that a proof is refused there.
        nodes::status(replica).await.map_err(|failure| of_node(node, failure))?;
        let request = AuditRequest { route: nodes::route(replica), id: entry.id.clone() };
        let failed = |status: tonic::Status| of_node(node, Failure::of_status(&status));
        let mut stream = nodes::operator(loaded, node)?.audit(request).await.map_err(failed)?.into_inner();
        let mut view = ReplicaState::default();
        while let Some(part) = stream.message().await.map_err(failed)? {
            view.position = part.position.unwrap_or(view.position);
            view.records.extend(part.records);
            if part.done {
                view.state_hash = part.state_hash;
                return check_position(view, entry).map_err(|failure| of_node(node, failure));
            }
        }
        Err(Failure::unreachable(format!("node {}: its consistent view was cut off", node.id)))
    };
    tokio::time::timeout(VIEW_MAX, reading).await.unwrap_or_else(|_| {
        Err(Failure::unreachable(format!("node {}: no consistent view within {VIEW_MAX:?}", node.id)))
    })
}

/// The view, if it is of the entry: what is of another moment is nothing to compare or to add up with the others.
fn check_position(view: ReplicaState, entry: &Entry) -> Result<ReplicaState, Failure> {
    let (found, wanted) = (view.position, entry.position);
    if found == wanted {
        return Ok(view);
    }
    let shown = |at: Position| format!("e{}:{}", at.epoch, at.offset);
    let message = format!("its consistent view is of {}, not of the entry {}", shown(found), shown(wanted));
    Err(Failure::refused(message).next("audit again"))
}

fn of_node(node: &Node, failure: Failure) -> Failure {
    failure.of(format!("node {}", node.id))
}

/// The first difference between two replicas' consistent views, in words. Pure.
#[must_use]
pub fn first_difference(one: (u64, &ReplicaState), other: (u64, &ReplicaState)) -> Option<String> {
    let ((id, here), (other_id, there)) = (one, other);
    if here.position != there.position {
        return Some(format!("nodes {id} and {other_id} speak of different positions"));
    }
    let key = |record: &KeyRecord| crate::verb::key::shown(&record.key);
    for (a, b) in here.records.iter().zip(&there.records) {
        if a != b {
            let which = if a.key == b.key { key(a) } else { format!("{} or {}", key(a), key(b)) };
            return Some(format!("nodes {id} and {other_id} differ at the record {which}"));
        }
    }
    if here.records.len() != there.records.len() {
        let (a, b) = (here.records.len(), there.records.len());
        return Some(format!("node {id} has {a} records, node {other_id} has {b}"));
    }
    (here.state_hash != there.state_hash).then(|| {
        format!(
            "nodes {id} and {other_id} have the same records but different state hashes ({:016x}, {:016x})",
            here.state_hash, there.state_hash
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::store::Record;

    fn view(records: &[(&'static str, &'static str)]) -> ReplicaState {
        let record = |(key, data): &(&'static str, &'static str)| KeyRecord {
            key: Bytes::from_static(key.as_bytes()),
            record: Some(Record { data: Bytes::from_static(data.as_bytes()), ..Record::default() }),
        };
        ReplicaState {
            records: records.iter().map(record).collect(),
            state_hash: 7,
            ..ReplicaState::default()
        }
    }

    #[test]
    fn a_view_of_another_position_than_its_entrys_is_refused() {
        let at = |offset| Position { epoch: 2, offset };
        let entry = Entry { id: Bytes::new(), position: at(7) };
        let view = |offset| ReplicaState { position: at(offset), ..ReplicaState::default() };
        assert!(check_position(view(7), &entry).is_ok());
        let refused = check_position(view(8), &entry).unwrap_err();
        assert!(refused.message.contains("of e2:8, not of the entry e2:7"), "{refused:?}");
    }

    #[test]
    fn the_first_difference_between_replicas_is_named() {
        let one = view(&[("c/{a}", "1"), ("c/{b}", "2")]);
        let differs = |other: &ReplicaState| first_difference((1, &one), (2, other));
        assert_eq!(differs(&one), None);
        assert!(differs(&view(&[("c/{a}", "1"), ("c/{b}", "3")])).unwrap().contains("c/{b}"));
        assert!(differs(&view(&[("c/{a}", "1")])).unwrap().contains("has 2 records"));
        assert!(differs(&ReplicaState { state_hash: 8, ..one.clone() }).unwrap().contains("state hashes"));
        let position = Position { epoch: 1, offset: 1 };
        assert!(differs(&ReplicaState { position, ..one.clone() }).unwrap().contains("positions"));
    }
}
