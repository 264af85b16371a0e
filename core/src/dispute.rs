//! Notes of participants that did not obey a decision.

use serde::{Deserialize, Serialize};

use crate::{
    error::Result,
    identity::{IDENTITY_BYTES, NamespaceIdentity},
    register::{Decision, DecisionRegister},
    time::Timestamp,
};

/// A participant that ended otherwise than was decided, as its register keeps it.
///
/// Participant and register remove their records once `forget_after` has passed, and with them the proof
/// that something is wrong. The note stays until an operator [settles](DecisionRegister::settle) the
/// transaction, and each sweep repeats the alarm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispute {
    /// The participant, by its identity.
    pub participant: NamespaceIdentity,
    /// The decision that it did not obey.
    pub decision: Decision,
    /// When that was found, by the register's clock.
    pub at: Timestamp,
}

impl Dispute {
    /// A dispute now, by the register's clock; write it with [`DecisionRegister::dispute`].
    ///
    /// # Errors
    /// As [`Store::now`](crate::Store::now).
    pub async fn now<R: DecisionRegister>(
        register: &R,
        participant: NamespaceIdentity,
        decision: Decision,
    ) -> Result<Self> {
        let at = register.now().await?;
        Ok(Self {
            participant,
            decision,
            at,
        })
    }

    /// As one word, for an adapter's row; the words of several disputes stand with a space between
    /// them. It begins with the participant, so a row that contains [`Self::participant_text`] has a
    /// dispute of that participant.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!(
            "{}{}:{}",
            self.participant_text(),
            self.decision.as_str(),
            self.at.as_micros()
        )
    }

    /// How its text begins: the participant, and nothing else.
    #[must_use]
    pub fn participant_text(&self) -> String {
        format!("{}:", self.participant)
    }

    /// From the words of [`Self::to_text`]; `None` for any other text.
    #[must_use]
    pub fn parse_all(text: &str) -> Option<Vec<Self>> {
        text.split(' ')
            .filter(|word| !word.is_empty())
            .map(Self::parse)
            .collect()
    }

    fn parse(word: &str) -> Option<Self> {
        let mut parts = word.split(':');
        let (participant, decision, at) = (parts.next()?, parts.next()?, parts.next()?);
        let whole = participant.len() == 2 * IDENTITY_BYTES && parts.next().is_none();
        let participant = u128::from_str_radix(participant, 16)
            .ok()
            .filter(|_| whole)?;
        Some(Self {
            participant: NamespaceIdentity::from_bytes(participant.to_be_bytes()),
            decision: Decision::parse(decision)?,
            at: Timestamp::from_micros(at.parse().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_reads_back() {
        let dispute = |byte, decision| Dispute {
            participant: NamespaceIdentity::from_bytes([byte; IDENTITY_BYTES]),
            decision,
            at: Timestamp::from_micros(-7),
        };
        let both = [
            dispute(1, Decision::Commit),
            dispute(0xab, Decision::Rollback),
        ];
        let text = format!("{} {}", both[0].to_text(), both[1].to_text());
        assert!(text.starts_with(&both[0].participant_text()));
        assert_eq!(Dispute::parse_all(&text), Some(both.to_vec()));
        assert_eq!(Dispute::parse_all(""), Some(Vec::new()));
        for wrong in ["x", "00:commit:1", &text[1..], &format!("{text}:1")] {
            assert_eq!(Dispute::parse_all(wrong), None, "{wrong}");
        }
    }
}
