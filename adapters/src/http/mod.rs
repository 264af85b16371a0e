//! The HTTP header `Idempotency-Key`, as a tower layer over any store (feature `tower`).
//!
//! For services without a durable engine: the client makes a key and repeats its request until it
//! has an answer; the layer makes the request take effect once. It follows the IETF draft
//! `draft-ietf-httpapi-idempotency-key-header`:
//!
//! | the request | the answer |
//! |---|---|
//! | has no key, or a malformed one | 400 |
//! | repeats one that is still in progress | 409 at once, with `Retry-After` |
//! | reuses a key for another method, host, path, query or body | 422 |
//! | repeats one that has completed | the stored response, with `Idempotent-Replayed: true` |
//! | may or may not have taken effect (the store's reply was lost) | 503: repeat it with the same key |
//!
//! Each refusal is a problem (`application/problem+json`). The layer looks at `POST` and `PATCH`
//! only, unless [configured otherwise](IdempotencyKeyLayer::methods).
//!
//! # Two forms, two guarantees
//!
//! | | [transactional](IdempotencyKeyLayer::transactional) | [leased](IdempotencyKeyLayer::leased) |
//! |---|---|---|
//! | for effects | in the store's own database, written through [`KeyedTx`] | outside of it: a mail, a call |
//! | key, response and effect | are committed together, **exactly once** | one attempt at a time; the response is recorded once |
//! | the process dies half way | all is rolled back; the retry does it | when the lease has expired the handler runs **again**: hand [`Attempt`]'s key and token on, so that the other side can tell |
//! | the handler panics | rolled back | released; the retry runs it again |
//! | the client goes away | rolled back, or committed if it was that far | it runs to its end, and the retry gets its response |
//! | the attempt exceeds its [longest time](IdempotencyKeyLayer::max_duration) | rolled back, 503 | released, 503; the retry runs it again |
//! | another attempt takes over meanwhile | can't happen: the transaction holds the key | the stored answer, or 503 with `Retry-After` until there is one |
//! | the response exceeds the [limit](IdempotencyKeyLayer::max_response_bytes) | rolled back, 500 | recorded without it: 410, now and on every retry |
//! | what the handler writes past the layer | is **not** covered: it may happen twice | the same |
//!
//! # What is recorded
//!
//! Only what the handler has decided. A response's [`Ending`] says it, in the response's extensions:
//! [`KeyedTx::problem`] and [`problem`](problem()) put it there by the *kind* of the error, so that a
//! refusal for good is recorded and an error that a retry may not meet again never is, whatever their
//! status. Without an `Ending`, the status decides:
//!
//! - 1xx to 3xx: committed, and replayed on every retry. Not so a redirect (301, 302, 307, 308) from
//!   a handler that has not used its transaction or attempt.
//! - 4xx from a handler that has used its transaction ([`KeyedTx::lock`]) or its attempt
//!   ([`Attempt::key`], [`Attempt::token`]): a refusal. Its writes are undone, and the response is
//!   replayed.
//! - All other 4xx: what the router (404, 405) and extractors (400, 413, 415, 422) refuse before the
//!   handler runs. Nothing is recorded, and a retry runs the handler again.
//! - 401, 403, 407, 408, 421, 425, 429 and 5xx: they depend on the client's credentials or on the
//!   moment. Undone, nothing is recorded, and a retry runs the handler again.
//!
//! [`judge`](IdempotencyKeyLayer::judge) decides otherwise. What the database refuses at the commit
//! (a deferred constraint) is recorded as what it refuses before.
//!
//! # Scopes
//!
//! Give every client a [scope](NeedsScope::scope) of its own, or say that the layer is
//! [unscoped](NeedsScope::unscoped); there is no layer without either. Put the layer *inside* of the
//! one that authenticates. The store keeps scope and key together as one key
//! ([`stored_key`]) in its own namespace, apart from the service's own keys, and so
//! [`expire`](exactly_once_core::IdempotencyStore::expire) covers all scopes.
//!
//! # Limits
//!
//! The whole request and each recorded response are held in memory, up to their limits. Trailers are
//! not kept. A key in progress in this process is answered without asking the store; in another
//! process, a store that would wait for that transaction waits for some milliseconds only. SQLite has
//! one writer at a time, so there a handler's open transaction delays other keys of another process,
//! too. All forms need a tokio runtime.
//!
//! ```
//! # #[cfg(feature = "memory")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! use exactly_once::{http::{IdempotencyKeyLayer, KeyedTx}, memory::MemoryStore};
//! use http::{Request, Response};
//! use tower::{Layer, Service, ServiceExt, service_fn};
//!
//! let store = MemoryStore::new();
//! let mut service = IdempotencyKeyLayer::transactional(store).unscoped().layer(service_fn(
//!     async |request: Request<_>| {
//!         // The transaction that the key is claimed in; with axum: `Extension<KeyedTx<MemoryStore>>`.
//!         let keyed = request.extensions().get::<KeyedTx<MemoryStore>>().unwrap();
//!         keyed.lock().await.unwrap().add("paid", 500).unwrap();
//!         Ok::<_, std::convert::Infallible>(Response::new("paid".to_owned()))
//!     },
//! ));
//! for replayed in [false, true] {
//!     let request = Request::post("/payments")
//!         .header("idempotency-key", r#""8e03978e-40d5""#)
//!         .body(String::new())
//!         .unwrap();
//!     let response = service.ready().await.unwrap().call(request).await.unwrap();
//!     assert_eq!(response.headers().contains_key("idempotent-replayed"), replayed);
//! }
//! # }
//! # #[cfg(not(feature = "memory"))]
//! # fn main() {}
//! ```
//!
//! # Layout
//! - `layer`: the layer, its options and its service; `options`, `scope`: what they are.
//! - `key`, `request`, `json`: what is asked, and under which key.
//! - `running`: the keys in progress in this process.
//! - `transactional`, `keyed_tx`: the form that shares its transaction with the handler.
//! - `leased`: the form that holds a lease while the handler runs.
//! - `stored`: a response as a receipt, and back.
//! - `problem`: refusals.

mod json;
mod key;
mod keyed_tx;
mod layer;
mod leased;
mod options;
mod problem;
mod request;
mod running;
mod scope;
mod stored;
mod transactional;

pub use keyed_tx::{KeyedTx, TxGuard};
pub use layer::{IdempotencyKeyLayer, IdempotencyKeyService, RequestBody, ResponseBody};
pub use leased::{Attempt, LeasedForm};
pub use options::Ending;
pub use problem::problem;
pub use scope::{NeedsScope, stored_key};
pub use transactional::TransactionalForm;
