//! How many connections are held at once, in all and with one peer.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::hold::Lack;

/// Held connections, within bounds. Pure.
///
/// With one peer there are few, because who registers instances could otherwise have somebody else's connections used up.
#[derive(Debug)]
pub(super) struct Holdings {
    max: usize,
    per_host_max: usize,
    held: usize,
    /// By address and port, and by address with port 0; loopback is this machine, of which only the former are counted.
    peers: HashMap<SocketAddr, usize, foldhash::fast::RandomState>,
    /// Checks that are to hold one.
    pub(super) checks: usize,
    /// Those of them that do without because a probe had no answer.
    pub(super) suspected: usize,
}

impl Holdings {
    /// With one address and port: several instances that share it, or several checks of one.
    const PER_SOCKET_MAX: usize = 16;

    pub(super) fn new(max: usize, per_host_max: usize) -> Self {
        Self { max, per_host_max, held: 0, peers: HashMap::default(), checks: 0, suspected: 0 }
    }

    /// Takes room for a connection, or says what there is too little of.
    pub(super) fn take(&mut self, target: SocketAddr) -> Result<(), Lack> {
        let count = |peer: &SocketAddr| self.peers.get(peer).copied().unwrap_or(0);
        if self.held >= self.max {
            return Err(Lack::Room);
        }
        if count(&target) >= Self::PER_SOCKET_MAX {
            return Err(Lack::RoomOfSocket);
        }
        if host(target).is_some_and(|host| count(&host) >= self.per_host_max) {
            return Err(Lack::RoomOfHost);
        }
        self.held += 1;
        for peer in [Some(target), host(target)].into_iter().flatten() {
            *self.peers.entry(peer).or_default() += 1;
        }
        Ok(())
    }

    /// Gives the room of a connection back.
    pub(super) fn give_back(&mut self, target: SocketAddr) {
        self.held -= 1;
        for peer in [Some(target), host(target)].into_iter().flatten() {
            if let Some(count) = self.peers.get_mut(&peer) {
                *count -= 1;
                if *count == 0 {
                    self.peers.remove(&peer);
                }
            }
        }
    }
}

fn host(target: SocketAddr) -> Option<SocketAddr> {
    (!target.ip().is_loopback()).then(|| SocketAddr::new(target.ip(), 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(target: &str) -> SocketAddr {
        target.parse().unwrap()
    }

    #[test]
    fn room_is_bounded_in_all_and_by_peer_and_comes_back() {
        let mut holdings = Holdings::new(40, 20);
        let mut taken = Vec::new();
        let mut take = |holdings: &mut Holdings, target: &str| {
            let result = holdings.take(at(target));
            taken.extend(result.is_ok().then(|| at(target)));
            result
        };
        for _ in 0..16 {
            assert_eq!(take(&mut holdings, "10.0.0.7:80"), Ok(()));
        }
        assert_eq!(take(&mut holdings, "10.0.0.7:80"), Err(Lack::RoomOfSocket));
        for port in 1..=4 {
            assert_eq!(take(&mut holdings, &format!("10.0.0.7:{port}")), Ok(()));
        }
        assert_eq!(take(&mut holdings, "10.0.0.7:5"), Err(Lack::RoomOfHost));
        // More than of any other host are of this machine.
        for port in 1..=20 {
            assert_eq!(take(&mut holdings, &format!("127.0.0.1:{port}")), Ok(()));
        }
        assert_eq!(take(&mut holdings, "127.0.0.1:21"), Err(Lack::Room));
        taken.into_iter().for_each(|target| holdings.give_back(target));
        assert!(holdings.peers.is_empty() && holdings.held == 0);
        assert_eq!(holdings.take(at("127.0.0.1:21")), Ok(()));
        assert_eq!(Holdings::new(0, 20).take(at("10.0.0.7:80")), Err(Lack::Room));
    }
}
