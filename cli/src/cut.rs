//! One consistent view of all shards, at one moment while orders go on: asked for from the shards' leaders, and tried again while
//! something is in its way (docs/PROTOCOL.md, 11).
//!
//! Promises: [`take`] returns a cut that is one, or says why there is none; in both cases every shard goes on. If this process ends on
//! the way, every shard goes on by itself a moment later. A shard is told to go on when its freeze is answered, so that none
//! comes after that. What no other attempt cures is not tried again: each of them has the shop stand still. Leaves out: what is decided ([`store_core::cut`]), and what is read at
//! the cut.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use proto::store::{CutRequest, FreezeRequest, Position, StatusResponse, ThawRequest};
use store_client::failure::NOT_DRAINED;
use store_client::operator::Operator;
use store_core::cut::{Round, RoundInput, RoundOutput};
use tokio::time::{Instant, sleep, timeout};

use crate::config::load::Loaded;
use crate::config::shape::Replica;
use crate::failure::Failure;
use crate::reach::nodes;

/// Attempts, and how long they may take together: an election, and a freeze of somebody else who is gone, must have room.
const ATTEMPTS_MAX: u32 = 40;
const ATTEMPTS_FOR: Duration = Duration::from_secs(20);
/// A leader that does not answer within this is gone.
const CALL_MAX: Duration = Duration::from_secs(3);
/// And when the views are there, nobody is waited for longer than this.
const THAW_MAX: Duration = Duration::from_millis(500);
/// Between two attempts, at most and at least half of it.
const PAUSE_MS: u64 = 400;
/// What no other attempt would be answered otherwise.
const FINAL: [&str; 4] = ["INVALID", "UNPROVEN", "WRONG_CLUSTER", "UPGRADING"];
/// And of a program that knows no cuts.
const UNKNOWN: &str = "UNIMPLEMENTED";
/// Attempts in a row, for which a shard cannot be brought to stand still: what is prepared in it waits for something that is gone.
const LATE_MAX: u32 = 3;

/// One view of all shards.
pub struct Taken {
    /// By which the shards' replicas know it.
    pub id: Bytes,
    /// The shards, by number.
    pub shards: Vec<Shard>,
}

/// One shard at the cut.
pub struct Shard {
    /// Its number, which is its group's.
    pub number: u64,
    /// The configuration with its nodes only, those that joined among them.
    pub loaded: Loaded,
    /// What each node said of itself before.
    pub statuses: Vec<Result<StatusResponse, Failure>>,
    /// The entry at which its replicas have the view.
    pub position: Position,
}

/// Takes a cut. `prefixes` are what an auditor will ask for.
///
/// # Errors
/// Nobody leads a shard, or something was in the way for as long as is waited.
pub async fn take(loaded: &Loaded, prefixes: &[&'static [u8]]) -> Result<Taken, Failure> {
    let mut shards: Vec<Shard> = Vec::new();
    for number in loaded.config.store.shards() {
        let (config, statuses) = nodes::of_group(&loaded.config.of_shard(number)).await;
        let loaded = Loaded { config, ..loaded.clone() };
        shards.push(Shard { number, loaded, statuses, position: Position::default() });
    }
    let prefixes: Vec<Bytes> = prefixes.iter().map(|prefix| Bytes::from_static(prefix)).collect();
    let mut patience = Patience { until: Instant::now() + ATTEMPTS_FOR, tries: 0, late: 0 };
    loop {
        let id = Bytes::copy_from_slice(&fastrand::u128(..).to_be_bytes());
        match attempt(&shards, &id, &prefixes).await {
            Ok(positions) => {
                for (shard, position) in shards.iter_mut().zip(positions) {
                    shard.position = position;
                }
                return Ok(Taken { id, shards });
            }
            Err(failure) => {
                if let Some(next) = patience.ends(&failure, Instant::now()) {
                    let (tries, why) = (patience.tries, failure.message.clone());
                    let message =
                        format!("no view of all shards at one moment could be taken, {tries} times: {why}");
                    return Err(failure.retold(message).next(next));
                }
            }
        }
        sleep(Duration::from_millis(fastrand::u64(PAUSE_MS / 2..=PAUSE_MS))).await;
    }
}

/// How long attempts are made.
struct Patience {
    until: Instant,
    /// Attempts that failed.
    tries: u32,
    /// The last of them, in a row, for which a shard could not be brought to stand still.
    late: u32,
}

impl Patience {
    /// What a person can do, if no other attempt is worth it after one that failed like this.
    fn ends(&mut self, failure: &Failure, now: Instant) -> Option<&'static str> {
        self.tries += 1;
        let is_late =
            failure.reason == "FROZEN" && failure.fields().iter().any(|(field, _)| field == NOT_DRAINED);
        self.late = if is_late { self.late + 1 } else { 0 };
        if FINAL.contains(&failure.reason.as_str()) || failure.code() == UNKNOWN {
            return Some(
                "another attempt would be answered the same; feira status says which program each node runs",
            );
        }
        if self.late >= LATE_MAX {
            return Some(
                "a transaction over several shards waits for one that cannot end it: see feira status for a shard without a \
                 majority, bring its nodes back, and try again",
            );
        }
        let is_over = self.tries >= ATTEMPTS_MAX || now >= self.until;
        is_over.then_some("the shop goes on; see feira status, and try again")
    }
}

/// What became of one call.
enum Told {
    Heard(RoundInput<Position>),
    Failed(usize, Failure),
    /// A thaw: if it is lost, the leader thaws by itself.
    Nothing,
}

async fn attempt(shards: &[Shard], id: &Bytes, prefixes: &[Bytes]) -> Result<Vec<Position>, Failure> {
    let leaders = shards.iter().map(|shard| async {
        let leading = nodes::leading(&shard.loaded.config, nodes::statuses(&shard.loaded.config).await);
        leading.map(|(leader, _)| leader).map_err(|failure| of_shard(shard, failure))
    });
    let leaders: Vec<Replica<'_>> =
        futures::future::join_all(leaders).await.into_iter().collect::<Result<_, _>>()?;
    // One connection each, for all of its calls: the shop stands still meanwhile.
    let operators =
        shards.iter().zip(&leaders).map(|(shard, leader)| nodes::operator(&shard.loaded, leader.node));
    let operators: Vec<Operator> = operators.collect::<Result<_, _>>()?;
    let (mut round, begun) = Round::begin(shards.len());
    let mut calls: FuturesUnordered<BoxFuture<'_, Told>> = FuturesUnordered::new();
    let (mut is_taken, mut why) = (false, None);
    let mut wanted = begun;
    loop {
        for output in wanted {
            match output {
                RoundOutput::Taken => is_taken = true,
                RoundOutput::Void => {}
                RoundOutput::Freeze(at) | RoundOutput::Cut(at, _) | RoundOutput::Thaw(at) => {
                    let operator = operators[at].clone();
                    calls.push(Box::pin(call(operator, leaders[at], output, id.clone(), prefixes)));
                }
            }
        }
        if is_taken {
            // The views are not kept for long: whoever does not answer thaws by itself.
            let _ = timeout(THAW_MAX, async { while calls.next().await.is_some() {} }).await;
            return Ok(round.positions());
        }
        let Some(told) = calls.next().await else { break };
        wanted = match told {
            Told::Heard(input) => round.step(input),
            Told::Failed(at, failure) => {
                why.get_or_insert(of_shard(&shards[at], failure));
                round.step(RoundInput::Refused(at))
            }
            Told::Nothing => Vec::new(),
        };
    }
    Err(why.unwrap_or_else(|| Failure::unreachable("a shard stood still, went on, and stood still again")))
}

fn of_shard(shard: &Shard, failure: Failure) -> Failure {
    let number = shard.number;
    failure.of(format!("shard {number}"))
}

/// One call to the leader of a shard.
async fn call(
    mut operator: Operator,
    leader: Replica<'_>,
    wanted: RoundOutput,
    id: Bytes,
    prefixes: &[Bytes],
) -> Told {
    let asked = async {
        let route = nodes::route(leader);
        let refused = |status: tonic::Status| Failure::of_status(&status);
        Ok(match wanted {
            RoundOutput::Freeze(at) => {
                let answer = operator.freeze(FreezeRequest { route, id }).await.map_err(refused)?;
                Told::Heard(RoundInput::Drained(at, answer.into_inner().offset))
            }
            RoundOutput::Cut(at, frozen_at) => {
                let prefixes = prefixes.to_vec();
                let request = CutRequest { route, id, frozen_at, prefixes };
                let answer = operator.cut(request).await.map_err(refused)?;
                Told::Heard(RoundInput::Taken(at, answer.into_inner().position.unwrap_or_default()))
            }
            RoundOutput::Thaw(_) => {
                operator.thaw(ThawRequest { route, id }).await.map_err(refused)?;
                Told::Nothing
            }
            RoundOutput::Taken | RoundOutput::Void => Told::Nothing,
        })
    };
    let told = timeout(CALL_MAX, asked).await.unwrap_or_else(|_| {
        Err(Failure::unreachable(format!("node {} did not answer within {CALL_MAX:?}", leader.node.id)))
    });
    match (told, wanted) {
        (Ok(told), _) => told,
        (Err(failure), RoundOutput::Freeze(at) | RoundOutput::Cut(at, _)) => Told::Failed(at, failure),
        (Err(_), _) => Told::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use proto::store::{Failure as Refused, FailureReason};
    use store_client::failure::{failure, status_from};

    use super::*;

    fn fresh() -> Patience {
        Patience { until: Instant::now() + ATTEMPTS_FOR, tries: 0, late: 0 }
    }

    fn of(reason: FailureReason, field: &str) -> Failure {
        Failure::of_status(&status_from(&Refused { field: field.to_owned(), ..failure(reason, "no") }))
    }

    #[test]
    fn what_no_other_attempt_cures_is_not_tried_again() {
        let upgrading = of(FailureReason::Upgrading, "");
        assert!(fresh().ends(&upgrading, Instant::now()).is_some());
        let unknown = Failure::of_status(&tonic::Status::unimplemented(""));
        assert!(fresh().ends(&of_shard_1(unknown), Instant::now()).is_some());
        let mut patience = fresh();
        let passes = of(FailureReason::NotLeader, "");
        for tries in 1..ATTEMPTS_MAX {
            assert_eq!(patience.ends(&passes, Instant::now()), None, "{tries}");
        }
        assert!(patience.ends(&passes, Instant::now()).is_some(), "forty are enough");
        let mut patience = fresh();
        assert!(patience.ends(&passes, Instant::now() + ATTEMPTS_FOR).is_some(), "and so is the time");
    }

    #[test]
    fn a_shard_that_cannot_stand_still_three_times_in_a_row_is_given_up() {
        let (late, busy) = (of(FailureReason::Frozen, NOT_DRAINED), of(FailureReason::Frozen, ""));
        let mut patience = fresh();
        for failure in [&late, &late, &busy, &late, &late] {
            assert_eq!(patience.ends(failure, Instant::now()), None);
        }
        assert!(patience.ends(&of_shard_1(late), Instant::now()).unwrap().contains("without a majority"));
    }

    fn of_shard_1(failure: Failure) -> Failure {
        failure.of("shard 1")
    }
}
