//! Which participants can't go together: each must be a store of its own.

use futures_util::future::join_all;

use super::{
    machine::{Role, one_identity_at_two_places},
    participant::{OPERATION, Participant},
};
use crate::{
    error::{Error, ErrorKind, Result},
    identity::identity_of,
    names::Namespace,
    place::Place,
    prepared::Participation,
    register::DecisionRegister,
};

/// The most participants of one transaction.
pub const MAX_PARTICIPANTS: usize = 32;

type Participants<'a> = [Box<dyn Participant<'a> + 'a>];

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::Invalid, OPERATION, "core").with_message(message)
}

/// What can be known before anything is begun.
pub(super) fn check(participants: &Participants<'_>, register: &(Place, Namespace)) -> Result<()> {
    let count = participants.len();
    let readers = participants.iter().filter(|p| p.role() == Role::Reader);
    if count == readers.count() || count > MAX_PARTICIPANTS {
        return Err(invalid(format!(
            "{count} participants; it must be 1 to {MAX_PARTICIPANTS}, and one that writes"
        )));
    }
    for (index, participant) in participants.iter().enumerate() {
        if participant.role() == Role::Last && participant.home() != *register {
            return Err(invalid(format!(
                "the last participant {:?} does not hold the register: it must be the same store, \
                 in the same namespace",
                participant.name()
            )));
        }
        for earlier in participants.get(..index).unwrap_or_default() {
            check_pair(earlier.as_ref(), participant.as_ref())?;
        }
    }
    Ok(())
}

/// Refuses participants that can't play their roles, before any work.
pub(super) async fn check_roles(participants: &Participants<'_>, roles: &[Role]) -> Result<()> {
    for (participant, role) in participants.iter().zip(roles) {
        participant.check(*role).await?;
    }
    Ok(())
}

fn check_pair<'a>(earlier: &dyn Participant<'a>, participant: &dyn Participant<'a>) -> Result<()> {
    let (name, home) = (participant.name(), participant.home());
    let roles = [participant.role(), earlier.role()];
    if earlier.name() == name {
        return Err(invalid(format!("the participant {name:?} stands twice")));
    }
    if roles == [Role::Last; 2] {
        return Err(invalid(format!(
            "both {:?} and {name:?} are to be the last participant",
            earlier.name()
        )));
    }
    if earlier.home() == home && !roles.contains(&Role::Reader) {
        return Err(invalid(format!(
            "the participants {:?} and {name:?} are one store ({}, namespace {:?}): give the work of \
             both to one participant",
            earlier.name(),
            home.0,
            home.1.as_str(),
        )));
    }
    Ok(())
}

/// Completes a participation: with the register's identity, and with those of the participants that
/// write. A handle reads its store's identity once, so this takes no trip.
///
/// A restored copy beside its original is found here: the decision could not name both.
pub(super) async fn entitle<R: DecisionRegister>(
    participants: &Participants<'_>,
    register: &R,
    participation: Participation,
) -> Result<Participation> {
    let held = identity_of(register).await?;
    let members = join_all(participants.iter().map(|p| p.identity())).await;
    let members = members.into_iter().collect::<Result<Vec<_>>>()?;
    let mut met = vec![(Some(held), register.place())];
    met.extend((members.iter().copied()).zip(participants.iter().map(|p| p.home().0)));
    if let Some((one, other)) = one_identity_at_two_places(&met) {
        let name = |at: usize| at.checked_sub(1).and_then(|at| participants.get(at));
        let name = |at| name(at).map_or("the register", |participant| participant.name());
        return Err(same_identity(name(one), name(other), OPERATION));
    }
    let members = crate::identity::Participants::of(members.into_iter().flatten());
    Ok(participation.entitled(held, members))
}

/// Two stores that report one identity at two places.
pub(super) fn same_identity(one: &str, other: &str, operation: &'static str) -> Error {
    Error::new(ErrorKind::Invalid, operation, "core").with_message(format!(
        "{one:?} and {other:?} have the same identity. If they are one store, give the work of both to \
         one participant; if one is a restored copy of the other, give the copy an identity of its own: \
         `exactly-once adopt`, with the copy's URL; if one handle was opened before the server restarted, open it again"
    ))
}
