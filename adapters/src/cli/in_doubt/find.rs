//! One transaction by its digest, among all stores.

use crate::{
    DecisionRegister, ErrorKind, Participation, PreparedTransactions, Result, TransactionDigest,
    cli::{
        output::{Answer, refuse},
        stores::{Given, Stores, about},
    },
};

pub(super) const PAGE: u32 = 500;

fn invalid(why: impl Into<String>) -> crate::Error {
    refuse(ErrorKind::Invalid, "in-doubt", why)
}

/// A whole digest.
pub(super) fn parse(text: &str) -> Result<TransactionDigest> {
    let mut bytes = [0; 32];
    let pairs = text.as_bytes().chunks(2);
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(invalid("a whole digest has 64 hexadecimal digits"));
    }
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        let pair = std::str::from_utf8(pair).unwrap_or_default();
        *byte = u8::from_str_radix(pair, 16)
            .map_err(|_| invalid("a digest has hexadecimal digits only"))?;
    }
    Ok(TransactionDigest::from_bytes(bytes))
}

/// The transaction whose digest begins like this: in doubt somewhere, or decided and not carried out.
/// By its whole digest, whatever a register holds of it. `Err` holds the answer that there is none.
///
/// A store that fails half way is put aside, as one that is away: it keeps no other from being asked.
pub(super) async fn find(
    stores: &mut Stores,
    digest: &str,
) -> Result<std::result::Result<Participation, Answer>> {
    let digest = digest.to_ascii_lowercase();
    if digest.is_empty() || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(invalid("a digest has hexadecimal digits only"));
    }
    let mut found: Vec<Participation> = Vec::new();
    for given in std::mem::take(&mut stores.given) {
        match search(&given, &digest, &mut found).await {
            Ok(()) => stores.given.push(given),
            Err(error) if error.is_retryable() => stores.away.push((given.name, error)),
            Err(error) => return Err(about(&given.name, error)),
        }
    }
    if stores.given.is_empty()
        && let Some((name, error)) = stores.away.pop()
    {
        return Err(about(&name, error));
    }
    match (found.pop(), found.is_empty()) {
        (Some(found), true) => Ok(Ok(found)),
        (None, _) => Ok(Err(none(stores))),
        (Some(_), false) => Err(invalid(
            "more than one transaction begins like this: give more of the digest, or only the stores \
             of one of them",
        )),
    }
}

/// Adds what one store knows of it.
async fn search(given: &Given, digest: &str, found: &mut Vec<Participation>) -> Result<()> {
    let store = &given.store;
    {
        let mut add = |participation: Participation| {
            let begins = participation.transaction().to_string().starts_with(digest);
            let known = found.iter_mut().find(|other| **other == participation);
            match known {
                _ if !begins => {}
                // The decision knows the participants by their names, and an entry does not.
                Some(known) if known.participants().named().is_none() => *known = participation,
                Some(_) => {}
                None => found.push(participation),
            }
        };
        let mut after = None;
        loop {
            let page = store.in_doubt(after.as_ref(), PAGE).await?;
            let entries = page.entries.into_iter();
            entries.for_each(|entry| add(entry.participation));
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        after = None;
        loop {
            let page = store.unfinished(after.as_ref(), PAGE).await?;
            let entries = page.entries.into_iter();
            entries.for_each(|entry| add(entry.participation));
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        // What is settled or finished is in no list.
        if let Ok(whole) = parse(digest) {
            let entry = store.find_decision(&whole).await?;
            entry.into_iter().for_each(|entry| add(entry.participation));
        }
    }
    Ok(())
}

fn none(stores: &Stores) -> Answer {
    let answer = Answer::not_there(format!(
        "no transaction in doubt has this digest, and no decision that is not carried out (a settled or \
         finished one is found by its whole digest). Asked: {}",
        stores.named()
    ));
    stores.notes().fold(answer, Answer::note)
}
