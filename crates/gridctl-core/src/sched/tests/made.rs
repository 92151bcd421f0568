//! Made-up sweeps, workers and reports, so that a row of a table is short.

use super::*;
use crate::leaderboard::Brief;
use crate::machine::MachineHealth;
use crate::metrics::ReadBy;
use crate::spec::AxisValues;

pub(super) fn spec(name: &str, count: u64) -> SweepSpec {
    let file = format!(
        "name: {name}\ncommand: ['true']\nmetric: {{name: score, goal: maximize}}\n\
        order: file\nparameters: {{x: {{value: 1}}}}\n"
    );
    SweepSpec { axes: vec![axis("x", count)], ..crate::spec::tests::spec(&file) }
}

pub(super) fn axis(name: &str, count: u64) -> Axis {
    Axis {
        name: name.to_owned(),
        path: vec![name.to_owned()],
        variable: Some(format!("HP_{}", name.to_uppercase())),
        values: AxisValues::IntRange { min: 0, step: 1, count },
        when: None,
        was: None,
    }
}

pub(super) fn frozen(spec: SweepSpec) -> FrozenSweep {
    coded(spec, "code")
}

pub(super) fn coded(spec: SweepSpec, code: &str) -> FrozenSweep {
    FrozenSweep {
        uuid: "the first".to_owned(),
        spec,
        source: String::new(),
        file: None,
        sources: crate::protocol::Sources { base: "/sweeps".to_owned(), code: None, data: None },
        output: crate::output::Output::InDataDir,
        env: Vec::new(),
        code: CodeHash::of(&[code]),
        reader: crate::metrics::READER_RULE,
        files: Vec::new(),
    }
}

pub(super) fn submission(frozen: FrozenSweep) -> Submission {
    Submission {
        frozen,
        known: Vec::new(),
        looked_up: None,
        changed: None,
        retry_failed: false,
        rerun: false,
        beside: Vec::new(),
    }
}

pub(super) fn worker(number: u8) -> WorkerId {
    WorkerId([number; 5])
}

pub(super) fn hello(number: u8, host: &str, slots: u32) -> Hello {
    Hello {
        protocol: PROTOCOL,
        release: "test".to_owned(),
        worker: worker(number),
        host: host.to_owned(),
        capacity: Capacity { cpu_milli: slots * 1000, mem_mib: 1000, gpus: 0, slots: 0 },
        held: Vec::new(),
        reports: Vec::new(),
        prefetch: 0,
        draining: false,
        health: MachineHealth::Fit,
        cannot_run: Vec::new(),
        machine: None,
        taken: false,
    }
}

/// The same worker, back with what it holds and what it has to report.
pub(super) fn back<'a>(
    number: u8,
    held: impl IntoIterator<Item = &'a Grant>,
    reports: impl IntoIterator<Item = Report>,
) -> Hello {
    let held: Vec<_> = held.into_iter().map(|grant| (grant.token, grant.sweep, grant.trial)).collect();
    let reports: Vec<_> = reports.into_iter().collect();
    let slots = u32::try_from(held.len() + reports.len()).expect("few").max(1);
    Hello { held, reports, ..hello(number, &format!("host-{number}"), slots) }
}

pub(super) fn said(conn: Conn, reports: impl IntoIterator<Item = Report>) -> Input {
    let reports = reports.into_iter().collect();
    Input::Said(conn, Box::new(WorkerUpdate { reports, ..WorkerUpdate::default() }))
}

/// An attempt that took its time.
pub(super) fn ended(grant: &Grant, class: Class) -> Report {
    let mut report = Report::without_process(grant.token, grant.trial, class, "");
    report.error = None;
    report.duration_ms = 60_000;
    report.objective = (class == Class::Succeeded).then_some(MetricValue(0.5));
    report
}

/// An attempt that ended as soon as it had begun.
pub(super) fn at_once(grant: &Grant, class: Class) -> Report {
    Report { duration_ms: 10, ..ended(grant, class) }
}

pub(super) fn scored(grant: &Grant, score: f64) -> Report {
    Report { objective: Some(MetricValue(score)), ..ended(grant, Class::Succeeded) }
}

/// A success with a score of 1, as the journal has it.
pub(super) fn brief(trial: TrialId, code: CodeHash) -> Brief {
    Brief {
        index: 0,
        trial,
        point: trial,
        repeat: 0,
        code,
        generation: 1,
        state: TrialState::Succeeded,
        params: crate::value::Params::default(),
        worker: worker(1),
        token: Token { epoch: Epoch(1), lease: LeaseSeq(1), attempt: 1 },
        objective: None,
        metrics: vec![("score".to_owned(), MetricValue(1.0))],
        spreads: Vec::new(),
        class: Class::Succeeded,
        read_by: ReadBy::of(&spec("a", 1)),
        duration_ms: 0,
    }
}
