//! Whatever a worker or a master may say, drawn at random.

use std::sync::Arc;

use gridctl_core::code::FileChange;
use gridctl_core::id::{CodeHash, Epoch, Fingerprint, LeaseSeq, SweepId, Token, TrialId, WorkerId};
use gridctl_core::machine::MachineHealth;
use gridctl_core::output::{Output, VolumeUrl};
use gridctl_core::protocol::{
    CannotRun, Capacity, Code, FrozenSweep, Grant, Hello, MasterUpdate, Sources, ToWorker, Welcome,
    WorkerUpdate,
};
use gridctl_core::record::{Channel, Class, CurvePoint, Doubt, Exit, MetricValue, Report};
use gridctl_core::spec::{self, Resources};
use gridctl_core::value::{Params, Value};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

pub(crate) fn token() -> impl Strategy<Value = Token> {
    any::<(u32, u64, u32)>().prop_map(|(epoch, lease, attempt)| Token {
        epoch: Epoch(epoch),
        lease: LeaseSeq(lease),
        attempt,
    })
}

pub(crate) fn trial() -> impl Strategy<Value = TrialId> {
    any::<[u8; 10]>().prop_map(TrialId)
}

pub(crate) fn metric() -> impl Strategy<Value = MetricValue> {
    prop_oneof![any::<f64>(), Just(f64::NAN), Just(f64::INFINITY)].prop_map(MetricValue)
}

pub(crate) fn exit() -> impl Strategy<Value = Exit> {
    prop_oneof![
        any::<i32>().prop_map(Exit::Code),
        any::<i32>().prop_map(Exit::Signal),
        Just(Exit::NotStarted)
    ]
}

pub(crate) fn report() -> impl Strategy<Value = Report> {
    let point = ("[a-z/ ]{1,9}", any::<i64>(), metric());
    let facts = (any::<(u64, u64, u64, u64, u64)>(), any::<(u64, bool, bool)>());
    let texts = (".{0,200}", option::of(".{0,40}"), vec(".{0,20}", 0..3));
    let values = (option::of(metric()), vec(("[a-z]{1,9}", metric()), 0..4), vec(point, 0..4));
    let what = (token(), trial(), 0..Class::ALL.len(), option::of(exit()));
    (what, values, texts, facts).prop_map(|((token, trial, class, exit), values, texts, facts)| Report {
        token,
        trial,
        class: Class::ALL[class],
        fatal: facts.1.1,
        exit,
        objective: values.0,
        spreads: values.1.clone(),
        metrics: values.1,
        curve: values.2.into_iter().map(|(name, step, value)| CurvePoint { name, step, value }).collect(),
        log: texts.0,
        log_bytes: facts.0.0,
        log_runs: vec![facts.0.0, facts.0.1],
        error: texts.1.clone(),
        near_misses: texts.2,
        started_unix_ms: facts.0.1,
        duration_ms: facts.0.2,
        cpu_ms: facts.0.3,
        peak_rss_kib: facts.0.4,
        checkpoint_moved: facts.1.2,
        program: texts.1,
        files: facts.1.0,
        left_out: facts.0.3,
        doubts: vec![
            Doubt::Cut { lines: facts.0.1, longest: facts.0.2 },
            Doubt::OneOfSeveral { metric: "loss".to_owned(), value: MetricValue(0.5), count: facts.0.2 },
            Doubt::Unread {
                metric: "loss".to_owned(),
                value: MetricValue(0.25),
                line: "loss 1 2".to_owned(),
                pattern: facts.1.2.then(|| r"loss\s+(\S+)".to_owned()),
            },
            Doubt::Qualified {
                metric: "loss".to_owned(),
                value: MetricValue(0.25),
                taken: "val loss=0.25".to_owned(),
                other: facts.1.2.then(|| "train loss=0.5".to_owned()),
            },
            Doubt::Differs {
                metric: "loss".to_owned(),
                taken: Channel::ALL[class % 4],
                value: MetricValue(f64::from_bits(facts.1.0)),
                other: Channel::ALL[(class + 1) % 4],
                other_value: MetricValue(0.5),
            },
        ],
        unbegun: facts.1.2,
        changed: vec![FileChange { path: "a/b".to_owned(), shared: facts.1.1 }],
    })
}

fn cannot_run() -> impl Strategy<Value = Vec<CannotRun>> {
    let one = (any::<u32>(), any::<u32>(), ".{0,20}");
    vec(one.prop_map(|(sweep, version, why)| CannotRun { sweep: SweepId(sweep), version, why }), 0..3)
}

pub(crate) fn health() -> impl Strategy<Value = MachineHealth> {
    prop_oneof![
        Just(MachineHealth::Fit),
        ".{0,40}".prop_map(|fault| MachineHealth::Resting { fault }),
        ".{0,40}".prop_map(|fault| MachineHealth::CannotPublish { fault }),
        ".{0,40}".prop_map(|fault| MachineHealth::GivenUp { fault }),
    ]
}

pub(crate) fn hello() -> impl Strategy<Value = Hello> {
    let capacity = any::<(u32, u64, u32, u32)>();
    let held = vec((token(), any::<u32>().prop_map(SweepId), trial()), 0..4);
    let who = (any::<u32>(), ".{0,20}", any::<[u8; 5]>(), ".{0,20}");
    (
        who,
        capacity,
        held,
        vec(report(), 0..3),
        any::<(u32, bool, bool)>(),
        (health(), cannot_run(), option::of(".{0,20}")),
    )
        .prop_map(|(who, capacity, held, reports, rest, (health, cannot_run, machine))| Hello {
            protocol: who.0,
            release: who.1,
            worker: WorkerId(who.2),
            host: who.3,
            capacity: Capacity {
                cpu_milli: capacity.0,
                mem_mib: capacity.1,
                gpus: capacity.2,
                slots: capacity.3,
            },
            held,
            reports,
            prefetch: rest.0,
            draining: rest.1,
            health,
            cannot_run,
            machine,
            taken: rest.2,
        })
}

pub(crate) fn worker_update() -> impl Strategy<Value = WorkerUpdate> {
    let progress = vec((any::<u64>().prop_map(LeaseSeq), any::<i64>(), any::<f64>()), 0..4);
    let news = (option::of(any::<u32>()), option::of(health()), option::of(cannot_run()));
    (vec(report(), 0..3), progress, news, any::<(bool, bool, bool, bool)>()).prop_map(
        |(reports, progress, (prefetch, health, cannot_run), (draining, bye, ping, taken))| WorkerUpdate {
            health,
            cannot_run,
            reports,
            progress,
            prefetch,
            draining,
            taken,
            bye,
            ping,
        },
    )
}

pub(crate) fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<f64>().prop_filter("finite", |value| value.is_finite()).prop_map(Value::Float),
        ".{0,12}".prop_map(Value::Str),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::List),
            proptest::collection::btree_map("[a-z]{1,4}", inner, 0..4)
                .prop_map(|map| Value::Map(map.into_iter().collect())),
        ]
    })
}

pub(crate) fn params() -> impl Strategy<Value = Params> {
    proptest::collection::btree_map("[a-zA-Z_./-]{1,8}", value(), 0..5)
        .prop_map(|map| Params::new(map.into_iter().map(|(name, value)| (name.into(), value)).collect()))
}

pub(crate) fn grant() -> impl Strategy<Value = Grant> {
    let numbers = any::<(u32, u32, u64, u32)>();
    let takes = any::<(u32, u64, u32)>();
    (token(), numbers, trial(), params(), any::<[u8; 10]>(), takes).prop_map(
        |(token, (sweep, version, index, repeat), trial, params, fingerprint, takes)| Grant {
            token,
            sweep: SweepId(sweep),
            version,
            trial,
            index,
            params,
            repeat,
            fingerprint: Fingerprint(fingerprint),
            resources: Resources { cpu_milli: takes.0, mem_mib: takes.1, gpus: takes.2 },
        },
    )
}

pub(crate) fn frozen() -> FrozenSweep {
    let file = b"name: wine\nproject: p\ncommand: [python, train.py]\nrepeats: 3\n\
        run_cap: 7\nenv: {A: }\ntimeout: 1s\nretry: {on_exit_codes: [3]}\n\
        budget: 30 USD\nparameters: {lr: {values: [0.1, 0.01]}}\n";
    FrozenSweep {
        uuid: "0198".to_owned(),
        spec: spec::parse(file, &spec::Context { file_stem: "wine", count: None }).expect("no mistakes").spec,
        source: "name: wine\n".to_owned(),
        file: None,
        sources: Sources { base: "/tmp".to_owned(), code: Some(Code::Dir("/tmp".to_owned())), data: None },
        output: Output::At(VolumeUrl::Dir("/tmp/results".into())),
        env: vec![("A".to_owned(), "1".to_owned())],
        code: CodeHash([3; 10]),
        reader: gridctl_core::metrics::READER_RULE,
        files: vec![("train.py".to_owned(), "abc".to_owned())],
    }
}

pub(crate) fn leases() -> impl Strategy<Value = Vec<LeaseSeq>> {
    vec(any::<u64>().prop_map(LeaseSeq), 0..4)
}

pub(crate) fn master_update() -> impl Strategy<Value = MasterUpdate> {
    let sweeps = vec(any::<(u32, u32)>(), 0..2);
    (sweeps, vec(grant(), 0..3), leases(), leases(), leases(), option::of(any::<u64>())).prop_map(
        |(sweeps, grants, recorded, fenced, cancel, drain_ms)| MasterUpdate {
            sweeps: sweeps
                .into_iter()
                .map(|(id, version)| (SweepId(id), version, Arc::new(frozen())))
                .collect(),
            grants,
            recorded,
            fenced,
            cancel,
            drain_ms,
        },
    )
}

pub(crate) fn to_worker() -> impl Strategy<Value = ToWorker> {
    let welcome = any::<(u32, u64, u64, u64)>().prop_map(|(epoch, ttl_ms, heartbeat_ms, orphan_after_ms)| {
        ToWorker::Welcome(Welcome { epoch: Epoch(epoch), ttl_ms, heartbeat_ms, orphan_after_ms })
    });
    prop_oneof![welcome, master_update().prop_map(ToWorker::Update), ".{0,40}".prop_map(ToWorker::Refused)]
}
