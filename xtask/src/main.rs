//! Chores for people and CI: `cargo xtask <chore>`. `cargo xtask test` is what CI runs, all of it.
//!
//! Promises: each step says what it runs before it runs it; the first that fails ends the run with exit code 1;
//! every chore works from any folder of the repository with nothing but Rust and a C compiler installed.
//!
//! Leaves out: anything that the tests themselves should do. Of feira this crate depends on the linearizability
//! checker alone, which depends on nothing of feira, so that it is built in seconds and works while the rest does not
//! compile.
#![allow(clippy::print_stdout, clippy::print_stderr)] // It talks to people.

mod baseline;
mod bench_guard;
mod callgrind;
mod chaos;
mod command;
mod lincheck;
mod mosquitto;
mod mutations;
mod package;
mod peers;
mod steps;
mod strangers;

// The rules of the house belong to the tests, which run them on every `cargo test`; here they run without building
// the workspace. The file is a module of both crates, since neither may depend on the other (one layer).
#[allow(unreachable_pub)]
#[path = "../../tests/src/tidy/mod.rs"]
mod tidy;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};

use crate::chaos::Runner;
use crate::command::{cargo, root, run};
use crate::steps::{Selection, Step};
use crate::strangers::What;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Chores for people and CI", version)]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Everything that must pass: setup, fmt, clippy, build, features, test, mutations, doc, strangers, in this order
    Test {
        /// Run only this step (may be given more than once)
        #[arg(long, value_enum, value_name = "STEP")]
        only: Vec<Step>,
        /// Leave this step out (may be given more than once)
        #[arg(long, value_enum, value_name = "STEP")]
        skip: Vec<Step>,
    },
    /// Formats the whole workspace
    Fmt,
    /// Writes the schemas of proto/feira anew as Rust, into proto/generated
    Protos,
    /// Checks dependencies against deny.toml (needs cargo-deny)
    Deny,
    /// Checks the rules of the house without building the workspace
    Tidy,
    /// Lists all Rust files, each with what it says of itself
    Map {
        /// Write the folders into the code map of docs/ARCHITECTURE.md: what is said stays, a new one is left to say
        #[arg(long)]
        write: bool,
    },
    /// Checks whether histories are linearizable: 0 all are, 1 some are not, 2 some cannot be judged
    Lincheck(lincheck::Lincheck),
    /// Runs seeds of the simulation, in release (--seeds N, --from SEED, --jobs J; --help says more)
    #[command(disable_help_flag = true)]
    Simulate {
        /// What the simulator is told
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
        arguments: Vec<OsString>,
    },
    /// Plants deliberate bugs of the store, and hunts each with the simulations until a promise is broken
    Mutations(mutations::Mutations),
    /// Counts the instructions of hot paths: 0 none grew by a tenth, 1 some did, 2 nothing could be compared
    BenchGuard(bench_guard::BenchGuard),
    /// `feira up`, kill -9 of anything, and again: never refused
    Kills {
        /// How often
        #[arg(long, default_value_t = 100)]
        rounds: u32,
        /// The seed of another run, to play it once more
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Generated inputs at every door (gRPC, MQTT, configuration, CSV, REPL lines, files), each for so long
    Inputs {
        /// Seconds for each door
        #[arg(long, default_value_t = 60, value_name = "N")]
        seconds: u64,
        /// The seed that a failed run printed; without it each door draws one
        #[arg(long, value_name = "SEED")]
        seed: Option<u64>,
        /// Only doors whose test's name has this in it
        #[arg(value_name = "DOOR")]
        door: Option<String>,
    },
    /// Real nodes with real files under many clients and faults: kills, pauses, partitions, full disks
    #[command(disable_help_flag = true)]
    Chaos {
        /// --seconds N --history FILE [--seed S] [--faults LIST] [--nodes 3|4] and what --help says
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Clients of other people's making, in Python, that know the schemas and the pages only; with each broker (needs PyPI)
    Strangers {
        /// The program; without it feira is built
        #[arg(long, value_name = "PATH")]
        feira: Option<PathBuf>,
    },
    /// Both portals, judged by the descriptions that they serve (needs PyPI)
    Schemathesis {
        /// Requests of each operation, at most
        #[arg(long, default_value_t = 100, value_name = "N")]
        examples: u32,
        /// The same requests again
        #[arg(long, default_value_t = 1, value_name = "SEED")]
        seed: u64,
        /// The program; without it feira is built
        #[arg(long, value_name = "PATH")]
        feira: Option<PathBuf>,
    },
    /// A real mosquitto that is killed, stopped, cut off and beset, under a load on five portals that is judged from outside
    #[command(disable_help_flag = true)]
    BrokerFaults {
        /// --seconds N [--seed S] and what --help says
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// feira beside etcd, PostgreSQL and Redis, in turns, on this machine (docs/BENCHMARKS.md)
    #[command(disable_help_flag = true)]
    BenchPeers {
        /// The profile that feira is built with; it comes before all other arguments
        #[arg(long, default_value = "release", value_name = "PROFILE")]
        profile: String,
        /// What the bench is told (--rounds N, --clients N,…, --systems LIST, show FILE; --help says more)
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
        arguments: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().chore {
        Chore::Test { only, skip } => steps::run_all(&Selection { only, skip }),
        Chore::Fmt => run(cargo().args(["fmt", "--all"])),
        Chore::Protos => run(cargo().args(["run", "--locked", "--package", "proto-generate"])),
        Chore::Deny => deny(),
        Chore::Tidy => check_tidy(),
        Chore::Map { write: false } => print_map(),
        Chore::Map { write: true } => write_map(),
        Chore::Lincheck(asked) => return lincheck::run(&asked),
        Chore::BenchGuard(asked) => return bench_guard::run(&asked),
        Chore::Simulate { arguments } => simulate(&arguments),
        Chore::Mutations(asked) => mutations::hunt_all(&asked),
        Chore::Kills { rounds, seed } => kills(rounds, seed),
        Chore::Inputs { seconds, seed, door } => inputs(seconds, seed, door.as_deref()),
        Chore::Chaos { arguments } => chaos::chaos(Runner::Chaos, &arguments),
        Chore::BrokerFaults { arguments } => chaos::chaos(Runner::BrokerFaults, &arguments),
        Chore::Strangers { feira } => strangers::serve(What::Suite, feira),
        Chore::Schemathesis { examples, seed, feira } => {
            strangers::serve(What::Schemathesis { examples, seed }, feira)
        }
        Chore::BenchPeers { profile, arguments } => peers::bench(&profile, &arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn deny() -> anyhow::Result<()> {
    if !command::succeeds(cargo().args(["deny", "--version"])) {
        bail!("cargo-deny is not installed; install it with: cargo install --locked cargo-deny");
    }
    run(cargo().args(["deny", "check"]))
}

fn simulate(arguments: &[OsString]) -> anyhow::Result<()> {
    run(cargo().args(["run", "--release", "--locked", "--package", "feira-simulator", "--"]).args(arguments))
}

fn kills(rounds: u32, seed: Option<u64>) -> anyhow::Result<()> {
    let mut tests = cargo();
    tests.args(["test", "--locked", "--package", "feira-tests", "--test", "killed", "--", "--nocapture"]);
    tests.env("KILL_ROUNDS", rounds.to_string());
    if let Some(seed) = seed {
        tests.env("KILL_SEED", seed.to_string());
    }
    run(&mut tests)
}

/// The tests of the doors, for longer than in an ordinary run.
fn inputs(seconds: u64, seed: Option<u64>, door: Option<&str>) -> anyhow::Result<()> {
    let mut command = cargo();
    command.args(["test", "--locked", "--package", "feira-tests", "--test", "inputs", "--"]);
    command.args(["--nocapture", door.unwrap_or("generated")]);
    command.env("FEIRA_INPUT_SECONDS", seconds.to_string());
    if let Some(seed) = seed {
        command.env("FEIRA_SEED", seed.to_string());
    }
    run(&mut command)
}

fn read_tree() -> anyhow::Result<tidy::Tree> {
    tidy::Tree::read(&root()).with_context(|| format!("cannot read the repository at {}", root().display()))
}

fn check_tidy() -> anyhow::Result<()> {
    let tree = read_tree()?;
    let mut count = 0;
    for (name, rule) in tidy::RULES {
        let problems = rule(&tree);
        if !problems.is_empty() {
            println!("{name}: {} to mend", problems.len());
        }
        for problem in &problems {
            println!("  {problem}");
        }
        count += problems.len();
    }
    if count > 0 {
        bail!("{count} against the rules of the house");
    }
    println!("{} rules hold", tidy::RULES.len());
    Ok(())
}

fn print_map() -> anyhow::Result<()> {
    for line in tidy::map::listed(&read_tree()?) {
        println!("{line}");
    }
    Ok(())
}

fn write_map() -> anyhow::Result<()> {
    let path = root().join(tidy::map::ARCHITECTURE);
    let text =
        tidy::map::mended(&read_tree()?).with_context(|| format!("{} has no code map", path.display()))?;
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    let problems = tidy::map::compare(&read_tree()?);
    for problem in &problems {
        println!("{problem}");
    }
    if !problems.is_empty() {
        bail!("{} lines are left to a person", problems.len());
    }
    println!("the code map is the tree");
    Ok(())
}
