//! The disk refuses: nothing is acknowledged, nothing is shown, and all is well once it takes writes again.

use super::super::frame::Frame;
use super::*;
use crate::model::Lease;
use crate::registry::Trail;
use crate::store::EventQuery;
use crate::store::group::Group;
use crate::store::history::History;
use crate::store::journal::Journal;

async fn alive(store: &dyn Store, lease: LeaseId) -> Option<Lease> {
    store.renew(&[lease]).await.unwrap()[0]
}

#[tokio::test(start_paused = true)]
async fn a_write_that_failed_has_never_happened() {
    for syncs_fail in [false, true] {
        // Whichever of its deeds the disk refuses first.
        for deeds in 0.. {
            let disk = founded();
            let store = serve(&disk);
            store.commit(put("web", "i1")).await.unwrap();
            let lease = granted(
                &store
                    .commit(register("web", "i2", registration(2), LeaseWish::Own(Duration::from_secs(600))))
                    .await
                    .unwrap(),
            );
            let before = snapshot(&store).await;

            disk.fail_after(deeds, syncs_fail);
            let failing = [
                put("web", "i3"),
                deregister("web", "i1"),
                deregister("web", "i2"),
                configure("web", 9),
                Command::Grant { ttl: Duration::from_secs(60) },
            ];
            let refused = futures_util::future::join_all(failing.map(|command| store.commit(command))).await;
            if disk.failed() == 0 {
                assert!(deeds > usize::from(syncs_fail) && refused.iter().all(Result::is_ok), "{deeds}");
                break;
            }
            for refused in refused {
                let Err(CommitError::Unavailable(reason)) = refused else { panic!("{refused:?}") };
                assert!(reason.starts_with("the disk cannot be written: "), "{reason}");
            }
            assert_eq!(described(&snapshot(&store).await), described(&before), "followers never saw it");
            assert!(alive(&store, lease).await.is_some(), "nor has the lease ended");
            assert!(unavailable(&store, put("web", "i4")).await.starts_with("the disk"), "at once, too");

            disk.mend();
            tokio::time::sleep(StdDuration::from_secs(3)).await;
            let committed = store.commit(put("web", "i5")).await.unwrap();
            assert_eq!(committed.revision, before.revision().next(), "{deeds}");
            store.commit(register("web", "i2", registration(8), LeaseWish::Join(lease))).await.unwrap();
            let after = snapshot(&store).await;
            assert_eq!(after.instances(), 3, "{deeds}");
            let query = EventQuery::up_to(after.revision(), 100);
            let told = store.events(query).await.unwrap().events;
            let told = told.iter().map(|event| format!("{} {}", event.at, event.id.as_ref().unwrap()));
            let told: Vec<String> = told.collect();
            assert_eq!(told, ["4.0 i2", "3.0 i5", "2.0 i2", "1.0 i1"], "{deeds}: nothing of what was refused");
            store.close().await;
            let restored = read(&disk).unwrap();
            assert_eq!(described(&restored.registry), described(&after), "{deeds}");
            assert_eq!(restored.leases, [(lease, Duration::from_secs(600))], "{deeds}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn leases_wait_for_the_disk() {
    let disk = founded();
    let store = serve(&disk);
    store.commit(register("web", "i1", registration(1), LeaseWish::Own(Duration::from_secs(10)))).await.unwrap();
    disk.fail_after(0, true);
    tokio::time::sleep(StdDuration::from_secs(30)).await;
    assert_eq!(snapshot(&store).await.instances(), 1, "an end that is not kept is not told");
    let tries = disk.failed();
    assert!((15..=60).contains(&tries), "once a second, not as fast as it can: {tries}");
    disk.mend();
    tokio::time::sleep(StdDuration::from_secs(3)).await;
    assert_eq!(snapshot(&store).await.instances(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_fails_without_anyone_asking_again_is_mended_all_the_same() {
    let disk = founded();
    let store = serve(&disk);
    // The last sync of a commit: the group may well be on the disk.
    disk.fail_after(1000, true);
    store.commit(put("web", "i1")).await.unwrap();
    let deeds = disk.count();
    store.commit(put("web", "i2")).await.unwrap();
    let one_commit = disk.count() - deeds;
    disk.fail_after(one_commit - 1, true);
    unavailable(&store, put("web", "i3")).await;
    disk.mend();
    tokio::time::sleep(StdDuration::from_secs(3)).await;
    store.close().await;
    assert_eq!(read(&disk).unwrap().registry.instances(), 2, "who was told no is not there");
}

/// A group that changes nothing but the revision.
pub(super) fn empty(revision: u64) -> Group {
    let (instances, services, leases) = (Vec::new(), Vec::new(), Vec::new());
    Group { revision: Revision(revision), instances, services, leases, forgotten: None, trail: Trail::default() }
}

#[test]
fn the_journal_is_read_while_a_write_is_under_way_and_keeps_no_failed_file_open_twice() {
    let disk = founded_briefly();
    let (mut journal, Restored { unknown, .. }) = journal(&disk);
    let history = journal.history();
    let read = || history.read(&EventQuery::up_to(Revision(1), 9), Timestamp::now());
    let mut revision = 0;
    let mut fill = |journal: &mut Redb| loop {
        revision += 1;
        if let Err(reason) = journal.write(&empty(revision), &unknown) {
            return reason;
        }
    };

    let reader = journal.slot().get().unwrap();
    let writing = reader.begin_write().unwrap();
    assert!(read().is_ok(), "nobody waits for who writes");
    drop(writing);

    disk.fail_tables();
    fill(&mut journal);
    assert_eq!(read().unwrap_err(), "the store is not open");
    disk.mend();
    let refused = fill(&mut journal);
    assert!(refused.contains("still being read"), "{refused}");
    drop(reader);
    for revision in 1000..1300 {
        journal.write(&empty(revision), &unknown).unwrap();
    }
    assert!(read().is_ok());
}

#[tokio::test(start_paused = true)]
async fn tables_that_cannot_be_written_hold_up_nobody_while_the_log_has_room() {
    let disk = founded_briefly();
    let store = serve(&disk);
    disk.fail_tables();
    let mut accepted = 0;
    let reason = loop {
        match store.commit(put("web", &format!("i{accepted}"))).await {
            Ok(_) => accepted += 1,
            Err(error) => break error.to_string(),
        }
    };
    assert!(accepted > 10, "two halves of the log: {accepted}");
    assert!(reason.contains("no storage space"), "{reason}");
    let before = snapshot(&store).await;
    assert_eq!(before.instances(), accepted);

    // Also when it ends there: the next start has both.
    let found = read(&Disk::holding(disk.images())).unwrap();
    assert_eq!(described(&found.registry), described(&before));

    disk.mend();
    tokio::time::sleep(StdDuration::from_secs(3)).await;
    for n in 0..30 {
        store.commit(put("web", &format!("later{n}"))).await.unwrap();
    }
    let told = store.events(EventQuery::up_to(Revision(10_000), 10_000)).await.unwrap().events;
    let told: Vec<u64> = told.iter().map(|event| event.at.revision.0).collect();
    assert_eq!(told, (1..=accepted as u64 + 30).rev().collect::<Vec<_>>(), "each once, wherever it stands");
    let after = snapshot(&store).await;
    store.close().await;
    assert_eq!(described(&read(&disk).unwrap().registry), described(&after));
}

#[test]
fn tables_that_break_are_an_error_to_who_waits_for_them() {
    let disk = founded_briefly();
    let (mut journal, Restored { unknown, .. }) = journal(&disk);
    disk.break_tables();
    let (said, heard) = std::sync::mpsc::channel();
    let writer = std::thread::spawn(move || {
        for revision in 1..1000 {
            if let Err(reason) = journal.write(&empty(revision), &unknown) {
                said.send((revision, reason)).unwrap();
                break;
            }
        }
        (journal, unknown)
    });
    let (revision, reason) = heard.recv_timeout(StdDuration::from_secs(60)).expect("nobody waits for ever");
    assert!(reason.contains("contradicts itself"), "{reason}");
    let (mut journal, unknown) = writer.join().unwrap();
    disk.mend();
    for revision in revision..revision + 300 {
        journal.write(&empty(revision), &unknown).unwrap();
    }
    drop(journal);
    assert_eq!(read(&disk).unwrap().registry.revision(), Revision(revision + 299));
}

#[test]
fn a_frame_that_waits_takes_no_more_memory_than_the_log() {
    let frame = Frame::of(&empty(1), &Unknown::default(), settings().history);
    assert_eq!((frame.held(), frame.octets().len()), (8, 8));
}
