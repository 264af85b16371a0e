//! What else ran on the machine while something was measured.

use std::{
    collections::HashMap,
    fs,
    time::{Duration, Instant},
};

/// The kernel counts in these; it has been a hundredth of a second on Linux for ever.
const TICK: Duration = Duration::from_millis(10);

/// Processor time, as it stood at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    at: Instant,
    all: Duration,
    ours: Duration,
}

impl Load {
    /// As it stands now; `None` where the system does not tell.
    #[must_use]
    pub fn now() -> Option<Self> {
        Some(Self {
            at: Instant::now(),
            all: busy(&fs::read_to_string("/proc/stat").ok()?)?,
            ours: of_family(std::process::id())?,
        })
    }

    /// How many processors others kept busy since then, on average.
    #[must_use]
    pub fn foreign_since(&self) -> Option<f64> {
        let now = Self::now()?;
        let others = now
            .all
            .saturating_sub(self.all)
            .saturating_sub(now.ours.saturating_sub(self.ours));
        Some(others.as_secs_f64() / (now.at - self.at).as_secs_f64().max(0.001))
    }
}

fn ticks(count: u64) -> Duration {
    TICK * u32::try_from(count).unwrap_or(u32::MAX)
}

/// From the first line of `/proc/stat`: all but idle and waiting, the guests' own part left out.
fn busy(text: &str) -> Option<Duration> {
    let numbers: Vec<u64> = text
        .lines()
        .next()?
        .split_whitespace()
        .skip(1)
        .filter_map(|word| word.parse().ok())
        .collect();
    let busy = [0, 1, 2, 5, 6, 7];
    Some(ticks(busy.iter().filter_map(|at| numbers.get(*at)).sum()))
}

/// This process and all below it: the servers are its children.
fn of_family(root: u32) -> Option<Duration> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    let mut used = HashMap::new();
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(id) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // It may have ended meanwhile.
        let Some((parent, time)) = fs::read_to_string(format!("/proc/{id}/stat"))
            .ok()
            .and_then(|text| process(&text))
        else {
            continue;
        };
        children.entry(parent).or_default().push(id);
        used.insert(id, time);
    }
    let (mut sum, mut left) = (0, vec![root]);
    while let Some(id) = left.pop() {
        sum += used.get(&id).copied().unwrap_or_default();
        left.extend(children.remove(&id).unwrap_or_default());
    }
    Some(ticks(sum))
}

/// `pid (name) state parent … utime stime cutime cstime …`: the parent, and the time used by it
/// and by its children that have ended.
fn process(stat: &str) -> Option<(u32, u64)> {
    // The name may hold anything, parentheses too.
    let (_, rest) = stat.rsplit_once(')')?;
    let words: Vec<&str> = rest.split_whitespace().collect();
    let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
    let time = (11..15).filter_map(number).sum();
    Some((words.get(1)?.parse().ok()?, time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_the_kernel_are_read() {
        let stat = "cpu  10 20 30 400 50 6 7 8 90 0\ncpu0 1 2 3";
        assert_eq!(busy(stat), Some(ticks(10 + 20 + 30 + 6 + 7 + 8)));
        let line = "42 (a (b) c) S 7 42 42 0 -1 4194560 1 2 3 4 100 20 3 4 20 0 1 0 99";
        assert_eq!(process(line), Some((7, 127)));
    }

    #[test]
    fn our_own_work_is_not_foreign() {
        let Some(before) = Load::now() else { return };
        let mut ours = Duration::ZERO;
        // However slowly a busy machine lets us, it comes.
        while ours < ticks(2) {
            std::hint::spin_loop();
            ours = of_family(std::process::id()).unwrap() - before.ours;
        }
        assert!(Load::now().unwrap().all - before.all >= ticks(1));
    }
}
