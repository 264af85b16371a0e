//! Where the servers' binaries are.
//!
//! Looked for in this order: an environment variable, the repository's ignored folder `.tools/`
//! (filled by `./dev setup`), Debian's places, the `PATH`. A missing binary is an error with the
//! command that installs it.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::identity::within_reach;

/// A Postgres major version's programs and what they need to run.
#[derive(Clone, Debug)]
pub struct PostgresBinaries {
    /// The folder with `initdb` and `postgres`.
    pub bin: PathBuf,
    /// The folder with its own shared libraries, if it brings them.
    pub lib: Option<PathBuf>,
}

/// The Restate server; `EXACTLY_ONCE_RESTATE_SERVER` overrides.
///
/// # Errors
/// When it is not installed.
pub fn restate_server() -> Result<PathBuf> {
    let tools = tools_folder().join("restate/restate-server");
    find(
        "restate-server",
        "EXACTLY_ONCE_RESTATE_SERVER",
        &[tools],
        "./dev setup restate",
    )
}

/// Temporal's command-line client, which is its server of development too;
/// `EXACTLY_ONCE_TEMPORAL` overrides.
///
/// # Errors
/// When it is not installed.
pub fn temporal() -> Result<PathBuf> {
    let tools = tools_folder().join("temporal/temporal");
    find(
        "temporal",
        "EXACTLY_ONCE_TEMPORAL",
        &[tools],
        "./dev setup temporal",
    )
}

/// A Python with Temporal's SDK; `EXACTLY_ONCE_TEMPORAL_PYTHON` overrides.
///
/// # Errors
/// When it is not installed.
pub fn temporal_python() -> Result<PathBuf> {
    let tools = tools_folder().join("temporal-python/bin/python");
    find_beside_path(
        "a Python with temporalio",
        "EXACTLY_ONCE_TEMPORAL_PYTHON",
        &[tools],
        "./dev setup temporal",
    )
}

/// The folder whose `node_modules` has Restate's SDK for TypeScript, the compiler, and a driver of
/// Postgres; `EXACTLY_ONCE_SDK_TS` overrides.
///
/// # Errors
/// When it is not installed.
pub fn typescript_sdk() -> Result<PathBuf> {
    folder("sdk-ts", "EXACTLY_ONCE_SDK_TS", "node_modules/@restatedev")
}

/// The folder for `PYTHONPATH` with Restate's SDK for Python, a server for it, and a driver of Postgres;
/// `EXACTLY_ONCE_SDK_PY` overrides.
///
/// # Errors
/// When it is not installed.
pub fn python_sdk() -> Result<PathBuf> {
    folder("sdk-py", "EXACTLY_ONCE_SDK_PY", "restate")
}

/// Node; `EXACTLY_ONCE_NODE` overrides.
///
/// # Errors
/// When it is not installed.
pub fn node() -> Result<PathBuf> {
    find(
        "node",
        "EXACTLY_ONCE_NODE",
        &[],
        "apt-get install nodejs npm",
    )
}

/// Python, the one that the SDK was installed by; `EXACTLY_ONCE_PYTHON` overrides.
///
/// # Errors
/// When it is not installed.
pub fn python() -> Result<PathBuf> {
    find(
        "python3",
        "EXACTLY_ONCE_PYTHON",
        &[],
        "apt-get install python3",
    )
}

/// A folder of `.tools/` with something in it.
fn folder(name: &str, variable: &str, inside: &str) -> Result<PathBuf> {
    let folder = match env::var_os(variable) {
        Some(folder) => PathBuf::from(folder),
        None => tools_folder().join(name),
    };
    if !folder.join(inside).exists() {
        bail!(
            "there is no {} in {}; install it with: ./dev setup sdks (or name the folder in {variable})",
            inside,
            folder.display()
        );
    }
    // Absolute: a child runs in another folder.
    Ok(std::path::absolute(folder)?)
}

/// Redis' (or Valkey's) server; `EXACTLY_ONCE_REDIS_SERVER` overrides.
///
/// # Errors
/// When it is not installed.
pub fn redis_server() -> Result<PathBuf> {
    let install = "./dev setup redis (or: apt-get install redis-server)";
    find("redis-server", "EXACTLY_ONCE_REDIS_SERVER", &[], install)
}

/// Valkey's server; `EXACTLY_ONCE_VALKEY_SERVER` overrides.
///
/// # Errors
/// When it is not installed.
pub fn valkey_server() -> Result<PathBuf> {
    let tools = tools_folder().join("valkey/usr/bin/valkey-server");
    let install = "./dev setup valkey";
    find(
        "valkey-server",
        "EXACTLY_ONCE_VALKEY_SERVER",
        &[tools],
        install,
    )
}

/// Redis' command-line client; `EXACTLY_ONCE_REDIS_CLI` overrides.
///
/// # Errors
/// When it is not installed.
pub fn redis_cli() -> Result<PathBuf> {
    let install = "./dev setup redis (or: apt-get install redis-tools)";
    find("redis-cli", "EXACTLY_ONCE_REDIS_CLI", &[], install)
}

/// A folder with the locale `en_US.UTF-8`, made there by glibc's `localedef` if need be.
///
/// # Errors
/// When it can't be made.
pub fn utf8_locale() -> Result<PathBuf> {
    let folder = tools_folder().join("locale");
    let made = folder.join("en_US.UTF-8");
    if made.join("LC_COLLATE").is_file() {
        return Ok(folder);
    }
    std::fs::create_dir_all(&folder)?;
    // Another test may be making it too: each its own, and the first name wins.
    let own = folder.join(format!("making-{}", std::process::id()));
    let localedef = std::process::Command::new("localedef")
        .args(["-i", "en_US", "-f", "UTF-8"])
        .arg(&own)
        .output();
    let output =
        localedef.context("there is no localedef; install it with: apt-get install locales")?;
    if !own.join("LC_COLLATE").is_file() {
        bail!(
            "the locale en_US.UTF-8 can't be made: {}; install it with: apt-get install locales",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    if std::fs::rename(&own, &made).is_err() {
        std::fs::remove_dir_all(&own)?;
    }
    Ok(folder)
}

/// pgbouncer; `EXACTLY_ONCE_PGBOUNCER` overrides.
///
/// # Errors
/// When it is not installed.
pub fn pgbouncer() -> Result<PathBuf> {
    let install = "./dev setup postgres (or: apt-get install pgbouncer)";
    find(
        "pgbouncer",
        "EXACTLY_ONCE_PGBOUNCER",
        &["/usr/sbin/pgbouncer".into()],
        install,
    )
}

/// OpenSSL's command, to make certificates; `EXACTLY_ONCE_OPENSSL` overrides.
///
/// # Errors
/// When it is not installed.
pub fn openssl() -> Result<PathBuf> {
    let install = "./dev setup postgres (or: apt-get install openssl)";
    find("openssl", "EXACTLY_ONCE_OPENSSL", &[], install)
}

/// The versions of Postgres whose client may be about.
const MAJORS: std::ops::RangeInclusive<u32> = 12..=30;

/// Postgres' command-line client, of any version; `EXACTLY_ONCE_PSQL` overrides.
///
/// # Errors
/// When it is not installed.
pub fn psql() -> Result<PathBuf> {
    let install = "./dev setup postgres (or: apt-get install postgresql-client)";
    // Debian's on the path is a script that takes longer to choose a version than psql takes to run.
    let debian = (MAJORS.rev())
        .map(|major| PathBuf::from(format!("/usr/lib/postgresql/{major}/bin/psql")))
        .collect::<Vec<_>>();
    find("psql", "EXACTLY_ONCE_PSQL", &debian, install)
}

/// The programs of one Postgres major version; `EXACTLY_ONCE_POSTGRES_<major>` overrides, naming
/// the folder with `initdb` and `postgres`.
///
/// # Errors
/// When this version is not installed.
pub fn postgres(major: u32) -> Result<PostgresBinaries> {
    let variable = format!("EXACTLY_ONCE_POSTGRES_{major}");
    if let Some(bin) = env::var_os(&variable).map(PathBuf::from) {
        if !bin.join("postgres").is_file() {
            bail!(
                "{variable} is {}, but there is no postgres in it",
                bin.display()
            );
        }
        return Ok(PostgresBinaries { bin, lib: None });
    }
    let native = tools_folder().join(format!("postgres-{major}/native"));
    if native.join("bin/postgres").is_file() {
        let native = within_reach(&native)?;
        return Ok(PostgresBinaries {
            bin: native.join("bin"),
            lib: Some(native.join("lib")),
        });
    }
    let debian = PathBuf::from(format!("/usr/lib/postgresql/{major}/bin"));
    if debian.join("postgres").is_file() {
        return Ok(PostgresBinaries {
            bin: debian,
            lib: None,
        });
    }
    bail!(
        "PostgreSQL {major} is not installed; install it with: ./dev setup postgres \
         (or: apt-get install postgresql-{major}, or name its folder in {variable})"
    )
}

/// util-linux's `setpriv`, part of every Debian.
pub(crate) fn setpriv() -> Result<PathBuf> {
    find(
        "setpriv",
        "EXACTLY_ONCE_SETPRIV",
        &[],
        "apt-get install util-linux",
    )
}

fn find(name: &str, variable: &str, places: &[PathBuf], install: &str) -> Result<PathBuf> {
    let on_path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&on_path).map(|folder| folder.join(name));
    let places: Vec<_> = places.iter().cloned().chain(on_path).collect();
    find_beside_path(name, variable, &places, install)
}

/// As [`find`], and not on the `PATH`.
fn find_beside_path(
    name: &str,
    variable: &str,
    places: &[PathBuf],
    install: &str,
) -> Result<PathBuf> {
    if let Some(path) = env::var_os(variable).map(PathBuf::from) {
        if path.is_file() {
            return Ok(path);
        }
        bail!("{variable} is {}, which is no file", path.display());
    }
    places
        .iter()
        .find(|path| path.is_file())
        .cloned()
        .ok_or_else(|| {
            anyhow::anyhow!(
                "{name} is not installed; install it with: {install} \
                 (or name the file in {variable})"
            )
        })
}

/// The repository's `.tools/`; `EXACTLY_ONCE_TOOLS` overrides. Looked for from the working folder
/// upwards, since a target folder may be shared by several checkouts; else where this was built.
fn tools_folder() -> PathBuf {
    if let Some(folder) = env::var_os("EXACTLY_ONCE_TOOLS") {
        return PathBuf::from(folder);
    }
    let here = env::current_dir().unwrap_or_default();
    here.ancestors()
        .map(|folder| folder.join(".tools"))
        .find(|folder| folder.is_dir())
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_binary_says_how_to_install_it() {
        let error = find(
            "no-such-server",
            "NO_SUCH_VARIABLE",
            &[],
            "apt-get install it",
        );
        let text = error.unwrap_err().to_string();
        assert!(text.contains("apt-get install it"), "{text}");
        let text = postgres(9).unwrap_err().to_string();
        assert!(text.contains("./dev setup postgres"), "{text}");
    }
}
