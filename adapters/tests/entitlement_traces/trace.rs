//! A kept trace, with the world that it needs.

use std::path::Path;

/// One step of an attempt, a sweeper, an operator or the clock.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) who: String,
    /// Which attempt or sweeper.
    pub(crate) number: usize,
    pub(crate) what: String,
    /// Of an attempt: which of its participants. Of all others: which store.
    pub(crate) at: usize,
}

/// The schedule that shows a mistake.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    /// The mistake.
    pub(crate) name: String,
    /// The usual terms, and those of the last attempt if it has others: stores, and the register's
    /// identity in the model.
    pub(crate) terms: Vec<(Vec<usize>, usize)>,
    /// The registers: identity and place in the model.
    pub(crate) registers: Vec<(usize, usize)>,
    /// The sweepers: which register, and which stores.
    pub(crate) sweepers: Vec<(usize, Vec<usize>)>,
    pub(crate) steps: Vec<Step>,
}

impl Trace {
    /// Nothing for a trace of the usual world.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(path).unwrap();
        let mut lines = text.lines().take_while(|line| !line.starts_with("=>"));
        let participants = lines.next().unwrap().matches("Prepared").count();
        let mut trace = Self {
            name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
            terms: vec![((0..participants).collect(), 0)],
            registers: Vec::new(),
            sweepers: Vec::new(),
            steps: Vec::new(),
        };
        let mut extras = false;
        for line in lines {
            let Some(extra) = line.strip_prefix("with ") else {
                trace.steps.push(step(line));
                continue;
            };
            extras = true;
            let numbers = numbers(extra);
            if extra.starts_with("a register") {
                trace.registers.push((numbers[0], numbers[1]));
            } else if extra.starts_with("an attempt") {
                let (register, stores) = numbers.split_last().unwrap();
                trace.terms.push((stores.to_vec(), *register));
            } else if extra.starts_with("a sweeper") {
                trace.sweepers.push((numbers[0], numbers[1..].to_vec()));
            }
        }
        if trace.registers.is_empty() {
            trace.registers.push((0, 0));
        }
        if trace.sweepers.is_empty() {
            trace.sweepers.push((0, trace.terms[0].0.clone()));
        }
        extras.then_some(trace)
    }

    /// Which terms an attempt has: the last one may have others.
    pub(crate) fn terms_of(&self, attempt: usize) -> usize {
        attempt.min(self.terms.len() - 1)
    }

    /// Whether the time of its records passes.
    pub(crate) fn forgets(&self) -> bool {
        self.steps.iter().filter(|step| step.who == "clock").count() > 1
    }

    /// Whether an operator breaks atomicity: then no sweeper can keep it, and each must raise an alarm.
    pub(crate) fn has_operator(&self) -> bool {
        self.steps.iter().any(|step| step.who == "operator")
    }
}

fn numbers(text: &str) -> Vec<usize> {
    let words = text.split(|letter: char| !letter.is_ascii_digit());
    words.filter_map(|word| word.parse().ok()).collect()
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
