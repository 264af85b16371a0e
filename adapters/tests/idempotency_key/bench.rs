//! Services to send requests to, and the store behind them.

use std::{
    convert::Infallible,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use exactly_once::{
    IdempotencyStore, Transactional,
    http::{IdempotencyKeyLayer, IdempotencyKeyService, KeyedTx, LeasedForm, TransactionalForm},
    memory::MemoryStore,
};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tower::{Layer, Service, ServiceExt, util::BoxCloneSyncService};

/// Longer than any test runs.
pub(crate) const TTL: Duration = Duration::from_secs(60);

pub(crate) type Asked = Request<exactly_once::http::RequestBody<Full<Bytes>>>;
pub(crate) type Inner = BoxCloneSyncService<Asked, Response<Full<Bytes>>, Infallible>;
pub(crate) type Outer<F> = IdempotencyKeyService<F, Inner>;

pub(crate) struct Bench {
    pub(crate) store: MemoryStore,
    handled: Arc<AtomicU32>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::on(MemoryStore::new())
    }

    pub(crate) fn on(store: MemoryStore) -> Self {
        Self {
            store,
            handled: Arc::default(),
        }
    }

    /// A layer without scopes.
    pub(crate) fn transactional(&self) -> IdempotencyKeyLayer<TransactionalForm<MemoryStore>> {
        transactional(self.store.clone())
    }

    /// The same, with a lease.
    pub(crate) fn leased(&self, ttl: Duration) -> IdempotencyKeyLayer<LeasedForm<MemoryStore>> {
        IdempotencyKeyLayer::leased(self.store.clone(), ttl).unscoped()
    }

    /// How often the handler was run.
    pub(crate) fn handled(&self) -> u32 {
        self.handled.load(Ordering::SeqCst)
    }

    /// What the handlers have paid, and committed.
    pub(crate) async fn paid(&self) -> i64 {
        let mut tx = self.store.begin().await.unwrap();
        tx.add("paid", 0).unwrap()
    }

    /// A service that does this with each request, and counts.
    pub(crate) fn service<F, W, A>(&self, layer: IdempotencyKeyLayer<F>, work: W) -> Outer<F>
    where
        F: Clone,
        W: Fn(Asked) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        let handled = self.handled.clone();
        let inner = tower::service_fn(move |request| {
            handled.fetch_add(1, Ordering::SeqCst);
            let answer = work(request);
            async move { Ok::<_, Infallible>(answer.await) }
        });
        layer.layer(BoxCloneSyncService::new(inner))
    }

    /// Pays one in the request's transaction, and answers 201 with a receipt.
    pub(crate) fn paying<F: Clone>(&self, layer: IdempotencyKeyLayer<F>) -> Outer<F> {
        self.service(layer, async |request| {
            pay(&request).await;
            let mut response = answer(StatusCode::CREATED, "receipt 17");
            let headers = response.headers_mut();
            headers.insert("location", "/payments/17".parse().unwrap());
            headers.insert("set-cookie", "session=1".parse().unwrap());
            response
        })
    }

    /// Answers with the request's body.
    pub(crate) fn echoing<F: Clone>(&self, layer: IdempotencyKeyLayer<F>) -> Outer<F> {
        self.service(layer, async |request: Asked| {
            Response::new(Full::new(request.collect().await.unwrap().to_bytes()))
        })
    }
}

/// A layer over this store, without scopes.
pub(crate) fn transactional<S: IdempotencyStore>(
    store: S,
) -> IdempotencyKeyLayer<TransactionalForm<S>> {
    IdempotencyKeyLayer::transactional(store).unscoped()
}

pub(crate) async fn pay(request: &Asked) {
    let keyed = request.extensions().get::<KeyedTx<MemoryStore>>().unwrap();
    keyed.lock().await.unwrap().add("paid", 1).unwrap();
}

pub(crate) fn answer(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text.to_owned()));
    *response.status_mut() = status;
    response
}

pub(crate) fn post(path: &str, key: Option<&str>, body: &str) -> Request<Full<Bytes>> {
    let mut request = Request::post(path);
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    request.body(Full::from(body.to_owned())).unwrap()
}

/// One request; its future may be dropped.
pub(crate) fn send<S, B>(
    service: &S,
    request: Request<Full<Bytes>>,
) -> impl Future<Output = Response<B>> + use<S, B>
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible> + Clone,
{
    let service = service.clone();
    async move {
        match service.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

pub(crate) async fn body<B>(response: Response<B>) -> String
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}
