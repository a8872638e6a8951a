//! `cargo xtask chaos`: chaos over real processes ([`feira_tests::chaos`]). Exit code 0 only if all held; otherwise
//! folders and logs are left, and it says where.
#![allow(clippy::print_stdout, clippy::print_stderr)] // It talks to people.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use feira_tests::chaos::fault::{ALL, Fault};
use feira_tests::chaos::load::Volume;
use feira_tests::chaos::{Settings, catch_up, run};

/// Real store nodes with real files, many clients, and faults chosen by a seed.
#[derive(Parser)]
#[command(name = "cargo xtask chaos")]
struct Arguments {
    /// Begin rounds for so many seconds
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// And at most so many rounds
    #[arg(long, default_value_t = u64::MAX, hide_default_value = true)]
    rounds: u64,
    /// Where the history goes, as lines for `cargo xtask lincheck`
    #[arg(long, value_name = "FILE", required_unless_present = "catch_up")]
    history: Option<PathBuf>,
    /// The seed of all choices; without it one is drawn and said
    #[arg(long)]
    seed: Option<u64>,
    /// What may be done, with commas between; without it everything
    #[arg(long, value_delimiter = ',', value_name = "FAULT")]
    faults: Vec<Fault>,
    /// Shards of the ring; on several only nodes are killed and paused
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=5))]
    shards: u64,
    /// Store nodes of each shard
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(3..=4))]
    nodes: u64,
    /// The shards are on the same nodes, each of which holds a replica of every one
    #[arg(long)]
    shared: bool,
    /// Milliseconds at most between two operations of one client
    #[arg(long, default_value_t = Volume::default().pace_ms)]
    pace_ms: u64,
    /// Each operation is asked once and is to be done in so many milliseconds, with the handle's own retries; without it some clients
    /// wait long and some hardly, and half ask again
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(50..=60_000))]
    within_ms: Option<u64>,
    /// Do no harm but measure how a replica that was away catches up, and end
    #[arg(long)]
    catch_up: bool,
    /// The program; without it `feira` beside this one
    #[arg(long, value_name = "PATH")]
    feira: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // What does not hold is for people; where in the runner it was found is one line.
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    // A panic in there has said what does not hold, and where folders and logs are left.
    let ran = runtime.block_on(async move {
        let catch_up = arguments.catch_up;
        let settings = settings(arguments);
        tokio::spawn(async move {
            match catch_up {
                true => catch_up::measure(&settings.feira).await.to_string(),
                false => format!("{}verdict: all held", run(&settings).await),
            }
        })
        .await
    });
    match ran {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(_) => {
            println!("verdict: FAILED (what does not hold, and where to look, is above)");
            ExitCode::FAILURE
        }
    }
}

fn settings(arguments: Arguments) -> Settings {
    let volume = Volume { pace_ms: arguments.pace_ms, ..Volume::default() };
    let beside = || std::env::current_exe().expect("a program has a path").with_file_name("feira");
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("seed {seed}");
    Settings {
        feira: arguments.feira.unwrap_or_else(beside),
        time: Duration::from_secs(arguments.seconds),
        rounds: arguments.rounds,
        history: arguments.history.unwrap_or_default(),
        seed,
        faults: match arguments.faults.is_empty() {
            true => ALL
                .iter()
                .map(|(fault, _)| *fault)
                .filter(|fault| arguments.shards == 1 || fault.is_for_a_ring())
                .collect(),
            false => arguments.faults,
        },
        shards: arguments.shards,
        nodes: arguments.nodes,
        shared: arguments.shared,
        volume: arguments.within_ms.map_or(volume, |time| volume.within(Duration::from_millis(time))),
    }
}
