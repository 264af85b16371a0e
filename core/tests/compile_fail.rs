//! Goal: the common mistakes do not compile, and the message says what to do.
//!
//! Method: the compiler on each file of `compile_fail/`, against the library as it was built for
//! this very test. Not by trybuild, which would build all dependencies once more.
#![cfg(feature = "restate")]

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// Files, and what their messages must say.
const MISTAKES: &[(&str, &[&str])] = &[
    (
        "adjust_without",
        &["`S` has no versioned balances", "use a store that has them"],
    ),
    (
        "lease_without",
        &["`S` has no leases", "needs the bound `S: LeaseStore`"],
    ),
    (
        "one_shot_without",
        &["known up front", "use `execute_once`, whose work"],
    ),
    (
        "two_phase_without",
        &["can't keep the decisions", "hand over the store"],
    ),
    (
        "participant_without",
        &[
            "can't take part in a two-phase commit",
            "use a store that can",
        ],
    ),
    (
        "last_without",
        &[
            "can't be the last participant",
            "use `participant` for this store",
        ],
    ),
    ("no_context", &["is no Restate context", "take one of them"]),
    (
        "no_operation",
        &["`Amount` is no balance operation", "return `Adjust`"],
    ),
    (
        "no_argument",
        &["closure is expected to take 1 argument", "async |_| Ok(5)"],
    ),
    (
        "plain_closure",
        &["is not a future", "to implement `for<'t> Work<"],
    ),
    (
        "not_send",
        &["`Rc<i64>` which is not `Send`", "await occurs here"],
    ),
    (
        "receipt",
        &["Receipt: serde::Serialize", "#[derive(serde::Serialize)]"],
    ),
    (
        "text_as_error",
        &[
            "`String: std::error::Error` is not satisfied",
            "`WorkError`",
        ],
    ),
    // Or it would be terminal, though it may be ambiguous.
    (
        "store_error",
        &["`?` couldn't convert the error", "TerminalError"],
    ),
];

/// Where the library and the SDK are, as they were compiled.
struct Libraries {
    folder: PathBuf,
    core: PathBuf,
    sdk: PathBuf,
}

impl Libraries {
    /// Those that fit each other, the newest first: other builds may lie beside ours.
    fn find() -> io::Result<Self> {
        let program = env::current_exe()?;
        let folder = program.parent().unwrap_or(&program).to_owned();
        let sdks = newest(&folder, "librestate_sdk-")?;
        for core in newest(&folder, "libexactly_once_core-")? {
            for sdk in &sdks {
                let (folder, core, sdk) = (folder.clone(), core.clone(), sdk.clone());
                let libraries = Self { folder, core, sdk };
                if libraries.compile("right")?.0 {
                    return Ok(libraries);
                }
            }
        }
        Err(io::Error::other("what is right does not compile"))
    }

    /// Whether the file compiles, and what the compiler says.
    fn compile(&self, file: &str) -> io::Result<(bool, String)> {
        let file = Path::new("tests/compile_fail").join(file);
        let library = |name, path: &Path| format!("{name}={}", path.display());
        let done = Command::new(env::var_os("RUSTC").unwrap_or("rustc".into()))
            .args(["--edition", "2024", "--emit", "metadata"])
            .args(["--color", "never", "--cap-lints", "allow"])
            .args(["--crate-name", "mistake"])
            .args(["--out-dir", env!("CARGO_TARGET_TMPDIR")])
            .args(["-L", &library("dependency", &self.folder)])
            .args(["--extern", &library("exactly_once_core", &self.core)])
            .args(["--extern", &library("restate_sdk", &self.sdk)])
            .arg(file.with_extension("rs"))
            .output()?;
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        Ok((done.status.success(), said))
    }
}

fn newest(folder: &Path, prefix: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(prefix) && name.ends_with(".rlib") {
            found.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    found.sort();
    Ok(found.into_iter().rev().map(|(_, path)| path).collect())
}

#[test]
fn common_mistakes_do_not_compile_and_the_message_says_what_to_do() -> io::Result<()> {
    let libraries = Libraries::find()?;
    let mut wrong = Vec::new();
    for (file, wanted) in MISTAKES {
        let (compiles, said) = libraries.compile(file)?;
        let missing: Vec<_> = wanted.iter().filter(|it| !said.contains(**it)).collect();
        if compiles || !missing.is_empty() {
            wrong.push(format!(
                "{file}: compiles: {compiles}; not said: {missing:?}\n{said}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    let files = fs::read_dir("tests/compile_fail")?.count();
    assert_eq!(files, MISTAKES.len() + 1, "a file that is not looked at");
    Ok(())
}
