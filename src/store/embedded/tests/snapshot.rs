//! Snapshots: the form that is kept in the repository, what is refused, and disks that refuse a restore.

use std::fs;

use super::format::kept;
use super::*;
use crate::registry::Refusal;
use crate::store::snapshot::Fault;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/snapshot-v1.jsonl");

fn first_version() -> String {
    fs::read_to_string(FILE).expect("the repository keeps it")
}

/// Writes the file that the repository keeps, of the store of the first version that it keeps as well. Its bytes are
/// never to change; a new version has a file of its own.
#[tokio::test(start_paused = true)]
#[ignore = "writes into the repository"]
async fn write_the_snapshot_of_the_first_version() {
    fs::write(FILE, saved(&serve(&kept())).await).unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_written_is_what_was_written_first() {
    assert_eq!(saved(&serve(&kept())).await, first_version());
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_of_the_first_version_says_what_it_said() {
    let (original, store) = (serve(&kept()), serve(&founded()));
    // It forgets a name that has not been used for long before it does anything else.
    saved(&original).await;
    let (before, replaced) = (snapshot(&original).await, restore(&store, &first_version()).await);
    let after = snapshot(&store).await;
    assert_eq!((replaced.revision, after.revision()), (before.revision().next(), replaced.revision));
    let told = |registry: &Registry| {
        let of = |service: &std::sync::Arc<crate::registry::Service>| {
            let instances: Vec<_> = service.instances().iter().map(|i| crate::model::Instance::clone(i)).collect();
            let instances = instances.into_iter().map(|i| crate::model::Instance {
                revision: Revision(0),
                epoch: Revision(0),
                ..i
            });
            format!("{} {:?} {:#?}", service.name(), service.remains(), instances.collect::<Vec<_>>())
        };
        registry.services_after(None).map(of).collect::<Vec<_>>()
    };
    assert_eq!(told(&after), told(&before));
    store.close().await;
    // What a newer version has added is kept, also from one store to another.
    let lines = saved(&serve(&{
        let disk = founded();
        let store = serve(&disk);
        restore(&store, &first_version()).await;
        store.close().await;
        disk
    }))
    .await;
    assert!(lines.contains(r#""zeta":{"deep":[1,2]}"#), "{lines}");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_cut_anywhere_is_no_snapshot() {
    let (store, lines) = (serve(&founded()), first_version());
    for cut in (0..lines.len()).step_by(7).chain([lines.len() - 1]) {
        assert!(readable(&store, &lines[..cut], 1000).await.is_err(), "{cut}");
    }
    for size in [1, 13, 100_000] {
        assert!(readable(&store, &lines, size).await.is_ok(), "{size}");
    }
}

#[tokio::test(start_paused = true)]
async fn octets_that_turn_are_noticed() {
    let (store, lines) = (serve(&founded()), first_version());
    for position in (0..lines.len()).step_by(3) {
        let mut octets = lines.clone().into_bytes();
        octets[position] ^= 4;
        let mut reader = Reader::new(store.limits().clone(), Registry::default());
        let read = reader.take(&octets).and_then(|()| reader.finish());
        // The first line and the last are no part of what is kept, and say little that has to hold.
        let is_said = lines[position..].contains("\"end\"") && lines[..position].contains('\n');
        assert!(read.is_err() || !is_said, "{position}");
    }
}

/// The same lines with others in place of some, and a last line that fits.
fn edited(lines: &str, edit: impl FnOnce(&mut Vec<String>)) -> String {
    use std::hash::Hasher;

    use siphasher::sip128::{Hasher128, SipHasher24};
    let mut lines: Vec<String> = lines.lines().map(str::to_owned).collect();
    lines.pop();
    edit(&mut lines);
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let mut checksum = SipHasher24::new();
    checksum.write(text.as_bytes());
    let count = |kind: &str| lines.iter().filter(|line| line.starts_with(&format!("{{\"{kind}\""))).count();
    let mut services: Vec<&str> = lines
        .iter()
        .filter_map(|line| line.strip_prefix("{\"instance\":\"")?.split_once('/'))
        .map(|(s, _)| s)
        .collect();
    services.dedup();
    let checksum = checksum.finish128().as_u128();
    let end = format!(
        "{{\"end\":{{\"services\":{},\"instances\":{},\"leases\":{}}},\"checksum\":\"{checksum:032x}\"}}\n",
        services.len(),
        count("instance"),
        count("lease")
    );
    text + &end
}

fn malformed(error: SnapshotError) -> String {
    match error.fault {
        Fault::Malformed(_) => error.to_string(),
        Fault::Refused(_) => panic!("{error}"),
    }
}

#[tokio::test(start_paused = true)]
async fn lines_that_no_store_would_write_are_named() {
    let (store, lines) = (serve(&founded()), first_version());
    let number = |what: &str| lines.lines().position(|line| line.contains(what)).unwrap();
    let (lease, plain, laden) = (number("{\"lease\""), number("\"web/i1\""), number("\"web/i2\""));
    assert!(readable(&store, &edited(&lines, |_| ()), 4096).await.is_ok());
    type Edit = Box<dyn FnOnce(&mut Vec<String>)>;
    let replace = |line: usize, from: &'static str, to: &'static str| -> Edit {
        Box::new(move |lines| {
            assert!(lines[line].contains(from), "{}", lines[line]);
            lines[line] = lines[line].replace(from, to);
        })
    };
    let edits: Vec<(Edit, usize, &str)> = vec![
        (replace(0, "\"format\":1", "\"format\":2"), 0, "it is in format 2"),
        (Box::new(|lines| lines[0] = "{}".to_owned()), 0, "it is not the first line"),
        (Box::new(move |lines| lines.swap(lease, lease + 1)), lease + 1, "it is out of order"),
        (Box::new(move |lines| lines.swap(plain, laden)), laden, "it is out of order"),
        (Box::new(move |lines| lines.insert(plain, lines[plain].clone())), plain + 1, "it is out of order"),
        (replace(plain, "\"form\":1", "\"form\":2"), plain, "it is in form 2"),
        (replace(plain, "\"form\":1", "\"form\":99"), plain, "it does not begin with a version"),
        (replace(plain, "\"port\":80", "\"port\":0"), plain, "its port is 0"),
        (replace(plain, "10.0.0.1", "224.0.0.1"), plain, "nothing listens"),
        (replace(plain, "\"web/i1\"", "\"web/I1\""), plain, "an id is written in lower case"),
        (replace(plain, "\"web/i1\"", "\"web\""), plain, "an instance is service/id"),
        (replace(laden, "\"rise\":2", "\"rise\":0"), laden, "check deep has a value"),
        (replace(laden, "\"interval\":\"5s\"", "\"interval\":\"1ms\""), laden, "check tcp has a value"),
        (replace(laden, "\"rise\":2", "\"rise\":2,\"fast_interval\":\"0s\""), laden, "check deep has a value"),
        (replace(laden, "\"name\":\"deep\"", "\"name\":\"tcp\""), laden, "two checks share a name"),
        (replace(lease, "\"ttl\":\"", "\"ttl\":\"1ms"), lease, "a lease lasts"),
        (Box::new(move |lines| drop(lines.remove(lease))), usize::MAX, "no line before has its lease"),
        (replace(plain, "\"instance\"", "\"thing\""), plain, "it is no line of a snapshot"),
        (replace(laden, "\"revision\":3", "\"revision\":33"), laden, "it has changed later"),
        (Box::new(move |lines| lines[plain] = "x".repeat(2 << 20)), plain, "it has more than 1048576 octets"),
    ];
    for (edit, line, expected) in edits {
        let error = readable(&store, &edited(&lines, edit), 4096).await.unwrap_err();
        if line != usize::MAX {
            assert_eq!(error.line, line as u64 + 1, "{expected}");
        }
        assert!(malformed(error).contains(&format!(": {expected}")), "{expected}");
    }
    let behind = format!("{lines}{{}}\n");
    assert!(malformed(readable(&store, &behind, 4096).await.unwrap_err()).contains("more behind the last line"));
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_registered_may_not_be_restored() {
    let lines = first_version();
    let refusal = async |store: &dyn Store, lines: &str| match readable(store, lines, 4096).await.unwrap_err().fault {
        Fault::Refused(refusal) => refusal,
        fault => panic!("{fault:?}"),
    };
    let bounded = |edit: &dyn Fn(&mut Limits)| {
        let mut settings = settings();
        edit(&mut settings.limits);
        crate::store::Memory::new(settings)
    };
    let refused = refusal(&bounded(&|limits| limits.instances_per_service = 1), &lines).await;
    assert_eq!(refused, Refusal::ServiceFull(1));
    assert_eq!(refusal(&bounded(&|limits| limits.instances = 2), &lines).await, Refusal::RegistryFull(2));
    assert_eq!(refusal(&bounded(&|limits| limits.leases = 1), &lines).await, Refusal::LeasesFull(1));
    assert_eq!(refusal(&bounded(&|limits| limits.configured = 0), &lines).await, Refusal::SettingsFull(0));
    let is_taken = |refusal: Refusal| matches!(refusal, Refusal::NameTaken { .. });
    let is_static = bounded(&|limits| {
        limits.reserved = crate::registry::Reserved::by(|name| (name == "i1.web").then(|| "a host".to_owned()));
    });
    assert!(is_taken(refusal(&is_static, &lines).await));
    // Somebody who is there already may come back: the name became another's later.
    let is_later = bounded(&|_| ());
    is_later.commit(put("web", "i1")).await.unwrap();
    let mut limits = is_later.limits().clone();
    limits.reserved = is_static.limits().reserved.clone();
    let mut reader = Reader::new(limits, snapshot(&is_later).await);
    assert!(reader.take(lines.as_bytes()).and_then(|()| reader.finish()).is_ok());

    let store = serve(&founded());
    for (service, id) in [("v2.web", "x"), ("i1.web", "x"), ("metrics.web", "x"), ("one.web", "x")] {
        let with = edited(&lines, |lines| {
            let plain = lines.iter().find(|line| line.contains("\"web/i1\"")).unwrap().clone();
            lines.push(plain.replace("\"web/i1\"", &format!("\"{service}/{id}\"")));
        });
        assert!(is_taken(refusal(&store, &with).await), "{service}/{id}");
    }
    let tagged = edited(&lines, |lines| {
        for line in lines.iter_mut().filter(|line| line.contains("\"web/i1\"")) {
            *line = line.replace("\"primary\"", "\"i2\"");
        }
    });
    assert!(is_taken(refusal(&store, &tagged).await), "a tag as an id");
}

#[tokio::test(start_paused = true)]
async fn a_restore_that_failed_has_never_happened() {
    let lines = first_version();
    for syncs_fail in [false, true] {
        // Whichever of its deeds the disk refuses first.
        for deeds in 0.. {
            let disk = founded();
            let store = serve(&disk);
            store.commit(put("web", "i1")).await.unwrap();
            let own = LeaseWish::Own(Duration::from_secs(600));
            let lease = granted(&store.commit(register("web", "i9", registration(2), own)).await.unwrap());
            let before = snapshot(&store).await;
            let content = readable(&store, &lines, 4096).await.unwrap();
            disk.fail_after(deeds, syncs_fail);
            let restored = store.restore(content).await;
            if disk.failed() == 0 {
                assert!(deeds > 3 && restored.is_ok(), "{deeds}");
                break;
            }
            let Err(CommitError::Unavailable(reason)) = restored else { panic!("{restored:?}") };
            assert!(reason.starts_with("the disk cannot be written: "), "{reason}");
            assert_eq!(described(&snapshot(&store).await), described(&before), "followers never saw it");
            assert!(store.lease(lease).is_some());
            disk.mend();
            tokio::time::sleep(StdDuration::from_secs(3)).await;
            let committed = store.commit(put("web", "i5")).await.unwrap();
            assert_eq!(committed.revision, before.revision().next(), "{deeds}");
            let after = snapshot(&store).await;
            store.close().await;
            let found = read(&disk).unwrap();
            assert_eq!(described(&found.registry), described(&after), "{deeds}");
            assert_eq!(found.leases, [(lease, Duration::from_secs(600))], "{deeds}");
        }
    }
}
