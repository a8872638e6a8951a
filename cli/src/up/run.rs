//! The command: configuration, folders, children, orders, and a clean end.

use std::future::Future;
use std::io::IsTerminal;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::setsid;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use super::bootstrap::bootstrap;
use super::control::{Order, Reply, answer, give, listen, order};
use super::detach::detach;
use super::parts::{Part, parts};
use super::prepare::plan;
use super::supervisor::{Supervisor, lock};
use super::view::endpoints;
use super::voice::{self, Voice};
use super::{ready, terminal};
use crate::args::{Act, Up};
use crate::config::load::{Loaded, Sources};
use crate::failure::Failure;
use crate::reach::nodes;
use crate::reach::whose::{self, named};
use crate::role::logging::{self, LogFile};
use crate::role::signals::{self, Signals};
use crate::show::answer::Answer;
use crate::show::out::Out;

/// What a whole cluster may take to stop.
const STOP_MAX: Duration = Duration::from_secs(60);
/// How often children are looked after.
const LOOK: Duration = Duration::from_millis(200);

/// Runs a cluster until it is told to stop.
///
/// # Errors
/// It cannot start.
pub async fn up(sources: &Sources, shape: &Up, out: &Out) -> Result<(), Failure> {
    let plan = plan(sources, shape)?;
    if let Err(failure) = plan.require_free() {
        return Err(with_holders(failure, &parts(&plan.loaded.config)).await);
    }
    let loaded = plan.write(shape, out)?;
    if loaded.config.rehearsal {
        out.insist("this cluster is for rehearsals: faults can be planted in it (rehearsal = true in its configuration); no shop should be");
    }
    if shape.detach {
        out.answer(&detach(&loaded, shape).await?);
        return Ok(());
    }
    let run_folder = Supervisor::run_folder(&loaded);
    let _lock = lock(&run_folder)?;
    let voice = begin_log(&loaded, shape, out)?;
    let mut stops = Stops::new(shape.detached)?;
    let supervisor = tokio::select! {
        supervisor = Supervisor::new(loaded.clone(), voice) => supervisor?,
        _ = stops.asked() => return Err(Failure::refused("told to stop before anything was started")),
    };
    let served = serve(supervisor, loaded, shape, out, stops).await;
    if let Err(failure) = &served {
        tracing::error!("{failure}");
    }
    served
}

/// Starts everything, looks after it, and stops it, whatever happens.
async fn serve(
    mut supervisor: Supervisor,
    loaded: Loaded,
    shape: &Up,
    out: &Out,
    mut stops: Stops,
) -> Result<(), Failure> {
    let mut left_out = bootstrap(&loaded)?;
    supervisor.loaded = named(supervisor.loaded)?;
    supervisor.restarts = !shape.no_restart;
    supervisor.leave_out(left_out.iter().map(|out| out.id));
    let mut why = Signal::SIGTERM;
    // From here on, whatever happens, children are stopped before this returns.
    let started = async {
        if let Err(failure) = supervisor.start() {
            return Err(with_holders(failure, &parts(&supervisor.loaded.config)).await);
        }
        ready::all(&mut supervisor, &mut left_out, ready::START_MAX).await
    };
    let started = tokio::select! {
        started = started => started,
        signal = stops.asked() => {
            why = signal;
            Err(Failure::refused("told to stop before everything served"))
        }
    };
    let served = match started {
        Ok(()) => {
            if !shape.detached {
                out.answer(&endpoints(&supervisor, &left_out));
            }
            for one in &left_out {
                supervisor.voice.insist(&one.to_string());
            }
            let who = if left_out.is_empty() { "everything" } else { "everything else" };
            supervisor.voice.say(&format!(
                "{who} serves; Ctrl-C or exit stops it, feira node and feira status look after it"
            ));
            attend(&mut supervisor, async { why = stops.asked().await }).await
        }
        Err(failure) => Err(failure),
    };
    let told = if why == Signal::SIGHUP { signals::told(why) + " " } else { "stopping: ".to_owned() };
    supervisor.voice.say(&format!("{told}portals, nodes, broker"));
    supervisor.stop(why).await;
    supervisor.voice.say("stopped");
    served
}

/// From here on there is a log of what is said.
fn begin_log(loaded: &Loaded, shape: &Up, out: &Out) -> Result<Voice, Failure> {
    if shape.detached {
        setsid().map_err(|e| Failure::refused(format!("cannot leave the terminal: {e}")))?;
    }
    let logs = loaded.folder().join("log");
    std::fs::create_dir_all(&logs).map_err(|e| Failure::file("make", &logs, &e))?;
    let file = LogFile { is_standard: shape.detached, ..LogFile::of(&loaded.config, &logs, voice::PART) };
    logging::start(&loaded.config.log, Some(file))?;
    Ok(if shape.detached { Voice::in_log() } else { Voice::on(out) })
}

/// Stops the cluster that another process runs, and waits until it has stopped.
///
/// # Errors
/// None runs, or it does not stop.
pub async fn down(loaded: &Loaded) -> Result<Answer, Failure> {
    let run_folder = Supervisor::run_folder(loaded);
    give(&run_folder, &Order::Down).await?;
    let deadline = Instant::now() + STOP_MAX;
    // Its lock ends with its process.
    while lock(&run_folder).is_err() {
        if Instant::now() >= deadline {
            return Err(Failure::unreachable(format!("the cluster has not stopped after {STOP_MAX:?}")));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(Answer::line("the cluster has stopped", serde_json::json!({ "stopped": true })))
}

/// A failure to start, with whose the ports are that others hold.
async fn with_holders(failure: Failure, parts: &[Part]) -> Failure {
    let held = parts.iter().map(|part| &part.address);
    let held: Vec<&String> = held.filter(|address| failure.message.contains(address.as_str())).collect();
    let mut told = failure;
    for address in held {
        if let Ok(status) = nodes::status_at(address, None).await {
            told.message.push_str(&format!("\n  {address} is the port of {}", whose::name_of(&status)));
        }
    }
    told
}

/// Everything that tells the cluster to stop.
struct Stops {
    signals: Signals,
    /// Words typed or piped in; `None`: nobody is there.
    words: Option<mpsc::Receiver<String>>,
}

impl Stops {
    fn new(detached: bool) -> Result<Stops, Failure> {
        let words = (!detached).then(terminal::words);
        Ok(Stops { signals: Signals::catch()?, words })
    }

    /// Ready when a signal or `sair` came; how the parts are to be told. The end of standard input is none: services run
    /// without a terminal.
    async fn asked(&mut self) -> Signal {
        loop {
            let word = async {
                match &mut self.words {
                    Some(words) => words.recv().await,
                    None => None,
                }
            };
            tokio::select! {
                signal = self.signals.next() => return signal,
                Some(word) = word => match word.trim() {
                    "sair" | "exit" | "quit" => return Signal::SIGTERM,
                    "" => {}
                    _ if std::io::stdin().is_terminal() => {
                        Out::new(false).say("exit (or sair) stops the cluster; use another terminal for feira admin and the rest");
                    }
                    _ => {}
                },
            }
        }
    }
}

/// Looks after children and takes orders until told to stop.
///
/// # Errors
/// Orders cannot be listened for.
pub async fn attend(supervisor: &mut Supervisor, stop: impl Future<Output = ()>) -> Result<(), Failure> {
    tokio::pin!(stop);
    let listener: UnixListener = listen(&Supervisor::run_folder(&supervisor.loaded))?;
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            () = &mut stop => return Ok(()),
            _ = look.tick() => {
                for (part, how) in supervisor.notice() {
                    ended(supervisor, &part, how)?;
                }
                supervisor.start_due();
                supervisor.trim_logs();
            }
            Ok((stream, _)) = listener.accept() => {
                if obey(supervisor, stream).await {
                    return Ok(());
                }
            }
        }
    }
}

/// Says that a part ended by itself, and what becomes of it.
fn ended(supervisor: &mut Supervisor, part: &Part, how: ExitStatus) -> Result<(), Failure> {
    let restarts = supervisor.restarts;
    let child = supervisor.child(&part.name)?;
    let words = child.last_words();
    // Whoever ends well was told to.
    let becomes = if restarts && !how.success() && !ready::is_damaged(&words) {
        let pause = child.again.ended(Instant::now());
        format!("it is started again in {} s", pause.as_secs())
    } else {
        ready::way_back(&supervisor.loaded, part, &words)
    };
    supervisor.voice.insist(&format!("{} ended by itself ({how}):\n{words}", part.name));
    supervisor.voice.insist(&format!("  → {becomes}"));
    Ok(())
}

/// Carries out one order; true: stop everything.
async fn obey(supervisor: &mut Supervisor, stream: UnixStream) -> bool {
    let Some((order, mut stream)) = order(stream).await else { return false };
    let (part, act) = match &order {
        Order::Start { part } => (part, Act::Start),
        Order::Kill { part } => (part, Act::Kill),
        Order::Stop { part } => (part, Act::Stop),
        Order::Restart { part } => (part, Act::Restart),
        Order::Pause { part } => (part, Act::Pause),
        Order::Resume { part } => (part, Act::Resume),
        Order::Renew => {
            let reply = match supervisor.renew() {
                Ok(done) => Reply::Done(done),
                Err(failure) => Reply::Refused(failure.to_string()),
            };
            answer(&mut stream, &reply).await;
            return false;
        }
        Order::Down => {
            answer(&mut stream, &Reply::Done("stopping".to_owned())).await;
            return true;
        }
        Order::Look { part } => {
            let reply = match supervisor.child(part) {
                Ok(child) => Reply::Looked(child.end()),
                Err(failure) => Reply::Refused(failure.to_string()),
            };
            answer(&mut stream, &reply).await;
            return false;
        }
    };
    let reply = match supervisor.act(part, act).await {
        Ok(done) => {
            supervisor.voice.say(&done);
            Reply::Done(done)
        }
        Err(failure) => Reply::Refused(failure.to_string()),
    };
    answer(&mut stream, &reply).await;
    false
}
