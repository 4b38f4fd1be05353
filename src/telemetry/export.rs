//! The exporter: every component's metrics as one text.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// The media type of [`Metrics::render`].
pub const METRICS_CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of this process.
///
/// The lock is taken to register and to render; counting touches only the atomics inside each metric.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics of a process that starts now.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let started: Gauge<f64, AtomicU64> = Gauge::default();
        started.set(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
        // The one name without our prefix, because dashboards know it from every exporter.
        registry.register("process_start_time_seconds", "When the process started, in seconds since 1970", started);
        let metrics = Self { registry: Mutex::new(registry) };
        metrics.register(|registry| {
            let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
            registry.register("build", "What is running", build);
        });
        metrics
    }

    /// Lets a component register its metrics; every name gets `rollcall_` in front.
    pub fn register<T>(&self, components: impl FnOnce(&mut Registry) -> T) -> T {
        components(self.registry.lock().sub_registry_with_prefix("rollcall"))
    }

    /// All metrics in the OpenMetrics text format.
    ///
    /// # Errors
    /// When a collector of a component fails to encode itself.
    pub fn render(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry.lock())?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn metrics_of_components_are_rendered_with_the_prefix() {
        let metrics = Metrics::new();
        let queries: Counter = Counter::default();
        metrics.register(|registry| registry.register("queries", "Questions answered", queries.clone()));
        queries.inc();
        let text = metrics.render().unwrap();
        assert!(text.contains("rollcall_queries_total 1\n"), "{text}");
        assert!(
            text.contains(concat!("rollcall_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1\n")),
            "{text}"
        );
        assert!(text.contains("\nprocess_start_time_seconds 1"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
