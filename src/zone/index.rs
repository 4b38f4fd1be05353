//! Owner names to what stands there. Readers never wait; one writer at a time.

use std::sync::Arc;

use super::name::parent_key;
use super::service::ServiceAnswers;
use crate::model::Transport;

/// What stands at an owner name, and how much lies below it, so that empty non-terminals are known (RFC 8020).
#[derive(Debug, Clone, Default)]
pub(super) struct Node {
    /// The service of that name, registered or remembered.
    pub(super) service: Option<Arc<ServiceAnswers>>,
    /// Services one label below whose RFC 2782 names exist, by [`Transport`]: `_tcp` and `_udp` here.
    pub(super) transports: [u32; 2],
    /// Services anywhere below.
    pub(super) below: u32,
}

impl Node {
    fn is_needed(&self) -> bool {
        self.service.is_some() || self.below > 0
    }
}

/// How counts of a [`Node`] change.
#[derive(Debug, Clone, Copy)]
struct Counts {
    transports: [i32; 2],
    below: i32,
}

impl Counts {
    fn map(self, part: impl Fn(i32) -> i32) -> Self {
        Self { transports: self.transports.map(&part), below: part(self.below) }
    }
}

/// Keys are lower-case wire names relative to the zone. The hash is seeded, because names come from the network.
#[derive(Debug)]
pub(super) struct Index {
    nodes: papaya::HashMap<Box<[u8]>, Arc<Node>, foldhash::fast::RandomState>,
}

impl Index {
    pub(super) fn new() -> Self {
        Self { nodes: papaya::HashMap::default() }
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<Arc<Node>> {
        self.nodes.pin().get(key).cloned()
    }

    fn update(&self, key: &[u8], edit: impl FnOnce(&mut Node)) {
        let nodes = self.nodes.pin();
        let mut node = nodes.get(key).map_or_else(Node::default, |node| Node::clone(node));
        edit(&mut node);
        if node.is_needed() {
            nodes.insert(key.into(), Arc::new(node));
        } else {
            nodes.remove(key);
        }
    }

    /// Puts the answers of a service in place, or takes them away, and keeps the counts of the names above in step.
    ///
    /// Only one thread may do so at a time.
    pub(super) fn replace(&self, key: &[u8], before: Option<&ServiceAnswers>, after: Option<Arc<ServiceAnswers>>) {
        let knows = |service: Option<&ServiceAnswers>, transport| service.is_some_and(|s| s.knows(transport));
        let mut counts = Counts { transports: [0; 2], below: i32::from(after.is_some()) - i32::from(before.is_some()) };
        for transport in Transport::ALL {
            counts.transports[transport as usize] =
                i32::from(knows(after.as_deref(), transport)) - i32::from(knows(before, transport));
        }
        // What lies above a name exists no later than the name and no shorter: a group that is denied while a service of
        // it exists would take the service along (RFC 8020).
        self.count_above(key, counts.map(|difference| difference.max(0)));
        self.update(key, |node| node.service = after);
        self.count_above(key, counts.map(|difference| difference.min(0)));
    }

    /// Adds to the counts of the names above a key.
    fn count_above(&self, key: &[u8], counts: Counts) {
        let (mut above, mut direct) = (key, true);
        while !above.is_empty() && (counts.below != 0 || (direct && counts.transports != [0; 2])) {
            above = parent_key(above);
            self.update(above, |node| {
                node.below = node.below.saturating_add_signed(counts.below);
                if direct {
                    for (count, difference) in node.transports.iter_mut().zip(counts.transports) {
                        *count = count.saturating_add_signed(difference);
                    }
                }
            });
            direct = false;
        }
    }

    /// The keys of all services, for a start over.
    pub(super) fn services(&self) -> Vec<Arc<ServiceAnswers>> {
        self.nodes.pin().values().filter_map(|node| node.service.clone()).collect()
    }
}
