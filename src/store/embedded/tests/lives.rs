//! One life after the other: what a start makes of what the last has left.

use super::full::empty;
use super::power::told as events_of;
use super::*;
use crate::store::journal::Journal;

#[test]
fn what_was_refused_at_the_end_does_not_come_back_a_life_later() {
    let disk = founded_briefly();
    let (mut first, Restored { unknown, .. }) = journal(&disk);
    first.write(&empty(1), &unknown).unwrap();
    // Written, and not made sure of: all of it is there.
    disk.fail_after(1, true);
    first.write(&empty(9), &unknown).unwrap_err();
    disk.mend();
    drop(first);
    let (second, restored) = journal(&disk);
    assert_eq!(restored.registry.revision(), Revision(1));
    let killed = Disk::holding(disk.images());
    assert_eq!(read(&killed).unwrap().registry.revision(), Revision(1));
    drop(second);
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_the_tables_that_is_put_back_has_nothing_of_what_came_after() {
    let disk = founded_briefly();
    let store = serve(&disk);
    store.commit(put("web", "i1")).await.unwrap();
    store.close().await;
    let [copy, _] = disk.images();
    let store = serve(&disk);
    for n in 0..40 {
        store.commit(put("later", &format!("i{n}"))).await.unwrap();
    }
    store.close().await;
    let disk = Disk::holding([copy, disk.images()[1].clone()]);
    let store = serve(&disk);
    for n in 0..40 {
        let killed = Disk::holding(disk.images());
        let found = read(&killed).unwrap_or_else(|error| panic!("after {n}: {error:?}"));
        assert_eq!(described(&found.registry), described(&snapshot(&store).await), "after {n}");
        store.commit(put("web", &format!("n{n}"))).await.unwrap();
    }
    store.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_acknowledged_after_a_group_beyond_the_log_was_refused_is_there() {
    let many = |state: &str| -> Vec<Command> { (0..40).map(|n| put("many", &format!("{state}{n}"))).collect() };
    // Whichever of its deeds the disk refuses first.
    for deeds in 0.. {
        let disk = founded_briefly();
        let store = serve(&disk);
        store.commit(put("web", "i1")).await.unwrap();
        disk.fail_after(deeds, true);
        let refused = futures_util::future::join_all(many("m").into_iter().map(|command| store.commit(command))).await;
        if disk.failed() == 0 {
            assert!(deeds > 5 && refused.iter().all(Result::is_ok), "{deeds}");
            break;
        }
        assert!(refused.iter().all(Result::is_err), "{deeds}");
        disk.mend();
        tokio::time::sleep(StdDuration::from_secs(3)).await;
        for n in 0..5 {
            store.commit(put("web", &format!("n{n}"))).await.unwrap();
            let (database, found, _) = load(&Disk::holding(disk.images())).unwrap();
            assert_eq!(described(&found.registry), described(&snapshot(&store).await), "{deeds}, killed after {n}");
            let told = events_of(&database);
            let told: Vec<&str> = told.iter().map(|event| event.service.as_str()).collect();
            assert_eq!(told, vec!["web"; n + 2], "{deeds}, killed after {n}: nothing of what was refused");
        }
        store.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_restore_that_failed_is_not_there_after_an_end_in_good_order() {
    let other = serve(&founded());
    for n in 0..30 {
        other.commit(put("other", &format!("i{n}"))).await.unwrap();
    }
    let lines = saved(&other).await;
    // Whichever of its deeds the disk refuses first.
    for deeds in 0.. {
        let disk = founded_briefly();
        let store = serve(&disk);
        store.commit(put("web", "i1")).await.unwrap();
        let before = described(&snapshot(&store).await);
        let content = readable(&store, &lines, 4096).await.unwrap();
        disk.fail_after(deeds, true);
        let restored = store.restore(content).await;
        if disk.failed() == 0 {
            assert!(deeds > 5 && restored.is_ok(), "{deeds}");
            break;
        }
        disk.mend();
        if restored.is_ok() {
            // Something after it failed.
            continue;
        }
        // Before it is tried again.
        store.close().await;
        assert_eq!(described(&read(&disk).unwrap().registry), before, "{deeds}");
    }
}
