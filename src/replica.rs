//! Follows the store and brings what it says to the readers: registry, then zone, then view.
//!
//! The only writer of the zone and of the view. It takes what is pending at once, so a burst of changes to one
//! service makes its answers anew once.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::model::{Instance, InstanceId, ServiceName, Timestamp};
use crate::registry::{Actor, Batch, Cause, Change, Registry, guard_word};
use crate::store::{Followed, Lapsed, Watch};
use crate::view::{ViewReader, ViewWriter};
use crate::zone::Publisher;

/// Changes of one batch that are logged one by one; more are summed up.
const CHANGES_LOGGED: usize = 32;
/// Services of a whole registry that are served before others have a turn.
const SERVICES_AT_ONCE: usize = 128;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabel {
    cause: &'static str,
}

#[derive(Debug, Default)]
struct Metrics {
    changes: Family<CauseLabel, Counter>,
    publish: Option<Histogram>,
    revision: Gauge<u64, AtomicU64>,
    services: Gauge,
    instances: Gauge,
    answered: Gauge,
}

impl Metrics {
    fn register(registry: &mut prometheus_client::registry::Registry) -> Self {
        // From 1 µs to 1 s.
        let publish = Histogram::new(exponential_buckets(1e-6, 4.0, 11));
        let metrics = Self { publish: Some(publish.clone()), ..Self::default() };
        let Self { changes, revision, services, instances, answered, .. } = &metrics;
        registry.register("changes", "Changes of the registry by cause", changes.clone());
        registry.register("publish_seconds", "From changes that arrived to changes that are served", publish);
        registry.register("revision", "Position in the registry's history that is served", revision.clone());
        registry.register("services", "Services known, with names only remembered", services.clone());
        registry.register("instances", "Instances registered", instances.clone());
        registry.register("instances_answered", "Instances in answers", answered.clone());
        metrics
    }

    fn observe(&self, registry: &Registry, started: Instant) {
        if let Some(publish) = &self.publish {
            publish.observe(started.elapsed().as_secs_f64());
        }
        self.revision.set(registry.revision().0);
        self.services.set(registry.services_known() as i64);
        self.instances.set(registry.instances() as i64);
        self.answered.set(registry.answered() as i64);
    }
}

/// Counts what time alone changes, when somebody looks.
#[derive(Debug)]
struct LongCritical(ViewReader);

impl Collector for LongCritical {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let gauge = ConstGauge::new(self.0.load().critical_for_a_day(Timestamp::now()) as i64);
        let help = "Instances that have been critical for a day";
        gauge.encode(encoder.encode_descriptor("instances_critical_for_a_day", help, None, gauge.metric_type())?)
    }
}

/// Follows a watch until the store closes.
pub fn spawn(
    mut watch: Box<dyn Watch>,
    mut publisher: Publisher,
    view: ViewWriter,
    registry: &mut prometheus_client::registry::Registry,
) -> JoinHandle<()> {
    let metrics = Metrics::register(registry);
    registry.register_collector(Box::new(LongCritical(view.reader())));
    tokio::spawn(async move {
        let mut state = Registry::default();
        // What has lapsed and is not on record yet.
        let mut withdrawn: Vec<Lapsed> = Vec::new();
        while let Some(followed) = watch.next().await {
            let started = Instant::now();
            match followed {
                Followed::Reset(snapshot) => {
                    // What has lapsed is told once more.
                    withdrawn.clear();
                    state = snapshot;
                    publish_all(&mut publisher, &state).await;
                    metrics.observe(&state, started);
                    view.reset(state.clone());
                    tracing::debug!(store.revision = state.revision().0, "starting over from a snapshot");
                }
                Followed::Batches(batches, registry) => {
                    log(&batches, &state);
                    for change in batches.iter().flat_map(|batch| &batch.changes) {
                        metrics.changes.get_or_create(&CauseLabel { cause: cause(change) }).inc();
                    }
                    state = registry;
                    withdrawn.retain(|lapsed| on_lapsed(&state, lapsed).is_some());
                    state.foresee(&departure(&state, &withdrawn));
                    let touched: BTreeSet<&ServiceName> =
                        batches.iter().flat_map(|batch| &batch.changes).map(Change::service).collect();
                    for name in touched {
                        publisher.publish(name, &state);
                    }
                    publisher.stamp(state.revision());
                    metrics.observe(&state, started);
                    view.publish(state.clone(), &batches);
                }
                Followed::Lapsed(lapsed) => {
                    let batch = departure(&state, &lapsed);
                    state.foresee(&batch);
                    withdrawn.extend(lapsed);
                    for name in batch.changes.iter().map(Change::service).collect::<BTreeSet<_>>() {
                        publisher.publish(name, &state);
                    }
                    // The serial follows with the record.
                    metrics.observe(&state, started);
                    view.publish(state.clone(), &[]);
                }
            }
        }
    })
}

/// Serves a whole registry. Others of this thread, who may answer questions, go on meanwhile.
async fn publish_all(publisher: &mut Publisher, state: &Registry) {
    for names in publisher.absent_from(state).chunks(SERVICES_AT_ONCE) {
        names.iter().for_each(|name| publisher.publish(name, state));
        tokio::task::yield_now().await;
    }
    let mut services = state.services_after(None).peekable();
    while services.peek().is_some() {
        services.by_ref().take(SERVICES_AT_ONCE).for_each(|service| publisher.publish(service.name(), state));
        tokio::task::yield_now().await;
    }
    publisher.complete(state.revision());
}

/// An instance whose lease has lapsed, while it is still registered on that.
fn on_lapsed<'s>(state: &'s Registry, lapsed: &Lapsed) -> Option<&'s Arc<Instance>> {
    let instance = state.instance(&lapsed.service, lapsed.id.as_str())?;
    instance.lease.is_some_and(|lease| lease.id == lapsed.lease).then_some(instance)
}

/// What lapsed leases will change when it is on record.
fn departure(state: &Registry, lapsed: &[Lapsed]) -> Batch {
    let of = |lapsed: &Lapsed| {
        let instance = on_lapsed(state, lapsed)?.clone();
        Some(Change::Gone { instance, cause: Cause::Expired })
    };
    let mut changes: Vec<Change> = lapsed.iter().filter_map(of).collect();
    // Those of one service in one pass.
    changes.sort_by(|a, b| a.service().cmp(b.service()));
    Batch { revision: state.revision().next(), at: Timestamp::now(), actor: Actor::lease(), changes }
}

fn cause(change: &Change) -> &'static str {
    match change {
        Change::Put { cause, .. } | Change::Gone { cause, .. } => cause.as_str(),
        Change::Configured { .. } => "configured",
        Change::Guarded { guarded, .. } => guard_word(guarded.as_ref()),
        Change::Forgotten { .. } => "forgotten",
    }
}

/// Tells people what changed since a state.
fn log<'b>(batches: &'b [Arc<Batch>], before: &'b Registry) {
    if !tracing::enabled!(target: "rollcall::changes", tracing::Level::INFO) {
        return;
    }
    // What the batches have made of an instance so far.
    let mut so_far: HashMap<(&ServiceName, &InstanceId), Option<&'b Arc<Instance>>, foldhash::fast::RandomState> =
        HashMap::default();
    for batch in batches {
        log_batch(batch, |instance, after| {
            let known = so_far.insert((&instance.service, &instance.id), after);
            known.unwrap_or_else(|| before.instance(&instance.service, instance.id.as_str()))
        });
    }
}

/// Tells people of one batch; `follow` is told what becomes of an instance, and says what it was.
fn log_batch<'b>(
    batch: &'b Batch,
    mut follow: impl FnMut(&'b Arc<Instance>, Option<&'b Arc<Instance>>) -> Option<&'b Arc<Instance>>,
) {
    for change in batch.changes.iter().take(CHANGES_LOGGED) {
        match change {
            Change::Put { instance, cause } => {
                let was = follow(instance, Some(instance)).map_or("absent".to_owned(), |old| standing(old));
                tracing::info!(
                    target: "rollcall::changes",
                    { service.name = %instance.service, instance.id = %instance.id, store.revision = batch.revision.0 },
                    "{}: {was} -> {}",
                    cause.as_str(),
                    standing(instance),
                );
            }
            Change::Gone { instance, cause } => {
                follow(instance, None);
                tracing::info!(
                    target: "rollcall::changes",
                    { service.name = %instance.service, instance.id = %instance.id, store.revision = batch.revision.0 },
                    "{}: {} -> absent",
                    cause.as_str(),
                    standing(instance),
                );
            }
            Change::Configured { service, settings } => tracing::info!(
                target: "rollcall::changes",
                { service.name = %service, store.revision = batch.revision.0 },
                "settings {}",
                if settings.is_some() { "set" } else { "removed" },
            ),
            // Who ends the guard or begins it says so at length, once.
            Change::Guarded { service, guarded } => tracing::debug!(
                target: "rollcall::changes",
                { service.name = %service, store.revision = batch.revision.0 },
                "{}",
                guard_word(guarded.as_ref()),
            ),
            Change::Forgotten { service, .. } => tracing::debug!(
                target: "rollcall::changes",
                { service.name = %service },
                "the name is no longer remembered",
            ),
        }
    }
    for change in batch.changes.iter().skip(CHANGES_LOGGED) {
        match change {
            Change::Put { instance, .. } => {
                follow(instance, Some(instance));
            }
            Change::Gone { instance, .. } => {
                follow(instance, None);
            }
            Change::Configured { .. } | Change::Guarded { .. } | Change::Forgotten { .. } => {}
        }
    }
    if let Some(more @ 1..) = batch.changes.len().checked_sub(CHANGES_LOGGED) {
        tracing::info!(target: "rollcall::changes", { store.revision = batch.revision.0 }, "and {more} more changes");
    }
}

/// Whether an instance is in answers, and if not, why.
fn standing(instance: &Instance) -> String {
    match instance.withheld() {
        None => "answered".to_owned(),
        Some(reason) => format!("withheld ({reason})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_time_alone_changes_is_counted_when_somebody_looks() {
        let mut registry = prometheus_client::registry::Registry::default();
        registry.register_collector(Box::new(LongCritical(crate::view::channel().1)));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.contains("\ninstances_critical_for_a_day 0\n"), "{text}");
    }
}
