//! One transaction by its digest, among all stores.

use crate::{
    DecisionRegister, ErrorKind, Participation, PreparedTransactions, Result, TransactionDigest,
    cli::{
        output::{Answer, refuse},
        stores::{Stores, about},
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
/// `Err` holds the answer that there is none.
pub(super) async fn find(
    stores: &Stores,
    digest: &str,
) -> Result<std::result::Result<Participation, Answer>> {
    let digest = digest.to_ascii_lowercase();
    if digest.is_empty() || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(invalid("a digest has hexadecimal digits only"));
    }
    let mut found: Vec<Participation> = Vec::new();
    for given in &stores.given {
        let store = &given.store;
        let mut add = |participation: Participation| {
            let begins = participation.transaction().to_string().starts_with(&digest);
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
            let page = store.in_doubt(after.as_ref(), PAGE).await;
            let page = page.map_err(|error| about(&given.name, error))?;
            let entries = page.entries.into_iter();
            entries.for_each(|entry| add(entry.participation));
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        after = None;
        loop {
            let page = store.unfinished(after.as_ref(), PAGE).await;
            let page = page.map_err(|error| about(&given.name, error))?;
            let entries = page.entries.into_iter();
            entries.for_each(|entry| add(entry.participation));
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
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

fn none(stores: &Stores) -> Answer {
    let answer = Answer::not_there(format!(
        "no transaction in doubt has this digest, and no decision that is not carried out. Asked: {}",
        stores.named()
    ));
    stores.notes().fold(answer, Answer::note)
}
