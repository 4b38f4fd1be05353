//! A registry and its services in networks of their own, with one link between them that is cut.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::{Value, json};

use super::support::dig::{self, Reply};
use super::support::has_programs;
use super::support::namespace::Namespace;
use super::support::program::Program;
use super::support::server::{ROLLCALL, Server};
use super::support::wait::until;

const NEEDED: &str = "root, iproute2 and dig";
const DNS: &str = "127.0.0.1:53";

/// The network of the registry and that of the services, 10.77.0.1 to 10.77.0.8, with a link between them.
struct Site {
    registry: Namespace,
    services: Namespace,
}

impl Site {
    fn new() -> Self {
        let (registry, services) = (Namespace::new(""), Namespace::new(""));
        registry.ip(&["link", "add", "up0", "type", "veth", "peer", "name", "down0", "netns", services.name()]);
        registry.ip(&["address", "add", "10.77.0.100/24", "dev", "up0"]);
        services.ip(&["link", "set", "down0", "up"]);
        registry.ip(&["link", "set", "up0", "up"]);
        for host in 1..=8 {
            services.ip(&["address", "add", &format!("10.77.0.{host}/24"), "dev", "down0"]);
        }
        let site = Self { registry, services };
        // The kernel takes up to a second to call a link with a carrier running.
        until("the link is running", || {
            let shown = site.registry.command("ip").args(["-o", "link", "show", "up0"]).output().unwrap();
            let text = String::from_utf8_lossy(&shown.stdout).into_owned();
            if text.contains(" state UP ") { Ok(()) } else { Err(text) }
        });
        site
    }

    /// Something that accepts connections at port 80 of these hosts: a server's DNS does.
    fn listen(&self, hosts: std::ops::RangeInclusive<u8>) -> Program {
        let at: Vec<String> = hosts.map(|host| format!("10.77.0.{host}:80")).collect();
        let mut command = self.services.command(ROLLCALL);
        let flags = ["serve", "--memory", "--log-format=json", "--http=127.0.0.1:0", "--dns", &at.join(",")];
        let mut program = Program::start(command.args(flags));
        program.line("it listens", |line| line.contains("serving the API").then_some(()));
        program
    }

    /// A registry in which all eight are in answers.
    fn serve(&self) -> Server {
        let server = self.registry.serve(DNS);
        for host in 1..=8 {
            let address = format!("--address=10.77.0.{host}");
            let id = format!("--id=i{host}");
            let words =
                ["register", "web", &id, &address, "--port=80", "--check=tcp", "--interval=1s", "--timeout=500ms"];
            self.registry.rollcall(&server, &words);
        }
        self.until(&server, "all are answered", |reply| reply.answer.len() == 8);
        server
    }

    fn ask(&self) -> Result<Reply, String> {
        let mut dig = Command::new("ip");
        dig.args(["netns", "exec", self.registry.name(), "dig", "-r", "+tries=1", "+time=2"]);
        dig::try_ask(dig, DNS.parse::<SocketAddr>().unwrap(), &["web.svc.internal"])
    }

    fn until(&self, server: &Server, what: &str, holds: impl Fn(&Reply) -> bool) -> Reply {
        until(what, || match self.ask() {
            Ok(reply) if holds(&reply) => Ok(reply),
            Ok(reply) => Err(format!("{}; the server said:\n{}", reply.text, server.output())),
            Err(error) => Err(error),
        })
    }

    fn status(&self, server: &Server) -> Value {
        let mut curl = self.registry.command("curl");
        let output = curl.args(["-s", &format!("http://{}/v1/status", server.http)]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn is_stale(reply: &Reply) -> bool {
    reply.text.contains("EDE: 3 (Stale Answer)")
}

fn ttl(reply: &Reply) -> &str {
    reply.answer[0].split(' ').nth(1).unwrap()
}

/// What is answered while a link is cut in some way and comes back.
fn cut(cut: impl Fn(&Site), mend: impl Fn(&Site)) {
    if !has_programs(NEEDED) {
        return;
    }
    let site = Site::new();
    let _services = site.listen(1..=8);
    let server = site.serve();
    let all = |reply: &Reply| {
        assert_eq!(reply.answer.len(), 8, "the last good set is never cut: {}; {}", reply.text, server.output());
        true
    };
    cut(&site);
    let reply = site.until(&server, "the guard holds", |reply| all(reply) && is_stale(reply));
    assert_eq!(ttl(&reply), "2", "{}", reply.text);
    assert!(reply.text.contains("no network interface is up since"), "the evidence, for loopback: {}", reply.text);
    let status = site.status(&server);
    assert_eq!(status["guarded"][0]["service"], "web", "{status}");
    assert_eq!(status["answered"], 8, "{status}");

    mend(&site);
    let reply = site.until(&server, "the guard ends", |reply| all(reply) && !is_stale(reply));
    assert_eq!(ttl(&reply), "5", "{}", reply.text);
    assert_eq!(site.status(&server)["guarded"], json!([]));
    server.stop();
}

#[test]
fn a_link_that_is_taken_down_takes_nobody_out_of_answers() {
    cut(
        |site| site.registry.ip(&["link", "set", "up0", "down"]),
        |site| site.registry.ip(&["link", "set", "up0", "up"]),
    );
}

#[test]
fn a_link_that_loses_its_carrier_takes_nobody_out_of_answers() {
    cut(
        |site| site.services.ip(&["link", "set", "down0", "down"]),
        |site| site.services.ip(&["link", "set", "down0", "up"]),
    );
}

#[test]
fn half_of_the_services_that_are_killed_leave() {
    if !has_programs(NEEDED) {
        return;
    }
    let site = Site::new();
    let (_first, second) = (site.listen(1..=4), site.listen(5..=8));
    let server = site.serve();
    drop(second);
    let reply = site.until(&server, "the dead leave", |reply| reply.answer.len() <= 4);
    assert!(!is_stale(&reply), "{}", reply.text);
    let reply = site.until(&server, "the others stay", |reply| reply.answer.len() == 4);
    assert!(reply.answer.iter().all(|line| line.ends_with(['1', '2', '3', '4'])), "{}", reply.text);
    server.stop();
}

#[test]
fn hosts_that_are_gone_leave_while_the_link_is_up() {
    if !has_programs(NEEDED) {
        return;
    }
    let site = Site::new();
    let _services = site.listen(1..=8);
    let server = site.serve();
    for host in 4..=8 {
        site.services.ip(&["address", "del", &format!("10.77.0.{host}/24"), "dev", "down0"]);
    }
    let reply = site.until(&server, "the silent leave", |reply| reply.answer.len() == 3);
    assert!(!is_stale(&reply), "{}", reply.text);
    server.stop();
}
