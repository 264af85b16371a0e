//! A kept trace, read back.

use std::path::Path;

use exactly_once::two_phase::machine::Role;

/// One step of an actor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) who: String,
    /// Which attempt.
    pub(crate) number: usize,
    pub(crate) what: String,
    /// At which participant.
    pub(crate) at: usize,
}

/// The schedule that shows a mistake.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    /// The mistake.
    pub(crate) name: String,
    pub(crate) roles: Vec<Role>,
    pub(crate) steps: Vec<Step>,
}

impl Trace {
    /// Nothing for a trace whose world has other registers, sweepers or participants: those are
    /// replayed by `entitlement_traces`.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(path).unwrap();
        if text.contains("\nwith ") {
            return None;
        }
        let mut lines = text.lines().take_while(|line| !line.starts_with("=>"));
        let roles = lines.next().unwrap();
        Some(Self {
            name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
            roles: roles.split(['[', ',', ']']).filter_map(role).collect(),
            steps: lines.map(step).collect(),
        })
    }

    pub(crate) fn attempts(&self) -> usize {
        let attempts = self.steps.iter().filter(|step| step.who == "attempt");
        attempts.map(|step| step.number + 1).max().unwrap_or(0)
    }

    /// Whether a failover loses something: then not all promises can be kept, and that must be reported.
    pub(crate) fn loses(&self) -> bool {
        self.steps.iter().any(|step| step.who == "failover")
    }

    /// Whether an outcome's record is removed, which may be before the decision is finished: such a
    /// participant can't confirm any more, and the sweep raises an alarm instead of finishing.
    pub(crate) fn forgets(&self) -> bool {
        self.steps.iter().any(|step| step.who == "forgetting")
    }
}

fn role(word: &str) -> Option<Role> {
    match word.trim() {
        "Prepared" => Some(Role::Prepared),
        "Alone" => Some(Role::Alone),
        "Last" => Some(Role::Last),
        "Reader" => Some(Role::Reader),
        _ => None,
    }
}

/// `attempt 0: inserts the marker (participant 1)`.
fn step(line: &str) -> Step {
    let (who, rest) = line.split_once(' ').unwrap();
    let (number, rest) = rest.split_once(": ").unwrap();
    let (what, at) = rest.rsplit_once(" (participant ").unwrap();
    Step {
        who: who.to_owned(),
        number: number.parse().unwrap(),
        what: what.to_owned(),
        at: at.trim_end_matches(')').parse().unwrap(),
    }
}
