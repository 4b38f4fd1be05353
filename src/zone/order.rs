//! Who comes first: an order in which each member stands as often as its weight says, evenly spread.
//!
//! An answer begins somewhere in this order and takes the distinct members that follow. Where it begins decides who is
//! first, so the first place falls to each member in proportion to its weight (RFC 2782 has the same for SRV clients).
//! Beginning at a place that the client's prefix picks gives one client the same members until the service changes, and
//! different clients different ones.

use std::net::IpAddr;

/// Places in an order for each member, at most and on average. More would follow weights more closely and cost memory.
const PLACES_PER_MEMBER: usize = 8;

/// Where an answer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// At another place each turn.
    Turn(usize),
    /// Where a hash of the client's prefix points.
    Client(u32),
}

/// An order of members that are counted from 0.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Order {
    places: Box<[u32]>,
    /// Members without a place, because they weigh nothing while others do: they come after all others (RFC 2782).
    last: Box<[u32]>,
    /// Members that may have several places; 0 when each has one.
    repeated: usize,
}

/// A number that spreads well and is the same on every node and after every restart.
pub(super) fn spread(text: &[u8]) -> u32 {
    // FNV-1a, then the finalizer of murmur3: neither has to resist anyone, all that is asked is an even spread.
    let mut hash = text
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| (hash ^ u64::from(*octet)).wrapping_mul(0x0000_0100_0000_01b3));
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    ((hash ^ (hash >> 33)) >> 32) as u32
}

/// The hash of a client's prefix: /24 and /56, what a household or a rack shares.
pub(super) fn client_hash(client: IpAddr) -> u32 {
    match client.to_canonical() {
        IpAddr::V4(v4) => spread(&v4.octets()[..3]),
        IpAddr::V6(v6) => spread(&v6.octets()[..7]),
    }
}

impl Order {
    /// The order of members by weight and name.
    pub(super) fn new<'a>(members: impl ExactSizeIterator<Item = (u16, &'a [u8])> + Clone) -> Self {
        let count = members.len();
        let mut weights = members.clone().map(|(weight, _)| weight);
        let first = weights.next();
        if weights.all(|weight| Some(weight) == first) {
            let mut places: Vec<(u32, u32)> = members.zip(0..).map(|((_, name), n)| (spread(name), n)).collect();
            places.sort_unstable();
            let places = places.into_iter().map(|(_, member)| member).collect();
            return Self { places, last: Box::default(), repeated: 0 };
        }
        let total: f64 = members.clone().map(|(weight, _)| f64::from(weight)).sum();
        let places_in_all = (count * PLACES_PER_MEMBER).max(64) as f64;
        let mut places: Vec<(u32, u32)> = Vec::with_capacity(places_in_all as usize + count);
        let mut last = Vec::new();
        for ((weight, name), member) in members.zip(0..) {
            if weight == 0 {
                last.push(member);
                continue;
            }
            let own = (f64::from(weight) / total * places_in_all).round().max(1.0) as u32;
            // Evenly spread around the whole, from a start of its own, so that nobody's places stand in a row.
            let (phase, step) = (spread(name), u32::MAX / own);
            places.extend((0..own).map(|n| (phase.wrapping_add(n.wrapping_mul(step)), member)));
        }
        places.sort_unstable();
        let places = places.into_iter().map(|(_, member)| member).collect();
        Self { places, last: last.into(), repeated: count }
    }

    /// The members from a start on, each once.
    pub(super) fn walk(&self, start: Start) -> impl Iterator<Item = usize> + '_ {
        let length = self.places.len();
        let first = match start {
            Start::Turn(turn) => turn.checked_rem(length).unwrap_or(0),
            Start::Client(hash) => ((u64::from(hash) * length as u64) >> 32) as usize,
        };
        let mut seen = vec![false; self.repeated];
        let (after, before) = (&self.places[first..], &self.places[..first]);
        let placed = after
            .iter()
            .chain(before)
            .map(|member| *member as usize)
            .filter(move |member| self.repeated == 0 || !std::mem::replace(&mut seen[*member], true));
        placed.chain(self.last.iter().map(|member| *member as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(weights: &[u16]) -> Order {
        let names: Vec<String> = (0..weights.len()).map(|n| format!("i{n}")).collect();
        Order::new(weights.iter().zip(&names).map(|(weight, name)| (*weight, name.as_bytes())))
    }

    fn firsts(order: &Order, members: usize, starts: impl Iterator<Item = Start>) -> Vec<f64> {
        let mut counts = vec![0.0; members];
        let mut total = 0.0;
        for start in starts {
            counts[order.walk(start).next().unwrap()] += 1.0;
            total += 1.0;
        }
        counts.into_iter().map(|count| count / total).collect()
    }

    #[test]
    fn every_walk_has_each_member_once() {
        for weights in [&[1, 1, 1][..], &[5, 1], &[0, 0, 0, 7], &[1], &[], &[65_535, 1, 0]] {
            let order = order(weights);
            for turn in 0..200 {
                let mut walk: Vec<usize> = order.walk(Start::Turn(turn)).collect();
                walk.sort_unstable();
                assert!(walk.into_iter().eq(0..weights.len()), "{weights:?} at turn {turn}");
            }
        }
    }

    #[test]
    fn the_first_place_follows_weights() {
        let weights = [10, 20, 30, 40];
        let order = order(&weights);
        let turns = firsts(&order, 4, (0..order.places.len()).map(Start::Turn));
        let clients =
            firsts(&order, 4, (0..20_000u32).map(|n| Start::Client(client_hash((n << 8).to_be_bytes().into()))));
        for (weight, (by_turn, by_client)) in weights.iter().zip(turns.into_iter().zip(clients)) {
            let wanted = f64::from(*weight) / 100.0;
            assert!((by_turn - wanted).abs() < 0.02, "turns: {by_turn} for {wanted}");
            assert!((by_client - wanted).abs() < 0.04, "clients: {by_client} for {wanted}");
        }
    }

    #[test]
    fn who_weighs_nothing_comes_last() {
        let order = order(&[0, 5, 0, 1]);
        for turn in 0..order.places.len() {
            let walk: Vec<usize> = order.walk(Start::Turn(turn)).collect();
            assert_eq!(walk[2..], [0, 2], "{walk:?}");
        }
    }

    #[test]
    fn equal_weights_share_equally() {
        let order = order(&[1; 50]);
        for share in firsts(&order, 50, (0..50_000).map(Start::Turn)) {
            assert!((share - 0.02).abs() < 1e-9, "{share}");
        }
        for share in firsts(&order, 50, (0..50_000u32).map(|n| Start::Client(spread(&n.to_be_bytes())))) {
            assert!((share - 0.02).abs() < 0.005, "{share}");
        }
    }

    #[test]
    fn clients_of_one_prefix_agree_and_others_differ() {
        let order = order(&[1; 100]);
        let set = |client: &str| -> Vec<usize> {
            order.walk(Start::Client(client_hash(client.parse().unwrap()))).take(10).collect()
        };
        assert_eq!(set("10.1.2.3"), set("10.1.2.200"));
        assert_eq!(set("10.1.2.3"), set("::ffff:10.1.2.3"));
        let distinct: std::collections::BTreeSet<Vec<usize>> = (0..100).map(|n| set(&format!("10.1.{n}.1"))).collect();
        assert!(distinct.len() > 50, "{}", distinct.len());
    }
}
