//! Properties of the books: what was taken back has never happened, a batch is its commands one after the other, and
//! whoever is gone leaves nothing behind.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::model::{
    Addresses, CheckKind, CheckSpec, Health, Meta, Registration, ServiceSettings, State, Timestamp, Ttl,
};
use crate::registry::{Amendment, Expiry, IdChoice, Limits, Observation, Precondition, Scope};
use crate::store::Keep;

const SERVICES: [&str; 3] = ["web", "api.payments", "db.payments"];
const IDS: [&str; 4] = ["i1", "i2", "i3", "i4"];

/// A command, as long as nobody knows which leases and epochs there are.
#[derive(Debug, Clone)]
pub(in crate::store) enum Op {
    Register { whose: Whose, registration: Registration, lease: Wish, chosen: bool },
    Deregister(Whose),
    DeregisterAll(Scope),
    Amend { whose: Whose, state: Option<State>, expiry: Expiry, tagged: Option<bool> },
    Observe { whose: Whose, health: Health },
    Configure { service: usize, is_set: bool },
    Grant(u64),
    Revoke(usize),
    Renew(usize),
    RenewOwn(Whose),
    Batch(Vec<Op>),
}

/// A service and an id.
pub(in crate::store) type Whose = (usize, usize);

#[derive(Debug, Clone, Copy)]
pub(in crate::store) enum Wish {
    None,
    Own(u64),
    /// One of those that were granted.
    Join(usize),
}

fn registration() -> impl Strategy<Value = Registration> {
    let place = (1..4_u8, 1..4_u8, any::<bool>());
    let mind = (any::<bool>(), option::of(3..9_u64), option::of(0..3_u64), prop::bool::weighted(0.2), any::<bool>());
    let ttl = option::of((0..9_u64).prop_map(|seconds| Ttl::new(Duration::from_secs(seconds)).unwrap()));
    (place, mind, ttl).prop_map(|(place, mind, ttl)| {
        let (families, last, is_udp) = place;
        let (is_checked, evict, generation, shared_address, is_tagged) = mind;
        let v4 = (families & 1 != 0).then(|| [10, 0, 0, last].into());
        let v6 = (families & 2 != 0).then(|| [0xfd00, 0, 0, 0, 0, 0, 0, last.into()].into());
        let check = CheckSpec {
            name: "tcp".parse().unwrap(),
            kind: CheckKind::Tcp { hold: false },
            interval: Duration::from_secs(5),
            fast_interval: Duration::from_millis(500),
            timeout: Duration::from_secs(1),
            rise: 1,
            fall: 3,
            unsaid: Default::default(),
            port: None,
        };
        Registration {
            addresses: Addresses::new(v4.into_iter().chain(v6)).unwrap(),
            port: 80,
            protocol: if is_udp { Transport::Udp } else { Transport::Tcp },
            ports: Default::default(),
            priority: 0,
            weight: 1,
            tags: if is_tagged { ["a".parse().unwrap()].into() } else { Default::default() },
            meta: Meta::default(),
            ttl,
            https: false,
            checks: is_checked.then_some(check).into_iter().collect(),
            initial_health: Health::Unknown,
            evict_after: evict.map(Duration::from_secs),
            generation,
            shared_address,
        }
    })
}

fn single() -> impl Strategy<Value = Op> {
    let whose = || (0..SERVICES.len(), 0..IDS.len());
    let wish = prop_oneof![
        1 => Just(Wish::None),
        3 => (2..6_u64).prop_map(Wish::Own),
        3 => (0..2_usize).prop_map(Wish::Join),
    ];
    let scope = prop_oneof![
        (0..SERVICES.len()).prop_map(|service| Scope::Service(SERVICES[service].parse().unwrap())),
        Just(Scope::Under("payments".parse().unwrap())),
    ];
    let state = prop_oneof![Just(State::Up), Just(State::Draining), Just(State::Maintenance)];
    let expiry = prop_oneof![
        Just(Expiry::Kept),
        Just(Expiry::Never),
        (1..6_u64).prop_map(|seconds| Expiry::After(Duration::from_secs(seconds))),
    ];
    let health = prop_oneof![1 => Just(Health::Passing), 3 => Just(Health::Critical)];
    prop_oneof![
        8 => (whose(), registration(), wish, prop::bool::weighted(0.1))
            .prop_map(|(whose, registration, lease, chosen)| Op::Register { whose, registration, lease, chosen }),
        2 => whose().prop_map(Op::Deregister),
        1 => scope.prop_map(Op::DeregisterAll),
        3 => (whose(), option::of(state), expiry, option::of(any::<bool>()))
            .prop_map(|(whose, state, expiry, tagged)| Op::Amend { whose, state, expiry, tagged }),
        4 => (whose(), health).prop_map(|(whose, health)| Op::Observe { whose, health }),
        1 => (0..SERVICES.len(), any::<bool>()).prop_map(|(service, is_set)| Op::Configure { service, is_set }),
        2 => (4..20_u64).prop_map(Op::Grant),
        2 => (0..2_usize).prop_map(Op::Revoke),
        2 => (0..2_usize).prop_map(Op::Renew),
        1 => whose().prop_map(Op::RenewOwn),
    ]
}

pub(in crate::store) fn op() -> impl Strategy<Value = Op> {
    let flat = || vec(single(), 0..9);
    let nested = (flat(), flat(), flat()).prop_map(|(mut before, within, after)| {
        before.push(Op::Batch(within));
        before.extend(after);
        Op::Batch(before)
    });
    prop_oneof![6 => single(), 3 => flat().prop_map(Op::Batch), 1 => nested]
}

/// Commands that are kept or lost together, some seconds after those before.
fn groups() -> impl Strategy<Value = Vec<(u64, Vec<Op>, bool)>> {
    vec((0..3_u64, vec(op(), 0..6), prop::bool::weighted(0.6)), 1..16)
}

pub(in crate::store) fn command(op: &Op, registry: &Registry, granted: &[LeaseId]) -> Command {
    let named = |(service, id): &Whose| (SERVICES[*service].parse().unwrap(), IDS[*id].parse().unwrap());
    // What was not granted is a lease that nobody knows.
    let lease = |position: &usize| granted.iter().rev().nth(*position).copied().unwrap_or(LeaseId::new(1));
    match op {
        Op::Register { whose, registration, lease: wish, chosen } => {
            let (service, id) = named(whose);
            Command::Register(Box::new(Register {
                service,
                id: if *chosen { IdChoice::Chosen(id) } else { IdChoice::Given(id) },
                registration: registration.clone(),
                lease: match wish {
                    Wish::None => LeaseWish::None,
                    Wish::Own(seconds) => LeaseWish::Own(Duration::from_secs(*seconds)),
                    Wish::Join(position) => LeaseWish::Join(lease(position)),
                },
                precondition: Precondition::None,
            }))
        }
        Op::Deregister(whose) => {
            let (service, id) = named(whose);
            Command::Deregister { service, id, precondition: Precondition::None }
        }
        Op::DeregisterAll(scope) => Command::DeregisterAll(scope.clone()),
        Op::Amend { whose, state, expiry, tagged } => {
            let (service, id) = named(whose);
            Command::Amend(Box::new(Amendment {
                service,
                id,
                precondition: Precondition::None,
                state: *state,
                expiry: *expiry,
                weight: None,
                tags: tagged.map(|tagged| if tagged { ["a".parse().unwrap()].into() } else { Default::default() }),
                meta: None,
            }))
        }
        Op::Observe { whose, health } => {
            let (service, id): (ServiceName, InstanceId) = named(whose);
            let epoch = registry.instance(&service, id.as_str()).map(|instance| instance.epoch).unwrap_or_default();
            Command::Observe(Box::new(Observation {
                service,
                id,
                epoch,
                check: "tcp".parse().unwrap(),
                health: *health,
                error: None,
                at: Timestamp::from_millis(0),
            }))
        }
        Op::Configure { service, is_set } => Command::Configure {
            service: SERVICES[*service].parse().unwrap(),
            settings: is_set.then(ServiceSettings::default),
        },
        Op::Grant(seconds) => Command::Grant { ttl: Duration::from_secs(*seconds) },
        Op::Revoke(position) => Command::Revoke(lease(position)),
        Op::Renew(position) => Command::Renew(Renewal::Lease(lease(position))),
        Op::RenewOwn(whose) => {
            let (service, id) = named(whose);
            Command::Renew(Renewal::Own(service, id))
        }
        Op::Batch(ops) => Command::Batch(ops.iter().map(|op| command(op, registry, granted)).collect()),
    }
}

pub(in crate::store) fn settings() -> Settings {
    let limits = Limits {
        instances_per_service: 3,
        instances: 7,
        leases: 4,
        remembered_names: 3,
        configured: 2,
        zone_octets: 14,
        reserved: Default::default(),
    };
    let history = Keep { age: StdDuration::from_secs(3600), events: 10 };
    Settings { limits, ttl: Ttl::USUAL, name_memory: StdDuration::from_secs(5), history, guard: Default::default() }
}

fn shown(ledger: &Ledger) -> String {
    let Ledger { registry, leases, waits, memory, .. } = ledger;
    format!("{registry:#?}\n{}\n{}\n{}", leases.shown(), waits.shown(), memory.shown())
}

/// The books of the same registry and leases, as they would begin.
fn anew(ledger: &Ledger, now: Moment) -> Ledger {
    Ledger::restored(settings(), ledger.registry.clone(), ledger.all_leases(), now)
}

/// What must hold whenever the books are at rest.
fn check(ledger: &Ledger, granted: &[LeaseId], now: Moment) {
    let registry = ledger.registry();
    let instances = || registry.services_after(None).flat_map(|service| service.instances());
    assert_eq!(registry.instances(), instances().count());
    assert_eq!(registry.answered(), instances().filter(|instance| instance.answered()).count());
    for service in registry.services_after(None) {
        let all = service.instances();
        assert!(all.len() <= 3 && service.answered() == all.iter().filter(|i| i.answered()).count());
        for (position, instance) in all.iter().enumerate() {
            let rival = all[..position].iter().find(|other| instance.registration.displaces(&other.registration));
            assert!(rival.is_none(), "{instance:?} stands where {rival:?} does");
        }
    }
    let restored = anew(ledger, now);
    assert_eq!(ledger.leases.members_of_all(), restored.leases.members_of_all(), "who is on which lease");
    assert_eq!(ledger.waits.keys(), restored.waits.keys(), "who waits for what");
    assert_eq!(ledger.memory.len(), restored.memory.len(), "which names are remembered");
    let used = instances().filter_map(|instance| instance.lease).map(|lease| lease.id);
    let shared = granted.iter().copied().filter(|id| ledger.leases.contains(*id));
    let known: BTreeSet<LeaseId> = used.chain(shared).collect();
    assert_eq!(ledger.leases.len(), known.len(), "an own lease without its instance");
}

/// A registry but for what numbers its history and leases.
fn content(registry: &Registry) -> String {
    let instance = |instance: &Arc<Instance>| {
        let mut instance = Instance::clone(instance);
        (instance.revision, instance.epoch) = Default::default();
        instance.lease = instance.lease.map(|lease| InstanceLease { id: LeaseId::new(0), ..lease });
        instance
    };
    let service = |service: &Arc<crate::registry::Service>| {
        let mut remains = service.remains();
        remains.lapsed.sort();
        remains.superseded.sort_by(|a, b| a.id.cmp(&b.id));
        (service.name().clone(), service.instances().iter().map(instance).collect::<Vec<_>>(), remains)
    };
    format!("{:#?}", registry.services_after(None).map(service).collect::<Vec<_>>())
}

/// Carries commands out one by one; the first refusal and where it stands.
fn one_by_one(ledger: &mut Ledger, commands: &[Command], now: Moment) -> Result<(), Refusal> {
    for (position, command) in commands.iter().enumerate() {
        let in_batch = |refusal| Refusal::InBatch { position, refusal: Box::new(refusal) };
        match command {
            Command::Batch(commands) => one_by_one(ledger, commands, now).map_err(in_batch)?,
            command => {
                let decision = ledger.decide(command, &Actor::server(), now).map_err(in_batch)?;
                ledger.settle(&decision, now);
            }
        }
    }
    Ok(())
}

/// A refusal but for revisions and the lease ids that differ between two runs.
fn kind(refusal: &Refusal) -> String {
    match refusal {
        Refusal::InBatch { position, refusal } => format!("{position}: {}", kind(refusal)),
        Refusal::Precondition { .. } => "precondition".to_owned(),
        refusal => format!("{refusal:?}"),
    }
}

/// The leases that nobody owns.
pub(in crate::store) fn grants(outcome: &Outcome) -> Vec<LeaseId> {
    match outcome {
        Outcome::Granted(lease) => vec![lease.id],
        Outcome::Batch(outcomes) => outcomes.iter().flat_map(grants).collect(),
        _ => Vec::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_taken_back_has_never_happened(groups in groups()) {
        let start = Instant::now();
        let moment = |seconds: u64| {
            Moment::of(start + StdDuration::from_secs(seconds), Timestamp::from_millis(1_000_000 + 1000 * seconds))
        };
        let new = || Ledger::restored(settings(), Registry::default(), [], moment(0));
        // The second hears of what was kept only.
        let (mut ledger, mut twin) = (new(), new());
        let (mut granted, mut seconds) = (Vec::new(), 0);
        for (passed, ops, is_kept) in groups {
            seconds += passed;
            let now = moment(seconds);
            let before = ledger.registry().clone();
            let mut decisions: Vec<Decision> = ledger.decide_due(now).into_iter().collect();
            for decision in &decisions {
                ledger.settle(decision, now);
            }
            for op in &ops {
                let command = command(op, ledger.registry(), &granted);
                let decided = ledger.decide(&command, &Actor::server(), now);
                let mut apart = anew(&ledger, now);
                let expected = match &command {
                    Command::Batch(commands) => one_by_one(&mut apart, commands, now),
                    command => apart.decide(command, &Actor::server(), now).map(|decision| drop(apart.settle(&decision, now))),
                };
                let Ok(decision) = decided else {
                    prop_assert_eq!(decided.as_ref().err().map(kind), expected.as_ref().err().map(kind));
                    continue;
                };
                prop_assert!(expected.is_ok(), "only apart: {:?}", expected);
                let revision = ledger.registry().revision();
                let committed = ledger.settle(&decision, now);
                prop_assert_eq!(committed.revision.0 - revision.0, u64::from(decision.batch.is_some()));
                prop_assert_eq!(content(ledger.registry()), content(apart.registry()));
                decisions.push(decision);
            }
            if is_kept {
                for decision in &decisions {
                    twin.settle(decision, now);
                    granted.extend(grants(&decision.outcome));
                }
                ledger.keep();
                twin.keep();
            } else {
                ledger.undo(before);
                // A renewal stays.
                for edit in decisions.iter().flat_map(|decision| &decision.leases) {
                    if let LeaseEdit::Renew(id) = edit {
                        twin.renew(*id, now);
                    }
                }
            }
            prop_assert_eq!(shown(&ledger), shown(&twin));
            check(&ledger, &granted, now);
        }
    }
}
