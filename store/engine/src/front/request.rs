//! Requests: their fields, route and identity are checked, and writes become the bytes of commands.

use bytes::Bytes;
use prost::Message as _;
use proto::check;
use proto::store::command::Kind;
use proto::store::guard::Condition;
use proto::store::operation::Action;
use proto::store::pipeline_request::Request;
use proto::store::{
    AskRequest, Command, Failure, FailureReason, FinishCommand, Freshness, GetRequest, Guard, Identity,
    Operation, OutcomeCommand, PipelineRequest, PrepareRequest, Route, ScanRequest, Txn, TxnCommand,
    TxnRequest, scan_request,
};
use store_client::failure::{failure, invalid};
use store_db::limits::VERSION_OF_TIMES;

/// What a node knows of itself that decides on requests.
pub trait Standing {
    /// Refuses what is not for this node: another cluster, log, group or ring version, or a group that it is not in.
    ///
    /// # Errors
    /// Why, and whom to ask.
    fn check_route(&self, route: Option<&Route>) -> Result<(), Failure>;
    /// Whether the ring has other groups.
    fn is_one_of_several(&self) -> bool {
        false
    }
    /// Refuses a key of another group. A ring of one shard has none.
    ///
    /// # Errors
    /// Whose it is.
    fn check_key(&self, _key: &[u8]) -> Result<(), Failure> {
        Ok(())
    }
    /// Refuses what would overtake an older request that waits for the same keys.
    ///
    /// # Errors
    /// It would.
    fn check_waiting(&self, _txn: &Txn, _identity: Option<&Identity>) -> Result<(), Failure> {
        Ok(())
    }
    /// Refuses what a group that stands still for a consistent view would refuse in the log.
    ///
    /// # Errors
    /// It stands still.
    fn check_still(&self) -> Result<(), Failure> {
        Ok(())
    }
    /// Whether it leads, as far as it knows.
    fn leads(&self) -> bool;
    /// Its wall clock, milliseconds since 1970.
    fn wall_ms(&self) -> i64;
    /// The version of the state machine that is in force, as far as it has applied.
    fn state_machine_version(&self) -> u32;
}

/// What a request needs when it is told something.
#[derive(Clone, Debug)]
pub enum PendingRequest {
    /// A transaction or an outcome: the answer is what is told.
    Write,
    /// A read: it is run when it is told that it may be.
    Get(GetRequest),
    /// A scan, likewise.
    Scan(ScanRequest),
}

impl PendingRequest {
    /// Bytes that it holds while it waits, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            PendingRequest::Write => 0,
            PendingRequest::Get(request) => request.key.len(),
            PendingRequest::Scan(request) => {
                let range = match &request.range {
                    Some(scan_request::Range::Prefix(prefix)) => prefix.len(),
                    Some(scan_request::Range::Between(between)) => between.from.len() + between.to.len(),
                    None => 0,
                };
                request.after.len() + range
            }
        }
    }

    /// How fresh a read is to be.
    #[must_use]
    pub fn freshness(&self) -> Option<Freshness> {
        match self {
            PendingRequest::Write => None,
            PendingRequest::Get(request) => request.freshness,
            PendingRequest::Scan(request) => request.freshness,
        }
    }
}

/// A request that the node may have.
#[derive(Debug)]
pub enum Admitted {
    /// A command for the log, encoded.
    Write(Bytes),
    /// The same, of what ends branches that are prepared: taken also where clients' writes are not.
    End(Bytes),
    /// A read, which may need the node's word.
    Read(PendingRequest),
    /// A transaction over several groups, which this one decides.
    Cross(Txn, Option<Identity>),
    /// Branches of such transactions that other groups decide.
    Prepare(PrepareRequest),
    /// A question about such transactions.
    Ask(AskRequest),
}

/// Checks a request of a stream.
///
/// # Errors
/// Its answer: it is wrong, or not for this node.
pub fn admit(request: PipelineRequest, standing: &impl Standing) -> Result<Admitted, Failure> {
    let checked = check::pipeline(&request);
    let request = request.request.ok_or_else(|| invalid("request", "is missing"))?;
    checked.map_err(|violation| invalid(violation.field, violation.problem))?;
    let route = match &request {
        Request::Txn(txn) => txn.route,
        Request::Get(get) => get.route,
        Request::Scan(scan) => scan.route,
        Request::Outcome(outcome) => outcome.route,
        Request::Prepare(prepare) => prepare.route,
        Request::Finish(finish) => finish.route,
        Request::Ask(ask) => ask.route,
    };
    standing.check_route(route.as_ref())?;
    let kind = match request {
        Request::Txn(TxnRequest { txn: Some(txn), identity, .. }) if is_cross(&txn, standing) => {
            standing.check_key(txn.tag().map_or(&[], |tag| &tag[..]))?;
            check_times(&txn, standing)?;
            check_clock(identity.as_ref(), standing)?;
            return Ok(Admitted::Cross(txn, identity));
        }
        Request::Txn(txn) => Kind::Txn(TxnCommand { txn: txn.txn, identity: txn.identity, decide: None }),
        Request::Prepare(prepare) => {
            let mut branches = prepare.parts.iter().filter_map(|part| part.branch.as_ref()?.txn.as_ref());
            branches.try_for_each(|txn| check_times(txn, standing))?;
            return Ok(Admitted::Prepare(prepare));
        }
        Request::Finish(finish) => {
            let kind = Kind::Finish(FinishCommand { finishes: finish.finishes });
            return client_command(kind, standing).map(Admitted::End);
        }
        Request::Ask(ask) => return Ok(Admitted::Ask(ask)),
        Request::Outcome(outcome) => {
            Kind::Outcome(OutcomeCommand { tag: outcome.tag, identity: outcome.identity })
        }
        Request::Get(get) => {
            standing.check_key(&get.key)?;
            return Ok(Admitted::Read(PendingRequest::Get(get)));
        }
        Request::Scan(scan) => return Ok(Admitted::Read(PendingRequest::Scan(scan))),
    };
    client_command(kind, standing).map(Admitted::Write)
}

/// The bytes of a command in the log.
#[must_use]
pub fn command_of(kind: Kind) -> Bytes {
    Command { kind: Some(kind) }.encode_to_vec().into()
}

/// Whether a transaction has keys of other groups besides.
pub fn is_cross(txn: &Txn, standing: &impl Standing) -> bool {
    let mut keys = txn.keys();
    standing.is_one_of_several() && keys.any(|key| standing.check_key(key).is_err())
}

/// Refuses guards on log time while a member may run a program that knows none; and of a transaction over several groups times in
/// other groups than that of its tag, where another version may be in force, and a branch that is prepared must not change any more. (So
/// for appends with their offset within their key.)
///
/// # Errors
/// It has such a part.
pub fn check_times(txn: &Txn, standing: &impl Standing) -> Result<(), Failure> {
    let is_time = |guard: &Guard| matches!(guard.condition, Some(Condition::NotBeforeMs(_)));
    if standing.state_machine_version() < VERSION_OF_TIMES && txn.guards.iter().any(is_time) {
        let message = "guards on log time are taken when every member of the group runs this program";
        return Err(failure(FailureReason::Upgrading, message));
    }
    if !standing.is_one_of_several() {
        return Ok(());
    }
    let is_elsewhere = |key: &[u8]| standing.check_key(key).is_err();
    let why = "is for keys of the group that has the transaction's tag";
    let mut guards = txn.guards.iter().zip(0..);
    if let Some((_, index)) = guards.find(|(guard, _)| is_time(guard) && is_elsewhere(&guard.key)) {
        return Err(invalid(format!("txn.guards[{index}].not_before_ms"), why));
    }
    let of_version = |operation: &Operation| match &operation.action {
        _ if !operation.stamps.is_empty() => Some("stamps"),
        Some(Action::Append(append)) if append.within > 0 => Some("append.within"),
        _ => None,
    };
    let operations = txn.operations.iter().zip(0..).filter(|(operation, _)| is_elsewhere(&operation.key));
    match operations.filter_map(|(operation, index)| Some((of_version(operation)?, index))).next() {
        Some((field, index)) => Err(invalid(format!("txn.operations[{index}].{field}"), why)),
        None => Ok(()),
    }
}

/// Refuses an id that was made in this node's future, or at no time.
///
/// # Errors
/// It was.
pub fn check_clock(identity: Option<&Identity>, standing: &impl Standing) -> Result<(), Failure> {
    if let Some(identity) = identity {
        let named = |field: &str| format!("identity.{field}");
        // Nobody's clock, so nobody's alarm.
        check::made_some_time(identity, standing.wall_ms())
            .map_err(|found| invalid(named(&found.field), found.problem))?;
        if standing.leads() {
            check::made_by(identity, standing.wall_ms()).map_err(|found| Failure {
                field: named(&found.field),
                ..failure(FailureReason::ClocksApart, found.problem)
            })?;
        }
    }
    Ok(())
}

/// The bytes of a client's command, unless its id was made in this node's future: then one of both clocks is wrong, and
/// nobody here can say which. It is not executed here; another node may, or this one when its clock is set. Only the
/// leader asks: from another node the caller is to hear who leads.
///
/// # Errors
/// An id of no time, or of this node's future; or a key of another group.
pub fn client_command(kind: Kind, standing: &impl Standing) -> Result<Bytes, Failure> {
    let identity = match &kind {
        Kind::Txn(command) => {
            let txn = command.txn.iter();
            txn.clone().flat_map(Txn::keys).try_for_each(|key| standing.check_key(key))?;
            txn.clone().try_for_each(|txn| check_times(txn, standing))?;
            txn.clone().try_for_each(|txn| standing.check_waiting(txn, command.identity.as_ref()))?;
            command.identity.as_ref()
        }
        Kind::Outcome(outcome) => {
            standing.check_key(&outcome.tag)?;
            standing.check_still()?;
            outcome.identity.as_ref()
        }
        _ => None,
    };
    check_clock(identity, standing)?;
    Ok(command_of(kind))
}
