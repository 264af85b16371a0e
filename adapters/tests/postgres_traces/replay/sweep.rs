//! The steps of the trace's own sweeper.

use exactly_once::{
    Decision, DecisionRegister, ErrorKind, PreparedTransactions,
    two_phase::machine::{Found, Named, Ruling, Sweep, SweepAction},
};

use super::{Answer, Replay, answer, noted};
use crate::{mistake::Mistake, trace::Step};

impl Replay<'_> {
    pub(super) async fn sweep_step(&mut self, step: &Step) {
        match step.what.as_str() {
            "finds something to sweep" => self.sweep = Some(Sweep::new(self.stores.len(), true)),
            "crashes" | "is done" | "gives up" => self.sweep = None,
            _ => {
                let Some(mut sweep) = self.sweep.take() else {
                    return;
                };
                if self.sweep_at(&mut sweep, step).await {
                    self.sweep = Some(sweep);
                }
            }
        }
    }

    /// Does what the machine offers there; says whether to go on.
    async fn sweep_at(&mut self, sweep: &mut Sweep, step: &Step) -> bool {
        let at = step.at;
        let offers = |action| sweep.actions().contains(&action);
        if offers(SweepAction::ProposeRollback) {
            match self.rule().await {
                Some(ruling) => {
                    let named = Named {
                        took_part: vec![true; self.stores.len()],
                        unknown: 0,
                    };
                    sweep.ruled(ruling, Some(named));
                }
                None => return false,
            }
        } else if offers(SweepAction::Inspect(at)) {
            let status = self.stores[at].prepared_status(&self.work).await.unwrap();
            let found = sweep
                .ruling()
                .map_or(Found::Away, |ruling| Found::of(status, ruling));
            if found == Found::Opposite {
                self.alarms.push(format!("{status:?} at the sweep"));
            }
            sweep.found(at, found);
        } else if offers(SweepAction::Commit(at)) {
            let told = answer(self.stores[at].commit_prepared(&self.work).await);
            return self.obeyed(sweep, at, told);
        } else if offers(SweepAction::Rollback(at)) {
            let told = self.roll_back(at).await;
            return self.obeyed(sweep, at, told);
        } else if let [SweepAction::Finish(decision)] = sweep.actions()[..] {
            let told = answer(self.register().finish(&self.work, decision).await);
            match noted(&told) {
                Some(noted) => sweep.noted(noted),
                None => return false,
            }
        }
        true
    }

    async fn rule(&self) -> Option<Ruling> {
        if self.has(Mistake::SweeperCommits) {
            return Some(Ruling::Decided(Decision::Commit));
        }
        self.spoil_register(Decision::Rollback).await;
        match self.register().decide(&self.work, Decision::Rollback).await {
            Ok(decision) => Some(Ruling::Decided(decision)),
            Err(error) if error.kind() == ErrorKind::Forgotten => Some(Ruling::Forgotten),
            Err(_) => None,
        }
    }

    fn obeyed(&mut self, sweep: &mut Sweep, at: usize, told: Answer) -> bool {
        match told {
            Answer::Done | Answer::No(ErrorKind::Forgotten) => {
                sweep.found(at, Found::Ended);
                true
            }
            Answer::No(kind) => {
                let lost = kind == ErrorKind::NotPrepared && self.trace.loses();
                if !lost {
                    self.alarms.push(format!("{} at the sweep", kind.as_str()));
                }
                false
            }
            Answer::Later => true,
        }
    }
}
