//! Terms: the participants of an attempt, and the register that decides.

use exactly_once_core::{
    Decision,
    two_phase::machine::{Noted, Role},
};

use super::World;
use crate::{
    mistakes::Mistake,
    participant::{Clock, Row, Ruled},
};

impl World {
    /// The last attempt has other terms, where there are any.
    pub(super) fn terms_of(&self, number: usize) -> usize {
        usize::from(number >= self.config.attempts)
    }

    pub(super) fn members(&self, terms: usize) -> &'static [usize] {
        self.config.members(terms)
    }

    pub(super) fn roles(&self, number: usize) -> Vec<Role> {
        match self.terms_of(number) {
            0 => self.config.roles.to_vec(),
            terms => vec![Role::Prepared; self.members(terms).len()],
        }
    }

    pub(super) fn role(&self, number: usize, at: usize) -> Role {
        match self.terms_of(number) {
            0 => self.config.roles[at],
            _ => Role::Prepared,
        }
    }

    /// The store of an attempt's participant; a reader has none that matters.
    pub(super) fn store_of(&self, number: usize, at: usize) -> usize {
        let members = self.members(self.terms_of(number));
        members.get(at).copied().unwrap_or_default()
    }

    /// The identity that a register has, or would have if copies were not given another one.
    pub(super) fn identity(&self, register: usize) -> u8 {
        let held = self.config.registers[register];
        if self.broken == Some(Mistake::CopyKeepsItsIdentity) && held == super::config::ADOPTED {
            return super::config::OWN.identity;
        }
        held.identity
    }

    /// The register that the terms name.
    pub(super) fn register_for(&self, terms: usize) -> usize {
        let named = self.config.register(terms);
        let held = self.config.registers.iter();
        let mut identities = held.map(|held| held.identity);
        identities
            .position(|held| held == named)
            .unwrap_or_default()
    }

    pub(super) fn register_of(&self, number: usize) -> usize {
        self.register_for(self.terms_of(number))
    }

    /// Whether these terms are not the ones that stand at a store.
    pub(super) fn differs(&self, store: usize, terms: usize) -> bool {
        let part = &self.parts[store];
        (part.prepared || part.row != Row::None) && self.are_apart(part.terms, terms)
    }

    /// The terms as a store keeps them: the first ones, where registers are not compared.
    pub(super) fn stored(&self, terms: usize) -> usize {
        if self.broken == Some(Mistake::OtherRegisterIsTheSame) {
            0
        } else {
            terms
        }
    }

    fn are_apart(&self, one: usize, other: usize) -> bool {
        let registers = [one, other].map(|terms| self.config.register(terms));
        let members = [one, other].map(|terms| self.members(terms));
        let other_register =
            registers[0] != registers[1] && self.broken != Some(Mistake::OtherRegisterIsTheSame);
        let other_participants =
            members[0] != members[1] && self.broken != Some(Mistake::OtherParticipantsAreTheSame);
        other_register || other_participants
    }

    /// A proposal to a register, which looks at its own identity and at the terms that stand.
    pub(super) fn propose(
        &mut self,
        register: usize,
        proposal: Decision,
        terms: usize,
        named: bool,
    ) -> Ruled {
        let is_mine = self.config.register(terms) == self.identity(register);
        if !is_mine && self.broken != Some(Mistake::SweeperTakesAnyRegister) {
            return Ruled::NotMine;
        }
        let compares = self.broken != Some(Mistake::RegisterTakesOtherParticipants);
        let stands = &self.registers[register];
        if stands.value.is_some() && compares && self.are_apart(stands.terms, terms) {
            return Ruled::Mismatch;
        }
        let (clock, broken) = (self.clock, self.broken);
        self.registers[register].decide(proposal, (terms, named), clock, broken)
    }

    /// Notes the end of this decision; `None` where the register refuses otherwise, as when the record
    /// was removed in its time.
    pub(super) fn finish(
        &mut self,
        register: usize,
        terms: usize,
        decision: Decision,
    ) -> Option<Noted> {
        let stands = &self.registers[register];
        let named = self.broken != Some(Mistake::FinishNamesNoDecision);
        let noted = match stands.value {
            Some(_) if self.are_apart(stands.terms, terms) => return None,
            None if self.clock == Clock::PastForget => return None,
            None => Noted::Nothing,
            Some(value) if named && value != decision => Noted::Otherwise,
            Some(_) if stands.disputed => Noted::Otherwise,
            Some(_) => Noted::Finished,
        };
        if noted == Noted::Finished {
            self.registers[register].finished = true;
        }
        Some(noted)
    }

    /// Notes that a participant did not obey this decision.
    pub(super) fn dispute(&mut self, register: usize, terms: usize, decision: Decision) {
        let stands = &self.registers[register];
        let stands = stands.value == Some(decision) && !self.are_apart(stands.terms, terms);
        if stands && self.broken != Some(Mistake::DisputeIsNotNoted) {
            self.registers[register].disputed = true;
            self.registers[register].finished = false;
        }
    }

    /// Whether the work of these terms is visible at a store.
    pub(super) fn has_committed(&self, store: usize, terms: usize) -> bool {
        self.parts[store].effects > 0 && self.parts[store].terms == self.stored(terms)
    }

    /// Whether these terms were rolled back at a store. A restored register may decide commit after a
    /// rollback that has left no tombstone yet: what was prepared once more since then counts.
    pub(super) fn is_undone(&self, store: usize, terms: usize) -> bool {
        let part = &self.parts[store];
        let committed_since = self.restored && part.effects > 0;
        part.undone && part.terms == self.stored(terms) && !committed_since
    }
}
