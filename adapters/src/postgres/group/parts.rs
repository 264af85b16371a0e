//! The callers of one batch of effects: what each is answered, and which of them try again together.

use std::collections::HashMap;

use exactly_once_core::Outcome;

use super::{
    effects,
    execute::{Blame, Form},
    shots::{Shot, Verdict},
};
use crate::postgres::sqlstate::{CANCELED, DIVISION_BY_ZERO};

/// After this many failures of callers, those that are left go alone.
const FAILURES_MAX: usize = 8;

/// A part of a group that shares its fate.
pub(super) struct Part {
    /// Which shots, in the order of their keys: two groups never wait for each other in a circle.
    pub(super) members: Vec<usize>,
    /// Whether their keys were looked at.
    pub(super) looked: bool,
    /// Whether the rows of their plain inserts are executed one by one.
    pub(super) each: bool,
    /// Whether it may be one statement.
    pub(super) one: bool,
}

impl Part {
    /// The same part with these members.
    fn with(&self, members: Vec<usize>) -> Self {
        Self { members, ..*self }
    }
}

pub(super) struct Group<'a> {
    shots: &'a [Shot],
    answers: Vec<Option<Verdict>>,
    /// Later callers of a key, and its first.
    doubles: Vec<(usize, usize)>,
    pub(super) parts: Vec<Part>,
    /// How many statements of its callers have failed.
    failures: usize,
}

impl<'a> Group<'a> {
    pub(super) fn new(shots: &'a [Shot]) -> Self {
        let mut first_of = HashMap::with_capacity(shots.len());
        let (mut members, mut doubles) = (Vec::new(), Vec::new());
        for (at, shot) in shots.iter().enumerate() {
            match first_of.get(&shot.name) {
                Some(first) => doubles.push((at, *first)),
                None => {
                    first_of.insert(&shot.name, at);
                    members.push(at);
                }
            }
        }
        members.sort_by(|one, other| {
            let name = |at: &usize| shots.get(*at).map(|shot| &shot.name);
            name(one).cmp(&name(other))
        });
        Self {
            shots,
            answers: shots.iter().map(|_| None).collect(),
            doubles,
            parts: vec![Part {
                members,
                looked: false,
                each: false,
                one: true,
            }],
            failures: 0,
        }
    }

    pub(super) fn members<'g>(&'g self, part: &'g Part) -> impl Iterator<Item = &'g Shot> + Clone {
        part.members.iter().filter_map(|at| self.shots.get(*at))
    }

    /// Whether statements of this caller return rows.
    pub(super) fn returns_rows(&self, at: usize) -> bool {
        self.shots
            .get(at)
            .is_some_and(|shot| shot.outcome.is_none())
    }

    pub(super) fn answer(&mut self, at: usize, verdict: Verdict) {
        if let Some(answer) = self.answers.get_mut(at) {
            *answer = Some(verdict);
        }
    }

    pub(super) fn answer_all(&mut self, part: &Part, verdict: impl Fn() -> Verdict) {
        for at in &part.members {
            self.answer(*at, verdict());
        }
    }

    /// A statement of the callers' failed with this code.
    pub(super) fn failed_at(&mut self, part: Part, blame: &Blame, code: &str) {
        if code == CANCELED {
            blame.text.was_slow();
        }
        match blame.form {
            Form::Guard if code == DIVISION_BY_ZERO => blame.text.rows_differ(),
            // One by one, the position of the one that fails names its caller.
            Form::Rows if code != CANCELED => {}
            _ => return self.part_with(part, blame),
        }
        self.parts.push(Part {
            each: true,
            one: false,
            ..part
        });
    }

    /// The callers whose statement failed go alone; the others try again without them.
    fn part_with(&mut self, part: Part, blame: &Blame) {
        let blamed = |place: usize| blame.callers.contains(&place);
        let take = |wanted: bool| -> Vec<usize> {
            let members = part.members.iter().enumerate();
            members
                .filter(|(place, _)| blamed(*place) == wanted)
                .map(|(_, at)| *at)
                .collect()
        };
        let (failed, rest) = (part.with(take(true)), part.with(take(false)));
        self.failures += 1;
        if blame.form == Form::Set {
            self.split(failed);
        } else {
            self.answer_all(&failed, || Verdict::Alone);
        }
        if rest.members.is_empty() {
            return;
        }
        if self.failures < FAILURES_MAX {
            self.parts.push(rest);
        } else {
            // Too many of them fail: the others have waited long enough.
            self.answer_all(&rest, || Verdict::Alone);
        }
    }

    /// The callers of a text that was slow meanwhile go alone.
    pub(super) fn without_slow(&mut self, part: &mut Part) {
        let shots = self.shots;
        let slow = |at: &usize| {
            shots
                .get(*at)
                .is_some_and(|shot| effects::slow(&shot.effects))
        };
        let (alone, members) = part.members.iter().copied().partition(slow);
        part.members = members;
        self.answer_all(&part.with(alone), || Verdict::Alone);
    }

    /// Halves try again; one alone takes the careful path.
    pub(super) fn split(&mut self, mut part: Part) {
        if part.members.len() < 2 {
            return self.answer_all(&part, || Verdict::Alone);
        }
        let half = part.members.split_off(part.members.len() / 2);
        let half = part.with(half);
        self.parts.extend([part, half]);
    }

    pub(super) fn verdicts(mut self) -> Vec<Verdict> {
        for (later, first) in std::mem::take(&mut self.doubles) {
            let verdict = match (self.shots.get(first), self.shots.get(later)) {
                (Some(first_shot), Some(shot)) if shot.print == first_shot.print => {
                    let stored = match self.answers.get(first) {
                        Some(Some(Verdict::Applied(Some(receipt)))) => {
                            Some(Outcome::Applied(receipt.clone()))
                        }
                        Some(Some(Verdict::Applied(None))) => first_shot.outcome.clone(),
                        _ => None,
                    };
                    stored.map_or(Verdict::Alone, Verdict::Replayed)
                }
                _ => Verdict::Alone,
            };
            self.answer(later, verdict);
        }
        self.answers
            .into_iter()
            .map(|answer| answer.unwrap_or(Verdict::Alone))
            .collect()
    }
}
