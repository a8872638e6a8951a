//! Files and folders that a command makes: aside, synced, renamed, and the folder synced, so that each has its name only
//! when it is whole. Whatever happens, there is what was there before or what is new.
//!
//! Promises: what is made aside takes the place of nothing that somebody else made, whatever its name; it goes when the
//! command fails, and a folder that a killed command left is made anew by the next one.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Names that are tried for what is made aside.
const NAMES_MAX: u32 = 100;
/// In a folder aside: it is ours. Locked while a command works in it.
const MARK: &str = ".feira-aside";

/// Writes a small file in the place of whatever has its name.
///
/// # Errors
/// It cannot be written, and what was there is still there; or it is not certain that it outlives a loss of power.
pub fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let mut new = NewFile::beside(path)?;
    new.write_all(text.as_bytes()).map_err(|e| Failure::file("write", path, &e))?;
    new.publish()
}

/// As [`replace`], for a file that only its owner may read: it has mode 600 before it has a byte.
///
/// # Errors
/// As for [`replace`].
pub fn replace_secret(path: &Path, text: &str) -> Result<(), Failure> {
    let mut new = NewFile::secret_beside(path)?;
    new.write_all(text.as_bytes()).map_err(|e| Failure::file("write", path, &e))?;
    new.publish()
}

/// Checks that a file could be put in the place of whatever has its name, and changes nothing.
///
/// # Errors
/// It could not.
pub fn check(path: &Path) -> Result<(), Failure> {
    NewFile::beside(path).map(drop)
}

/// A file that is being made beside the one whose place it is to take; it goes with the value, unless it is published.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    /// Where it is made; empty once it has its name.
    made: PathBuf,
    /// Where it is to be: where a link leads, if `path` was one.
    to: PathBuf,
    /// Only its owner may read it, whoever might read what was there.
    secret: bool,
}

impl NewFile {
    /// Begins it, empty.
    ///
    /// # Errors
    /// It cannot be made; or a folder has its name.
    pub fn beside(path: &Path) -> Result<NewFile, Failure> {
        NewFile::make(path, false)
    }

    /// Begins one that only its owner may read.
    ///
    /// # Errors
    /// As for [`NewFile::beside`].
    pub fn secret_beside(path: &Path) -> Result<NewFile, Failure> {
        NewFile::make(path, true)
    }

    fn make(path: &Path, secret: bool) -> Result<NewFile, Failure> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        if secret {
            options.mode(0o600);
        }
        let to = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if to.is_dir() {
            return Err(Failure::usage(format!("{} is a folder, and not a file", path.display())));
        }
        for _ in 0..NAMES_MAX {
            let made = beside(&to, &format!(".new-{:08x}", fastrand::u32(..)));
            match options.open(&made) {
                Ok(file) => return Ok(NewFile { file, made, to, secret }),
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return Err(Failure::file("write", path, &e)),
            }
        }
        Err(Failure::refused(format!("no name is free beside {}", path.display())))
    }

    /// Gives it its name, durably, with the permissions of what was there.
    ///
    /// # Errors
    /// It cannot be synced or renamed; what was there is still there then.
    pub fn publish(mut self) -> Result<(), Failure> {
        if let Ok(there) = std::fs::metadata(&self.to)
            && !self.secret
        {
            let kept = self.file.set_permissions(there.permissions());
            kept.map_err(|e| Failure::file("write", &self.to, &e))?;
        }
        publish(&self.made, &self.to)?;
        self.made = PathBuf::new();
        Ok(())
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.made.as_os_str().is_empty() {
            // What cannot be removed is small, and in nobody's way.
            let _ = std::fs::remove_file(&self.made);
        }
    }
}

/// Gives a file or a folder that was made aside the name `to`, durably. An empty folder of that name gives way, as any
/// file does.
///
/// # Errors
/// It cannot be synced or renamed.
pub fn publish(made: &Path, to: &Path) -> Result<(), Failure> {
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(made)
        .and_then(|made| made.sync_all())
        .and_then(|()| std::fs::rename(made, to))
        .and_then(|()| File::open(parent)?.sync_all())
        .map_err(|e| Failure::file("write", to, &e))
}

/// A folder to make something in; it goes with the value.
#[derive(Debug)]
pub struct UnfinishedFolder {
    /// Where it is.
    pub path: PathBuf,
    /// Held as long as it is used.
    _mark: File,
}

impl UnfinishedFolder {
    /// Makes it beside `wanted`, with a suffix to its name and empty, so that what is made in it can be renamed. A folder
    /// of that name that is not ours, or in use, is left alone: this one is numbered then.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn beside(wanted: &Path, suffix: &str) -> Result<UnfinishedFolder, Failure> {
        for number in 1..=NAMES_MAX {
            let suffix = if number == 1 { suffix.to_owned() } else { format!("{suffix}-{number}") };
            let path = beside(wanted, &suffix);
            if let Some(atomic_write) = UnfinishedFolder::take(&path)? {
                return Ok(atomic_write);
            }
        }
        Err(Failure::refused(format!("no name is free beside {}", wanted.display()))
            .next(format!("move away what is there under names that end in {suffix}")))
    }

    /// Takes this name for a folder; `None`: somebody else's is there.
    fn take(path: &Path) -> Result<Option<UnfinishedFolder>, Failure> {
        let failed = |doing, e: std::io::Error| Failure::file(doing, path, &e);
        let there = std::fs::symlink_metadata(path);
        match there {
            Ok(_) => match OpenOptions::new().write(true).open(path.join(MARK)) {
                Ok(mark) if lock(&mark) => {
                    std::fs::remove_dir_all(path).map_err(|e| failed("remove", e))?;
                }
                _ => return Ok(None),
            },
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(failed("look at", e)),
        }
        std::fs::create_dir_all(path).map_err(|e| failed("make", e))?;
        let mark = File::create_new(path.join(MARK)).map_err(|e| failed("write in", e))?;
        Ok(lock(&mark).then_some(UnfinishedFolder { path: path.to_owned(), _mark: mark }))
    }

    /// Gives the whole folder the name `to`, durably.
    ///
    /// # Errors
    /// As [`publish`].
    pub fn publish(self, to: &Path) -> Result<(), Failure> {
        let mark = self.path.join(MARK);
        std::fs::remove_file(&mark).map_err(|e| Failure::file("remove", &mark, &e))?;
        publish(&self.path, to)
    }
}

fn lock(mark: &File) -> bool {
    !matches!(mark.try_lock(), Err(TryLockError::WouldBlock))
}

impl Drop for UnfinishedFolder {
    fn drop(&mut self) {
        // What stays is removed by the next one.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let found = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            found.map(|one| one.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_with_its_permissions_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("note.json");
        replace(&path, "one").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        replace(&path, "two").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        replace_secret(&path, "three").unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(names(folder.path()), ["note.json"]);
        check(&path).unwrap();
        let failure = check(&folder.path().join("no/note.json")).unwrap_err();
        assert!(failure.message.contains("note.json"), "{failure}");
        assert_eq!(names(folder.path()), ["note.json"], "a check leaves nothing");
    }

    #[test]
    fn what_stands_beside_a_file_that_is_replaced_stays_and_a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("note"), folder.path().join("note.new"));
        std::fs::write(&path, "one").unwrap();
        std::fs::write(&other, "mine").unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        replace(&link, "two").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "mine");
    }

    #[test]
    fn a_folder_that_is_not_ours_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let wanted = folder.path().join("backup");
        let mine = folder.path().join("backup.part/mine");
        std::fs::create_dir_all(&mine).unwrap();
        let one = UnfinishedFolder::beside(&wanted, ".part").unwrap();
        let other = UnfinishedFolder::beside(&wanted, ".part").unwrap();
        assert!(one.path.ends_with("backup.part-2") && other.path.ends_with("backup.part-3"));
        drop((one, other));
        assert!(mine.is_dir());
        assert_eq!(names(folder.path()), ["backup.part"]);
    }

    #[test]
    fn what_was_left_aside_is_made_anew_and_what_is_whole_takes_the_place_of_an_empty_folder() {
        let folder = tempfile::tempdir().unwrap();
        let wanted = folder.path().join("shop");
        std::fs::create_dir_all(folder.path().join("shop.restoring/left")).unwrap();
        std::fs::write(folder.path().join("shop.restoring").join(MARK), "").unwrap();
        std::fs::create_dir(&wanted).unwrap();
        let atomic_write = UnfinishedFolder::beside(&wanted, ".restoring").unwrap();
        assert!(!atomic_write.path.join("left").exists());
        std::fs::write(atomic_write.path.join("whole"), "1").unwrap();
        atomic_write.publish(&wanted).unwrap();
        assert_eq!(names(&wanted), ["whole"]);
        drop(UnfinishedFolder::beside(&wanted, ".restoring").unwrap());
        assert_eq!(names(folder.path()), ["shop"], "it goes with the value");
        let error = publish(&folder.path().join("nothing"), &wanted).unwrap_err();
        assert!(error.message.contains("shop"), "{}", error.message);
    }
}
