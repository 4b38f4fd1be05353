//! Questions that wait for upstreams: how many there may be, and that the same one is asked once.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::watch;

use super::reply::Answer;
use super::wire::Asked;

/// Clients that count as one: a network of IPv4, a site of IPv6.
const NET_V4: u8 = 24;
const NET_V6: u8 = 56;

/// How many questions may wait.
#[derive(Debug, Clone, Copy)]
pub struct FlightLimits {
    /// In all.
    pub total: usize,
    /// Of clients in one /24 or IPv6 /56.
    pub per_net: usize,
}

impl Default for FlightLimits {
    fn default() -> Self {
        Self { total: 1024, per_net: 128 }
    }
}

/// The answer, once there is one.
pub(super) type Coming = watch::Receiver<Option<Arc<Answer>>>;

#[derive(Debug, Default)]
struct Table {
    total: usize,
    nets: HashMap<IpNet, usize>,
    exchanges: HashMap<Asked, Coming>,
}

/// Every question that waits.
#[derive(Debug)]
pub(super) struct Flights {
    limits: FlightLimits,
    table: Mutex<Table>,
    in_flight: Gauge,
}

/// A place among those who wait; free again when this is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    flights: Arc<Flights>,
    net: IpNet,
}

/// The duty to ask, for everyone who waits for the same answer.
#[derive(Debug)]
pub(super) struct Lead {
    asked: Asked,
    answer: watch::Sender<Option<Arc<Answer>>>,
    /// Held while the exchange lasts, also when the client does not wait that long.
    seat: Seat,
}

/// How a question waits.
#[derive(Debug)]
pub(super) enum Boarded {
    /// As the first one.
    Leads(Lead, Coming),
    /// With one that was there before.
    Follows(Seat, Coming),
}

impl Flights {
    pub(super) fn new(limits: FlightLimits, in_flight: Gauge) -> Arc<Self> {
        Arc::new(Self { limits, table: Mutex::default(), in_flight })
    }

    /// A place for a question, if there is one.
    pub(super) fn board(self: &Arc<Self>, asked: &Asked, client: IpAddr) -> Option<Boarded> {
        let prefix = if client.is_ipv4() { NET_V4 } else { NET_V6 };
        let net = IpNet::new(client, prefix).map_or_else(|_| client.into(), |net| net.trunc());
        let mut table = self.table.lock();
        let of_net = table.nets.get(&net).copied().unwrap_or(0);
        if table.total >= self.limits.total || of_net >= self.limits.per_net {
            return None;
        }
        table.total += 1;
        table.nets.insert(net, of_net + 1);
        self.in_flight.inc();
        let seat = Seat { flights: self.clone(), net };
        Some(match table.exchanges.get(asked) {
            Some(coming) => Boarded::Follows(seat, coming.clone()),
            None => {
                let (answer, coming) = watch::channel(None);
                table.exchanges.insert(asked.clone(), coming.clone());
                Boarded::Leads(Lead { asked: asked.clone(), answer, seat }, coming)
            }
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut table = self.flights.table.lock();
        table.total -= 1;
        let left = table.nets.get_mut(&self.net).map(|count| {
            *count -= 1;
            *count
        });
        if left == Some(0) {
            table.nets.remove(&self.net);
        }
        self.flights.in_flight.dec();
    }
}

impl Lead {
    pub(super) fn asked(&self) -> &Asked {
        &self.asked
    }

    /// Tells everyone who waits.
    pub(super) fn land(self, answer: Arc<Answer>) {
        self.answer.send_replace(Some(answer));
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        // From here on the same question is a new one, also when this exchange ended without an answer.
        self.seat.flights.table.lock().exchanges.remove(&self.asked);
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::{Name, RecordType};
    use tokio::time::Instant;

    use super::*;

    fn asked(name: &str) -> Asked {
        Asked::new(&Name::from_ascii(name).unwrap(), RecordType::A, false, false)
    }

    fn flights(total: usize, per_net: usize) -> Arc<Flights> {
        Flights::new(FlightLimits { total, per_net }, Gauge::default())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn places_are_bounded_in_all_and_by_net() {
        let flights = flights(3, 2);
        let board = |name, client| flights.board(&asked(name), ip(client));
        let first = board("a.example.", "10.0.0.1").unwrap();
        let _second = board("b.example.", "10.0.0.2").unwrap();
        assert!(board("c.example.", "10.0.0.3").is_none(), "the net is full");
        let _third = board("c.example.", "10.0.1.1").unwrap();
        assert!(board("d.example.", "10.0.2.1").is_none(), "everything is full");
        assert_eq!(flights.in_flight.get(), 3);
        drop(first);
        assert!(board("d.example.", "10.0.0.3").is_some());
        assert_eq!(flights.table.lock().nets.len(), 2, "nets that nobody waits in are forgotten");
    }

    #[test]
    fn the_same_question_is_asked_once() {
        let flights = flights(9, 9);
        let Some(Boarded::Leads(lead, _)) = flights.board(&asked("a.example."), ip("10.0.0.1")) else { panic!() };
        let Some(Boarded::Follows(_seat, coming)) = flights.board(&asked("A.example."), ip("::1")) else { panic!() };
        let answer = Arc::new(Answer::empty(3, None, Instant::now()));
        lead.land(answer.clone());
        assert_eq!(*coming.borrow(), Some(answer));
        assert!(matches!(flights.board(&asked("a.example."), ip("::1")), Some(Boarded::Leads(..))));
    }

    #[test]
    fn an_exchange_that_ends_without_an_answer_leaves_nobody_waiting() {
        let flights = flights(9, 9);
        let Some(Boarded::Leads(lead, coming)) = flights.board(&asked("a.example."), ip("10.0.0.1")) else { panic!() };
        drop(lead);
        assert!(coming.has_changed().is_err());
        assert!(matches!(flights.board(&asked("a.example."), ip("::1")), Some(Boarded::Leads(..))));
    }
}
