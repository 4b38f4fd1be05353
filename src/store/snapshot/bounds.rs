//! What a record may say when it comes from anywhere: what registrations are held to, a snapshot is held to as well.

use std::collections::HashSet;

use crate::model::{CheckKind, CheckSpec, INSTANCE_LIMITS, Instance, Registration, probe_bounds};

/// Octets of what a check failed with last.
const ERROR_OCTETS_MAX: usize = 4 << 10;
/// Octets of the text that a body must contain.
const TEXT_OCTETS_MAX: usize = 1 << 10;

/// Whether an instance is one that could have been registered.
pub(super) fn check(instance: &Instance) -> Result<(), String> {
    for said in [&instance.registration, instance.registered_as()] {
        check_registration(said)?;
    }
    let is_long = |error: &str| error.len() > ERROR_OCTETS_MAX;
    if instance.checks.iter().any(|check| check.last_error.as_deref().is_some_and(is_long)) {
        return Err(format!("`last_error` has more than {ERROR_OCTETS_MAX} octets"));
    }
    Ok(())
}

fn check_registration(said: &Registration) -> Result<(), String> {
    let limits = INSTANCE_LIMITS;
    for (what, count, max) in [
        ("tags", said.tags.len(), limits.tags),
        ("ports", said.ports.len(), limits.ports),
        ("checks", said.checks.len(), limits.checks),
    ] {
        if count > max {
            return Err(format!("it has {count} {what} where {max} are the most"));
        }
    }
    if said.ports.iter().any(|(_, port)| *port == 0) {
        return Err("a named port is 0".to_owned());
    }
    let mut names = HashSet::new();
    if !said.checks.iter().all(|check| names.insert(&check.name)) {
        return Err("two checks share a name".to_owned());
    }
    said.checks.iter().try_for_each(check_spec)
}

fn check_spec(spec: &CheckSpec) -> Result<(), String> {
    let within = |value, (min, max)| min <= value && value <= max;
    let times = 1..=probe_bounds::THRESHOLD_MAX;
    let holds = within(spec.interval, probe_bounds::INTERVAL)
        && within(spec.fast_interval, (probe_bounds::FAST_INTERVAL_MIN, spec.interval))
        && within(spec.timeout, probe_bounds::TIMEOUT)
        && spec.timeout <= spec.interval
        && times.contains(&spec.rise)
        && times.contains(&spec.fall)
        && spec.port != Some(0);
    let body_holds = match &spec.kind {
        CheckKind::Tcp | CheckKind::Ttl => true,
        CheckKind::Http(http) => {
            http.expect_body.as_ref().is_none_or(|text| (1..=TEXT_OCTETS_MAX).contains(&text.len()))
        }
    };
    if holds && body_holds { Ok(()) } else { Err(format!("check {} has a value that none may have", spec.name)) }
}
