//! How many probes run at once, in all and against one address.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

/// First probes that may wait for room. Those beyond it come up again with their next round.
const WAITING_MAX: usize = 65_536;

/// Whether the check that is probed passes by the opinion that stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It does.
    Passing,
    /// It does not, or nobody knows yet.
    Doubtful,
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
    waiting: VecDeque<K>,
    /// Whether it stands in the list of hosts that have both a probe waiting and room for it.
    listed: bool,
}

/// Room for probes. Pure.
///
/// A quarter of all room, and of each host's, is kept for checks whose standing opinion is passing. Whatever hangs
/// is critical soon or was never passing, so newcomers and the dead that hang can never keep the living from being
/// probed on time. First probes may wait, and are doubtful by nature; they get their turn by host, one each, and
/// before anything else does.
#[derive(Debug)]
pub(super) struct Slots<K> {
    all: Room,
    per_host_max: usize,
    waiting: usize,
    hosts: HashMap<IpAddr, Host<K>, foldhash::fast::RandomState>,
    ready: VecDeque<IpAddr>,
}

impl<K> Slots<K> {
    /// Room for `max` probes in all and `per_host_max` against one address; at least one each.
    pub(super) fn new(max: usize, per_host_max: usize) -> Self {
        Self { all: Room::new(max), per_host_max, waiting: 0, hosts: HashMap::default(), ready: VecDeque::new() }
    }

    /// Takes room for a probe of an address, if there is some.
    pub(super) fn take(&mut self, address: IpAddr, standing: Standing) -> bool {
        let free_there = self.hosts.get(&address).is_none_or(|host| host.room.is_free(standing));
        let free = free_there && self.all.is_free(standing);
        if free {
            self.all.take(standing);
            self.host(address).room.take(standing);
        }
        free
    }

    /// Gives the room of a probe back, with the standing that it was taken under.
    pub(super) fn give_back(&mut self, address: IpAddr, standing: Standing) {
        let host = self.hosts.get_mut(&address).expect("room is given back once, by who took it");
        host.room.give_back(standing);
        self.all.give_back(standing);
        if host.room.running == 0 && host.waiting.is_empty() {
            self.hosts.remove(&address);
        } else {
            self.list(address);
        }
    }

    /// Lets a first probe wait for room; false when as many wait as may.
    pub(super) fn wait(&mut self, address: IpAddr, key: K) -> bool {
        if self.waiting >= WAITING_MAX {
            return false;
        }
        self.waiting += 1;
        self.host(address).waiting.push_back(key);
        self.list(address);
        true
    }

    /// Takes room, as for a doubtful check, for the next probe that waits and may run.
    pub(super) fn take_waiting(&mut self) -> Option<(IpAddr, K)> {
        while self.all.is_free(Standing::Doubtful) {
            let address = self.ready.pop_front()?;
            let host = self.hosts.get_mut(&address).expect("a host with waiting probes is known");
            host.listed = false;
            // Others may have taken the room since it was listed; it is listed again when one gives back.
            if !host.room.is_free(Standing::Doubtful) {
                continue;
            }
            let key = host.waiting.pop_front().expect("a listed host has a waiting probe");
            host.room.take(Standing::Doubtful);
            self.all.take(Standing::Doubtful);
            self.waiting -= 1;
            self.list(address);
            return Some((address, key));
        }
        None
    }

    fn host(&mut self, address: IpAddr) -> &mut Host<K> {
        let max = self.per_host_max;
        self.hosts.entry(address).or_insert_with(|| Host {
            room: Room::new(max),
            waiting: VecDeque::new(),
            listed: false,
        })
    }

    fn list(&mut self, address: IpAddr) {
        let host = self.host(address);
        if !host.listed && !host.waiting.is_empty() && host.room.is_free(Standing::Doubtful) {
            host.listed = true;
            self.ready.push_back(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Standing::{Doubtful, Passing};
    use super::*;

    fn host(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn room_is_bounded_in_all_and_for_each_host() {
        let mut slots = Slots::<u32>::new(3, 2);
        assert!(slots.take(host(1), Passing) && slots.take(host(1), Passing));
        assert!(!slots.take(host(1), Passing), "the host is full");
        assert!(slots.take(host(2), Passing));
        assert!(!slots.take(host(3), Passing), "all is full");
        slots.give_back(host(1), Passing);
        assert!(slots.take(host(3), Passing));
    }

    #[test]
    fn hanging_newcomers_leave_room_for_passing_checks() {
        let mut slots = Slots::<u32>::new(8, 4);
        let taken = (1..=20).filter(|last| slots.take(host(*last), Doubtful)).count();
        assert_eq!(taken, 6);
        assert!(slots.take(host(30), Passing) && slots.take(host(31), Passing) && !slots.take(host(32), Passing));
        let mut slots = Slots::<u32>::new(100, 4);
        let taken = (0..20).filter(|_| slots.take(host(1), Doubtful)).count();
        assert_eq!(taken, 3);
        assert!(slots.take(host(1), Passing) && !slots.take(host(1), Passing));
    }

    #[test]
    fn waiting_probes_run_host_by_host_as_room_comes_free() {
        let mut slots = Slots::new(2, 1);
        assert!(slots.take(host(9), Doubtful) && slots.take(host(8), Doubtful));
        for (address, key) in [(1, 11), (1, 12), (2, 21), (9, 91)] {
            assert!(slots.wait(host(address), key));
        }
        assert_eq!(slots.take_waiting(), None);
        slots.give_back(host(8), Doubtful);
        assert_eq!(slots.take_waiting(), Some((host(1), 11)));
        assert_eq!(slots.take_waiting(), None);
        slots.give_back(host(1), Doubtful);
        assert_eq!(slots.take_waiting(), Some((host(2), 21)), "each host in turn");
        slots.give_back(host(9), Doubtful);
        assert_eq!(slots.take_waiting(), Some((host(1), 12)));
        slots.give_back(host(2), Doubtful);
        assert_eq!(slots.take_waiting(), Some((host(9), 91)), "its host was full before");
        slots.give_back(host(1), Doubtful);
        slots.give_back(host(9), Doubtful);
        assert_eq!((slots.take_waiting(), slots.waiting, slots.all.running), (None, 0, 0));
        assert!(slots.hosts.is_empty() && slots.ready.is_empty(), "nothing is kept of idle hosts");
    }

    #[test]
    fn newcomers_are_probed_even_when_passing_checks_take_all_room() {
        let mut slots = Slots::new(4, 4);
        assert!((1..=4).all(|last| slots.take(host(last), Passing)));
        assert!(slots.wait(host(9), 91) && slots.wait(host(9), 92));
        assert_eq!(slots.take_waiting(), None);
        slots.give_back(host(1), Passing);
        assert_eq!(slots.take_waiting(), Some((host(9), 91)));
        assert!(!slots.take(host(1), Passing));
    }

    #[test]
    fn waiting_is_bounded() {
        let mut slots = Slots::new(1, 1);
        assert!(slots.take(host(1), Doubtful));
        assert!((0..WAITING_MAX).all(|key| slots.wait(host(1), key)));
        assert!(!slots.wait(host(1), 0));
    }
}
