//! Everything that the wire carries reads back as it was, and no bytes make a conversion panic.

use std::sync::Arc;

use gridctl_core::id::{CodeHash, Epoch, Fingerprint, LeaseSeq, SweepId, Token, TrialId, WorkerId};
use gridctl_core::notice::Notice;
use gridctl_core::protocol::{
    Capacity, FrozenSweep, Grant, Hello, MasterUpdate, ToMaster, ToWorker, Welcome, WorkerUpdate,
};
use gridctl_core::record::{Class, CurvePoint, Exit, MetricValue, Report};
use gridctl_core::sched::status::{Best, SweepStatus};
use gridctl_core::sched::{CloseReason, PauseReason, SweepPhase};
use gridctl_core::spec::{self, Resources};
use gridctl_core::value::{Params, Value};
use gridctl_proto::ask::{Changed, LeaderboardQuery, RetryAsk, SteerAsk, Submit, Submitted, TrialsQuery};
use gridctl_proto::split::{self, Opening};
use gridctl_proto::{FieldError, limits, v1};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use prost::Message as _;

fn token() -> impl Strategy<Value = Token> {
    any::<(u32, u64, u32)>().prop_map(|(epoch, lease, attempt)| Token {
        epoch: Epoch(epoch),
        lease: LeaseSeq(lease),
        attempt,
    })
}

fn trial() -> impl Strategy<Value = TrialId> {
    any::<[u8; 10]>().prop_map(TrialId)
}

fn metric() -> impl Strategy<Value = MetricValue> {
    prop_oneof![any::<f64>(), Just(f64::NAN), Just(f64::INFINITY)].prop_map(MetricValue)
}

fn exit() -> impl Strategy<Value = Exit> {
    prop_oneof![
        any::<i32>().prop_map(Exit::Code),
        any::<i32>().prop_map(Exit::Signal),
        Just(Exit::NotStarted)
    ]
}

fn report() -> impl Strategy<Value = Report> {
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
        metrics: values.1,
        curve: values.2.into_iter().map(|(name, step, value)| CurvePoint { name, step, value }).collect(),
        log: texts.0,
        log_bytes: facts.0.0,
        error: texts.1,
        near_misses: texts.2,
        started_unix_ms: facts.0.1,
        duration_ms: facts.0.2,
        cpu_ms: facts.0.3,
        peak_rss_kib: facts.0.4,
        checkpoint_moved: facts.1.2,
        files: facts.1.0,
    })
}

fn hello() -> impl Strategy<Value = Hello> {
    let capacity = any::<(u32, u64, u32, u32)>();
    let held = vec((token(), any::<u32>().prop_map(SweepId), trial()), 0..4);
    let who = (any::<u32>(), ".{0,20}", any::<[u8; 5]>(), ".{0,20}");
    (who, capacity, held, vec(report(), 0..3), any::<(u32, bool)>()).prop_map(
        |(who, capacity, held, reports, rest)| Hello {
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
        },
    )
}

fn worker_update() -> impl Strategy<Value = WorkerUpdate> {
    let progress = vec((any::<u64>().prop_map(LeaseSeq), any::<i64>(), any::<f64>()), 0..4);
    (vec(report(), 0..3), progress, option::of(any::<u32>()), any::<(bool, bool, bool)>()).prop_map(
        |(reports, progress, prefetch, (draining, bye, ping))| WorkerUpdate {
            reports,
            progress,
            prefetch,
            draining,
            bye,
            ping,
        },
    )
}

fn value() -> impl Strategy<Value = Value> {
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

fn params() -> impl Strategy<Value = Params> {
    proptest::collection::btree_map("[a-zA-Z_./-]{1,8}", value(), 0..5)
        .prop_map(|map| Params::new(map.into_iter().map(|(name, value)| (name.into(), value)).collect()))
}

fn grant() -> impl Strategy<Value = Grant> {
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

fn frozen() -> FrozenSweep {
    let file = b"name: wine\nproject: p\ncommand: [python, train.py]\nrepeats: 3\n\
        run_cap: 7\nenv: {A: }\ntimeout: 1s\nretry: {on_exit_codes: [3]}\n\
        budget: 30 USD\nparameters: {lr: {values: [0.1, 0.01]}}\n";
    FrozenSweep {
        uuid: "0198".to_owned(),
        spec: spec::parse(file, &spec::Context { file_stem: "wine" }).expect("no mistakes").spec,
        source: "name: wine\n".to_owned(),
        base: "/tmp".to_owned(),
        workdir: Some("/tmp".to_owned()),
        data: None,
        output: "/tmp/results".to_owned(),
        env: vec![("A".to_owned(), "1".to_owned())],
        code: CodeHash([3; 10]),
        files: vec![("train.py".to_owned(), "abc".to_owned())],
    }
}

fn leases() -> impl Strategy<Value = Vec<LeaseSeq>> {
    vec(any::<u64>().prop_map(LeaseSeq), 0..4)
}

fn master_update() -> impl Strategy<Value = MasterUpdate> {
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

fn to_worker() -> impl Strategy<Value = ToWorker> {
    let welcome = any::<(u32, u64, u64, u64)>().prop_map(|(epoch, ttl_ms, heartbeat_ms, orphan_after_ms)| {
        ToWorker::Welcome(Welcome { epoch: Epoch(epoch), ttl_ms, heartbeat_ms, orphan_after_ms })
    });
    prop_oneof![welcome, master_update().prop_map(ToWorker::Update), ".{0,40}".prop_map(ToWorker::Refused)]
}

fn phase() -> impl Strategy<Value = SweepPhase> {
    let paused = prop_oneof![
        Just(PauseReason::Person),
        Just(PauseReason::SetAside),
        any::<u32>().prop_map(|failed| PauseReason::FirstTrialsFailed { failed }),
        any::<(u32, u32)>().prop_map(|(failed, of)| PauseReason::MostTrialsFailed { failed, of }),
    ];
    let closed = prop_oneof![
        Just(CloseReason::Finished),
        Just(CloseReason::CapReached),
        Just(CloseReason::TargetReached),
        Just(CloseReason::Stopped),
        Just(CloseReason::Cancelled),
    ];
    prop_oneof![
        Just(SweepPhase::Running),
        Just(SweepPhase::Stopping),
        paused.prop_map(SweepPhase::Paused),
        closed.prop_map(SweepPhase::Closed),
    ]
}

fn notice() -> impl Strategy<Value = Notice> {
    let fits = any::<(u32, u64, u32)>();
    prop_oneof![
        ".{0,20}".prop_map(|error| Notice::JournalFull { error }),
        ".{0,20}".prop_map(|error| Notice::RecordsNotShipped { error }),
        fits.prop_map(|(cpu_milli, mem_mib, gpus)| Notice::NoWorkerFits { cpu_milli, mem_mib, gpus }),
    ]
}

fn status() -> impl Strategy<Value = SweepStatus> {
    let best = option::of((trial(), any::<u64>(), metric()));
    let counts = proptest::array::uniform11(any::<u64>());
    let eta = option::of(0.0..1e9);
    let words = (".{0,20}", any::<u32>(), phase(), vec(notice(), 0..3));
    (words, counts, best, eta).prop_map(|((sweep, version, phase, notices), counts, best, eta_s)| {
        let [rest @ .., waiting, failures, workers] = counts;
        let [total, pending, leased, succeeded, failed, quarantined, cancelled, excluded] = rest;
        SweepStatus {
            sweep,
            id: None,
            version,
            state: phase.into(),
            phase,
            total,
            pending,
            leased,
            succeeded,
            failed,
            quarantined,
            cancelled,
            excluded,
            best: best.map(|(trial, index, objective)| Best { trial, index, objective }),
            eta_s,
            notices,
            waiting,
            failures,
            workers,
        }
    })
}

/// What `bytes` hold after a trip over the wire.
fn carry<M: prost::Message + Default>(message: &M) -> M {
    M::decode(message.encode_to_vec().as_slice()).expect("what was encoded decodes")
}

/// Random bytes, and bytes that are almost a message.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let damaged =
        (hello(), vec((any::<prop::sample::Index>(), any::<u8>()), 1..5)).prop_map(|(hello, damage)| {
            let mut bytes = v1::WorkerMessage::from(ToMaster::Hello(hello)).encode_to_vec();
            for (place, byte) in damage {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            bytes
        });
    prop_oneof![vec(any::<u8>(), 0..300), damaged]
}

proptest! {
    #[test]
    fn what_a_worker_says_reads_back(hello in hello(), update in worker_update()) {
        for message in [ToMaster::Hello(hello), ToMaster::Update(update)] {
            let wire = carry(&v1::WorkerMessage::from(message.clone()));
            prop_assert_eq!(ToMaster::try_from(wire), Ok(message));
        }
    }

    #[test]
    fn what_a_master_says_reads_back(message in to_worker()) {
        let wire = carry(&v1::MasterMessage::from(message.clone()));
        prop_assert_eq!(ToWorker::try_from(wire), Ok(message));
    }

    #[test]
    fn a_status_reads_back(status in status()) {
        let wire = carry(&v1::SweepStatus::from(&status));
        prop_assert_eq!(SweepStatus::try_from(wire), Ok(status));
    }

    #[test]
    fn g41_any_bytes_end_in_a_value_or_an_error(bytes in bytes()) {
        if let Ok(message) = v1::WorkerMessage::decode(bytes.as_slice()) {
            let _ = Opening::begin(message.clone());
            let _ = ToMaster::try_from(message);
        }
        if let Ok(message) = v1::MasterMessage::decode(bytes.as_slice()) {
            let _ = ToWorker::try_from(message);
        }
        if let Ok(request) = v1::SubmitRequest::decode(bytes.as_slice()) {
            let _ = Submit::try_from(request);
        }
        if let Ok(request) = v1::TrialsRequest::decode(bytes.as_slice()) {
            let _ = TrialsQuery::try_from(request);
        }
        if let Ok(request) = v1::SteerRequest::decode(bytes.as_slice()) {
            let _ = SteerAsk::try_from(request);
        }
        if let Ok(status) = v1::SweepStatus::decode(bytes.as_slice()) {
            let _ = SweepStatus::try_from(status);
        }
    }
}

#[test]
fn what_people_ask_reads_back() {
    for changed in [None, Some(Changed::Keep), Some(Changed::Failed), Some(Changed::All)] {
        let submit = Submit { frozen: frozen(), changed, retry_failed: true, rerun: false };
        assert_eq!(Submit::try_from(carry(&v1::SubmitRequest::from(&submit))), Ok(submit));
    }
    for answer in [
        Submitted::Stands {
            sweep: SweepId(3),
            name: "w".to_owned(),
            version: 2,
            new: true,
            known: 9,
            left: vec!["out.csv".to_owned()],
        },
        Submitted::CodeChanged { version: 1, lines: vec!["train.py".to_owned()], succeeded: 4, failed: 5 },
    ] {
        assert_eq!(Submitted::try_from(carry(&v1::SubmitResponse::from(answer.clone()))), Ok(answer));
    }
    let query = LeaderboardQuery {
        sweep: "w".to_owned(),
        k: 3,
        filter: "lr < 1".to_owned(),
        sort: "-loss".to_owned(),
        offset: 9,
    };
    assert_eq!(LeaderboardQuery::try_from(carry(&v1::LeaderboardRequest::from(query.clone()))), Ok(query));
    let ask = RetryAsk { sweep: "w".to_owned(), trials: vec!["abc".to_owned()] };
    assert_eq!(RetryAsk::try_from(carry(&v1::RetryRequest::from(ask.clone()))), Ok(ask));
}

fn long_report(lease: u64) -> Report {
    Report {
        token: Token { epoch: Epoch(1), lease: LeaseSeq(lease), attempt: 1 },
        trial: TrialId([7; 10]),
        class: Class::Succeeded,
        fatal: false,
        exit: Some(Exit::Code(0)),
        objective: None,
        metrics: Vec::new(),
        curve: Vec::new(),
        log: "x".repeat(64 << 10),
        log_bytes: 64 << 10,
        error: None,
        near_misses: Vec::new(),
        started_unix_ms: 0,
        duration_ms: 1,
        cpu_ms: 1,
        peak_rss_kib: 1,
        checkpoint_moved: false,
        files: 0,
    }
}

fn plain_hello(reports: Vec<Report>) -> Hello {
    Hello {
        protocol: 1,
        release: "0.1.0".to_owned(),
        worker: WorkerId([1; 5]),
        host: "h".to_owned(),
        capacity: Capacity { cpu_milli: 1000, mem_mib: 1, gpus: 0, slots: 1 },
        held: Vec::new(),
        reports,
        prefetch: 1,
        draining: false,
    }
}

#[test]
fn a_hello_with_hours_of_reports_comes_in_pieces_and_is_put_together() {
    let hello = plain_hello((0..300).map(long_report).collect());
    let pieces = split::to_master(ToMaster::Hello(hello.clone()));
    assert!(pieces.len() > 10);
    assert!(pieces.iter().all(|piece| piece.encoded_len() < limits::CHUNK_BYTES + (128 << 10)));
    let mut pieces = pieces.into_iter();
    let mut opening = Opening::begin(pieces.next().unwrap()).unwrap();
    assert!(!opening.is_whole());
    for piece in pieces {
        opening.push(piece).unwrap();
    }
    assert_eq!(opening.finish(), Some(hello));
}

#[test]
fn an_update_in_pieces_says_the_same() {
    let update =
        WorkerUpdate { reports: (0..40).map(long_report).collect(), bye: true, ..WorkerUpdate::default() };
    let pieces = split::to_master(ToMaster::Update(update.clone()));
    assert!(pieces.len() > 3);
    let mut reports = Vec::new();
    let last = pieces.len() - 1;
    for (place, piece) in pieces.into_iter().enumerate() {
        let Ok(ToMaster::Update(part)) = ToMaster::try_from(piece) else { panic!("a piece is an update") };
        assert_eq!(part.bye, place == last);
        reports.extend(part.reports);
    }
    assert_eq!(reports, update.reports);
}

#[test]
fn sweeps_come_before_the_grants_that_refer_to_them() {
    let mut large = frozen();
    large.source = "#".repeat(900 << 10);
    let grant = Grant {
        token: Token { epoch: Epoch(1), lease: LeaseSeq(1), attempt: 1 },
        sweep: SweepId(1),
        version: 1,
        trial: TrialId([1; 10]),
        index: 0,
        params: Params::default(),
        repeat: 0,
        fingerprint: Fingerprint([1; 10]),
        resources: Resources { cpu_milli: 1, mem_mib: 0, gpus: 0 },
    };
    let update = MasterUpdate {
        sweeps: vec![(SweepId(1), 1, Arc::new(large))],
        grants: vec![grant; 3],
        recorded: vec![LeaseSeq(4)],
        ..MasterUpdate::default()
    };
    let pieces = split::to_worker(ToWorker::Update(update));
    let parts: Vec<MasterUpdate> = pieces
        .into_iter()
        .map(|piece| match ToWorker::try_from(piece) {
            Ok(ToWorker::Update(part)) => part,
            other => panic!("{other:?}"),
        })
        .collect();
    let shape: Vec<_> =
        parts.iter().map(|it| (it.sweeps.len(), it.grants.len(), it.recorded.len())).collect();
    assert_eq!(shape, [(1, 0, 0), (0, 3, 0), (0, 0, 1)]);
}

#[test]
fn g41_what_is_over_a_limit_is_an_error_that_names_the_field() {
    let wire = |report: Report| {
        let mut wire = v1::Report::from(report);
        wire.log = "x".repeat(limits::MAX_LOG_BYTES + 1);
        wire
    };
    let field = |result: Result<ToMaster, FieldError>| result.unwrap_err().field;
    let update = |update| v1::WorkerMessage { say: Some(v1::worker_message::Say::Update(update)) };
    let reports = |reports| update(v1::WorkerUpdate { reports, ..v1::WorkerUpdate::default() });
    let good = || v1::Report::from(long_report(1));
    let cases = [
        (v1::WorkerMessage { say: None }, "say"),
        (reports(vec![wire(long_report(1))]), "log"),
        (reports(vec![v1::Report::default(); limits::MAX_REPORTS + 1]), "reports"),
        (reports(vec![v1::Report { trial: vec![1; 11], ..good() }]), "report.trial"),
        (reports(vec![v1::Report { token: None, ..good() }]), "report.token"),
        (reports(vec![v1::Report { class: 99, ..good() }]), "class"),
        (reports(vec![v1::Report { class: 0, ..good() }]), "class"),
        (reports(vec![v1::Report { exit: Some(v1::Exit { how: None }), ..good() }]), "exit.how"),
    ];
    for (message, expected) in cases {
        assert_eq!(field(ToMaster::try_from(message)), expected);
    }
}

#[test]
fn what_is_too_long_to_be_taken_is_cut_by_who_says_it() {
    let mut report = long_report(1);
    report.log = "é".repeat(limits::MAX_LOG_BYTES);
    report.error = Some("é".repeat(limits::MAX_TEXT_BYTES));
    report.near_misses = vec!["x".to_owned(); 1000];
    let wire = carry(&v1::Report::from(report));
    let back = Report::try_from(wire).unwrap();
    assert!(back.log.len() <= limits::MAX_LOG_BYTES && back.log.ends_with('é'));
    assert_eq!(back.near_misses.len(), limits::MAX_NEAR_MISSES);
}

#[test]
fn a_hello_must_come_first_and_whole() {
    let update = || v1::WorkerMessage::from(ToMaster::Update(WorkerUpdate::default()));
    assert_eq!(Opening::begin(update()).unwrap_err().field, "say");
    let mut pieces = split::to_master(ToMaster::Hello(plain_hello((0..40).map(long_report).collect())));
    let second = pieces.remove(1);
    let first = pieces.remove(0);
    let mut opening = Opening::begin(first.clone()).unwrap();
    assert_eq!(opening.push(update()).unwrap_err().field, "reports");
    assert_eq!(opening.push(first).unwrap_err().field, "say");
    for _ in 0..10 {
        if opening.push(second.clone()).is_err() {
            return;
        }
    }
    panic!("more reports than were announced are taken");
}

#[test]
fn g53_pages_and_states_are_checked() {
    let request = |page_size, state: &str| {
        TrialsQuery::try_from(v1::TrialsRequest {
            state: state.to_owned(),
            page_size,
            ..v1::TrialsRequest::default()
        })
    };
    assert!(request(0, "").is_ok());
    assert!(request(10, "failed").is_ok());
    assert_eq!(request(u32::MAX, "").unwrap_err().field, "page_size");
    assert_eq!(request(1, "faild").unwrap_err().field, "state");
}
