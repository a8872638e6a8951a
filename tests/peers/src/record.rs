//! The record of a run: everything that was measured, as the one JSON file from which tables and plots are drawn.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::args::{Settings, Work};
use crate::machine::{Hardware, Machine};
use crate::stats::Latency;

/// The format of the file; one of another format is refused.
const FORMAT: u32 = 1;

/// A run.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Record {
    /// [`FORMAT`].
    pub format: u32,
    /// When it began, in seconds since 1970.
    pub began_unix: u64,
    /// On what.
    pub hardware: Hardware,
    /// How much load.
    pub settings: Settings,
    /// The systems, in the order of the command line.
    pub systems: Vec<About>,
    /// Every round, in the order in which they ran, also those that were repeated.
    pub rounds: Vec<Round>,
    /// What the kills came to.
    pub failovers: Vec<Failover>,
}

/// A system.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct About {
    /// Its name in tables.
    pub name: String,
    /// What it says of its version.
    pub version: String,
    /// How it is set up.
    pub setup: String,
}

/// A round of one system with so many clients.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Round {
    /// The system's name.
    pub system: String,
    /// What was done.
    pub work: Work,
    /// By how many clients.
    pub clients: u16,
    /// Its number, from 1.
    pub round: u32,
    /// The machine before it.
    pub machine: Machine,
    /// Cores that other programs used meanwhile.
    pub others_cores: f64,
    /// Others used too much, and it was run again: it is in no table.
    pub repeated: bool,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What came of a round.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Answers that came within the time that counts, a second.
    pub operations_per_second: f64,
    /// How many they are.
    pub answered: u64,
    /// Of operations that began within it; `None`: none succeeded.
    pub latency_us: Option<Latency>,
    /// Failures by reason.
    pub errors: BTreeMap<String, u64>,
    /// Processor time of all servers; `None`: unknown.
    pub cpu_seconds: Option<f64>,
    /// Transactions that were tried again because another was first; `None`: the system does that by itself.
    pub retries: Option<u64>,
}

impl Outcome {
    /// Processor seconds for 10,000 operations.
    #[must_use]
    pub fn cpu_of_10000(&self) -> Option<f64> {
        (self.answered > 0).then_some(self.cpu_seconds? * 10_000.0 / self.answered as f64)
    }
}

/// Kills of one system's leader.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Failover {
    /// The system's name.
    pub system: String,
    /// The longest time without an acknowledged write around each kill, in milliseconds.
    pub gaps_ms: Vec<f64>,
}

impl Record {
    /// A run that begins.
    #[must_use]
    pub fn new(settings: Settings, hardware: Hardware) -> Record {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Record {
            format: FORMAT,
            began_unix: now.map_or(0, |since| since.as_secs()),
            hardware,
            settings,
            ..Record::default()
        }
    }

    /// Writes it; what was there before is replaced whole.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, file: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self).context("the record is no JSON")?;
        let half = file.with_extension("part");
        let written = std::fs::write(&half, text + "\n").and_then(|()| std::fs::rename(&half, file));
        written.with_context(|| format!("cannot write {}", file.display()))
    }

    /// Reads one.
    ///
    /// # Errors
    /// The file cannot be read, or is no record of this format.
    pub fn read(file: &Path) -> anyhow::Result<Record> {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let read = serde_json::from_str::<Record>(&text);
        let record = read.with_context(|| format!("{} was not written by --out", file.display()))?;
        if record.format != FORMAT {
            bail!(
                "{} has format {}, this program reads {FORMAT}: draw it with the version that wrote it",
                file.display(),
                record.format
            );
        }
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("run.json");
        let mut record =
            Record::new(Settings { clients: vec![1, 64], ..Settings::default() }, Hardware::default());
        let outcome = Outcome { answered: 20_000, cpu_seconds: Some(3.0), ..Outcome::default() };
        assert_eq!((outcome.cpu_of_10000(), Outcome::default().cpu_of_10000()), (Some(1.5), None));
        record.rounds.push(Round {
            system: "etcd".to_owned(),
            work: Work::OrderHot,
            clients: 64,
            round: 1,
            machine: Machine::default(),
            others_cores: 0.25,
            repeated: true,
            outcome,
        });
        record.failovers.push(Failover { system: "etcd".to_owned(), gaps_ms: vec![1_500.5] });
        record.write(&file).unwrap();
        assert_eq!(Record::read(&file).unwrap(), record);
        record.format = 9;
        record.write(&file).unwrap();
        assert!(Record::read(&file).expect_err("of another format").to_string().contains("format 9"));
        std::fs::write(&file, "{}").unwrap();
        assert!(Record::read(&file).expect_err("no record").to_string().contains("not written by --out"));
    }
}
