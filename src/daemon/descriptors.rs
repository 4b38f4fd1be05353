//! How the descriptors that the system grants are shared out, so that no client of one part takes another's.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::net::ConnectionLimits;

/// What to reckon with when the system does not say.
const GRANTED_UNKNOWN: u64 = 1024;
/// Room for four clients of DNS there is, however little is granted.
const DNS_MIN: usize = 4;
/// Connections and probes, when the system grants enough for them.
const HTTP_MAX: usize = 24_576;
const DNS_MAX: usize = 1024;
const PROBES_MAX: usize = 4096;
const HELD_MAX: usize = 65_536;

/// What each part may take. The rest is for listeners, files, and whatever a part opens for a moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shares {
    pub(super) http: ConnectionLimits,
    pub(super) dns: ConnectionLimits,
    pub(super) probes: usize,
    /// Connections that are held beside probes.
    pub(super) held: usize,
}

impl Shares {
    /// Half for HTTP, an eighth each for DNS over TCP and for probes, as much for connections that are held, and up to a quarter
    /// for those where the others do not take all of theirs. One HTTP client gets half of what HTTP gets, one of DNS a
    /// quarter. An eighth at least is nobody's.
    pub(super) fn of(granted: u64) -> Self {
        let granted = usize::try_from(granted).unwrap_or(usize::MAX);
        let limits = |total: usize, clients: usize| ConnectionLimits { per_client: (total / clients).max(1), total };
        let http = (granted / 2).clamp(1, HTTP_MAX);
        let dns = (granted / 8).clamp(DNS_MIN, DNS_MAX);
        let probes = (granted / 8).clamp(1, PROBES_MAX);
        let left = (granted - granted / 8).saturating_sub(http + dns + probes);
        let held = left.min(granted / 4).min(HELD_MAX);
        Self { http: limits(http, 2), dns: limits(dns, 4), probes, held }
    }
}

/// Takes as many descriptors as the system grants, and says how many that are.
pub(super) fn raise_limit() -> u64 {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).map(|(soft, hard)| {
        let raised = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
        if raised.is_ok() { hard } else { soft }
    });
    match raised {
        Ok(granted) => {
            tracing::debug!(process.descriptors_max = granted, "descriptors granted");
            granted
        }
        Err(error) => {
            tracing::warn!(error = %error, "how many descriptors there are is not known");
            GRANTED_UNKNOWN
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parts_fit_into_what_is_granted_with_a_reserve() {
        for granted in [16, 64, 256, 1024, 4096, 20_000, 1 << 20, u64::MAX] {
            let Shares { http, dns, probes, held } = Shares::of(granted);
            let taken = (http.total + dns.total + probes + held) as u64;
            assert!(taken <= granted - granted / 8, "{granted}: {http:?}, {dns:?}, {probes}, {held}");
            assert!(held as u64 <= granted / 4, "{granted}: {held}");
            assert!(http.per_client <= http.total / 2 && dns.per_client <= dns.total / 4, "{granted}");
        }
    }

    #[test]
    fn where_enough_is_granted_the_limits_are_those_of_the_manual() {
        let Shares { http, dns, probes, held } = Shares::of(1 << 20);
        assert_eq!((http.total, http.per_client), (24_576, 12_288));
        assert_eq!((dns.total, dns.per_client, probes), (1024, 256, 4096));
        assert_eq!([1024, 4096, 65_536].map(|granted| Shares::of(granted).held), [128, 512, 16_384]);
        assert_eq!(held, 65_536);
    }
}
