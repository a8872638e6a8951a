//! The trust in the files that LMDB left on disk.
//!
//! LMDB runs without syncing, since the log makes writes durable. After a crash of the *process* its pages are
//! still in the page cache and whole; after a crash of the *machine* any of them may be missing. Two marks beside
//! `data.mdb` tell which it was:
//!
//! ```text
//!   open ──► opened {boot id, device, inode}, fsynced ──► writes … ──► sync returned ──► clean {length}, fsynced
//!                                                            ▲                             │
//!                                                            └──── clean removed, fsynced ◄┘ before the next write
//! ```
//!
//! LMDB is trusted only if `clean` is there, or if the boot id, the device and the inode in `opened` are those of
//! now. Otherwise everything is removed, and the replica starts from its newest snapshot and the log. A sync that
//! failed removes both marks, because the page cache may since differ from the disk in either direction; so does damage that is
//! found while the table is open, or it would be found again after every start.
//!
//! A page can be damaged so that LMDB ends the process that looks at it, which then can remove no mark, and would end again
//! after every start. So the pages of a table that the marks vouch for are checked before LMDB maps them ([`crate::pages`]), and
//! the abrupt ends are counted in `starts`: one more at each opening, none after a sync that returned
//! or an end in order. After [`ENDS_MAX`] of them the table is not trusted.
//!
//! LMDB maps its file, and a page that the file does not reach kills the process that looks at it (SIGBUS). So a
//! file that is shorter than `clean` says is not trusted either. Under `opened`, and under a `clean` of format 1,
//! which had no length, LMDB's own count of pages decides ([`crate::pages`]).
//!
//! Leaves out: LMDB itself; bytes that changed without the length changing: LMDB has no checksums, and only
//! comparing replicas finds those (`feira audit`).

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Error, OutOfSpace};
use crate::pages::Unsound;

pub(crate) const DATA: &str = "data.mdb";
const LOCK: &str = "lock.mdb";
const OPENED: &str = "opened";
const CLEAN: &str = "clean";
const STARTS: &str = "starts";
/// A database opened so often, with an abrupt end before a sync returned each time, is not opened once more as it is.
pub const ENDS_MAX: u32 = 3;
const OPENED_FORMAT: u32 = 1;
/// Format 1 of `clean` had no length.
const CLEAN_FORMAT: u32 = 2;

/// What was found at opening.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The table is what it was.
    Trusted,
    /// The table was emptied: the replica starts from its newest snapshot and the log.
    Discarded(Reason),
}

/// Why a table was not trusted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// There was none.
    Absent,
    /// Neither mark was there, or whole: it was never opened properly, or a sync failed.
    Unmarked,
    /// The machine was started since, and the table was not clean; or the data file is another (a copy).
    Unclean,
    /// An import of a whole state had not ended.
    HalfImported,
    /// Its file is shorter than what was written to it.
    Short,
    /// LMDB could not open it.
    Damaged,
    /// Its pages contradict each other.
    Unsound(Unsound),
    /// Its process ended abruptly time and again, soon after it was opened.
    Deadly,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Unsound(unsound) => return write!(f, "it is damaged: {unsound}"),
            Reason::Absent => "there was none",
            Reason::Unmarked => "neither of its marks was there and whole",
            Reason::Unclean => {
                "it was not closed cleanly before the machine was started or the file was copied"
            }
            Reason::Short => "its file is shorter than what was written to it",
            Reason::HalfImported => "the import of a snapshot had not ended",
            Reason::Damaged => "it is damaged",
            Reason::Deadly => "the process ended abruptly each of the last 3 times, soon after it was opened",
        })
    }
}

/// Judges the folder, and removes what cannot be trusted.
pub(crate) fn evaluate(folder: &Path, boot_id: &str) -> Result<Verdict, Error> {
    let verdict = verdict(folder, boot_id).map_err(|error| Error::table("judging the database", error))?;
    if matches!(verdict, Verdict::Discarded(_)) {
        discard(folder)?;
    }
    Ok(verdict)
}

fn verdict(folder: &Path, boot_id: &str) -> io::Result<Verdict> {
    if !folder.join(DATA).try_exists()? {
        return Ok(Verdict::Discarded(Reason::Absent));
    }
    if abrupt_ends(folder)? >= ENDS_MAX {
        return Ok(Verdict::Discarded(Reason::Deadly));
    }
    if let Some(bytes) = read(&folder.join(CLEAN))?.as_deref().and_then(clean_bytes) {
        let is_short = fs::metadata(folder.join(DATA))?.len() < bytes;
        return Ok(if is_short { Verdict::Discarded(Reason::Short) } else { Verdict::Trusted });
    }
    match read(&folder.join(OPENED))? {
        Some(opened) if opened == opened_text(folder, boot_id)? => Ok(Verdict::Trusted),
        Some(opened) if is_whole(&opened) => Ok(Verdict::Discarded(Reason::Unclean)),
        _ => Ok(Verdict::Discarded(Reason::Unmarked)),
    }
}

/// Removes the table and its marks, the marks first and durably: a crash in between leaves nothing to trust.
pub(crate) fn discard(folder: &Path) -> Result<(), Error> {
    let all = || {
        remove(&folder.join(CLEAN))?;
        remove(&folder.join(OPENED))?;
        sync_folder(folder)?;
        remove(&folder.join(STARTS))?;
        remove(&folder.join(DATA))?;
        remove(&folder.join(LOCK))?;
        sync_folder(folder)
    };
    all().map_err(|error| Error::table("removing a database that cannot be trusted", error))
}

/// The marks of one opened table. The holder keeps writes out while it calls these.
#[derive(Debug)]
pub(crate) struct Marks {
    /// Where the table is.
    folder: PathBuf,
    /// `clean` is there and whole.
    clean: bool,
    /// The table is not to be believed: no mark vouches for it again.
    distrusted: bool,
    /// An abrupt end from here on counts.
    counts: bool,
}

impl Marks {
    /// Makes `opened` durable; after the data file is there, before the first write to it.
    pub(crate) fn begin(folder: &Path, boot_id: &str) -> Result<Marks, Error> {
        let marked = || {
            replace(folder, OPENED, &opened_text(folder, boot_id)?)?;
            replace(folder, STARTS, &starts_text(abrupt_ends(folder)?.saturating_add(1)))?;
            Ok(read(&folder.join(CLEAN))?.as_deref().and_then(clean_bytes).is_some())
        };
        let clean =
            marked().map_err(|error: io::Error| Error::table("marking the database as opened", error))?;
        Ok(Marks { folder: folder.to_owned(), clean, distrusted: false, counts: true })
    }

    /// Must return before anything is written.
    pub(crate) fn before_write(&mut self) -> Result<(), Error> {
        if self.clean {
            let removed = remove(&self.folder.join(CLEAN)).and_then(|()| sync_folder(&self.folder));
            removed.map_err(|error| Error::table("removing the mark of a clean database", error))?;
            self.clean = false;
        }
        Ok(())
    }

    /// A sync returned, and nothing was written since it began.
    pub(crate) fn after_sync(&mut self) -> Result<(), Error> {
        if !self.clean && !self.distrusted {
            let length = fs::metadata(self.folder.join(DATA)).map(|data| data.len());
            let written = length.and_then(|bytes| replace(&self.folder, CLEAN, &clean_text(bytes)));
            written.map_err(|error| Error::table("marking the database as clean", error))?;
            self.clean = true;
        }
        Ok(())
    }

    /// The process has lived with the table, or ends in order: what came before does not count any more. If the file stays, more
    /// is counted than there was, and the table is made anew once too often.
    pub(crate) fn lived(&mut self) {
        if std::mem::take(&mut self.counts) {
            let _ = remove(&self.folder.join(STARTS));
        }
    }

    /// A sync failed, or damage was found: the next opening must not trust the table.
    pub(crate) fn distrust(&mut self) -> Result<(), Error> {
        if self.distrusted {
            return Ok(());
        }
        (self.clean, self.distrusted) = (false, true);
        let removed = remove(&self.folder.join(CLEAN))
            .and_then(|()| remove(&self.folder.join(OPENED)))
            .and_then(|()| sync_folder(&self.folder));
        removed.map_err(|error| {
            Error::table("removing the marks of a database that is not to be believed", error)
        })
    }
}

fn opened_text(folder: &Path, boot_id: &str) -> io::Result<String> {
    let data = fs::metadata(folder.join(DATA))?;
    Ok(sealed(format!(
        "feira opened {OPENED_FORMAT}\nboot {boot_id}\ndevice {}\ninode {}\n",
        data.dev(),
        data.ino()
    )))
}

fn starts_text(ends: u32) -> String {
    sealed(format!("feira starts 1\nabrupt ends {ends}\n"))
}

/// How often the table's process ended abruptly; a file that is torn says nothing.
fn abrupt_ends(folder: &Path) -> io::Result<u32> {
    let text = read(&folder.join(STARTS))?.unwrap_or_default();
    let ends =
        text.strip_prefix("feira starts 1\nabrupt ends ").and_then(|rest| rest.lines().next()?.parse().ok());
    Ok(ends.filter(|ends| starts_text(*ends) == text).unwrap_or(0))
}

fn clean_text(bytes: u64) -> String {
    sealed(format!("feira clean {CLEAN_FORMAT}\nbytes {bytes}\n"))
}

/// The length that a mark of a clean table says its file has; 0 where it says nothing (format 1). `None`: it is torn,
/// or of a format that is not known here.
fn clean_bytes(mark: &str) -> Option<u64> {
    if mark == sealed("feira clean 1\n".to_owned()) {
        return Some(0);
    }
    let bytes =
        mark.strip_prefix(&format!("feira clean {CLEAN_FORMAT}\nbytes "))?.lines().next()?.parse().ok()?;
    (mark == clean_text(bytes)).then_some(bytes)
}

/// The data file, to be read.
pub(crate) fn open_data(folder: &Path) -> Result<File, Error> {
    File::open(folder.join(DATA)).map_err(|error| Error::table("opening the database's file", error))
}

/// The data file, opened to be made longer: once, since a process may have no descriptor left when it must be.
pub(crate) fn data_file(folder: &Path) -> Result<File, Error> {
    let data = File::options().write(true).open(folder.join(DATA));
    data.map_err(|error| Error::table("opening the database's file", error))
}

/// Makes the data file of a folder at least so long; returns its length.
pub(crate) fn lengthen(data: &File, folder: &Path, bytes: u64) -> Result<u64, Error> {
    let longer = || {
        let length = data.metadata()?.len();
        if length < bytes {
            data.set_len(bytes)?;
        }
        Ok(length.max(bytes))
    };
    longer().map_err(|error: io::Error| out_of_space(folder, "lengthening the database's file", error))
}

/// An error of the operating system; what lacks room is told apart.
fn out_of_space(folder: &Path, doing: &'static str, error: io::Error) -> Error {
    let out_of_space = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => OutOfSpace::Disk,
        io::ErrorKind::FileTooLarge => OutOfSpace::FileSize,
        _ => return Error::table(doing, error),
    };
    Error::Full { file: folder.join(DATA), doing, out_of_space }
}

/// The text and its checksum: a torn mark equals nothing.
fn sealed(text: String) -> String {
    let sum = xxh3_64(text.as_bytes());
    text + &format!("checksum {sum:016x}\n")
}

fn is_whole(mark: &str) -> bool {
    mark.rfind("checksum ").is_some_and(|at| sealed(mark[..at].to_owned()) == mark)
}

fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Write, fsync, rename, fsync of the folder.
fn replace(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    let aside = folder.join(format!("{name}.new"));
    let mut file = File::create(&aside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&aside, folder.join(name))?;
    sync_folder(folder)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_failed_to_sync_is_not_trusted_again() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(DATA), b"pages").unwrap();
        let mut marks = Marks::begin(folder.path(), "boot").unwrap();
        marks.before_write().unwrap();
        marks.after_sync().unwrap();
        assert_eq!(evaluate(folder.path(), "boot").unwrap(), Verdict::Trusted);
        marks.before_write().unwrap();
        marks.distrust().unwrap();
        assert_eq!(evaluate(folder.path(), "boot").unwrap(), Verdict::Discarded(Reason::Unmarked));
        assert_eq!(
            evaluate(folder.path(), "boot").unwrap(),
            Verdict::Discarded(Reason::Absent),
            "and it is gone"
        );
    }

    #[test]
    fn a_table_whose_process_ends_abruptly_each_time_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(DATA), b"pages").unwrap();
        let begin = || Marks::begin(folder.path(), "boot").unwrap();
        for _ in 0..ENDS_MAX {
            begin();
        }
        let mut marks = begin();
        marks.lived();
        assert_eq!(evaluate(folder.path(), "boot").unwrap(), Verdict::Trusted, "it has lived since");
        for _ in 0..ENDS_MAX {
            assert_eq!(evaluate(folder.path(), "boot").unwrap(), Verdict::Trusted);
            begin();
        }
        assert_eq!(evaluate(folder.path(), "boot").unwrap(), Verdict::Discarded(Reason::Deadly));
        assert!(!folder.path().join(STARTS).exists(), "and counting begins anew");
        fs::write(folder.path().join(STARTS), &starts_text(9)[..20]).unwrap();
        assert_eq!(abrupt_ends(folder.path()).unwrap(), 0, "torn");
    }

    #[test]
    fn a_failure_between_removing_and_remaking_leaves_nothing_to_trust() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(DATA), b"pages").unwrap();
        assert_eq!(
            evaluate(folder.path(), "boot").unwrap(),
            Verdict::Discarded(Reason::Unmarked),
            "never marked"
        );
        assert!(!folder.path().join(DATA).exists());
    }

    #[test]
    fn a_clean_table_whose_file_is_cut_is_made_anew_at_open() {
        for boot in ["boot", "another boot"] {
            let folder = tempfile::tempdir().unwrap();
            let data = folder.path().join(DATA);
            fs::write(&data, [7; 8192]).unwrap();
            let mut marks = Marks::begin(folder.path(), "boot").unwrap();
            marks.before_write().unwrap();
            marks.after_sync().unwrap();
            assert_eq!(evaluate(folder.path(), boot).unwrap(), Verdict::Trusted);
            File::options().write(true).open(&data).unwrap().set_len(8191).unwrap();
            assert_eq!(evaluate(folder.path(), boot).unwrap(), Verdict::Discarded(Reason::Short));
            assert!(!data.exists() && !folder.path().join(CLEAN).exists());
        }
    }

    #[test]
    fn marks_of_older_releases_are_read_and_torn_or_unknown_ones_are_not() {
        assert_eq!(clean_bytes(&sealed("feira clean 1\n".to_owned())), Some(0));
        assert_eq!(clean_bytes(&clean_text(4096)), Some(4096));
        let torn = clean_text(4096);
        assert_eq!(clean_bytes(&torn[..torn.len() - 2]), None);
        assert_eq!(clean_bytes(&torn.replace("4096", "4095")), None);
        assert_eq!(clean_bytes(&sealed("feira clean 3\nbytes 4096\n".to_owned())), None);
        assert_eq!(clean_bytes(&sealed("feira clean 2\nbytes 4096\nmore\n".to_owned())), None);
    }
}
