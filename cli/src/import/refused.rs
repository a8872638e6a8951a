//! The file of refused lines: number and reason of each, in the order of the input.
//!
//! Promises: it is opened before anything is sent, so that one that cannot be written stops an import that has done
//! nothing yet; it is never the input, by whatever name; a regular file has its new contents whole or the old ones.

use std::fs::{File, Metadata, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::classify::Reason;
use crate::atomic_write::NewFile;
use crate::failure::Failure;

/// A refused line with what the portal said, if it was the portal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Entry {
    /// Its number in the file.
    pub number: u64,
    /// Why.
    pub reason: Reason,
    /// In the portal's words.
    pub detail: String,
}

/// The file, opened.
#[derive(Debug)]
pub struct RefusedFile {
    path: PathBuf,
    to: To,
}

#[derive(Debug)]
enum To {
    /// Takes the place of what is there.
    New(NewFile),
    /// A pipe, a terminal, /dev/null: nothing takes its place.
    Device(File),
}

impl RefusedFile {
    /// Opens it for the refused lines of `input`.
    ///
    /// # Errors
    /// It is the input itself, a folder, or cannot be written.
    pub fn open(path: &Path, input: &Path) -> Result<RefusedFile, Failure> {
        let failed = |e: std::io::Error| Failure::file("write", path, &e);
        let there = match std::fs::metadata(path) {
            Ok(there) => Some(there),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(failed(e)),
        };
        let input = std::fs::metadata(input).map_err(|e| Failure::file("open", input, &e))?;
        if there.as_ref().is_some_and(|there| is_one(there, &input)) {
            return Err(Failure::usage(format!(
                "{} is the file that is imported: the list of refused lines would be written over it",
                path.display()
            ))
            .next("name another file with --refused"));
        }
        let to = match there {
            Some(there) if !there.is_file() && !there.is_dir() => {
                To::Device(OpenOptions::new().write(true).open(path).map_err(failed)?)
            }
            there => {
                if there.is_some_and(|there| there.is_file()) {
                    // One that is protected is not replaced either, though its folder would let it be.
                    OpenOptions::new().append(true).open(path).map_err(failed)?;
                }
                To::New(NewFile::beside(path)?)
            }
        };
        Ok(RefusedFile { path: path.to_owned(), to })
    }

    /// Writes it whole, replacing one that is there.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(self, entries: &[Entry]) -> Result<(), Failure> {
        let failed =
            |error: csv::Error| Failure::refused(format!("cannot write {}: {error}", self.path.display()));
        match self.to {
            To::Device(file) => rows(file, entries).map_err(failed).map(drop),
            To::New(file) => rows(file, entries).map_err(failed)?.publish(),
        }
    }
}

fn is_one(a: &Metadata, b: &Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

fn rows<W: Write>(to: W, entries: &[Entry]) -> Result<W, csv::Error> {
    let mut file = csv::Writer::from_writer(to);
    file.write_record(["line", "reason", "detail"])?;
    for entry in entries {
        file.write_record([entry.number.to_string().as_str(), entry.reason.words(), &entry.detail])?;
    }
    file.into_inner().map_err(|error| error.into_error().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refused_line_is_a_row() {
        let folder = tempfile::tempdir().unwrap();
        let (path, input) = (folder.path().join("refused.csv"), folder.path().join("input.csv"));
        std::fs::write(&input, "x").unwrap();
        let entry = |number, detail: &str| Entry { number, reason: Reason::ByPortal, detail: detail.into() };
        let file = RefusedFile::open(&path, &input).unwrap();
        assert!(!path.exists(), "nothing is there before there is something to say");
        file.write(&[entry(2, "a, \"b\""), entry(9, "")]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            "line,reason,detail\n2,refused by the portal,\"a, \"\"b\"\"\"\n9,refused by the portal,\n"
        );
        RefusedFile::open(Path::new("/dev/null"), &input).unwrap().write(&[entry(2, "")]).unwrap();
        assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn the_list_of_refused_lines_is_never_written_over_the_input() {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("input.csv");
        std::fs::write(&input, "the only copy").unwrap();
        let (hard, soft) = (folder.path().join("hard"), folder.path().join("soft"));
        std::fs::hard_link(&input, &hard).unwrap();
        std::os::unix::fs::symlink(&input, &soft).unwrap();
        for path in [&input, &hard, &soft, &folder.path().join("./input.csv")] {
            let failure = RefusedFile::open(path, &input).unwrap_err();
            assert!(failure.message.contains("is the file that is imported"), "{failure}");
        }
        assert_eq!(std::fs::read_to_string(&input).unwrap(), "the only copy");
        let nowhere = RefusedFile::open(&folder.path().join("no/refused.csv"), &input).unwrap_err();
        assert!(nowhere.message.contains("cannot write"), "{nowhere}");
        assert!(RefusedFile::open(folder.path(), &input).unwrap_err().message.contains("is a folder"));
    }
}
