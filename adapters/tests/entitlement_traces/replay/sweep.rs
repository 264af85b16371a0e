//! The steps of a trace's own sweepers, by the library's machine.

use exactly_once::{
    Decision, DecisionRegister, ErrorKind, NamespaceIdentity, PreparedStatus, PreparedTransactions,
    Store, identity_of,
    two_phase::machine::{
        Found, Named, Noted, Ruling, Sweep, SweepAction, one_identity_at_two_places,
    },
};

use super::{Answer, Replay, answer, noted};
use crate::trace::Step;

/// A sweep of one transaction.
pub(super) struct Run {
    machine: Sweep,
    register: usize,
    known: Vec<usize>,
    identities: Vec<Option<NamespaceIdentity>>,
    terms: usize,
}

impl Replay<'_> {
    pub(super) async fn sweep_step(&mut self, step: &Step) {
        let number = step.number;
        match step.what.as_str() {
            "finds something to sweep" => {
                self.sweeps[number] = self.start_sweep(number, step.at).await;
            }
            "crashes" | "is done" | "is refused by the register" => self.sweeps[number] = None,
            what => {
                let Some(mut run) = self.sweeps[number].take() else {
                    return;
                };
                let at = run.known.iter().position(|store| *store == step.at);
                let action = run
                    .machine
                    .actions()
                    .into_iter()
                    .find(|action| match action {
                        SweepAction::Inspect(index)
                        | SweepAction::Commit(index)
                        | SweepAction::Rollback(index)
                        | SweepAction::Dispute(index, _) => Some(*index) == at,
                        _ => true,
                    });
                let going = match action {
                    Some(
                        SweepAction::Inspect(index)
                        | SweepAction::Commit(index)
                        | SweepAction::Rollback(index),
                    ) if what == "finds it away" => {
                        let ended = self.lacks("AwayCountsAsEnded");
                        let found = if ended { Found::Ended } else { Found::Away };
                        run.machine.found(index, found);
                        true
                    }
                    Some(action) => self.sweep_on(&mut run, action).await,
                    None => true,
                };
                if going {
                    self.sweeps[number] = Some(run);
                }
            }
        }
    }

    /// Whole sweeps as the trace configures them, where a rule is switched off in their course.
    pub(super) async fn sweep_wrongly(&mut self) {
        for number in 0..self.trace.sweepers.len() {
            for terms in 0..self.trace.terms.len() {
                if !self.has_something_to_sweep(number, terms).await {
                    continue;
                }
                let Some(mut run) = self.start_sweep(number, terms).await else {
                    continue;
                };
                while let Some(action) = run.machine.actions().into_iter().next() {
                    if matches!(action, SweepAction::Done | SweepAction::LeaveAlone)
                        || !self.sweep_on(&mut run, action).await
                    {
                        break;
                    }
                }
                if !run.machine.lost().is_empty() {
                    self.alarms.push("a sweep reports a loss".to_owned());
                }
            }
        }
    }

    /// A sweeper looks at what is in doubt and at what its register has not finished.
    async fn has_something_to_sweep(&self, number: usize, terms: usize) -> bool {
        let (register, known) = &self.trace.sweepers[number];
        let stands = self.register(*register).decision(&self.works[terms]).await;
        let finished = stands.is_ok_and(|entry| entry.is_some_and(|entry| entry.finished));
        !finished || self.in_doubt(known).await > 0
    }

    /// Nothing where the sweeper meets a copy of its register.
    async fn start_sweep(&self, number: usize, terms: usize) -> Option<Run> {
        let (register, known) = self.trace.sweepers[number].clone();
        let held = identity_of(self.register(register)).await.unwrap();
        let mut met = vec![(Some(held), self.register(register).place())];
        for at in &known {
            let identity = identity_of(&self.stores[*at]).await.unwrap();
            met.push((Some(identity), self.stores[*at].place()));
        }
        let copy = one_identity_at_two_places(&met).is_some();
        if copy && !self.lacks("CopyIsNotToldApart") {
            return None;
        }
        let entitled = *self.works[terms].register() == held;
        let entitled = entitled || self.lacks("SweeperTakesAnyRegister");
        Some(Run {
            machine: Sweep::new(known.len(), entitled),
            register,
            identities: met
                .into_iter()
                .skip(1)
                .map(|(identity, _)| identity)
                .collect(),
            known,
            terms,
        })
    }

    /// One step at a store or the register; says whether to go on.
    async fn sweep_on(&mut self, run: &mut Run, action: SweepAction) -> bool {
        let work = self.works[run.terms].clone();
        let store = |index: usize| &self.stores[run.known[index]];
        match action {
            SweepAction::ProposeRollback => return self.rule(run).await,
            SweepAction::Inspect(index) => {
                let ruling = run.machine.ruling();
                let status = match store(index).prepared_status(&work).await {
                    Err(error) if error.kind() == ErrorKind::Mismatch => PreparedStatus::None,
                    status => status.unwrap(),
                };
                let found = ruling.map_or(Found::Away, |ruling| Found::of(status, ruling));
                self.found(run, index, found);
            }
            SweepAction::Commit(index) => {
                let told = answer(store(index).commit_prepared(&work).await);
                self.told_by_sweeper(run, index, action, told);
            }
            SweepAction::Rollback(index) => {
                let told = answer(store(index).rollback_prepared(&work).await);
                self.told_by_sweeper(run, index, action, told);
            }
            SweepAction::Dispute(index, decision) => {
                let register = self.register(run.register);
                self.dispute(register, run.terms, run.known[index], decision)
                    .await;
                run.machine.disputed(index);
            }
            SweepAction::Finish(decision) => {
                let register = self.register(run.register);
                match noted(&self.finish(register, run.terms, decision).await) {
                    Some(noted) => run.machine.noted(noted),
                    None => return false,
                }
            }
            SweepAction::LeaveAlone | SweepAction::Done => return false,
        }
        true
    }

    async fn rule(&self, run: &mut Run) -> bool {
        let register = self.register(run.register);
        let mut work = self.works[run.terms].clone();
        if self.lacks("SweeperTakesAnyRegister") {
            let held = identity_of(register).await.unwrap();
            let members = work.participants().clone();
            work = work.entitled(held, members);
        }
        let ruling = match register.decide(&work, Decision::Rollback).await {
            Ok(decision) => Ruling::Decided(decision),
            Err(error) if error.kind() == ErrorKind::Mismatch => Ruling::Taken,
            Err(_) => return false,
        };
        let entry = register.decision(&work).await.ok().flatten();
        let members = entry
            .as_ref()
            .and_then(|entry| entry.participation.participants().named());
        let named = members.map(|members| {
            let mut named = Named::of(members, &run.identities);
            if self.lacks("PartFinishes") {
                named.unknown = 0;
            }
            if self.lacks("EachKnownTookPart") {
                named.took_part.fill(true);
            }
            named
        });
        run.machine.ruled(ruling, named);
        if entry
            .as_ref()
            .is_some_and(|entry| !entry.disputes.is_empty())
        {
            run.machine.in_dispute();
        }
        if entry.is_some_and(|entry| entry.finished) {
            run.machine.noted(Noted::Finished);
        }
        true
    }

    fn told_by_sweeper(&mut self, run: &mut Run, index: usize, action: SweepAction, told: Answer) {
        let found = match (told, run.machine.ruling()) {
            (Answer::Done, _) => Found::Ended,
            (Answer::No(kind), Some(ruling)) => {
                Found::refused(action, kind, ruling).unwrap_or(Found::Away)
            }
            _ => Found::Away,
        };
        self.found(run, index, found);
    }

    fn found(&mut self, run: &mut Run, index: usize, found: Found) {
        let committing = run.machine.ruling() == Some(Ruling::Decided(Decision::Commit));
        let silent = (committing && self.lacks("RolledBackCountsAsEnded"))
            || (!committing && self.lacks("CommittedCountsAsEnded"));
        if found == Found::Opposite && silent {
            run.machine.found(index, Found::Ended);
            return;
        }
        run.machine.found(index, found);
    }
}
