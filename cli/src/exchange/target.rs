//! The file that a command writes: in the place of one that is there, at once and whole; or into a pipe, a terminal, /dev/null, in whose place
//! nothing comes.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::atomic_write::NewFile;
use crate::failure::Failure;

/// Refuses to write a list of refused lines over the file that is imported, by whatever name it goes.
///
/// # Errors
/// They are one file, or one of them cannot be looked at.
pub fn is_another(path: &Path, input: &Path) -> Result<(), Failure> {
    let there = match std::fs::metadata(path) {
        Ok(there) => there,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Failure::file("write", path, &e)),
    };
    let input = std::fs::metadata(input).map_err(|e| Failure::file("open", input, &e))?;
    if (there.dev(), there.ino()) == (input.dev(), input.ino()) {
        return Err(Failure::usage(format!(
            "{} is the file that is imported: the list of refused lines would be written over it",
            path.display()
        ))
        .next("name another file with --refused"));
    }
    Ok(())
}

/// A file that is being written.
#[derive(Debug)]
pub enum Target {
    /// Takes the place of one that is there, when it is published.
    New(NewFile, PathBuf),
    /// Nothing takes its place.
    Device(File, PathBuf),
    /// Standard output; and whether its reader has gone, who wants no more.
    Output(std::io::Stdout, bool),
}

impl Target {
    /// Opens it; `-` is standard output.
    ///
    /// # Errors
    /// It is a folder, or cannot be written.
    pub fn open(path: &Path) -> Result<Target, Failure> {
        if path == Path::new("-") {
            return Ok(Target::Output(std::io::stdout(), false));
        }
        let failed = |e: std::io::Error| Failure::file("write", path, &e);
        let there = match std::fs::metadata(path) {
            Ok(there) => Some(there),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(failed(e)),
        };
        match there {
            Some(there) if !there.is_file() && !there.is_dir() => {
                let file = OpenOptions::new().write(true).open(path).map_err(failed)?;
                Ok(Target::Device(file, path.to_owned()))
            }
            there => {
                if there.is_some_and(|there| there.is_file()) {
                    // One that is protected is not replaced either, though its folder would let it be.
                    OpenOptions::new().append(true).open(path).map_err(failed)?;
                }
                Ok(Target::New(NewFile::beside(path)?, path.to_owned()))
            }
        }
    }

    /// Gives it its name, if it is a file of its own.
    ///
    /// # Errors
    /// It cannot be synced or renamed.
    pub fn publish(self) -> Result<(), Failure> {
        match self {
            Target::New(file, _) => file.publish(),
            Target::Device(..) | Target::Output(..) => Ok(()),
        }
    }

    /// Whether nobody wants any more of it.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self, Target::Output(_, true))
    }

    /// What a write that failed means.
    #[must_use]
    pub fn failure(&self, error: &dyn std::fmt::Display) -> Failure {
        let name = match self {
            Target::New(_, path) | Target::Device(_, path) => path.display().to_string(),
            Target::Output(..) => "to standard output".to_owned(),
        };
        Failure::refused(format!("cannot write {name}: {error}"))
    }
}

/// A pipe whose reader has gone is no failure: nobody wants the rest.
fn unless_closed<T>(done: std::io::Result<T>, all: T, closed: &mut bool) -> std::io::Result<T> {
    match done {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            *closed = true;
            Ok(all)
        }
        done => done,
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Target::New(file, _) => file.write(bytes),
            Target::Device(file, _) => file.write(bytes),
            Target::Output(output, closed) => unless_closed(output.write(bytes), bytes.len(), closed),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Target::New(file, _) => file.flush(),
            Target::Device(file, _) => file.flush(),
            Target::Output(output, closed) => unless_closed(output.flush(), (), closed),
        }
    }
}
