//! The run: rounds of all systems in turns, each system started anew in an empty folder for each work of each round.
//!
//! ```text
//!   round 1   put    feira · etcd · postgres · redis        start, records, 1 client, 16, 64, 256, check, end
//!             get    feira · etcd · …
//!   round 2   put    etcd · postgres · redis · feira        the first of a round is another one in each
//! ```
//!
//! Promises: while one system is measured no other runs, so that none takes processor time or has to recover from having been
//! stopped; all see the machine of the same minutes. A round in which other programs used too much of the machine is run again.
//! The stock is checked after each work with orders, and what is wrong ends the run as failed.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use tempfile::TempDir;

use crate::args::{Run, Settings, Work};
use crate::cpu::{Snapshot, TICKS_A_SECOND};
use crate::failover;
use crate::folder;
use crate::load::peer::Load;
use crate::machine::{Hardware, Machine};
use crate::measure::measure;
use crate::record::{Failover, Outcome, Record, Round};
use crate::system::all::{Running, System};
use crate::table;

/// A run under way.
struct Bench<'a> {
    settings: Settings,
    systems: Vec<System>,
    /// All servers' folders are in it.
    folder: TempDir,
    out: Option<&'a Path>,
    record: Record,
}

/// Measures what a command line asks for; the record of it.
///
/// # Errors
/// A program is missing, a system does not come up, nothing is done in a round, a stock is wrong, or a file cannot be written.
pub async fn run(run: &Run) -> anyhow::Result<Record> {
    let settings = Settings::of(run)?;
    let below = run.folder.clone().unwrap_or_else(std::env::temp_dir);
    let folder = folder::made(&below)?;
    let systems = System::all(run)?;
    let mut record = Record::new(settings.clone(), Hardware::of(below.display().to_string()));
    for system in &systems {
        let about = system.about()?;
        eprintln!("{}: {}; {}", about.name, about.version, about.setup);
        record.systems.push(about);
    }
    let mut bench = Bench { settings, systems, folder, out: run.out.as_deref(), record };
    bench.write()?;
    for round in 1..=bench.settings.rounds {
        for work in run.works.iter().filter(|work| **work != Work::Failover) {
            for system in turns(bench.systems.len(), round) {
                if bench.systems[system].does(*work) {
                    bench.turn(&bench.systems[system].clone(), *work, round).await?;
                }
            }
        }
    }
    if run.works.contains(&Work::Failover) {
        for system in bench.systems.clone() {
            if system.does(Work::Failover) {
                bench.failover(&system).await?;
            }
        }
    }
    Ok(bench.record)
}

/// The order of so many systems in a round, from 1.
fn turns(systems: usize, round: u32) -> impl Iterator<Item = usize> {
    let first = usize::try_from(round - 1).unwrap_or(0);
    (0..systems).map(move |at| (first + at) % systems)
}

impl Bench<'_> {
    fn write(&self) -> anyhow::Result<()> {
        self.out.map_or(Ok(()), |file| self.record.write(file))
    }

    /// One work of one system: all numbers of clients.
    async fn turn(&mut self, system: &System, work: Work, round: u32) -> anyhow::Result<()> {
        let name = system.name();
        let begun = || format!("{name}, {}", work.word());
        let folder = folder::below(self.folder.path(), &format!("{round}-{}-{name}", work.word()))?;
        let running = system.start(&folder).await.with_context(begun)?;
        let load = Load::prepared(&running, work, self.settings.clients_max()).await.with_context(begun)?;
        let load = load.map(Arc::new);
        for clients in self.settings.clients.clone() {
            for attempt in 0..=self.settings.repeats {
                let machine = Machine::measured(&folder)?;
                let before = (Snapshot::taken()?, Instant::now());
                let outcome =
                    self.measured(&running, load.as_ref(), work, clients).await.with_context(begun)?;
                let others_cores = others(&before)?;
                let repeated = others_cores > self.settings.disturbed && attempt < self.settings.repeats;
                let system = name.to_owned();
                self.note(Round { system, work, clients, round, machine, others_cores, repeated, outcome })?;
                if !repeated {
                    break;
                }
            }
        }
        if let Some(load) = &load {
            load.check_stock().await.with_context(begun)?;
        }
        drop((load, running));
        remove(&folder)
    }

    /// One round of so many clients.
    async fn measured(
        &self,
        running: &Running,
        load: Option<&Arc<Load>>,
        work: Work,
        clients: u16,
    ) -> anyhow::Result<Outcome> {
        match (running, load) {
            (Running::Feira(feira), _) => {
                let outcome = feira.measure(work, clients, &self.settings).await?;
                feira.check(work, &outcome).await?;
                Ok(outcome)
            }
            (_, Some(load)) => measure(load, clients, &self.settings, &running.roots()).await,
            (_, None) => bail!("it has no load"),
        }
    }

    /// Keeps a round, and tells it in a line.
    fn note(&mut self, round: Round) -> anyhow::Result<()> {
        eprintln!("{}", table::line(&round, self.settings.rounds));
        let Outcome { answered, errors, .. } = &round.outcome;
        let nothing = (*answered == 0)
            .then(|| format!("{}, {}: nothing was done: {errors:?}", round.system, round.work.word()));
        self.record.rounds.push(round);
        self.write()?;
        nothing.map_or(Ok(()), |why| Err(anyhow::Error::msg(why)))
    }

    async fn failover(&mut self, system: &System) -> anyhow::Result<()> {
        let name = system.name().to_owned();
        let folder = folder::below(self.folder.path(), &format!("failover-{name}"))?;
        let running = system.start(&folder).await.with_context(|| name.clone())?;
        let kills = self.settings.kills;
        let gaps_ms =
            failover::kills(running, &name, kills).await.with_context(|| format!("{name}, failover"))?;
        self.record.failovers.push(Failover { system: name, gaps_ms });
        self.write()?;
        remove(&folder)
    }
}

/// Cores that programs other than this one and its children used since then.
fn others((before, when): &(Snapshot, Instant)) -> anyhow::Result<f64> {
    let ticks = Snapshot::taken()?.others_since(before, std::process::id());
    Ok(ticks as f64 / TICKS_A_SECOND / when.elapsed().as_secs_f64())
}

fn remove(folder: &Path) -> anyhow::Result<()> {
    std::fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_system_begins_a_round_in_its_turn() {
        let orders: Vec<Vec<usize>> = (1..=4).map(|round| turns(3, round).collect()).collect();
        assert_eq!(orders, [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]);
    }
}
