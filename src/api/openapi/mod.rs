//! The API's document (OpenAPI 3.1), made of the routes themselves: [`Routes`] takes a handler and what there is to say
//! of it together, so that nothing is served that is not described, and nothing is described that is not served.
//!
//! To add a route: write an [`Operation`] for it in the file of its tag here, add both to `api::routes`, derive
//! `JsonSchema` for its bodies and shapes with the forms of `api::form`, and renew the snapshot as its test says.

// One call.
mod operation;
// What there is to say of calls, by tag.
mod changes;
mod instances;
mod leases;
mod node;
mod services;

use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, on};
use schemars::generate::{Contract, SchemaSettings};
use serde_json::{Map, Value, json};

use super::{Context, extract, form};
use operation::Components;

pub(super) use changes::{batch, history, list_events, watch};
pub(super) use instances::{
    amend_instance, deregister_instance, drain_instance, fail_check, get_instance, pass_check, register_instance,
    register_instance_anew, renew_instance, report_instance,
};
pub(super) use leases::{get_lease, grant_lease, renew_lease, renew_leases, revoke_lease};
pub(super) use node::{explain, liveness, metrics, openapi, readiness, restore_snapshot, save_snapshot, status};
pub(super) use operation::Operation;
pub(super) use services::{
    delete_settings, deregister_group, deregister_service, get_settings, list_instances, list_services, put_settings,
};

/// Routes, and what there is to say of them.
pub(super) struct Routes {
    router: Router<Arc<Context>>,
    paths: Map<String, Value>,
    components: Components,
}

impl Routes {
    pub(super) fn new() -> Self {
        let schemas = |contract: Contract| {
            let settings = SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
                settings.contract = contract;
            });
            settings.into_generator()
        };
        let components = Components {
            taken: schemas(Contract::Deserialize),
            answered: schemas(Contract::Serialize),
            refusals: Map::new(),
        };
        Self { router: Router::new(), paths: Map::new(), components }
    }

    /// Adds a route. One that has no parameters in its query refuses them all, and a change that takes no preconditions
    /// refuses those.
    pub(super) fn on<H, T>(mut self, method: Method, path: &str, handler: H, operation: Operation) -> Self
    where
        H: Handler<T, Arc<Context>>,
        T: 'static,
    {
        let filter = MethodFilter::try_from(method.clone()).expect("a method of RFC 9110");
        let mut route = on(filter, handler);
        if !operation.reads_query() {
            route = route.route_layer(axum::middleware::from_fn(extract::no_params));
        }
        if !method.is_safe() && !operation.reads_preconditions() {
            route = route.route_layer(axum::middleware::from_fn(extract::no_precondition));
        }
        self.router = self.router.route(path, route);
        let operation = operation.render(&method, &mut self.components);
        let operations = self.paths.entry(path).or_insert_with(|| json!({}));
        operations[method.as_str().to_ascii_lowercase()] = operation;
        self
    }

    pub(super) fn get<H: Handler<T, Arc<Context>>, T: 'static>(self, path: &str, handler: H, said: Operation) -> Self {
        self.on(Method::GET, path, handler, said)
    }

    pub(super) fn put<H: Handler<T, Arc<Context>>, T: 'static>(self, path: &str, handler: H, said: Operation) -> Self {
        self.on(Method::PUT, path, handler, said)
    }

    pub(super) fn post<H: Handler<T, Arc<Context>>, T: 'static>(self, path: &str, handler: H, said: Operation) -> Self {
        self.on(Method::POST, path, handler, said)
    }

    pub(super) fn patch<H: Handler<T, Arc<Context>>, T: 'static>(
        self,
        path: &str,
        handler: H,
        said: Operation,
    ) -> Self {
        self.on(Method::PATCH, path, handler, said)
    }

    pub(super) fn delete<H: Handler<T, Arc<Context>>, T: 'static>(
        self,
        path: &str,
        handler: H,
        said: Operation,
    ) -> Self {
        self.on(Method::DELETE, path, handler, said)
    }

    /// The routes alone.
    pub(super) fn into_router(self) -> Router<Arc<Context>> {
        self.router
    }

    /// The document alone.
    pub(super) fn into_document(mut self) -> Value {
        let headers = headers(&mut self.components);
        let mut schemas = self.components.answered.take_definitions(true);
        for (name, schema) in self.components.taken.take_definitions(true) {
            // What both contracts have is one value in one form.
            let before = schemas.insert(name.clone(), schema.clone());
            assert!(before.is_none_or(|before| before == schema), "two schemas are called {name}");
        }
        json!({
            "openapi": "3.1.1",
            "info": {
                "title": "Rollcall",
                "version": env!("CARGO_PKG_VERSION"),
                "summary": env!("CARGO_PKG_DESCRIPTION"),
                "description": DESCRIPTION,
                "license": { "name": env!("CARGO_PKG_LICENSE"), "identifier": env!("CARGO_PKG_LICENSE") },
            },
            "servers": [{ "url": "/", "description": "The server that this document comes from." }],
            "tags": TAGS.map(|(name, description)| json!({ "name": name, "description": description })),
            "paths": self.paths,
            "components": { "schemas": schemas, "headers": headers, "responses": self.components.refusals },
        })
    }
}

const DESCRIPTION: &str = "\
Services register here, and DNS answers with who is alive.

- **Bodies** are JSON. A field or parameter that a call does not have is refused; a field that is null is as one that is \
left out. Answers may have further fields in later versions.
- **A write is answered** once it is kept and this node's DNS serves it.
- **Errors** are problem documents (RFC 9457) with a stable `type`. Beside those that a call names, 404 `no-route` and \
405 `no-method` answer what is not described here.
- **Positions**: `X-Rollcall-Revision` is the position in the registry's history that an answer speaks of, \
`X-Rollcall-Store` whose history that is.
- **Lists** come in pages, all of one revision: `next` is the `cursor` of the page after.";

const INSTANCES: &str = "instances";
const SERVICES: &str = "services";
const LEASES: &str = "leases";
const CHANGES: &str = "changes";
const NODE: &str = "node";

const TAGS: [(&str, &str); 5] = [
    (INSTANCES, "Running copies of services: they register, change, drain and leave."),
    (SERVICES, "Lists, and what holds for a whole service or group."),
    (LEASES, "The right to stay listed, which several instances may share."),
    (CHANGES, "Many operations as one change, and changes as they happen."),
    (NODE, "This server: what it answers and why, and how it is."),
];

/// The headers that responses refer to.
fn headers(components: &mut Components) -> Value {
    let revision = components.answered.subschema_for::<form::Revision>();
    let store = components.answered.subschema_for::<form::StoreId>();
    json!({
        "Store": {
            "description": "The identity of the history that the answer speaks of.", "required": true, "schema": store,
        },
        "Revision": {
            "description": "The position in that history.", "required": true, "schema": revision,
        },
        "Tag": {
            "description": "The revision of the instance, for `If-Match`.",
            "required": true,
            "schema": { "type": "string", "pattern": "^\"[0-9]+\"$", "examples": ["\"17\""] },
        },
        "DocumentTag": {
            "description": "Changes when the document does, for `If-None-Match`.",
            "required": true,
            "schema": { "type": "string", "pattern": "^\"[0-9a-f]{16}\"$" },
        },
        "Location": {
            "description": "Where it is.",
            "required": true,
            "schema": { "type": "string", "format": "uri-reference" },
        },
        "RetryAfter": {
            "description": "Seconds after which it makes sense to try again.",
            "required": true,
            "schema": { "type": "integer", "minimum": 1 },
        },
    })
}
