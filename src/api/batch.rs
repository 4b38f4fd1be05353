//! `POST /v1/batch`: many registrations, departures and renewals, all or none.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::{IntoResponse, Response};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, StringDeserializer};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::extract::{Object, instance_id, json, new_service_name, service_name};
use super::instances::{nothing_to_renew, peer, random_id};
use super::problem::Problem;
use super::registration::RegistrationBody;
use super::shape::{InstanceShape, LeaseShape};
use super::{Context, form, guard};
use crate::model::{InstanceId, LeaseIdError, Place, Revision, ServiceName, StoreId};
use crate::registry::{Actor, Command, IdChoice, Outcome, Precondition, Refusal, Register, Registry, Renewal};
use crate::store::CommitError;

/// Operations of one batch.
const OPERATIONS_MAX: usize = 1_000;
/// Octets of the body of a batch.
const BATCH_OCTETS_MAX: usize = 4 << 20;

/// What is to be done, in this order.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Batch")]
pub(super) struct BatchBody {
    #[schemars(length(max = OPERATIONS_MAX))]
    operations: Vec<Object<OperationBody>>,
}

/// What an operation says of itself beside the fields of a registration, which stand in the same object.
#[derive(Debug, Default)]
struct Head {
    op: Option<String>,
    service: Option<String>,
    id: Option<String>,
    /// The names of the other fields.
    others: Vec<String>,
}

#[derive(Debug)]
struct OperationBody {
    head: Head,
    body: RegistrationBody,
}

impl JsonSchema for OperationBody {
    fn schema_name() -> Cow<'static, str> {
        "BatchOperation".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (service, id) =
            (generator.subschema_for::<form::ServiceName>(), generator.subschema_for::<form::DnsLabel>());
        let lease = generator.subschema_for::<form::LeaseId>();
        let op = |name: &str| json!({ "type": "string", "const": name });
        let mut register = RegistrationBody::json_schema(generator);
        register.insert("title".into(), "RegisterOperation".into());
        register.insert("description".into(), "A registration; the server chooses the id when there is none.".into());
        register.insert("required".into(), json!(["op", "service", "port"]));
        let head = [("op", op("register")), ("service", json!(service)), ("id", json!(id))];
        if let Some(fields) = register.get_mut("properties").and_then(|fields| fields.as_object_mut()) {
            fields.extend(head.map(|(field, form)| (field.to_owned(), form)));
        }
        let other = |title: &str, description: &str, fields: serde_json::Value| {
            let required: Vec<&String> = fields.as_object().map(|fields| fields.keys().collect()).unwrap_or_default();
            json!({
                "title": title, "description": description, "type": "object", "required": required, "properties": fields,
                "additionalProperties": false,
            })
        };
        json_schema!({
            "description": "One of what may be done.",
            "oneOf": [
                register,
                other(
                    "DeregisterOperation",
                    "An instance leaves.",
                    json!({ "op": op("deregister"), "service": service, "id": id }),
                ),
                other(
                    "RenewInstanceOperation",
                    "The lease of an instance's own is renewed.",
                    json!({ "op": op("renew"), "service": service, "id": id }),
                ),
                other("RenewLeaseOperation", "A lease is renewed.", json!({ "op": op("renew"), "lease": lease })),
            ],
        })
    }
}

impl<'de> Deserialize<'de> for OperationBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = OperationBody;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an operation")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OperationBody, A::Error> {
                let mut head = Head::default();
                let rest = Rest { map, head: &mut head };
                let body = RegistrationBody::deserialize(MapAccessDeserializer::new(rest))?;
                Ok(OperationBody { head, body })
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// Hands on the fields of a registration and keeps the others.
struct Rest<'h, A> {
    map: A,
    head: &'h mut Head,
}

/// A field: one of the head, or one of the registration.
enum Field<T> {
    Op,
    Service,
    Id,
    Other(T, String),
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Rest<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        let mut seed = Some(seed);
        loop {
            let Some(field) = self.map.next_key_seed(Passing(&mut seed))? else { return Ok(None) };
            let (place, name) = match field {
                Field::Other(key, name) => {
                    self.head.others.push(name);
                    return Ok(Some(key));
                }
                Field::Op => (&mut self.head.op, "op"),
                Field::Service => (&mut self.head.service, "service"),
                Field::Id => (&mut self.head.id, "id"),
            };
            if place.replace(self.map.next_value()?).is_some() {
                return Err(Error::custom(format_args!("duplicate field `{name}`")));
            }
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

/// A seed that is used up only by a field of the registration.
struct Passing<'s, S>(&'s mut Option<S>);

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Passing<'_, S> {
    type Value = Field<S::Value>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let name = String::deserialize(deserializer)?;
        Ok(match name.as_str() {
            "op" => Field::Op,
            "service" => Field::Service,
            "id" => Field::Id,
            _ => {
                let seed = self.0.take().ok_or_else(|| D::Error::custom("a field after the last"))?;
                Field::Other(seed.deserialize(StringDeserializer::new(name.clone()))?, name)
            }
        })
    }
}

impl OperationBody {
    fn instance(&self) -> Result<(ServiceName, Option<InstanceId>), Problem> {
        let service = self.head.service.as_deref();
        let service = service.ok_or_else(|| Problem::invalid("/service", "a service is needed"))?;
        let service = service_name(service).map_err(|problem| problem.at("/service"))?;
        let id = self.head.id.as_deref().map(instance_id).transpose().map_err(|problem| problem.at("/id"))?;
        Ok((service, id))
    }

    fn given(&self) -> Result<(ServiceName, InstanceId), Problem> {
        let (service, id) = self.instance()?;
        Ok((service, id.ok_or_else(|| Problem::invalid("/id", "an id is needed"))?))
    }

    /// Refuses fields that only a registration has.
    fn has_only(&self, fields: &[&str]) -> Result<(), Problem> {
        match self.head.others.iter().find(|other| !fields.contains(&other.as_str())) {
            Some(other) => Err(Problem::invalid(format!("/{other}"), "this operation has no such field")),
            None => Ok(()),
        }
    }

    fn into_command(self, peer: IpAddr, context: &Context) -> Result<Command, Problem> {
        match self.head.op.as_deref() {
            Some("register") => {
                let (service, id) = self.instance()?;
                new_service_name(service.as_str(), &context.zone).map_err(|problem| problem.at("/service"))?;
                let id = id.map_or_else(|| IdChoice::Chosen(random_id()), IdChoice::Given);
                let (registration, lease) = self.body.into_registration(peer)?;
                context.permit(&registration)?;
                let precondition = Precondition::None;
                Ok(Command::Register(Box::new(Register { service, id, registration, lease, precondition })))
            }
            Some("deregister") => {
                self.has_only(&[])?;
                let (service, id) = self.given()?;
                Ok(Command::Deregister { service, id, precondition: Precondition::None })
            }
            Some("renew") => {
                self.has_only(&["lease"])?;
                let Some(lease) = self.body.lease() else {
                    let (service, id) = self.given()?;
                    return Ok(Command::Renew(Renewal::Own(service, id)));
                };
                if self.head.service.is_some() || self.head.id.is_some() {
                    return Err(Problem::invalid("/lease", "give `lease`, or `service` and `id`, not both"));
                }
                let lease = lease.parse().map_err(|e: LeaseIdError| Problem::invalid("/lease", e.to_string()))?;
                Ok(Command::Renew(Renewal::Lease(lease)))
            }
            Some(_) => Err(Problem::invalid("/op", "`register`, `deregister` or `renew`")),
            None => Err(Problem::invalid("/op", "an operation says what it is in `op`")),
        }
    }
}

/// Two registrations of one instance, or where only one can be, in one moment are a mistake: nobody would ever see the
/// first.
fn check_once(commands: &[Command]) -> Result<(), Problem> {
    let (mut instances, mut places) = (HashMap::new(), HashMap::new());
    for (position, command) in commands.iter().enumerate() {
        let Command::Register(register) = command else { continue };
        let Register { service, registration, .. } = &**register;
        let id = register.id.id();
        let refused = |detail| Err(Problem::invalid(format!("/operations/{position}"), detail));
        if let Some(first) = instances.insert((service, id), position) {
            return refused(format!("operation {first} registers instance {id} of {service} already"));
        }
        let Place { addresses, port, protocol } = registration.place();
        for address in addresses.iter().filter(|_| !registration.shared_address) {
            if let Some(first) = places.insert((service, address, port, protocol), position) {
                let detail = format!("operation {first} registers {address} and port {port} of {service} already");
                return refused(detail + "; both may be there with `shared_address`");
            }
        }
    }
    Ok(())
}

/// What became of an operation.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "op", rename_all = "lowercase")]
#[schemars(rename = "BatchResult")]
enum ResultShape<'a> {
    #[schemars(title = "RegisterResult")]
    Register {
        /// Whether it was not registered before.
        created: bool,
        instance: Box<InstanceShape<'a>>,
    },
    #[schemars(title = "DeregisterResult")]
    Deregister {
        #[schemars(with = "form::ServiceName")]
        service: &'a ServiceName,
        #[schemars(with = "form::DnsLabel")]
        id: &'a InstanceId,
    },
    #[schemars(title = "RenewResult")]
    Renew { lease: LeaseShape },
}

/// What became of a batch.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BatchResults")]
pub(super) struct BatchShape<'a> {
    #[schemars(with = "form::StoreId")]
    store: StoreId,
    #[schemars(with = "form::Revision")]
    revision: Revision,
    /// One for each operation, in their order.
    results: Vec<ResultShape<'a>>,
}

/// Says no as the operation alone would, and which it was.
fn refused(refusal: &Refusal, commands: &[Command], view: &Registry) -> Problem {
    let Refusal::InBatch { position, refusal: inner } = refusal else { return Problem::refused(refusal) };
    let problem = match (&**inner, commands.get(*position)) {
        (Refusal::LeaseGone(id), Some(Command::Renew(_))) => Problem::lapsed(vec![id.to_string()]),
        (Refusal::NoInstance, Some(Command::Renew(Renewal::Own(service, id)))) => nothing_to_renew(view, service, id),
        _ => return Problem::refused(refusal),
    };
    problem.within(&format!("/operations/{position}"))
}

/// `POST /v1/batch`
pub(super) async fn batch(
    State(context): State<Arc<Context>>,
    actor: Actor,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let peer = peer(request.extensions())?;
    let BatchBody { operations } = json(request, BATCH_OCTETS_MAX).await?;
    if operations.len() > OPERATIONS_MAX {
        return Err(Problem::invalid("/operations", format!("at most {OPERATIONS_MAX} operations in one batch")));
    }
    let read = |(position, Object(operation)): (usize, Object<OperationBody>)| {
        let command = operation.into_command(peer, &context);
        command.map_err(|problem| problem.within(&format!("/operations/{position}")))
    };
    let commands = operations.into_iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
    check_once(&commands)?;
    let committed = match context.store.commit_by(actor, Command::Batch(commands.clone())).await {
        Ok(committed) => committed,
        Err(CommitError::Refused(refusal)) => {
            return Err(refused(&refusal, &commands, &context.view.load()));
        }
        Err(CommitError::Unavailable(reason)) => return Err(Problem::unavailable(&reason)),
    };
    context.served(committed.revision).await?;
    let Outcome::Batch(outcomes) = &committed.outcome else {
        return Err(Problem::another_outcome());
    };
    let results = commands.iter().zip(outcomes).filter_map(|(command, outcome)| match (command, outcome) {
        (_, Outcome::Registered { created, instance }) => {
            let instance = Box::new(InstanceShape::new(instance, &context));
            Some(ResultShape::Register { created: *created, instance })
        }
        (Command::Deregister { service, id, .. }, _) => Some(ResultShape::Deregister { service, id }),
        (_, Outcome::Renewed(lease)) => Some(ResultShape::Renew { lease: LeaseShape::from(*lease) }),
        _ => None,
    });
    let results = results.collect();
    let shape = BatchShape { store: context.store.id(), revision: committed.revision, results };
    let mut response = Json(shape).into_response();
    response.headers_mut().insert(guard::REVISION, guard::revision(committed.revision));
    Ok(response)
}
