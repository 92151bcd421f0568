//! Documents read back as they were written.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::fleet::machines::Hold;
use crate::id::TrialId;
use crate::notice::Notice;
use crate::record::{Doubt, MetricValue};
use crate::sched::{CloseReason, PauseReason, SweepPhase};

fn trial() -> impl Strategy<Value = TrialId> {
    any::<[u8; 10]>().prop_map(TrialId)
}

fn metric() -> impl Strategy<Value = MetricValue> {
    prop_oneof![any::<f64>(), Just(f64::NAN), Just(f64::INFINITY)].prop_map(MetricValue)
}

fn phase() -> impl Strategy<Value = SweepPhase> {
    let paused = prop_oneof![
        Just(PauseReason::Person),
        Just(PauseReason::SetAside),
        Just(PauseReason::NoFitMachine),
        Just(PauseReason::ResultsFull),
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
        (any::<u64>(), trial(), any::<u64>()).prop_map(|(attempts, first, lines)| Notice::Unsure {
            attempts,
            first,
            doubt: Doubt::Cut { lines, longest: attempts },
        }),
        (".{0,9}", ".{0,20}").prop_map(|(host, error)| Notice::ResultsWait { host, error }),
        (vec(".{0,9}", 0..3), any::<bool>())
            .prop_map(|(files, isolated)| Notice::MayDisturb { files, isolated }),
        vec(".{0,9}", 0..3).prop_map(|files| Notice::MayHaveDisturbed { files }),
        vec(".{0,9}", 0..3).prop_map(|axes| Notice::MayBeUnread { axes }),
        (".{0,9}", ".{0,20}").prop_map(|(host, fault)| Notice::MachineRests { host, fault }),
        (".{0,9}", ".{0,20}").prop_map(|(host, fault)| Notice::MachineGivenUp { host, fault }),
        (".{0,9}", ".{0,20}").prop_map(|(host, why)| Notice::CannotRun { host, why }),
        (option::of(".{0,9}")).prop_map(|why| Notice::NoMachines { hold: Hold::Capacity, why }),
        any::<u64>().prop_map(|machines| Notice::MachinesOnDemand { machines }),
        fits.prop_map(|(cpu_milli, mem_mib, gpus)| Notice::NoWorkerFits { cpu_milli, mem_mib, gpus }),
    ]
}

fn status() -> impl Strategy<Value = SweepStatus> {
    let best = option::of((trial(), any::<u64>(), metric()));
    let counts = proptest::array::uniform12(any::<u64>());
    let eta = option::of(0.0..1e9);
    let words = (".{0,20}", any::<u32>(), phase(), vec(notice(), 0..3));
    (words, counts, best, eta).prop_map(|((sweep, version, phase, notices), counts, best, eta_s)| {
        let [rest @ .., waiting, failures, lost, workers] = counts;
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
            lost,
            workers,
            repeats: 1,
        }
    })
}

fn read_back<T: Serialize + for<'de> Deserialize<'de>>(document: &T) -> T {
    let text = serde_json::to_string(document).unwrap();
    serde_json::from_str(&text).expect(&text)
}

proptest! {
    #[test]
    fn a_status_reads_back(status in status()) {
        prop_assert_eq!(read_back(&status), status);
    }
}

#[test]
fn what_became_of_a_submission_reads_back() {
    let left = vec!["out.csv".to_owned()];
    let lines = vec!["train.py".to_owned()];
    for answer in [
        Submitted::Stands {
            sweep: "w".to_owned(),
            version: 2,
            new: true,
            known: 9,
            read_again: 2,
            lost: 1,
            unread: 2,
            left,
        },
        Submitted::CodeChanged { version: 1, disturbed: lines.clone(), lines, succeeded: 4, failed: 5 },
    ] {
        assert_eq!(read_back(&answer), answer);
    }
}
