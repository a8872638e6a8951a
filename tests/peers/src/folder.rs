//! The folder of all servers: on a disk, removed with the bench; and the account of those that refuse to run as root.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::unistd::{Gid, Uid, User, chown};
use tempfile::TempDir;

/// An account of this machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Account {
    /// Its user's number.
    pub uid: u32,
    /// Its group's number.
    pub gid: u32,
}

impl Account {
    /// The account of this name, if this process is root's and has to change to it; `None`: it stays who it is.
    ///
    /// # Errors
    /// There is no such account.
    pub fn unless_common(name: &str) -> anyhow::Result<Option<Account>> {
        if !Uid::effective().is_root() {
            return Ok(None);
        }
        let user = User::from_name(name).with_context(|| format!("cannot look up the user {name}"))?;
        let Some(user) = user else {
            bail!("there is no user {name}, under which its server runs for root: adduser --system {name}");
        };
        Ok(Some(Account { uid: user.uid.as_raw(), gid: user.gid.as_raw() }))
    }

    /// Gives it a folder.
    ///
    /// # Errors
    /// It may not be given away.
    pub fn own(self, folder: &Path) -> anyhow::Result<()> {
        let changed = chown(folder, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)));
        changed.with_context(|| format!("cannot give {} to the user {}", folder.display(), self.uid))
    }
}

/// A new folder below this one, which others may look into: some servers run under another account.
///
/// # Errors
/// It cannot be made, or is in memory, where synchronising costs nothing and nothing is compared.
pub fn made(below: &Path) -> anyhow::Result<TempDir> {
    let kind =
        statfs(below).with_context(|| format!("cannot look at {}", below.display()))?.filesystem_type();
    if kind == TMPFS_MAGIC {
        bail!(
            "{} is in memory, where an fsync costs nothing: name a folder on a disk with --folder",
            below.display()
        );
    }
    let made = tempfile::Builder::new().prefix("bench-peers-").tempdir_in(below);
    let made = made.with_context(|| format!("cannot make a folder in {}", below.display()))?;
    let open = std::fs::set_permissions(made.path(), std::fs::Permissions::from_mode(0o755));
    open.with_context(|| format!("cannot open {} to other accounts", made.path().display()))?;
    Ok(made)
}

/// A new folder of one server.
///
/// # Errors
/// It cannot be made.
pub fn below(folder: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let path = folder.join(name);
    std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_with_its_owner() {
        let here = std::env::current_dir().unwrap();
        let folder = made(&here).unwrap();
        let path = below(folder.path(), "server").unwrap();
        assert!(path.is_dir());
        drop(folder);
        assert!(!path.exists());
        assert!(
            made(Path::new("/no/such/folder")).expect_err("it is not there").to_string().contains("/no/such")
        );
    }
}
