//! The stage of the tour: a cluster of real processes, handles on its portals and its store, and a narrator.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use store_client::Store;
use tokio::time::{Instant, sleep};

use crate::args::Act;
use crate::config::shape::{Config, Node};
use crate::failure::Failure;
use crate::log::show::{Shown, Wanted, of_node};
use crate::reach::nodes;
use crate::reach::portals::Portals;
use crate::reach::whose::store;
use crate::show::answer::Answer;
use crate::show::out::Out;
use crate::up::ready;
use crate::up::supervisor::Supervisor;

/// How long a call of the tour may be retried: an election fits many times.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the tour waits for something that must come.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Everything an act needs.
pub struct Stage {
    /// The processes.
    pub supervisor: Supervisor,
    /// The administrators' portal.
    pub admin: Portals,
    /// The shoppers' portal.
    pub shop: Arc<Portals>,
    /// The store itself.
    pub store: Arc<dyn Store>,
    /// The screen.
    pub out: Out,
    /// Promises that held so far.
    pub held: u32,
}

impl Stage {
    /// Handles on a cluster that serves.
    ///
    /// # Errors
    /// The configuration cannot work.
    pub fn new(supervisor: Supervisor, out: &Out) -> Result<Stage, Failure> {
        let config = &supervisor.loaded.config;
        let listens = |all: &[crate::config::shape::Instance]| -> Vec<String> {
            all.iter().map(|one| one.listen.clone()).collect()
        };
        let cluster = config.whose();
        let admin = Portals::new("admin portal", &listens(&config.admin_portals), cluster, PATIENCE, None)?;
        let shop = Portals::new("client portal", &listens(&config.client_portals), cluster, PATIENCE, None)?;
        let store = store(config, PATIENCE)?;
        Ok(Stage {
            supervisor,
            admin,
            shop: Arc::new(shop),
            store: Arc::new(store),
            out: out.clone(),
            held: 0,
        })
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.supervisor.loaded.config
    }

    /// The title of an act.
    pub fn act(&self, title: &str) {
        self.out.tell("");
        self.out.tell(&self.out.paint(nu_ansi_term::Style::new().bold(), &format!("── {title}")));
    }

    /// The command that a person would type for what follows.
    pub fn command(&self, line: &str) {
        self.out.tell(&format!("$ feira {line}"));
    }

    /// Shows an answer.
    pub fn show(&self, answer: &Answer) {
        self.out.answer(answer);
    }

    /// A promise: the tour ends here if it does not hold.
    ///
    /// # Errors
    /// It does not hold.
    pub fn promise(&mut self, holds: bool, what: &str) -> Result<(), Failure> {
        if !holds {
            return Err(Failure::refused(format!("the tour ends: it does not hold that {what}")));
        }
        self.held += 1;
        self.out.tell(&format!("  ✓ {what}"));
        Ok(())
    }

    /// A promise that a call is refused for this reason.
    ///
    /// # Errors
    /// It was done, or refused for another reason.
    pub fn refused<T>(
        &mut self,
        answer: Result<T, Failure>,
        reason: &str,
        what: &str,
    ) -> Result<(), Failure> {
        match answer {
            Err(failure) if failure.reason == reason => {
                self.out.tell(&format!("  {}", self.out.told(&failure)));
                self.promise(true, what)
            }
            Err(failure) => Err(failure),
            Ok(_) => self.promise(false, what),
        }
    }

    /// The node that leads, once one does and has applied an entry of its own epoch.
    ///
    /// # Errors
    /// None does in time.
    pub async fn leader(&self) -> Result<(Node, u64), Failure> {
        self.leader_in(self.config()).await
    }

    async fn leader_in(&self, config: &Config) -> Result<(Node, u64), Failure> {
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            if let Some((replica, status)) = nodes::leader(config).await
                && status.applied.is_some_and(|applied| applied.epoch == status.epoch)
            {
                return Ok((replica.node.clone(), status.epoch));
            }
            if Instant::now() >= deadline {
                return Err(Failure::unreachable(format!("no leader after {WAIT_MAX:?}")));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Who leads each shard.
    ///
    /// # Errors
    /// Of one nobody does in time.
    pub async fn leaders(&self) -> Result<Vec<(Node, u64)>, Failure> {
        let mut leaders = Vec::new();
        for shard in self.config().store.shards() {
            leaders.push(self.leader_in(&self.config().of_shard(shard)).await?);
        }
        Ok(leaders)
    }

    /// Waits until every node that runs has applied what its leader has committed. Returns that offset, of the last shard.
    ///
    /// # Errors
    /// They do not in time.
    pub async fn settled(&self) -> Result<u64, Failure> {
        let mut last = 0;
        for shard in self.config().store.shards() {
            last = self.settled_in(&self.config().of_shard(shard)).await?;
        }
        Ok(last)
    }

    async fn settled_in(&self, config: &Config) -> Result<u64, Failure> {
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            let statuses = nodes::statuses(config).await;
            let all: Vec<(u64, u64)> = statuses
                .iter()
                .flatten()
                .map(|status| {
                    (status.last.unwrap_or_default().offset, status.applied.unwrap_or_default().offset)
                })
                .collect();
            if let Some((last, _)) = all.first()
                && all.len() == statuses.len()
                && all.iter().all(|(end, applied)| end == last && applied == last)
            {
                return Ok(*last);
            }
            if Instant::now() >= deadline {
                return Err(Failure::unreachable(format!("the replicas do not agree after {WAIT_MAX:?}")));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// A node's log from an offset on, as the node tells it.
    ///
    /// # Errors
    /// It cannot be reached.
    pub async fn log(&self, node: u64, from: u64) -> Result<Shown, Failure> {
        of_node(&self.supervisor.loaded, node, Wanted { from: Some(from), limit: 20 }).await
    }

    /// Breaks or mends a part, and waits until it serves if it was started.
    ///
    /// # Errors
    /// It cannot be done.
    pub async fn part(&mut self, name: &str, act: Act) -> Result<(), Failure> {
        let done = self.supervisor.act(name, act).await?;
        self.out.tell(&format!("  {done}"));
        if act == Act::Restart {
            let part = self.supervisor.child(name)?.part.clone();
            let loaded = self.supervisor.loaded.clone();
            let supervisor = &mut self.supervisor;
            let end = async || {
                let child = supervisor.child(name)?;
                child.notice();
                Ok(child.end())
            };
            ready::one(&loaded, &part, WAIT_MAX, end).await?;
        }
        Ok(())
    }

    /// The data under a key, read linearizably.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn read(&self, key: &str) -> Result<Option<Bytes>, Failure> {
        let key = Bytes::copy_from_slice(key.as_bytes());
        let got = self.store.get(key, proto::store::Freshness::linearizable()).await;
        let got = got.map_err(|error| crate::kv::send::failure_of(&error, None))?;
        Ok(got.record.map(|record| record.data))
    }
}
