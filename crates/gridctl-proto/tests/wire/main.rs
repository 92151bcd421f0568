//! Everything that the wire carries reads back as it was, and no bytes make a conversion panic.

use std::sync::Arc;

use gridctl_core::id::{Epoch, Fingerprint, LeaseSeq, SweepId, Token, TrialId, WorkerId};
use gridctl_core::machine::MachineHealth;
use gridctl_core::protocol::{Capacity, Grant, Hello, MasterUpdate, ToMaster, ToWorker, WorkerUpdate};
use gridctl_core::record::{Class, Doubt, Exit, Report};
use gridctl_core::spec::Resources;
use gridctl_core::value::Params;
use gridctl_proto::split::{self, StreamOpening};
use gridctl_proto::{FieldError, limits, v1};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message as _;

mod hostile;
mod made;

use made::*;

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
    fn g41_any_bytes_end_in_a_value_or_an_error(bytes in bytes()) {
        if let Ok(message) = v1::WorkerMessage::decode(bytes.as_slice()) {
            let _ = StreamOpening::begin(message.clone());
            let _ = ToMaster::try_from(message);
        }
        if let Ok(message) = v1::MasterMessage::decode(bytes.as_slice()) {
            let _ = ToWorker::try_from(message);
        }
    }
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
        spreads: Vec::new(),
        curve: Vec::new(),
        log: "x".repeat(64 << 10),
        log_bytes: 64 << 10,
        log_runs: vec![64 << 10],
        error: None,
        near_misses: Vec::new(),
        started_unix_ms: 0,
        duration_ms: 1,
        cpu_ms: 1,
        peak_rss_kib: 1,
        checkpoint_moved: false,
        program: None,
        files: 3,
        left_out: 4,
        doubts: vec![Doubt::Cut { lines: 1, longest: 2 }],
        unbegun: false,
        changed: Vec::new(),
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
        health: MachineHealth::Fit,
        cannot_run: Vec::new(),
        machine: None,
        taken: false,
    }
}

#[test]
fn a_hello_with_hours_of_reports_comes_in_pieces_and_is_put_together() {
    let hello = plain_hello((0..300).map(long_report).collect());
    let pieces = split::to_master(ToMaster::Hello(hello.clone()));
    assert!(pieces.len() > 10);
    assert!(pieces.iter().all(|piece| piece.encoded_len() < limits::CHUNK_BYTES + (128 << 10)));
    let mut pieces = pieces.into_iter();
    let mut opening = StreamOpening::begin(pieces.next().unwrap()).unwrap();
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
    assert_eq!(StreamOpening::begin(update()).unwrap_err().field, "say");
    let mut pieces = split::to_master(ToMaster::Hello(plain_hello((0..40).map(long_report).collect())));
    let second = pieces.remove(1);
    let first = pieces.remove(0);
    let mut opening = StreamOpening::begin(first.clone()).unwrap();
    assert_eq!(opening.push(update()).unwrap_err().field, "reports");
    assert_eq!(opening.push(first).unwrap_err().field, "say");
    for _ in 0..10 {
        if opening.push(second.clone()).is_err() {
            return;
        }
    }
    panic!("more reports than were announced are taken");
}
