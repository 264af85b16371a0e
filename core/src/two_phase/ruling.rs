//! What a sweep asks of the register, and notes in it.

use super::{
    machine::{Named, Noted, Ruling, Sweep},
    participant::OPERATION,
    swept::alarm,
    turn::Turn,
};
use crate::{
    dispute::Dispute,
    error::{Error, ErrorKind, Result},
    prepared::Participation,
    register::{Decision, DecisionRegister},
};

/// What stands in the register, beside the ruling.
#[derive(Default)]
pub(super) struct Stands {
    /// The participants that the decision names and that this sweeper does not know.
    pub(super) unknown: Vec<String>,
    /// Those that did not obey it, as was noted, unless the transaction is settled.
    disputes: Vec<Dispute>,
}

/// How a participant ended that did not obey this decision.
fn disobeyed(decision: Decision) -> &'static str {
    match decision {
        Decision::Commit => "was rolled back, though commit was decided",
        Decision::Rollback => "has committed, though rollback was decided",
    }
}

impl<R: DecisionRegister> Turn<'_, R> {
    /// Proposes rollback, and obeys what stands.
    pub(super) async fn propose(
        &mut self,
        participation: &Participation,
        sweep: &mut Sweep,
    ) -> Result<Stands> {
        let register = &self.sweeper.register;
        let decided = register.decide(participation, Decision::Rollback).await;
        let entry = match decided {
            Ok(_) => register.decision(participation).await,
            Err(error) => Err(error),
        };
        let entry = match entry {
            Ok(Some(entry)) => entry,
            Ok(None) => {
                sweep.ruled(Ruling::Forgotten, None);
                return Ok(Stands::default());
            }
            Err(error) if error.kind() == ErrorKind::Forgotten => {
                sweep.ruled(Ruling::Forgotten, None);
                return Ok(Stands::default());
            }
            Err(error) if error.kind() == ErrorKind::Mismatch => {
                sweep.ruled(Ruling::Taken, None);
                return Ok(Stands::default());
            }
            Err(error) => return Err(error),
        };
        let mut decided = entry.participation.clone();
        if entry.decision == Decision::Rollback {
            // By a sweeper that did not know them all, perhaps.
            decided = decided.with_named_among(self.identities.iter().copied().flatten());
        }
        let named = decided.participants().named();
        let unknown = Vec::from_iter(
            (named.unwrap_or_default().iter())
                .filter(|member| !self.identities.contains(&Some(**member))),
        );
        let is_commit = entry.decision == Decision::Commit && entry.settled.is_none();
        let ruling = entry.settled.as_ref().map_or_else(
            || Ruling::Decided(entry.decision),
            |settled| Ruling::Settled(settled.outcome),
        );
        sweep.ruled(
            ruling,
            named.map(|named| Named::of(named, &self.identities)),
        );
        if !entry.disputes.is_empty() && entry.settled.is_none() {
            sweep.in_dispute();
        }
        if entry.finished {
            sweep.noted(Noted::Finished);
            return Ok(Stands::default());
        }
        let unknown = if is_commit && named.is_none() {
            vec!["the decision names no participants".to_owned()]
        } else {
            (unknown.into_iter())
                .map(|member| format!("a store of identity {member}, away or not known here"))
                .collect()
        };
        Ok(Stands {
            unknown,
            disputes: entry.disputes,
        })
    }

    /// Notes that a participant did not obey. The alarm is raised in any case.
    pub(super) async fn dispute(
        &mut self,
        index: usize,
        participation: &Participation,
        decision: Decision,
    ) {
        let noted = async {
            let Some(identity) = self.identity(index) else {
                return Ok(());
            };
            let register = &self.sweeper.register;
            let dispute = Dispute::now(register, identity, decision).await?;
            register.dispute(participation, &dispute).await.map(drop)
        };
        if let Err(error) = noted.await {
            self.report.failed.push(error);
        }
    }

    /// Raises the alarms of disputes whose participants say nothing of them any more, or are away; gives
    /// those participants.
    pub(super) fn still_disputed(
        &mut self,
        participation: &Participation,
        stands: &Stands,
        opposed: &[usize],
    ) -> Vec<String> {
        let mut participants = Vec::new();
        for dispute in &stands.disputes {
            let known = Some(dispute.participant);
            let index = (self.identities.iter()).position(|identity| *identity == known);
            if index.is_some_and(|index| opposed.contains(&index)) {
                continue;
            }
            let what = format!("{} (noted at {})", disobeyed(dispute.decision), dispute.at);
            let (name, error) = match index.and_then(|index| self.at(index).ok()) {
                Some(participant) => (
                    participant.name().to_owned(),
                    alarm(ErrorKind::Heuristic, participant, participation, &what),
                ),
                None => {
                    let name = format!("a store of identity {}", dispute.participant);
                    let message = format!(
                        "{name}, a participant, {what} (transaction {})",
                        participation.transaction()
                    );
                    let error = Error::new(ErrorKind::Heuristic, "sweep", "core");
                    (name, error.with_message(message))
                }
            };
            self.failed(participation, error);
            participants.push(name);
        }
        participants
    }

    /// Notes that every participant has confirmed this decision.
    pub(super) async fn finish(
        &mut self,
        participation: &Participation,
        decision: Decision,
    ) -> Result<Noted> {
        let register = &self.sweeper.register;
        let Err(error) = register.finish(participation, decision).await else {
            return Ok(Noted::Finished);
        };
        let Some(noted) = Noted::refused(error.kind()) else {
            return Err(error);
        };
        let kind = noted.stops(decision).unwrap_or(ErrorKind::Heuristic);
        let alarm = Error::new(kind, OPERATION, error.store()).with_message(match noted {
            Noted::Nothing => format!(
                "the register has lost its decision {}, which every participant has carried out \
                 (transaction {})",
                decision.as_str(),
                participation.transaction()
            ),
            _ => error.message().unwrap_or_default().to_owned(),
        });
        self.failed(participation, alarm.with_source(error));
        Ok(noted)
    }

    /// The alarm that a participant did not obey.
    pub(super) fn opposed(
        &mut self,
        index: usize,
        participation: &Participation,
        decision: Decision,
    ) -> Result<()> {
        let what = disobeyed(decision);
        let alarm = alarm(ErrorKind::Heuristic, self.at(index)?, participation, what);
        self.failed(participation, alarm);
        Ok(())
    }
}
