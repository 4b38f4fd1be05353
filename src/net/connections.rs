//! Who is connected, and who must go when there are too many.
//!
//! A newcomer takes the place of the connection that has been idle longest, its own client's first. When every place
//! is busy the newcomer is turned away.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// How many connections there may be.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// From one client address.
    pub per_client: usize,
    /// In all.
    pub total: usize,
}

#[derive(Debug)]
struct Entry {
    client: IpAddr,
    /// The turn at which it became idle; none while it is busy.
    idle_since: Option<u64>,
    evict: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Client {
    count: usize,
    /// Idle connections, longest idle first.
    idle: BTreeSet<(u64, u64)>,
}

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<u64, Entry>,
    clients: HashMap<IpAddr, Client>,
    /// Idle connections of all clients, longest idle first.
    idle: BTreeSet<(u64, u64)>,
    /// Counts events, to order them; also names connections.
    turn: u64,
}

impl Table {
    fn set_idle(&mut self, id: u64, idle: bool) {
        self.turn += 1;
        let turn = self.turn;
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let before = std::mem::replace(&mut entry.idle_since, idle.then_some(turn));
        let client = self.clients.entry(entry.client).or_default();
        if let Some(since) = before {
            self.idle.remove(&(since, id));
            client.idle.remove(&(since, id));
        }
        if idle {
            self.idle.insert((turn, id));
            client.idle.insert((turn, id));
        }
    }

    fn remove(&mut self, id: u64) -> Option<Entry> {
        self.set_idle(id, false);
        let entry = self.entries.remove(&id)?;
        if let Some(client) = self.clients.get_mut(&entry.client) {
            client.count -= 1;
            if client.count == 0 {
                self.clients.remove(&entry.client);
            }
        }
        Some(entry)
    }

    /// Makes room by closing the connection that has been idle longest; says whether there was one.
    fn evict(&mut self, longest_idle: Option<(u64, u64)>) -> bool {
        match longest_idle.and_then(|(_, id)| self.remove(id)) {
            Some(entry) => {
                entry.evict.notify_one();
                true
            }
            None => false,
        }
    }
}

/// The connections of one server.
#[derive(Debug)]
pub struct Connections {
    limits: ConnectionLimits,
    table: Mutex<Table>,
}

impl Connections {
    /// No connections yet.
    pub fn new(limits: ConnectionLimits) -> Arc<Self> {
        Arc::new(Self { limits, table: Mutex::default() })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.table.lock().entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A place for a new connection, which is idle at first; `None` when every place is busy.
    pub fn admit(self: &Arc<Self>, client: IpAddr) -> Option<Slot> {
        let mut table = self.table.lock();
        if table.clients.get(&client).is_some_and(|client| client.count >= self.limits.per_client) {
            let longest_idle = table.clients[&client].idle.first().copied();
            if !table.evict(longest_idle) {
                return None;
            }
        }
        if table.entries.len() >= self.limits.total {
            let longest_idle = table.idle.first().copied();
            if !table.evict(longest_idle) {
                return None;
            }
        }
        table.turn += 1;
        let id = table.turn;
        let evict = Arc::new(Notify::new());
        table.entries.insert(id, Entry { client, idle_since: None, evict: evict.clone() });
        table.clients.entry(client).or_default().count += 1;
        table.set_idle(id, true);
        Some(Slot { connections: self.clone(), id, evict })
    }
}

/// The place of one connection; dropping it gives the place back.
#[derive(Debug)]
pub struct Slot {
    connections: Arc<Connections>,
    id: u64,
    evict: Arc<Notify>,
}

impl Slot {
    /// Notes that work has begun: the connection is not closed to make room.
    pub fn busy(&self) {
        self.connections.table.lock().set_idle(self.id, false);
    }

    /// Notes that the work is done.
    pub fn idle(&self) {
        self.connections.table.lock().set_idle(self.id, true);
    }

    /// Waits until the connection has to make room for another.
    pub async fn evicted(&self) {
        self.evict.notified().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections.table.lock().remove(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn client(n: u8) -> IpAddr {
        [127, 0, 0, n].into()
    }

    async fn is_evicted(slot: &Slot) -> bool {
        tokio::time::timeout(Duration::ZERO, slot.evicted()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_makes_room() {
        let connections = Connections::new(ConnectionLimits { per_client: 9, total: 2 });
        let first = connections.admit(client(1)).unwrap();
        let second = connections.admit(client(2)).unwrap();
        first.busy();
        first.idle();
        let third = connections.admit(client(3)).unwrap();
        assert!(is_evicted(&second).await);
        assert!(!is_evicted(&first).await);
        drop(second);
        assert_eq!(connections.len(), 2);
        drop((first, third));
        assert!(connections.is_empty());
        assert!(connections.table.lock().clients.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_beyond_its_share_loses_its_own() {
        let connections = Connections::new(ConnectionLimits { per_client: 1, total: 9 });
        let other = connections.admit(client(2)).unwrap();
        let first = connections.admit(client(1)).unwrap();
        let _second = connections.admit(client(1)).unwrap();
        assert!(is_evicted(&first).await);
        assert!(!is_evicted(&other).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_newcomer_is_turned_away_when_all_are_busy() {
        let connections = Connections::new(ConnectionLimits { per_client: 9, total: 1 });
        let first = connections.admit(client(1)).unwrap();
        first.busy();
        assert!(connections.admit(client(2)).is_none());
        drop(first);
        assert!(connections.admit(client(2)).is_some());
    }
}
