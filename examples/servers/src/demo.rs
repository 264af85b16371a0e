//! The end of a demo's `main`.

use std::process::ExitCode;

use anyhow::Result;

/// Runs the driver, prints its report, and ends with 0 or 1 as `passed` says. At Ctrl-C, or when it
/// is asked to end, it stops what was started, since the servers stop as they are dropped.
///
/// # Errors
/// The driver's own.
pub async fn run<R>(
    driver: impl Future<Output = Result<R>>,
    passed: impl FnOnce(R) -> bool,
) -> Result<ExitCode> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        report = driver => Ok(if passed(report?) { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        _ = tokio::signal::ctrl_c() => Ok(interrupted()),
        _ = terminate.recv() => Ok(interrupted()),
    }
}

fn interrupted() -> ExitCode {
    eprintln!("interrupted; everything that was started is stopped");
    ExitCode::from(130)
}
