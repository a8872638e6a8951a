//! One change of members, asked of the leader until it is committed: over elections, lost answers and a learner that
//! has yet to catch up, for a bounded time.

use std::time::{Duration, Instant};

use proto::store::change_members_request::Change;
use proto::store::{
    ChangeMembersRequest, ChangeMembersResponse, FailureReason, Member, MemberName, MemberPart,
};
use store_client::failure::failure_from;
use tokio::time::{sleep, timeout};
use tonic::Status;

use super::group::{Group, GroupView};
use crate::config::load::Loaded;
use crate::failure::{Failure, Kind};
use crate::reach::nodes;
use crate::show::out::Out;

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(200);
/// How often a wait is told.
const TELL: Duration = Duration::from_secs(1);
/// One attempt gets at least this.
const ATTEMPT_MIN: Duration = Duration::from_secs(2);

/// How long, and to whom it is told meanwhile.
pub struct Patience<'a> {
    /// Given up then.
    pub until: Instant,
    /// Where the wait is told.
    pub out: &'a Out,
    told: Option<Instant>,
}

/// What came of one attempt that was not the last word.
struct Attempt {
    why: String,
    /// Who said so; empty: nobody.
    by: String,
    /// It may have happened.
    unknown: bool,
    /// The leader said so; else nobody answered.
    answered: bool,
}

impl<'a> Patience<'a> {
    /// So long from now on.
    #[must_use]
    pub fn new(wait: Duration, out: &'a Out) -> Patience<'a> {
        Patience { until: Instant::now() + wait, out, told: None }
    }

    /// Waits a moment, and tells what for; false: no time is left.
    pub async fn pause(&mut self, why: &str) -> bool {
        if Instant::now() >= self.until {
            return false;
        }
        if self.told.is_none_or(|told| told.elapsed() >= TELL) {
            let left = self.until.saturating_duration_since(Instant::now()).as_secs();
            self.out.say(&format!("waiting, {left} s left: {why}"));
            self.told = Some(Instant::now());
        }
        sleep(PAUSE).await;
        true
    }
}

/// Makes a change: returns when it is committed, and whether it was so before.
///
/// # Errors
/// The leader refuses it; it is not done when patience is over, or that is not known.
pub async fn change(
    group: &mut Group,
    wanted: &Change,
    patience: &mut Patience<'_>,
) -> Result<ChangeMembersResponse, Failure> {
    let mut unknown = false;
    loop {
        let attempt = match attempt(group, wanted, patience.until).await? {
            Ok(done) => return Ok(done),
            Err(attempt) => attempt,
        };
        unknown |= attempt.unknown;
        if !patience.pause(&attempt.why).await {
            return Err(given_up(&attempt, unknown));
        }
    }
}

/// Asks once. The outer error is the last word.
async fn attempt(
    group: &mut Group,
    wanted: &Change,
    until: Instant,
) -> Result<Result<ChangeMembersResponse, Attempt>, Failure> {
    let nobody = |why: String| Ok(Err(Attempt { why, by: String::new(), unknown: false, answered: false }));
    let view = match group.look().await {
        Ok(view) if view.is_leaders() => view,
        Ok(view) => return nobody(nobody_leads(&view)),
        Err(failure) if failure.kind == Kind::Unreachable => return nobody(failure.message),
        Err(failure) => return Err(failure),
    };
    let request = ChangeMembersRequest { route: group.route(), change: Some(wanted.clone()) };
    let mut leader = nodes::operator_at(group.loaded(), view.status.node, &view.address)?;
    let limit = until.saturating_duration_since(Instant::now()).max(ATTEMPT_MIN);
    let by = format!("node {} at {}", view.status.node, view.address);
    match timeout(limit, leader.change_members(request)).await {
        Ok(Ok(done)) => Ok(Ok(done.into_inner())),
        Ok(Err(status)) => match judged(&status) {
            Ok(attempt) => Ok(Err(Attempt { by, ..attempt }.waits(&view))),
            Err(failure) => Err(failure.by(by)),
        },
        Err(_) => {
            let why = format!("node {} does not answer", view.status.node);
            Ok(Err(Attempt { why, by, unknown: true, answered: true }.waits(&view)))
        }
    }
}

/// Perhaps because a change of members is half made.
fn nobody_leads(view: &GroupView) -> String {
    view.waits().map_or_else(|| "no node leads".to_owned(), |waits| format!("no node leads; {waits}"))
}

impl Attempt {
    /// With the change that was under way when it was made, and whom that waits for.
    fn waits(mut self, view: &GroupView) -> Attempt {
        if let Some(waits) = view.waits() {
            self.why = format!("{}; {waits}", self.why);
        }
        self
    }
}

/// Whether a refusal is the last word.
fn judged(status: &Status) -> Result<Attempt, Failure> {
    let why = status.message().to_owned();
    let by = String::new();
    match failure_from(status).reason() {
        FailureReason::NotLeader | FailureReason::NotServing => {
            Ok(Attempt { why, by, unknown: false, answered: false })
        }
        FailureReason::ChangeNotYet | FailureReason::Overloaded => {
            Ok(Attempt { why, by, unknown: false, answered: true })
        }
        // A transport's word, or the leader's that it lost its place: asked again it says what is so.
        FailureReason::UnknownOutcome | FailureReason::Unspecified => {
            Ok(Attempt { why, by, unknown: true, answered: true })
        }
        reason => {
            let mut failure = Failure::refused(why);
            reason.as_str_name().clone_into(&mut failure.reason);
            Err(failure.next("nothing was changed; feira member list shows who is in the group"))
        }
    }
}

fn given_up(attempt: &Attempt, unknown: bool) -> Failure {
    let why = &attempt.why;
    let failure = if unknown {
        Failure::unknown(format!("it is not known whether the change was made: {why}"))
            .next("feira member list shows what is so; the same command may be given again")
    } else if attempt.answered {
        Failure::unreachable(format!("not done yet: {why}"))
            .next("give the same command again: it goes on where it stopped; --wait SECONDS gives it longer")
    } else {
        Failure::unreachable(format!("not done: {why}"))
            .next("see feira status: a majority of the store's nodes must be serving")
    };
    failure.by(&attempt.by)
}

/// The leader's consistent view when no change is under way.
///
/// # Errors
/// There is none in time.
pub async fn settled(group: &mut Group, patience: &mut Patience<'_>) -> Result<GroupView, Failure> {
    loop {
        let view = group.look().await;
        let why = match &view {
            Ok(view) if !view.is_leaders() => nobody_leads(view),
            Ok(view) if view.members().any(|(_, part)| is_moving(part)) => {
                view.waits().unwrap_or_else(|| "another change is under way".to_owned())
            }
            Ok(_) => return view,
            Err(failure) if failure.kind != Kind::Unreachable => return view,
            Err(_) => "no member of the group answers".to_owned(),
        };
        if !patience.pause(&why).await {
            view?;
            return Err(Failure::unreachable(format!("not done: {why}"))
                .next("see feira status: a majority of the store's nodes must be serving"));
        }
    }
}

/// The groups of these shards, each with [`settled`]'s view of it.
///
/// # Errors
/// As [`settled`], of the first that has none.
pub async fn settled_groups(
    loaded: &Loaded,
    shards: &[u64],
    patience: &mut Patience<'_>,
) -> Result<Vec<(u64, Group, GroupView)>, Failure> {
    let mut groups = Vec::with_capacity(shards.len());
    for shard in shards {
        let mut group = Group::of(&loaded.of_shard(*shard));
        let view = settled(&mut group, patience).await?;
        groups.push((*shard, group, view));
    }
    Ok(groups)
}

fn is_moving(part: MemberPart) -> bool {
    matches!(part, MemberPart::Incoming | MemberPart::Outgoing)
}

/// The very folder that is meant.
#[must_use]
pub fn name(member: &Member) -> MemberName {
    MemberName { node: member.node, incarnation: member.incarnation }
}

/// Where the change stands in the log, in words.
#[must_use]
pub fn done_at(done: &ChangeMembersResponse) -> String {
    if done.changed { format!(" since offset {} of the log", done.offset) } else { " already".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use store_client::failure::{failure, invalid, status_from};

    #[test]
    fn what_may_have_happened_is_asked_again_and_what_was_refused_is_not() {
        let of = |reason| judged(&status_from(&failure(reason, "x")));
        let unknown = of(FailureReason::UnknownOutcome).unwrap();
        assert!(unknown.unknown && given_up(&unknown, true).kind == Kind::Unknown);
        assert!(judged(&Status::unavailable("connection reset")).unwrap().unknown);
        let early = of(FailureReason::ChangeNotYet).unwrap();
        assert!(!early.unknown && given_up(&early, false).kind == Kind::Unreachable);
        assert_eq!(given_up(&early, true).kind, Kind::Unknown, "an earlier attempt may have been made");
        assert_eq!(given_up(&of(FailureReason::NotLeader).unwrap(), false).kind, Kind::Unreachable);
        assert_eq!(of(FailureReason::ChangeRefused).err().unwrap().reason, "CHANGE_REFUSED");
        assert!(judged(&status_from(&invalid("promote", "x"))).is_err());
    }
}
