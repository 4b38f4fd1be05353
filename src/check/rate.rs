//! How many probes begin within a second.

/// A bound of a rate, as a token bucket that fills within a quarter of a second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    /// Microseconds that one costs.
    cost: u64,
    /// How far a bucket may be ahead of its time: what a burst costs.
    burst: u64,
}

impl Rate {
    /// A bound of so many a second, from one to a million, and as many at once as come in a quarter of one.
    pub(super) fn per_second(most: u32) -> Self {
        let most = u64::from(most.clamp(1, 1_000_000));
        let cost = 1_000_000 / most;
        Self { cost, burst: cost * (most / 4).max(1) }
    }
}

/// A bucket: the time, in microseconds, at which it is full again. Pure.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bucket {
    full_at: u64,
}

impl Bucket {
    /// Whether there is a token.
    pub(super) fn has_one(&self, rate: Rate, now: u64) -> bool {
        self.full_at.saturating_sub(now) + rate.cost <= rate.burst
    }

    /// Takes a token, which must be there.
    pub(super) fn take(&mut self, rate: Rate, now: u64) {
        self.full_at = self.full_at.max(now) + rate.cost;
    }

    /// Whether nothing was taken that is not there again: a new one would do as well.
    pub(super) fn is_full(&self, now: u64) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(bucket: &mut Bucket, rate: Rate, now: u64) -> usize {
        let mut count = 0;
        while bucket.has_one(rate, now) {
            bucket.take(rate, now);
            count += 1;
        }
        count
    }

    #[test]
    fn bursts_and_averages_are_bounded() {
        let (rate, mut bucket) = (Rate::per_second(1000), Bucket::default());
        assert_eq!(taken(&mut bucket, rate, 0), 250);
        assert_eq!(taken(&mut bucket, rate, 999), 0);
        assert_eq!(taken(&mut bucket, rate, 10_000), 10);
        let steady: usize = (1..=100).map(|tick| taken(&mut bucket, rate, 10_000 + tick * 5_000)).sum();
        assert_eq!(steady, 500, "half a second of a thousand");
        assert!(!bucket.is_full(510_000) && bucket.is_full(1_000_000));
        assert_eq!(taken(&mut bucket, rate, 60_000_000), 250, "what is not taken is not saved up");
    }

    #[test]
    fn one_a_second_is_possible() {
        let (rate, mut bucket) = (Rate::per_second(0), Bucket::default());
        assert_eq!(taken(&mut bucket, rate, 0), 1);
        assert_eq!(taken(&mut bucket, rate, 999_999), 0);
        assert_eq!(taken(&mut bucket, rate, 1_000_000), 1);
    }
}
