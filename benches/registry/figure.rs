//! What a load measured, and how it is shown.

use std::time::Duration;

/// One round of one load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figure {
    /// Operations a second.
    pub(crate) rate: f64,
    /// Microseconds of an operation that half of all did not exceed.
    pub(crate) p50: f64,
    /// And 99 of 100.
    pub(crate) p99: f64,
    /// Microseconds of the server's processor time for one operation.
    pub(crate) cpu: f64,
}

impl Figure {
    /// From the microseconds of every operation.
    pub(crate) fn of(mut latencies: Vec<f64>, took: Duration, cpu: Duration) -> Self {
        assert!(!latencies.is_empty(), "a load without operations");
        latencies.sort_by(f64::total_cmp);
        let at = |share: f64| latencies[((latencies.len() as f64 * share) as usize).min(latencies.len() - 1)];
        let operations = latencies.len() as f64;
        let cpu = cpu.as_secs_f64() * 1e6 / operations;
        Self { rate: operations / took.as_secs_f64(), p50: at(0.5), p99: at(0.99), cpu }
    }
}

pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// All rounds of one load on one server.
pub(crate) type Rounds = Vec<Figure>;

/// The median of one part of all rounds.
pub(crate) fn middle(rounds: &Rounds, part: fn(&Figure) -> f64) -> f64 {
    median(rounds.iter().map(part))
}

/// The median of the ratios of rounds that were next to each other.
pub(crate) fn ratio(rounds: &Rounds, others: &Rounds, part: fn(&Figure) -> f64) -> f64 {
    median(rounds.iter().zip(others).map(|(one, other)| part(one) / part(other)))
}

pub(crate) fn heading() {
    println!("{:<44} {:>10} {:>9} {:>9} {:>9}", "", "per second", "p50 µs", "p99 µs", "CPU µs");
}

pub(crate) fn row(name: &str, rounds: &Rounds) {
    let [rate, p50, p99, cpu] = [
        middle(rounds, |figure| figure.rate),
        middle(rounds, |figure| figure.p50),
        middle(rounds, |figure| figure.p99),
        middle(rounds, |figure| figure.cpu),
    ];
    println!("{name:<44} {rate:>10.0} {p50:>9.0} {p99:>9.0} {cpu:>9.1}");
}

pub(crate) fn ratios(name: &str, rounds: &Rounds, others: &Rounds) {
    let [rate, p50, p99, cpu] = [
        ratio(rounds, others, |figure| figure.rate),
        ratio(rounds, others, |figure| figure.p50),
        ratio(rounds, others, |figure| figure.p99),
        ratio(rounds, others, |figure| figure.cpu),
    ];
    println!("{name:<44} {rate:>10.2} {p50:>9.2} {p99:>9.2} {cpu:>9.2}");
}
