//! The note of a deletion with cascade that is under way, `d/c/{CID}` or `d/p/{PID}`, and who works on it.
//!
//! ```json
//! {"request":"0193f7a2…","created_ms":1764403200000,"digest":"9832d972ac837d73b3cfd6aef0c31681","touched_ms":1764403200000}
//! ```
//!
//! ```text
//!   first transaction: closing, and the note ──► orders, one by one; the note is touched ──► last transaction: deleted, and no note
//!                                    │ nobody has touched it for LEASE_MS of log time
//!                                    └──► another portal takes it up, and ends it under the same request id
//! ```
//!
//! Promises: who began a deletion may be killed anywhere, and what he began is found without looking through clients and products. It is taken up
//! when the log's time says that nobody works on it, by one portal; a note is of a client or product that is closing. The last step has the identity of the request that began it: it is
//! done once, and whoever settles or repeats that request is told so.
//!
//! Leaves out: the steps, which guard what they read and harm nothing however many work on them (`admin-portal`).

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use proto::store::failed_guard::Reason;
use proto::store::{KeyRecord, Txn};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::attempt::{Request, send_step};
use crate::document::{read, write};
use crate::error::Error;
use crate::handle::Portal;
use crate::id::{Cid, Pid};
use crate::key;

/// What the keys of all notes begin with.
pub const NOTES: &[u8] = b"d/";
/// A deletion that nobody has touched for so long is nobody's, by log time.
pub const LEASE_MS: i64 = 15_000;
/// Who works on it touches it when it was not touched for so long.
const TOUCH: Duration = Duration::from_secs(3);
/// Notes that are watched at once; more are taken up by log time alone.
const WATCHED_MAX: usize = 10_000;
/// Where a note says when it was touched.
const TOUCHED: &str = "/touched_ms";

const _: () = assert!(4 * TOUCH.as_millis() < LEASE_MS as u128);

/// A note as stored.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeletionRecord {
    /// The id of the request that began it.
    pub request: String,
    /// When that was made, milliseconds since 1970; 0: it does not say.
    #[serde(default, skip_serializing_if = "is_not_said")]
    pub created_ms: i64,
    /// Of its name and arguments, 32 hexadecimal digits.
    pub digest: String,
    /// When somebody worked on it last, milliseconds since 1970 by the log's time.
    pub touched_ms: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_not_said(ms: &i64) -> bool {
    *ms == 0
}

impl DeletionRecord {
    fn of(request: &Request, touched_ms: i64) -> DeletionRecord {
        let (id, created_ms, digest) = request.named();
        let digest = format!("{:032x}", u128::from_be_bytes(digest));
        DeletionRecord { request: id.to_owned(), created_ms, digest, touched_ms }
    }

    /// Reads a stored note.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn read(key: &[u8], data: &[u8]) -> Result<DeletionRecord, Error> {
        let record: DeletionRecord = read(key, data)?;
        let is_digest =
            record.digest.len() == 32 && record.digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_digest { Ok(record) } else { Err(Error::damaged(key, "its digest is none")) }
    }

    /// The request that began it.
    #[must_use]
    pub fn asked(&self) -> Request {
        let digest = u128::from_str_radix(&self.digest, 16).unwrap_or_default();
        Request::again(&self.request, self.created_ms, digest.to_be_bytes())
    }
}

/// What is being deleted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Doomed {
    /// A client.
    Client(Cid),
    /// A product.
    Product(Pid),
}

impl Doomed {
    /// The key of its note.
    #[must_use]
    pub fn note(&self) -> Bytes {
        let (letter, encoded) = match self {
            Doomed::Client(cid) => ('c', cid.encoded()),
            Doomed::Product(pid) => ('p', pid.encoded()),
        };
        Bytes::from(format!("d/{letter}/{{{encoded}}}"))
    }

    /// The key of its own record.
    #[must_use]
    pub fn record(&self) -> Bytes {
        match self {
            Doomed::Client(cid) => key::client(cid),
            Doomed::Product(pid) => key::product(pid),
        }
    }

    /// What a note is of; `None`: its key is of another form.
    #[must_use]
    pub fn parse(at: &[u8]) -> Option<Doomed> {
        let (letter, rest) = std::str::from_utf8(at).ok()?.strip_prefix("d/")?.split_once("/{")?;
        let id = proto::keys::decode_id(rest.strip_suffix('}')?).ok()?;
        let doomed = match letter {
            "c" => Doomed::Client(Cid::stored("cid", &id).ok()?),
            "p" => Doomed::Product(Pid::stored("pid", &id).ok()?),
            _ => return None,
        };
        (doomed.note() == at).then_some(doomed)
    }

    /// Puts its note into the transaction that begins the deletion.
    #[must_use]
    pub fn noted(&self, txn: Txn, request: &Request, now_ms: i64) -> Txn {
        let note = DeletionRecord::of(request, now_ms);
        txn.put(self.note(), now_ms, write(&note)).stamped(&[TOUCHED])
    }
}

/// The work on a deletion, by whoever holds it.
#[derive(Debug)]
pub struct Work {
    /// What is being deleted.
    pub doomed: Doomed,
    /// The request that began it.
    pub request: Request,
    /// The version of the note that is this worker's.
    offset: u64,
    touched: Instant,
    /// Another has taken it up, and may have changed orders.
    pub is_shared: bool,
}

impl Work {
    /// That on what was begun by the entry at this offset.
    #[must_use]
    pub fn begun(doomed: Doomed, request: Request, offset: u64) -> Work {
        Work { doomed, request, offset, touched: Instant::now(), is_shared: false }
    }

    /// Somebody still works on it: the note says so.
    ///
    /// # Errors
    /// UNAVAILABLE.
    pub async fn touch(&mut self, portal: &Portal) -> Result<(), Error> {
        if self.touched.elapsed() < TOUCH { Ok(()) } else { self.touch_now(portal).await }
    }

    /// As [`Work::touch`], however short ago it was touched: afterwards it is known whether another has taken it up until now.
    ///
    /// # Errors
    /// UNAVAILABLE.
    pub async fn touch_now(&mut self, portal: &Portal) -> Result<(), Error> {
        if self.is_shared {
            return Ok(());
        }
        let now = Instant::now();
        let txn = Txn::new().guard_offset(self.doomed.note(), self.offset);
        let answer = send_step(portal, self.doomed.noted(txn, &self.request, portal.log_time_ms())).await?;
        if answer.success {
            (self.offset, self.touched) = (answer.offset(), now);
        } else {
            self.is_shared = true;
        }
        Ok(())
    }

    /// Takes the note away, if what it was of is not being deleted any more: `seen` is the version of that, if it is there.
    ///
    /// # Errors
    /// UNAVAILABLE.
    pub async fn end(&self, portal: &Portal, seen: Option<u64>) -> Result<(), Error> {
        let (note, record) = (self.doomed.note(), self.doomed.record());
        let txn = Txn::new().guard_offset(note.clone(), self.offset);
        let txn = match seen {
            Some(offset) => txn.guard_offset(record, offset),
            None => txn.guard_absent(record),
        };
        send_step(portal, txn.delete(note)).await.map(drop)
    }
}

/// Versions of notes that stay, and since when this portal has seen each: by its monotonic time, since its clock of the day may be behind.
#[derive(Debug, Default)]
pub struct Watched {
    since: HashMap<Bytes, (u64, Instant)>,
    /// Those of the pass over all notes that is under way.
    seen: HashSet<Bytes>,
}

impl Watched {
    /// Whether this version of a note has been there for the time of a lease. The guard on log time says whether that is so.
    fn is_old(&mut self, key: &Bytes, offset: u64) -> bool {
        if !self.since.contains_key(key) && self.since.len() >= WATCHED_MAX {
            return false;
        }
        self.seen.insert(key.clone());
        let (seen, since) = self.since.entry(key.clone()).or_insert_with(|| (offset, Instant::now()));
        if *seen != offset {
            (*seen, *since) = (offset, Instant::now());
        }
        since.elapsed().as_millis() >= u128::from(LEASE_MS.unsigned_abs())
    }

    /// All notes were looked at: those that are gone are forgotten.
    pub fn pass_over(&mut self) {
        let seen = std::mem::take(&mut self.seen);
        self.since.retain(|key, _| seen.contains(key));
    }
}

impl Portal {
    /// Takes up what a note says, if nobody works on it by the log's time; `None`: somebody does, or was first. It is worth asking when the log's time says
    /// so, as far as this portal knows it, and when it has seen the note unchanged for so long.
    ///
    /// # Errors
    /// The note is damaged; UNAVAILABLE, also while members of the store know no guards on time.
    pub async fn take_up(&self, note: &KeyRecord, watched: &mut Watched) -> Result<Option<Work>, Error> {
        let Some(record) = &note.record else { return Ok(None) };
        let doomed = Doomed::parse(&note.key)
            .ok_or_else(|| Error::damaged(&note.key, "the key of no deletion's note"))?;
        let stored = DeletionRecord::read(&note.key, &record.data)?;
        let due_ms = stored.touched_ms.saturating_add(LEASE_MS);
        let is_old = watched.is_old(&note.key, record.offset());
        if due_ms > self.log_time_ms() && !is_old {
            return Ok(None);
        }
        let (request, sent_ms) = (stored.asked(), self.now_ms());
        let txn = Txn::new().guard_offset(note.key.clone(), record.offset());
        let txn = doomed.noted(txn.guard_not_before(note.key.clone(), due_ms), &request, self.log_time_ms());
        let answer = send_step(self, txn).await?;
        if let Some(early) = answer.failed.iter().find(|failed| failed.reason() == Reason::TooEarly) {
            self.saw_log_time(early.log_time_ms, sent_ms, answer.remembered);
        }
        Ok(answer.success.then(|| Work::begun(doomed, request, answer.offset())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::ID_BYTES_MAX;

    #[test]
    fn a_note_is_stored_as_documented_and_names_the_request_that_began_it() {
        let request = Request::again("r1", 5, [7; 16]);
        let text =
            r#"{"request":"r1","created_ms":5,"digest":"07070707070707070707070707070707","touched_ms":9}"#;
        assert_eq!(String::from_utf8_lossy(&write(&DeletionRecord::of(&request, 9))), text);
        let read = DeletionRecord::read(b"d/c/{ana}", text.as_bytes()).expect("a note");
        assert_eq!(read.asked().named(), request.named());
        let unsaid = write(&DeletionRecord::of(&Request::again("r1", 0, [0; 16]), 9));
        assert!(!String::from_utf8_lossy(&unsaid).contains("created_ms"));
        for damaged in
            ["{}", &text.replace("0707", "07"), &text.replace("0707", "é707"), &text.replace('5', "\"5\"")]
        {
            assert!(
                matches!(DeletionRecord::read(b"d/", damaged.as_bytes()), Err(Error::Damaged { .. })),
                "{damaged}"
            );
        }
    }

    #[test]
    fn the_key_of_a_note_gives_back_what_it_is_of_and_fits() {
        let longest = "%".repeat(ID_BYTES_MAX);
        for id in ["ana", "a/b{}", "maçã", &longest] {
            let client = Doomed::Client(Cid::parse("cid", id).expect("an id"));
            let product = Doomed::Product(Pid::parse("pid", id).expect("an id"));
            for doomed in [client, product] {
                assert!(doomed.note().len() <= proto::check::KEY_BYTES_MAX);
                assert_eq!(Doomed::parse(&doomed.note()), Some(doomed));
            }
        }
        assert_eq!(Doomed::Client(Cid::parse("cid", "a/b").expect("an id")).note(), "d/c/{a%2Fb}");
        for nobodys in ["d/", "d/c/ana", "d/x/{ana}", "d/c/{ana}x", "d/c/{a/b}"] {
            assert_eq!(Doomed::parse(nobodys.as_bytes()), None, "{nobodys}");
        }
    }
}
