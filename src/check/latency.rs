//! How long the last probes of a check took.

use std::time::Duration;

/// Probes that are remembered.
const REMEMBERED: usize = 32;
/// Bits of a code that count; the others say how far they are shifted.
const COUNTING_BITS: u32 = 11;

/// The times of the last probes of one check, in 66 octets. Pure.
///
/// A time is kept in microseconds to three digits, rounded down, up to half an hour.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Latencies {
    codes: [u16; REMEMBERED],
    next: u8,
    count: u8,
}

fn encode(micros: u64) -> u16 {
    let micros = u32::try_from(micros).unwrap_or(u32::MAX);
    let shift = (u32::BITS - micros.leading_zeros()).saturating_sub(COUNTING_BITS);
    (shift << COUNTING_BITS | micros >> shift) as u16
}

fn decode(code: u16) -> u64 {
    let shift = code >> COUNTING_BITS;
    u64::from(code & ((1 << COUNTING_BITS) - 1)) << shift
}

impl Latencies {
    /// Remembers how long a probe took.
    pub(super) fn add(&mut self, took: Duration) {
        self.codes[usize::from(self.next)] = encode(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        self.next = (self.next + 1) % REMEMBERED as u8;
        self.count = (self.count + 1).min(REMEMBERED as u8);
    }

    /// The microseconds that half of the probes, and 99 of 100, took at most; none before the first.
    pub(super) fn p50_and_p99(&self) -> Option<(u64, u64)> {
        let mut sorted = self.codes;
        let sorted = &mut sorted[..usize::from(self.count)];
        sorted.sort_unstable();
        let rank = |hundredths: usize| Some(decode(*sorted.get((sorted.len() * hundredths).div_ceil(100).max(1) - 1)?));
        Some((rank(50)?, rank(99)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_kept_to_three_digits() {
        for micros in (0..5000).chain([65_535, 1_000_000, 60_000_000, u64::from(u32::MAX)]) {
            let kept = decode(encode(micros));
            assert!(kept <= micros && (micros - kept) * 1000 <= micros, "{micros}: {kept}");
        }
        assert_eq!(encode(u64::MAX), encode(u64::from(u32::MAX)));
        let codes: Vec<u16> = (0..100_000).map(encode).collect();
        assert!(codes.is_sorted(), "codes are in the order of what they say");
    }

    #[test]
    fn quantiles_are_those_of_the_last_probes() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.p50_and_p99(), None);
        latencies.add(Duration::from_micros(300));
        assert_eq!(latencies.p50_and_p99(), Some((300, 300)));
        for micros in 1..=100 {
            latencies.add(Duration::from_micros(micros));
        }
        assert_eq!(latencies.p50_and_p99(), Some((84, 100)), "of 69 to 100");
        assert_eq!(size_of::<Latencies>(), 66);
    }
}
