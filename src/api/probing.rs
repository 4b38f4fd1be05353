//! What this node's probes have found out beyond opinions.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Context, form};
use crate::model::{
    Health, HoldReport, HoldState, Instance, InstanceId, ProbeReport, ServiceName, Timestamp, Withheld,
};

/// Within how many microseconds probes ended.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ProbeLatency")]
struct LatencyShape {
    /// Half of the last 32.
    p50: u64,
    /// 99 of 100 of them, so all 32.
    p99: u64,
}

/// How a check has fared on the node that probes it, beside its opinion: with one instance only, and only from there.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ProbeReport")]
pub(super) struct ReportShape {
    /// How often it has fallen again, of late.
    flaps: u8,
    /// Successes in a row that turn critical into passing: `rise`, and more for who flaps.
    rise_needed: u8,
    /// How often its opinion has turned.
    transitions: u32,
    /// How often clients have said that the instance fails.
    hints: u32,
    /// When its last probe ended, or its last report came.
    #[schemars(with = "Option<form::Time>")]
    last_probe_at: Option<Timestamp>,
    latency_us: Option<LatencyShape>,
    /// When an interval without a report will have passed, of type `ttl`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "form::Time")]
    report_by: Option<Timestamp>,
    /// The connection that it holds, with `hold` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "HeldShape")]
    held: Option<HeldShape>,
}

/// What a held connection is like.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "HoldState")]
#[serde(rename_all = "snake_case")]
enum HeldStateShape {
    /// There is none. One is opened after the next probe that passes.
    Closed,
    /// It is being made.
    Opening,
    /// It stands.
    Held,
    /// The peer has ended it, and probes find out why.
    Lost,
    /// It does not go together with this peer, so there are only probes.
    GivenUp,
}

/// The connection that a check holds beside its probes.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "HeldConnection")]
struct HeldShape {
    state: HeldStateShape,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    reason: Option<&'static str>,
}

impl From<HoldReport> for HeldShape {
    fn from(HoldReport { state, reason }: HoldReport) -> Self {
        let state = match state {
            HoldState::Closed => HeldStateShape::Closed,
            HoldState::Opening => HeldStateShape::Opening,
            HoldState::Held => HeldStateShape::Held,
            HoldState::Lost => HeldStateShape::Lost,
            HoldState::GivenUp => HeldStateShape::GivenUp,
        };
        Self { state, reason }
    }
}

impl From<&ProbeReport> for ReportShape {
    fn from(report: &ProbeReport) -> Self {
        Self {
            flaps: report.flaps,
            rise_needed: report.rise_needed,
            transitions: report.transitions,
            hints: report.hints,
            last_probe_at: report.last_probe_at,
            latency_us: report.latency_us.map(|(p50, p99)| LatencyShape { p50, p99 }),
            report_by: report.report_by,
            held: report.hold.map(Into::into),
        }
    }
}

impl Context {
    /// What is known of the checks of one instance; nothing when another node probes it.
    pub(super) async fn reports(&self, instance: &Instance) -> Vec<ProbeReport> {
        if instance.checks.is_empty() {
            return Vec::new();
        }
        let name = (instance.service.clone(), instance.id.clone());
        self.reports_of(vec![name]).await.pop().unwrap_or_default()
    }

    /// The same of several instances, in their order.
    pub(super) async fn reports_of(&self, names: Vec<(ServiceName, InstanceId)>) -> Vec<Vec<ProbeReport>> {
        if names.is_empty() { Vec::new() } else { (self.report_checks)(names).await }
    }
}

/// Whether an instance is withheld by a check that fails, and by no more than that.
pub(super) fn fails(instance: &Instance) -> bool {
    matches!(instance.withheld(), Some(Withheld::Check(_, Health::Critical, _)))
}

/// An instance with the reasons for which its checks fail now, where those are others than the ones they turned for.
pub(super) fn as_probed<'a>(instance: &'a Instance, reports: &[ProbeReport]) -> Cow<'a, Instance> {
    let mut instance = Cow::Borrowed(instance);
    for position in 0..instance.checks.len() {
        let (spec, state) = (&instance.registration.checks[position], &instance.checks[position]);
        let report = reports.iter().find(|report| report.check == spec.name);
        if state.health == Health::Critical
            && let Some(failure) = report.and_then(|report| report.last_failure.as_ref())
            && state.last_error.as_ref() != Some(failure)
        {
            instance.to_mut().checks[position].last_error = Some(failure.clone());
        }
    }
    instance
}

/// Why the check by which an instance is withheld fails now, where that is not why it turned.
pub(super) fn fails_now(instance: &Instance, reports: &[ProbeReport]) -> Option<String> {
    let Some(Withheld::Check(name, Health::Critical, turned)) = instance.withheld() else { return None };
    let failure = reports.iter().find(|report| report.check == *name)?.last_failure.as_deref()?;
    (Some(failure) != turned).then(|| format!("; now: {failure}"))
}

/// What an instance that is withheld by a check has to do because it flaps; nothing for most.
pub(super) fn held(instance: &Instance, reports: &[ProbeReport]) -> Option<String> {
    let Some(Withheld::Check(name, Health::Critical, _)) = instance.withheld() else { return None };
    let report = reports.iter().find(|report| report.check == *name && report.flaps > 0)?;
    let times = if report.flaps == 1 { "once".to_owned() } else { format!("{} times", report.flaps) };
    Some(format!("; flapped {times} of late, so it takes {} successes in a row", report.rise_needed))
}
