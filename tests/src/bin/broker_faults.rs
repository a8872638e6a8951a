//! `cargo xtask broker-faults`: a real broker at its worst ([`feira_tests::broker_faults`]). Exit code 0 only if nothing was broken;
//! folders and logs of a cluster that did not come to rest are left, and it says where.
#![allow(clippy::print_stdout, clippy::print_stderr)] // It talks to people.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use feira_tests::broker_faults::{Settings, run};

/// A real mosquitto that is killed, stopped, cut off and beset by strangers, under a mixed load on two portals of staff and three of
/// shoppers, judged from outside.
#[derive(Parser)]
#[command(name = "cargo xtask broker-faults")]
struct Arguments {
    /// Do harm for so many seconds
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The seed of all choices; without it one is drawn and said
    #[arg(long)]
    seed: Option<u64>,
    /// How many shop, every other one in a session
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u64).range(1..=256))]
    shoppers: u64,
    /// Milliseconds at most between two requests of one caller
    #[arg(long, default_value_t = 40)]
    pace_ms: u64,
    /// The program; without it `feira` beside this one
    #[arg(long, value_name = "PATH")]
    feira: Option<PathBuf>,
}

fn main() -> ExitCode {
    let Arguments { seconds, seed, shoppers, pace_ms, feira } = Arguments::parse();
    // What does not hold is for people; where in the runner it was found is one line.
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("seed {seed}");
    let beside = || std::env::current_exe().expect("a program has a path").with_file_name("feira");
    let settings = Settings {
        feira: feira.unwrap_or_else(beside),
        time: Duration::from_secs(seconds),
        seed,
        shoppers: usize::try_from(shoppers).expect("a small number"),
        pace: Duration::from_millis(pace_ms),
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    // A panic in there has said what does not hold, and where folders and logs are left.
    let ran = runtime.block_on(async move { tokio::spawn(async move { run(&settings).await }).await });
    match ran {
        Ok(report) if report.verdict.broken.is_empty() => {
            println!("{report}\nverdict: all held");
            ExitCode::SUCCESS
        }
        Ok(report) => {
            println!("{report}\nverdict: FAILED");
            ExitCode::FAILURE
        }
        Err(_) => {
            println!("verdict: FAILED (what does not hold, and where to look, is above)");
            ExitCode::FAILURE
        }
    }
}
