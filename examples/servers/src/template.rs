//! A cluster that no server has used yet, made once and copied for each: copying its files takes a
//! fifth of what `initdb` takes.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tokio::sync::Mutex;

use crate::identity::{Identity, give_away, parent_folder, temporary_folder};
use crate::launch::Launch;
use crate::postgres::{PASSWORD, USER, data, program};
use crate::tools::PostgresBinaries;

/// Who starts many at once waits for the first template, and makes none that is thrown away.
static MAKING: Mutex<()> = Mutex::const_new(());

/// Makes the data folder of a new cluster in a server's folder.
pub(crate) async fn make_cluster(
    binaries: &PostgresBinaries,
    folder: &Path,
    trusting: bool,
) -> Result<()> {
    let template = template(binaries, trusting).await?;
    Launch::new("cp", folder)
        .identity(Identity::Unprivileged)
        .argument("-a")
        .argument(template)
        .argument(data(folder))
        .run()
        .await?;
    Ok(())
}

/// The template is shared by all tests, as copies of tools are; under `./dev` it goes with the run's
/// other files.
async fn template(binaries: &PostgresBinaries, trusting: bool) -> Result<PathBuf> {
    let _making = MAKING.lock().await;
    let initdb = binaries.bin.join("initdb");
    let made = fs::metadata(&initdb).and_then(|file| file.modified());
    let made = made.with_context(|| format!("can't find {}", initdb.display()))?;
    let mut name = DefaultHasher::new();
    let user = rustix::process::geteuid().as_raw();
    (&initdb, made, trusting, user).hash(&mut name);
    let template = parent_folder().join(format!("xo-cluster-{:016x}", name.finish()));
    if template.exists() {
        return Ok(template);
    }
    let unfinished = temporary_folder()?;
    init(binaries, unfinished.path(), trusting).await?;
    // Under its name only when complete; another process may be quicker, with the same content.
    match fs::rename(data(unfinished.path()), &template) {
        Err(error) if !template.exists() => {
            Err(error).with_context(|| format!("can't make {}", template.display()))
        }
        _ => Ok(template),
    }
}

async fn init(binaries: &PostgresBinaries, folder: &Path, trusting: bool) -> Result<()> {
    give_away(folder)?;
    let password = folder.join("password");
    fs::write(&password, PASSWORD)?;
    give_away(&password)?;
    program(binaries, "initdb", folder)
        .argument("--pgdata")
        .argument(data(folder))
        .argument("--username")
        .argument(USER)
        .argument("--pwfile")
        .argument(password)
        .argument("--auth-local=trust")
        .argument(if trusting {
            "--auth-host=trust"
        } else {
            "--auth-host=scram-sha-256"
        })
        .argument("--encoding=UTF8")
        .argument("--locale=C")
        .argument("--no-sync")
        .run()
        .await?;
    Ok(())
}
