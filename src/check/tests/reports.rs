//! What services say of themselves.

use super::*;

#[tokio::test]
async fn what_a_service_says_of_itself_stands_when_it_is_answered_and_once() {
    let mut rig = Rig::new();
    rig.register_reporting("i1", hourly(ttl_check())).await;
    let before = Timestamp::now();
    let heard = rig.say("i1", true, None).await.unwrap();
    assert_eq!(heard.revision, rig.head().await, "a newcomer, of which the checker may not have heard");
    let report = heard.report;
    assert_eq!((report.check.as_str(), report.rise_needed, report.latency_us), ("ttl", 1, None));
    let due = before.until(report.report_by.unwrap());
    assert!((3599..3700).contains(&due.as_secs()), "{due:?}");
    rig.until_health("i1", Health::Passing).await;
    for _ in 0..3 {
        assert_eq!(rig.say("i1", true, Some("fine")).await.unwrap().revision, heard.revision);
    }
    rig.say("i1", false, Some("disk\nfull")).await.unwrap();
    rig.until_health("i1", Health::Critical).await;
    assert_eq!(rig.last_error("i1").as_deref(), Some("reported as failing: disk\\nfull"));
    let heard = rig.say("i1", true, None).await.unwrap();
    assert_eq!((heard.report.transitions, heard.report.flaps), (3, 0), "who admits it does not flap");
    rig.until_health("i1", Health::Passing).await;
    assert_eq!(*rig.store.observations.borrow(), 3);
    assert_eq!(rig.metric("check_reports_total{result=\"passed\"}"), 5.0);
    assert_eq!(rig.metric("check_reports_total{result=\"failed\"}"), 1.0);
    assert_eq!(rig.metric("check_probes_total{type=\"ttl\",result=\"passed\"}"), 0.0);
}

#[tokio::test]
async fn who_does_not_report_is_critical_by_silence_and_comes_back_by_a_report() {
    let mut rig = Rig::new();
    rig.register_reporting("i1", often(ttl_check())).await;
    rig.until_health("i1", Health::Critical).await;
    assert_eq!(rig.last_error("i1").as_deref(), Some("not reported for 10ms"));
    rig.say("i1", true, None).await.unwrap();
    rig.until_health("i1", Health::Passing).await;
    rig.until_health("i1", Health::Critical).await;
    assert!(rig.metric("check_reports_total{result=\"silent\"}") >= 2.0);
    rig.register_reporting("i2", CheckSpec { fall: 3, ..often(ttl_check()) }).await;
    rig.until_health("i2", Health::Critical).await;
    assert_eq!(rig.last_error("i2").as_deref(), Some("not reported for 10ms"), "the first alone decides");
    rig.say("i2", true, None).await.unwrap();
    rig.until_health("i2", Health::Passing).await;
    rig.until_health("i2", Health::Critical).await;
    assert_eq!(rig.last_error("i2").as_deref(), Some("not reported for 30ms"));
}

#[tokio::test]
async fn each_of_many_reports_at_once_counts_and_in_their_order() {
    let mut rig = Rig::new();
    rig.register_reporting("i1", CheckSpec { rise: 2, fall: 2, ..hourly(ttl_check()) }).await;
    // The first decides out of unknown, two more turn each time.
    let said = [true, false, false, true, true, false, false, true, false, false];
    let report = rig.said("i1", true, None).await;
    let all = said.map(|passed| rig.reports.report(SelfReport { passed, ..report.clone() }));
    for heard in futures_util::future::join_all(all).await {
        heard.unwrap();
    }
    rig.until_health("i1", Health::Critical).await;
    assert_eq!(*rig.store.observations.borrow(), 4);
}

#[tokio::test]
async fn a_report_that_cannot_be_kept_is_refused_and_the_next_one_counts() {
    let mut rig = Rig::new();
    rig.register_reporting("i1", hourly(ttl_check())).await;
    rig.store.away.store(true, SeqCst);
    assert!(matches!(rig.say("i1", true, None).await, Err(Unheard::NotKept(_))));
    rig.store.away.store(false, SeqCst);
    rig.say("i1", true, None).await.unwrap();
    rig.until_health("i1", Health::Passing).await;
}

#[tokio::test]
async fn reports_on_what_is_not_there_count_for_nothing() {
    let mut rig = Rig::new();
    rig.register_reporting("i1", hourly(ttl_check())).await;
    let good = rig.said("i1", true, None).await;
    for bad in [
        SelfReport { id: "i2".parse().unwrap(), ..good.clone() },
        SelfReport { epoch: Revision(99), ..good.clone() },
        SelfReport { check: "tcp".parse().unwrap(), ..good.clone() },
    ] {
        assert_eq!(rig.reports.report(bad).await, Err(Unheard::Unknown));
    }
    assert_eq!(*rig.store.observations.borrow(), 0);
    rig.stop_checker().await;
    assert_eq!(rig.reports.report(good).await, Err(Unheard::Unknown), "nobody is there to hear it");
}

#[tokio::test]
async fn a_restart_begins_a_full_interval() {
    let mut rig = Rig::new();
    rig.register_reporting("i1", hourly(ttl_check())).await;
    rig.say("i1", true, None).await.unwrap();
    rig.until_health("i1", Health::Passing).await;
    rig.stop_checker().await;
    let restarted = Timestamp::now();
    rig.start_checker();
    let report = loop {
        if let Some(report) = rig.reports.of(vec![(web(), "i1".parse().unwrap())]).await.remove(0).pop() {
            break report;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((report.last_probe_at, report.transitions), (None, 0), "nothing was said to this one");
    let waits = restarted.until(report.report_by.unwrap());
    assert!(waits >= StdDuration::from_millis(3_600_000 - 10), "{waits:?}");
    let at = rig.head().await;
    assert_eq!(rig.say("i1", true, None).await.unwrap().revision, at, "the opinion holds");
}

#[tokio::test]
async fn a_service_that_falls_silent_is_held_while_this_node_doubts_itself() {
    let (guard, settings) = cut_off(1);
    let mut rig = Rig::with(&settings);
    let target = "10.0.0.7:80".parse().unwrap();
    let silent = Registration { initial_health: Health::Passing, ..registration(target, [often(ttl_check())]) };
    rig.register("i1", silent).await;
    let is_held = timeout(StdDuration::from_secs(20), async {
        while guard.held() == 0 {
            tokio::task::yield_now().await;
        }
    });
    assert!(is_held.await.is_ok(), "it is asked");
    rig.until("it is registered", |registry| registry.instance(&web(), "i1").is_some()).await;
    // Who fails by its own word leaves all the same.
    rig.say("i1", false, None).await.unwrap();
    rig.until_health("i1", Health::Critical).await;
    assert_eq!(rig.last_error("i1").as_deref(), Some("reported as failing"));
}

#[tokio::test]
async fn defaults_of_a_service_hold_for_reports_too() {
    let mut rig = Rig::new();
    rig.register_reporting("i1", unsaid(hourly(ttl_check()))).await;
    rig.say("i1", true, None).await.unwrap();
    rig.until_health("i1", Health::Passing).await;
    let (interval, fall) = (Some(Duration::from_millis(20)), Some(2));
    rig.configure(CheckDefaults { interval, fall, ..CheckDefaults::default() }).await;
    rig.until_health("i1", Health::Critical).await;
    assert_eq!(rig.last_error("i1").as_deref(), Some("not reported for 40ms"));
}

/// What a client says of an instance.
async fn hint(rig: &Rig, id: &str) -> Result<bool, Unheard> {
    let failed = Remark::new("connect refused");
    rig.reports.hint(Hint { service: web(), id: id.parse().unwrap(), failed, seen: rig.head().await }).await
}

#[tokio::test]
async fn what_clients_say_has_an_instance_probed_and_nothing_more() {
    let (mut rig, peer) = (Rig::new(), Peer::new().await);
    let check = CheckSpec { fast_interval: Duration::from_secs(600), ..hourly(http()) };
    rig.register("i1", registration(peer.address, [check.clone(), hourly(ttl_check())])).await;
    rig.until("it is registered", |registry| registry.instance(&web(), "i1").is_some()).await;
    rig.say("i1", true, None).await.unwrap();
    rig.until_health("i1", Health::Passing).await;
    // The transition is in the store before the thread that probes hears of it.
    while rig.reports.of(vec![(web(), "i1".parse().unwrap())]).await[0][0].transitions == 0 {
        tokio::task::yield_now().await;
    }
    let at = rig.head().await;
    assert_eq!(hint(&rig, "i1").await, Ok(true));
    reached(peer.asked.clone(), 2).await;
    for _ in 0..3 {
        assert_eq!(hint(&rig, "i1").await, Ok(false), "one of a fast interval");
    }
    assert_eq!((peer.asked(), rig.head().await), (2, at), "the probe passed");
    assert_eq!(hint(&rig, "i9").await, Ok(false), "nobody is there to be probed");
    let reports = rig.reports.of(vec![(web(), "i1".parse().unwrap())]).await;
    assert_eq!(reports[0][0].hints, 4);
    assert_eq!(rig.metric("check_hints_total{result=\"probed\"}"), 1.0);
    assert_eq!(rig.metric("check_hints_total{result=\"counted\"}"), 4.0);
    assert_eq!(rig.metric("check_hint_probes_total"), 1.0);
}

#[tokio::test]
async fn a_client_that_is_right_has_an_instance_out_long_before_its_interval() {
    let (mut rig, peer) = (Rig::new(), Peer::new().await);
    let check = CheckSpec { fast_interval: Duration::from_millis(10), ..hourly(http()) };
    rig.register("i1", registration(peer.address, [check.clone()])).await;
    rig.until_health("i1", Health::Passing).await;
    peer.fit.store(false, SeqCst);
    // Until the thread that probes knows that it passes.
    while hint(&rig, "i1").await != Ok(true) {
        tokio::task::yield_now().await;
    }
    rig.until_health("i1", Health::Critical).await;
    assert_eq!(peer.asked(), 4, "one, and two that confirm it");
    assert_eq!(rig.metric("check_hint_probes_total"), 1.0);
}

#[tokio::test]
async fn who_is_critical_is_not_probed_because_of_hearsay() {
    let mut rig = Rig::new();
    let (refused, _held) = refusing();
    rig.register("i1", registration(refused, [CheckSpec { fall: 1, ..hourly(http()) }])).await;
    rig.until_health("i1", Health::Critical).await;
    for _ in 0..3 {
        assert_eq!(hint(&rig, "i1").await, Ok(false));
    }
    assert_eq!(rig.metric("check_probes_total{type=\"http\",result=\"failed\"}"), 1.0);
}
