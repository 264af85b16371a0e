//! A restored copy beside its original.

/// The first two of these stores that report one identity at two places: one is a copy of the other.
/// Each store is its identity and its place; one whose identity is not known counts for nothing.
///
/// A copy is entitled to all that its original is, and knows less: a copy of the register proposes
/// rollback where the original has decided commit. So neither may be used where they meet.
#[must_use]
pub fn one_identity_at_two_places<I: PartialEq, P: PartialEq>(
    stores: &[(Option<I>, P)],
) -> Option<(usize, usize)> {
    stores.iter().enumerate().find_map(|(index, store)| {
        let earlier = stores.iter().take(index);
        let copy =
            |other: &(Option<I>, P)| other.0.is_some() && other.0 == store.0 && other.1 != store.1;
        earlier
            .enumerate()
            .find(|(_, other)| copy(other))
            .map(|(at, _)| (at, index))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_store_may_stand_twice_and_a_copy_may_not() {
        let apart = one_identity_at_two_places::<u8, u8>;
        assert_eq!(apart(&[(Some(1), 10), (Some(1), 10), (Some(2), 20)]), None);
        assert_eq!(
            apart(&[(Some(1), 10), (Some(2), 20), (Some(1), 30)]),
            Some((0, 2))
        );
        assert_eq!(apart(&[(None, 10), (None, 20)]), None);
    }
}
