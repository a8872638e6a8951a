//! The command line, its bounds, and the plan that comes of it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use serde::{Deserialize, Serialize};

/// feira beside etcd, PostgreSQL and Redis: the same work, in turns, on this machine. docs/BENCHMARKS.md says how to read it.
#[derive(Parser, Debug)]
#[command(name = "bench-peers", args_conflicts_with_subcommands = true, max_term_width = 100)]
pub struct Cli {
    /// Without one: measure.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The measurement.
    #[command(flatten)]
    pub run: Run,
}

/// What is done instead of a measurement.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Draw tables and plots from the file of an earlier run, without running anything
    Show {
        /// The file that --out wrote
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Where the results go.
        #[command(flatten)]
        drawn: Drawn,
    },
}

/// Where the results go, beside the table on standard output.
#[derive(Args, Debug, Clone, Default)]
pub struct Drawn {
    /// Write the tables as Markdown into this file
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
    /// Draw plots into this folder; without a value docs/plots
    #[arg(long, value_name = "FOLDER", num_args = 0..=1, require_equals = true, default_missing_value = "docs/plots")]
    pub plots: Option<PathBuf>,
}

/// One kind of work.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// One of 10,000 records of 256 bytes is replaced
    Put,
    /// One of them is read, linearizably
    Get,
    /// An order of one product of 1,000, as a transaction
    Order,
    /// The same, and all want one product
    OrderHot,
    /// A new record by a unary call to the leader; of feira alone
    UnaryPut,
    /// An order through the portals; of feira alone
    PortalOrder,
    /// The leader is killed under a light writer; of feira and etcd
    Failover,
}

impl Work {
    /// Its word on the command line, in tables and in names of files.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Work::Put => "put",
            Work::Get => "get",
            Work::Order => "order",
            Work::OrderHot => "order-hot",
            Work::UnaryPut => "unary-put",
            Work::PortalOrder => "portal-order",
            Work::Failover => "failover",
        }
    }

    /// Whether it is orders.
    #[must_use]
    pub fn is_order(self) -> bool {
        matches!(self, Work::Order | Work::OrderHot)
    }
}

/// A kind of system.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Kind {
    /// feira as this repository builds it
    Feira,
    /// etcd, three members
    Etcd,
    /// PostgreSQL, a primary and two standbys, orders in five statements
    Postgres,
    /// The same, orders in one statement; of the orders alone
    PostgresCte,
    /// Redis, a primary and two replicas
    Redis,
}

/// Another build of feira, for `--also`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Also {
    /// Its name in tables.
    pub name: String,
    /// The program.
    pub program: PathBuf,
}

/// The measurement.
#[derive(Args, Debug, Clone)]
pub struct Run {
    /// The program feira; cargo xtask bench-peers gives it
    #[arg(long, value_name = "FILE")]
    pub feira: Option<PathBuf>,
    /// Another build of feira, measured as one more system (may be given more than once)
    #[arg(long, value_name = "NAME=FILE", value_parser = also)]
    pub also: Vec<Also>,
    /// The systems
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "SYSTEM,…",
        default_value = "feira,etcd,postgres,postgres-cte,redis"
    )]
    pub systems: Vec<Kind>,
    /// The kinds of work
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "WORK,…",
        default_value = "put,get,order,order-hot,unary-put,portal-order,failover"
    )]
    pub works: Vec<Work>,
    /// Clients, each with one operation under way, 1 to 256
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,16,64,256",
          value_parser = value_parser!(u16).range(1..=256))]
    pub clients: Vec<u16>,
    /// Rounds of each, 1 to 100
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Seconds of a round that count, 1 to 600
    #[arg(long, value_name = "SECONDS", default_value_t = 4, value_parser = value_parser!(u64).range(1..=600))]
    pub seconds: u64,
    /// Seconds of load before each round that do not count, 0 to 60
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = value_parser!(u64).range(0..=60))]
    pub warm_up: u64,
    /// Kills of the leader for failover, 1 to 100
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = value_parser!(u32).range(1..=100))]
    pub kills: u32,
    /// Cores that other programs may use in a round; beyond it the round is repeated
    #[arg(long, value_name = "CORES", default_value_t = 0.2)]
    pub disturbed: f64,
    /// How often a disturbed round is repeated at most, 0 to 10; after that it counts, and is told of
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = value_parser!(u32).range(0..=10))]
    pub repeats: u32,
    /// Where the servers' folders are made, on a disk; without it the system's folder for temporary files
    #[arg(long, value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
    /// Write all rounds into this file, as JSON; after each of them, so that a run that breaks off is not lost
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Where the results go.
    #[command(flatten)]
    pub drawn: Drawn,
}

fn also(word: &str) -> Result<Also, String> {
    match word.split_once('=') {
        Some((name, program)) if !name.is_empty() && !program.is_empty() => {
            Ok(Also { name: name.to_owned(), program: PathBuf::from(program) })
        }
        _ => Err("it must be NAME=FILE, such as before=/tmp/feira".to_owned()),
    }
}

/// How much load, and for how long.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Settings {
    /// Numbers of clients.
    pub clients: Vec<u16>,
    /// Rounds of each.
    pub rounds: u32,
    /// Seconds of a round that count.
    pub seconds: u64,
    /// Seconds before it that do not.
    pub warm_up: u64,
    /// Kills of the leader.
    pub kills: u32,
    /// Cores that others may use.
    pub disturbed: f64,
    /// How often a disturbed round is repeated.
    pub repeats: u32,
}

impl Settings {
    /// Of a command line.
    ///
    /// # Errors
    /// A number, a system or a kind of work is named twice, two systems have one name, or the bound on others is no number of cores.
    pub fn of(run: &Run) -> anyhow::Result<Settings> {
        named_once("--clients", &run.clients)?;
        named_once("--works", &run.works.iter().map(|work| work.word()).collect::<Vec<_>>())?;
        named_once("--systems", &run.systems.iter().map(|kind| kind.word()).collect::<Vec<_>>())?;
        let own = [Kind::Feira, Kind::Etcd, Kind::Postgres, Kind::PostgresCte, Kind::Redis].map(Kind::word);
        let also = run.also.iter().map(|also| also.name.as_str());
        named_once("--also", &own.into_iter().chain(also).collect::<Vec<_>>())?;
        if !(run.disturbed >= 0.0 && run.disturbed.is_finite()) {
            bail!("--disturbed {}: it is a number of cores, such as 0.2", run.disturbed);
        }
        Ok(Settings {
            clients: run.clients.clone(),
            rounds: run.rounds,
            seconds: run.seconds,
            warm_up: run.warm_up,
            kills: run.kills,
            disturbed: run.disturbed,
            repeats: run.repeats,
        })
    }

    /// The part of a round that counts.
    #[must_use]
    pub fn span(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// The part before it.
    #[must_use]
    pub fn before(&self) -> Duration {
        Duration::from_secs(self.warm_up)
    }

    /// The highest number of clients.
    #[must_use]
    pub fn clients_max(&self) -> usize {
        self.clients.iter().copied().max().map_or(1, usize::from)
    }
}

impl Kind {
    /// Its word on the command line and in tables.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Kind::Feira => "feira",
            Kind::Etcd => "etcd",
            Kind::Postgres => "postgres",
            Kind::PostgresCte => "postgres-cte",
            Kind::Redis => "redis",
        }
    }
}

fn named_once<T: PartialEq + std::fmt::Display>(flag: &str, all: &[T]) -> anyhow::Result<()> {
    for (at, one) in all.iter().enumerate() {
        if all[..at].contains(one) {
            bail!("{flag} names {one} twice, or it is the name of another system");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(format!("bench-peers {line}").split_whitespace())
    }

    fn refused(line: &str) -> String {
        Settings::of(&parsed(line).expect(line).run).expect_err(line).to_string()
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let cli = parsed("").unwrap();
        let settings = Settings::of(&cli.run).unwrap();
        assert_eq!(settings.clients, [1, 16, 64, 256]);
        assert_eq!((settings.rounds, settings.seconds, settings.warm_up, settings.kills), (5, 4, 1, 10));
        assert_eq!((cli.run.systems.len(), cli.run.works.len(), settings.clients_max()), (5, 7, 256));
        assert!(cli.command.is_none() && cli.run.drawn.plots.is_none());
    }

    #[test]
    fn every_number_has_bounds_and_the_refusal_names_the_flag() {
        for bad in [
            "--clients 0",
            "--clients 257",
            "--rounds 0",
            "--seconds 0",
            "--warm-up 61",
            "--kills 0",
            "--repeats 11",
        ] {
            let error = parsed(bad).expect_err(bad).to_string();
            assert!(error.contains(bad.split(' ').next().unwrap()), "{error}");
        }
        for bad in ["--works push", "--systems mysql", "--also before", "--also =x"] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
        assert!(refused("--clients 4,4").contains("names 4 twice"));
        assert!(refused("--works put,put").contains("names put twice"));
        assert!(refused("--also redis=/x").contains("names redis twice"));
        assert!(refused("--disturbed NaN").contains("number of cores"));
    }

    #[test]
    fn an_earlier_run_is_drawn_without_running() {
        let Some(Command::Show { file, drawn }) =
            parsed("show a.json --plots --markdown b.md").unwrap().command
        else {
            panic!("it is show");
        };
        assert_eq!((file, drawn.plots), (PathBuf::from("a.json"), Some(PathBuf::from("docs/plots"))));
        assert_eq!(drawn.markdown, Some(PathBuf::from("b.md")));
        assert!(parsed("--rounds 2 show a.json").is_err(), "flags of a run say nothing about an earlier one");
    }

    #[test]
    fn words_are_those_of_the_command_line() {
        for work in Work::value_variants() {
            assert_eq!(work.to_possible_value().unwrap().get_name(), work.word());
            assert_eq!(serde_json::to_value(work).unwrap(), work.word());
        }
        for kind in Kind::value_variants() {
            assert_eq!(kind.to_possible_value().unwrap().get_name(), kind.word());
        }
    }
}
