//! Staying listed: leases renewed in time, registrations made again when the server lost them.

mod kept;
mod machine;
#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::sync::{broadcast, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::backoff::Backoff;
use super::{Client, ClientError, Instance, Limits, Registration};
use crate::model::Timestamp;
use kept::{Kept, Parting, part};
use machine::{Duty, Machine};

/// Events that wait to be read; the latest are kept.
const EVENTS_MAX: usize = 16;
/// How often a sleeper looks whether the machine slept too: its timers stood still then, and the lease did not.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// How much further the clock on the wall has to be for that.
const SLEPT: Duration = Duration::from_secs(1);

/// Something worth knowing about what is kept.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum KeepEvent {
    /// It is registered: for the first time, or `again` after the server lost it.
    Registered {
        /// As the server knows it.
        instances: Vec<Instance>,
        /// Whether it was registered before.
        again: bool,
    },
    /// The lease cannot be renewed at the moment, and ends if that goes on. Said once, until [`KeepEvent::Back`].
    Lost {
        /// What the first try failed with.
        because: ClientError,
    },
    /// The server answers again.
    Back,
    /// One of several is refused for good, and no longer kept.
    LeftOut {
        /// Its service.
        service: String,
        /// Its id.
        id: String,
        /// What the server said.
        because: ClientError,
    },
    /// The server refuses for good: another has taken the place (409), or the registration is not possible. The last
    /// event.
    Stopped {
        /// What the server said.
        because: ClientError,
    },
}

/// Where something that is kept stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It has not been registered yet.
    Pending,
    /// It was registered when the server was last asked.
    Listed,
    /// It was registered, and the server does not answer.
    Lost,
    /// It is no longer kept: see [`KeepEvent::Stopped`].
    Stopped,
}

/// Keeps one or more instances listed for as long as it lives.
///
/// Dropped, it renews no more, and the lease lapses. [`KeepAlive::close`] takes away at once what is kept. Nobody has to
/// read [`KeepAlive::next`]: the latest events are kept.
#[derive(Debug)]
pub struct KeepAlive {
    client: Client,
    members: Vec<Registration>,
    instances: Vec<Instance>,
    events: broadcast::Receiver<KeepEvent>,
    standing: watch::Receiver<Standing>,
    /// Asks the task to take everything away, and how that went.
    close: Option<oneshot::Sender<oneshot::Sender<Result<(), ClientError>>>>,
    task: JoinHandle<()>,
}

impl Drop for KeepAlive {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl KeepAlive {
    fn start(client: &Client, kept: Kept, machine: Machine, instances: Vec<Instance>) -> Self {
        let patience = machine.patience();
        let limits = Limits {
            connect_timeout: client.limits.connect_timeout.min(patience),
            response_timeout: client.limits.response_timeout.min(patience),
            ..client.limits
        };
        let client = client.clone().with_limits(limits);
        let (tell, events) = broadcast::channel(EVENTS_MAX);
        let first = if machine.duty() == Duty::Renew { Standing::Listed } else { Standing::Pending };
        let (stand, standing) = watch::channel(first);
        let (close, closing) = oneshot::channel();
        let members = kept.members().to_vec();
        let task = tokio::spawn(tend(client.clone(), kept, machine, tell, stand, closing));
        Self { client, members, instances, events, standing, close: Some(close), task }
    }

    /// The instances as they were registered first; none if that was not waited for.
    pub fn instances(&self) -> &[Instance] {
        &self.instances
    }

    /// Where it stands now.
    pub fn standing(&self) -> Standing {
        *self.standing.borrow()
    }

    /// The next event; `None` after [`KeepEvent::Stopped`]. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<KeepEvent> {
        loop {
            match self.events.recv().await {
                Ok(event) => return Some(event),
                // Older ones made room for later ones.
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// Takes the instances out of answers and waits until no cache holds them any more, at most `max`. They stay
    /// registered, and are renewed meanwhile; an instance that another start of it has registered since is left alone. End the service and then [`close`](Self::close). What is not registered,
    /// or not any more, needs no drain. The future does not borrow, so that events can be read meanwhile.
    ///
    /// # Errors
    /// When the server said no, or could not be reached for all that time.
    pub fn drain(&self, max: Duration) -> impl Future<Output = Result<(), ClientError>> + Send + use<> {
        let (client, members) = (self.client.clone(), self.members.clone());
        async move {
            let until = Instant::now() + max;
            for member in &members {
                drain(&client, member, until).await?;
            }
            Ok(())
        }
    }

    /// Takes away what is kept, at once: deregisters the instance, or revokes the lease that several share. An instance
    /// with a `generation` that another start of it has registered since is left alone.
    ///
    /// # Errors
    /// When the server could not be reached, or said no. It leaves when its lease ends.
    pub async fn close(mut self) -> Result<(), ClientError> {
        let (reply, done) = oneshot::channel();
        let asked = self.close.take().is_some_and(|close| close.send(reply).is_ok());
        // A task that has ended has nothing to take away.
        if asked { done.await.unwrap_or(Ok(())) } else { Ok(()) }
    }
}

/// Drains one instance, with more tries while the server is in trouble.
async fn drain(client: &Client, member: &Registration, until: Instant) -> Result<(), ClientError> {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
    let mut last = Ok(());
    loop {
        match timeout_at(until, part(client, member, Parting::Drain)).await {
            // It is withdrawn, and whoever still holds it has had its time; or nobody was ever reached.
            Err(_) => return last,
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) if error.status() == Some(404) => return Ok(()),
            Ok(Err(error)) if error.is_temporary() => {
                let retry_at = Instant::now() + backoff.pause(error.retry_after(), fastrand::f64());
                if retry_at >= until {
                    return Err(error);
                }
                last = Err(error);
                sleep_until(retry_at).await;
            }
            Ok(Err(error)) => return Err(error),
        }
    }
}

/// Keeps it until it is dropped, or told to take it away.
async fn tend(
    client: Client,
    mut kept: Kept,
    mut machine: Machine,
    tell: broadcast::Sender<KeepEvent>,
    stand: watch::Sender<Standing>,
    mut closing: oneshot::Receiver<oneshot::Sender<Result<(), ClientError>>>,
) {
    let report = |event| {
        stand.send_modify(|standing| {
            *standing = match (&event, *standing) {
                (KeepEvent::Registered { .. }, _) | (KeepEvent::Back, Standing::Lost) => Standing::Listed,
                // What was never registered is not lost.
                (KeepEvent::Lost { .. }, Standing::Listed) => Standing::Lost,
                (KeepEvent::Stopped { .. }, _) => Standing::Stopped,
                (_, unchanged) => unchanged,
            }
        });
        // Nobody listens when the handle is gone, and then this is about to end.
        let _ = tell.send(event);
    };
    loop {
        if machine.duty() == Duty::Rest {
            break;
        }
        tokio::select! {
            biased;
            reply = &mut closing => {
                if let Ok(reply) = reply {
                    let _ = reply.send(kept.leave(&client).await);
                }
                return;
            }
            () = wait_until(machine.due()) => {}
        }
        let asked_at = Instant::now();
        // Not given up for a departure: what is on its way would arrive after that.
        let outcome = match machine.duty() {
            Duty::Register => kept.register(&client, report).await,
            Duty::Renew => kept.renew(&client).await,
            Duty::Rest => continue,
        };
        for event in machine.settle(outcome, asked_at, Instant::now(), fastrand::f64()) {
            report(event);
        }
    }
    drop(tell);
    // One that was refused is another's, or nobody's. A lease that several share is still ours.
    if let Ok(reply) = closing.await {
        let left = if matches!(kept, Kept::Shared { .. }) { kept.leave(&client).await } else { Ok(()) };
        let _ = reply.send(left);
    }
}

/// Waits for that time, or until this machine has slept: nobody knows then what has become of the lease.
async fn wait_until(due: Instant) {
    while Instant::now() < due {
        let (before, wall_before) = (Instant::now(), Timestamp::now());
        sleep_until(due.min(before + LOOK_INTERVAL)).await;
        if wall_before.until(Timestamp::now()) > before.elapsed() + SLEPT {
            return;
        }
    }
}

impl Client {
    /// Registers an instance on a lease of its own, and keeps it listed: renews the lease every third of `ttl` (whole
    /// seconds, 2 s to 24 h), and registers again when the server has lost it.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use rollcall::client::{Check, Client, KeepEvent, Registration};
    ///
    /// # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = Client::from_environment()?;
    /// let registration = Registration::new("web", "w1", 8080).check(Check::http("/healthz")).started_now();
    /// let mut kept = client.register_with_lease(&registration, Duration::from_secs(15)).await?;
    /// println!("listed as {}", kept.instances()[0].dns_name);
    /// loop {
    ///     tokio::select! {
    ///         event = kept.next() => match event {
    ///             Some(KeepEvent::Lost { because }) => eprintln!("not renewed: {because}"),
    ///             Some(KeepEvent::Stopped { because }) => return Err(because.into()),
    ///             _ => {}
    ///         },
    ///         _ = tokio::signal::ctrl_c() => break,
    ///     }
    /// }
    /// // Out of answers, wait for caches, and away.
    /// kept.drain(Duration::from_secs(30)).await?;
    /// kept.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When it cannot be registered now: as [`Client::request`].
    pub async fn register_with_lease(
        &self,
        registration: &Registration,
        ttl: Duration,
    ) -> Result<KeepAlive, ClientError> {
        let registration = registration.clone().own_lease(ttl);
        let asked_at = Instant::now();
        let instance = self.register_instance(&registration).await?;
        let machine = Machine::new(ttl, true, asked_at);
        Ok(KeepAlive::start(self, Kept::One(registration), machine, vec![instance]))
    }

    /// The same without waiting: it is registered as soon as a server answers, however long that takes.
    pub fn keep_registered(&self, registration: &Registration, ttl: Duration) -> KeepAlive {
        let kept = Kept::One(registration.clone().own_lease(ttl));
        KeepAlive::start(self, kept, Machine::new(ttl, false, Instant::now()), Vec::new())
    }

    /// Registers several instances on one lease, and keeps all of them listed with one renewal. An instance that somebody
    /// deregisters stays away until the lease is lost, because renewing it tells nothing of them.
    ///
    /// # Errors
    /// When one of them cannot be registered now, after which none is: as [`Client::request`].
    pub async fn register_on_shared_lease(
        &self,
        registrations: &[Registration],
        ttl: Duration,
    ) -> Result<KeepAlive, ClientError> {
        let asked_at = Instant::now();
        let lease = self.grant(ttl).await?.id;
        let mut instances = Vec::with_capacity(registrations.len());
        for registration in registrations {
            match self.register_instance(&registration.clone().on_lease(&lease)).await {
                Ok(instance) => instances.push(instance),
                Err(error) => {
                    // It would lapse by itself; the error that counts is the first.
                    let _ = self.revoke(&lease).await;
                    return Err(error);
                }
            }
        }
        let kept = Kept::Shared { lease: Some(lease), ttl, members: registrations.to_vec() };
        Ok(KeepAlive::start(self, kept, Machine::new(ttl, true, asked_at), instances))
    }

    /// Registers an instance and returns it as the server knows it. Nobody renews a lease that it names.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn register_instance(&self, registration: &Registration) -> Result<Instance, ClientError> {
        let body = registration.body().clone().into();
        self.read(self.register(registration.service(), Some(registration.id()), &body).await?)
    }
}
