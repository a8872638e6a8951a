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
    /// Standard output.
    Output(std::io::Stdout),
}

impl Target {
    /// Opens it; `-` is standard output.
    ///
    /// # Errors
    /// It is a folder, or cannot be written.
    pub fn open(path: &Path) -> Result<Target, Failure> {
        if path == Path::new("-") {
            return Ok(Target::Output(std::io::stdout()));
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
            Target::Device(..) | Target::Output(_) => Ok(()),
        }
    }

    /// What a write that failed means.
    #[must_use]
    pub fn failure(&self, error: &dyn std::fmt::Display) -> Failure {
        let name = match self {
            Target::New(_, path) | Target::Device(_, path) => path.display().to_string(),
            Target::Output(_) => "to standard output".to_owned(),
        };
        Failure::refused(format!("cannot write {name}: {error}"))
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Target::New(file, _) => file.write(bytes),
            Target::Device(file, _) => file.write(bytes),
            Target::Output(output) => output.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Target::New(file, _) => file.flush(),
            Target::Device(file, _) => file.flush(),
            Target::Output(output) => output.flush(),
        }
    }
}
