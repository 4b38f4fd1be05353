//! What this node sees of itself.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::Instant;

use super::Moment;
use super::hosts::{Chorus, Hosts};
use crate::model::Timestamp;

/// How often the node looks after itself.
pub(super) const TICK: Duration = Duration::from_millis(100);
/// A look that comes later than this means that whatever should have been heard meanwhile was not.
const LATE: Duration = Duration::from_millis(500);
/// By how much the clocks may drift apart between two looks: steps of a time daemon are larger, its slewing is smaller.
const JUMP: Duration = Duration::from_secs(1);
/// For how long a stall or a jump is held against what follows: probes and renewals that it hit take so long to show.
const SHADOW: Duration = Duration::from_secs(15);
/// A canary that was not heard for so long is silent, and one that was heard within it sings.
const CANARY_SILENT: Duration = Duration::from_secs(3);

/// Who may speak against this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Witness {
    /// Its own tasks came late, or stood still.
    Lag,
    /// The clock on the wall and the other one disagree about how much time has passed.
    Clock,
    /// No interface leads elsewhere any more.
    Link,
    /// Several other hosts are silent in the same moment.
    Hosts,
    /// The hosts that were named for this are silent.
    Canary,
}

impl Witness {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Lag, Self::Clock, Self::Link, Self::Hosts, Self::Canary];

    /// The word for it in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lag => "lag",
            Self::Clock => "clock",
            Self::Link => "link",
            Self::Hosts => "hosts",
            Self::Canary => "canary",
        }
    }
}

/// What one witness says against this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Who.
    pub witness: Witness,
    /// What, in a few words.
    pub text: String,
}

/// A stall or a jump, whose shadow falls on what follows.
#[derive(Debug, Clone, Copy)]
struct Incident {
    at: Moment,
    /// How much time was lost or made up.
    size: Duration,
}

impl Incident {
    fn counts(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at.instant) < SHADOW + self.size.min(SHADOW)
    }
}

#[derive(Debug, Clone, Copy)]
struct Canary {
    /// When it was last heard.
    heard: Instant,
    /// Since when it is not.
    silent_since: Option<Timestamp>,
}

/// All that speaks for or against this node. Pure: the time is an argument.
#[derive(Debug, Default)]
pub(super) struct Witnesses {
    ticked: Option<Moment>,
    lag: Option<Incident>,
    jump: Option<Incident>,
    /// Since when no link is up; the outer one is none while there never was one.
    link_down: Option<Option<Timestamp>>,
    /// When the link was last looked at, and when it last turned out to be another way.
    link_looked: Option<Instant>,
    link_turned: Option<Instant>,
    /// When a host last fell silent.
    alarmed: Option<Instant>,
    hosts: Hosts,
    /// Those that were ever heard: one that never was says more about its address than about the network.
    canaries: BTreeMap<SocketAddr, Canary>,
}

fn seconds(span: Duration) -> String {
    format!("{}.{}s", span.as_secs(), span.subsec_millis() / 100)
}

fn time_of_day(at: Timestamp) -> String {
    let text = at.to_string();
    let time = text.split_once('T').map_or("", |(_, time)| time);
    format!("{}Z", time.split('.').next().unwrap_or_default())
}

impl Witnesses {
    pub(super) fn tick(&mut self, now: Moment) {
        let Some(before) = self.ticked.replace(now) else { return };
        let passed = now.instant.saturating_duration_since(before.instant);
        if let Some(late) = passed.checked_sub(TICK).filter(|late| *late >= LATE) {
            self.lag = Some(Incident { at: now, size: late });
        }
        let (forth, back) = (before.wall.until(now.wall), now.wall.until(before.wall));
        let jump = if back.is_zero() { forth.abs_diff(passed) } else { back + passed };
        if jump >= JUMP {
            self.jump = Some(Incident { at: now, size: jump });
        }
    }

    pub(super) fn link(&mut self, is_up: bool, now: Moment) {
        self.link_looked = Some(now.instant);
        if is_up != matches!(self.link_down, Some(None)) {
            self.link_turned = Some(now.instant);
        }
        match (is_up, &mut self.link_down) {
            (true, down) => *down = Some(None),
            (false, Some(down)) => drop(down.get_or_insert(now.wall)),
            // A machine that has never had one has nothing to lose.
            (false, None) => {}
        }
    }

    /// Notes the result of a probe of a host; whether it has fallen silent by that.
    pub(super) fn probed(&mut self, host: IpAddr, is_silent: bool, now: Instant) -> bool {
        let alarms = self.hosts.probed(host, is_silent, now);
        if alarms {
            self.alarmed = Some(now);
        }
        alarms
    }

    /// Whether nobody has looked at the link since a host fell silent. A route that is gone is told at once, so checks may
    /// be sure before anybody has looked.
    pub(super) fn is_link_unseen(&self) -> bool {
        self.link_looked.is_some() && self.alarmed > self.link_looked
    }

    /// Whether the link has turned out to be another way at a time or since.
    pub(super) fn has_link_turned_since(&self, time: Option<Instant>) -> bool {
        self.link_turned.is_some() && self.link_turned >= time
    }

    pub(super) fn canary(&mut self, address: SocketAddr, is_heard: bool, now: Moment) {
        if is_heard {
            self.canaries.insert(address, Canary { heard: now.instant, silent_since: None });
        } else if let Some(canary) = self.canaries.get_mut(&address) {
            canary.silent_since.get_or_insert(now.wall);
        }
    }

    /// How late the tick is that has not come yet.
    fn overdue(&self, now: Instant) -> Option<Duration> {
        let late = now.saturating_duration_since(self.ticked?.instant).checked_sub(TICK)?;
        (late >= LATE).then_some(late)
    }

    fn says_lag(&self, now: Instant) -> Option<String> {
        if let Some(late) = self.overdue(now) {
            return Some(format!("this server stands still for {}", seconds(late)));
        }
        let lag = self.lag.filter(|lag| lag.counts(now))?;
        Some(format!("this server stood still for {} until {}", seconds(lag.size), time_of_day(lag.at.wall)))
    }

    fn says_clock(&self, now: Instant) -> Option<String> {
        let jump = self.jump.filter(|jump| jump.counts(now))?;
        Some(format!("the clock jumped by {} at {}", seconds(jump.size), time_of_day(jump.at.wall)))
    }

    fn says_link(&self) -> Option<String> {
        let since = self.link_down.flatten()?;
        Some(format!("no network interface is up since {}", time_of_day(since)))
    }

    fn sings(&self, now: Instant) -> bool {
        let is_heard = |canary: &Canary| now.saturating_duration_since(canary.heard) < CANARY_SILENT;
        self.canaries.values().any(|canary| canary.silent_since.is_none() && is_heard(canary))
    }

    fn says_canary(&self, now: Instant) -> Option<String> {
        // One that sings is enough: the network is there.
        let is_silent = |canary: &Canary| now.saturating_duration_since(canary.heard) >= CANARY_SILENT;
        if self.canaries.is_empty() || !self.canaries.values().all(is_silent) {
            return None;
        }
        let mut text = "no answer from ".to_owned();
        for (position, address) in self.canaries.keys().take(3).enumerate() {
            let _ = write!(text, "{}{address}", if position == 0 { "" } else { ", " });
        }
        Some(text)
    }

    fn says_hosts(&mut self, besides: &[IpAddr], now: Instant) -> Option<String> {
        // A canary that sings says that the network is there, so others are silent for reasons of their own.
        match self.hosts.chorus(besides, now) {
            Chorus::Silent(silent, asked) if !self.sings(now) => {
                let others = if besides.is_empty() { "" } else { "other " };
                Some(format!("{silent} of {asked} {others}hosts are silent in the same moment"))
            }
            _ => None,
        }
    }

    /// What speaks against this node, when it is about a service on these hosts.
    pub(super) fn against(&mut self, besides: &[IpAddr], now: Instant) -> Vec<Evidence> {
        let mut say = |witness| match witness {
            Witness::Lag => self.says_lag(now),
            Witness::Clock => self.says_clock(now),
            Witness::Link => self.says_link(),
            Witness::Hosts => self.says_hosts(besides, now),
            Witness::Canary => self.says_canary(now),
        };
        Witness::ALL.into_iter().filter_map(|witness| Some(Evidence { witness, text: say(witness)? })).collect()
    }

    /// Whether those who would know have not been asked enough yet.
    pub(super) fn are_unsure(&mut self, besides: &[IpAddr], now: Instant) -> bool {
        !self.sings(now) && self.hosts.chorus(besides, now) == Chorus::Unsure
    }

    /// What speaks against this node and costs nothing to find out, so that it is asked each time: after a stop everybody
    /// wakes at once, and who looks after the node may come last.
    pub(super) fn stands_still(&self, now: Instant) -> Option<Evidence> {
        self.overdue(now)?;
        Some(Evidence { witness: Witness::Lag, text: self.says_lag(now)? })
    }
}
