//! Dialogues as text: every file of `tests/scenarios` is played against a whole Rollcall under simulated time.
//!
//! ```text
//! # a comment
//! put web/i1 {"address":"10.0.0.1","port":80}       register; also patch, delete, renew; `=> 409 name-taken`
//! grant L 15s · renew-lease L · revoke L            leases by a name of the file's own, `$L` in bodies
//! health web/i1 http critical connection refused    what a check found
//! advance 5s
//! ask web.svc.internal. A [tcp] [noedns] [edns=512] [rotated]
//!   NOERROR aa                                      rcode and flags (aa tc ra)
//!   answer                                          sections, in any order of records
//!     web.svc.internal. 5 IN A 10.0.0.1
//!   additional 2                                    or only how many
//! ```

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::{DNSClass, Name, Record, RecordType};
use rollcall::dns::Protocol;
use rollcall::model::Health;

use super::support::world::World;

/// A line of a scenario and the lines indented below it.
struct Step {
    number: usize,
    line: String,
    below: Vec<String>,
}

fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (number, line) in text.lines().enumerate() {
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

    async fn play(&mut self, step: &Step) {
        let (verb, rest) = step.line.split_once(' ').unwrap_or((&step.line, ""));
        let (word, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let instance = || {
            let (service, id) = word.split_once('/').expect("service/id");
            format!("/v1/services/{service}/instances/{id}")
        };
        match verb {
            "put" => self.request("PUT", &instance(), rest).await,
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
            "advance" => {
                let duration: rollcall::model::Duration = word.parse().unwrap();
                self.world.advance(duration.std()).await;
            }
            "ask" => self.ask(word, rest, &step.below).await,
            verb => panic!("no such step: {verb}"),
        }
    }

    async fn ask(&mut self, name: &str, rest: &str, expected: &[String]) {
        let mut words = rest.split_whitespace();
        let record_type: RecordType = words.next().expect("a type").parse().expect("a known type");
        let mut query = Query::query(Name::from_ascii(name).unwrap(), record_type);
        let (mut protocol, mut payload) = (Protocol::Udp, Some(1232));
        for word in words {
            match word {
                "tcp" => protocol = Protocol::Tcp,
                "noedns" => payload = None,
                "CH" => drop(query.set_query_class(DNSClass::CH)),
                word => payload = Some(word.strip_prefix("edns=").expect("a known word").parse().unwrap()),
            }
        }
        let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
        message.add_query(query);
        message.metadata.recursion_desired = true;
        if let Some(payload) = payload {
            let mut edns = Edns::new();
            edns.set_max_payload(payload);
            message.edns = Some(edns);
        }
        let reply = self.world.ask(&message, protocol).await;
        assert_eq!(reply.queries, message.queries, "the question is echoed");
        assert_eq!(reply.edns.is_some(), message.edns.is_some(), "OPT in the reply exactly when in the request");
        assert!(reply.metadata.recursion_desired, "RD is copied");

        let flags = [
            ("aa", reply.metadata.authoritative),
            ("tc", reply.metadata.truncation),
            ("ra", reply.metadata.recursion_available),
        ];
        let head: Vec<&str> = flags.iter().filter(|(_, set)| *set).map(|(name, _)| *name).collect();
        let rcode = format!("{:?}", reply.metadata.response_code).to_uppercase();
        let mut lines = expected.iter().peekable();
        let wanted = lines.next().expect("an rcode");
        let got = std::iter::once(&*rcode).chain(head).collect::<Vec<_>>().join(" ");
        assert_eq!(&got, wanted, "{reply}");
        let sections =
            [("answer", &reply.answers), ("authority", &reply.authorities), ("additional", &reply.additionals)];
        for (section, records) in sections {
            let header = lines.peek().filter(|line| line.split_whitespace().next() == Some(section)).copied();
            let Some(header) = header else {
                assert!(records.is_empty(), "nothing expected in {section}: {}", show(records).join("\n"));
                continue;
            };
            lines.next();
            if let Some(count) = header.split_whitespace().nth(1) {
                assert_eq!(records.len().to_string(), count, "{section}: {}", show(records).join("\n"));
                continue;
            }
            let mut wanted = Vec::new();
            while let Some(line) = lines.next_if(|line| {
                !["answer", "authority", "additional"].contains(&line.split_whitespace().next().unwrap_or_default())
            }) {
                wanted.push(line.split_whitespace().collect::<Vec<_>>().join(" "));
            }
            wanted.sort();
            assert_eq!(show(records), wanted, "{section}");
        }
        assert!(lines.next().is_none(), "sections in the order answer, authority, additional");
    }
}

/// Records in zone-file notation, sorted.
fn show(records: &[Record]) -> Vec<String> {
    let mut lines: Vec<String> = records.iter().map(|record| record.to_string().replace('\t', " ")).collect();
    lines.sort();
    lines
}

#[tokio::test(start_paused = true)]
async fn scenarios_play_as_written() {
    let mut files: Vec<_> = fs::read_dir("tests/scenarios").unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 5, "the scenarios are there");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let mut player = Player { world: World::new().await, leases: HashMap::new() };
        for step in steps(&text) {
            // Shown only when the step fails.
            println!("{}:{}: {}", file.display(), step.number, step.line);
            tokio::time::timeout(Duration::from_secs(86_400), player.play(&step)).await.expect("no step hangs");
        }
    }
}
