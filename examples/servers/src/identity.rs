//! Who a server runs as, and what that user can reach.
//!
//! Postgres and pgbouncer refuse to run as root. In a container we often are root, so they get the
//! user `nobody`; and `nobody` can't enter a checkout below `/root`, nor a private folder, so what
//! it needs is kept where it can.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

/// Debian's `nobody` and `nogroup`.
pub(crate) const NOBODY: u32 = 65_534;

/// A Unix socket's path has at most 107 bytes; ours add some 40 to the parent folder.
const LONGEST_PARENT: usize = 60;

/// Which user a child runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Ours.
    Caller,
    /// Never root: ours, or `nobody` if we are root.
    Unprivileged,
}

pub(crate) fn are_we_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Gives a file or folder to the user that [`Identity::Unprivileged`] stands for.
pub(crate) fn give_away(path: &Path) -> Result<()> {
    if are_we_root() {
        chown(path, Some(NOBODY), Some(NOBODY))
            .with_context(|| format!("can't give {} to nobody", path.display()))?;
    }
    Ok(())
}

/// A new temporary folder for a server.
pub(crate) fn temporary_folder() -> Result<TempDir> {
    let parent = parent_folder();
    tempfile::Builder::new()
        .prefix("xo-")
        // Open to `nobody` whatever our umask; what needs closing is closed within.
        .permissions(PermissionsExt::from_mode(0o755))
        .tempdir_in(&parent)
        .with_context(|| format!("can't make a folder in {}", parent.display()))
}

/// The same folder, or a copy of it where every server can reach it. The copy is made once and
/// shared by all tests; under `./dev` it goes with the run's other files.
pub(crate) fn within_reach(folder: &Path) -> Result<PathBuf> {
    let folder = folder.canonicalize()?;
    if !are_we_root() || reachable(&folder) {
        return Ok(folder);
    }
    let mut name = DefaultHasher::new();
    (&folder, folder.metadata()?.modified()?).hash(&mut name);
    let copy = parent_folder().join(format!("xo-tools-{:016x}", name.finish()));
    if copy.exists() {
        return Ok(copy);
    }
    // Under its name only when complete; another process may be quicker, with the same content.
    let unfinished = temporary_folder()?;
    let content = unfinished.path().join("content");
    let status = Command::new("cp")
        .arg("-a")
        .arg(&folder)
        .arg(&content)
        .status()?;
    if !status.success() {
        bail!("can't copy {} to {}", folder.display(), content.display());
    }
    fs::set_permissions(&content, PermissionsExt::from_mode(0o755))?;
    match fs::rename(&content, &copy) {
        Err(error) if !copy.exists() => {
            Err(error).with_context(|| format!("can't make {}", copy.display()))
        }
        _ => Ok(copy),
    }
}

/// The temporary folder, unless it is closed to `nobody` or its path too long for a socket.
pub(crate) fn parent_folder() -> PathBuf {
    let usual = std::env::temp_dir();
    let fits = usual.as_os_str().len() <= LONGEST_PARENT;
    if fits && (!are_we_root() || reachable(&usual)) {
        usual
    } else {
        PathBuf::from("/tmp")
    }
}

/// May anybody enter this folder and all above it?
fn reachable(folder: &Path) -> bool {
    let Ok(folder) = folder.canonicalize() else {
        return false;
    };
    folder.ancestors().all(|folder| {
        folder
            .metadata()
            .is_ok_and(|found| found.permissions().mode() & 0o001 != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_cannot_enter_is_copied_where_it_can() {
        let closed = tempfile::tempdir().unwrap();
        fs::set_permissions(&closed, PermissionsExt::from_mode(0o700)).unwrap();
        let tool = closed.path().join("tool");
        fs::create_dir(&tool).unwrap();
        fs::write(tool.join("file"), "content").unwrap();
        assert!(!reachable(&tool));
        let found = within_reach(&tool).unwrap();
        assert_eq!(fs::read_to_string(found.join("file")).unwrap(), "content");
        assert_eq!(found, within_reach(&tool).unwrap());
        if are_we_root() {
            assert!(reachable(&found));
            fs::remove_dir_all(found).unwrap();
        } else {
            assert_eq!(found, tool.canonicalize().unwrap());
        }
    }
}
