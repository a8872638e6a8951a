//! Folders and files that are their owner's alone: what a cluster keeps holds names, orders and keys of people.
//!
//! New files are so from the beginning (the umask of this program); files of an earlier version are closed here.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What its owner may do.
const OWNER: u32 = 0o700;
/// What anybody else may do.
const OTHERS: u32 = 0o077;
/// Folders within folders that are looked into; ours are four deep.
const DEPTH_MAX: usize = 16;

/// Takes a folder, and all that is in it, from everybody but its owner. What cannot be changed (another owner) is said in the
/// log and left: it is no reason not to sell.
pub fn keep(path: &Path) {
    let mut open: Vec<(PathBuf, usize)> = vec![(path.to_owned(), 0)];
    while let Some((path, depth)) = open.pop() {
        let Ok(found) = std::fs::symlink_metadata(&path) else { continue };
        let mode = found.permissions().mode();
        if !found.is_symlink() && mode & OTHERS != 0 {
            let owners = std::fs::Permissions::from_mode(mode & OWNER);
            if let Err(error) = std::fs::set_permissions(&path, owners) {
                tracing::warn!(path = %path.display(), %error, "others on this machine may read this");
            }
        }
        if found.is_dir() && depth < DEPTH_MAX {
            let within = std::fs::read_dir(&path).into_iter().flatten().flatten();
            open.extend(within.map(|entry| (entry.path(), depth + 1)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_version_left_open_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (inner, file) = (folder.path().join("groups/1"), folder.path().join("groups/1/log.0"));
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::write(&file, "x").unwrap();
        let set = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        set(&inner, 0o755);
        set(&file, 0o644);
        keep(folder.path());
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(folder.path()), mode(&inner), mode(&file)), (0o700, 0o700, 0o600));
        keep(&folder.path().join("nothing"));
    }
}
