//! Many lives of one registry: groups of all sizes, a disk that refuses, and ends of every kind, also before a start is
//! done. Every life begins with what was acknowledged in those before, and with nothing that was refused and settled.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::disk::Images;
use super::power::{cut, everything};
use super::*;

const SEEDS: u64 = 60;
const LIVES: usize = 6;

/// The port of each instance, by service and id.
type Model = BTreeMap<String, u16>;

fn model(registry: &Registry) -> Model {
    let instances = registry.services_after(None).flat_map(|service| service.instances());
    instances.map(|instance| (format!("{}/{}", instance.service, instance.id), instance.registration.port)).collect()
}

/// What was asked for in a life.
struct Asked {
    /// How many deeds the disk had done before.
    before: usize,
    /// How many when it was acknowledged.
    acknowledged: Option<usize>,
    /// What there is with it.
    model: Model,
}

struct Life<'a> {
    disk: Disk,
    store: Embedded,
    random: &'a mut StdRng,
    /// What is acknowledged.
    model: Model,
    asked: Vec<Asked>,
}

impl Life<'_> {
    /// A group of so many commands.
    async fn commit(&mut self, size: usize) {
        let (mut model, mut commands) = (self.model.clone(), Vec::new());
        for _ in 0..size {
            let (service, id) = (["web", "api"][self.random.random_range(0..2)], self.random.random_range(0..60));
            let name = format!("{service}/i{id}");
            if model.contains_key(&name) && self.random.random_bool(0.4) {
                model.remove(&name);
                commands.push(deregister(service, &format!("i{id}")));
            } else {
                let port = self.random.random_range(1..u16::MAX);
                model.insert(name, port);
                let registration = Registration { port, shared_address: true, ..registration(1) };
                commands.push(register(service, &format!("i{id}"), registration, LeaseWish::None));
            }
        }
        let before = self.disk.count();
        let commits = commands.into_iter().map(|command| self.store.commit(command));
        let committed = futures_util::future::join_all(commits).await;
        let is_kept = committed.iter().all(Result::is_ok);
        assert!(is_kept || committed.iter().all(Result::is_err), "a group is one: {committed:?}");
        self.note(before, is_kept, model).await;
    }

    async fn restore(&mut self, lines: &str, model: &Model) {
        let content = readable(&self.store, lines, 4096).await.unwrap();
        let before = self.disk.count();
        let is_kept = self.store.restore(content).await.is_ok();
        self.note(before, is_kept, model.clone()).await;
    }

    async fn note(&mut self, before: usize, is_kept: bool, model: Model) {
        if is_kept {
            self.model = model.clone();
        }
        let acknowledged = is_kept.then(|| self.disk.count());
        self.asked.push(Asked { before, acknowledged, model });
        assert_eq!(super::random::model(&snapshot(&self.store).await), self.model, "what is shown");
    }

    /// Something that may befall a store.
    async fn step(&mut self, (lines, restored): &(String, Model)) {
        match self.random.random_range(0..20) {
            0 => self.restore(lines, restored).await,
            1 => self.commit(50).await,
            2 => self.disk.fail_tables(),
            3 => {
                // Beyond the log, which makes many deeds.
                self.disk.fail_after(self.random.random_range(0..40), true);
                self.commit(50).await;
                self.mend().await;
            }
            4..7 => self.disk.fail_after(self.random.random_range(0..12), self.random.random()),
            7..11 => self.mend().await,
            11..14 => self.commit(12).await,
            _ => self.commit(1).await,
        }
    }

    /// Has the disk take writes, and waits until they are tried again.
    async fn mend(&self) {
        self.disk.mend();
        tokio::time::sleep(StdDuration::from_secs(2)).await;
    }

    /// What there may be when it ends after so many deeds.
    fn possible(&self, found: &Model, deeds: usize) -> Vec<Model> {
        let acknowledged = |asked: &Asked| asked.acknowledged.is_some_and(|acknowledged| acknowledged <= deeds);
        let last = self.asked.iter().rposition(acknowledged);
        let since = self.asked[last.map_or(0, |last| last + 1)..].iter().filter(|asked| asked.before < deeds);
        let sure = last.map_or(found, |last| &self.asked[last].model);
        [sure].into_iter().chain(since.map(|asked| &asked.model)).cloned().collect()
    }
}

/// What the disk holds after a life, and what there may be then.
async fn live(
    which: &str,
    images: Images,
    possible: &[Model],
    content: &(String, Model),
    random: &mut StdRng,
) -> (Images, Vec<Model>) {
    let disk = Disk::holding(images.clone());
    let store = serve(&disk);
    let (found, started) = (model(&snapshot(&store).await), disk.count());
    assert!(possible.contains(&found), "{which}: {found:?}\nis none of\n{possible:#?}");
    let events = store.events(everything()).await.unwrap().events;
    assert!(events.is_sorted_by(|later, earlier| later.at > earlier.at), "{which}: {events:?}");
    let mut life = Life { disk, store, random, model: found.clone(), asked: Vec::new() };
    for _ in 0..life.random.random_range(0..25) {
        life.step(content).await;
    }
    let deeds = life.disk.deeds();
    let end = match life.random.random_range(0..4) {
        0 => {
            life.disk.mend();
            life.store.close().await;
            return (life.disk.images(), life.possible(&found, usize::MAX));
        }
        1 => life.random.random_range(0..=started),
        2 => deeds.len(),
        _ => life.random.random_range(started..=deeds.len()),
    };
    let possible = life.possible(&found, end);
    life.store.close().await;
    (cut(&images, &deeds[..end], life.random), possible)
}

#[tokio::test(start_paused = true)]
async fn lives_go_on_from_what_was_acknowledged_in_those_before() {
    let other = serve(&founded());
    for n in 0..40 {
        other.commit(put("web", &format!("i{n}"))).await.unwrap();
    }
    let content = (saved(&other).await, model(&snapshot(&other).await));
    for seed in 0..SEEDS {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut images, mut possible) = (founded_briefly().images(), vec![Model::new()]);
        for life in 0..LIVES {
            let which = format!("seed {seed}, life {life}");
            (images, possible) = live(&which, images, &possible, &content, &mut random).await;
        }
    }
}
