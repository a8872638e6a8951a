//! Waiting until everything serves: a leader that committed an entry of its own, portals and broker that answer.

use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::bootstrap::{LeftOut, require_majority};
use super::control::Ended;
use super::founded;
use super::parts::{Kind, Part};
use super::supervisor::Supervisor;
use crate::config::load::Loaded;
use crate::config::shape::Config;
use crate::failure::Failure;
use crate::reach::nodes;

/// What a node names that cannot use its folder any more.
const REPLACE: &str = "member replace";
/// What the whole cluster gets to come up: recovery and an election.
pub const START_MAX: Duration = Duration::from_secs(90);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// A part that does not answer a question about itself within this does not serve.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// A part that is killed at its start more often is taken for one that cannot start.
const KILLED_AT_START_MAX: u32 = 3;

/// Waits until all parts serve but those that are left out. A node that ends instead is left out too, while a majority of
/// the voters is there without it.
///
/// # Errors
/// A part that is needed ended (with the end of its log), or patience is over (with what does not serve yet).
pub async fn all(
    supervisor: &mut Supervisor,
    left_out: &mut Vec<LeftOut>,
    patience: Duration,
) -> Result<(), Failure> {
    let deadline = Instant::now() + patience;
    loop {
        // First who answers, then who has ended: another program may answer at a dead part's address.
        let missing = missing(supervisor).await;
        let ended = supervisor.notice();
        for (part, how) in &ended {
            if !once_more(supervisor, part, *how)? {
                let child = supervisor.child(&part.name)?;
                let failure = ended_at_start(&part.name, &how.to_string(), &child.last_words(), child.log());
                do_without(supervisor, left_out, part, failure)?;
            }
        }
        supervisor.start_due();
        if !ended.is_empty() {
            continue;
        }
        if missing.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Failure::unreachable(format!(
                "not serving after {patience:?}: {}",
                missing.join(", ")
            ))
            .next(format!("their logs are in {}", supervisor.loaded.folder().join("log").display())));
        }
        sleep(LOOK).await;
    }
}

/// Has a part started again that was killed at its start. One that ended otherwise has said why, and would again.
fn once_more(supervisor: &mut Supervisor, part: &Part, how: ExitStatus) -> Result<bool, Failure> {
    let restarts = supervisor.restarts;
    let child = supervisor.child(&part.name)?;
    if how.code().is_some() || !restarts || child.again.ends() >= KILLED_AT_START_MAX {
        return Ok(false);
    }
    let pause = child.again.ended(std::time::Instant::now());
    let said = format!("{} ended by itself ({how}); it is started again in {} s", part.name, pause.as_secs());
    supervisor.voice.say(&said);
    Ok(true)
}

/// Goes on without a node that has ended, if the others can.
fn do_without(
    supervisor: &mut Supervisor,
    left_out: &mut Vec<LeftOut>,
    part: &Part,
    failure: Failure,
) -> Result<(), Failure> {
    let Kind::Node(id) = part.kind else { return Err(failure) };
    let Some(founded) = founded::read(&supervisor.loaded.folder())? else { return Err(failure) };
    let why = failure.message;
    // What cannot be used any more says so itself.
    let next = match replacement(id, &why) {
        Some(replace) => supervisor.loaded.command(&replace),
        None => format!("mend what it says, then {}", supervisor.loaded.command(&format!("node start {id}"))),
    };
    let one = LeftOut { id, why, next };
    left_out.push(one);
    require_majority(&founded, left_out)?;
    supervisor.leave_out([id].into_iter());
    Ok(())
}

/// What brings a part back that ended: a node that says that its folder cannot be used any more comes back with an empty one,
/// and starting it again would only end the same way.
#[must_use]
pub fn way_back(loaded: &Loaded, part: &Part, last_words: &str) -> String {
    let replace = match part.kind {
        Kind::Node(id) => replacement(id, last_words),
        _ => None,
    };
    match replace {
        Some(replace) => format!("bring it back: {}", loaded.command(&replace)),
        None => format!("start it again with feira node start {}", part.name),
    }
}

/// The command that a node has named for a replica that cannot be used any more.
fn replacement(id: u64, last_words: &str) -> Option<String> {
    let (_, rest) = last_words.rsplit_once(REPLACE)?;
    let mut after_id = rest.split_whitespace().skip(1);
    let shard = after_id.next().filter(|word| *word == "--shard").and_then(|_| after_id.next());
    let shard = shard.and_then(|shard| shard.parse::<u64>().ok());
    let of = shard.map_or_else(String::new, |shard| format!(" --shard {shard}"));
    Some(format!("{REPLACE} {id}{of}"))
}

/// Whether a part has said that its files cannot be used any more: it would say so again at every start.
#[must_use]
pub fn is_damaged(last_words: &str) -> bool {
    last_words.contains(REPLACE)
}

/// A part that ended instead of serving: what it said last is why.
#[must_use]
pub fn ended_at_start(part: &str, how: &str, words: &str, log: &Path) -> Failure {
    Failure::refused(format!("{part} ended at its start ({how}):\n{words}"))
        .next(format!("its whole log is {}", log.display()))
}

/// The parts that do not serve yet.
async fn missing(supervisor: &Supervisor) -> Vec<String> {
    let config = &supervisor.loaded.config;
    let mut missing = Vec::new();
    for child in supervisor.children.iter().filter(|child| !child.left_out) {
        if !serves(config, &child.part).await {
            missing.push(child.part.name.clone());
        }
    }
    if missing.is_empty() {
        let shards = config.store.shards();
        for shard in &shards {
            if !has_leader(&config.of_shard(*shard)).await {
                let whose = if shards.len() > 1 { format!("shard {shard}") } else { "the store".to_owned() };
                missing.push(format!("a leader of {whose}"));
            }
        }
    }
    missing
}

/// Whether a part answers.
pub async fn serves(config: &Config, part: &Part) -> bool {
    match part.kind {
        Kind::Broker => broker(&part.address).await,
        Kind::Node(id) => match nodes::node_of(config, id) {
            Ok(node) => nodes::serves(node).await,
            Err(_) => false,
        },
        Kind::AdminPortal(_) | Kind::ClientPortal(_) => nodes::portal_status(&part.address).await.is_ok(),
    }
}

/// Whether something listens where the broker is to be.
pub async fn broker(address: &str) -> bool {
    matches!(timeout(ANSWER_MAX, TcpStream::connect(address)).await, Ok(Ok(_)))
}

/// Waits until one part answers; `end` says whether it has ended meanwhile.
///
/// # Errors
/// It ended (with the end of its log), patience is over, or `end` fails.
pub async fn one(
    loaded: &Loaded,
    part: &Part,
    patience: Duration,
    mut end: impl AsyncFnMut() -> Result<Option<Ended>, Failure>,
) -> Result<(), Failure> {
    let deadline = Instant::now() + patience;
    let log = loaded.folder().join("log").join(format!("{}.log", part.name));
    while !serves(&loaded.config, part).await {
        if let Some(Ended { how, words }) = end().await? {
            return Err(ended_at_start(&part.name, &how, &words, &log));
        }
        if Instant::now() >= deadline {
            return Err(Failure::unreachable(format!("{} does not serve after {patience:?}", part.name))
                .next(format!("its log is {}", log.display())));
        }
        sleep(LOOK).await;
    }
    Ok(())
}

/// Whether some node of one group leads and has applied an entry of its own epoch: from then on it serves reads and writes.
pub async fn has_leader(config: &Config) -> bool {
    match nodes::leader(config).await {
        Some((_, status)) => status.applied.is_some_and(|applied| applied.epoch == status.epoch),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_a_node_names_is_the_one_that_is_told() {
        let said = "the others serve; bring that replica back empty: feira --config f.toml member replace 3";
        assert_eq!(replacement(3, said).unwrap(), "member replace 3");
        assert_eq!(
            replacement(3, &format!("{said} --shard 2\nended")).unwrap(),
            "member replace 3 --shard 2"
        );
        assert_eq!(replacement(3, &format!("{said}\nended")).unwrap(), "member replace 3");
        assert_eq!(
            replacement(3, &format!("{said} --shard SHARD")).unwrap(),
            "member replace 3",
            "a command"
        );
        assert_eq!(replacement(3, "no disk"), None);
    }
}
