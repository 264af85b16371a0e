//! Consumers of an at-least-once queue: Redis Streams with a consumer group, effects in SQLite.
//!
//! Every such queue delivers a message again when it was not acknowledged in time: because the
//! consumer died between its effect and its acknowledgement, or because it was slow. And producers
//! send twice, when they don't hear that the first time worked. So the *message's own* number is the
//! key, made by its producer; not the queue's entry number, which is another one for
//! each copy.
//!
//! ```sh
//! ./dev demo queue    # 400 messages, consumers killed between effect and acknowledgement
//! ```
//!
//! What becomes of a delivery:
//!
//! | the effect | the delivery |
//! |---|---|
//! | is applied now, or was before | is acknowledged |
//! | is rejected by the work, now or before; or its number was used for another message | goes to the dead letters, and is acknowledged in the same step |
//! | may or may not have been applied, or the store is busy | is **not** acknowledged: it comes again |
//!
//! # Layout
//! - `queue`: the stream and its commands.
//! - `consumer`: a delivery, its effect, its end.
//! - `driver`: producers that send twice, consumers that are killed.
//! - `audit`: each message once, read from the database.

pub mod audit;
pub mod consumer;
pub mod driver;
pub mod queue;
