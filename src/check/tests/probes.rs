//! What is probed, what turns, and what is committed.

use super::*;

#[tokio::test]
async fn healthy_newcomer_is_answered_after_its_first_probe() {
    let (mut rig, peer) = (Rig::new(), Peer::new().await);
    rig.register("i1", registration(peer.address, [hourly(http()), hourly(tcp_check())])).await;
    rig.until("an answered instance", |registry| registry.answered() == 1).await;
    assert_eq!(rig.metric("check_probes_total{type=\"http\",result=\"passed\"}"), 1.0);
    assert_eq!(rig.metric("check_probe_duration_seconds_count{type=\"tcp\"}"), 1.0);
    assert_eq!(rig.metric("checks"), 2.0);
}

#[tokio::test]
async fn each_kind_is_counted_by_itself() {
    let mut rig = Rig::new();
    let plain = listen(Manners::Greet("HTTP/1.1 400 Bad Request\r\n\r\n")).await;
    rig.register("i1", registration(plain, [hourly(https_check(|_| ())), hourly(grpc_check(""))])).await;
    rig.until_health("i1", Health::Critical).await;
    let both_failed = |registry: &Registry| {
        let instance = registry.instance(&web(), "i1");
        instance.is_some_and(|i| i.checks.iter().all(|check| check.last_error.is_some()))
    };
    rig.until("two checks that failed", both_failed).await;
    let instance = rig.registry.instance(&web(), "i1").unwrap();
    let reasons = instance.checks.iter().map(|check| check.last_error.as_deref().unwrap().to_owned());
    let expected = [format!("{plain} does not speak TLS"), format!("the answer of {plain} is not HTTP/2")];
    assert_eq!(reasons.collect::<Vec<_>>(), expected);
    for kind in ["https", "grpc"] {
        assert_eq!(rig.metric(&format!("check_probes_total{{type=\"{kind}\",result=\"failed\"}}")), 1.0);
    }
}

#[tokio::test]
async fn failing_instance_is_critical_after_fall_probes_and_comes_back_after_rise() {
    let (mut rig, peer) = (Rig::new(), Peer::new().await);
    let check = CheckSpec { rise: 2, fall: 3, ..often(http()) };
    rig.register("i1", registration(peer.address, [check])).await;
    rig.until_health("i1", Health::Passing).await;
    peer.fit.store(false, SeqCst);
    let asked = peer.asked();
    rig.until_health("i1", Health::Critical).await;
    assert!(peer.asked() - asked >= 3);
    assert_eq!(rig.last_error("i1").as_deref(), Some("status 503, expected 200-299"));
    peer.fit.store(true, SeqCst);
    let asked = peer.asked();
    rig.until_health("i1", Health::Passing).await;
    assert!(peer.asked() - asked >= 2);
    assert_eq!(rig.last_error("i1"), None);
}

#[tokio::test]
async fn why_it_fails_now_is_known_and_not_committed() {
    let (mut rig, peer) = (Rig::new(), Peer::new().await);
    peer.fit.store(false, SeqCst);
    let check = http_check(|http| http.expect_body = Some("ready".into()));
    rig.register("i1", registration(peer.address, [often(check)])).await;
    rig.until_health("i1", Health::Critical).await;
    assert_eq!(rig.last_error("i1").as_deref(), Some("status 503, expected 200-299"));
    let revision = rig.head().await;
    peer.fit.store(true, SeqCst);
    loop {
        let report = rig.reports.of(vec![(web(), "i1".parse().unwrap())]).await.remove(0).remove(0);
        if report.last_failure.as_deref() == Some("body does not contain the expected text") {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(rig.head().await, revision);
}

#[tokio::test]
async fn what_contradicts_the_opinion_is_confirmed_fast_and_then_probes_are_rare_again() {
    let (mut rig, peer) = (Rig::new(), Peer::new().await);
    let (interval, fast_interval) = (Duration::from_secs(2), Duration::from_millis(5));
    // At the interval the one or the other would take longer than anybody waits here.
    let check = CheckSpec { interval, fast_interval, rise: 50, fall: 50, ..http() };
    rig.register("i1", registration(peer.address, [check])).await;
    rig.until_health("i1", Health::Passing).await;
    peer.fit.store(false, SeqCst);
    rig.until_health("i1", Health::Critical).await;
    peer.fit.store(true, SeqCst);
    rig.until_health("i1", Health::Passing).await;
    assert!(peer.asked() >= 101, "the first decides alone, and then it takes fifty each");
}

#[tokio::test]
async fn who_flaps_needs_more_successes_and_all_of_it_is_known() {
    let (mut rig, peer) = (Rig::new(), Peer::new().await);
    let before = Timestamp::now();
    rig.register("i1", registration(peer.address, [CheckSpec { fall: 1, ..often(http()) }])).await;
    for _ in 0..3 {
        peer.fit.store(true, SeqCst);
        rig.until_health("i1", Health::Passing).await;
        peer.fit.store(false, SeqCst);
        rig.until_health("i1", Health::Critical).await;
    }
    let report = loop {
        let report = rig.reports.of(vec![(web(), "i1".parse().unwrap())]).await.remove(0).remove(0);
        // The last transition is in the store before the thread that probes hears of it.
        if report.transitions == 6 {
            break report;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((report.flaps, report.rise_needed), (2, 4));
    let (p50, p99) = report.latency_us.unwrap();
    assert!(0 < p50 && p50 <= p99 && p99 < 5_000_000, "{p50} {p99}");
    let at = report.last_probe_at.unwrap();
    assert!(before <= at && at <= Timestamp::now(), "{at}");
    let asked = peer.asked();
    peer.fit.store(true, SeqCst);
    rig.until_health("i1", Health::Passing).await;
    assert!(peer.asked() - asked >= 4);
    assert!(rig.reports.of(vec![(web(), "i2".parse().unwrap())]).await[0].is_empty(), "nobody knows it");
    rig.stop_checker().await;
    assert!(rig.reports.of(vec![(web(), "i1".parse().unwrap())]).await[0].is_empty(), "nobody is there to ask");
}

#[tokio::test]
async fn probes_of_an_instance_that_leaves_give_their_room_back() {
    let settings = Settings { concurrency_max: 1, ..Settings::default() };
    let (mut rig, peer) = (Rig::with(&settings), Peer::new().await);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hour = CheckSpec { timeout: Duration::from_secs(60), ..hourly(http()) };
    rig.register("i1", registration(listener.local_addr().unwrap(), [hour])).await;
    let _probe_under_way = listener.accept().await.unwrap();
    rig.register("i2", registration(peer.address, [hourly(http())])).await;
    let (service, id, precondition) = (web(), "i1".parse().unwrap(), Precondition::None);
    rig.store.commit(Command::Deregister { service, id, precondition }).await.unwrap();
    rig.until_health("i2", Health::Passing).await;
}

#[tokio::test]
async fn killed_listener_is_critical() {
    let mut rig = Rig::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    rig.register("i1", registration(address, [often(tcp_check())])).await;
    rig.until_health("i1", Health::Passing).await;
    drop(listener);
    rig.until_health("i1", Health::Critical).await;
    assert!(rig.metric("check_probes_total{type=\"tcp\",result=\"failed\"}") >= 3.0);
    assert_eq!(rig.last_error("i1").unwrap(), format!("connection refused by {address}").into());
}

#[tokio::test]
async fn confirmations_are_not_committed() {
    let (mut rig, peer) = (Rig::new(), Peer::new().await);
    rig.register("i1", registration(peer.address, [often(http())])).await;
    rig.until_health("i1", Health::Passing).await;
    peer.asked_again(10).await;
    assert_eq!(rig.head().await, rig.registry.revision());
    peer.fit.store(false, SeqCst);
    rig.until_health("i1", Health::Critical).await;
    peer.asked_again(10).await;
    assert_eq!(rig.head().await, rig.registry.revision());
    assert_eq!(*rig.store.observations.borrow(), 2);
    assert_eq!(rig.metric("check_transitions_total{to=\"passing\"}"), 1.0);
    assert_eq!(rig.metric("check_transitions_total{to=\"critical\"}"), 1.0);
}

#[tokio::test]
async fn transition_is_tried_again_while_the_store_is_away() {
    let (mut rig, peer) = (Rig::new(), Peer::new().await);
    rig.store.away.store(true, SeqCst);
    rig.register("i1", registration(peer.address, [often(http())])).await;
    reached(rig.store.observations.subscribe(), 3).await;
    rig.store.away.store(false, SeqCst);
    rig.until_health("i1", Health::Passing).await;
}

#[tokio::test]
async fn draining_instances_are_probed() {
    let (mut rig, peer) = (Rig::new(), Peer::new().await);
    rig.register("i1", registration(peer.address, [often(http())])).await;
    rig.until_health("i1", Health::Passing).await;
    let amendment = Amendment {
        service: web(),
        id: "i1".parse().unwrap(),
        precondition: Precondition::None,
        state: Some(State::Draining),
        expiry: Expiry::Kept,
        weight: None,
        tags: None,
        meta: None,
    };
    rig.store.commit(Command::Amend(Box::new(amendment))).await.unwrap();
    peer.fit.store(false, SeqCst);
    rig.until_health("i1", Health::Critical).await;
}

#[tokio::test]
async fn new_epoch_is_probed_at_once_and_the_same_one_goes_on() {
    let (mut rig, peer) = (Rig::new(), Peer::new().await);
    let (refused, _held) = refusing();
    rig.register("i1", registration(refused, [hourly(http())])).await;
    rig.until_health("i1", Health::Critical).await;
    let mut moved = registration(peer.address, [hourly(http())]);
    rig.register("i1", moved.clone()).await;
    rig.until_health("i1", Health::Passing).await;
    moved.weight = 7;
    rig.register("i1", moved).await;
    // What follows in the history has been seen after what came before it.
    rig.register("i2", registration(peer.address, [hourly(http())])).await;
    rig.until_health("i2", Health::Passing).await;
    assert_eq!((peer.asked(), rig.metric("checks")), (2, 2.0));
}

#[tokio::test]
async fn late_result_of_an_older_epoch_is_dropped() {
    let (mut rig, peer) = (Rig::new(), Peer::new().await);
    let slow = CheckSpec { timeout: Duration::from_millis(100), ..hourly(http()) };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    rig.register("i1", registration(listener.local_addr().unwrap(), [slow.clone()])).await;
    let _probe_under_way = listener.accept().await.unwrap();
    rig.register("i1", registration(peer.address, [hourly(http())])).await;
    rig.until_health("i1", Health::Passing).await;
    // Its probe begins after the slow one and ends as late, so the slow one has ended by then.
    rig.register("i2", registration(listen(Manners::Hang).await, [slow])).await;
    rig.until_health("i2", Health::Critical).await;
    assert_eq!(*rig.store.observations.borrow(), 2);
    assert_eq!(rig.registry.answered(), 1);
}

#[tokio::test]
async fn checks_end_with_their_instance() {
    let (mut rig, peer) = (Rig::new(), Peer::new().await);
    rig.register("i1", registration(peer.address, [often(http())])).await;
    rig.until_health("i1", Health::Passing).await;
    let (service, id, precondition) = (web(), "i1".parse().unwrap(), Precondition::None);
    rig.store.commit(Command::Deregister { service, id, precondition }).await.unwrap();
    rig.register("i2", registration(peer.address, [hourly(http())])).await;
    rig.until_health("i2", Health::Passing).await;
    assert_eq!(rig.metric("checks"), 1.0);
}

#[tokio::test]
async fn opinions_outlive_a_restart_and_the_unknown_are_probed_at_once() {
    let (mut rig, peer) = (Rig::new(), Peer::new().await);
    rig.register("i1", registration(peer.address, [hourly(http())])).await;
    rig.until_health("i1", Health::Passing).await;
    rig.stop_checker().await;
    rig.register("i2", registration(peer.address, [hourly(http())])).await;
    rig.start_checker();
    rig.until_health("i2", Health::Passing).await;
    assert_eq!((peer.asked(), rig.metric("checks")), (2, 2.0), "i1 comes up within its hour");
    assert_eq!(*rig.store.observations.borrow(), 2);
}

#[tokio::test]
async fn target_that_is_no_longer_permitted_is_critical_without_a_probe() {
    let (mut rig, peer) = (Rig::new(), Peer::new().await);
    let foreign = http_check(|http| http.target = Some(peer.address));
    rig.register("i1", registration("10.0.0.7:80".parse().unwrap(), [often(foreign)])).await;
    rig.until_health("i1", Health::Critical).await;
    assert!(rig.last_error("i1").unwrap().contains("--check-allow"));
    assert_eq!(peer.asked(), 0);
}

#[tokio::test]
async fn hanging_newcomers_do_not_keep_the_living_from_being_probed() {
    let settings = Settings { concurrency_max: 4, ..Settings::default() };
    let (mut rig, peer) = (Rig::with(&settings), Peer::new().await);
    rig.register("i1", registration(peer.address, [often(http())])).await;
    rig.until_health("i1", Health::Passing).await;
    let silent = listen(Manners::Hang).await;
    for hanging in 0..12 {
        let timeout = Duration::from_millis(50);
        let check = CheckSpec { interval: timeout, timeout, ..http() };
        rig.register(&format!("h{hanging}"), registration(silent, [check])).await;
    }
    // Twelve first probes by threes, 50 ms each.
    let all = |registry: &Registry| {
        let instances = registry.service(&web()).unwrap().instances();
        instances.iter().filter(|instance| instance.health() == Health::Critical).count() == 12
    };
    let asked = peer.asked();
    rig.until("all that hang are critical", all).await;
    assert!(peer.asked() - asked >= 5, "{} probes in 200 ms", peer.asked() - asked);
    assert!(rig.metric("check_probes_skipped_total{reason=\"room\"}") >= 1.0);
    assert_eq!(rig.registry.answered(), 1);
}

#[tokio::test]
async fn silence_waits_until_the_guard_believes_it() {
    let (guard, settings) = cut_off(1);
    let mut rig = Rig::with(&settings);
    let target = listen(Manners::Hang).await;
    let check = CheckSpec { timeout: Duration::from_millis(10), fall: 1, ..often(http()) };
    let silent = Registration { initial_health: Health::Passing, ..registration(target, [check]) };
    rig.register("i1", silent).await;
    let before = rig.head().await;
    let is_held = timeout(StdDuration::from_secs(20), async {
        while guard.held() == 0 {
            tokio::task::yield_now().await;
        }
    });
    assert!(is_held.await.is_ok(), "it is asked");
    assert_eq!((rig.head().await, *rig.store.observations.borrow()), (before, 0), "the standing opinion stays");
    guard.link(true, Moment::now());
    rig.until_health("i1", Health::Critical).await;
    assert!(rig.last_error("i1").unwrap().starts_with("no complete answer"), "and then leaves by a probe");
}

#[tokio::test]
async fn who_is_heard_again_was_never_out_and_who_refuses_is_not_kept() {
    let (guard, settings) = cut_off(3);
    let mut rig = Rig::with(&settings);
    let peer = Peer::new().await;
    let (refused, _socket) = refusing();
    let passing = |address, check| Registration {
        initial_health: Health::Passing,
        ..registration(address, [CheckSpec { fall: 1, ..often(check) }])
    };
    rig.register("i1", passing(refused, http())).await;
    rig.until_health("i1", Health::Critical).await;
    peer.fit.store(false, SeqCst);
    rig.register("i2", passing(peer.address, http())).await;
    rig.until_health("i2", Health::Critical).await;
    assert_eq!(guard.held(), 0, "a wrong answer is proof");

    // Silent at first, and then there.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(16).unwrap();
    let check = CheckSpec { timeout: Duration::from_millis(20), ..http() };
    rig.register("i3", passing(listener.local_addr().unwrap(), check)).await;
    let is_held = timeout(StdDuration::from_secs(20), async {
        while !guard.is_busy() {
            tokio::task::yield_now().await;
        }
    });
    assert!(is_held.await.is_ok(), "it is asked");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            read_request(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.ok();
        }
    });
    let is_over = timeout(StdDuration::from_secs(20), async {
        while guard.is_busy() {
            guard.turns(Moment::now(), |_, _| true);
            tokio::task::yield_now().await;
        }
    });
    assert!(is_over.await.is_ok(), "it is heard again");
    let observations = *rig.store.observations.borrow();
    assert_eq!(observations, 2, "of i1 and i2 only");
}

#[tokio::test]
async fn defaults_of_a_service_change_the_rhythm_of_checks_that_do_not_say_their_own() {
    let (mut rig, peer, other) = (Rig::new(), Peer::new().await, Peer::new().await);
    rig.register("i1", registration(peer.address, [unsaid(hourly(http()))])).await;
    rig.register("i2", registration(other.address, [hourly(http())])).await;
    rig.until("both are answered", |registry| registry.answered() == 2).await;
    let often = Some(Duration::from_millis(10));
    rig.configure(CheckDefaults { interval: often, fall: Some(2), ..CheckDefaults::default() }).await;
    peer.asked_again(10).await;
    peer.fit.store(false, SeqCst);
    rig.until_health("i1", Health::Critical).await;
    assert_eq!(other.asked(), 1, "it says an hour itself");
    // Others that come later have them too, also of a checker that starts with them.
    rig.stop_checker().await;
    peer.fit.store(true, SeqCst);
    rig.start_checker();
    rig.until_health("i1", Health::Passing).await;
    rig.register("i3", registration(peer.address, [unsaid(hourly(http()))])).await;
    rig.until_health("i3", Health::Passing).await;
    peer.asked_again(10).await;
    rig.store.commit(Command::Configure { service: web(), settings: None }).await.unwrap();
    rig.register("i4", registration(other.address, [hourly(http())])).await;
    rig.until_health("i4", Health::Passing).await;
    let reports = rig.reports.of(vec![(web(), "i1".parse().unwrap())]).await;
    assert_eq!(reports[0][0].rise_needed, 1);
}

#[tokio::test]
async fn rise_of_a_service_holds_for_checks_that_run_already() {
    let (mut rig, peer) = (Rig::new(), Peer::new().await);
    rig.register("i1", registration(peer.address, [unsaid(http())])).await;
    rig.until_health("i1", Health::Passing).await;
    rig.configure(CheckDefaults { rise: Some(7), ..CheckDefaults::default() }).await;
    let rise_needed = timeout(StdDuration::from_secs(20), async {
        while rig.reports.of(vec![(web(), "i1".parse().unwrap())]).await[0][0].rise_needed != 7 {
            tokio::task::yield_now().await;
        }
    });
    assert!(rise_needed.await.is_ok());
    assert_eq!(peer.asked(), 1, "the interval is as before");
}
