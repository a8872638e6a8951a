//! What a command makes on disk has its name only when it is whole: it is made aside, synced, renamed, and the folder
//! synced. Whatever happens, there is what was there before or what is new; what a killed command left aside is made
//! anew by the next one.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Writes a small file in the place of whatever has its name; who may read it stays as it was.
///
/// # Errors
/// It cannot be written, and what was there is still there; or it is not certain that it outlives a loss of power.
pub fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let beside = beside(path, ".new");
    std::fs::write(&beside, text).map_err(|e| Failure::file("write", &beside, &e))?;
    if let Ok(before) = std::fs::metadata(path) {
        let kept = std::fs::set_permissions(&beside, before.permissions());
        kept.map_err(|e| Failure::file("write", &beside, &e))?;
    }
    publish(&beside, path)
}

/// As [`replace`], for a file that only its owner may read: it has mode 600 before it has a byte.
///
/// # Errors
/// As for [`replace`].
pub fn replace_secret(path: &Path, text: &str) -> Result<(), Failure> {
    let beside = beside(path, ".new");
    match std::fs::remove_file(&beside) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(Failure::file("remove", &beside, &e)),
        _ => {}
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|e| Failure::file("write", &beside, &e))?;
    publish(&beside, path)
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
pub struct Aside {
    /// Where it is.
    pub path: PathBuf,
}

impl Aside {
    /// Makes it beside `wanted`, with a suffix to its name and empty, so that what is made in it can be renamed.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn beside(wanted: &Path, suffix: &str) -> Result<Aside, Failure> {
        let path = beside(wanted, suffix);
        match std::fs::remove_dir_all(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(Failure::file("remove", &path, &e)),
            _ => {}
        }
        std::fs::create_dir_all(&path).map_err(|e| Failure::file("make", &path, &e))?;
        Ok(Aside { path })
    }
}

impl Drop for Aside {
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
    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_stays_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("note.json");
        replace(&path, "one").unwrap();
        replace(&path, "two").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_was_left_aside_is_made_anew_and_what_is_whole_takes_the_place_of_an_empty_folder() {
        let folder = tempfile::tempdir().unwrap();
        let wanted = folder.path().join("shop");
        std::fs::create_dir_all(folder.path().join("shop.restoring/left")).unwrap();
        std::fs::create_dir(&wanted).unwrap();
        let aside = Aside::beside(&wanted, ".restoring").unwrap();
        assert_eq!(std::fs::read_dir(&aside.path).unwrap().count(), 0);
        std::fs::write(aside.path.join("whole"), "1").unwrap();
        publish(&aside.path, &wanted).unwrap();
        drop(aside);
        assert!(wanted.join("whole").exists());
        drop(Aside::beside(&wanted, ".restoring").unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "it goes with the value");
        let error = publish(&folder.path().join("nothing"), &wanted).unwrap_err();
        assert!(error.message.contains("shop"), "{}", error.message);
    }
}
