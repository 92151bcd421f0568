//! What read an attempt's metrics, and reading its kept log again with what a sweep asks for now.
//! Invariant: a log is read again only if it holds, whole and in order, all that was read the first time.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Extractor, FileReader, Outcome, Patterns, READER_RULE, Stream};
use crate::record::Report;
use crate::spec::{MetricSpec, SweepSpec};

/// What read the metrics of an attempt: by another one the numbers may be others.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ReadBy {
    /// [`READER_RULE`] of the release that read them; 0 of one that did not say.
    pub rule: u32,
    /// The metrics with a `regex`, and those of which another value than the last counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<MetricSpec>,
}

impl ReadBy {
    /// What reads the metrics of `spec`.
    #[must_use]
    pub fn of(spec: &SweepSpec) -> Self {
        let metrics = declared(spec).filter(|metric| **metric != MetricSpec::plain(&metric.name));
        Self { rule: READER_RULE, metrics: metrics.cloned().collect() }
    }

    /// Whether it read every metric that `spec` declares as `spec` has it read.
    #[must_use]
    pub fn reads_as(&self, spec: &SweepSpec) -> bool {
        self.rule == READER_RULE
            && declared(spec).all(|metric| {
                let known = self.metrics.iter().find(|known| known.name == metric.name);
                known.map_or_else(|| *metric == MetricSpec::plain(&metric.name), |known| known == metric)
            })
    }
}

fn declared(spec: &SweepSpec) -> impl Iterator<Item = &MetricSpec> {
    spec.objective.as_ref().map(|objective| &objective.metric).into_iter().chain(&spec.metrics)
}

/// Reads `log` again, the whole of what the attempt of `report` printed; `None` if the log alone does
/// not say all that was measured, or is another's.
#[must_use]
pub fn read_again(report: &Report, log: &[u8], patterns: &Arc<Patterns>) -> Option<Outcome> {
    let length = u64::try_from(log.len()).ok()?;
    let runs = report.log_runs.iter().try_fold(0_u64, |sum, run| sum.checked_add(*run))?;
    if report.log_runs.is_empty() || (runs, length) != (report.log_bytes, report.log_bytes) {
        return None;
    }
    let mut extractor = Extractor::new(Arc::clone(patterns));
    let mut rest = log;
    for (run, stream) in report.log_runs.iter().zip([Stream::Stdout, Stream::Stderr].into_iter().cycle()) {
        let (bytes, behind) = rest.split_at_checked(usize::try_from(*run).ok()?)?;
        extractor.feed(stream, bytes, &|| 0);
        rest = behind;
    }
    Some(extractor.finish(FileReader::new(Arc::clone(patterns))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Epoch, LeaseSeq, Token, TrialId};
    use crate::record::Class;

    fn spec(metric: &str) -> SweepSpec {
        let rest = "command: [t]\nparameters: {x: {value: 1}}\n";
        crate::spec::tests::spec(&format!("name: s\n{rest}metric: {metric}\n"))
    }

    #[test]
    fn another_pattern_another_value_and_another_rule_read_other_numbers() {
        let plain = spec("{name: acc, goal: maximize}\nmetrics: [f1]");
        let cases = [
            ("{name: acc, goal: minimize, target: 3}", true),
            ("{name: f1, goal: maximize}", true),
            ("{name: acc, goal: maximize, report: max}", false),
            ("{name: acc, goal: maximize, regex: 'a=(.*)'}", false),
            ("{name: acc, goal: maximize}\nmetrics: [{name: f1, report: mean}]", false),
        ];
        for (metric, same) in cases {
            let other = spec(metric);
            assert_eq!(ReadBy::of(&plain).reads_as(&other), same, "{metric}");
            assert!(ReadBy::of(&other).reads_as(&other), "{metric}");
            assert!(same || !ReadBy::of(&other).reads_as(&plain), "{metric}");
            assert!(!ReadBy { rule: READER_RULE + 1, ..ReadBy::of(&other) }.reads_as(&other));
        }
    }

    #[test]
    fn a_log_is_read_again_by_streams_and_only_if_it_is_whole() {
        let patterns = Arc::new(Patterns::new(&spec("{name: acc, goal: maximize}")).unwrap());
        let token = Token { epoch: Epoch(1), lease: LeaseSeq(1), attempt: 1 };
        let report = Report::without_process(token, TrialId([1; 10]), Class::Succeeded, "");
        // `acc=0.1` on stderr comes between the halves of a line on stdout.
        let log = b"acc=0.acc=0.1\n9\n";
        let read = |log_runs: &[u64], log_bytes, log: &[u8]| {
            let report = Report { log_runs: log_runs.to_vec(), log_bytes, ..report.clone() };
            read_again(&report, log, &patterns).map(|outcome| outcome.objective)
        };
        assert_eq!(read(&[6, 8, 2], 16, log), Some(Some(0.9)));
        assert_eq!(read(&[0, 16], 16, log), Some(None), "`acc=0.acc=0.1` is no number");
        assert_eq!(read(&[], 16, log), None);
        assert_eq!(read(&[6, 8, 2], 16, &log[1..]), None);
        assert_eq!(read(&[6, 8], 16, log), None);
        assert_eq!(read(&[u64::MAX, 17], 16, log), None);
    }
}
