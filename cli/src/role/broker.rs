//! `feira broker`: the MQTT broker, embedded or mosquitto.
//!
//! mosquitto replaces this process, so that its process id is the broker's own: signals and `feira node` reach it
//! directly. It knows nothing of the pipe that tells of the supervisor's end, and it sheds the kernel's death signal
//! when it sheds root's rights; so a small child of its own watches the pipe for it ([`watch()`]). It gets a copy of the repository's `mosquitto.conf` whose listener is the configured one.

use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getppid};
use tokio::sync::{oneshot, watch};

use super::stop::asked;
use super::store::{resolve, with_causes};
use crate::config::load::Loaded;
use crate::config::shape::BrokerKind;
use crate::failure::Failure;

/// The settings that feira carries: those at the root of its repository.
const SETTINGS: &str = include_str!("../../../mosquitto.conf");

/// Serves until told to stop.
///
/// # Errors
/// It cannot start, or it failed.
pub async fn run(loaded: &Loaded, supervised: bool) -> Result<(), Failure> {
    let at = resolve("broker.listen", &loaded.config.broker.listen)?;
    match loaded.config.broker.kind {
        BrokerKind::Embedded => embedded(at, supervised).await,
        BrokerKind::Mosquitto => Err(mosquitto(loaded, at, supervised)),
        BrokerKind::External => {
            Err(Failure::usage("broker.kind is external: that broker is started by somebody else"))
        }
    }
}

async fn embedded(at: SocketAddr, supervised: bool) -> Result<(), Failure> {
    let asked = asked(supervised)?;
    let (stop, stopping) = watch::channel(false);
    tokio::spawn(async move {
        asked.await;
        stop.send_replace(true);
    });
    let (ready, _bound) = oneshot::channel();
    let config = broker::Config { at, ..broker::Config::default() };
    broker::serve(config, stopping, ready).await.map_err(|e| Failure::refused(with_causes(&e)))
}

/// Becomes mosquitto; returns only if that fails.
fn mosquitto(loaded: &Loaded, at: SocketAddr, supervised: bool) -> Failure {
    let program = &loaded.config.broker.program;
    let settings = match settings_file(loaded, at) {
        Ok(path) => path,
        Err(failure) => return failure,
    };
    if supervised && let Err(error) = start_watch() {
        tracing::warn!(%error, "mosquitto would outlive feira up");
    }
    let error = Command::new(program).arg("-c").arg(&settings).exec();
    Failure::refused(format!("cannot start {program}: {error}"))
        .next("install mosquitto, name it with broker.program, or set broker.kind = \"embedded\"")
}

/// Starts the child that watches the pipe on standard input, which it inherits.
fn start_watch() -> std::io::Result<()> {
    let program = std::env::current_exe()?;
    let own = std::process::id().to_string();
    Command::new(program).args(["broker", "--watch", &own]).spawn().map(drop)
}

/// Waits for the end of standard input, then ends the process, if it is still our parent: its number cannot have
/// gone to another then.
pub fn watch(process: i32) {
    let mut nothing = [0; 64];
    while matches!(std::io::stdin().read(&mut nothing), Ok(bytes) if bytes > 0) {}
    let process = Pid::from_raw(process);
    if getppid() == process
        && let Err(error) = kill(process, Signal::SIGKILL)
    {
        tracing::warn!(%error, "the broker cannot be ended");
    }
}

fn settings_file(loaded: &Loaded, at: SocketAddr) -> Result<PathBuf, Failure> {
    let given = &loaded.config.broker.settings;
    let text = if given.as_os_str().is_empty() {
        SETTINGS.to_owned()
    } else {
        let path = loaded.base().join(given);
        std::fs::read_to_string(&path).map_err(|e| Failure::file("read", &path, &e))?
    };
    let folder = loaded.folder().join("run");
    std::fs::create_dir_all(&folder).map_err(|e| Failure::file("make", &folder, &e))?;
    let path = folder.join("mosquitto.conf");
    std::fs::write(&path, listening(&text, at)).map_err(|e| Failure::file("write", &path, &e))?;
    Ok(path)
}

/// The settings with this listener in the place of their first, or before all if they have none.
fn listening(settings: &str, at: SocketAddr) -> String {
    let listener = format!("listener {} {}", at.port(), at.ip());
    let mut replaced = false;
    let mut lines: Vec<&str> = settings.lines().collect();
    for line in &mut lines {
        if !replaced && line.trim_start().starts_with("listener ") {
            *line = &listener;
            replaced = true;
        }
    }
    if !replaced {
        lines.insert(0, &listener);
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mosquitto_gets_the_configured_listener_and_the_rest_as_it_was() {
        let at: SocketAddr = "127.0.0.1:4000".parse().unwrap();
        let text = listening(SETTINGS, at);
        assert_eq!(
            text.lines().filter(|l| l.starts_with("listener")).collect::<Vec<_>>(),
            ["listener 4000 127.0.0.1"]
        );
        assert_eq!(text.lines().count(), SETTINGS.lines().count());
        assert!(text.contains("persistence false"));
        assert!(listening("allow_anonymous true\n", at).starts_with("listener 4000"));
    }
}
