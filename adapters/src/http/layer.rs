//! The layer, and the service that it makes of another one.

use std::{
    future::Future,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use exactly_once_core::{BoxError, IdempotencyStore, LeaseStore, Namespace, Retention};
use futures_util::future::BoxFuture;
use http::{HeaderName, Method, Request, Response, StatusCode, request::Parts};
use http_body::Body;
use http_body_util::{BodyExt, Either, Full};
use tower_layer::Layer;
use tower_service::Service;

use super::{
    leased::LeasedForm,
    options::{Ending, Options},
    request::{Keyed, read},
    transactional::TransactionalForm,
};

/// A request's body as the inner service gets it: as it came, or read whole.
pub type RequestBody<B> = Either<B, Full<Bytes>>;

/// A response's body: as the inner service gave it, or whole.
pub type ResponseBody<B> = Either<B, Full<Bytes>>;

/// The inner service, for one request.
pub(super) type Handler<E> = Box<
    dyn FnOnce(Request<Bytes>) -> BoxFuture<'static, Result<Response<Bytes>, Failed<E>>> + Send,
>;

/// Why there is no response.
pub(super) enum Failed<E> {
    Service(E),
    /// Its body broke off.
    Body,
}

/// How a request and its key are tied together.
pub(super) trait Form: Clone + Send + Sync + 'static {
    /// Runs the handler for this key, or answers without it.
    fn run<E: Send + 'static>(
        self,
        options: &Options,
        keyed: Keyed,
        handler: Handler<E>,
    ) -> impl Future<Output = Result<Response<Bytes>, E>> + Send;
}

/// The layer for the HTTP header `Idempotency-Key`; the [module](super) says what it guarantees.
#[derive(Clone, Debug)]
pub struct IdempotencyKeyLayer<F> {
    form: F,
    options: Arc<Options>,
}

impl<S: IdempotencyStore> IdempotencyKeyLayer<TransactionalForm<S>> {
    /// Claims the key in a transaction of this store and lends it to the handler, as
    /// [`KeyedTx`](super::KeyedTx) in the request's extensions: key, response and what the handler
    /// writes in it are committed together.
    pub fn transactional(store: S) -> Self {
        Self {
            form: TransactionalForm(store),
            options: Arc::default(),
        }
    }
}

impl<S: LeaseStore> IdempotencyKeyLayer<LeasedForm<S>> {
    /// Holds the key by a lease while the handler runs, for effects outside of the store. The lease
    /// is renewed three times in each `ttl`; after a crash, a retry has to wait for what is left of
    /// it. The handler finds its [`Attempt`](super::Attempt) in the request's extensions.
    ///
    /// Needs a tokio runtime: the handler runs in a task of its own.
    pub fn leased(store: S, ttl: Duration) -> Self {
        Self {
            form: LeasedForm { store, ttl },
            options: Arc::default(),
        }
    }
}

impl<F> IdempotencyKeyLayer<F> {
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

    /// Whose key it is: each client's keys are apart from all others'. A request that belongs to
    /// nobody is refused with the status. Without a scope all clients share one space of keys.
    #[must_use]
    pub fn scope(
        self,
        scope: impl Fn(&Parts) -> Result<Namespace, StatusCode> + Send + Sync + 'static,
    ) -> Self {
        self.with(|options| options.scope = Some(Arc::new(scope)))
    }

    /// How long a response is kept, counted from completion; the store's default otherwise. Tell
    /// your clients: a key that is repeated later is a new request.
    #[must_use]
    pub fn retention(self, retention: Retention) -> Self {
        self.with(|options| options.retention = retention)
    }

    /// The largest request body, in bytes; 1 MiB by default.
    #[must_use]
    pub fn max_request_bytes(self, bytes: usize) -> Self {
        self.with(|options| options.max_request_bytes = bytes)
    }

    /// Which of the response's headers are stored and replayed. By default those that describe the
    /// body, `Location`, `Link`, `ETag` and `Last-Modified`; never a cookie unless you say so.
    #[must_use]
    pub fn replay_headers(self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.with(|options| options.keep_headers = names.into_iter().collect())
    }

    /// Where your API explains its use of keys: the `type` of each problem.
    #[must_use]
    pub fn documentation(self, url: impl Into<String>) -> Self {
        self.with(|options| options.documentation = Some(url.into()))
    }

    /// What becomes of a response, by its status; [`Ending::of`] by default.
    #[must_use]
    pub fn judge(self, judge: fn(StatusCode) -> Ending) -> Self {
        self.with(|options| options.judge = judge)
    }
}

impl<F: Clone, I> Layer<I> for IdempotencyKeyLayer<F> {
    type Service = IdempotencyKeyService<F, I>;

    fn layer(&self, inner: I) -> Self::Service {
        IdempotencyKeyService {
            form: self.form.clone(),
            options: self.options.clone(),
            inner,
        }
    }
}

/// A service behind an [`IdempotencyKeyLayer`].
#[derive(Clone, Debug)]
pub struct IdempotencyKeyService<F, I> {
    form: F,
    options: Arc<Options>,
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
        Box::pin(async move {
            if !options.methods.contains(request.method()) {
                let response = inner.call(request.map(Either::Left)).await?;
                return Ok(response.map(Either::Left));
            }
            let keyed = match read(&options, request).await {
                Ok(keyed) => keyed,
                Err(refusal) => return Ok(whole(refusal)),
            };
            let handler: Handler<I::Error> = Box::new(move |request| {
                let called = inner.call(request.map(|body| Either::Right(Full::new(body))));
                Box::pin(async move {
                    let response = called.await.map_err(Failed::Service)?;
                    let (parts, body) = response.into_parts();
                    let body = body.collect().await.map_err(|_| Failed::Body)?;
                    Ok(Response::from_parts(parts, body.to_bytes()))
                })
            });
            form.run(&options, keyed, handler).await.map(whole)
        })
    }
}

fn whole<R>(response: Response<Bytes>) -> Response<ResponseBody<R>> {
    response.map(|body| Either::Right(Full::new(body)))
}
