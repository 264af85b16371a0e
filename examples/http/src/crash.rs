//! Where the tests kill the process: a real SIGKILL, just before or just after the commit.

use axum::{
    extract::{Request, State},
    http::HeaderName,
    middleware::Next,
    response::Response,
};
use rustix::process::{Signal, getpid, kill_process};

/// The request header that names the point.
pub const HEADER: HeaderName = HeaderName::from_static("x-crash");
/// The handler has answered, nothing is committed.
pub const BEFORE_COMMIT: &str = "before-commit";
/// All is committed, the client has no answer.
pub const AFTER_COMMIT: &str = "after-commit";

/// Lets the request pass, and dies on its way back where it asks for this point.
pub async fn point(State(point): State<&'static str>, request: Request, next: Next) -> Response {
    let asked = request.headers().get(HEADER);
    let crash = asked.is_some_and(|asked| asked == point);
    let response = next.run(request).await;
    if crash {
        let _ = kill_process(getpid(), Signal::KILL);
        // The signal is on its way; nothing more may happen here.
        std::future::pending::<()>().await;
    }
    response
}
