//! What probes last heard of each host.
//!
//! Several *other* hosts that are silent in the same moment speak against this node: they have nothing in common but
//! who asks. The hosts of the service under judgement do not count: a rack that lost its power looks exactly like a
//! partition, and a registry with one service has no others, so there the link and the canaries decide alone.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

/// The moment, from the shortest on: the first in which enough others were asked counts. After a link has gone, nobody is
/// heard any more, so the younger the results the more they say of now; slow checks have only older ones.
const MOMENTS: [Duration; 4] =
    [Duration::from_secs(2), Duration::from_secs(5), Duration::from_secs(15), Duration::from_secs(30)];
/// Hosts that are known. A result of one more is not noted.
const HOSTS_MAX: usize = 65_536;
/// Other hosts that have to be asked in a moment, before they say anything.
const OTHERS_MIN: usize = 3;
/// All are counted anew after this time.
const COUNTED_FOR: Duration = Duration::from_millis(100);
/// Between two searches for hosts that are no longer probed, when there is no room for more.
const SWEPT_FOR: Duration = Duration::from_secs(10);

/// A host that has been silent for longer is dead as far as anybody can tell, and speaks against nobody: a registry full
/// of ghosts would doubt itself for ever.
const DEAD_AFTER: Duration = Duration::from_secs(600);

#[derive(Debug, Clone, Copy)]
struct Heard {
    /// Since when nothing is heard of it.
    silent_since: Option<Instant>,
    /// When it was asked last.
    at: Instant,
    /// Whether it was ever heard. One that never was says more about its address than about the network.
    was_heard: bool,
}

impl Heard {
    fn counts(&self, now: Instant) -> bool {
        self.was_heard && self.silent_since.is_none_or(|since| now.saturating_duration_since(since) < DEAD_AFTER)
    }
}

/// Hosts that were asked in each moment, and how many of them are silent.
#[derive(Debug, Clone, Copy, Default)]
struct Count([(usize, usize); MOMENTS.len()]);

impl Count {
    fn add(&mut self, heard: &Heard, now: Instant) {
        if !heard.counts(now) {
            return;
        }
        let age = now.saturating_duration_since(heard.at);
        for ((asked, silent), moment) in self.0.iter_mut().zip(MOMENTS) {
            if age < moment {
                *asked += 1;
                *silent += usize::from(heard.silent_since.is_some());
            }
        }
    }

    fn without(mut self, own: &Self) -> Self {
        for ((asked, silent), (own_asked, own_silent)) in self.0.iter_mut().zip(own.0) {
            *asked = asked.saturating_sub(own_asked);
            *silent = silent.saturating_sub(own_silent);
        }
        self
    }
}

/// What other hosts say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chorus {
    /// There are too few others to ask.
    Nobody,
    /// Most of them are heard.
    Well,
    /// Some are silent, and too few were asked in this very moment to know more.
    Unsure,
    /// So many of so many are silent: half of them or more.
    Silent(usize, usize),
}

/// The last result of each host that is probed.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    heard: HashMap<IpAddr, Heard, foldhash::fast::RandomState>,
    counted: Option<(Instant, Count)>,
    swept: Option<Instant>,
}

impl Hosts {
    /// Notes the result of a probe; whether a host that was heard before is silent now.
    pub(super) fn probed(&mut self, host: IpAddr, is_silent: bool, now: Instant) -> bool {
        if let Some(known) = self.heard.get_mut(&host) {
            let turned = is_silent && known.was_heard && known.silent_since.is_none();
            let since = known.silent_since.unwrap_or(now);
            let was_heard = known.was_heard || !is_silent;
            *known = Heard { silent_since: is_silent.then_some(since), at: now, was_heard };
            return turned;
        }
        if self.heard.len() >= HOSTS_MAX {
            if self.swept.is_some_and(|swept| now.saturating_duration_since(swept) < SWEPT_FOR) {
                return false;
            }
            self.swept = Some(now);
            self.heard.retain(|_, heard| now.saturating_duration_since(heard.at) < MOMENTS[MOMENTS.len() - 1]);
            if self.heard.len() >= HOSTS_MAX {
                return false;
            }
        }
        let silent_since = is_silent.then_some(now);
        self.heard.insert(host, Heard { silent_since, at: now, was_heard: !is_silent });
        false
    }

    fn count(&mut self, now: Instant) -> Count {
        match self.counted {
            Some((at, count)) if now.saturating_duration_since(at) < COUNTED_FOR => count,
            _ => {
                let mut count = Count::default();
                self.heard.values().for_each(|heard| count.add(heard, now));
                self.counted = Some((now, count));
                count
            }
        }
    }

    /// What hosts other than these, which are distinct, say.
    pub(super) fn chorus(&mut self, besides: &[IpAddr], now: Instant) -> Chorus {
        let all = self.count(now);
        let mut own = Count::default();
        besides.iter().filter_map(|host| self.heard.get(host)).for_each(|heard| own.add(heard, now));
        let others = all.without(&own);
        let moment = others.0.iter().enumerate().find(|(_, (asked, _))| *asked >= OTHERS_MIN);
        match moment {
            None => Chorus::Nobody,
            Some((_, (asked, silent))) if silent * 2 >= *asked => Chorus::Silent(*silent, *asked),
            Some((1.., (_, 1..))) => Chorus::Unsure,
            Some(_) => Chorus::Well,
        }
    }
}
