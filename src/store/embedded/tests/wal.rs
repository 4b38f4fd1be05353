//! The log by itself: what is read of it after writes, failures and damage.

use redb::StorageBackend;

use super::super::wal::{self, Room, Wal, WalError};
use super::disk::Deed;
use super::*;

const STORE: u64 = 7;
const FILE: usize = 4 << 10;
/// Octets of a half that frames may take.
const HALF: usize = FILE / 2 - 512;

fn log_of(disk: &Disk) -> Wal {
    Wal::begin(Arc::new(disk.log(FILE)), Anchor { store: STORE, applied: 0 }).unwrap()
}

/// A content of so many octets that says a number.
fn content(number: usize, octets: usize) -> Vec<u8> {
    let mut content = format!("frame {number} ").into_bytes();
    content.resize(octets, b'.');
    content
}

/// What the log has after a frame: the numbers that its contents say.
fn told(disk: &Disk, applied: u64) -> Result<Vec<usize>, String> {
    let log = disk.log(FILE);
    match wal::read(&log, Anchor { store: STORE, applied }) {
        Ok(contents) => Ok(contents
            .iter()
            .map(|content| String::from_utf8_lossy(content).split(' ').nth(1).unwrap().parse().unwrap())
            .collect()),
        Err(WalError::Damaged(detail)) => Err(detail),
        Err(WalError::Io(error)) => panic!("{error}"),
    }
}

fn turn(disk: &Disk, at: usize) -> Disk {
    let [tables, mut log] = disk.images();
    log[at] ^= 1;
    Disk::holding([tables, log])
}

#[test]
fn frames_are_read_in_order_from_the_first_that_is_not_in_the_tables() {
    let disk = Disk::default();
    let mut log = log_of(&disk);
    assert_eq!(told(&disk, 0), Ok(vec![]), "none yet");
    for number in 1..=3 {
        assert_eq!(log.append(&content(number, 100)).unwrap(), number as u64);
    }
    assert_eq!(told(&disk, 0), Ok(vec![1, 2, 3]));
    assert_eq!(told(&disk, 2), Ok(vec![3]));
    assert_eq!(told(&disk, 3), Ok(vec![]));
}

#[test]
fn halves_take_turns_and_what_does_not_fit_goes_nowhere() {
    let disk = Disk::default();
    let mut log = log_of(&disk);
    assert_eq!(log.room(HALF - 20), Room::Here);
    assert_eq!(log.room(HALF - 20 + 1), Room::Nowhere);
    let mut applied = 0;
    for number in 1..=40 {
        let before = log.last();
        match log.room(500) {
            Room::Here => {}
            Room::Other(last) => {
                assert!(last <= before && before - last <= 2, "{last}: what stood in the other half");
                applied = last;
            }
            Room::Nowhere => panic!(),
        }
        log.append(&content(number, 500)).unwrap();
        assert_eq!(told(&disk, applied), Ok((applied as usize + 1..=number).collect()), "after {number}");
    }
}

#[test]
fn a_frame_that_is_not_whole_ends_the_log_where_it_is_the_last() {
    let disk = Disk::default();
    let mut log = log_of(&disk);
    for number in 1..=3 {
        log.append(&content(number, 100)).unwrap();
    }
    let frame = |number: usize| 512 + (number - 1) * 128..512 + (number - 1) * 128 + 120;
    for at in frame(3) {
        assert_eq!(told(&turn(&disk, at), 0), Ok(vec![1, 2]), "octet {at}");
    }
    for at in frame(1).chain(frame(2)) {
        let refused = told(&turn(&disk, at), 0).unwrap_err();
        assert!(refused.contains("is not whole, and later ones are"), "octet {at}: {refused}");
    }
    for at in 0..56 {
        assert_eq!(told(&turn(&disk, at), 0).unwrap_err(), "the head of a half is not whole", "octet {at}");
    }
    for at in frame(1).chain(frame(2)) {
        assert!(told(&turn(&disk, at), 3).is_ok(), "octet {at}: what is in the tables is not needed any more");
    }
}

#[test]
fn a_half_that_is_missing_is_noticed() {
    let disk = Disk::default();
    let mut log = log_of(&disk);
    for number in 1..=4 {
        log.append(&content(number, 500)).unwrap();
    }
    let [tables, octets] = disk.images();
    let mut without = octets.clone();
    // The last frame of the first half.
    without[512 + 576..FILE / 2].fill(0);
    let without = Disk::holding([tables, without]);
    assert_eq!(told(&without, 0).unwrap_err(), "frame 2 is missing");
    assert_eq!(told(&without, 2), Ok(vec![3, 4]));
    let cut = |length: usize| {
        let [tables, mut log] = disk.images();
        log.truncate(length);
        told(&Disk::holding([tables, log]), 0)
    };
    for length in [1, 600, 2048, 4000, FILE - 1] {
        assert!(cut(length).is_err(), "cut to {length}");
    }
    let other = wal::read(&disk.log(FILE), Anchor { store: STORE + 1, applied: 0 });
    assert!(matches!(other, Err(WalError::Damaged(detail)) if detail == "it belongs to another store"));
}

#[test]
fn a_frame_that_failed_makes_room_for_the_next_also_in_the_other_half() {
    for (failing, octets) in [(100, 100), (100, 1000), (1000, 100), (1000, 1000)] {
        let disk = Disk::default();
        let mut log = log_of(&disk);
        log.append(&content(1, 700)).unwrap();
        // Written, and not made sure of: all of it may be there.
        disk.fail_after(1, true);
        log.append(&content(99, failing)).unwrap_err();
        disk.mend();
        assert_eq!(log.append(&content(2, octets)).unwrap(), 2);
        assert_eq!(told(&disk, 0), Ok(vec![1, 2]), "{failing}, then {octets}");
        log.append(&content(3, 100)).unwrap();
        assert_eq!(told(&disk, 0), Ok(vec![1, 2, 3]), "{failing}, then {octets}");
    }
}

#[test]
fn numbers_go_on_after_a_frame_that_went_into_the_tables_by_itself() {
    let disk = Disk::default();
    let mut log = log_of(&disk);
    log.append(&content(1, 100)).unwrap();
    assert_eq!(log.pass(), 2);
    assert_eq!(told(&disk, 2), Ok(vec![]));
    assert_eq!(log.room(100), Room::Other(2));
    assert_eq!(log.append(&content(3, 100)).unwrap(), 3);
    assert_eq!(told(&disk, 2), Ok(vec![3]));
    assert_eq!(told(&disk, 1).unwrap_err(), "frame 2 is missing");
}

#[test]
fn nobody_can_register_what_passes_for_a_frame() {
    // The same octets under the key of an earlier half, where they once stood.
    let disk = Disk::default();
    let mut log = log_of(&disk);
    log.append(&content(1, 100)).unwrap();
    let [tables, earlier] = disk.images();
    let disk = Disk::holding([tables.clone(), Vec::new()]);
    let mut log = log_of(&disk);
    log.append(&content(1, 100)).unwrap();
    let mut octets = disk.images()[1].clone();
    octets[512..632].copy_from_slice(&earlier[512..632]);
    assert_eq!(told(&Disk::holding([tables, octets]), 0), Ok(vec![]));
}

#[test]
fn one_frame_is_one_write_and_one_sync() {
    let disk = Disk::default();
    let mut log = log_of(&disk);
    let length = disk.log(FILE).len().unwrap();
    for number in 1..=9 {
        let before = disk.count();
        log.append(&content(number, 500)).unwrap();
        let deeds = &disk.deeds()[before..];
        assert!(matches!(deeds, [(_, Deed::Write(..)), (_, Deed::Sync)]), "{deeds:?}");
    }
    assert_eq!(disk.log(FILE).len().unwrap(), length, "the file never grows");
}
