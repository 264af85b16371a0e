//! The HTTP header `Idempotency-Key`, as a tower layer over any store (feature `tower`).
//!
//! For services without a durable engine: the client makes up a key and repeats its request until it
//! has an answer; the layer sees to it that the request takes effect once. It follows the IETF draft
//! `draft-ietf-httpapi-idempotency-key-header`:
//!
//! | the request | the answer |
//! |---|---|
//! | has no key, or a malformed one | 400 |
//! | repeats one that is still in flight | 409, with `Retry-After` |
//! | reuses a key for another method, path or body | 422 |
//! | repeats one that has completed | the stored response, with `Idempotent-Replayed: true` |
//! | may or may not have taken effect (the store's reply was lost) | 503: repeat it with the same key |
//!
//! Each refusal is a problem (`application/problem+json`). Only `POST` and `PATCH` are looked at,
//! unless [told otherwise](IdempotencyKeyLayer::methods).
//!
//! # Two forms, two guarantees
//!
//! | | [transactional](IdempotencyKeyLayer::transactional) | [leased](IdempotencyKeyLayer::leased) |
//! |---|---|---|
//! | for effects | in the store's own database, written through [`KeyedTx`] | outside of it: a mail, a call |
//! | key, response and effect | are committed together, **exactly once** | one attempt at a time; the response is recorded once |
//! | the process dies half way | all is rolled back; the retry does it | when the lease is over the handler runs **again**: hand [`Attempt`]'s key and token on, so that the other side can tell |
//! | the handler panics | rolled back | released; the retry runs it again |
//! | the client goes away | rolled back, or committed if it was that far | it runs to its end, and the retry gets its response |
//! | what the handler writes past the layer | is **not** covered: it may happen twice | the same |
//!
//! What becomes of the response's status ([`Ending`], and [`judge`](IdempotencyKeyLayer::judge) to
//! decide otherwise):
//!
//! - 1xx to 3xx: committed, and replayed on every retry.
//! - 4xx: a refusal. The handler's writes are undone, and the response is replayed.
//! - 401, 403, 407, 408, 421, 425, 429 and 5xx: depend on who asks and when. Undone, nothing is
//!   recorded, and a retry runs the handler again.
//!
//! The whole request and response are held in memory; a response over the store's receipt limit is
//! refused (and rolled back). Trailers are not kept. Put the layer *inside* of whatever
//! authenticates, and give every client a [scope](IdempotencyKeyLayer::scope) of its own: otherwise
//! whoever knows a key and its request is told the response.
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
//! let mut service = IdempotencyKeyLayer::transactional(store).layer(service_fn(
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
//! - `layer`: the layer, its options and its service.
//! - `key`, `request`: what is asked, and under which key.
//! - `transactional`, `keyed_tx`: the form that shares its transaction with the handler.
//! - `leased`: the form that holds a lease while the handler runs.
//! - `stored`: a response as a receipt, and back.
//! - `problem`: refusals.

mod key;
mod keyed_tx;
mod layer;
mod leased;
mod options;
mod problem;
mod request;
mod stored;
mod transactional;

pub use keyed_tx::{KeyedTx, TxGuard};
pub use layer::{IdempotencyKeyLayer, IdempotencyKeyService, RequestBody, ResponseBody};
pub use leased::{Attempt, LeasedForm};
pub use options::Ending;
pub use problem::problem;
pub use transactional::TransactionalForm;
