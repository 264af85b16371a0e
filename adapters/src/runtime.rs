//! What the drivers need of the caller's runtime: they panic in one that lacks it, so it is looked at
//! before anything is connected.

use std::{net::Ipv4Addr, time::Duration};

use exactly_once_core::{Error, ErrorKind, Result};
use tokio::{net::UdpSocket, runtime::Handle, time::sleep};

/// Refuses a call outside of tokio, and in a runtime without a timer or without I/O.
///
/// Tokio has no way to ask for these. A task of its own tries them: its panic stays there.
pub(crate) async fn check(operation: &'static str, store: &'static str) -> Result<()> {
    let missing =
        |message| Error::new(ErrorKind::Configuration, operation, store).with_message(message);
    let Ok(runtime) = Handle::try_current() else {
        return Err(missing(
            "no tokio runtime runs this call: make it inside of one, built with `enable_all()`",
        ));
    };
    let probe = runtime.spawn(async {
        sleep(Duration::ZERO).await;
        // A socket that is refused has been asked for with I/O at hand.
        drop(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await);
    });
    match probe.await {
        Err(ended) if ended.is_panic() => Err(missing(
            "the tokio runtime has no timer or no I/O: build it with `enable_all()`",
        )),
        // A runtime that is shutting down says so by what follows.
        Ok(()) | Err(_) => Ok(()),
    }
}
