//! Which keys a transaction may touch, and that its errors are not forgotten.

use exactly_once_core::{ErrorKind, Result};

use super::{RedisTx, reads::misfit_error};
use crate::redis::{
    commands::Work,
    error::{error, refused},
    overlay::Misfit,
    schema::{Placement, Shard},
    store::RedisStore,
};

impl RedisTx {
    /// Takes a user's key: not one of ours, and in the transaction's slot.
    pub(super) fn claim_key(&mut self, operation: &'static str, key: &[u8]) -> Result<Vec<u8>> {
        let taken = self.check_key(operation, key);
        self.noted(taken)?;
        Ok(key.to_vec())
    }

    fn check_key(&mut self, operation: &'static str, key: &[u8]) -> Result<()> {
        if let Some((kind, message)) = &self.broken {
            return Err(error(*kind, operation).with_message(message.clone()));
        }
        check_user_key(&self.store, operation, key)?;
        self.enter(operation, Shard::of_key(key))
    }

    /// Takes a slot: the first one is the transaction's.
    pub(in crate::redis) fn enter(&mut self, operation: &'static str, shard: Shard) -> Result<()> {
        if self.store.layout().placement == Placement::OneNode {
            return Ok(());
        }
        let own = *self.shard.get_or_insert(shard);
        if own == shard {
            return Ok(());
        }
        Err(refused(
            operation,
            format!(
                "the key lies in slot {} of the cluster and the transaction in slot {}: give both \
                 the same hash tag, as `charge:{{order-17}}`, or name the key by `tx.key(…)`",
                shard.number(),
                own.number()
            ),
        ))
    }

    /// Remembers an error, so that the transaction can't be committed as if there were none.
    pub(in crate::redis) fn noted<T>(&mut self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result
            && self.broken.is_none()
        {
            let message = format!("an earlier command of the transaction failed: {error}");
            self.broken = Some((error.kind(), message));
        }
        result
    }

    pub(in crate::redis) fn fitting(
        &mut self,
        operation: &'static str,
        fits: std::result::Result<(), Misfit>,
    ) -> Result<()> {
        self.noted(fits.map_err(|misfit| misfit_error(operation, misfit)))
    }

    /// The work, unless a command failed.
    pub(in crate::redis) fn finish(self, operation: &'static str) -> Result<Work> {
        match self.broken {
            Some((kind, message)) => Err(error(kind, operation).with_message(message)),
            None => Ok(self.work),
        }
    }
}

/// Refuses a user's key that is one of ours.
pub(in crate::redis) fn check_user_key(
    store: &RedisStore,
    operation: &'static str,
    key: &[u8],
) -> Result<()> {
    if store.layout().is_ours(key) {
        return Err(error(ErrorKind::Invalid, operation)
            .with_message("the key starts as this crate's own keys do: choose another name"));
    }
    Ok(())
}
