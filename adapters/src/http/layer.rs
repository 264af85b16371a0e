//! The layer, and the service that it makes of another one.

use std::{
    future::Future,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use exactly_once_core::{
    BoxError, Error, Fingerprint, IdempotencyKey, IdempotencyStore, InvalidName, LeaseStore,
    Retention,
};
use futures_util::future::BoxFuture;
use http::{HeaderName, Method, Request, Response, StatusCode, response};
use http_body::Body;
use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited};
use tower_layer::Layer;
use tower_service::Service;

use super::{
    leased::LeasedForm,
    options::{Ending, Options},
    problem::of_claim,
    request::{Keyed, Read, read, refuse},
    running::Running,
    scope::NeedsScope,
    transactional::TransactionalForm,
};
use crate::alarm;

/// A request's body as the inner service gets it: as it came, or read whole.
pub type RequestBody<B> = Either<B, Full<Bytes>>;

/// A response's body: as the inner service gave it, or whole.
pub type ResponseBody<B> = Either<B, Full<Bytes>>;

/// The inner service, for one request.
pub(super) type Handler<R, E> =
    Box<dyn FnOnce(Request<Bytes>) -> BoxFuture<'static, Result<Answered<R>, Failed<E>>> + Send>;

/// What the inner service has answered.
pub(super) enum Answered<R> {
    /// A response to record, read whole.
    Whole(Response<Bytes>, Ending),
    /// A response that is not recorded, and so is not read here.
    Passing(Response<R>),
}

/// Why there is no response.
pub(super) enum Failed<E> {
    Service(E),
    /// Its body broke off.
    Body,
    /// Its body exceeds the limit, and it was to be recorded.
    TooLarge(Ending),
    /// It took longer than an attempt may.
    TooLong,
}

/// How a request and its key are tied together.
pub(super) trait Form: Clone + Send + Sync + 'static {
    /// The largest receipt of the store.
    fn max_receipt_bytes(&self) -> usize;

    /// Runs the handler for this key, or answers without it.
    fn run<R: Send + 'static, E: Send + 'static>(
        self,
        options: Arc<Options>,
        keyed: Keyed,
        handler: Handler<R, E>,
    ) -> impl Future<Output = Result<Response<ResponseBody<R>>, E>> + Send;
}

/// The layer for the HTTP header `Idempotency-Key`; the [module](super) says what it guarantees.
///
/// Needs a tokio runtime.
#[derive(Clone, Debug)]
pub struct IdempotencyKeyLayer<F> {
    form: F,
    options: Arc<Options>,
    running: Running,
}

impl<S: IdempotencyStore> IdempotencyKeyLayer<TransactionalForm<S>> {
    /// Claims the key in a transaction of this store and lends it to the handler, as
    /// [`KeyedTx`](super::KeyedTx) in the request's extensions: key, response and what the handler
    /// writes in it are committed together.
    pub fn transactional(store: S) -> NeedsScope<TransactionalForm<S>> {
        NeedsScope(TransactionalForm(store))
    }
}

impl<S: LeaseStore> IdempotencyKeyLayer<LeasedForm<S>> {
    /// Holds the key by a lease while the handler runs, for effects outside of the store. The lease
    /// is renewed three times in each `ttl`; after a crash, a retry has to wait for what is left of
    /// it. The handler finds its [`Attempt`](super::Attempt) in the request's extensions, and runs
    /// in a task of its own.
    pub fn leased(store: S, ttl: Duration) -> NeedsScope<LeasedForm<S>> {
        NeedsScope(LeasedForm { store, ttl })
    }
}

impl<F> IdempotencyKeyLayer<F> {
    pub(super) fn new(form: F, options: Options) -> Self {
        Self {
            form,
            options: Arc::new(options),
            running: Running::default(),
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Options)) -> Self {
        change(Arc::make_mut(&mut self.options));
        self
    }

    /// Which methods need a key; all others pass untouched. `POST` and `PATCH` by default.
    #[must_use]
    pub fn methods(self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.with(|options| options.methods = methods.into_iter().collect())
    }

    /// Takes keys without quotes as well (`Idempotency-Key: 8e03978e`), as many clients send them.
    #[must_use]
    pub fn accept_bare_keys(self) -> Self {
        self.with(|options| options.bare_keys = true)
    }

    /// Lets a request without a key pass, instead of refusing it. The handler then finds no
    /// [`KeyedTx`](super::KeyedTx) or [`Attempt`](super::Attempt), and **a repeated request takes
    /// effect again**.
    #[must_use]
    pub fn key_optional(self) -> Self {
        self.with(|options| options.key_optional = true)
    }

    /// Finds the key elsewhere than in `Idempotency-Key`: in another header, or in the body, such as
    /// the id of a webhook's event. `None` is a missing key; the text of an error goes to the client.
    #[must_use]
    pub fn key(
        self,
        key: impl Fn(&Request<Bytes>) -> Result<Option<IdempotencyKey>, InvalidName>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.with(|options| options.key = Some(Arc::new(key)))
    }

    /// Makes a fingerprint of your own, which replaces the layer's over method, host, target,
    /// content type, content encoding and body.
    ///
    /// To ensure correctness, cover all that makes two requests different, the method and the target
    /// too; otherwise the layer answers one request with the response of another. Within a nested
    /// axum router the original target is in the extension `OriginalUri`.
    #[must_use]
    pub fn fingerprint(
        self,
        fingerprint: impl Fn(&Request<Bytes>) -> Fingerprint + Send + Sync + 'static,
    ) -> Self {
        self.with(|options| options.fingerprint = Some(Arc::new(fingerprint)))
    }

    /// Compares a body of JSON (`application/json` or `…+json`) as a value: the order of its
    /// members, white space, spelling of strings and parameters of the content type make no
    /// difference. Numbers compare as they are written.
    #[must_use]
    pub fn json_as_value(self) -> Self {
        self.with(|options| options.json_as_value = true)
    }

    /// Leaves the host out of the fingerprint: for a service whose clients may retry under another
    /// of its names, or behind proxies that put their own name into `Host`. Not for one whose
    /// tenants have a host each, unless their [scope](NeedsScope::scope) says which it is.
    #[must_use]
    pub fn any_host(self) -> Self {
        self.with(|options| options.any_host = true)
    }

    /// How long a response is kept, counted from completion; the store's default otherwise. Document
    /// it for your clients: a key that is repeated later is a new request.
    #[must_use]
    pub fn retention(self, retention: Retention) -> Self {
        self.with(|options| options.retention = retention)
    }

    /// The largest request body, in bytes; 1 MiB by default.
    #[must_use]
    pub fn max_request_bytes(self, bytes: usize) -> Self {
        self.with(|options| options.max_request_bytes = bytes)
    }

    /// The largest response body to record, in bytes; the store's receipt limit by default, and
    /// never more. The layer stops reading there. The transactional form then undoes the request
    /// and responds 500. The leased form, whose effect has happened, records 410 and responds so.
    #[must_use]
    pub fn max_response_bytes(self, bytes: usize) -> Self {
        self.with(|options| options.max_response_bytes = Some(bytes))
    }

    /// The longest time for one attempt, from the request's first byte to the response's last; one
    /// minute by default. Then the layer drops the handler's future and undoes its writes, or gives
    /// the lease back, and responds 503. Without such a limit, a response that never ends would
    /// hold its transaction or renew its lease for ever.
    #[must_use]
    pub fn max_duration(self, duration: Duration) -> Self {
        self.with(|options| options.max_duration = duration)
    }

    /// Which of the response's headers are stored and replayed. By default those that describe the
    /// body (`Content-…`), `Allow`, `Cache-Control`, `ETag`, `Expires`, `Last-Modified`, `Link`,
    /// `Location` and `Vary`; never a cookie unless you say so.
    #[must_use]
    pub fn replay_headers(self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.with(|options| options.keep_headers = names.into_iter().collect())
    }

    /// Where your API explains its use of keys: the `type` of each problem.
    #[must_use]
    pub fn documentation(self, url: impl Into<String>) -> Self {
        self.with(|options| options.documentation = Some(url.into()))
    }

    /// Decides what becomes of a response, before the layer's own rules, which hold where this
    /// returns `None`. The [`Ending`] that the handler has put into the response, if any, is in its
    /// extensions.
    #[must_use]
    pub fn judge(
        self,
        judge: impl Fn(&response::Parts) -> Option<Ending> + Send + Sync + 'static,
    ) -> Self {
        self.with(|options| options.judge = Some(Arc::new(judge)))
    }
}

impl<F: Clone, I> Layer<I> for IdempotencyKeyLayer<F> {
    type Service = IdempotencyKeyService<F, I>;

    fn layer(&self, inner: I) -> Self::Service {
        IdempotencyKeyService {
            form: self.form.clone(),
            options: self.options.clone(),
            running: self.running.clone(),
            inner,
        }
    }
}

/// A service behind an [`IdempotencyKeyLayer`].
#[derive(Clone, Debug)]
pub struct IdempotencyKeyService<F, I> {
    form: F,
    options: Arc<Options>,
    running: Running,
    inner: I,
}

impl<F, I, B, R> Service<Request<B>> for IdempotencyKeyService<F, I>
where
    F: Form,
    I: Service<Request<RequestBody<B>>, Response = Response<R>> + Clone + Send + 'static,
    I::Future: Send + 'static,
    I::Error: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody<R>>;
    type Error = I::Error;
    type Future = BoxFuture<'static, Result<Self::Response, I::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), I::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The one that was polled ready is the one to call.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let (form, options) = (self.form.clone(), self.options.clone());
        let running = self.running.clone();
        Box::pin(async move {
            if !options.methods.contains(request.method()) {
                let response = inner.call(request.map(Either::Left)).await?;
                return Ok(response.map(Either::Left));
            }
            let end = Instant::now().checked_add(options.max_duration);
            let mut keyed = match until(end, read(&options, request)).await {
                Some(Ok(Read::Keyed(keyed))) => *keyed,
                Some(Ok(Read::Keyless(request))) => {
                    let response = inner.call(*request).await?;
                    return Ok(response.map(Either::Left));
                }
                Some(Err(refusal)) => return Ok(whole(*refusal)),
                None => {
                    let detail = "the request's body did not arrive in time";
                    let status = StatusCode::REQUEST_TIMEOUT;
                    return Ok(whole(*refuse(&options, status, "Request timeout", detail)));
                }
            };
            match running.enter(&keyed.claim) {
                Ok(entered) => keyed.entered = Some(entered),
                Err(kind) => {
                    let error = Error::new(kind, "claim", "http");
                    return Ok(whole(of_claim(&error, options.documentation())));
                }
            }
            let limit = form.max_receipt_bytes();
            let limit = options.max_response_bytes.unwrap_or(limit).min(limit);
            let (judge, begun) = (options.clone(), keyed.begun.clone());
            let handler: Handler<R, I::Error> = Box::new(move |request| {
                let called = inner.call(request.map(|body| Either::Right(Full::new(body))));
                Box::pin(async move {
                    let answered = async {
                        let (parts, body) = called.await.map_err(Failed::Service)?.into_parts();
                        let ending = judge.ending(&parts, begun.get());
                        if ending == Ending::RollBack {
                            return Ok(Answered::Passing(Response::from_parts(parts, body)));
                        }
                        match Limited::new(body, limit).collect().await {
                            Ok(body) => {
                                let response = Response::from_parts(parts, body.to_bytes());
                                Ok(Answered::Whole(response, ending))
                            }
                            Err(error) if error.is::<LengthLimitError>() => {
                                Err(Failed::TooLarge(ending))
                            }
                            Err(_) => Err(Failed::Body),
                        }
                    };
                    until(end, answered).await.unwrap_or(Err(Failed::TooLong))
                })
            });
            form.run(options, keyed, handler).await
        })
    }
}

/// `None` where the moment comes first; without one, as long as it takes.
async fn until<T>(end: Option<Instant>, future: impl Future<Output = T>) -> Option<T> {
    match end {
        Some(end) => alarm::until(end, future).await,
        None => Some(future.await),
    }
}

/// A response of the layer's own, or one that was read whole.
pub(super) fn whole<R>(response: Response<Bytes>) -> Response<ResponseBody<R>> {
    response.map(|body| Either::Right(Full::new(body)))
}
