//! `GET /v1/explain`: what DNS answers to a question, and why.
//!
//! The question is put to the zone as DNS puts it, for a client with EDNS, so the two cannot disagree.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::{IntoResponse, Response};
use hickory_proto::rr::{Name, Record, RecordType};
use schemars::{JsonSchema, json_schema};
use serde::Serialize;

use super::extract::Params;
use super::form::{self, forms};
use super::probing::{fails, fails_now, held};
use super::problem::Problem;
use super::{Context, Peer, guard};
use crate::model::{Label, Revision, ServiceName, StoreId};
use crate::zone::{Detail, Explanation, Judged, Question, record_text};

forms! {
    /// A name of DNS, in the notation of zone files.
    DomainName inline |_| json_schema!({
        "type": "string", "format": "domain-name", "minLength": 1, "maxLength": 1024, "examples": ["web.svc.internal"],
    });

    /// A type of records by its name, or as `TYPE65` (RFC 3597), in any case. Transfers of zones are none.
    RecordTypeName inline |_| json_schema!({
        "type": "string", "format": "record-type", "pattern": "^[A-Za-z0-9-]+$", "examples": ["SRV", "TYPE65"],
    });
}

/// What was asked.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Question")]
struct QuestionShape {
    name: String,
    r#type: String,
    #[schemars(with = "form::Address")]
    client: IpAddr,
    #[schemars(with = "form::Protocol")]
    protocol: &'static str,
}

/// An extended error (RFC 8914).
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ExtendedError")]
struct ErrorShape<'a> {
    code: u16,
    text: &'a str,
}

/// An instance that the question is about.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "JudgedInstance")]
struct JudgedShape<'a> {
    /// Of an instance that stands in for those of another service.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<form::ServiceName>")]
    service: Option<&'a ServiceName>,
    #[schemars(with = "form::DnsLabel")]
    id: &'a Label,
    /// Whether it is in the answer.
    kept: bool,
    /// Why, or why not.
    because: Cow<'a, str>,
}

/// Everybody who is kept or withheld; of those who fail, also why they do now and what they owe because they flap.
async fn judged<'a>(instances: &'a [Judged], context: &Context) -> Vec<JudgedShape<'a>> {
    let failing = || instances.iter().filter(|judged| !judged.kept && fails(&judged.instance));
    let names = failing().map(|judged| (judged.instance.service.clone(), judged.instance.id.clone()));
    let reports = context.reports_of(names.collect()).await;
    let shape = |judged: &'a Judged| JudgedShape {
        service: judged.stands_in.then_some(&judged.instance.service),
        id: &judged.instance.id,
        kept: judged.kept,
        because: Cow::Borrowed(&judged.because),
    };
    let mut shapes: Vec<JudgedShape<'a>> = instances.iter().map(shape).collect();
    for (judged, reports) in failing().zip(&reports) {
        let of_it = shapes
            .iter_mut()
            .find(|shape| shape.id == &judged.instance.id && shape.service.is_some() == judged.stands_in);
        let said = [fails_now(&judged.instance, reports), held(&judged.instance, reports)];
        if let Some(shape) = of_it {
            said.into_iter().flatten().for_each(|said| shape.because.to_mut().push_str(&said));
        }
    }
    shapes
}

/// What DNS answers to a question, and why.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Explanation")]
pub(super) struct ExplanationShape<'a> {
    #[schemars(with = "form::StoreId")]
    store: StoreId,
    #[schemars(with = "form::Revision")]
    revision: Revision,
    question: QuestionShape,
    /// What the name means, in a sentence.
    meaning: &'a str,
    /// `NOERROR`, `NXDOMAIN` and so on.
    rcode: String,
    /// Of `aa` and `tc`, those that are set.
    flags: Vec<&'static str>,
    extended_error: Option<ErrorShape<'a>>,
    /// Records, in the notation of zone files.
    answer: Vec<String>,
    /// Records, in the notation of zone files.
    authority: Vec<String>,
    /// Records, in the notation of zone files.
    additional: Vec<String>,
    instances: Vec<JudgedShape<'a>>,
}

/// A name with or without its final dot.
fn name(text: &str) -> Result<Name, Problem> {
    let mut name = match text {
        "" => return Err(Problem::invalid_parameter("`name` is the name to ask for")),
        text => Name::from_ascii(text).map_err(|error| Problem::invalid_parameter(format!("`name`: {error}")))?,
    };
    name.set_fqdn(true);
    Ok(name)
}

/// A type by its name or as `TYPE64` (RFC 3597 §5), in any case.
fn record_type(text: &str) -> Result<RecordType, Problem> {
    let upper = text.to_ascii_uppercase();
    let number = upper.strip_prefix("TYPE").and_then(|digits| digits.parse::<u16>().ok()).map(RecordType::from);
    match number.or_else(|| upper.parse().ok()) {
        Some(RecordType::AXFR | RecordType::IXFR) | None => {
            Err(Problem::invalid_parameter("`type` is a type of records, such as A, AAAA, SRV or TYPE65"))
        }
        Some(record_type) => Ok(record_type),
    }
}

fn client(text: &str) -> Result<IpAddr, Problem> {
    text.parse().map_err(|_| Problem::invalid_parameter("`client` is an IP address"))
}

/// The client of a request that names none.
fn caller(request: &Request<Body>) -> Result<IpAddr, Problem> {
    let peer = request.extensions().get::<Peer>();
    peer.map(|peer| peer.0.ip()).ok_or_else(|| Problem::invalid_parameter("`client` is needed"))
}

/// `GET /v1/explain`
pub(super) async fn explain(
    State(context): State<Arc<Context>>,
    mut params: Params,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let name = name(&params.take("name")?.unwrap_or_default())?;
    let record_type = params.take("type")?.map_or(Ok(RecordType::A), |text| record_type(&text))?;
    let client = params.take("client")?.map_or_else(|| caller(&request), |text| client(&text))?;
    let tcp = match params.take("protocol")?.as_deref() {
        None | Some("udp") => false,
        Some("tcp") => true,
        Some(_) => return Err(Problem::invalid_parameter("`protocol` is `udp` or `tcp`")),
    };
    params.finish()?;

    // Before the zone, which is never behind the view: what is explained holds at this revision or is newer.
    let revision = context.view.load().revision();
    let question = Question {
        name: &name,
        record_type,
        client,
        detail: Detail::of(client, &context.explain_allow),
        room: Question::room_in(if tcp { u16::MAX } else { context.udp_payload }, &name),
        last_resort: tcp,
        turn: rand::random::<u16>().into(),
    };
    let Explanation { meaning, answer, instances } = context.live.explain(&question);
    let lines = |records: &[Record]| records.iter().map(record_text).collect();
    let flags = [("aa", answer.authoritative), ("tc", answer.truncated)];
    let shape = ExplanationShape {
        store: context.store.id(),
        revision,
        question: QuestionShape {
            name: name.to_string(),
            r#type: record_type.to_string(),
            client,
            protocol: if tcp { "tcp" } else { "udp" },
        },
        meaning: &meaning,
        rcode: format!("{:?}", answer.rcode).to_uppercase(),
        flags: flags.into_iter().filter(|(_, set)| *set).map(|(name, _)| name).collect(),
        extended_error: answer.extended_error.as_ref().map(|e| ErrorShape { code: e.code, text: &e.text }),
        answer: lines(&answer.answers),
        authority: lines(&answer.authorities),
        additional: lines(&answer.additionals),
        instances: judged(&instances, &context).await,
    };
    let mut response = Json(shape).into_response();
    response.headers_mut().insert(guard::REVISION, guard::revision(revision));
    Ok(response)
}
