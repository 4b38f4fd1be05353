//! Events that go on over lost connections.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use super::backoff::Backoff;
use super::events::{Event, Events};
use super::shape::{Change, Instance};
use super::{Client, ClientError, Watched};

/// Between two tries to come back, at first and at most.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_LONGEST: Duration = Duration::from_secs(5);

/// What a [`Follow`] has to say.
#[derive(Debug, Clone, PartialEq)]
pub enum Followed {
    /// An event, as the server sent it.
    Event(Event),
    /// The connection is lost, or a server was silent for too long. Said once, until [`Followed::Back`].
    Lost(ClientError),
    /// Connected again; what was missed comes next.
    Back,
}

/// Events of the API that go on after the last one when a connection is lost.
#[derive(Debug)]
pub struct Follow {
    client: Client,
    service: Option<String>,
    under: Option<String>,
    position: Option<String>,
    events: Option<Events>,
    backoff: Backoff,
    retry_at: Option<Instant>,
    is_lost: bool,
}

impl Follow {
    /// Connects, if it is not connected. It is not needed: [`Follow::next`] does so for as long as it takes.
    ///
    /// # Errors
    /// When no server answered, or one said no.
    pub async fn connect(&mut self) -> Result<(), ClientError> {
        if self.events.is_none() {
            let watched = Watched { service: self.service.as_deref(), under: self.under.as_deref() };
            self.events = Some(self.client.watch(watched, self.position.as_deref()).await?);
        }
        Ok(())
    }

    /// The position after the last event, for whoever goes on in another process.
    pub fn last_id(&self) -> Option<&str> {
        self.events.as_ref().and_then(Events::last_id).or(self.position.as_deref())
    }

    /// Waits for what comes next. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When a server says no, or what it sends is larger than the client's limit. Asking again would only be answered
    /// the same.
    pub async fn next(&mut self) -> Result<Followed, ClientError> {
        loop {
            let Some(events) = &mut self.events else {
                if let Some(said) = self.come_back().await? {
                    return Ok(said);
                }
                continue;
            };
            let error = match events.next().await {
                Ok(Some(event)) => {
                    self.backoff.reset();
                    return Ok(Followed::Event(event));
                }
                // It is restarting, or we were too slow for it.
                Ok(None) => None,
                Err(error @ ClientError::Unreachable { .. }) => Some(error),
                Err(error) => return Err(error),
            };
            self.position = events.last_id().map(str::to_owned).or(self.position.take());
            self.events = None;
            if let Some(said) = self.lose(error) {
                return Ok(said);
            }
        }
    }

    /// One try to connect, when its time has come.
    async fn come_back(&mut self) -> Result<Option<Followed>, ClientError> {
        if let Some(retry_at) = self.retry_at {
            sleep_until(retry_at).await;
        }
        match self.connect().await {
            Ok(()) => {
                self.retry_at = None;
                Ok(std::mem::take(&mut self.is_lost).then_some(Followed::Back))
            }
            Err(error) if error.is_temporary() => Ok(self.lose(Some(error))),
            Err(error) => Err(error),
        }
    }

    /// A stream that a server ended in order, without an error, is only lost when it cannot be taken up again.
    fn lose(&mut self, error: Option<ClientError>) -> Option<Followed> {
        let retry_after = error.as_ref().and_then(ClientError::retry_after);
        self.retry_at = Some(Instant::now() + self.backoff.pause(retry_after, fastrand::f64()));
        let error = error?;
        (!std::mem::replace(&mut self.is_lost, true)).then_some(Followed::Lost(error))
    }
}

/// What a [`Watch`] has to say.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum WatchEvent {
    /// Forget everything: what there is follows. The first event, and another one whenever more was missed than the
    /// server keeps.
    Reset,
    /// Some of what there is.
    Snapshot {
        /// Instances, perhaps none.
        instances: Vec<Instance>,
        /// Whether that was all; changes follow.
        is_last: bool,
    },
    /// What happened at once.
    Changed {
        /// The position of the change in the registry's history.
        revision: u64,
        /// The changes.
        changes: Vec<Change>,
    },
    /// The server does not answer; what is known may be out of date. Said once, until [`WatchEvent::Back`].
    Lost {
        /// Why.
        because: ClientError,
    },
    /// Connected again; what was missed comes next.
    Back,
}

/// Changes of instances as they happen, over lost connections too.
#[derive(Debug)]
pub struct Watch {
    follow: Follow,
}

impl Watch {
    /// Waits for what comes next. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When a server says no, or does not speak this API.
    pub async fn next(&mut self) -> Result<WatchEvent, ClientError> {
        loop {
            match self.follow.next().await? {
                Followed::Lost(because) => return Ok(WatchEvent::Lost { because }),
                Followed::Back => return Ok(WatchEvent::Back),
                Followed::Event(event) => {
                    if let Some(event) = self.typed(&event)? {
                        return Ok(event);
                    }
                }
            }
        }
    }

    /// The position after the last event, to [`go on`](Client::follow) after it in another process.
    pub fn last_id(&self) -> Option<&str> {
        self.follow.last_id()
    }

    /// The event as a program wants it; none for `lagged`, after which the stream ends and is taken up again, and for those
    /// of later versions.
    fn typed(&self, event: &Event) -> Result<Option<WatchEvent>, ClientError> {
        let client = &self.follow.client;
        let mut data: Value = serde_json::from_str(&event.data).unwrap_or_default();
        Ok(Some(match event.name.as_str() {
            "reset" => WatchEvent::Reset,
            "snapshot" => WatchEvent::Snapshot {
                instances: client.read(data["instances"].take())?,
                is_last: data["last"].as_bool().unwrap_or(false),
            },
            "change" => WatchEvent::Changed {
                revision: data["revision"].as_u64().unwrap_or_default(),
                changes: client.read(data["changes"].take())?,
            },
            _ => return Ok(None),
        }))
    }
}

impl Client {
    /// Follows changes after a position that [`Follow::last_id`] said; without one from now on, and what there is comes
    /// first. It connects when it is first asked.
    pub fn follow(&self, watched: Watched<'_>, after: Option<&str>) -> Follow {
        Follow {
            client: self.clone(),
            service: watched.service.map(str::to_owned),
            under: watched.under.map(str::to_owned),
            position: after.map(str::to_owned),
            events: None,
            backoff: Backoff::new(RETRY_FIRST, RETRY_LONGEST),
            retry_at: None,
            is_lost: false,
        }
    }

    /// Watches the instances of all services under a group, at any depth: what there is, and then each change. An empty
    /// group has all.
    ///
    /// ```no_run
    /// use std::collections::BTreeMap;
    /// use rollcall::client::{Client, WatchEvent};
    ///
    /// # async fn follow() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut watch = Client::from_environment()?.watch_under("payments");
    /// let mut answered = BTreeMap::new();
    /// loop {
    ///     match watch.next().await? {
    ///         WatchEvent::Reset => answered.clear(),
    ///         WatchEvent::Snapshot { instances, .. } => {
    ///             for instance in instances.into_iter().filter(|instance| instance.answered) {
    ///                 answered.insert((instance.service.clone(), instance.id.clone()), instance);
    ///             }
    ///         }
    ///         WatchEvent::Changed { changes, .. } => {
    ///             for change in changes {
    ///                 let name = (change.service, change.id);
    ///                 match change.instance.filter(|instance| instance.answered) {
    ///                     Some(instance) => answered.insert(name, instance),
    ///                     None => answered.remove(&name),
    ///                 };
    ///             }
    ///         }
    ///         // What is known stays good until something better is.
    ///         _ => {}
    ///     }
    /// }
    /// # }
    /// ```
    pub fn watch_under(&self, group: &str) -> Watch {
        let under = Some(group).filter(|group| !group.is_empty());
        Watch { follow: self.follow(Watched { service: None, under }, None) }
    }

    /// The same of one service.
    pub fn watch_service(&self, service: &str) -> Watch {
        Watch { follow: self.follow(Watched { service: Some(service), under: None }, None) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::client::fake::{FakeRegistry, Heard, Said};

    fn event(name: &str, id: &str, data: &Value) -> String {
        format!("event: {name}\nid: {id}\ndata: {data}\n\n")
    }

    fn change(revision: u64) -> String {
        let instance = json!({"service": "web", "id": "w1", "port": 80, "answered": true});
        let changes = json!([{"kind": "health", "service": "web", "id": "w1", "instance": instance}]);
        event("change", &format!("s-{revision}"), &json!({"revision": revision, "changes": changes}))
    }

    fn watch(registry: &FakeRegistry) -> Watch {
        Client::new([&registry.address], None).unwrap().watch_under("payments")
    }

    /// What each of the connections is answered, one after the other; nothing after that.
    fn server(answers: impl IntoIterator<Item = Said, IntoIter: Send + 'static>) -> FakeRegistry {
        let mut answers = answers.into_iter();
        FakeRegistry::start(move |_: &Heard| answers.next().unwrap_or(Said::Silence))
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_goes_on_after_the_last_event_when_the_connection_ends() {
        let snapshot = json!({"instances": [{"service": "web", "id": "w1", "port": 80}], "last": true});
        let first = event("reset", "", &json!({})) + &event("snapshot", "s-4", &snapshot) + &change(5);
        let registry = server([Said::LastEvents(first), Said::Events(change(6))]);
        let mut watch = watch(&registry);
        assert_eq!(watch.next().await.unwrap(), WatchEvent::Reset);
        let known = watch.next().await.unwrap();
        assert!(matches!(&known, WatchEvent::Snapshot { instances, is_last: true } if instances[0].id == "w1"));
        for expected in [5, 6] {
            let next = watch.next().await.unwrap();
            let WatchEvent::Changed { revision, changes } = next else { panic!("{next:?}") };
            assert_eq!((revision, changes.len()), (expected, 1));
        }
        let heard = registry.heard();
        assert!(heard.iter().all(|heard| heard.line == "GET /v1/watch?under=payments"), "{heard:?}");
        assert!(!heard[0].head.contains("last-event-id"), "{}", heard[0].head);
        assert!(heard[1].head.contains("\r\nlast-event-id: s-5"), "{}", heard[1].head);
    }

    #[tokio::test(start_paused = true)]
    async fn loss_and_return_of_a_watched_server_are_said_once() {
        let registry = server([Said::Events(change(5)), Said::Events(change(6))]);
        let mut watch = watch(&registry);
        assert!(matches!(watch.next().await.unwrap(), WatchEvent::Changed { revision: 5, .. }));
        registry.go_away(true);
        // It says nothing more, and that is noticed.
        assert!(matches!(watch.next().await.unwrap(), WatchEvent::Lost { .. }));
        let more = tokio::time::timeout(Duration::from_secs(600), watch.next()).await;
        assert!(more.is_err(), "{more:?}");
        registry.go_away(false);
        assert!(matches!(watch.next().await.unwrap(), WatchEvent::Back));
        assert!(matches!(watch.next().await.unwrap(), WatchEvent::Changed { revision: 6, .. }));
        assert_eq!(watch.last_id(), Some("s-6"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_sends_nothing_but_ends_is_not_asked_without_a_pause() {
        let registry = FakeRegistry::start(|_: &Heard| Said::LastEvents(": \n".to_owned()));
        let mut watch = watch(&registry);
        let nothing = tokio::time::timeout(Duration::from_secs(60), watch.next()).await;
        assert!(nothing.is_err(), "{nothing:?}");
        assert!((12..40).contains(&registry.lines().len()), "{}", registry.lines().len());
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_ends_a_watch_and_trouble_does_not() {
        let registry = server([
            Said::Headed(503, "retry-after: 5", json!({"title": "too many wait"})),
            Said::Answer(422, json!({"title": "no such group"})),
        ]);
        let began = Instant::now();
        let mut watch = watch(&registry);
        assert!(matches!(watch.next().await.unwrap(), WatchEvent::Lost { .. }));
        assert_eq!(watch.next().await.unwrap_err().status(), Some(422));
        assert!(began.elapsed() >= Duration::from_secs(5));
    }
}
