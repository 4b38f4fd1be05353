//! One life after the other: what a start makes of what the last has left.

use super::full::empty;
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
