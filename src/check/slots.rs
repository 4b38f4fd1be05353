//! How many probes run at once, and begin within a second, in all and against one address.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use super::rate::{Bucket, Rate};

/// First probes that may wait for room. Those beyond it come up again with their next round.
const WAITING_MAX: usize = 65_536;

/// Addresses that are known without being looked through for those that are idle.
const HOSTS_MIN: usize = 1024;

/// Whether the check that is probed passes by the opinion that stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It does.
    Passing,
    /// It does not, or nobody knows yet.
    Doubtful,
}

/// What is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// As many probes run as may, in all.
    Room,
    /// As many probes run against the address as may.
    RoomOfHost,
    /// As many probes have begun lately as may, in all.
    Rate,
    /// As many probes of the address have begun lately as may.
    RateOfHost,
}

/// How many probes there may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// At once, in all and against one address; at least 1 each.
    pub(super) room: (usize, usize),
    /// That begin, in all and against one address. Loopback is this machine, which only the first bounds.
    pub(super) rate: (Rate, Rate),
    /// The same of those that are not due but made because somebody asks for them.
    pub(super) extra: (Rate, Rate),
}

/// How many probes run in one place, of how many that may.
#[derive(Debug)]
struct Room {
    max: usize,
    running: usize,
    doubtful: usize,
}

impl Room {
    fn new(max: usize) -> Self {
        Self { max: max.max(1), running: 0, doubtful: 0 }
    }

    fn is_free(&self, standing: Standing) -> bool {
        let doubtful_max = self.max - self.max / 4;
        self.running < self.max && (standing == Standing::Passing || self.doubtful < doubtful_max)
    }

    fn take(&mut self, standing: Standing) {
        self.running += 1;
        self.doubtful += usize::from(standing == Standing::Doubtful);
    }

    fn give_back(&mut self, standing: Standing) {
        self.running -= 1;
        self.doubtful -= usize::from(standing == Standing::Doubtful);
    }
}

#[derive(Debug)]
struct Host<K> {
    room: Room,
    bucket: Bucket,
    extra: Bucket,
    waiting: VecDeque<K>,
    /// Whether it stands in the list of hosts that have both a probe waiting and room for it.
    listed: bool,
}

/// Room for probes. Pure: time is an argument, in microseconds since whenever.
///
/// A quarter of all room, and of each host's, is kept for checks whose standing opinion is passing. Whatever hangs
/// is critical soon or was never passing, so newcomers and the dead that hang can never keep the living from being
/// probed on time. First probes may wait, and are doubtful by nature; they get their turn by host, one each, and
/// before anything else does.
#[derive(Debug)]
pub(super) struct Slots<K> {
    bounds: Bounds,
    all: Room,
    bucket: Bucket,
    extra: Bucket,
    waiting: usize,
    hosts: HashMap<IpAddr, Host<K>, foldhash::fast::RandomState>,
    hosts_max: usize,
    ready: VecDeque<IpAddr>,
}

impl<K> Slots<K> {
    /// Room within bounds.
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            all: Room::new(bounds.room.0),
            bucket: Bucket::default(),
            extra: Bucket::default(),
            waiting: 0,
            hosts: HashMap::default(),
            hosts_max: HOSTS_MIN,
            ready: VecDeque::new(),
        }
    }

    /// Takes room for a probe of an address, if there is some; else what there is too little of.
    pub(super) fn take(&mut self, address: IpAddr, standing: Standing, now: u64) -> Result<(), Full> {
        if !self.all.is_free(standing) {
            return Err(Full::Room);
        }
        if !self.bucket.has_one(self.bounds.rate.0, now) {
            return Err(Full::Rate);
        }
        let rate = self.rate_of(address);
        let host = self.host(address, now);
        if !host.room.is_free(standing) {
            return Err(Full::RoomOfHost);
        }
        if let Some(rate) = rate {
            if !host.bucket.has_one(rate, now) {
                return Err(Full::RateOfHost);
            }
            host.bucket.take(rate, now);
        }
        host.room.take(standing);
        self.all.take(standing);
        self.bucket.take(self.bounds.rate.0, now);
        Ok(())
    }

    /// Gives the room of a probe back, with the standing that it was taken under.
    pub(super) fn give_back(&mut self, address: IpAddr, standing: Standing) {
        let host = self.hosts.get_mut(&address).expect("room is given back once, by who took it");
        host.room.give_back(standing);
        self.all.give_back(standing);
        list(&mut self.ready, address, host);
    }

    /// Lets a first probe wait for room; false when as many wait as may.
    pub(super) fn wait(&mut self, address: IpAddr, key: K, now: u64) -> bool {
        if self.waiting >= WAITING_MAX {
            return false;
        }
        self.waiting += 1;
        let host = self.host(address, now);
        host.waiting.push_back(key);
        let host = self.hosts.get_mut(&address).expect("it has just been made");
        list(&mut self.ready, address, host);
        true
    }

    /// Whether probes wait that could run if only time passed.
    pub(super) fn waits_for_time(&self) -> bool {
        !self.ready.is_empty() && self.all.is_free(Standing::Doubtful)
    }

    /// Takes room, as for a doubtful check, for the next probe that waits and may run.
    pub(super) fn take_waiting(&mut self, now: u64) -> Option<(IpAddr, K)> {
        for _ in 0..self.ready.len() {
            if !self.all.is_free(Standing::Doubtful) || !self.bucket.has_one(self.bounds.rate.0, now) {
                return None;
            }
            let address = self.ready.pop_front()?;
            let rate = self.rate_of(address);
            let host = self.hosts.get_mut(&address).expect("a host with waiting probes is known");
            host.listed = false;
            // Others may have taken the room since it was listed; it is listed again when one gives back.
            if !host.room.is_free(Standing::Doubtful) {
                continue;
            }
            if rate.is_some_and(|rate| !host.bucket.has_one(rate, now)) {
                list(&mut self.ready, address, host);
                continue;
            }
            if let Some(rate) = rate {
                host.bucket.take(rate, now);
            }
            let key = host.waiting.pop_front().expect("a listed host has a waiting probe");
            host.room.take(Standing::Doubtful);
            list(&mut self.ready, address, host);
            self.all.take(Standing::Doubtful);
            self.bucket.take(self.bounds.rate.0, now);
            self.waiting -= 1;
            return Some((address, key));
        }
        None
    }

    /// Whether a probe of an address may be made that is not due; it takes its room like others when it begins.
    pub(super) fn take_extra(&mut self, address: IpAddr, now: u64) -> bool {
        let (of_all, of_host) = self.bounds.extra;
        if !self.extra.has_one(of_all, now) {
            return false;
        }
        if !address.is_loopback() {
            let host = self.host(address, now);
            if !host.extra.has_one(of_host, now) {
                return false;
            }
            host.extra.take(of_host, now);
        }
        self.extra.take(of_all, now);
        true
    }

    fn rate_of(&self, address: IpAddr) -> Option<Rate> {
        (!address.is_loopback()).then_some(self.bounds.rate.1)
    }

    fn host(&mut self, address: IpAddr, now: u64) -> &mut Host<K> {
        if self.hosts.len() >= self.hosts_max && !self.hosts.contains_key(&address) {
            self.hosts.retain(|_, host| !host.is_idle(now));
            self.hosts_max = HOSTS_MIN.max(2 * self.hosts.len());
        }
        let max = self.bounds.room.1;
        self.hosts.entry(address).or_insert_with(|| Host {
            room: Room::new(max),
            bucket: Bucket::default(),
            extra: Bucket::default(),
            waiting: VecDeque::new(),
            listed: false,
        })
    }
}

impl<K> Host<K> {
    /// Whether it says no more than one that was never heard of.
    fn is_idle(&self, now: u64) -> bool {
        self.room.running == 0 && self.waiting.is_empty() && self.bucket.is_full(now) && self.extra.is_full(now)
    }
}

/// Has a host come up when it has both a probe waiting and room for it.
fn list<K>(ready: &mut VecDeque<IpAddr>, address: IpAddr, host: &mut Host<K>) {
    if !host.listed && !host.waiting.is_empty() && host.room.is_free(Standing::Doubtful) {
        host.listed = true;
        ready.push_back(address);
    }
}

#[cfg(test)]
mod tests {
    use super::Standing::{Doubtful, Passing};
    use super::*;

    fn host(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn slots_of<K>(all: usize, per_host: usize) -> Slots<K> {
        let rate = Rate::per_second(1_000_000);
        Slots::new(Bounds { room: (all, per_host), rate: (rate, rate), extra: (rate, rate) })
    }

    fn rated<K>(all: u32, per_host: u32) -> Slots<K> {
        let rate = (Rate::per_second(all), Rate::per_second(per_host));
        Slots::new(Bounds { room: (10_000, 10_000), rate, extra: rate })
    }

    /// How many of so many probes find room at once.
    fn found(slots: &mut Slots<u32>, tries: usize, address: IpAddr, now: u64) -> usize {
        (0..tries).filter(|_| slots.take(address, Passing, now).is_ok()).count()
    }

    #[test]
    fn room_is_bounded_in_all_and_for_each_host() {
        let mut slots = slots_of::<u32>(3, 2);
        assert!(slots.take(host(1), Passing, 0).is_ok() && slots.take(host(1), Passing, 0).is_ok());
        assert!(slots.take(host(1), Passing, 0).is_err(), "the host is full");
        assert!(slots.take(host(2), Passing, 0).is_ok());
        assert!(slots.take(host(3), Passing, 0).is_err(), "all is full");
        slots.give_back(host(1), Passing);
        assert!(slots.take(host(3), Passing, 0).is_ok());
    }

    #[test]
    fn hanging_newcomers_leave_room_for_passing_checks() {
        let mut slots = slots_of::<u32>(8, 4);
        let taken = (1..=20).filter(|last| slots.take(host(*last), Doubtful, 0).is_ok()).count();
        assert_eq!(taken, 6);
        assert!(
            slots.take(host(30), Passing, 0).is_ok()
                && slots.take(host(31), Passing, 0).is_ok()
                && slots.take(host(32), Passing, 0).is_err()
        );
        let mut slots = slots_of::<u32>(100, 4);
        let taken = (0..20).filter(|_| slots.take(host(1), Doubtful, 0).is_ok()).count();
        assert_eq!(taken, 3);
        assert!(slots.take(host(1), Passing, 0).is_ok() && slots.take(host(1), Passing, 0).is_err());
    }

    #[test]
    fn waiting_probes_run_host_by_host_as_room_comes_free() {
        let mut slots = slots_of(2, 1);
        assert!(slots.take(host(9), Doubtful, 0).is_ok() && slots.take(host(8), Doubtful, 0).is_ok());
        for (address, key) in [(1, 11), (1, 12), (2, 21), (9, 91)] {
            assert!(slots.wait(host(address), key, 0));
        }
        assert_eq!(slots.take_waiting(0), None);
        slots.give_back(host(8), Doubtful);
        assert_eq!(slots.take_waiting(0), Some((host(1), 11)));
        assert_eq!(slots.take_waiting(0), None);
        slots.give_back(host(1), Doubtful);
        assert_eq!(slots.take_waiting(0), Some((host(2), 21)), "each host in turn");
        slots.give_back(host(9), Doubtful);
        assert_eq!(slots.take_waiting(0), Some((host(1), 12)));
        slots.give_back(host(2), Doubtful);
        assert_eq!(slots.take_waiting(0), Some((host(9), 91)), "its host was full before");
        slots.give_back(host(1), Doubtful);
        slots.give_back(host(9), Doubtful);
        assert_eq!((slots.take_waiting(0), slots.waiting, slots.all.running), (None, 0, 0));
        assert!(slots.ready.is_empty() && slots.hosts.values().all(|host| host.is_idle(1000)));
    }

    #[test]
    fn newcomers_are_probed_even_when_passing_checks_take_all_room() {
        let mut slots = slots_of(4, 4);
        assert!((1..=4).all(|last| slots.take(host(last), Passing, 0).is_ok()));
        assert!(slots.wait(host(9), 91, 0) && slots.wait(host(9), 92, 0));
        assert_eq!(slots.take_waiting(0), None);
        slots.give_back(host(1), Passing);
        assert_eq!(slots.take_waiting(0), Some((host(9), 91)));
        assert!(slots.take(host(1), Passing, 0).is_err());
    }

    #[test]
    fn waiting_is_bounded() {
        let mut slots = slots_of(1, 1);
        assert!(slots.take(host(1), Doubtful, 0).is_ok());
        assert!((0..WAITING_MAX).all(|key| slots.wait(host(1), key, 0)));
        assert!(!slots.wait(host(1), 0, 0));
    }

    #[test]
    fn what_begins_is_bounded_in_all_and_for_each_host_but_this_one() {
        let mut slots = rated(1000, 100);
        assert_eq!(found(&mut slots, 1000, host(1), 0), 25, "a quarter of a second");
        assert_eq!(slots.take(host(1), Passing, 0), Err(Full::RateOfHost));
        assert_eq!(found(&mut slots, 1000, host(1), 100_000), 10);
        assert_eq!(found(&mut slots, 1000, [127, 0, 0, 1].into(), 100_000), 240, "loopback has no bound of its own");
        assert_eq!(slots.take(host(2), Passing, 100_000), Err(Full::Rate));
        assert_eq!(found(&mut slots, 1000, host(2), 120_000), 20);
    }

    #[test]
    fn what_is_asked_for_has_bounds_of_its_own() {
        let mut slots = rated::<u32>(1000, 100);
        let mut granted = |address, now| (0..1000).filter(|_| slots.take_extra(address, now)).count();
        assert_eq!([granted(host(1), 0), granted(host(2), 0), granted(host(1), 100_000)], [25, 25, 10]);
        assert_eq!(granted([127, 0, 0, 1].into(), 100_000), 240);
        assert_eq!(granted(host(3), 100_000), 0);
        assert_eq!(found(&mut slots, 1000, host(1), 100_000), 25, "which leaves what is due alone");
    }

    #[test]
    fn waiting_probes_begin_as_time_passes() {
        let mut slots = rated(1000, 100);
        assert!((0..60).all(|key| slots.wait(host(1), key, 0)) && slots.wait(host(2), 60, 0));
        let mut begun = |now: u64| std::iter::from_fn(|| slots.take_waiting(now)).count();
        assert_eq!([0, 9_000, 10_000, 110_000, 10_000_000].map(&mut begun), [26, 0, 1, 10, 24]);
        assert!(!slots.waits_for_time() && slots.waiting == 0);
    }

    #[test]
    fn hosts_that_are_idle_are_forgotten() {
        let mut slots = slots_of::<u32>(10, 10);
        for number in 0..10_000_u32 {
            let address = IpAddr::from(number.to_be_bytes());
            let now = u64::from(number) * 10_000;
            assert!(slots.take(address, Passing, now).is_ok());
            slots.give_back(address, Passing);
        }
        assert!(slots.hosts.len() <= HOSTS_MIN + 1);
    }
}
