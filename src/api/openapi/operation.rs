//! One call of the API as the document tells it.

use std::collections::BTreeMap;

use axum::http::{Method, StatusCode};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::super::extract::{Asterisk, IfMatch};
use super::super::form;
use super::super::kind::Kind;
use super::super::problem;

const JSON: &str = "application/json";

type MakeSchema = fn(&mut SchemaGenerator) -> Schema;

fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// What calls refer to. Schemas of what comes in are made with one generator, those of what goes out with another.
pub(super) struct Components {
    pub(super) taken: SchemaGenerator,
    pub(super) answered: SchemaGenerator,
    /// Responses that several calls share, by name.
    pub(super) refusals: Map<String, Value>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Path,
    Query,
    Header,
}

struct Parameter {
    place: Place,
    name: &'static str,
    is_required: bool,
    /// Whether it may stand several times.
    is_list: bool,
    description: &'static str,
    form: MakeSchema,
    default: Option<Value>,
}

struct Body {
    media_type: &'static str,
    form: MakeSchema,
    is_required: bool,
    examples: Vec<(&'static str, Value)>,
}

struct Answer {
    status: StatusCode,
    description: &'static str,
    media_type: &'static str,
    form: Option<MakeSchema>,
    /// References to further headers, by name.
    headers: Vec<(&'static str, &'static str)>,
    links: Map<String, Value>,
}

/// What there is to say of a call. Refusals that every call of its kind shares are added by themselves.
pub(in super::super) struct Operation {
    id: &'static str,
    tag: &'static str,
    summary: &'static str,
    description: &'static str,
    parameters: Vec<Parameter>,
    body: Option<Body>,
    answers: Vec<Answer>,
    refusals: BTreeMap<u16, Vec<Kind>>,
    takes_any_parameter: bool,
    is_answered_early: bool,
}

impl Operation {
    /// A call; `id` names it in generated clients, the first line of `text` is its summary.
    pub(super) fn new(id: &'static str, tag: &'static str, text: &'static str) -> Self {
        let (summary, description) = text.split_once('\n').unwrap_or((text, ""));
        Self {
            id,
            tag,
            summary,
            description: description.trim(),
            parameters: Vec::new(),
            body: None,
            answers: Vec::new(),
            refusals: BTreeMap::new(),
            takes_any_parameter: false,
            is_answered_early: false,
        }
    }

    fn takes<T: JsonSchema>(mut self, place: Place, name: &'static str, description: &'static str) -> Self {
        self.parameters.push(Parameter {
            place,
            name,
            is_required: place == Place::Path,
            is_list: false,
            description,
            form: schema_of::<T>,
            default: None,
        });
        self
    }

    /// The service in the path.
    pub(super) fn of_service(self) -> Self {
        self.takes::<form::ServiceName>(Place::Path, "service", "The name of the service.")
            .refuses(422, &[Kind::InvalidName])
    }

    /// The service and the instance in the path.
    pub(super) fn of_instance(self) -> Self {
        self.of_service().takes::<form::DnsLabel>(Place::Path, "id", "The id of the instance within its service.")
    }

    /// The service, the instance and the check in the path.
    pub(super) fn of_check(self) -> Self {
        self.of_instance().takes::<form::DnsLabel>(Place::Path, "check", "The name of the check within its instance.")
    }

    /// The lease in the path.
    pub(super) fn of_lease(self) -> Self {
        self.takes::<form::LeaseId>(Place::Path, "id", "The id of the lease.")
    }

    /// A parameter of the query.
    pub(super) fn query<T: JsonSchema>(self, name: &'static str, description: &'static str) -> Self {
        self.takes::<T>(Place::Query, name, description)
    }

    /// A parameter of the query that there has to be.
    pub(super) fn required_query<T: JsonSchema>(self, name: &'static str, description: &'static str) -> Self {
        self.query::<T>(name, description).edit_last(|parameter| parameter.is_required = true)
    }

    /// A parameter of the query that may stand several times.
    pub(super) fn queries<T: JsonSchema>(self, name: &'static str, description: &'static str) -> Self {
        self.query::<T>(name, description).edit_last(|parameter| parameter.is_list = true)
    }

    /// What the last parameter is when it is left out.
    pub(super) fn default(self, value: impl Into<Value>) -> Self {
        let value = value.into();
        self.edit_last(|parameter| parameter.default = Some(value))
    }

    fn edit_last(mut self, edit: impl FnOnce(&mut Parameter)) -> Self {
        if let Some(last) = self.parameters.last_mut() {
            edit(last);
        }
        self
    }

    /// A header of the request.
    pub(super) fn header<T: JsonSchema>(self, name: &'static str, description: &'static str) -> Self {
        self.takes::<T>(Place::Header, name, description)
    }

    /// `If-Match` and `If-None-Match`.
    pub(super) fn preconditions(self) -> Self {
        self.header::<IfMatch>("If-Match", "Only when it is registered, and in this revision if one is given.")
            .header::<Asterisk>("If-None-Match", "Only when there is none. Excludes `If-Match`.")
            .refuses(412, &[Kind::PreconditionFailed])
    }

    /// Whoever asks may add parameters of their own.
    pub(super) fn any_parameter(mut self) -> Self {
        self.takes_any_parameter = true;
        self
    }

    /// It answers while the registry is loading, and then not with the headers that speak of the registry.
    pub(super) fn early(mut self) -> Self {
        self.is_answered_early = true;
        self
    }

    /// A body, with examples by name.
    pub(super) fn body<T: JsonSchema>(mut self, examples: Vec<(&'static str, Value)>) -> Self {
        self.body = Some(Body { media_type: JSON, form: schema_of::<T>, is_required: true, examples });
        self
    }

    /// A body of another media type.
    pub(super) fn body_as<T: JsonSchema>(mut self, media_type: &'static str) -> Self {
        self.body = Some(Body { media_type, form: schema_of::<T>, is_required: true, examples: Vec::new() });
        self
    }

    /// A body that may be left out.
    pub(super) fn optional_body<T: JsonSchema>(mut self, examples: Vec<(&'static str, Value)>) -> Self {
        self.body = Some(Body { media_type: JSON, form: schema_of::<T>, is_required: false, examples });
        self
    }

    fn answer(mut self, status: u16, description: &'static str, media: &'static str, form: Option<MakeSchema>) -> Self {
        let status = StatusCode::from_u16(status).expect("a status");
        let (headers, links) = (Vec::new(), Map::new());
        self.answers.push(Answer { status, description, media_type: media, form, headers, links });
        self
    }

    /// An answer in JSON.
    pub(super) fn answers<T: JsonSchema>(self, status: u16, description: &'static str) -> Self {
        self.answer(status, description, JSON, Some(schema_of::<T>))
    }

    /// An answer of another media type.
    pub(super) fn answers_as<T: JsonSchema>(
        self,
        status: u16,
        description: &'static str,
        media_type: &'static str,
    ) -> Self {
        self.answer(status, description, media_type, Some(schema_of::<T>))
    }

    /// An answer without a body.
    pub(super) fn answers_nothing(self, status: u16, description: &'static str) -> Self {
        self.answer(status, description, "", None)
    }

    fn edit_answer(mut self, edit: impl FnOnce(&mut Answer)) -> Self {
        if let Some(last) = self.answers.last_mut() {
            edit(last);
        }
        self
    }

    /// The last answer has a header, which is one of the document's components.
    pub(super) fn with_header(self, name: &'static str, component: &'static str) -> Self {
        self.edit_answer(|answer| answer.headers.push((name, component)))
    }

    /// The last answer is an instance, whose revision is its entity tag, and leads to what one does with it.
    pub(super) fn instance_follows(self) -> Self {
        let of = |operation: &str, description: &str| {
            let parameters = json!({ "service": "$response.body#/service", "id": "$response.body#/id" });
            json!({ "operationId": operation, "parameters": parameters, "description": description })
        };
        self.with_header("ETag", "Tag").edit_answer(|answer| {
            for (name, operation, description) in [
                ("instance", "getInstance", "The instance."),
                ("amend", "amendInstance", "Change it."),
                ("renew", "renewInstance", "Renew its own lease, if it has one."),
                ("drain", "drainInstance", "Take it out of answers."),
                ("deregister", "deregisterInstance", "It leaves."),
            ] {
                answer.links.insert(name.into(), of(operation, description));
            }
        })
    }

    /// The last answer is a lease, and leads to what one does with it.
    pub(super) fn lease_follows(self) -> Self {
        self.edit_answer(|answer| {
            for (name, operation) in [("lease", "getLease"), ("renew", "renewLease"), ("revoke", "revokeLease")] {
                let link = json!({ "operationId": operation, "parameters": { "id": "$response.body#/id" } });
                answer.links.insert(name.into(), link);
            }
        })
    }

    /// Refusals with a status.
    pub(super) fn refuses(mut self, status: u16, kinds: &[Kind]) -> Self {
        let all = self.refusals.entry(status).or_default();
        all.extend(kinds);
        all.sort();
        all.dedup();
        self
    }

    /// Whether the query of a request is the route's to read; else it has to be empty.
    pub(super) fn reads_query(&self) -> bool {
        self.takes_any_parameter || self.parameters.iter().any(|parameter| parameter.place == Place::Query)
    }

    /// Whether a change may depend on the revision of what it changes.
    pub(super) fn reads_preconditions(&self) -> bool {
        self.parameters.iter().any(|parameter| parameter.name == "If-Match")
    }

    /// What all calls of its kind refuse.
    fn with_common_refusals(mut self, method: &Method) -> Self {
        self = self.refuses(400, &[Kind::BadRequest]).refuses(421, &[Kind::Misdirected]);
        if !self.is_answered_early {
            self = self.refuses(503, &[Kind::Busy, Kind::Unavailable]);
        }
        if !self.takes_any_parameter {
            self = self.refuses(422, &[Kind::InvalidParameter]);
        }
        if method != Method::GET {
            self = self.refuses(403, &[Kind::ForeignOrigin]);
            self =
                self.refuses(408, &[Kind::TooSlow]).refuses(413, &[Kind::TooLarge]).refuses(422, &[Kind::InvalidValue]);
        }
        if let Some(body) = &self.body {
            let of_json: &[Kind] = if body.media_type == JSON { &[Kind::NotJson] } else { &[] };
            self = self.refuses(400, of_json).refuses(415, &[Kind::MediaType]);
        }
        self
    }

    /// The operation object of the document.
    pub(super) fn render(self, method: &Method, schemas: &mut Components) -> Value {
        let operation = self.with_common_refusals(method);
        let mut object = json!({
            "operationId": operation.id,
            "tags": [operation.tag],
            "summary": operation.summary,
        });
        if !operation.description.is_empty() {
            object["description"] = operation.description.into();
        }
        let parameters: Vec<Value> = operation.parameters.iter().map(|p| p.render(&mut schemas.taken)).collect();
        if !parameters.is_empty() {
            object["parameters"] = parameters.into();
        }
        if let Some(body) = &operation.body {
            object["requestBody"] = body.render(&mut schemas.taken);
        }
        let mut responses = Map::new();
        for answer in &operation.answers {
            let response = answer.render(!operation.is_answered_early, &mut schemas.answered);
            responses.insert(answer.status.as_str().to_owned(), response);
        }
        for (status, kinds) in &operation.refusals {
            let (name, refusal) = refusal(*status, kinds, &mut schemas.answered);
            responses.insert(status.to_string(), json!({ "$ref": format!("#/components/responses/{name}") }));
            let before = schemas.refusals.insert(name.clone(), refusal.clone());
            assert!(before.is_none_or(|before| before == refusal), "two refusals are called {name}");
        }
        object["responses"] = responses.into();
        object
    }
}

impl Parameter {
    fn render(&self, schemas: &mut SchemaGenerator) -> Value {
        let mut schema = (self.form)(schemas).to_value();
        if self.is_list {
            schema = json!({ "type": "array", "items": schema });
        }
        if let Some(default) = &self.default {
            schema["default"] = default.clone();
        }
        let place = match self.place {
            Place::Path => "path",
            Place::Query => "query",
            Place::Header => "header",
        };
        json!({
            "name": self.name,
            "in": place,
            "required": self.is_required,
            "description": self.description,
            "schema": schema,
        })
    }
}

impl Body {
    fn render(&self, schemas: &mut SchemaGenerator) -> Value {
        let mut content = json!({ "schema": (self.form)(schemas) });
        for (name, example) in &self.examples {
            content["examples"][name] = json!({ "value": example });
        }
        json!({ "required": self.is_required, "content": { self.media_type: content } })
    }
}

/// Headers by reference.
fn headers(named: &[(&str, &str)], speaks_of_registry: bool) -> Value {
    let of_registry = [("X-Rollcall-Store", "Store"), ("X-Rollcall-Revision", "Revision")];
    let of_registry = of_registry.iter().filter(|_| speaks_of_registry);
    let all = of_registry.chain(named);
    all.map(|(name, component)| ((*name).to_owned(), json!({ "$ref": format!("#/components/headers/{component}") })))
        .collect::<Map<_, _>>()
        .into()
}

impl Answer {
    fn render(&self, speaks_of_registry: bool, schemas: &mut SchemaGenerator) -> Value {
        let mut response = json!({
            "description": self.description,
            "headers": headers(&self.headers, speaks_of_registry),
        });
        if let Some(form) = self.form {
            response["content"][self.media_type] = json!({ "schema": form(schemas) });
        }
        if !self.links.is_empty() {
            response["links"] = self.links.clone().into();
        }
        response
    }
}

/// A problem document of one of several kinds, and a name for it. Many calls refuse alike.
fn refusal(status: u16, kinds: &[Kind], schemas: &mut SchemaGenerator) -> (String, Value) {
    let name = kinds.iter().map(|kind| format!("{kind:?}")).collect::<Vec<_>>().join("Or");
    let meanings: Vec<String> = kinds.iter().map(|kind| format!("- `{}`: {}", kind.urn(), kind.meaning())).collect();
    let named: &[(&str, &str)] = match status {
        503 => &[("Retry-After", "RetryAfter")],
        _ => &[],
    };
    let response = json!({
        "description": meanings.join("\n"),
        // What refuses while the registry is loading has nothing to say of it.
        "headers": headers(named, status != 503),
        "content": { "application/problem+json": { "schema": schemas.subschema_for::<problem::Document<'_>>() } },
        "x-problems": kinds.iter().map(|kind| kind.urn()).collect::<Vec<_>>(),
    });
    (name, response)
}
