//! How a child process is started.
//!
//! - It dies with us: the kernel sends it SIGKILL when its parent *thread* ends (`setpriv
//!   --pdeathsig`), so a SIGKILLed test leaves nothing behind. Because it is the thread that
//!   counts, and tests and runtimes end threads all the time, one thread that never ends starts
//!   all children.
//! - It has a process group of its own, so a Ctrl-C at the terminal reaches us and not it: we
//!   stop it in order.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{OnceLock, mpsc};
use std::thread;

use anyhow::{Context, Result, anyhow};

use crate::identity::{Identity, NOBODY, are_we_root};
use crate::tools;

/// A program with its arguments, environment, folder and log: all that it takes to start it, again
/// and again.
#[derive(Clone, Debug)]
pub struct Launch {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    folder: PathBuf,
    log: PathBuf,
    identity: Identity,
}

impl Launch {
    /// A program to be run inside `folder`, with its output appended to `<name>.log` there.
    pub fn new(program: impl Into<PathBuf>, folder: impl Into<PathBuf>) -> Self {
        let (program, folder) = (program.into(), folder.into());
        let name = program
            .file_name()
            .unwrap_or(OsStr::new("child"))
            .to_string_lossy();
        let log = folder.join(format!("{name}.log"));
        Self {
            arguments: Vec::new(),
            environment: Vec::new(),
            identity: Identity::Caller,
            program,
            folder,
            log,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn arguments(mut self, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Sends the output to another file.
    #[must_use]
    pub fn log(mut self, log: impl Into<PathBuf>) -> Self {
        self.log = log.into();
        self
    }

    /// Runs it as another user.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = identity;
        self
    }

    /// The program's file name.
    pub fn name(&self) -> String {
        self.program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }

    /// Where its output goes.
    pub fn log_file(&self) -> &Path {
        &self.log
    }

    /// Starts it from the thread that never ends.
    pub(crate) fn spawn(&self) -> Result<Child> {
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("can't open the log {}", self.log.display()))?;
        let mut command = self.command()?;
        command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let (answer, child) = mpsc::channel();
        parent()
            .send((command, answer))
            .map_err(|_| anyhow!("the parent thread has ended"))?;
        let child = child.recv().context("the parent thread has ended")?;
        child.with_context(|| format!("can't start {}", self.program.display()))
    }

    /// Runs it to its end, and gives what it printed. For helpers such as `initdb`.
    pub(crate) async fn run(&self) -> Result<String> {
        let mut command = self.command()?;
        command.stdin(Stdio::null());
        let mut command = tokio::process::Command::from(command);
        let output = command.kill_on_drop(true).output().await;
        let output = output.with_context(|| format!("can't run {}", self.program.display()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        Err(anyhow!(
            "{} failed ({}): {}{}",
            self.name(),
            output.status,
            text,
            String::from_utf8_lossy(&output.stderr)
        ))
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new(tools::setpriv()?);
        command.args(["--pdeathsig", "KILL"]);
        if self.identity == Identity::Unprivileged && are_we_root() {
            let nobody = NOBODY.to_string();
            command.args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups"]);
        }
        command
            .arg("--")
            .arg(&self.program)
            .args(&self.arguments)
            .current_dir(&self.folder);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }
}

type Order = (Command, mpsc::Sender<std::io::Result<Child>>);

/// The thread that starts every child, and lives as long as this process.
fn parent() -> &'static mpsc::Sender<Order> {
    static PARENT: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    PARENT.get_or_init(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, answer) in inbox {
                // If no caller waits for the child any more, it must not stay.
                if let Err(mpsc::SendError(Ok(mut child))) = answer.send(command.spawn()) {
                    let _ = child.kill();
                    let _ = child.wait();
                }
            }
        });
        orders
    })
}
