//! What readers of the zone see while it changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RecordType};
use rollcall::model::{Revision, ServiceName, Timestamp, Ttl};
use rollcall::registry::{Actor, Batch, Cause, Change, Registry};
use rollcall::zone::{Detail, Publisher, Question, Settings};

use super::store::instance;

/// A service of a group that comes and goes never leaves its group denied while it exists: whoever believes a denial
/// of the group takes all below it for absent (RFC 8020).
#[test]
fn a_group_exists_for_as_long_as_what_is_in_it() {
    let mut publisher = Publisher::new(Settings {
        name: "svc.internal".parse().unwrap(),
        ttl: Ttl::new("5s".parse().unwrap()).unwrap(),
        name_server: Vec::new(),
        reverse: Vec::new(),
        serial: 1,
    });
    publisher.publish_all(&Registry::default());
    let zone = publisher.zone();
    let name: ServiceName = "api.payments".parse().unwrap();
    let mut registry = Registry::default();
    let put = Change::Put { instance: Arc::new(instance("api.payments", "i1")), cause: Cause::Registered };
    registry.apply(&Batch {
        revision: Revision(1),
        at: Timestamp::from_millis(0),
        actor: Actor::server(),
        changes: vec![put],
    });

    let nothing = Registry::default();
    let done = AtomicBool::new(false);
    let rcode = |name: &str| {
        let name = Name::from_ascii(name).unwrap();
        let (client, detail) = ([127, 0, 0, 1].into(), Detail::None);
        let record_type = RecordType::A;
        zone.answer(&Question { name: &name, record_type, client, detail, room: 500, last_resort: false, turn: 0 })
            .rcode
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // Where the service is before and after, its group was in between.
                let exists = || rcode("api.payments.svc.internal.") == ResponseCode::NoError;
                let serial = zone.serial();
                let (before, group, after) = (exists(), rcode("payments.svc.internal."), exists());
                if before && after && zone.serial() == serial {
                    assert_eq!(group, ResponseCode::NoError);
                }
            }
        });
        for revision in 1..20_000 {
            publisher.publish(&name, &registry);
            publisher.stamp(Revision(2 * revision));
            publisher.publish(&name, &nothing);
            publisher.stamp(Revision(2 * revision + 1));
        }
        done.store(true, Ordering::Relaxed);
    });
}
