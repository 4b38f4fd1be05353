//! Routes of services and of lists.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use super::extract::{Params, Path, no_body, service_name};
use super::form::{self, forms};
use super::paging::Page;
use super::problem::Problem;
use super::shape::{GuardShape, InstanceShape};
use super::waiting::{Caller, LongPoll};
use super::{Context, guard};
use crate::model::{Instance, Label, Revision, ServiceName, StoreId};
use crate::registry::{Actor, Command, Outcome, Scope, Service};
use crate::view::Interest;

forms! {
    /// Which instances to list.
    HealthFilter inline |_| form::words(&["any", "passing"]);
}

/// A page of a list, all of one revision.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "InstanceList")]
pub(super) struct InstancesShape<'a> {
    #[schemars(with = "form::StoreId")]
    store: StoreId,
    #[schemars(with = "form::Revision")]
    revision: Revision,
    instances: Vec<InstanceShape<'a>>,
    /// How its last good set is kept, while this server doubts itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    guard: Option<GuardShape<'a>>,
    /// The `cursor` of the next page; null on the last.
    next: Option<String>,
}

/// A page of a list, all of one revision.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ServiceList")]
pub(super) struct ServicesShape<'a> {
    #[schemars(with = "form::StoreId")]
    store: StoreId,
    #[schemars(with = "form::Revision")]
    revision: Revision,
    services: Vec<ServiceShape<'a>>,
    /// The `cursor` of the next page; null on the last.
    next: Option<String>,
}

/// A service that has instances.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Service")]
struct ServiceShape<'a> {
    #[schemars(with = "form::ServiceName")]
    name: &'a ServiceName,
    /// How many are registered.
    instances: usize,
    /// How many of them are in answers.
    answered: usize,
}

/// How many left.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Deregistered")]
pub(super) struct DeregisteredShape {
    deregistered: usize,
}

fn listed(page: &Page, list: &impl Serialize) -> Response {
    let mut response = Json(list).into_response();
    response.headers_mut().insert(guard::REVISION, guard::revision(page.view.revision()));
    response
}

/// `GET /v1/services`
pub(super) async fn list(
    State(context): State<Arc<Context>>,
    caller: Caller,
    mut params: Params,
) -> Result<Response, Problem> {
    let group = params.take("under")?.map(|text| service_name(&text)).transpose()?;
    let poll = LongPoll::take(&mut params)?;
    let mut page = Page::take(&mut params, &context.view, &context.pins)?;
    params.finish()?;
    let interest = group.clone().map_or(Interest::All, Interest::Under);
    poll.wait(&mut page, interest, caller, &context).await?;
    let after = match page.after.as_str() {
        "" => None,
        text => Some(service_name(text)?),
    };
    let registered = |service: &&Arc<Service>| !service.instances().is_empty();
    let mut found: Vec<&Arc<Service>> = match &group {
        None => page.view.services_after(after.as_ref()).filter(registered).take(page.limit + 1).collect(),
        Some(group) => {
            page.view.services_under(group, after.as_ref()).filter(registered).take(page.limit + 1).collect()
        }
    };
    let more = found.len() > page.limit;
    found.truncate(page.limit);
    let next = found.last().filter(|_| more).map(|last| page.next(last.name().as_str(), &context.pins));
    let services = found
        .iter()
        .map(|s| ServiceShape { name: s.name(), instances: s.instances().len(), answered: s.answered() })
        .collect();
    let (store, revision) = (context.store.id(), page.view.revision());
    Ok(listed(&page, &ServicesShape { store, revision, services, next }))
}

/// `GET /v1/services/{service}`
pub(super) async fn instances(
    State(context): State<Arc<Context>>,
    Path(service): Path<String>,
    caller: Caller,
    mut params: Params,
) -> Result<Response, Problem> {
    let service = service_name(&service)?;
    let answered_only = match params.take("health")?.as_deref() {
        None | Some("any") => false,
        Some("passing") => true,
        Some(_) => return Err(Problem::invalid_parameter("`health` is `any` or `passing`")),
    };
    let tag = |text: &String| text.parse::<Label>().map_err(|error| Problem::invalid_name("tag", &error));
    let tags = params.take_all("tag").iter().map(tag).collect::<Result<Vec<_>, _>>()?;
    let poll = LongPoll::take(&mut params)?;
    let mut page = Page::take(&mut params, &context.view, &context.pins)?;
    params.finish()?;
    poll.wait(&mut page, Interest::Service(service.clone()), caller, &context).await?;

    let all = page.view.service(&service).map_or(&[][..], |service| service.instances());
    let first = all.partition_point(|instance| instance.id.as_str() <= page.after.as_str());
    let wanted = |instance: &&Arc<Instance>| {
        (!answered_only || instance.answered()) && tags.iter().all(|tag| instance.registration.has_tag(tag.as_str()))
    };
    let mut found: Vec<&Instance> =
        all[first..].iter().filter(wanted).take(page.limit + 1).map(AsRef::as_ref).collect();
    let more = found.len() > page.limit;
    found.truncate(page.limit);
    let next = found.last().filter(|_| more).map(|last| page.next(last.id.as_str(), &context.pins));
    let instances = InstanceShape::many(&found, &context);
    let (store, revision) = (context.store.id(), page.view.revision());
    let guarded = page.view.service(&service).and_then(|service| service.guarded());
    let guard = guarded.map(|guarded| GuardShape::from(&**guarded));
    Ok(listed(&page, &InstancesShape { store, revision, instances, guard, next }))
}

async fn deregister_all(context: &Context, actor: Actor, scope: Scope) -> Result<Response, Problem> {
    let committed = context.commit(actor, Command::DeregisterAll(scope)).await?;
    let Outcome::Deregistered(count) = committed.outcome else {
        return Err(Problem::another_outcome());
    };
    let mut response = Json(DeregisteredShape { deregistered: count }).into_response();
    response.headers_mut().insert(guard::REVISION, guard::revision(committed.revision));
    Ok(response)
}

/// `DELETE /v1/services/{service}`
pub(super) async fn deregister(
    State(context): State<Arc<Context>>,
    actor: Actor,
    Path(service): Path<String>,
    params: Params,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let service = service_name(&service)?;
    params.finish()?;
    no_body(request).await?;
    deregister_all(&context, actor, Scope::Service(service)).await
}

/// `DELETE /v1/services?under=payments`
pub(super) async fn deregister_under(
    State(context): State<Arc<Context>>,
    actor: Actor,
    mut params: Params,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let group = params.take("under")?;
    params.finish()?;
    no_body(request).await?;
    let group =
        group.ok_or_else(|| Problem::invalid_parameter("`under` says which group; all at once is not offered"))?;
    deregister_all(&context, actor, Scope::Under(service_name(&group)?)).await
}
