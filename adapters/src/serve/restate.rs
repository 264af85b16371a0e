//! The configuration as a service of Restate, made by hand: **the only file here that knows Restate**.
//!
//! The SDK's macros make a service of a Rust type. Here the handlers come from a file, so this does what
//! the macros generate: it describes the service for discovery, and dispatches on the handler's name.
//! The SDK (0.13) has public types for both, and one function to join them that is hidden from its
//! documentation: `service::macro_support::service_definition`. Should it go, the fallback is one
//! handler `run {effect, parameters}` by the macro; nothing outside this file would change.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use restate_sdk::{
    context::Context,
    discovery,
    endpoint::{ContextInternal, Error as EndpointError},
    errors::{HandlerError, TerminalError},
    service::{
        Service,
        macro_support::{ServiceBoxFuture, service_definition},
    },
};
use serde_json::{Value, json};

pub(super) use crate::restate::Listener;
pub(super) use restate_sdk::endpoint::Endpoint;

use super::{
    catalog::Catalog,
    config::{Config, Handler},
    execute,
    observe::Attempt,
    request::Request,
    schema,
};
use crate::{
    Error, ErrorKind,
    engine::Refusal,
    restate::services::{Account, InDoubtSweep, KeyExpiry},
    two_phase::Sweeper,
};

/// The endpoint that serves this.
///
/// # Errors
/// [Configuration](ErrorKind::Configuration): a name that Restate refuses, or a key that is none.
pub(super) fn endpoint(catalog: &Arc<Catalog>) -> Result<Endpoint, Error> {
    let config = &catalog.config;
    let mut endpoint = Endpoint::builder();
    if !config.handlers.is_empty() {
        let service = Handlers(catalog.clone());
        endpoint = endpoint.bind(service_definition(service, describe(config)?));
    }
    if let Some(accounts) = &config.accounts {
        endpoint = endpoint.bind(Account::new(catalog.store(accounts)?.clone()));
    }
    let stores = catalog.stores().map(|(_, store)| store.clone());
    endpoint = endpoint.bind(KeyExpiry::of_all(stores));
    if config.register.is_some() {
        let mut sweeper = Sweeper::new(catalog.register()?.clone());
        for (name, store) in catalog.stores() {
            sweeper = sweeper.participant(name, store.clone())?;
        }
        endpoint = endpoint.bind(InDoubtSweep::new(sweeper));
    }
    for key in &config.identity_keys {
        endpoint = endpoint.identity_key(key).map_err(|error| {
            configuration(format!(
                "identity_keys: {error}; Restate prints its public key as publickeyv1_…"
            ))
        })?;
    }
    Ok(endpoint.build())
}

fn configuration(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Configuration, "serve", "restate").with_message(message)
}

/// What Restate shows, and generates clients from.
fn describe(config: &Config) -> Result<discovery::Service, Error> {
    let handlers: Vec<Value> = config.handlers.iter().map(describe_handler).collect();
    let mut service = json!({ "name": config.service, "ty": "SERVICE", "handlers": handlers });
    if let Some(docs) = &config.docs {
        service["documentation"] = json!(docs);
    }
    // By its JSON, so that a field which a later SDK adds is no change here.
    serde_json::from_value(service)
        .map_err(|error| configuration(format!("Restate takes no such service: {error}")))
}

fn describe_handler(handler: &Handler) -> Value {
    let takes_nothing = handler
        .parameters
        .iter()
        .all(|parameter| parameter.optional);
    json!({
        "name": handler.name,
        "documentation": documentation(handler),
        "input": {
            "required": !takes_nothing,
            "contentType": "application/json",
            "jsonSchema": schema::of_request(handler),
        },
        "output": {
            "setContentTypeIfEmpty": false,
            "contentType": "application/json",
            "jsonSchema": schema::of_answer(handler.answer()),
        },
    })
}

/// The file's own words, and the statements.
fn documentation(handler: &Handler) -> String {
    let mut text = handler.docs.clone().unwrap_or_default();
    for (store, template) in handler.statements() {
        if !text.is_empty() {
            text.push_str("\n\n");
        }
        text.push_str(&format!(
            "In `{store}`:\n```sql\n{}\n```",
            template.sql.trim()
        ));
    }
    text
}

/// Dispatches on the handler's name.
struct Handlers(Arc<Catalog>);

impl Service for Handlers {
    type Future = ServiceBoxFuture;

    fn handle(&self, ctx: ContextInternal) -> ServiceBoxFuture {
        let catalog = self.0.clone();
        Box::pin(async move {
            let Some(handler) = catalog.config.handler(ctx.handler_name()) else {
                return Err(EndpointError::unknown_handler(
                    ctx.service_name(),
                    ctx.handler_name(),
                ));
            };
            let (body, metadata) = ctx.input::<Bytes>().await;
            let invocation = metadata.invocation_id.clone();
            let context = Context::from((&ctx, metadata));
            let answer = observed(&context, &catalog, handler, &invocation, &body).await;
            ctx.handle_handler_result(answer.map(Bytes::from).map_err(HandlerError::from));
            ctx.end();
            Ok(())
        })
    }
}

/// Calls the handler, counts and logs how it ended; parameters and rows are in neither.
fn observed<'a, 'ctx: 'a>(
    context: &'a Context<'ctx>,
    catalog: &'a Catalog,
    handler: &'a Handler,
    invocation: &'a str,
    body: &'a [u8],
) -> BoxFuture<'a, Result<String, TerminalError>> {
    let started = Instant::now();
    let (key, called) = match Request::read(handler, body, catalog.config.max_body_bytes) {
        Ok(request) => {
            let called = execute::call(context, catalog, handler, Ok(&request));
            (request.key, called)
        }
        Err(error) => (None, execute::call(context, catalog, handler, Err(error))),
    };
    async move {
        let attempt = Attempt::begin(handler, invocation, key.as_ref(), started);
        let answer = called.await;
        attempt.end(match &answer {
            Ok(_) => "ok",
            Err(error) => Refusal::of(error).map_or("cancelled", |refusal| refusal.kind().as_str()),
        });
        answer
    }
    .boxed()
}
