//! Orders to a running `feira up`: a socket in the cluster's folder, one JSON line there, one back.
//!
//! Only a user with the right to write in that folder can reach it. An order or answer is bounded, and so is its time.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use crate::failure::Failure;

/// Bytes of an order or answer.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// What an order may take: a restart waits for a graceful stop and for recovery.
const ANSWER_MAX: Duration = Duration::from_secs(120);
/// What sending an order may take, once connected.
const ORDER_MAX: Duration = Duration::from_secs(5);
/// A Unix socket's path has at most 108 bytes; longer ones are reached through an open folder.
const PATH_BYTES_MAX: usize = 100;
const NAME: &str = "control.sock";

/// An order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Order {
    /// SIGKILL a part.
    Kill {
        /// Its name.
        part: String,
    },
    /// Stop a part gracefully.
    Stop {
        /// Its name.
        part: String,
    },
    /// Start a part that does not run.
    Start {
        /// Its name.
        part: String,
    },
    /// Start a part again.
    Restart {
        /// Its name.
        part: String,
    },
    /// SIGSTOP a part.
    Pause {
        /// Its name.
        part: String,
    },
    /// SIGCONT a part.
    Resume {
        /// Its name.
        part: String,
    },
    /// Say whether a part runs.
    Look {
        /// Its name.
        part: String,
    },
    /// Read the configuration again: nodes came or went.
    Renew,
    /// Stop everything.
    Down,
}

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// Done, in words.
    Done(String),
    /// Not done, and why.
    Refused(String),
    /// Whether the part runs: `None`, or how it ended.
    Looked(Option<Ended>),
}

/// The end of a part.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ended {
    /// Its exit status or signal, in words.
    pub how: String,
    /// What it wrote last, since it was started.
    pub words: String,
}

/// A path short enough for a socket, and what must stay open while it is used.
fn reachable(run_folder: &Path) -> std::io::Result<(PathBuf, Option<File>)> {
    let plain = run_folder.join(NAME);
    if plain.as_os_str().len() <= PATH_BYTES_MAX {
        return Ok((plain, None));
    }
    let folder = File::open(run_folder)?;
    Ok((PathBuf::from(format!("/proc/self/fd/{}/{NAME}", folder.as_raw_fd())), Some(folder)))
}

/// Listens for orders. The caller holds the cluster's lock, so that a socket that is there is a dead one's.
///
/// # Errors
/// The socket cannot be made.
pub fn listen(run_folder: &Path) -> Result<UnixListener, Failure> {
    let failed = |e: std::io::Error| Failure::file("listen in", run_folder, &e);
    let (path, _folder) = reachable(run_folder).map_err(failed)?;
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    UnixListener::bind(&path).map_err(failed)
}

/// Reads an order from a connection; `None` if none came that could be understood (the sender was told).
pub async fn order(stream: UnixStream) -> Option<(Order, UnixStream)> {
    let mut reader = BufReader::new(stream.take(LINE_BYTES_MAX));
    let mut line = String::new();
    let read = timeout(ORDER_MAX, reader.read_line(&mut line)).await;
    let mut stream = reader.into_inner().into_inner();
    if !matches!(read, Ok(Ok(bytes)) if bytes > 0) {
        return None;
    }
    match serde_json::from_str(&line) {
        Ok(order) => Some((order, stream)),
        Err(error) => {
            answer(&mut stream, &Reply::Refused(format!("not an order: {error}"))).await;
            None
        }
    }
}

/// Answers. Whoever asked may be gone: then nobody needs it.
pub async fn answer(stream: &mut UnixStream, reply: &Reply) {
    let mut line = serde_json::to_string(reply).expect("a reply is JSON");
    line.push('\n');
    let _ = timeout(ORDER_MAX, stream.write_all(line.as_bytes())).await;
}

/// Gives an order to the `feira up` that runs in this folder; says what was done.
///
/// # Errors
/// None runs there, or it refused.
pub async fn give(run_folder: &Path, order: &Order) -> Result<String, Failure> {
    match ask(run_folder, order).await? {
        Reply::Done(what) => Ok(what),
        Reply::Refused(why) => Err(Failure::refused(why)),
        Reply::Looked(_) => Err(Failure::unknown("feira up answered something else than was asked")),
    }
}

/// How a part of the `feira up` that runs in this folder has ended; `None`: it runs.
///
/// # Errors
/// None runs there, or there is no such part.
pub async fn look(run_folder: &Path, part: &str) -> Result<Option<Ended>, Failure> {
    match ask(run_folder, &Order::Look { part: part.to_owned() }).await? {
        Reply::Looked(ended) => Ok(ended),
        Reply::Refused(why) => Err(Failure::refused(why)),
        Reply::Done(_) => Err(Failure::unknown("feira up answered something else than was asked")),
    }
}

async fn ask(run_folder: &Path, order: &Order) -> Result<Reply, Failure> {
    let nobody = |_| {
        Failure::unreachable(format!("no feira up runs the cluster in {}", run_folder.display()))
            .next("start it with feira up, or name its configuration with --config")
    };
    let (path, _folder) = reachable(run_folder).map_err(nobody)?;
    let mut stream = UnixStream::connect(&path).await.map_err(nobody)?;
    let mut line = serde_json::to_string(order).expect("an order is JSON");
    line.push('\n');
    let cut = |e: std::io::Error| Failure::unknown(format!("feira up went away during the order: {e}"));
    stream.write_all(line.as_bytes()).await.map_err(cut)?;
    let mut reader = BufReader::new(stream.take(LINE_BYTES_MAX));
    let mut reply = String::new();
    let read = timeout(ANSWER_MAX, reader.read_line(&mut reply)).await;
    read.map_err(|_| Failure::unknown("feira up does not answer"))?.map_err(cut)?;
    serde_json::from_str(&reply).map_err(|_| Failure::unknown("feira up went away before it answered"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn orders_go_there_and_answers_back_even_from_a_deep_folder() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("d".repeat(120));
        std::fs::create_dir_all(&deep).unwrap();
        assert_eq!(give(&deep, &Order::Down).await.unwrap_err().kind, crate::failure::Kind::Unreachable);
        let listener = listen(&deep).unwrap();
        let serve = async {
            let (stream, _) = listener.accept().await.unwrap();
            let (order, mut stream) = order(stream).await.expect("an order");
            assert_eq!(order, Order::Kill { part: "node-2".into() });
            answer(&mut stream, &Reply::Done("killed".into())).await;
        };
        let kill = Order::Kill { part: "node-2".into() };
        let asked = give(&deep, &kill);
        let (answer, ()) = tokio::join!(asked, serve);
        assert_eq!(answer.unwrap(), "killed");
    }

    #[tokio::test]
    async fn nonsense_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let listener = listen(folder.path()).unwrap();
        let mut stream = UnixStream::connect(folder.path().join(NAME)).await.unwrap();
        stream.write_all(b"{\"do\":\"dance\"}\n").await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        assert!(order(accepted).await.is_none());
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        assert!(reply.contains("not an order"), "{reply}");
    }
}
