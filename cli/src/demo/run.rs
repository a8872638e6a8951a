//! The command: a temporary folder, a cluster in it, the tour or the shop, and a clean end.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::args::Demo;
use super::market::{Buyer, buyers};
use super::stage::Stage;
use super::{failover, replication, shopping};
use crate::args::Up;
use crate::config::load::Sources;
use crate::failure::Failure;
use crate::reach::portals::Portals;
use crate::reach::whose::named;
use crate::repl::lines::Given;
use crate::role::signals::Signals;
use crate::shop::via::Asking;
use crate::show::out::Out;
use crate::tools::shop_at;
use crate::up::bootstrap::bootstrap;
use crate::up::prepare::prepare;
use crate::up::ready::{self, START_MAX};
use crate::up::run::attend;
use crate::up::supervisor::{Supervisor, lock};
use crate::up::view::endpoints;
use crate::up::voice::Voice;

/// Runs the demo.
///
/// # Errors
/// The cluster does not start, or a promise of the tour does not hold.
pub async fn run(args: &Demo, out: &Out) -> Result<(), Failure> {
    let began = Instant::now();
    let folder = tempfile::Builder::new().prefix("feira-demo-").tempdir();
    let folder = folder.map_err(|e| Failure::refused(format!("no temporary folder can be made: {e}")))?;
    let folder = if args.keep { Kept::There(folder.keep()) } else { Kept::Gone(folder) };
    let played = in_folder(args, folder.path(), out).await;
    if args.keep {
        out.say(&format!("the folder is kept: {}", folder.path().display()));
    }
    if let Ok(held) = &played
        && *held > 0
    {
        let seconds = began.elapsed().as_secs_f64();
        out.tell(&format!(
            "
the tour is over: {held} promises held, in {seconds:.0} s"
        ));
    }
    played.map(drop)
}

/// A folder that goes with us, or stays.
enum Kept {
    Gone(tempfile::TempDir),
    There(PathBuf),
}

impl Kept {
    fn path(&self) -> &Path {
        match self {
            Kept::Gone(folder) => folder.path(),
            Kept::There(path) => path,
        }
    }
}

/// Returns how many promises held; 0 for a person's own tour.
async fn in_folder(args: &Demo, folder: &Path, out: &Out) -> Result<u32, Failure> {
    let shards = Some(args.shards);
    let (nodes, apart) = (Some(args.nodes), args.apart);
    let shape = Up { shards, nodes, apart, any_ports: true, rehearsal: true, ..Up::default() };
    let sources = Sources { file: Some(folder.join("feira.toml")), set: Vec::new() };
    let loaded = prepare(&sources, &shape, out)?;
    let _lock = lock(&Supervisor::run_folder(&loaded))?;
    let mut left_out = bootstrap(&loaded)?;
    let loaded = named(loaded)?;
    let mut supervisor = Supervisor::new(loaded, Voice::on(out)).await?;
    let started = async {
        supervisor.start()?;
        ready::all(&mut supervisor, &mut left_out, START_MAX).await
    };
    let started = tokio::select! {
        started = started => started,
        () = told_to_stop() => Err(Failure::refused("told to stop")),
    };
    if let Err(failure) = started {
        supervisor.stop(Signal::SIGTERM).await;
        return Err(failure);
    }
    out.answer(&endpoints(&supervisor, &left_out));
    let mut stage = Stage::new(supervisor, out)?;
    let person = std::io::stdin().is_terminal() && !args.tour;
    let played = tokio::select! {
        played = Box::pin(play(&mut stage, person)) => played,
        () = told_to_stop() => Err(Failure::refused("told to stop")),
    };
    stage.supervisor.stop(Signal::SIGTERM).await;
    played.map(|()| if person { 0 } else { stage.held })
}

async fn play(stage: &mut Stage, person: bool) -> Result<(), Failure> {
    if person {
        return shop(stage).await;
    }
    shopping::play(stage).await?;
    if stage.config().store.shard_count() == 1 {
        replication::play(stage).await?;
    }
    failover::play(stage).await
}

/// Opens the shop for a person, with the cluster running and taking orders from other terminals.
async fn shop(stage: &mut Stage) -> Result<(), Failure> {
    shopping::set_up(stage).await?;
    let config = stage.supervisor.loaded.path.display().to_string();
    stage.out.say(&format!("in another terminal: export FEIRA_CONFIG={config}"));
    stage.out.say("  then feira status --watch, feira admin, feira node kill 1, feira audit …");
    let addresses: Vec<String> = stage.config().client_portals.iter().map(|one| one.listen.clone()).collect();
    let (patience, notices) = (Duration::from_secs(10), Some(stage.out.clone()));
    let portals = Portals::new("client portal", &addresses, stage.config().whose(), patience, notices)?;
    let shopper = buyers()?.into_iter().next();
    if let Some(Buyer { cid, name, city }) = &shopper {
        stage.out.say(&format!("here you are {name} of {city} ({cid}), who shops; try:"));
        stage.out.say("  products banana; create-order banana-prata=2 limao-tahiti=3; list-orders");
        stage.out.say("  exit ends the market, and nothing of it stays (demo --keep keeps its folder)");
    }
    let cid = shopper.map(|shopper| shopper.cid);
    let out = stage.out.clone();
    let given = Given::default();
    let shop = shop_at(Asking::Grpc(portals), cid, std::sync::Arc::default(), &given, &out);
    tokio::select! {
        left = shop => left,
        attended = attend(&mut stage.supervisor, std::future::pending()) => attended,
    }
}

/// Ready at SIGINT or SIGTERM.
async fn told_to_stop() {
    match Signals::catch() {
        Ok(mut signals) => drop(signals.next().await),
        Err(_) => std::future::pending().await,
    }
}
