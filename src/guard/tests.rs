//! The guard as a table of cases: what is seen and asked, second by second, and what comes of it.
//!
//! ```text
//! 0    web 10 [min=3 ratio=0.5 window=30s max=5m | off]   so many are answered, by this rule
//! 0    link up · canary heard · hosts 5 heard             what the node sees; hosts are 10.9.0.1 to 10.9.0.5
//! 12   own 4 silent                                       hosts of the service itself, 10.0.0.1 to 10.0.0.4
//! 13   ask i1 i2 = wait                                   each is asked for, and all get this verdict
//! 14   settled i1                                         heard again, or gone otherwise
//! 15   tick · tick +10s                                   the node looks after itself; its wall clock has jumped
//! 16   turns = guarded i1 i2 by link: no network …        what the registry is to be told; `unguarded why`; `none`
//! ```

use super::*;

struct Play {
    guard: Guard,
    start: Moment,
    census: Census,
    /// Who is in answers, as the registry says: all but those who left.
    gone: Vec<String>,
    wall: Duration,
}

fn ids(words: &str) -> Vec<InstanceId> {
    words.split_whitespace().map(|id| id.parse().unwrap()).collect()
}

fn hosts(net: [u8; 3], count: &str) -> impl Iterator<Item = IpAddr> {
    let count: u8 = count.parse().unwrap();
    (1..=count).map(move |last| [net[0], net[1], net[2], last].into())
}

impl Play {
    fn rule(&mut self, words: &str) {
        let mut words = words.split_whitespace();
        self.census.answered = words.next().unwrap().parse().unwrap();
        let mut rule = GuardRule::default();
        for word in words {
            match word.split_once('=') {
                Some(("min", min)) => rule.min = min.parse().unwrap(),
                Some(("ratio", ratio)) => rule.ratio = crate::model::Share::new(ratio.parse().unwrap()).unwrap(),
                Some(("window", window)) => rule.window = window.parse().unwrap(),
                Some(("max", max)) => rule.max = max.parse().unwrap(),
                _ => {
                    self.census.rule = None;
                    return;
                }
            }
        }
        self.census.rule = Some(rule);
    }

    fn ask(&mut self, id: &InstanceId, now: Moment) -> Verdict {
        let service = "web".parse().unwrap();
        let silent = Silent { service: &service, id, confirm: Duration::from_secs(1) };
        let verdict = self.guard.ask(&silent, now, || self.census.clone());
        if verdict == Verdict::Leave {
            self.gone.push(id.to_string());
            self.census.answered -= 1;
        }
        verdict
    }

    fn turns(&self, now: Moment) -> String {
        let shown = |turn: Turn| match turn.guarded {
            None => format!("unguarded {}", turn.ended.unwrap_or_default()),
            Some(guarded) => {
                let held: Vec<&str> = guarded.held.iter().map(|id| id.as_str()).collect();
                let by: Vec<&str> = turn.begun.iter().map(|witness| witness.as_str()).collect();
                format!("guarded {} by {}: {}", held.join(" "), by.join(","), guarded.evidence)
            }
        };
        let turns = self.guard.turns(now, |_, id| !self.gone.iter().any(|gone| gone == id.as_str()));
        let shown: Vec<String> = turns.into_iter().map(shown).collect();
        if shown.is_empty() { "none".to_owned() } else { shown.join("; ") }
    }

    fn line(&mut self, line: &str) {
        let (seconds, rest) = line.split_once(' ').unwrap();
        let after = Duration::from_secs_f64(seconds.parse().unwrap());
        let mut now = Moment { instant: self.start.instant + after, wall: self.start.wall.after(after + self.wall) };
        let (verb, rest) = rest.trim().split_once(' ').unwrap_or((rest.trim(), ""));
        let (words, expected) = rest.split_once('=').unwrap_or((rest, ""));
        let (words, expected) = (words.trim(), expected.trim());
        match verb {
            "web" => self.rule(rest),
            "gone" => self.gone.push(words.to_owned()),
            "link" => self.guard.link(words == "up", now),
            "canary" => self.guard.canary("10.8.0.1:22".parse().unwrap(), words == "heard", now),
            "hosts" | "own" => {
                let (count, what) = words.split_once(' ').unwrap();
                let net = if verb == "hosts" { [10, 9, 0] } else { [10, 0, 0] };
                hosts(net, count).for_each(|host| self.guard.probed(host, what == "silent", now.instant));
            }
            "tick" => {
                if let Some(jump) = words.strip_prefix('+') {
                    let jump = jump.parse::<crate::model::Duration>().unwrap().std();
                    self.wall += jump;
                    now.wall = now.wall.after(jump);
                }
                self.guard.tick(now);
            }
            "settled" => ids(words).iter().for_each(|id| self.guard.settled(&"web".parse().unwrap(), id)),
            "ask" => {
                for id in ids(words) {
                    let verdict = format!("{:?}", self.ask(&id, now)).to_lowercase();
                    assert_eq!(verdict, expected, "{line}: {id}");
                }
            }
            "turns" => assert_eq!(self.turns(now), expected, "{line}"),
            "busy" => assert_eq!(self.guard.is_busy().to_string(), expected, "{line}"),
            "doubts" => assert_eq!(self.guard.doubts(now.instant).to_string(), expected, "{line}"),
            verb => panic!("no such line: {verb}"),
        }
    }
}

#[track_caller]
fn play(lines: &str) {
    let start = Moment { instant: Instant::now(), wall: Timestamp::from_millis(1_764_000_000_000) };
    let census = Census { answered: 10, rule: Some(GuardRule::default()), hosts: hosts([10, 0, 0], "10").collect() };
    let mut play = Play { guard: Guard::default(), start, census, gone: Vec::new(), wall: Duration::ZERO };
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        play.line(line);
    }
}

#[test]
fn silence_is_believed_while_the_witnesses_are_well() {
    play(
        "0 link up
         0 hosts 5 heard
         1 ask i1 i2 i3 i4 i5 i6 i7 i8 i9 i10 = leave
         1 turns = none",
    );
}

#[test]
fn many_that_are_silent_at_once_stay_while_the_link_is_down() {
    play(
        "0 link up
         1 link down
         2 ask i1 i2 i3 i4 i5 = wait
         2 turns = none
         3 ask i6 = hold
         3 ask i1 i2 = hold
         3 turns = guarded i1 i2 i3 i4 i5 i6 by link: no network interface is up since 16:00:01Z
         4 turns = none
         4 ask i7 = hold
         4 turns = guarded i1 i2 i3 i4 i5 i6 i7 by : no network interface is up since 16:00:01Z
         5 ask i1 i2 i3 i4 i5 i6 i7 = hold",
    );
}

#[test]
fn a_single_one_waits_for_a_window_at_most() {
    play(
        "0 link up
         1 link down
         2 ask i1 = wait
         31.9 ask i1 = wait
         32 ask i1 = leave
         32 turns = none",
    );
}

#[test]
fn few_are_not_guarded_and_need_not_wait() {
    for rule in ["2", "10 off", "4 min=5"] {
        play(&format!("0 web {rule}\n0 link up\n1 link down\n2 ask i1 i2 = leave\n2 turns = none"));
    }
}

#[test]
fn the_rule_says_how_many_are_many() {
    play(
        "0 web 4 ratio=0.5 min=2
         0 link up
         1 link down
         2 ask i1 i2 = wait
         2 ask i3 = hold",
    );
    play(
        "0 web 10 ratio=0 min=1
         0 link up
         1 link down
         2 ask i1 = hold",
    );
    play(
        "0 web 10 ratio=0.9
         0 link up
         1 link down
         2 ask i1 i2 i3 i4 i5 i6 i7 i8 i9 = wait
         2 ask i10 = hold",
    );
}

#[test]
fn those_who_left_a_moment_before_count_too() {
    play(
        "0 link up
         1 ask i1 i2 i3 = leave
         2 link down
         3 ask i4 i5 = wait
         3 ask i6 = hold",
    );
    play(
        "0 link up
         1 ask i1 i2 i3 = leave
         40 link down
         41 ask i4 i5 i6 = wait
         41 ask i7 = hold
         41 turns = guarded i4 i5 i6 i7 by link: no network interface is up since 16:00:40Z",
    );
}

#[test]
fn what_is_over_is_forgotten() {
    play(
        "0 ask i1 i2 = leave
         1 turns = none
         1 busy = true
         30 turns = none
         31 turns = none
         31 busy = false",
    );
    play(
        "0 web 10 off
         0 ask i1 i2 = leave
         0 turns = none
         0 busy = false",
    );
    play(
        "0 web 3 min=2
         0 link up
         1 link down
         2 ask i1 = wait
         2 ask i2 = hold
         2 turns = guarded i1 i2 by link: no network interface is up since 16:00:01Z
         3 web 3 off
         3 ask i1 = leave
         3 turns = unguarded its settings ask for no guard any more
         4 turns = none
         4 busy = false",
    );
}

#[test]
fn it_ends_when_everybody_is_heard_again() {
    play(
        "0 web 3
         0 link up
         1 link down
         2 ask i1 i2 = wait
         2 ask i3 = hold
         2 ask i1 i2 = hold
         2 turns = guarded i1 i2 i3 by link: no network interface is up since 16:00:01Z
         3 settled i1
         3 settled i2
         3 turns = guarded i3 by : no network interface is up since 16:00:01Z
         4 settled i3
         4 turns = unguarded nobody of it is silent any more
         5 ask i1 i2 = wait
         5 ask i3 = hold",
    );
}

#[test]
fn it_ends_when_those_who_were_kept_leave_otherwise() {
    play(
        "0 web 3 min=2
         0 link up
         1 link down
         2 ask i1 = wait
         2 ask i2 = hold
         2 turns = guarded i1 i2 by link: no network interface is up since 16:00:01Z
         3 gone i1
         3 gone i2
         3 turns = unguarded nobody of it is silent any more",
    );
}

#[test]
fn who_is_silent_still_leaves_once_the_witnesses_are_well_and_that_is_confirmed() {
    play(
        "0 web 3 min=2
         0 link up
         1 link down
         2 ask i1 = wait
         2 ask i2 = hold
         2 turns = guarded i1 i2 by link: no network interface is up since 16:00:01Z
         3 link up
         3.5 ask i1 i2 = hold
         4 ask i1 i2 = hold
         5.5 turns = unguarded this server finds itself well again
         6 ask i1 = wait
         6.1 settled i1
         6.5 ask i2 = leave
         7 ask i1 = leave",
    );
}

#[test]
fn a_doubt_that_comes_back_is_a_doubt() {
    play(
        "0 web 3 min=2
         0 link up
         1 link down
         2 ask i1 = wait
         2 ask i2 = hold
         2 turns = guarded i1 i2 by link: no network interface is up since 16:00:01Z
         3 link up
         3.5 ask i1 = hold
         4 link down
         4.5 ask i1 = hold
         4.8 link up
         5 turns = none
         7 turns = unguarded this server finds itself well again
         7.2 link down
         7.5 ask i1 = wait
         7.6 ask i1 = hold",
    );
}

#[test]
fn nobody_is_kept_for_longer_than_the_rule_allows() {
    play(
        "0 web 3 min=2 window=5s max=20s
         0 link up
         1 link down
         2 ask i1 = wait
         2 ask i2 = hold
         2 turns = guarded i1 i2 by link: no network interface is up since 16:00:01Z
         21.9 ask i1 = hold
         22 turns = unguarded it was kept for as long as its settings allow
         22 ask i1 i2 = leave
         22 ask i3 = leave
         23 turns = none",
    );
}

#[test]
fn a_link_speaks_only_where_there_was_one() {
    play(
        "0 link down
         1 ask i1 i2 i3 i4 i5 i6 = leave",
    );
}

#[test]
fn nobody_leaves_before_the_link_was_looked_at() {
    play(
        "0 link up
         0 own 3 heard
         1 own 1 silent
         1 ask i1 = wait
         1.1 link up
         1.1 ask i1 = leave",
    );
    play(
        "0 link up
         0 own 6 heard
         1 own 6 silent
         1 ask i1 i2 i3 i4 i5 i6 = wait
         1.1 link down
         1.1 ask i1 = hold",
    );
    play(
        "0 link up
         0 own 3 heard
         1 own 1 silent
         1 ask i1 = wait
         6 ask i1 = leave",
    );
}

#[test]
fn other_hosts_that_are_silent_in_the_same_moment_speak_against_the_node() {
    play(
        "0 hosts 4 heard
         9 hosts 2 silent
         10 hosts 4 silent
         10 ask i1 i2 i3 i4 i5 = wait
         10 ask i6 = hold
         10 turns = guarded i1 i2 i3 i4 i5 i6 by hosts: 4 of 4 other hosts are silent in the same moment",
    );
}

#[test]
fn hosts_of_the_service_itself_are_no_witnesses() {
    // A rack that lost its power looks like a partition to those who see nothing else.
    play(
        "0 own 10 heard
         10 own 10 silent
         10 ask i1 i2 i3 i4 i5 i6 = leave",
    );
    play(
        "0 own 10 heard
         0 hosts 4 heard
         10 own 10 silent
         10 hosts 4 heard
         10 ask i1 i2 i3 i4 i5 i6 = leave",
    );
    play(
        "0 own 10 heard
         0 hosts 2 heard
         10 own 10 silent
         10 hosts 2 silent
         10 ask i1 i2 i3 i4 i5 i6 = leave",
    );
}

#[test]
fn who_cannot_know_yet_waits_for_a_moment() {
    // Some of the others are silent, and most were not asked since.
    play(
        "0 hosts 6 heard
         3 hosts 2 silent
         3 ask i1 i2 i3 = wait
         4 hosts 5 silent
         4 ask i4 i5 = wait
         4 ask i6 = hold",
    );
    play(
        "0 hosts 6 heard
         3 hosts 2 silent
         3 ask i1 = wait
         4 hosts 2 silent
         5 hosts 6 heard
         5 hosts 2 silent
         5.1 ask i1 = leave",
    );
    play(
        "0 hosts 9 heard
         3 hosts 2 silent
         3 ask i1 = wait
         7.9 hosts 2 silent
         7.9 ask i1 = wait
         8 ask i1 = leave",
    );
}

#[test]
fn hosts_that_were_never_heard_or_are_long_dead_say_nothing() {
    play(
        "0 hosts 9 silent
         1 ask i1 i2 i3 i4 i5 i6 = leave",
    );
    play(
        "0 hosts 9 heard
         1 hosts 9 silent
         599 hosts 9 silent
         600 doubts = true
         602 doubts = false
         602 ask i1 i2 i3 i4 i5 i6 = leave",
    );
}

#[test]
fn a_canary_that_sings_clears_the_network_and_one_that_is_silent_does_not() {
    play(
        "0 hosts 9 heard
         9 canary heard
         10 hosts 9 silent
         10 ask i1 i2 i3 i4 i5 i6 = leave",
    );
    play(
        "0 canary heard
         10 canary silent
         10 ask i1 i2 i3 i4 i5 = wait
         10 ask i6 = hold
         10 turns = guarded i1 i2 i3 i4 i5 i6 by canary: no answer from 10.8.0.1:22",
    );
    play(
        "0 canary silent
         10 canary silent
         10 ask i1 i2 i3 i4 i5 i6 = leave",
    );
    // It does not speak for a node that stood still.
    play(
        "0 tick
         9 tick
         9 canary heard
         10 ask i1 i2 i3 i4 i5 = wait
         10 ask i6 = hold",
    );
}

#[test]
fn a_node_that_stood_still_has_heard_nobody() {
    // Who looks after the node may come last after a stop.
    play(
        "0 tick
         0.1 tick
         10 ask i1 i2 i3 i4 i5 = wait
         10 ask i6 = hold
         10 tick +0s
         10 turns = guarded i1 i2 i3 i4 i5 i6 by lag: this server stands still for 9.8s",
    );
    play(
        "0 tick
         3 tick
         4 ask i1 = wait
         20 tick
         20 turns = none
         21.9 doubts = true
         60 tick
         60.1 tick
         100 tick",
    );
    play(
        "0 tick
         0.5 tick
         1 ask i1 i2 i3 i4 i5 i6 = leave",
    );
}

#[test]
fn a_clock_that_jumps_is_a_machine_that_slept() {
    play(
        "0 tick
         0.1 tick +20s
         1 ask i1 i2 i3 i4 i5 = wait
         1 ask i6 = hold
         1 turns = guarded i1 i2 i3 i4 i5 i6 by lag,clock: this server stands still for 0.8s; the clock jumped by 20.0s at 16:00:20Z",
    );
    play(
        "0 tick
         0.1 tick +900ms
         0.2 ask i1 i2 i3 i4 i5 i6 = leave",
    );
}

#[test]
fn what_the_registry_has_not_heard_it_is_told_again() {
    let service: ServiceName = "web".parse().unwrap();
    let start = Moment { instant: Instant::now(), wall: Timestamp::from_millis(1_764_000_000_000) };
    let census = || Census { answered: 1, rule: Some(GuardRule { min: 1, ..GuardRule::default() }), hosts: Vec::new() };
    let guard = Guard::default();
    guard.link(true, start);
    guard.link(false, start);
    let id = "i1".parse().unwrap();
    let silent = Silent { service: &service, id: &id, confirm: Duration::ZERO };
    assert_eq!(guard.ask(&silent, start, census), Verdict::Hold);
    assert!(guard.turns(start, |_, _| true)[0].guarded.is_some());
    assert!(guard.turns(start, |_, _| true).is_empty());
    guard.untold(&service);
    let again = guard.turns(start, |_, _| true);
    assert_eq!((again.len(), &again[0].begun[..]), (1, &[Witness::Link][..]));
    guard.settled(&service, &id);
    assert!(guard.turns(start, |_, _| true)[0].guarded.is_none());
    guard.untold(&service);
    assert!(guard.is_busy() && guard.turns(start, |_, _| true)[0].guarded.is_none());
    assert!(guard.turns(start, |_, _| true).is_empty() && !guard.is_busy());
}
