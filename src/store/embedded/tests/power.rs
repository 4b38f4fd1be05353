//! The power goes at every write: what the disk may then hold is opened, and must hold every acknowledged change and no
//! half of one.
//!
//! Between two syncs a disk may have done all of what it was told, nothing, the beginning, or any part in any order, and
//! may have torn a write between sectors.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::disk::{Deed, Disk, Images, Name, apply};
use super::*;
use crate::registry::Event;
use crate::store::EventQuery;

pub(super) fn everything() -> EventQuery {
    EventQuery::up_to(Revision(u64::MAX - 1), 10_000)
}

const SECTOR: usize = 512;

/// What is known to hold after a group.
struct Known {
    /// How many deeds the disk had done when the group was acknowledged.
    deeds: usize,
    registry: String,
    leases: Vec<LeaseId>,
    events: Vec<Event>,
}

/// Commits groups and notes after each what holds.
struct Script {
    disk: Disk,
    store: Embedded,
    granted: Vec<LeaseId>,
    known: Vec<Known>,
}

impl Script {
    async fn note(&mut self) {
        let registry = described(&snapshot(&self.store).await);
        let mut leases: Vec<LeaseId> =
            self.granted.iter().copied().filter(|id| self.store.lease(*id).is_some()).collect();
        leases.sort();
        // Granted alone, and again by those who joined.
        leases.dedup();
        let events = self.store.events(everything()).await.unwrap().events;
        self.known.push(Known { deeds: self.disk.count(), registry, leases, events });
    }

    async fn commit(&mut self, command: Command) -> Committed {
        let committed = self.store.commit(command).await.unwrap();
        if let Outcome::Granted(lease) = &committed.outcome {
            self.granted.push(lease.id);
        }
        if let Outcome::Registered { instance, .. } = &committed.outcome {
            self.granted.extend(instance.lease.map(|lease| lease.id));
        }
        self.note().await;
        committed
    }

    /// Many at once, which make one group.
    async fn commit_all(&mut self, commands: Vec<Command>) {
        let commits = commands.into_iter().map(|command| self.store.commit(command));
        for committed in futures_util::future::join_all(commits).await {
            committed.unwrap();
        }
        self.note().await;
    }
}

/// A snapshot of other content is restored, which is one step of many pages.
async fn play_restore(script: &mut Script) {
    script.note().await;
    let other = serve(&founded());
    for n in 0..300 {
        let shared = Registration { shared_address: true, ..checked(1) };
        other.commit(register(&format!("s{}", n % 9), &format!("i{n}"), shared, LeaseWish::None)).await.unwrap();
    }
    let shared = granted(&other.commit(Command::Grant { ttl: Duration::from_secs(900) }).await.unwrap());
    other.commit(register("web", "i1", registration(7), LeaseWish::Join(shared))).await.unwrap();
    other.commit(configure("quiet", 9)).await.unwrap();
    let lines = saved(&other).await;

    script.commit(put("web", "i1")).await;
    let own = LeaseWish::Own(Duration::from_secs(600));
    script.commit(register("web", "i2", registration(2), own)).await;
    restore(&script.store, &lines).await;
    script.granted.push(shared);
    script.note().await;
    script.commit(put("web", "i3")).await;
    script.commit(deregister("s1", "i1")).await;
    // And what is there already, which is one step too.
    let lines = saved(&script.store).await;
    restore(&script.store, &lines).await;
    script.note().await;
}

/// Everything that can be kept, changed and taken away.
async fn play(script: &mut Script) {
    script.note().await;
    script.commit(put("web", "i1")).await;
    let own = LeaseWish::Own(Duration::from_secs(600));
    script.commit(register("web", "i2", registration(2), own)).await;
    let shared = granted(&script.commit(Command::Grant { ttl: Duration::from_secs(900) }).await);
    let epoch = script.commit(register("api.payments", "i1", checked(3), LeaseWish::Join(shared))).await.revision;
    script.commit(observe("api.payments", "i1", epoch, Health::Passing)).await;
    script.commit(observe("api.payments", "i1", epoch, Health::Critical)).await;
    script.commit(configure("web", 7)).await;
    script.commit_all((0..40).map(|n| put("many", &format!("m{n}"))).collect()).await;
    script.commit(amend("web", "i1", State::Draining)).await;
    script.commit(deregister("web", "i1")).await;
    script.commit(Command::Revoke(shared)).await;
    script.commit_all((0..20).map(|n| deregister("many", &format!("m{n}"))).collect()).await;
    let lease = granted(&script.commit(Command::Grant { ttl: Duration::from_secs(60) }).await);
    script.commit(Command::Revoke(lease)).await;
    script.commit(all_of("many")).await;
    script.commit(register("web", "i2", registration(9), LeaseWish::None)).await;
    script.commit_all((0..9).map(|n| register("web", &format!("w{n}"), checked(n), LeaseWish::None)).collect()).await;
}

/// All events that a database holds.
pub(super) fn told(database: &redb::Database) -> Vec<Event> {
    // Nothing was ever told before the journal was begun, which is when the first life begins.
    let pending = imbl::Vector::new();
    let page = events::read(database, &pending, &everything(), settings().history, Timestamp::now());
    page.map(|page| page.events).unwrap_or_default()
}

pub(super) type Done = (Name, Deed);

fn apply_to(images: &mut Images, (name, deed): &Done) {
    apply(&mut images[*name as usize], deed);
}

/// What the disk may hold when the power goes after so many deeds: what was made sure of, file by file, and what came
/// since.
fn unsynced<'a>(base: &Images, deeds: &'a [Done]) -> (Images, Vec<&'a Done>) {
    let synced = |name: Name| deeds.iter().rposition(|deed| matches!(deed, (of, Deed::Sync) if *of == name));
    let synced = [Name::Tables, Name::Log].map(|name| synced(name).map_or(0, |position| position + 1));
    let mut images = base.clone();
    let mut since = Vec::new();
    for (position, done) in deeds.iter().enumerate() {
        if position < synced[done.0 as usize] {
            apply_to(&mut images, done);
        } else {
            since.push(done);
        }
    }
    (images, since)
}

/// Some of what was told since the last sync, with writes torn between sectors.
fn some(images: &Images, deeds: &[&Done], random: &mut StdRng) -> Images {
    let mut images = images.clone();
    for (name, deed) in deeds {
        let image = &mut images[*name as usize];
        match (random.random_range(0..3), deed) {
            (0, _) => {}
            (1, Deed::Write(offset, octets)) if octets.len() > SECTOR => {
                let sectors = random.random_range(0..octets.len() / SECTOR) * SECTOR;
                let (from, until) = if random.random() { (0, sectors) } else { (sectors, octets.len()) };
                apply(image, &Deed::Write(offset + from as u64, octets[from..until].to_vec()));
            }
            _ => apply(image, deed),
        }
    }
    images
}

/// What the disk may hold when the power goes after deeds: by chance all, only what is sure, or something between.
pub(super) fn cut(base: &Images, deeds: &[Done], random: &mut StdRng) -> Images {
    let (mut synced, since) = unsynced(base, deeds);
    match random.random_range(0..3) {
        0 => synced,
        1 => {
            since.iter().for_each(|done| apply_to(&mut synced, done));
            synced
        }
        _ => some(&synced, &since, random),
    }
}

#[tokio::test(start_paused = true)]
async fn a_power_cut_at_any_write_loses_nothing_that_was_acknowledged() {
    let (groups, deeds) = cut_at_any_write(play).await;
    assert!(groups > 15 && deeds > 100, "{groups} groups, {deeds} deeds");
}

#[tokio::test(start_paused = true)]
async fn a_power_cut_during_a_restore_leaves_the_old_or_the_new() {
    let (groups, deeds) = cut_at_any_write(play_restore).await;
    assert!(groups > 5 && deeds > 50, "{groups} groups, {deeds} deeds");
}

/// Plays a script, and opens what the disk may hold when the power goes at any of its deeds. How many groups and deeds
/// there were.
async fn cut_at_any_write(play: impl AsyncFnOnce(&mut Script)) -> (usize, usize) {
    let disk = founded_briefly();
    let base = disk.images();
    // A disk of its own, so that what it is told begins with the base.
    let disk = Disk::holding(base.clone());
    let mut script = Script { store: serve(&disk), disk: disk.clone(), granted: Vec::new(), known: Vec::new() };
    play(&mut script).await;
    script.store.close().await;
    let (deeds, known) = (disk.deeds(), script.known);

    let mut random = StdRng::seed_from_u64(4);
    let mut opened = 0;
    for cut in 0..=deeds.len() {
        let (synced, since) = unsynced(&base, &deeds[..cut]);
        let mut all = synced.clone();
        since.iter().for_each(|done| apply_to(&mut all, done));
        let mut images = vec![all];
        if !since.is_empty() {
            images.push(some(&synced, &since, &mut random));
            images.push(some(&synced, &since, &mut random));
            images.push(synced);
        }
        let acknowledged = known.iter().rposition(|known| known.deeds <= cut).unwrap_or(0);
        for (variant, image) in images.into_iter().enumerate() {
            let (database, restored, _) =
                load(&Disk::holding(image)).unwrap_or_else(|error| panic!("cut {cut}, variant {variant}: {error:?}"));
            let events = told(&database);
            let registry = described(&restored.registry);
            let mut leases: Vec<LeaseId> = restored.leases.iter().map(|(id, _)| *id).collect();
            leases.sort();
            // The group that was under way may be there as a whole, or not at all.
            let candidates = &known[acknowledged..known.len().min(acknowledged + 2)];
            let matches =
                |known: &Known| known.registry == registry && known.leases == leases && known.events == events;
            let wanted = &candidates[0].registry;
            assert!(
                candidates.iter().any(matches),
                "cut {cut}, variant {variant}: {registry}\n{leases:?}\n{} events\nis not\n{wanted}\n{:?}\n{} events",
                events.len(),
                candidates[0].leases,
                candidates[0].events.len()
            );
            opened += 1;
        }
    }
    assert!(opened > 2 * deeds.len(), "{opened} images");
    (known.len(), deeds.len())
}
