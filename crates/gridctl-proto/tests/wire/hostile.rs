//! Documents that somebody changed on purpose: they are refused, or do no harm.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its ground fails")]

use gridctl_core::id::{LeaseSeq, SweepId, Time, WorkerId};
use gridctl_core::machine::MachineHealth;
use gridctl_core::protocol::{Capacity, FrozenSweep, Hello, MAX_HELD, PROTOCOL, ToMaster, ToWorker};
use gridctl_core::sched::{Conn, Core, Effect, Input, Request, Step, Submission, Timing, TrialPlace};
use gridctl_core::view::{SubmitRequest, TrialLine};
use gridctl_proto::v1;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value as Json, json};

use super::made::{frozen, hello, report, trial, worker_update};

/// Most trials that one step may grant, and most events that it may cause.
const MOST_GRANTS: usize = 5_000;

/// Every place of a document, as a JSON pointer.
fn places(document: &Json, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match document {
        Json::Array(items) => {
            let items = items.iter().enumerate();
            items.for_each(|(place, item)| places(item, &format!("{at}/{place}"), found));
        }
        Json::Object(fields) => {
            let escaped = |name: &str| name.replace('~', "~0").replace('/', "~1");
            let fields = fields.iter();
            fields.for_each(|(name, field)| places(field, &format!("{at}/{}", escaped(name)), found));
        }
        _ => {}
    }
}

fn hostile() -> impl Strategy<Value = Json> {
    select(vec![
        Json::Null,
        json!(true),
        json!(-1),
        json!(0),
        json!(1),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1e308),
        json!(5e-324),
        json!(""),
        json!("\u{0}"),
        json!("../../etc"),
        json!("/"),
        json!("((("),
        json!("${args}"),
        json!("x".repeat(100_000)),
        json!([]),
        json!({}),
        json!([[[[[[]]]]]]),
        json!({"list": vec![0; 100_000]}),
        json!({"int_range": {"min": i64::MAX, "step": 1, "count": u64::MAX}}),
        json!({"axis": u64::MAX}),
        json!({"seeds": u32::MAX}),
    ])
}

/// A frozen sweep in which some places hold something else, as its sender writes it.
fn damaged() -> impl Strategy<Value = String> {
    vec((any::<Index>(), hostile()), 1..4).prop_map(|damage| {
        let mut document = serde_json::to_value(frozen()).unwrap();
        for (place, value) in damage {
            let mut found = Vec::new();
            places(&document, "", &mut found);
            *document.pointer_mut(&found[place.index(found.len())]).unwrap() = value;
        }
        json!({ "frozen": document }).to_string()
    })
}

/// A master's policy, stepped as its shell does.
struct World {
    core: Core,
    now: Time,
}

impl World {
    fn new() -> Self {
        let mut core = Core::new(Timing::default());
        core.begin(Time(0));
        core.take();
        Self { core, now: Time(0) }
    }

    /// Steps one input; each step is bounded.
    fn feed(&mut self, input: Input) -> Step {
        self.now = self.now.after_ms(1);
        self.core.step(self.now, input);
        self.core.settle(self.now);
        let step = self.core.take();
        assert!(step.events.len() < 2 * MOST_GRANTS, "{} events in one step", step.events.len());
        step
    }

    fn submit(&mut self, frozen: FrozenSweep) {
        let submission = Submission {
            frozen,
            known: Vec::new(),
            looked_up: None,
            changed: None,
            retry_failed: false,
            rerun: false,
            beside: Vec::new(),
        };
        self.feed(Input::Submit(Request(1), Box::new(submission)));
    }

    /// What people are shown reads back.
    fn look(&self) {
        for sweep in self.core.sweeps() {
            let status = self.core.status(sweep.id(), self.now).unwrap();
            let text = serde_json::to_string(&status).unwrap();
            serde_json::from_str::<gridctl_core::sched::SweepStatus>(&text).expect(&text);
            for live in self.core.live(sweep.id(), self.now).into_iter().take(10) {
                let trial = sweep.points().trial(live.index);
                let line = TrialLine::live(live, (trial.params, trial.repeat));
                let text = serde_json::to_string(&line).unwrap();
                serde_json::from_str::<TrialLine>(&text).expect(&text);
            }
        }
        serde_json::to_string(&self.core.workers()).unwrap();
    }
}

fn grants(step: &Step) -> Vec<LeaseSeq> {
    let updates = step.effects.iter().filter_map(|effect| match effect {
        Effect::Send(_, ToWorker::Update(update)) => Some(update),
        _ => None,
    });
    updates.flat_map(|update| update.grants.iter().map(|grant| grant.token.lease)).collect()
}

fn large(worker: u8) -> Hello {
    let capacity = Capacity { cpu_milli: u32::MAX, mem_mib: u64::MAX, gpus: u32::MAX, slots: 0 };
    Hello {
        protocol: PROTOCOL,
        release: String::new(),
        worker: WorkerId([worker; 5]),
        host: "host".to_owned(),
        capacity,
        held: Vec::new(),
        reports: Vec::new(),
        prefetch: u32::MAX,
        draining: false,
        health: MachineHealth::Fit,
        cannot_run: Vec::new(),
        machine: None,
        taken: false,
    }
}

#[test]
fn a_trial_that_takes_no_processor_is_no_sweep() {
    let mut document = serde_json::to_value(frozen()).unwrap();
    document["spec"]["resources"]["cpu_milli"] = json!(0);
    let request = json!({ "frozen": document });
    let refused = serde_json::from_value::<SubmitRequest>(request).unwrap_err();
    assert!(refused.to_string().contains("resources are out of range"), "{refused}");
}

#[test]
fn one_step_grants_a_bounded_number_and_a_worker_holds_no_more_than_it_can_name() {
    let mut world = World::new();
    let file =
        b"command: [t]\nresources: {cpu: 0.001}\nparameters: {x: {min: 1, max: 1000000000, step: 1}}\n";
    let spec = gridctl_core::spec::parse(file, &gridctl_core::spec::Context { file_stem: "s", count: None })
        .unwrap();
    world.submit(FrozenSweep { spec: spec.spec, ..frozen() });
    let mut step = world.feed(Input::Opened(Conn(1), Box::new(large(1))));
    let mut held = 0;
    while !grants(&step).is_empty() {
        assert!(grants(&step).len() <= MOST_GRANTS);
        held += grants(&step).len();
        step = world.feed(Input::Tick);
    }
    assert_eq!(held, MAX_HELD);
    world.look();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn g41_a_document_that_was_changed_on_purpose_is_refused_or_does_no_harm(text in damaged()) {
        if let Ok(submit) = serde_json::from_str::<SubmitRequest>(&text) {
            let mut world = World::new();
            world.feed(Input::Opened(Conn(1), Box::new(large(1))));
            world.submit(submit.frozen);
            world.feed(Input::Tick);
            world.look();
        }
    }

    #[test]
    fn g41_whatever_workers_say_the_master_goes_on(
        said in vec((hello(), worker_update(), any::<bool>()), 1..6),
        reports in vec(report(), 0..4),
        retried in vec(trial(), 0..3),
    ) {
        let mut world = World::new();
        world.submit(frozen());
        let step = world.feed(Input::Opened(Conn(100), Box::new(large(9))));
        let held = grants(&step);
        for (conn, (hello, mut update, protocol)) in (1..).map(Conn).zip(said) {
            let hello = Hello { protocol: if protocol { PROTOCOL } else { hello.protocol }, ..hello };
            let message = v1::WorkerMessage::from(ToMaster::Hello(hello));
            let Ok(ToMaster::Hello(hello)) = ToMaster::try_from(message) else { continue };
            world.feed(Input::Opened(conn, Box::new(hello)));
            world.feed(Input::Said(conn, Box::new(update.clone())));
            // The same from the worker that holds trials: what it says of them is believed.
            update.progress.extend(held.iter().map(|lease| (*lease, -1, f64::NAN)));
            update.bye = false;
            world.feed(Input::Said(Conn(100), Box::new(update)));
            world.look();
        }
        for (lease, mut report) in held.iter().zip(reports) {
            report.token.lease = *lease;
            let reports = vec![report];
            let update = gridctl_core::protocol::WorkerUpdate { reports, ..Default::default() };
            world.feed(Input::Said(Conn(100), Box::new(update)));
        }
        let places = retried.into_iter().map(|trial| TrialPlace { trial, point: None }).collect();
        world.feed(Input::Retry(Request(7), SweepId(1), places));
        world.look();
    }
}
