//! Processor time of an operation, of this process and of the servers below it, from the scheduler's own
//! account: in nanoseconds, and steadier than throughput where the machine has other work.

use std::{collections::HashMap, fs};

/// What each thread has used, in nanoseconds, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Account {
    ours: HashMap<u32, u64>,
    servers: HashMap<u32, u64>,
}

/// Processor time of an operation, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Used {
    /// Of this process: the caller, its driver and the library.
    pub client: f64,
    /// Of all processes below it.
    pub server: f64,
}

impl Used {
    /// Of both.
    #[must_use]
    pub fn whole(&self) -> f64 {
        self.client + self.server
    }
}

impl Account {
    /// As it stands now; `None` where the system does not tell.
    #[must_use]
    pub fn now() -> Option<Self> {
        let ours = std::process::id();
        let mut account = Self {
            ours: threads(ours)?,
            servers: HashMap::new(),
        };
        for process in below(ours) {
            account.servers.extend(threads(process).unwrap_or_default());
        }
        Some(account)
    }

    /// Per call, since an earlier moment. What has ended meanwhile is left out.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // no slice has 2^52 of either
    pub fn since(&self, before: &Self, calls: usize) -> Used {
        let spent = |now: &HashMap<u32, u64>, before: &HashMap<u32, u64>| -> f64 {
            let each = now.iter().map(|(thread, used)| {
                used.saturating_sub(before.get(thread).copied().unwrap_or_default())
            });
            each.sum::<u64>() as f64 / 1_000.0 / calls.max(1) as f64
        };
        Used {
            client: spent(&self.ours, &before.ours),
            server: spent(&self.servers, &before.servers),
        }
    }
}

fn threads(process: u32) -> Option<HashMap<u32, u64>> {
    let mut used = HashMap::new();
    for entry in fs::read_dir(format!("/proc/{process}/task"))
        .ok()?
        .flatten()
    {
        let name = entry.file_name();
        let Some(thread) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // It may have ended meanwhile.
        let text = fs::read_to_string(entry.path().join("schedstat")).unwrap_or_default();
        if let Some(time) = first_number(&text) {
            used.insert(thread, time);
        }
    }
    (!used.is_empty()).then_some(used)
}

/// Time on a processor, time in its queue, slices.
fn first_number(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

/// The processes below this one.
fn below(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(process) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        if let Some(parent) = parent(&stat) {
            children.entry(parent).or_default().push(process);
        }
    }
    let (mut all, mut left) = (Vec::new(), vec![root]);
    while let Some(process) = left.pop() {
        let found = children.remove(&process).unwrap_or_default();
        all.extend(&found);
        left.extend(found);
    }
    all
}

/// `pid (name) state parent …`; the name may hold anything, parentheses too.
fn parent(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_the_kernel_are_read() {
        assert_eq!(first_number("123456 789 3\n"), Some(123_456));
        assert_eq!(first_number(""), None);
        assert_eq!(parent("42 (a (b) c) S 7 42 42 0"), Some(7));
    }

    #[test]
    fn a_thread_that_came_meanwhile_counts_and_one_that_went_does_not() {
        let account = |ours: &[(u32, u64)], servers: &[(u32, u64)]| Account {
            ours: ours.iter().copied().collect(),
            servers: servers.iter().copied().collect(),
        };
        let before = account(&[(1, 5_000), (2, 9_000)], &[(7, 1_000)]);
        let now = account(&[(1, 15_000), (3, 4_000)], &[(7, 41_000)]);
        let used = now.since(&before, 2);
        assert_eq!((used.client, used.server, used.whole()), (7.0, 20.0, 27.0));
    }

    #[test]
    fn work_of_ours_is_counted() {
        let Some(before) = Account::now() else { return };
        let mut used = Used::default();
        // However slowly a busy machine lets us, it comes.
        while used.client < 1_000.0 {
            std::hint::spin_loop();
            used = Account::now().unwrap().since(&before, 1);
        }
        assert!(used.whole() >= used.client);
    }
}
