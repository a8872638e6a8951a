//! `feira up --detach`: a cluster that stays when the terminal goes. The command starts `feira up` once more, in a session of
//! its own, waits until everything serves, and ends.

use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use super::control::look;
use super::parts::parts;
use super::ready::START_MAX;
use super::supervisor::{PARTS_END_MAX, Supervisor, lock};
use super::voice::PART;
use crate::args::Up;
use crate::config::load::Loaded;
use crate::failure::Failure;
use crate::show::answer::Answer;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// Bytes of its log that are shown if it does not come up.
const WORDS_BYTES_MAX: u64 = 4 << 10;

/// Starts it and waits until it serves.
///
/// # Errors
/// It does not come up: what its log says last.
pub async fn detach(loaded: &Loaded, shape: &Up) -> Result<Answer, Failure> {
    // Another that runs is told of here, and not in a log.
    drop(lock(&Supervisor::run_folder(loaded))?);
    let logs = loaded.folder().join("log");
    std::fs::create_dir_all(&logs).map_err(|e| Failure::file("make", &logs, &e))?;
    let log = logs.join(format!("{PART}.log"));
    let (mut process, from) = start(loaded, shape, &log)?;
    let any = parts(&loaded.config).into_iter().next().map(|part| part.name).unwrap_or_default();
    let run_folder = Supervisor::run_folder(loaded);
    let deadline = Instant::now() + START_MAX + PARTS_END_MAX;
    // It listens for orders from when everything serves.
    while look(&run_folder, &any).await.is_err() {
        if let Ok(Some(how)) = process.try_wait() {
            let message = format!("feira up ended at its start ({how}):\n{}", last_words(&log, from));
            return Err(Failure::refused(message).next(format!("its whole log is {}", log.display())));
        }
        if Instant::now() >= deadline {
            return Err(Failure::unreachable("feira up has not come up")
                .next(format!("its log is {}", log.display())));
        }
        tokio::time::sleep(LOOK).await;
    }
    let (pid, log) = (process.id(), log.display().to_string());
    let said = format!("everything serves, and stays when the terminal goes; process {pid}, log {log}");
    let mut answer = Answer::line(said, json!({ "pid": pid, "log": log }));
    answer.notes.push(format!(
        "{} stops it, {} looks after it",
        loaded.command("down"),
        loaded.command("status")
    ));
    Ok(answer)
}

/// Starts the process, and says where its words begin in the log.
fn start(loaded: &Loaded, shape: &Up, log: &Path) -> Result<(Child, u64), Failure> {
    let file = OpenOptions::new().create(true).append(true).open(log);
    let file = file.map_err(|e| Failure::file("open the log", log, &e))?;
    let from = file.metadata().map_or(0, |file| file.len());
    let again = file.try_clone().map_err(|e| Failure::file("open the log", log, &e))?;
    let program = std::env::current_exe()
        .map_err(|e| Failure::refused(format!("cannot find this program's own file: {e}")))?;
    let mut command = Command::new(program);
    command.arg("--config").arg(&loaded.path);
    for set in &loaded.set {
        command.arg("--set").arg(set);
    }
    command.args(["up", "--detached"]);
    if shape.no_restart {
        command.arg("--no-restart");
    }
    command.stdin(Stdio::null()).stdout(file).stderr(again);
    let process = command.spawn().map_err(|e| Failure::refused(format!("cannot start feira up: {e}")))?;
    Ok((process, from))
}

/// The end of what it wrote.
fn last_words(log: &Path, from: u64) -> String {
    let mut text = Vec::new();
    // A log that cannot be read explains nothing.
    let _ = std::fs::File::open(log).and_then(|mut log| {
        let end = log.metadata()?.len();
        let from = if from > end { 0 } else { from };
        log.seek(SeekFrom::Start(from.max(end.saturating_sub(WORDS_BYTES_MAX))))?;
        log.take(WORDS_BYTES_MAX).read_to_end(&mut text)
    });
    String::from_utf8_lossy(&text).trim_end().to_owned()
}
