//! Dialogues as text: every file of `tests/scenarios` is played against a whole Rollcall under simulated time.
//!
//! ```text
//! # a comment
//! put web/i1 {"address":"10.0.0.1","port":80}       register; also patch, delete, renew; `=> 409 name-taken`
//! put-many web/i 200 {"address":"10.0.%h.%l","port":80}   web/i1 to web/i200; %h and %l are octets of the number
//! drain web/i1 [BODY] [safe 40s]                   also waits until it is safe to stop, which takes so long
//! settings web {"ttl":"10s"} · unset web            what holds for the whole service
//! grant L 15s · renew-lease L · revoke L            leases by a name of the file's own, `$L` in bodies
//! health web/i1 http critical connection refused    what a check found
//! pass web/i1 job · fail web/i1 job {"reason":"…"}   what a service says of itself
//! report web/i1 {"failed":"…"}                      what a client says of it
//! guard web i1,i2 why it is kept                    its last good set is kept; `unguard web`
//! events web                                        what has happened to it, the latest last; `*` is anything
//!   i1 absent passing registered (192.0.2.1)        id, from, to, reason, actor
//! advance 5s
//! zone-file svc.internal.zone                       its text indented below; `=> why it is refused`
//! no-zone-file svc.internal.zone
//! ask web.svc.internal. A [tcp] [noedns] [edns=512] [CH] [from 10.1.2.3]
//!   NOERROR aa                                      rcode and flags (aa tc ra)
//!   ede 0 web: 3 registered, 0 passing*             extended error, `*` is anything; `ede none`; or not looked at
//!   answer                                          sections, in any order of records
//!     web.svc.internal. 5 IN A 10.0.0.1
//!   additional 2                                    or only how many
//! ask … · answer 40 as ours                         keeps a section under a name
//! ask … · answer like ours · answer unlike ours     compares it with one that was kept
//! ask-many 640 web.svc.internal. A [from many]      how often a record comes first; `many` has many prefixes
//!   first 10.0.0.1 25%
//! ```

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use hickory_proto::op::Message;
use rollcall::model::Health;

use super::support::dialogue::{Asking, extended_error, head, is_like, shown};
use super::support::world::World;

/// By how many of a hundred a share may be off.
const SHARE_TOLERANCE: f64 = 3.0;

/// A line of a scenario and the lines indented below it.
struct Step {
    number: usize,
    line: String,
    below: Vec<String>,
}

fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let in_file = steps.last().is_some_and(|step| step.line.starts_with("zone-file "));
        if let Some(line) = line.strip_prefix("  ").filter(|_| in_file) {
            steps.last_mut().expect("a step").below.push(line.to_owned());
            continue;
        }
        let line = line.split(" #").next().unwrap().trim_end();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.starts_with(' ') {
            steps.last_mut().expect("a step before its expectations").below.push(line.trim().to_owned());
        } else {
            steps.push(Step { number: number + 1, line: line.to_owned(), below: Vec::new() });
        }
    }
    steps
}

struct Player {
    world: World,
    leases: HashMap<String, String>,
    /// Sections by the names that a file gave them.
    kept: HashMap<String, Vec<String>>,
}

impl Player {
    async fn request(&mut self, method: &str, path: &str, rest: &str) {
        let (body, expected) = rest.split_once("=>").unwrap_or((rest, ""));
        let mut body = body.trim().to_owned();
        for (name, id) in &self.leases {
            body = body.replace(&format!("${name}"), id);
        }
        let reply = self.world.call(method, path, (!body.is_empty()).then_some(&*body)).await;
        let mut expected = expected.split_whitespace();
        match expected.next() {
            None => assert!(reply.status < 300, "{} {}", reply.status, reply.body),
            Some(status) => assert_eq!(reply.status.to_string(), status, "{}", reply.body),
        }
        if let Some(kind) = expected.next() {
            assert_eq!(reply.body["type"], format!("urn:rollcall:{kind}"), "{}", reply.body);
        }
    }

    async fn events(&mut self, service: &str, expected: &[String]) {
        let reply = self.world.call("GET", &format!("/v1/events?service={service}"), None).await;
        let text = |value: &serde_json::Value| value.as_str().unwrap_or("-").to_owned();
        let line = |event: &serde_json::Value| {
            let said = ["id", "from", "to", "reason"].map(|field| text(&event[field])).join(" ");
            format!("{said} ({})", text(&event["actor"]))
        };
        let told: Vec<String> = reply.body["events"].as_array().unwrap().iter().rev().map(line).collect();
        let fits = told.len() == expected.len() && told.iter().zip(expected).all(|(told, line)| is_like(line, told));
        assert!(fits, "{told:#?}");
    }

    async fn play(&mut self, step: &Step) {
        let (verb, rest) = step.line.split_once(' ').unwrap_or((&step.line, ""));
        let (word, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let instance = || {
            let (service, id) = word.split_once('/').expect("service/id");
            format!("/v1/services/{service}/instances/{id}")
        };
        match verb {
            "put" => self.request("PUT", &instance(), rest).await,
            "put-many" => self.put_many(word, rest).await,
            "drain" => {
                let Some(expected) = rest.strip_prefix("safe ") else {
                    return self.request("POST", &format!("{}/drain", instance()), rest).await;
                };
                let started = tokio::time::Instant::now();
                self.request("POST", &format!("{}/drain?wait=true", instance()), "").await;
                let expected: rollcall::model::Duration = expected.parse().unwrap();
                // Rounded: each `advance` takes a millisecond more.
                let elapsed = started.elapsed() + std::time::Duration::from_millis(500);
                assert_eq!(elapsed.as_secs(), expected.std().as_secs(), "{}", step.line);
            }
            "settings" => self.request("PUT", &format!("/v1/services/{word}/settings"), rest).await,
            "events" => self.events(word, &step.below).await,
            "unset" => self.request("DELETE", &format!("/v1/services/{word}/settings"), rest).await,
            "patch" => self.request("PATCH", &instance(), rest).await,
            "delete" => self.request("DELETE", &instance(), rest).await,
            "renew" => self.request("POST", &format!("{}/renew", instance()), rest).await,
            "grant" => {
                let body = format!(r#"{{"ttl":"{rest}"}}"#);
                let reply = self.world.call("POST", "/v1/leases", Some(&body)).await;
                assert_eq!(reply.status, 201, "{}", reply.body);
                self.leases.insert(word.to_owned(), reply.body["id"].as_str().unwrap().to_owned());
            }
            "renew-lease" => {
                let path = format!("/v1/leases/{}/renew", self.leases[word]);
                self.request("POST", &path, rest).await;
            }
            "revoke" => {
                let path = format!("/v1/leases/{}", self.leases[word]);
                self.request("DELETE", &path, rest).await;
            }
            "health" => {
                let (service, id) = word.split_once('/').expect("service/id");
                let mut words = rest.splitn(3, ' ');
                let check = words.next().expect("a check");
                let health = match words.next() {
                    Some("passing") => Health::Passing,
                    Some("critical") => Health::Critical,
                    other => panic!("no health: {other:?}"),
                };
                self.world.observe(service, id, check, health, words.next()).await;
            }
            "pass" | "fail" => {
                let (check, rest) = rest.split_once(' ').unwrap_or((rest, ""));
                self.request("POST", &format!("{}/checks/{check}/{verb}", instance()), rest).await;
            }
            "report" => self.request("POST", &format!("{}/report", instance()), rest).await,
            "guard" => {
                let (ids, evidence) = rest.split_once(' ').expect("who is held, and why");
                self.world.keep(word, Some((ids, evidence))).await;
            }
            "unguard" => self.world.keep(word, None).await,
            "advance" => {
                let duration: rollcall::model::Duration = word.parse().unwrap();
                self.world.advance(duration.std()).await;
            }
            "zone-file" => {
                let refused = self.world.zone_file(word, Some(&format!("{}\n", step.below.join("\n"))));
                let expected: Vec<&str> = rest.strip_prefix("=> ").into_iter().collect();
                assert_eq!(refused, expected);
            }
            "no-zone-file" => assert!(self.world.zone_file(word, None).is_empty()),
            "ask" => self.ask(&Asking::parse(&format!("{word} {rest}")), &step.below).await,
            "ask-many" => self.ask_many(word.parse().expect("how often"), rest, &step.below).await,
            verb => panic!("no such step: {verb}"),
        }
    }

    async fn put_many(&mut self, word: &str, rest: &str) {
        let (service, prefix) = word.split_once('/').unwrap_or((word, "i"));
        let (count, body) = rest.split_once(' ').expect("how many, and a body");
        for n in 1..=count.parse::<u16>().expect("how many") {
            let [high, low] = n.to_be_bytes();
            let body = body.replace("%h", &high.to_string()).replace("%l", &low.to_string());
            self.request("PUT", &format!("/v1/services/{service}/instances/{prefix}{n}"), &body).await;
        }
    }

    async fn ask(&mut self, asking: &Asking, expected: &[String]) {
        let message = asking.message();
        let reply = self.world.ask_from(asking.client, &message, asking.protocol).await;
        assert_eq!(reply.queries, message.queries, "the question is echoed");
        assert_eq!(reply.edns.is_some(), message.edns.is_some(), "OPT in the reply exactly when in the request");
        assert!(reply.metadata.recursion_desired, "RD is copied");

        let mut lines = expected.iter().map(String::as_str).peekable();
        assert_eq!(head(&reply), lines.next().expect("an rcode"), "{reply}");
        if let Some(error) = lines.next_if(|line| line.starts_with("ede ")) {
            let got = extended_error(&reply).map_or("none".to_owned(), |(code, text)| format!("{code} {text}"));
            assert!(is_like(&error["ede ".len()..], &got), "{got:?} instead of {error:?}");
        }
        self.compare_sections(&reply, lines.collect());
    }

    fn compare_sections(&mut self, reply: &Message, expected: Vec<&str>) {
        let mut lines = expected.into_iter().peekable();
        let sections =
            [("answer", &reply.answers), ("authority", &reply.authorities), ("additional", &reply.additionals)];
        for (section, records) in sections {
            let records = shown(records);
            let all = || format!("{section}: {}", records.join("\n"));
            let Some(header) = lines.next_if(|line| line.split_whitespace().next() == Some(section)) else {
                assert!(records.is_empty(), "nothing expected in {}", all());
                continue;
            };
            let mut words = header.split_whitespace().skip(1).peekable();
            let in_a_word = words.peek().is_some();
            while let Some(word) = words.next() {
                let mut name = || words.next().expect("a name").to_owned();
                match word {
                    "as" => drop(self.kept.insert(name(), records.clone())),
                    "like" => assert_eq!(records, self.kept[&name()], "{section}"),
                    "unlike" => assert_ne!(records, self.kept[&name()], "{section}"),
                    count => assert_eq!(records.len().to_string(), count, "{}", all()),
                }
            }
            if in_a_word {
                continue;
            }
            let mut wanted = Vec::new();
            while let Some(line) = lines.next_if(|line| {
                !["answer", "authority", "additional"].contains(&line.split_whitespace().next().unwrap_or_default())
            }) {
                wanted.push(line.split_whitespace().collect::<Vec<_>>().join(" "));
            }
            wanted.sort();
            assert_eq!(records, wanted, "{section}");
        }
        assert_eq!(lines.next(), None, "an extended error first, then answer, authority, additional");
    }

    /// Asks so often and counts which record stands first.
    async fn ask_many(&mut self, times: u16, line: &str, expected: &[String]) {
        let (line, many) = line.strip_suffix(" from many").map_or((line, false), |line| (line, true));
        let mut asking = Asking::parse(line);
        let mut firsts: HashMap<String, f64> = HashMap::new();
        for n in 0..times {
            if many {
                let [high, low] = n.to_be_bytes();
                asking.client.set_ip([10, high, low, 1].into());
            }
            let reply = self.world.ask_from(asking.client, &asking.message(), asking.protocol).await;
            let first = reply.answers.first().expect("an answer").data.to_string();
            *firsts.entry(first).or_default() += 100.0 / f64::from(times);
        }
        for line in expected {
            let share = line.strip_prefix("first ").and_then(|line| line.strip_suffix('%')).expect("first … …%");
            let (data, share) = share.rsplit_once(' ').expect("data and a share");
            let (wanted, got): (f64, f64) =
                (share.parse().expect("a share"), firsts.get(data).copied().unwrap_or_default());
            assert!((wanted - got).abs() <= SHARE_TOLERANCE, "{data} is first {got}%, not {wanted}%: {firsts:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn scenarios_play_as_written() {
    let mut files: Vec<_> = fs::read_dir("tests/scenarios").unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 5, "the scenarios are there");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let mut player = Player { world: World::new().await, leases: HashMap::new(), kept: HashMap::new() };
        for step in steps(&text) {
            // Shown only when the step fails.
            println!("{}:{}: {}", file.display(), step.number, step.line);
            tokio::time::timeout(Duration::from_secs(86_400), player.play(&step)).await.expect("no step hangs");
        }
    }
}
