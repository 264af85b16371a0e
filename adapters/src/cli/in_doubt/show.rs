//! One transaction: what its register says, its state at each store, and what to do.

use super::{find::find, state::State};
use crate::{
    Result,
    cli::{output::Answer, stores::Stores},
};

pub(super) async fn show(stores: &mut Stores, digest: &str) -> Result<Answer> {
    let participation = match find(stores, digest).await? {
        Ok(found) => found,
        Err(none) => return Ok(none),
    };
    let state = State::read(stores, participation).await?;
    let answer = state.answer(stores);
    Ok(answer
        .note(format!("what to do: {}", state.advice()))
        .needs_attention(state.late && !state.is_over()))
}
