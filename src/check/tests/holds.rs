//! Connections that are held beside probes, with peers of all manners.

use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};

use super::*;
use crate::model::{CheckKind, HoldReport, HoldState, ProbeReport};

/// A check that holds a connection, and is only probed when something happens.
fn holding() -> CheckSpec {
    let fast_interval = Duration::from_millis(10);
    CheckSpec { kind: CheckKind::Tcp { hold: true }, fast_interval, ..hourly(tcp_check()) }
}

/// The same, which is probed often, and given little time.
fn holding_often() -> CheckSpec {
    CheckSpec { timeout: Duration::from_millis(50), fall: 100, ..often(holding()) }
}

/// A service that takes connections and keeps them, until it dies: whatever it has is closed then.
struct Service {
    address: SocketAddr,
    taken: watch::Receiver<usize>,
    life: JoinHandle<()>,
}

/// A socket at an address with a port of its own that is not listening. Several can have the same.
fn bound(address: &str) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseport(true).unwrap();
    socket.bind(address.parse().unwrap()).unwrap();
    socket
}

impl Service {
    fn on(socket: TcpSocket) -> Self {
        let listener = socket.listen(16).unwrap();
        let (address, (count, taken)) = (listener.local_addr().unwrap(), watch::channel(0));
        let life = tokio::spawn(async move {
            let mut streams = Vec::new();
            // Closed before them, as by a process that dies.
            let listener = listener;
            while let Ok((stream, _)) = listener.accept().await {
                streams.push(stream);
                count.send_modify(|count| *count += 1);
            }
        });
        Self { address, taken, life }
    }

    fn new() -> Self {
        Self::on(bound("127.0.0.1:0"))
    }

    async fn die(self) {
        self.life.abort();
        assert!(self.life.await.unwrap_err().is_cancelled());
    }
}

impl Rig {
    async fn report(&self, id: &str) -> Option<ProbeReport> {
        self.reports.of(vec![(web(), id.parse().unwrap())]).await.remove(0).into_iter().next()
    }

    /// Waits until what the first check of an instance holds is as described.
    async fn until_hold(&self, id: &str, holds: impl Fn(HoldReport) -> bool) -> HoldReport {
        let mut last = None;
        let asking = async {
            loop {
                last = self.report(id).await.and_then(|report| report.hold);
                if let Some(hold) = last.filter(|hold| holds(*hold)) {
                    return hold;
                }
                tokio::task::yield_now().await;
            }
        };
        let ended = timeout(StdDuration::from_secs(20), asking).await;
        ended.unwrap_or_else(|_| panic!("what {id} holds never came to be, and is {last:?}"))
    }

    async fn until_held(&self, id: &str) {
        self.until_hold(id, |hold| hold.state == HoldState::Held).await;
    }

    /// Waits until it is given up, for a reason with such words.
    async fn until_given_up(&self, id: &str, why: &str) {
        let hold = self.until_hold(id, |hold| hold.state == HoldState::GivenUp).await;
        assert!(hold.reason.unwrap().contains(why), "{hold:?}");
    }

    fn probes(&self, result: &str) -> f64 {
        self.metric(&format!("check_probes_total{{type=\"tcp\",result=\"{result}\"}}"))
    }

    async fn until_probes(&self, result: &str, least: f64) {
        let counted = async {
            while self.probes(result) < least {
                tokio::task::yield_now().await;
            }
        };
        assert!(timeout(StdDuration::from_secs(20), counted).await.is_ok(), "{least} {result}");
    }
}

/// A server that has heard out one client before it hears another.
async fn one_at_a_time() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            read_request(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.ok();
        }
    });
    address
}

#[tokio::test]
async fn killed_service_is_critical_after_two_refusals_whatever_fall_is() {
    let (mut rig, service) = (Rig::new(), Service::new());
    let address = service.address;
    rig.register("i1", registration(address, [CheckSpec { fall: 100, ..holding() }])).await;
    rig.until_health("i1", Health::Passing).await;
    rig.until_held("i1").await;
    assert_eq!(rig.metric("check_holds{state=\"held\"}"), 1.0);
    service.die().await;
    rig.until_health("i1", Health::Critical).await;
    assert_eq!(rig.last_error("i1").unwrap(), format!("connection refused by {address}").into());
    assert_eq!((rig.probes("passed"), rig.probes("failed")), (1.0, 2.0));
    assert_eq!((rig.metric("check_holds{state=\"held\"}"), rig.metric("check_holds{state=\"closed\"}")), (0.0, 1.0));
}

#[tokio::test]
async fn service_that_is_back_before_the_second_refusal_was_never_out() {
    let mut rig = Rig::new();
    let first = bound("127.0.0.1:0");
    let address = first.local_addr().unwrap();
    let (service, successor) = (Service::on(first), bound(&address.to_string()));
    let check = CheckSpec { fast_interval: Duration::from_secs(2), ..holding() };
    rig.register("i1", registration(address, [check])).await;
    rig.until_health("i1", Health::Passing).await;
    rig.until_held("i1").await;
    service.die().await;
    rig.until_probes("failed", 1.0).await;
    let hold = rig.until_hold("i1", |_| true).await;
    assert_eq!(hold.state, HoldState::Lost);
    let service = Service::on(successor);
    rig.until_held("i1").await;
    assert_eq!((rig.probes("passed"), rig.probes("failed")), (2.0, 1.0));
    assert_eq!((*rig.store.observations.borrow(), rig.registry.answered()), (1, 1));
    assert_eq!(*service.taken.borrow(), 1, "a connection is held again");
}

#[tokio::test]
async fn service_that_comes_back_later_is_held_again() {
    let mut rig = Rig::new();
    let first = bound("127.0.0.1:0");
    let address = first.local_addr().unwrap();
    let (service, successor) = (Service::on(first), bound(&address.to_string()));
    rig.register("i1", registration(address, [CheckSpec { fall: 100, ..often(holding()) }])).await;
    rig.until_held("i1").await;
    service.die().await;
    rig.until_health("i1", Health::Critical).await;
    let _service = Service::on(successor);
    rig.until_health("i1", Health::Passing).await;
    rig.until_held("i1").await;
}

#[tokio::test]
async fn who_closes_idle_connections_goes_on_by_probes_alone() {
    let mut rig = Rig::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    rig.register("i1", registration(address, [holding()])).await;
    rig.until_health("i1", Health::Passing).await;
    rig.until_given_up("i1", "closes idle connections").await;
    assert_eq!((rig.probes("passed"), rig.probes("failed")), (4.0, 0.0), "the first, and one for each end");
    assert_eq!((*rig.store.observations.borrow(), rig.metric("check_holds{state=\"given_up\"}")), (1, 1.0));
}

#[tokio::test]
async fn whose_probes_hang_meanwhile_goes_on_by_probes_alone() {
    let mut rig = Rig::new();
    let socket = bound("127.0.0.1:0");
    let address = socket.local_addr().unwrap();
    // Serves one at a time, and has room for one more to wait.
    let listener = socket.listen(0).unwrap();
    tokio::spawn(async move {
        while let Ok((mut held, _)) = listener.accept().await {
            let _waiting = TcpStream::connect(address).await.unwrap();
            while held.read(&mut [0]).await.is_ok_and(|read| read > 0) {}
            listener.accept().await.unwrap();
        }
    });
    rig.register("i1", registration(address, [holding_often()])).await;
    rig.until_health("i1", Health::Passing).await;
    rig.until_given_up("i1", "no answer while a connection is held").await;
    assert!(rig.probes("silent") >= 2.0);
    assert_eq!(*rig.store.observations.borrow(), 1);
}

#[tokio::test]
async fn another_check_that_hangs_meanwhile_gives_it_up_as_well() {
    let mut rig = Rig::new();
    let address = one_at_a_time().await;
    let http = CheckSpec { timeout: Duration::from_millis(50), fall: 100, ..often(http()) };
    rig.register("i1", registration(address, [holding_often(), http])).await;
    rig.until_given_up("i1", "no answer while a connection is held").await;
    rig.until_health("i1", Health::Passing).await;
}

#[tokio::test]
async fn nobody_is_taken_out_for_silence_that_we_have_caused() {
    let mut rig = Rig::new();
    let address = one_at_a_time().await;
    let (timeout, fast_interval) = (Duration::from_millis(200), Duration::from_secs(1));
    let slow = CheckSpec { timeout, fast_interval, fall: 1, ..hourly(http()) };
    let both = registration(address, [holding(), slow]);
    // Whoever registers while the checker follows is probed at once.
    let other = listen(Manners::Hang).await;
    rig.register("i0", registration(other, [hourly(tcp_check())])).await;
    rig.until_health("i0", Health::Passing).await;
    // The connection is made first, so the request has to wait for its end.
    rig.register("i1", Registration { initial_health: Health::Passing, ..both }).await;
    rig.until("both are answered", |registry| registry.answered() == 2).await;
    let passed = async {
        while rig.metric("check_probes_total{type=\"http\",result=\"passed\"}") == 0.0 {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(StdDuration::from_secs(20), passed).await.is_ok());
    assert_eq!(rig.metric("check_probes_total{type=\"http\",result=\"silent\"}"), 1.0);
    assert_eq!((*rig.store.observations.borrow(), rig.head().await), (1, rig.registry.revision()));
}

#[tokio::test]
async fn who_greets_is_held_and_who_floods_is_not() {
    let rig = Rig::new();
    let (greets, floods) = (listen(Manners::Greet("220 mail\r\n")).await, listen(Manners::Flood("", "x")).await);
    rig.register("i1", registration(greets, [often(holding())])).await;
    rig.register("i2", registration(floods, [often(holding())])).await;
    rig.until_given_up("i2", "64 KiB").await;
    rig.until_held("i1").await;
    rig.until_probes("passed", rig.probes("passed") + 10.0).await;
    rig.until_held("i1").await;
    assert_eq!(rig.probes("failed") + rig.probes("silent"), 0.0);
}

#[tokio::test]
async fn beyond_the_room_for_them_checks_hold_none_and_say_so() {
    let mut rig = Rig::with(&Settings { held_max: 1, ..Settings::default() });
    let service = Service::new();
    rig.register("i1", registration(service.address, [often(holding())])).await;
    rig.until_held("i1").await;
    rig.register("i2", registration(service.address, [often(holding())])).await;
    rig.until_health("i2", Health::Passing).await;
    let hold = rig.until_hold("i2", |hold| hold.reason.is_some()).await;
    assert_eq!((hold.state, hold.reason), (HoldState::Closed, Some("as many connections are held as may be")));
    let (service, id, precondition) = (web(), "i1".parse().unwrap(), Precondition::None);
    rig.store.commit(Command::Deregister { service, id, precondition }).await.unwrap();
    rig.until_held("i2").await;
    assert_eq!((rig.metric("check_holds{state=\"held\"}"), rig.metric("check_holds{state=\"closed\"}")), (1.0, 0.0));
}

#[tokio::test]
async fn connection_ends_with_its_instance() {
    let mut rig = Rig::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    rig.register("i1", registration(listener.local_addr().unwrap(), [holding()])).await;
    let (mut held, _) = listener.accept().await.unwrap();
    rig.until_held("i1").await;
    let (service, id, precondition) = (web(), "i1".parse().unwrap(), Precondition::None);
    rig.store.commit(Command::Deregister { service, id, precondition }).await.unwrap();
    let read = timeout(StdDuration::from_secs(20), held.read(&mut [0])).await.unwrap();
    assert_eq!(read.unwrap(), 0, "nothing was ever sent, and it ends in order");
    rig.until("nobody", |registry| registry.instance(&web(), "i1").is_none()).await;
    assert_eq!(rig.metric("check_holds{state=\"held\"}"), 0.0);
}

#[tokio::test]
async fn check_that_is_to_hold_nothing_says_nothing_of_it() {
    let (mut rig, service) = (Rig::new(), Service::new());
    rig.register("i1", registration(service.address, [hourly(tcp_check())])).await;
    rig.until_health("i1", Health::Passing).await;
    assert_eq!(rig.report("i1").await.unwrap().hold, None);
    assert_eq!(*service.taken.borrow(), 0);
}
