//! Logs of a role: to standard error, colours only on a terminal; under `feira up` to a file that is followed by the next one
//! when it has its size.
//!
//! Whatever else a process writes (a panic, a library's last word) goes to the same file: when the next one is begun, standard
//! output and standard error are turned to it too.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use nix::unistd::{dup2_stderr, dup2_stdout};
use rolling_file::{BasicRollingFileAppender, RollingConditionBasic};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::shape::Config;
use crate::failure::Failure;
use crate::show::out::wants_color;

/// Our crates: `debug` means them. What libraries say of every frame helps nobody who asks for it.
const OURS: [&str; 14] = [
    "admission",
    "admin_portal",
    "broker",
    "client_portal",
    "feira",
    "portal",
    "proto",
    "store_client",
    "store_core",
    "store_db",
    "store_engine",
    "store_keys",
    "store_log",
    "store_server",
];

/// A log file that is followed by others.
pub struct LogFile {
    /// Where it is.
    pub path: PathBuf,
    /// Bytes after which the next is begun.
    pub bytes: u64,
    /// So many older ones are kept.
    pub kept: usize,
    /// Whether standard output and standard error go there too.
    pub is_standard: bool,
}

impl LogFile {
    /// The log of a part of a cluster.
    #[must_use]
    pub fn of(config: &Config, logs: &Path, part: &str) -> LogFile {
        let path = logs.join(format!("{part}.log"));
        LogFile { path, bytes: config.log_bytes, kept: config.log_files_kept, is_standard: true }
    }
}

/// Starts logging by a filter: to this file, or without one to standard error.
///
/// # Errors
/// The filter is none, or the file cannot be opened.
pub fn start(filter: &str, file: Option<LogFile>) -> Result<(), Failure> {
    let targets: Targets = of_ours(filter).parse().map_err(|e| {
        Failure::usage(format!("configuration: log is {filter:?}: {e}"))
            .next("write error, warn, info, debug, trace, or such as info,store_engine=debug")
    })?;
    let subscriber = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE);
    match file {
        Some(file) => {
            let path = file.path.clone();
            let rotating = Rotating::open(file).map_err(|e| Failure::file("open the log", &path, &e))?;
            subscriber.with_writer(Mutex::new(rotating)).with_ansi(false).finish().with(targets).init();
        }
        None => {
            let color = wants_color() && std::io::stderr().is_terminal();
            subscriber.with_writer(std::io::stderr).with_ansi(color).finish().with(targets).init();
        }
    }
    Ok(())
}

/// The filter with a level for everything that is lower than `info` made one for our own crates. A level for a crate by name
/// stays what it is.
fn of_ours(filter: &str) -> String {
    let of_part = |part: &str| match part.trim().parse::<LevelFilter>() {
        Ok(level) if level > LevelFilter::INFO => {
            let ours = OURS.iter().map(|name| format!(",{name}={level}"));
            format!("info{}", ours.collect::<String>())
        }
        _ => part.to_owned(),
    };
    filter.split(',').map(of_part).collect::<Vec<_>>().join(",")
}

/// The file that is written now.
struct Rotating {
    appender: BasicRollingFileAppender,
    path: PathBuf,
    /// Which file standard output and standard error go to; `None`: they go elsewhere.
    standard: Option<u64>,
}

impl Rotating {
    fn open(file: LogFile) -> std::io::Result<Rotating> {
        let LogFile { path, bytes, kept, is_standard } = file;
        let by_size = RollingConditionBasic::new().max_size(bytes);
        let appender = BasicRollingFileAppender::new(&path, by_size, kept)?;
        let standard = if is_standard { Some(std::fs::metadata(&path)?.ino()) } else { None };
        Ok(Rotating { appender, path, standard })
    }

    /// Turns standard output and standard error to the file that is written now.
    fn rotate(&mut self) -> std::io::Result<()> {
        let Some(before) = self.standard else { return Ok(()) };
        let now = std::fs::metadata(&self.path)?.ino();
        if now != before {
            let file: File = OpenOptions::new().append(true).open(&self.path)?;
            dup2_stdout(&file)?;
            dup2_stderr(&file)?;
            self.standard = Some(now);
        }
        Ok(())
    }
}

impl Write for Rotating {
    /// Each line at once: the library would keep it until its buffer is full, and a process that is killed would have said
    /// nothing.
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.appender.write_all(line)?;
        self.appender.flush()?;
        // A file that cannot be looked at is written all the same.
        let _ = self.rotate();
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.appender.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_means_our_crates_and_not_the_libraries() {
        let filter = of_ours("debug");
        assert!(filter.starts_with("info,") && filter.contains(",store_server=debug"), "{filter}");
        assert!(OURS.iter().all(|name| filter.contains(&format!("{name}=debug"))), "{filter}");
        assert!(of_ours(" trace ,h2=warn").ends_with(",h2=warn"));
        for same in ["info", "warn", "info,store_engine=debug", "off", "h2=debug"] {
            assert_eq!(of_ours(same), same);
        }
        filter.parse::<Targets>().unwrap();
    }

    #[test]
    fn a_log_is_followed_by_the_next_and_only_so_many_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node-1.log");
        let file = LogFile { path: path.clone(), bytes: 100, kept: 2, is_standard: false };
        let mut log = Rotating::open(file).unwrap();
        for at in 0..40 {
            log.write_all(format!("line {at:0>2} of the log\n").as_bytes()).unwrap();
            let now = std::fs::read_to_string(&path).unwrap();
            assert!(now.ends_with(&format!("line {at:0>2} of the log\n")), "it is there at once: {now}");
        }
        let mut all: Vec<(String, u64)> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len()))
            .collect();
        all.sort();
        let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["node-1.log", "node-1.log.1", "node-1.log.2"]);
        assert!(all.iter().all(|(_, bytes)| *bytes <= 120), "{all:?}");
    }
}
