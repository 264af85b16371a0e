//! How far the load is, so that faults come where the seed has them and not by a clock.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::sleep;

const POLL: Duration = Duration::from_millis(2);

/// Shared by the clients and those who make trouble.
#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicU64,
    over: AtomicBool,
    /// Kills that were made; the clients wait for those that are due.
    kills: AtomicU64,
}

impl Progress {
    /// One more operation was answered.
    pub fn count(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    /// Nothing more will be sent.
    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// One more kill was made.
    pub fn killed(&self) {
        self.kills.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until so many operations were answered; says no if the load ends before.
    pub async fn reached(&self, due: u64) -> bool {
        loop {
            if self.over.load(Ordering::Relaxed) {
                return false;
            }
            if self.done.load(Ordering::Relaxed) >= due {
                return true;
            }
            sleep(POLL).await;
        }
    }

    /// Waits until at least so many kills were made.
    pub async fn kills(&self, due: u64) {
        while self.kills.load(Ordering::Relaxed) < due {
            sleep(POLL).await;
        }
    }
}
