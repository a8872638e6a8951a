//! Answers: what the node and the applier say, in the words for callers.

use proto::store::pipeline_response::Response;
use proto::store::{Failure, FailureReason, FinishResponse, Holder, LeaderHint, PrepareResponse};
use store_client::failure::{failure, invalid, not_leader};
use store_core::{ChangeRefusal, Divergence, Epoch, NodeId};

use crate::job::{Answer, Reply};
use crate::limits::COMMAND_BYTES_MAX;
use crate::states;

/// What is told about a request id.
#[derive(Debug)]
pub enum NodeResponse {
    /// By the node.
    Answer(Answer),
    /// By the applier.
    Reply(Reply),
    /// By whoever made the whole answer already.
    Made(Box<Response>),
}

/// Where a leader of an epoch is reached, if there is one.
pub trait Hint: FnOnce(Option<NodeId>, Epoch) -> Option<LeaderHint> {}

impl<F: FnOnce(Option<NodeId>, Epoch) -> Option<LeaderHint>> Hint for F {}

/// What the node's refusal of a request means to a caller.
pub fn failure_of(answer: &Answer, hint: impl Hint) -> Failure {
    match answer {
        Answer::NotLeader { epoch, leader } => not_leader(hint(*leader, *epoch)),
        Answer::Overloaded(shortage) => failure(shortage.reason(), shortage.to_string()),
        Answer::BadSize { bytes } => invalid(
            "txn",
            format!("is {bytes} bytes with its identity; at most {COMMAND_BYTES_MAX} fit in the log"),
        ),
        Answer::Unknown => failure(
            FailureReason::UnknownOutcome,
            "this node stopped leading before the write was committed; the same identity settles it",
        ),
        Answer::Diverged { at } => {
            failure(FailureReason::Diverged, states::divergence_text(Divergence::NoMajority(*at)))
        }
        Answer::CannotResync { leads: true } => failure(
            FailureReason::ChangeRefused,
            "this replica leads, and its state would be replaced by its own: transfer leadership first",
        ),
        Answer::CannotResync { leads: false } => {
            failure(FailureReason::ChangeNotYet, "this replica knows no leader whose state it could take")
        }
        Answer::Resyncing => failure(FailureReason::Unspecified, "a request was answered as a resync"),
        Answer::ChangeRefused(refusal) => change_refused(*refusal),
        Answer::Changed { .. } => {
            failure(FailureReason::Unspecified, "a request was answered as a change of members")
        }
        Answer::ReadReady { .. } => failure(FailureReason::Unspecified, "a write was answered as a read"),
    }
}

/// What the core's refusal of a change of members means to a caller.
#[must_use]
pub fn change_refused(refusal: ChangeRefusal) -> Failure {
    let reason = match refusal {
        ChangeRefusal::NotLeader
        | ChangeRefusal::NotEstablished
        | ChangeRefusal::UnderWay
        | ChangeRefusal::NotCaughtUp { .. } => FailureReason::ChangeNotYet,
        ChangeRefusal::NodeTaken { .. } => FailureReason::NodeTaken,
        ChangeRefusal::Already
        | ChangeRefusal::NoSuchMember(_)
        | ChangeRefusal::WrongPart(_)
        | ChangeRefusal::WouldLoseQuorum
        | ChangeRefusal::TooManyMembers
        | ChangeRefusal::LastVoter => FailureReason::ChangeRefused,
    };
    failure(reason, refusal.to_string())
}

/// What is told about a write, as its caller is to have it.
///
/// # Errors
/// It was refused, or nobody here can say what became of it.
pub fn reply_of(told: NodeResponse, hint: impl Hint) -> Result<Reply, Failure> {
    match told {
        NodeResponse::Answer(answer) => Err(failure_of(&answer, hint)),
        NodeResponse::Reply(Reply::Unknown) => Err(failure(
            FailureReason::UnknownOutcome,
            "this replica's state turned out to be wrong before it came to the write, which is committed; the \
             same identity settles it elsewhere",
        )),
        NodeResponse::Reply(Reply::Refused { reason, message, .. }) => Err(failure(reason, message)),
        NodeResponse::Reply(Reply::Locked(holder)) => Err(locked(&holder)),
        NodeResponse::Reply(reply) => Ok(reply),
        NodeResponse::Made(response) => match *response {
            Response::Txn(answer) => Ok(Reply::Txn(answer)),
            Response::Outcome(answer) => Ok(Reply::Outcome(answer)),
            Response::Failure(failure) => Err(failure),
            other => Err(invalid("request", format!("is answered as another: {other:?}"))),
        },
    }
}

/// A transaction over several groups is in the way, and not decided as far as this one knows.
#[must_use]
pub fn locked(holder: &Holder) -> Failure {
    let id = holder.id.unwrap_or_default();
    let message = format!(
        "transaction {} of group {} in epoch {} is in the way, and not decided yet: a moment later it is",
        id.number, id.group, id.epoch
    );
    failure(FailureReason::Locked, message)
}

/// The same as the answer of a stream.
pub fn response_of(told: NodeResponse, hint: impl Hint) -> Response {
    if let NodeResponse::Made(response) = told {
        return *response;
    }
    match reply_of(told, hint) {
        Ok(Reply::Txn(answer)) => Response::Txn(answer),
        Ok(Reply::Outcome(answer)) => Response::Outcome(answer),
        Ok(Reply::Prepared(answers)) => Response::Prepare(PrepareResponse { answers }),
        Ok(Reply::Finished(acks)) => Response::Finish(FinishResponse { acks }),
        Ok(reply) => Response::Failure(invalid("request", format!("has no answer of its own: {reply:?}"))),
        Err(failure) => Response::Failure(failure),
    }
}
