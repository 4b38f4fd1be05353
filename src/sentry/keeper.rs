//! Telling the registry, and people, what the guard decides.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tokio::time::{Instant, sleep, timeout};

use crate::guard::{Guard, Moment, Turn};
use crate::registry::Command;
use crate::store::Store;
use crate::view::ViewReader;

/// While somebody is kept or waits.
const BUSY_EVERY: Duration = Duration::from_millis(250);
/// Between two rounds, so that who falls silent together is told of together.
const PACE: Duration = Duration::from_millis(200);

type Begun = Family<[(&'static str, &'static str); 1], Counter<u64, AtomicU64>>;

/// Counts what is kept, when somebody looks.
#[derive(Debug)]
struct Kept(Guard, ViewReader);

impl Collector for Kept {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut gauge = |name, help, value: usize| {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        gauge("guarded_services", "Services whose last good set is kept", self.1.load().guarded().len())?;
        gauge("guarded_instances", "Instances that are silent and kept in answers", self.0.held())?;
        let doubts = self.0.evidence(Instant::now()).len();
        gauge("guard_doubts", "Witnesses that speak against this node now", doubts)
    }
}

/// Carries turns of the guard into the registry.
pub(super) struct Keeper {
    guard: Guard,
    store: Arc<dyn Store>,
    view: ViewReader,
    begun: Begun,
}

impl Keeper {
    pub(super) fn new(guard: Guard, store: Arc<dyn Store>, view: ViewReader, registry: &mut Registry) -> Self {
        let begun = Begun::default();
        registry.register("guards_begun", "Guards of services that began, by witness", begun.clone());
        registry.register_collector(Box::new(Kept(guard.clone(), view.clone())));
        Self { guard, store, view, begun }
    }

    pub(super) async fn run(self) {
        self.view.loaded().await;
        loop {
            if self.guard.is_busy() {
                let _ = timeout(BUSY_EVERY, self.guard.turned()).await;
            } else {
                self.guard.turned().await;
            }
            let view = self.view.load();
            let is_answered = |service: &_, id: &crate::model::InstanceId| {
                view.instance(service, id.as_str()).is_some_and(|instance| instance.answered())
            };
            for turn in self.guard.turns(Moment::now(), is_answered) {
                self.tell(turn).await;
            }
            sleep(PACE).await;
        }
    }

    async fn tell(&self, turn: Turn) {
        let Turn { service, guarded, begun, ended } = turn;
        let command = Command::Guard { service: service.clone(), guarded: guarded.clone() };
        if self.store.commit(command).await.is_err() {
            // The store says itself that it is away.
            return self.guard.untold(&service);
        }
        for witness in &begun {
            self.begun.get_or_create(&[("witness", witness.as_str())]).inc();
        }
        match guarded {
            Some(guarded) if !begun.is_empty() => tracing::warn!(
                service.name = %service,
                guard.held = guarded.held.len(),
                guard.until = %guarded.until,
                "many of a service are silent at once, and this server doubts itself, so they stay in answers: {}",
                guarded.evidence,
            ),
            Some(guarded) => {
                tracing::debug!(service.name = %service, guard.held = guarded.held.len(), "still guarded");
            }
            None => {
                tracing::info!(service.name = %service, "no longer guarded: {}", ended.unwrap_or("all is said"));
            }
        }
    }
}
