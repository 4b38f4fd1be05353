//! The course of a program: what happens to it and to its registration, in which order.

use std::io::Write;
use std::net::IpAddr;
use std::pin::Pin;

use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::child::{Child, exit_code};
use super::listening::listening;
use super::signals::Signals;
use super::{RunArgs, say};
use crate::cli::fault::Fault;
use crate::client::{Client, ClientError, Instance, KeepAlive, KeepEvent, Registration, Standing, Watch, WatchEvent};

/// How long a departure may take at the end: the lease would end it too.
const LEAVE_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(5);
/// How long a drain is tried for at a server that is known to be away.
const LOST_DRAIN_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(5);

/// Something that goes on beside the program, if it does.
type Task<T> = Option<Pin<Box<dyn Future<Output = T>>>>;

/// Waits for a task that there may be; once it has ended there is none any more.
async fn of<T>(task: &mut Task<T>) -> T {
    match task {
        Some(running) => {
            let ended = running.await;
            *task = None;
            ended
        }
        None => std::future::pending().await,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    Draining,
    /// It has been told to end.
    Stopping,
    Killed,
}

pub(super) struct Course<'a> {
    args: &'a RunArgs,
    client: Client,
    registration: Registration,
    /// `service/id`
    name: String,
    child: Child,
    signals: Signals,
    phase: Phase,
    /// Until when a newcomer is waited for.
    wait_until: Instant,
    kept: Option<KeepAlive>,
    /// Whether there is anything to take away.
    is_registered: bool,
    /// Whether it listens now.
    starting: Task<bool>,
    /// The end of a drain that the start before this one began.
    lifting: Task<Result<(), ClientError>>,
    /// Whether DNS answers with it now, or why not.
    appearing: Task<Result<(), Option<String>>>,
    drain_until: Instant,
    draining: Task<Result<(), ClientError>>,
    /// A registration that is not wanted any more.
    leaving: Task<Result<(), ClientError>>,
    kill_at: Option<Instant>,
}

impl<'a> Course<'a> {
    pub(super) fn new(
        args: &'a RunArgs,
        client: Client,
        registration: Registration,
        child: Child,
        signals: Signals,
    ) -> Self {
        let now = Instant::now();
        let wait_until = now + args.wait.std();
        let starting = starts(args.instance.addresses().to_vec(), args.instance.port(), wait_until);
        let at_once = args.instance.is_udp() || args.wait.as_millis() == 0;
        Self {
            args,
            client,
            name: format!("{}/{}", registration.service(), registration.id()),
            registration,
            child,
            signals,
            phase: Phase::Running,
            wait_until,
            kept: None,
            is_registered: false,
            starting: Some(if at_once { Box::pin(std::future::ready(true)) } else { Box::pin(starting) }),
            lifting: None,
            appearing: None,
            drain_until: now,
            draining: None,
            leaving: None,
            kill_at: None,
        }
    }

    /// Until the program has ended; its exit code.
    pub(super) async fn run(mut self, err: &mut dyn Write) -> Result<u8, Fault> {
        let ended = loop {
            let event = async {
                match &mut self.kept {
                    Some(kept) => kept.next().await,
                    None => std::future::pending().await,
                }
            };
            let kill_at = self.kill_at;
            tokio::select! {
                ended = self.child.wait() => break ended,
                signal = self.signals.next() => self.take(signal, err),
                event = event => match event {
                    Some(event) => self.hear(event, err),
                    // It is over, and has said so.
                    None => self.kept = None,
                },
                listens = of(&mut self.starting) => {
                    if !listens {
                        let (port, wait) = (self.args.instance.port(), self.args.wait);
                        say(err, &format!("nobody listens on port {port} after {wait}; registering it all the same"));
                    }
                    let kept = self.client.keep_registered(&self.registration, self.args.lease_ttl.std());
                    self.kept = Some(kept);
                }
                appeared = of(&mut self.appearing) => match appeared {
                    Ok(()) if !self.is_registered => {}
            Ok(()) => say(err, &format!("{} is answered", self.name)),
                    Err(why) => {
                        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
                        say(err, &format!("{} is registered, but not answered after {}{why}", self.name, self.args.wait));
                    }
                },
                lifted = of(&mut self.lifting) => if let Err(error) = lifted {
                    say(err, &format!("{} is still draining: {error}", self.name));
                },
                drained = of(&mut self.draining) => {
                    if let Err(error) = drained {
                        say(err, &format!("{} was not drained: {error}", self.name));
                    }
                    self.stop();
                }
                left = of(&mut self.leaving) => self.say_left(left, err),
                () = sleep_until(kill_at.unwrap_or_else(Instant::now)), if kill_at.is_some() => self.kill(err),
            }
        };
        if let Some(kept) = self.kept.take() {
            self.leaving = Some(Box::pin(kept.close()));
        }
        if let Some(leaving) = self.leaving.take() {
            let unreachable = ClientError::Unreachable { tried: Vec::new(), last: "it took too long".to_owned() };
            let left = timeout(LEAVE_TIME_MAX, leaving).await.unwrap_or(Err(unreachable));
            self.say_left(left, err);
        }
        Ok(exit_code(ended?))
    }

    /// What a signal does.
    fn take(&mut self, signal: Signal, err: &mut dyn Write) {
        match (signal, self.phase) {
            (Signal::SIGCHLD, _) => self.child.reap_orphans(),
            (Signal::SIGTERM | Signal::SIGINT, Phase::Running) => self.leave(err),
            // Whoever asks again does not want to wait.
            (Signal::SIGTERM | Signal::SIGINT, Phase::Draining) => self.stop(),
            (Signal::SIGTERM | Signal::SIGINT, Phase::Stopping | Phase::Killed) => self.kill(err),
            (other, _) => self.child.signal(other),
        }
    }

    /// Out of answers first, where it is in any.
    fn leave(&mut self, err: &mut dyn Write) {
        (self.starting, self.lifting, self.appearing) = (None, None, None);
        let standing = self.kept.as_ref().map(KeepAlive::standing);
        let max = match standing {
            Some(Standing::Listed) => self.args.drain_max.std(),
            Some(Standing::Lost) => self.args.drain_max.std().min(LOST_DRAIN_TIME_MAX),
            // It is in nobody's answers, and should not come into any now.
            Some(Standing::Pending | Standing::Stopped) | None => {
                if let Some(kept) = self.kept.take() {
                    self.leaving = Some(Box::pin(kept.close()));
                }
                return self.stop();
            }
        };
        if max.is_zero() {
            return self.stop();
        }
        say(err, &format!("{} is drained before it is stopped", self.name));
        self.phase = Phase::Draining;
        self.drain_until = Instant::now() + max;
        self.drain();
    }

    fn drain(&mut self) {
        let left = self.drain_until.saturating_duration_since(Instant::now());
        let drain = self.kept.as_ref().map(|kept| kept.drain(left));
        self.draining = drain.map(|drain| Box::pin(drain) as Pin<Box<_>>);
    }

    fn stop(&mut self) {
        self.draining = None;
        self.phase = Phase::Stopping;
        self.child.signal(Signal::SIGTERM);
        self.kill_at = Some(Instant::now() + self.args.grace.std());
    }

    fn kill(&mut self, err: &mut dyn Write) {
        self.kill_at = None;
        if self.phase != Phase::Killed {
            say(err, "the program does not end and is killed");
        }
        self.phase = Phase::Killed;
        self.child.signal(Signal::SIGKILL);
    }

    /// What becomes of the registration.
    fn hear(&mut self, event: KeepEvent, err: &mut dyn Write) {
        let name = &self.name;
        match event {
            KeepEvent::Registered { instances, again } => {
                self.is_registered = true;
                let dns_name = instances.first().map(|instance| instance.dns_name.as_str()).unwrap_or_default();
                let again = if again { " again" } else { "" };
                say(err, &format!("{name} is registered{again}: {dns_name}"));
                match self.phase {
                    Phase::Running => {
                        self.lift(&instances);
                        self.await_answers(&instances);
                    }
                    // The server had forgotten the drain too.
                    Phase::Draining => self.drain(),
                    Phase::Stopping | Phase::Killed => {}
                }
            }
            KeepEvent::Lost { because } => {
                let what = if self.kept.as_ref().is_some_and(|kept| kept.standing() == Standing::Pending) {
                    "registered"
                } else {
                    "renewed"
                };
                say(err, &format!("{name} cannot be {what} at the moment, and the program goes on: {because}"));
            }
            KeepEvent::Back => say(err, "the server answers again"),
            KeepEvent::LeftOut { because, .. } | KeepEvent::Stopped { because } => {
                self.is_registered = false;
                say(err, &format!("{name} is not registered any more, and the program goes on: {because}"));
            }
        }
    }

    /// Registering again keeps the state, and this may be a restart whose predecessor was drained to be stopped. What an
    /// operator has put into maintenance stays there.
    fn lift(&mut self, instances: &[Instance]) {
        if instances.first().is_none_or(|instance| instance.state != "draining") {
            return;
        }
        let (client, registration) = (self.client.clone(), self.registration.clone());
        self.lifting = Some(Box::pin(async move {
            let up = serde_json::json!({"state": "up"});
            client.amend(registration.service(), registration.id(), &up).await.map(drop)
        }));
    }

    /// Watches for a newcomer to come into answers.
    fn await_answers(&mut self, instances: &[Instance]) {
        let Some(instance) = instances.first().filter(|_| Instant::now() < self.wait_until) else { return };
        let watch = self.client.watch_service(&instance.service);
        let (id, until, why) = (instance.id.clone(), self.wait_until, instance.withheld_because.clone());
        self.appearing = if instance.answered {
            Some(Box::pin(std::future::ready(Ok(()))))
        } else {
            Some(Box::pin(appears(watch, id, until, why)))
        };
    }

    fn say_left(&self, left: Result<(), ClientError>, err: &mut dyn Write) {
        match left {
            Ok(()) if !self.is_registered => {}
            Ok(()) => say(err, &format!("{} has left", self.name)),
            Err(error) => {
                // What a server took may have had no answer, or be from before it went away.
                let advice = match self.is_registered {
                    true => "it leaves when its lease ends",
                    false => "if it was registered, it leaves when its lease ends",
                };
                say(err, &format!("{} was not deregistered, and {advice}: {error}", self.name));
            }
        }
    }
}

/// Whether the program listens before the wait is over.
async fn starts(addresses: Vec<IpAddr>, port: u16, until: Instant) -> bool {
    timeout_at(until, listening(addresses, port)).await.is_ok()
}

/// Waits until DNS answers with an instance; why it does not at the end of the wait.
async fn appears(mut watch: Watch, id: String, until: Instant, mut why: Option<String>) -> Result<(), Option<String>> {
    while let Ok(Ok(event)) = timeout_at(until, watch.next()).await {
        let instances: Vec<Instance> = match event {
            WatchEvent::Snapshot { instances, .. } => instances,
            WatchEvent::Changed { changes, .. } => changes.into_iter().filter_map(|change| change.instance).collect(),
            _ => continue,
        };
        if let Some(instance) = instances.into_iter().rfind(|instance| instance.id == id) {
            if instance.answered {
                return Ok(());
            }
            why = instance.withheld_because;
        }
    }
    // A watch that was refused tells as little as one that was never told anything.
    Err(why)
}
