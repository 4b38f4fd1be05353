//! What an answer costs as the zone grows, and what one change costs: `cargo bench --bench zone`.
//!
//! Absolute times depend on the machine and on what else it does; the ratios, taken in interleaved rounds of one run,
//! are what to read. A ratio near 1 says that the cost does not grow with the zone.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench that fails says where and prints its figures")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RecordType};
use rollcall::model::{Addresses, Health, Instance, Meta, Registration, Revision, State, Timestamp, Transport, Ttl};
use rollcall::registry::{Actor, Batch, Cause, Change, Registry};
use rollcall::zone::{Detail, Publisher, Question, Settings, Zone};
use tokio::time::Instant;

const SIZES: [usize; 3] = [100, 10_000, 100_000];
const INSTANCES: usize = 3;
const ROUNDS: usize = 9;
const QUESTIONS: usize = 20_000;
const CHANGES: usize = 2_000;

fn put(service: usize, id: usize, revision: u64, weight: u16) -> Batch {
    let instance = Instance {
        service: format!("service-{service}").parse().unwrap(),
        id: format!("i{id}").parse().unwrap(),
        registration: Registration {
            addresses: Addresses::new([[10, (service >> 8) as u8, service as u8, 1 + id as u8].into()]).unwrap(),
            port: 8080,
            protocol: Transport::Tcp,
            ports: Arc::default(),
            priority: 0,
            weight,
            tags: Arc::default(),
            meta: Meta::default(),
            ttl: None,
            https: false,
            checks: [].into(),
            initial_health: Health::Passing,
            evict_after: None,
            generation: None,
            shared_address: false,
        },
        amended_from: None,
        lease: None,
        state: State::Up,
        state_until: None,
        checks: Box::default(),
        health_since: Timestamp::from_millis(0),
        registered_at: Timestamp::from_millis(0),
        revision: Revision(revision),
        epoch: Revision(1),
    };
    let changes = vec![Change::Put { instance: Arc::new(instance), cause: Cause::Registered }];
    Batch { revision: Revision(revision), at: Timestamp::from_millis(0), actor: Actor::server(), changes }
}

struct World {
    services: usize,
    registry: Registry,
    publisher: Publisher,
    zone: Arc<Zone>,
}

impl World {
    fn of(services: usize) -> Self {
        let mut registry = Registry::default();
        for service in 0..services {
            for id in 0..INSTANCES {
                registry.apply(&put(service, id, registry.revision().0 + 1, 1));
            }
        }
        let mut publisher = Publisher::new(Settings {
            name: "svc.internal".parse().unwrap(),
            ttl: Ttl::new("5s".parse().unwrap()).unwrap(),
            name_server: vec!["127.0.0.1".parse().unwrap()],
            reverse: Vec::new(),
            serial: 1,
        });
        publisher.publish_all(&registry);
        let zone = publisher.zone();
        Self { services, registry, publisher, zone }
    }

    /// Nanoseconds of one answer, over names that are spread over the whole zone.
    fn ask(&self, record_type: RecordType, rcode: ResponseCode, name: impl Fn(usize) -> String) -> f64 {
        let names: Vec<Name> = (0..1024).map(|n| Name::from_ascii(name(n * 7919 % self.services)).unwrap()).collect();
        let started = Instant::now();
        for turn in 0..QUESTIONS {
            let question = Question {
                name: &names[turn % names.len()],
                record_type,
                client: [127, 0, 0, 1].into(),
                detail: Detail::None,
                room: 1200,
                last_resort: false,
                turn,
            };
            let answer = black_box(self.zone.answer(black_box(&question)));
            assert_eq!(answer.rcode, rcode);
        }
        started.elapsed().as_nanos() as f64 / QUESTIONS as f64
    }

    /// Nanoseconds from one instance's change to its being served.
    fn change(&mut self) -> f64 {
        let started = Instant::now();
        for n in 0..CHANGES {
            let revision = self.registry.revision().0 + 1;
            let batch = put(n * 7919 % self.services, 1, revision, (revision % 1000) as u16);
            self.registry.apply(&batch);
            let name = batch.changes[0].service();
            self.publisher.publish(name, &self.registry);
        }
        started.elapsed().as_nanos() as f64 / CHANGES as f64
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

type Measure = (&'static str, fn(&mut World) -> f64);

fn main() {
    let started = Instant::now();
    let mut worlds: Vec<World> = SIZES.into_iter().map(World::of).collect();
    println!(
        "built in {:?}; {ROUNDS} interleaved rounds; medians",
        Duration::from_millis(started.elapsed().as_millis() as u64)
    );
    let measures: [Measure; 5] = [
        ("A", |world| world.ask(RecordType::A, ResponseCode::NoError, |n| format!("service-{n}.svc.internal."))),
        ("SRV", |world| {
            world.ask(RecordType::SRV, ResponseCode::NoError, |n| format!("_service-{n}._tcp.svc.internal."))
        }),
        ("NODATA", |world| {
            world.ask(RecordType::AAAA, ResponseCode::NoError, |n| format!("service-{n}.svc.internal."))
        }),
        ("NXDOMAIN", |world| world.ask(RecordType::A, ResponseCode::NXDomain, |n| format!("absent-{n}.svc.internal."))),
        ("change", World::change),
    ];
    println!("{:<10}{}", "", SIZES.map(|size| format!("{size:>12} services")).concat());
    for (name, measure) in measures {
        let mut figures = vec![Vec::new(); worlds.len()];
        for _ in 0..ROUNDS {
            for (world, figures) in worlds.iter_mut().zip(&mut figures) {
                figures.push(measure(world));
            }
        }
        let medians: Vec<f64> = figures.into_iter().map(median).collect();
        let columns: String = medians.iter().map(|ns| format!("{:>12.0} ns x{:<5.2}", ns, ns / medians[0])).collect();
        println!("{name:<10}{columns}");
    }
}
