//! Requests of a tool whose outcome is open, each in a file of its own beside the history of commands.
//!
//! ```text
//!   begin: a file with the command ─► sending: the message behind it ─► the answer: the file goes
//!                                                                  └─► no answer, Ctrl-C, kill -9: it stays, and is told at the next start
//! ```
//!
//! A refusal ends it as well, unless an attempt before it was lost: that one may still be done, decided anew by the portal that has it.
//!
//! Promises: at a person's prompt the file is there before anything is sent; elsewhere it is made when the outcome turned out to be unknown. A
//! command that is repeated under its id sends the message that it sent, whatever it would be made of by now. Files are
//! their owner's alone, bounded in size and in number, and locked by the process that waits for the answer, so that no other tells of
//! it. Where no file can be written there is only less to tell later.
//!
//! Leaves out: whether the request was done; the store knows ([`portal::settle`]).

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use prost::Message;
use proto::portal::RequestId;
use serde::{Deserialize, Serialize};

use super::matter::{Matter, kind};
use crate::verb::key::bytes_of_hex;

/// Files that are kept; of more the oldest go.
const FILES_MAX: usize = 64;
/// Largest file that is read, and largest message that is kept.
const FILE_BYTES_MAX: u64 = 2 << 20;
const MESSAGE_BYTES_MAX: usize = 512 << 10;

/// A command that was begun under a request id.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Begun {
    /// The id.
    pub id: String,
    /// When, milliseconds since 1970.
    pub begun_ms: i64,
    /// Of which tool: `admin` or `shop`.
    pub tool: String,
    /// Which cluster was meant; empty: it was not known.
    pub cluster: String,
    /// In whose name; empty: nobody's.
    pub cid: String,
    /// The command without its id.
    pub words: Vec<String>,
}

/// What was sent for it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sent {
    /// The type of the message.
    kind: String,
    /// The client that it is about; empty: none.
    cid: String,
    /// The product; empty: none.
    pid: String,
    /// Its bytes, in hexadecimal; none: it was too large.
    message: Option<String>,
}

impl Sent {
    fn of<M: Message + Serialize>(message: &M) -> Sent {
        let Matter { cid, pid, .. } = Matter::of_message(message);
        let bytes = message.encode_to_vec();
        let hex = || bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let message = (bytes.len() <= MESSAGE_BYTES_MAX).then(hex);
        Sent { kind: kind::<M>().to_owned(), cid, pid, message }
    }

    /// The message, if it is of this type and was kept.
    fn message<M: Message + Default>(&self) -> Option<M> {
        let hex = self.message.as_ref().filter(|_| self.kind == kind::<M>())?;
        M::decode(bytes_of_hex(hex)?.as_slice()).ok()
    }

    /// What it is about.
    fn matter(&self) -> Matter {
        Matter::of(&self.kind, &self.cid, &self.pid)
    }
}

/// A request whose outcome is open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenRequest {
    /// The command.
    pub begun: Begun,
    /// What was sent; `None`: nothing that is known.
    pub sent: Option<Sent>,
}

impl OpenRequest {
    /// What it is about, as far as that is known.
    #[must_use]
    pub fn matter(&self) -> Matter {
        self.sent.as_ref().map_or_else(|| Matter::of_client(&self.begun.cid), Sent::matter)
    }
}

/// What is as open as before a command that was answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AsOpen {
    /// What was sent for it before: nothing was sent this time.
    Unsent,
    /// An attempt of it that was not answered.
    Lost,
    /// Another command, which has the same id.
    Others,
}

/// The command that runs.
struct Running {
    begun: Begun,
    /// The last message that was sent for it.
    sent: Option<Sent>,
    /// What was sent for it at an earlier time.
    before: Option<Sent>,
    /// A person named the id.
    is_given: bool,
    /// It is a repetition: what became of it before is open until there is an answer.
    is_repeated: bool,
    /// What another command that has the id is about, and keeps its file whatever becomes of this one.
    others: Option<Matter>,
    /// An attempt of this run was not answered: it may still be on its way.
    is_lost: bool,
    /// A message for it was on its way in this run: what ends it now is the answer. What ends it before that is this tool's own word.
    is_sent: bool,
    /// Locked while the answer is waited for; `None`: there is none yet.
    file: Option<File>,
}

impl Running {
    /// The id, and what it is about.
    fn named(self) -> (String, Matter) {
        let one = OpenRequest { begun: self.begun, sent: self.sent.or(self.before) };
        let matter = one.matter();
        (one.begun.id, matter)
    }
}

/// The open requests of a tool.
#[derive(Default)]
pub struct OpenRequests {
    /// `None`: nothing is kept.
    folder: Option<PathBuf>,
    tool: &'static str,
    cluster: String,
    /// A person types: files are made before anything is sent.
    is_person: bool,
    running: Mutex<Option<Running>>,
}

impl OpenRequests {
    /// Those of a tool and a cluster, beside this history; `None`: nothing is kept.
    #[must_use]
    pub fn beside(
        history: Option<PathBuf>,
        tool: &'static str,
        cluster: String,
        is_person: bool,
    ) -> Arc<OpenRequests> {
        let folder = history.map(|path| {
            let mut name = path.into_os_string();
            name.push(".requests");
            PathBuf::from(name)
        });
        if let Some(folder) = &folder {
            crate::private::keep(folder);
        }
        Arc::new(OpenRequests { folder, tool, cluster, is_person, running: Mutex::new(None) })
    }

    /// A command begins, in the name of this client if any; `is_given`: a person named the id, which may be an old one.
    pub fn begin(&self, (id, is_given): (&str, bool), words: &[String], cid: &str) {
        let begun = Begun {
            id: id.to_owned(),
            begun_ms: store_client::now_ms(),
            tool: self.tool.to_owned(),
            cluster: self.cluster.clone(),
            cid: cid.to_owned(),
            words: words.to_vec(),
        };
        let before = self.find(id);
        let is_same = |one: &OpenRequest| (&one.begun.words, &one.begun.cid) == (&begun.words, &begun.cid);
        // Another command under the id is refused if that one was done, and its file is not this one's.
        let (is_repeated, others) = match &before {
            Some(before) if is_same(before) => (true, None),
            Some(before) => (false, Some(before.matter())),
            None => (false, None),
        };
        let (is_lost, is_sent) = (false, false);
        let mut running = Running {
            begun,
            sent: None,
            before: None,
            is_given,
            is_repeated,
            others,
            is_lost,
            is_sent,
            file: None,
        };
        if is_repeated {
            running.file = self.path(id).and_then(|path| locked(&path));
            running.before = before.and_then(|before| before.sent);
        } else if self.is_person && running.others.is_none() {
            running.file = self.create(&running);
        }
        *self.running.lock() = Some(running);
    }

    /// A message is about to be sent: this one, or the one that was sent for the same command before.
    pub fn sending<M: Message + Default + Serialize>(&self, request: &RequestId, message: M) -> M {
        let mut running = self.running.lock();
        let Some(running) = running.as_mut().filter(|running| running.begun.id == request.id) else {
            return message;
        };
        running.is_sent = true;
        if let Some(again) = running.before.as_ref().and_then(Sent::message) {
            return again;
        }
        let sent = Sent::of(&message);
        if let Some(file) = &mut running.file {
            write_line(file, &sent);
        }
        running.sent = Some(sent);
        message
    }

    /// An attempt under this id was not answered.
    pub fn lost(&self, id: &str) {
        if let Some(running) = self.running.lock().as_mut().filter(|running| running.begun.id == id) {
            running.is_lost = true;
        }
    }

    /// The command that runs has ended: whether its outcome is open, and whether it was answered for good, so that nothing that is still on its way
    /// under the id can be done. What is as open as before in spite of what was answered, and what that is about.
    pub fn ended(&self, is_open: bool, is_definite: bool) -> Option<(AsOpen, String, Matter)> {
        let mut running = self.running.lock().take()?;
        let is_unsent = running.is_repeated && !running.is_sent;
        let is_lost = (running.is_repeated || running.is_lost) && !is_definite;
        if is_open || is_unsent || is_lost {
            if running.file.is_none() && !running.is_repeated && running.others.is_none() {
                running.file = self.create(&running);
            }
        } else if running.file.take().is_some() {
            self.forget(&running.begun.id);
        }
        let others = running.others.take().filter(|_| !is_definite && !is_open);
        let as_open = match others {
            _ if is_unsent => AsOpen::Unsent,
            _ if is_lost && !is_open => AsOpen::Lost,
            Some(matter) => return Some((AsOpen::Others, running.begun.id, matter)),
            None => return None,
        };
        let (id, matter) = running.named();
        Some((as_open, id, matter))
    }

    /// Whether the command that runs has this id from a person.
    #[must_use]
    pub fn is_given(&self, id: &str) -> bool {
        self.running.lock().as_ref().is_some_and(|running| running.is_given && running.begun.id == id)
    }

    /// Nobody waits for the answer any more: the id of the command that ran, if it has one, and what it is about.
    pub fn interrupted(&self) -> Option<(String, Matter)> {
        let running = self.running.lock().take()?;
        Some(running.named())
    }

    /// Those that no process waits for, the oldest first.
    #[must_use]
    pub fn left(&self) -> Vec<OpenRequest> {
        let files = self.files().into_iter().filter(|path| !is_locked(path));
        let mut left: Vec<OpenRequest> = files.filter_map(|path| read(&path)).collect();
        left.retain(|one| self.is_ours(&one.begun));
        left.sort_by_key(|one| one.begun.begun_ms);
        left
    }

    /// The one of this id.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<OpenRequest> {
        read(&self.path(id)?).filter(|one| one.begun.id == id && self.is_ours(&one.begun))
    }

    /// The outcome of a request about this is known: that of another matter under the same id is as open as before.
    pub fn settled(&self, id: &str, matter: &Matter) {
        let kept = self.find(id).map(|one| one.matter());
        if kept.is_none_or(|kept| !kept.is_known() || kept == *matter) {
            self.forget(id);
        }
    }

    /// Its outcome is known.
    pub fn forget(&self, id: &str) {
        if let Some(path) = self.path(id) {
            // One that stays is told once more, and settled once more.
            let _ = std::fs::remove_file(path);
        }
    }

    fn is_ours(&self, begun: &Begun) -> bool {
        let is_cluster = [&begun.cluster, &self.cluster].iter().any(|name| name.is_empty());
        begun.tool == self.tool && (is_cluster || begun.cluster == self.cluster)
    }

    /// Ids may be any text: files have names of their digests.
    fn path(&self, id: &str) -> Option<PathBuf> {
        let digest = u128::from_be_bytes(proto::hash::digest(&[id.as_bytes()]));
        self.folder.as_ref().map(|folder| folder.join(format!("{digest:032x}.json")))
    }

    fn files(&self) -> Vec<PathBuf> {
        let Some(Ok(entries)) = self.folder.as_ref().map(std::fs::read_dir) else { return Vec::new() };
        let paths = entries.flatten().map(|entry| entry.path());
        paths.filter(|path| path.extension().is_some_and(|ending| ending == "json")).collect()
    }

    fn create(&self, running: &Running) -> Option<File> {
        let (folder, path) = (self.folder.as_ref()?, self.path(&running.begun.id)?);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).ok()?;
        self.make_room();
        let file = OpenOptions::new().create_new(true).append(true).mode(0o600).open(&path);
        // Another tool that starts looks for a moment whether it is locked: this waits for that.
        let mut file = file.ok().filter(|file| file.lock().is_ok())?;
        write_line(&mut file, &running.begun);
        if let Some(sent) = &running.sent {
            write_line(&mut file, sent);
        }
        Some(file)
    }

    /// The oldest go that nobody waits for, while there are too many.
    fn make_room(&self) {
        let made = |path: &PathBuf| path.metadata().and_then(|found| found.modified()).ok();
        let mut files: Vec<PathBuf> = self.files();
        let over = (files.len() + 1).saturating_sub(FILES_MAX);
        files.sort_by_key(made);
        for path in files.iter().filter(|path| !is_locked(path)).take(over) {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// In one write, so that a line is there whole or not at all. A full disk only leaves less to tell later.
fn write_line(file: &mut File, line: &impl Serialize) {
    let Ok(mut text) = serde_json::to_vec(line) else { return };
    text.push(b'\n');
    let _ = file.write_all(&text);
}

/// The file, locked by this process from now on; `None`: it is gone, or another process waits for its answer.
fn locked(path: &Path) -> Option<File> {
    let file = OpenOptions::new().append(true).open(path).ok()?;
    file.try_lock().is_ok().then_some(file)
}

fn is_locked(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// What a file says; `None`: nothing that a tool wrote whole.
fn read(path: &Path) -> Option<OpenRequest> {
    let mut text = String::new();
    File::open(path).ok()?.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    let mut lines = text.lines();
    let begun = serde_json::from_str(lines.next()?).ok()?;
    let sent = lines.filter_map(|line| serde_json::from_str(line).ok()).next_back();
    Some(OpenRequest { begun, sent })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use proto::portal::UpdateShopRequest;

    use super::*;

    fn requests(folder: &Path, is_person: bool) -> Arc<OpenRequests> {
        OpenRequests::beside(Some(folder.join("history")), "admin", "5".to_owned(), is_person)
    }

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    fn id(id: &str) -> RequestId {
        RequestId { id: id.to_owned(), created_ms: 7 }
    }

    fn message(if_match: u64, request: &str) -> UpdateShopRequest {
        UpdateShopRequest { hold_minutes: 30, if_match, request: Some(id(request)), ..Default::default() }
    }

    #[test]
    fn a_request_is_kept_before_it_is_sent_and_goes_with_its_answer() {
        let folder = tempfile::tempdir().unwrap();
        let one = requests(folder.path(), true);
        one.begin(("a/../b", false), &words("set-shop --hold-minutes 30"), "");
        let other = requests(folder.path(), true);
        assert!(other.find("a/../b").is_some() && other.left().is_empty(), "somebody waits for it");
        one.sending(&id("a/../b"), message(9, "a/../b"));
        let kept = folder.path().join("history.requests");
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        let file = std::fs::read_dir(&kept).unwrap().next().unwrap().unwrap().path();
        assert_eq!((mode(&kept), mode(&file)), (0o700, 0o600));
        one.ended(false, true);
        assert_eq!(other.find("a/../b"), None);
        // As if its process had been killed.
        one.begin(("r2", false), &words("delete-client ana"), "");
        drop(one);
        let left = other.left();
        assert_eq!((left.len(), left[0].begun.words.join(" ").as_str()), (1, "delete-client ana"));
        let elsewhere = OpenRequests::beside(Some(folder.path().join("history")), "shop", "5".into(), true);
        assert_eq!(elsewhere.left(), []);
        other.forget("r2");
        assert_eq!(other.left(), []);
    }

    #[test]
    fn a_command_that_is_repeated_under_its_id_sends_what_it_sent() {
        let folder = tempfile::tempdir().unwrap();
        let script = || requests(folder.path(), false);
        let line = words("set-shop --hold-minutes 30");
        let first = script();
        first.begin(("r1", false), &line, "");
        assert!(!first.is_given("r1"));
        assert_eq!(first.sending(&id("r1"), message(9, "r1")), message(9, "r1"));
        assert!(first.find("r1").is_none(), "a script's request is kept when its outcome is unknown");
        first.ended(true, false);
        let again = script();
        again.begin(("r1", false), &line, "");
        assert_eq!(again.sending(&id("r1"), message(12, "r1")), message(9, "r1"));
        again.ended(false, false);
        assert!(again.find("r1").is_some(), "nobody answered: it is as open as before");
        // What this tool says before anything is sent is no answer to what was sent then.
        again.begin(("r1", false), &line, "");
        let left = again.ended(false, true).expect("it is as open as before");
        assert_eq!(left.0, AsOpen::Unsent);
        assert_eq!(left.2.settling(&left.1), "settle r1 --shop");
        assert!(again.find("r1").is_some());
        // Another command under the id is its own, and leaves the file alone.
        again.begin(("r1", false), &words("set-shop --currency BRL"), "");
        assert_eq!(again.sending(&id("r1"), message(12, "r1")), message(12, "r1"));
        again.ended(false, true);
        again.begin(("r1", false), &line, "");
        again.sending(&id("r1"), message(12, "r1"));
        assert_eq!(again.ended(false, true), None);
        assert!(again.find("r1").is_none());
    }

    /// What was lost may still be done when a later attempt has been refused: only an answer that closes the id, or its success, ends it.
    #[test]
    fn a_refusal_after_a_lost_attempt_leaves_the_request_open_until_its_outcome_is_known() {
        let folder = tempfile::tempdir().unwrap();
        for is_person in [true, false] {
            let one = requests(folder.path(), is_person);
            let line = words("set-shop --hold-minutes 30");
            one.begin(("r1", false), &line, "");
            one.sending(&id("r1"), message(9, "r1"));
            one.lost("another");
            one.lost("r1");
            let (as_open, named, matter) = one.ended(false, false).expect("it is open");
            assert_eq!((as_open, matter.settling(&named).as_str()), (AsOpen::Lost, "settle r1 --shop"));
            assert_eq!(one.left().len(), 1, "person: {is_person}");
            // Repeated by a later process, and refused again without a lost attempt of its own.
            let again = requests(folder.path(), is_person);
            again.begin(("r1", true), &line, "");
            assert_eq!(again.sending(&id("r1"), message(12, "r1")), message(9, "r1"));
            assert!(again.ended(false, false).is_some() && again.find("r1").is_some());
            again.begin(("r1", true), &line, "");
            again.sending(&id("r1"), message(12, "r1"));
            assert!(again.ended(false, true).is_none() && again.find("r1").is_none());
            // A refusal of what was never lost is an answer like any other.
            again.begin(("r2", false), &line, "");
            again.sending(&id("r2"), message(9, "r2"));
            assert!(again.ended(false, false).is_none() && again.find("r2").is_none());
        }
    }

    /// What became of the command that runs is known; what is open is about something else.
    #[test]
    fn a_refusal_of_another_command_under_an_open_id_names_what_the_open_one_is_about() {
        let folder = tempfile::tempdir().unwrap();
        for is_person in [true, false] {
            let all = requests(folder.path(), is_person);
            all.begin(("r1", false), &words("set-shop --hold-minutes 30"), "");
            all.sending(&id("r1"), message(9, "r1"));
            all.ended(true, false);
            let other = proto::portal::UpdateClientRequest { cid: "ana".into(), ..Default::default() };
            all.begin(("r1", true), &words("update-client ana"), "ana");
            all.sending(&id("r1"), other.clone());
            let (as_open, named, matter) = all.ended(false, false).expect("the first is open");
            assert_eq!((as_open, matter.settling(&named).as_str()), (AsOpen::Others, "settle r1 --shop"));
            // Its own lost attempt is of its own matter; its success says nothing of the first.
            all.begin(("r1", true), &words("update-client ana"), "ana");
            all.sending(&id("r1"), other.clone());
            all.lost("r1");
            let (as_open, named, matter) = all.ended(false, false).expect("both are open");
            assert_eq!((as_open, matter.settling(&named).as_str()), (AsOpen::Lost, "settle r1 --cid ana"));
            all.begin(("r1", true), &words("update-client ana"), "ana");
            all.sending(&id("r1"), other);
            assert_eq!(all.ended(false, true), None);
            let kept = all.find("r1").expect("the first is open");
            assert_eq!(kept.begun.words, words("set-shop --hold-minutes 30"));
            all.forget("r1");
        }
    }

    #[test]
    fn the_largest_message_that_is_kept_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let sends = |bytes: usize| {
            let one = requests(folder.path(), true);
            one.begin(("r1", false), &words("update-client ana"), "");
            let data = "\u{1f34c}".repeat(bytes / 4);
            let message =
                proto::portal::UpdateClientRequest { cid: "ana".into(), data, ..Default::default() };
            one.sending(&id("r1"), message);
            drop(one);
            let left = requests(folder.path(), true).find("r1").expect("a file");
            assert_eq!(left.matter(), Matter::of_client("ana"));
            requests(folder.path(), true).forget("r1");
            left.sent
                .and_then(|sent| sent.message::<proto::portal::UpdateClientRequest>())
                .map(|sent| sent.data.len())
        };
        let fits = MESSAGE_BYTES_MAX - 16;
        assert_eq!((sends(fits), sends(MESSAGE_BYTES_MAX)), (Some(fits), None));
    }

    /// As when another tool starts in the same moment.
    #[test]
    fn a_look_at_a_new_file_does_not_keep_its_tool_from_keeping_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = requests(folder.path(), true).path("r1").unwrap();
        let (began, is_over) = (std::sync::Barrier::new(2), std::sync::atomic::AtomicBool::new(false));
        std::thread::scope(|all| {
            all.spawn(|| {
                began.wait();
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    is_locked(&path);
                }
            });
            began.wait();
            for _ in 0..300 {
                let one = requests(folder.path(), true);
                one.begin(("r1", false), &words("x"), "");
                let is_kept = one.find("r1").is_some();
                one.ended(false, true);
                if !is_kept {
                    is_over.store(true, std::sync::atomic::Ordering::Relaxed);
                    panic!("it is not kept");
                }
            }
            is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }

    #[test]
    fn files_are_bounded_in_number_and_what_no_tool_wrote_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let all = requests(folder.path(), true);
        for at in 0..FILES_MAX + 5 {
            all.begin((&format!("r{at}"), false), &words("x"), "");
            all.interrupted();
        }
        assert_eq!(all.left().len(), FILES_MAX);
        let odd = folder.path().join("history.requests/odd.json");
        for text in ["", "{\"id\":", "[]\n"] {
            std::fs::write(&odd, text).unwrap();
            assert!(all.left().len() <= FILES_MAX);
        }
        let nowhere = OpenRequests::beside(None, "admin", String::new(), true);
        nowhere.begin(("r", false), &words("x"), "");
        nowhere.ended(true, false);
        assert_eq!(nowhere.left(), []);
    }
}
