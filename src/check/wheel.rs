//! One timer for all checks: a hierarchical wheel.

/// Bits of a tick that one level looks at.
const BITS: u32 = 6;
const SLOTS: usize = 1 << BITS;
const LEVELS: usize = 4;
/// Ticks that lie ahead at most: 23 hours of 5 ms each. What is due later comes up for another round.
const SPAN: u64 = 1 << (BITS * LEVELS as u32);
/// Nodes of the heads of lists, before those of entries.
const HEADS: usize = LEVELS * SLOTS;

/// An entry, or the head of a list. Lists are rings through their heads, so that an entry can leave without knowing
/// which list it is in.
#[derive(Debug, Clone, Copy)]
struct Node {
    before: u32,
    after: u32,
    due: u64,
}

/// Entries that each come up once at their tick. Pure: time is an argument, in ticks since whenever.
///
/// To insert, to move and to remove cost the same however many there are; an entry is touched once on each level that
/// it comes down, which is at most four times. Entries are small dense numbers.
#[derive(Debug)]
pub(super) struct Wheel {
    nodes: Vec<Node>,
    /// Slots that are not empty, for each level; a bit may stay behind when the last entry is removed.
    occupied: [u64; LEVELS],
    now: u64,
}

impl Wheel {
    pub(super) fn new() -> Self {
        let head = |at: usize| Node { before: at as u32, after: at as u32, due: 0 };
        Self { nodes: (0..HEADS).map(head).collect(), occupied: [0; LEVELS], now: 0 }
    }

    /// Has an entry come up at a tick, and at no other. A tick that has passed is now.
    pub(super) fn insert(&mut self, entry: u32, due: u64) {
        let node = HEADS as u32 + entry;
        while self.nodes.len() <= node as usize {
            let at = self.nodes.len() as u32;
            self.nodes.push(Node { before: at, after: at, due: 0 });
        }
        self.unlink(node);
        self.nodes[node as usize].due = due;
        self.link(node);
    }

    /// Takes an entry out, if it is in.
    pub(super) fn remove(&mut self, entry: u32) {
        let node = HEADS as u32 + entry;
        if (node as usize) < self.nodes.len() {
            self.unlink(node);
        }
    }

    /// The earliest tick at which an entry may come up; it may turn out that none does.
    pub(super) fn next(&mut self) -> Option<u64> {
        self.earliest().map(|(_, _, start)| start.max(self.now))
    }

    /// Takes out an entry whose tick has come, with that tick. The earliest tick comes first.
    pub(super) fn pop(&mut self, now: u64) -> Option<(u32, u64)> {
        loop {
            let Some((level, slot, start)) = self.earliest().filter(|(_, _, start)| *start <= now) else {
                self.now = self.now.max(now);
                return None;
            };
            self.now = self.now.max(start);
            let node = self.nodes[level * SLOTS + slot].after;
            self.unlink(node);
            let due = self.nodes[node as usize].due;
            if due <= self.now {
                return Some((node - HEADS as u32, due));
            }
            // Its slot has begun, so it goes down to a level that tells ticks further apart.
            self.link(node);
        }
    }

    fn link(&mut self, node: u32) {
        // One slot short of the whole span, or the furthest slot of the highest level were the one that is now.
        let due = self.nodes[node as usize].due.clamp(self.now, self.now + SPAN - SPAN / SLOTS as u64);
        let differ = (self.now ^ due) | (SLOTS as u64 - 1);
        let level = ((63 - differ.leading_zeros()) / BITS).min(LEVELS as u32 - 1);
        let slot = (due >> (level * BITS)) as usize % SLOTS;
        let head = level as usize * SLOTS + slot;
        let last = self.nodes[head].before;
        self.nodes[node as usize].before = last;
        self.nodes[node as usize].after = head as u32;
        self.nodes[last as usize].after = node;
        self.nodes[head].before = node;
        self.occupied[level as usize] |= 1 << slot;
    }

    fn unlink(&mut self, node: u32) {
        let Node { before, after, .. } = self.nodes[node as usize];
        self.nodes[before as usize].after = after;
        self.nodes[after as usize].before = before;
        self.nodes[node as usize].before = node;
        self.nodes[node as usize].after = node;
    }

    /// The slot that begins first: its level, its place there, and the tick at which it begins.
    fn earliest(&mut self) -> Option<(usize, usize, u64)> {
        let mut earliest: Option<(usize, usize, u64)> = None;
        for level in 0..LEVELS {
            let Some((slot, start)) = self.first_of(level) else { continue };
            // Of two that begin together the higher one has entries that belong into the lower one.
            if earliest.is_none_or(|(_, _, other)| start <= other) {
                earliest = Some((level, slot, start));
            }
        }
        earliest
    }

    fn first_of(&mut self, level: usize) -> Option<(usize, u64)> {
        let shift = BITS * level as u32;
        let position = (self.now >> shift) as usize % SLOTS;
        while self.occupied[level] != 0 {
            let ahead = self.occupied[level].rotate_right(position as u32).trailing_zeros() as usize;
            let slot = (position + ahead) % SLOTS;
            let head = level * SLOTS + slot;
            if self.nodes[head].after as usize != head {
                return Some((slot, ((self.now >> shift) + ahead as u64) << shift));
            }
            self.occupied[level] &= !(1 << slot);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn pop_all(wheel: &mut Wheel, now: u64) -> Vec<(u32, u64)> {
        std::iter::from_fn(|| wheel.pop(now)).collect()
    }

    #[test]
    fn entries_come_up_at_their_tick_and_not_before() {
        let mut wheel = Wheel::new();
        for (entry, due) in [(1, 3), (2, 64), (3, 4_096), (4, 300_000), (5, 3)] {
            wheel.insert(entry, due);
        }
        assert_eq!(pop_all(&mut wheel, 2), []);
        assert_eq!(wheel.next(), Some(3));
        assert_eq!(pop_all(&mut wheel, 3), [(1, 3), (5, 3)]);
        assert_eq!(pop_all(&mut wheel, 63), []);
        assert_eq!(pop_all(&mut wheel, 4_095), [(2, 64)]);
        assert_eq!(pop_all(&mut wheel, 299_999), [(3, 4_096)]);
        assert_eq!(pop_all(&mut wheel, u64::MAX / 2), [(4, 300_000)]);
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn the_past_is_now_and_the_far_future_comes_round() {
        let mut wheel = Wheel::new();
        assert_eq!(pop_all(&mut wheel, 1_000_000), []);
        wheel.insert(0, 7);
        wheel.insert(1, 1_000_000 + 3 * SPAN);
        assert_eq!(wheel.next(), Some(1_000_000));
        assert_eq!(pop_all(&mut wheel, 1_000_000), [(0, 7)]);
        let mut now = 1_000_000;
        while let Some(next) = wheel.next() {
            assert!(next > now, "it makes progress");
            now = next;
            assert!(wheel.pop(now).is_none() || now == 1_000_000 + 3 * SPAN);
        }
        assert_eq!(now, 1_000_000 + 3 * SPAN);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u32, u64),
        Remove(u32),
        Pass(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let span = prop_oneof![0..100_u64, 0..10_000_u64, 0..1_000_000_u64, Just(2 * SPAN)];
        let step = prop_oneof![
            4 => (0..40_u32, span.clone()).prop_map(|(entry, ahead)| Step::Insert(entry, ahead)),
            1 => (0..40_u32).prop_map(Step::Remove),
            2 => span.prop_map(Step::Pass),
        ];
        proptest::collection::vec(step, 1..200)
    }

    proptest! {
        #[test]
        fn it_does_what_an_ordered_map_would(steps in steps()) {
            let (mut wheel, mut expected, mut now) = (Wheel::new(), BTreeMap::<u32, u64>::new(), 0);
            for step in steps {
                match step {
                    Step::Insert(entry, ahead) => {
                        wheel.insert(entry, now + ahead);
                        expected.insert(entry, now + ahead);
                    }
                    Step::Remove(entry) => {
                        wheel.remove(entry);
                        expected.remove(&entry);
                    }
                    Step::Pass(ticks) => {
                        now += ticks;
                        let popped = pop_all(&mut wheel, now);
                        prop_assert!(popped.is_sorted_by_key(|(_, due)| *due));
                        for (entry, due) in popped {
                            prop_assert!(due <= now);
                            prop_assert_eq!(expected.remove(&entry), Some(due));
                        }
                        prop_assert!(expected.values().all(|due| *due > now));
                    }
                }
                let first = expected.values().min().copied();
                prop_assert_eq!(wheel.next().is_some(), first.is_some());
                prop_assert!(wheel.next().is_none_or(|next| Some(next) <= first && next >= now));
            }
        }
    }
}
