//! `feira backup` and `feira restore`: the whole state of the store in one file, or of several shards in one folder, and a new
//! cluster that begins with it.
//!
//! Promises: a file or folder has its name only when it is whole, checked and durable; a cluster's folder is there whole or not
//! at all. Leaves out: how the state is read while writes go on (`store_server`), and what is in the file
//! (`store_engine::backup`).

mod manifest;
mod reshard;
pub mod restore;
pub mod restore_ring;
pub mod ring;
pub mod take;

use std::path::Path;

use crate::failure::Failure;

/// What is wrong with a backup's file, and what to do.
pub(crate) fn unusable(path: &Path, error: &store_engine::Error) -> Failure {
    use store_log::Error as Log;
    let file = path.display();
    let another = "take another backup, or use an older one";
    match error {
        store_engine::Error::Log(Log::Missing { .. }) => Failure::refused(format!("{file} is not there")),
        store_engine::Error::Log(Log::Damaged { at: 0, problem, .. }) => {
            Failure::refused(format!("{file} is no backup, or its beginning is damaged: {problem}"))
                .next(another)
        }
        store_engine::Error::Log(Log::Damaged { at, problem, .. }) => {
            Failure::refused(format!("{file} is damaged or cut off at byte {at}: {problem}")).next(another)
        }
        store_engine::Error::Log(Log::Version { what, found, known, .. }) => Failure::refused(format!(
            "{file} was made by a newer feira: its {what} is {found}, this one knows up to {known}"
        ))
        .next("use the feira that made it, or a newer one"),
        other => Failure::refused(format!("{file} cannot be used: {other}")).next(another),
    }
}
