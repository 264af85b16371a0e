//! What is planted, and where it must not be seen: in errors, their sources as far as they are shown, and
//! in all that is logged.

use std::{
    error::Error as StdError,
    fmt::Write as _,
    io::Write,
    sync::{Arc, LazyLock, Mutex},
};

use exactly_once::Error;
use tracing::Level;
use tracing_subscriber::fmt::{format::FmtSpan, writer::MakeWriterExt as _};

pub(crate) const PLANTED: [&str; 2] = ["s3cret-pl4nted", "47114711"];

/// Everything that an error may show; what the driver says behind it is not part of that.
pub(crate) fn said(error: &Error) -> String {
    let mut said = format!("{error}\n{error:?}\n{error:#?}\n");
    let mut next = StdError::source(error);
    while let Some(link) = next {
        let _ = writeln!(said, "{link}\n{link:?}");
        next = link.source();
    }
    said
}

#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What all of this process's tests log: of our own all, spans included, and of the drivers what they
/// say at info. There is one subscriber for all.
pub(crate) fn log() -> Log {
    static LOG: LazyLock<Log> = LazyLock::new(|| {
        let log = Log::default();
        let writer = log.clone();
        let writer = (move || writer.clone()).with_filter(|heard| {
            heard.target().starts_with("exactly_once") || *heard.level() <= Level::INFO
        });
        tracing_subscriber::fmt()
            .with_max_level(Level::TRACE)
            .with_span_events(FmtSpan::FULL)
            .with_writer(writer)
            .init();
        log
    });
    LOG.clone()
}

pub(crate) fn clean(what: &str, text: &str) {
    for line in text.lines() {
        let lower = line.to_lowercase();
        for planted in PLANTED.iter().chain(&["detail", "hint", "failing row"]) {
            assert!(!lower.contains(planted), "{what} shows {planted}: {line}");
        }
    }
}
