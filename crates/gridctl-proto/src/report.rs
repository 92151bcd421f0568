//! How an attempt ended, to and from `gridctl_core::record`.
//! Invariant: texts over their limit are cut on the way out, so that no report is refused for its
//! length.

use gridctl_core::code::{FileChange, MOST_CHANGES};
use gridctl_core::id::TrialId;
use gridctl_core::record::{Channel, Class, CurvePoint, Doubt, Exit, MAX_LOG_RUNS, MetricValue, Report};

use crate::field::{FieldError, all, clip, clip_front, id, present, text};
use crate::{limits, v1};

impl From<Report> for v1::Report {
    fn from(report: Report) -> Self {
        let metric = |(name, value): (String, MetricValue)| v1::Metric { name: clip(name), value: value.0 };
        let point = |point: CurvePoint| v1::CurvePoint {
            name: clip(point.name),
            step: point.step,
            value: point.value.0,
        };
        Self {
            token: Some(report.token.into()),
            trial: report.trial.0.to_vec(),
            class: v1::AttemptClass::from(report.class).into(),
            fatal: report.fatal,
            exit: report.exit.map(Into::into),
            objective: report.objective.map(|value| value.0),
            metrics: report.metrics.into_iter().take(limits::MAX_METRICS).map(metric).collect(),
            spreads: report.spreads.into_iter().take(limits::MAX_METRICS).map(metric).collect(),
            curve: report.curve.into_iter().take(limits::MAX_CURVE).map(point).collect(),
            log: clip_front(report.log, limits::MAX_LOG_BYTES),
            log_bytes: report.log_bytes,
            log_runs: if report.log_runs.len() > MAX_LOG_RUNS { Vec::new() } else { report.log_runs },
            error: report.error.map(clip),
            near_misses: report.near_misses.into_iter().take(limits::MAX_NEAR_MISSES).map(clip).collect(),
            started_unix_ms: report.started_unix_ms,
            duration_ms: report.duration_ms,
            cpu_ms: report.cpu_ms,
            peak_rss_kib: report.peak_rss_kib,
            checkpoint_moved: report.checkpoint_moved,
            files: report.files,
            left_out: report.left_out,
            doubts: report.doubts.into_iter().take(limits::MAX_DOUBTS).map(Into::into).collect(),
            unbegun: report.unbegun,
            program: report.program.map(clip),
            changed: report.changed.into_iter().take(MOST_CHANGES).map(Into::into).collect(),
        }
    }
}

impl From<FileChange> for v1::FileChange {
    fn from(FileChange { path, shared }: FileChange) -> Self {
        Self { path: clip(path), shared }
    }
}

impl From<Doubt> for v1::Doubt {
    fn from(doubt: Doubt) -> Self {
        use v1::doubt::What;
        let what = match doubt {
            Doubt::Differs { metric, taken, value, other, other_value } => What::Differs(v1::Differs {
                metric: clip(metric),
                taken: v1::Channel::from(taken).into(),
                other: v1::Channel::from(other).into(),
                value: value.0,
                other_value: other_value.0,
            }),
            Doubt::Unread { metric, value, line, pattern } => What::Unread(v1::Unread {
                metric: clip(metric),
                value: value.0,
                line: clip(line),
                pattern: pattern.map(clip),
            }),
            Doubt::Qualified { metric, value, taken, other } => What::Qualified(v1::Qualified {
                metric: clip(metric),
                value: value.0,
                taken: clip(taken),
                other: other.map(clip),
            }),
            Doubt::OneOfSeveral { metric, value, count } => {
                What::OneOfSeveral(v1::OneOfSeveral { metric: clip(metric), value: value.0, count })
            }
            Doubt::Cut { lines, longest } => What::Cut(v1::Cut { lines, longest }),
        };
        Self { what: Some(what) }
    }
}

impl TryFrom<v1::Doubt> for Doubt {
    type Error = FieldError;

    fn try_from(doubt: v1::Doubt) -> Result<Self, FieldError> {
        use v1::doubt::What;
        Ok(match present("doubts.what", doubt.what)? {
            What::Differs(differs) => Self::Differs {
                metric: text("doubts.metric", differs.metric, limits::MAX_TEXT_BYTES)?,
                taken: channel(differs.taken)?,
                other: channel(differs.other)?,
                value: MetricValue(differs.value),
                other_value: MetricValue(differs.other_value),
            },
            What::Unread(unread) => Self::Unread {
                metric: text("doubts.metric", unread.metric, limits::MAX_TEXT_BYTES)?,
                value: MetricValue(unread.value),
                line: text("doubts.line", unread.line, limits::MAX_TEXT_BYTES)?,
                pattern: unread
                    .pattern
                    .map(|pattern| text("doubts.pattern", pattern, limits::MAX_TEXT_BYTES))
                    .transpose()?,
            },
            What::Qualified(qualified) => Self::Qualified {
                metric: text("doubts.metric", qualified.metric, limits::MAX_TEXT_BYTES)?,
                value: MetricValue(qualified.value),
                taken: text("doubts.taken", qualified.taken, limits::MAX_TEXT_BYTES)?,
                other: qualified
                    .other
                    .map(|other| text("doubts.other", other, limits::MAX_TEXT_BYTES))
                    .transpose()?,
            },
            What::OneOfSeveral(one) => Self::OneOfSeveral {
                metric: text("doubts.metric", one.metric, limits::MAX_TEXT_BYTES)?,
                value: MetricValue(one.value),
                count: one.count,
            },
            What::Cut(cut) => Self::Cut { lines: cut.lines, longest: cut.longest },
        })
    }
}

impl From<Channel> for v1::Channel {
    fn from(channel: Channel) -> Self {
        match channel {
            Channel::File => Self::File,
            Channel::Protocol => Self::Protocol,
            Channel::Stdout => Self::Stdout,
            Channel::Stderr => Self::Stderr,
        }
    }
}

fn channel(number: i32) -> Result<Channel, FieldError> {
    use v1::Channel as Wire;
    let unknown = || FieldError::new("channel", format!("{number} is not a channel"));
    Ok(match Wire::try_from(number).map_err(|_| unknown())? {
        Wire::Unspecified => return Err(unknown()),
        Wire::File => Channel::File,
        Wire::Protocol => Channel::Protocol,
        Wire::Stdout => Channel::Stdout,
        Wire::Stderr => Channel::Stderr,
    })
}

impl TryFrom<v1::Report> for Report {
    type Error = FieldError;

    fn try_from(report: v1::Report) -> Result<Self, FieldError> {
        let metric = |metric: v1::Metric| {
            Ok((text("metrics.name", metric.name, limits::MAX_TEXT_BYTES)?, MetricValue(metric.value)))
        };
        let point = |point: v1::CurvePoint| {
            let name = text("curve.name", point.name, limits::MAX_TEXT_BYTES)?;
            Ok(CurvePoint { name, step: point.step, value: MetricValue(point.value) })
        };
        let line = |line| text("near_misses", line, limits::MAX_TEXT_BYTES);
        Ok(Self {
            token: present("report.token", report.token)?.into(),
            trial: TrialId(id("report.trial", &report.trial)?),
            class: class(report.class)?,
            fatal: report.fatal,
            exit: report.exit.map(TryInto::try_into).transpose()?,
            objective: report.objective.map(MetricValue),
            metrics: all("metrics", report.metrics, limits::MAX_METRICS, metric)?,
            spreads: all("spreads", report.spreads, limits::MAX_METRICS, metric)?,
            curve: all("curve", report.curve, limits::MAX_CURVE, point)?,
            log: text("log", report.log, limits::MAX_LOG_BYTES)?,
            log_bytes: report.log_bytes,
            log_runs: all("log_runs", report.log_runs, MAX_LOG_RUNS, Ok)?,
            error: report.error.map(|error| text("error", error, limits::MAX_TEXT_BYTES)).transpose()?,
            near_misses: all("near_misses", report.near_misses, limits::MAX_NEAR_MISSES, line)?,
            started_unix_ms: report.started_unix_ms,
            duration_ms: report.duration_ms,
            cpu_ms: report.cpu_ms,
            peak_rss_kib: report.peak_rss_kib,
            checkpoint_moved: report.checkpoint_moved,
            files: report.files,
            left_out: report.left_out,
            doubts: all("doubts", report.doubts, limits::MAX_DOUBTS, TryInto::try_into)?,
            unbegun: report.unbegun,
            program: report.program.map(|file| text("program", file, limits::MAX_TEXT_BYTES)).transpose()?,
            changed: all("changed", report.changed, MOST_CHANGES, |change| {
                let path = text("changed.path", change.path, limits::MAX_TEXT_BYTES)?;
                Ok(FileChange { path, shared: change.shared })
            })?,
        })
    }
}

impl From<Class> for v1::AttemptClass {
    fn from(class: Class) -> Self {
        match class {
            Class::Succeeded => Self::Succeeded,
            Class::NoMetric => Self::NoMetric,
            Class::Failed => Self::Failed,
            Class::Oom => Self::Oom,
            Class::Timeout => Self::Timeout,
            Class::Released => Self::Released,
            Class::Preempted => Self::Preempted,
            Class::Drained => Self::Drained,
            Class::Lost => Self::Lost,
            Class::WorkerFault => Self::WorkerFault,
            Class::Cancelled => Self::Cancelled,
            Class::Fenced => Self::Fenced,
        }
    }
}

fn class(number: i32) -> Result<Class, FieldError> {
    use v1::AttemptClass as Wire;
    let unknown = || FieldError::new("class", format!("{number} is not a class"));
    Ok(match Wire::try_from(number).map_err(|_| unknown())? {
        Wire::Unspecified => return Err(unknown()),
        Wire::Succeeded => Class::Succeeded,
        Wire::NoMetric => Class::NoMetric,
        Wire::Failed => Class::Failed,
        Wire::Oom => Class::Oom,
        Wire::Timeout => Class::Timeout,
        Wire::Released => Class::Released,
        Wire::Preempted => Class::Preempted,
        Wire::Drained => Class::Drained,
        Wire::Lost => Class::Lost,
        Wire::WorkerFault => Class::WorkerFault,
        Wire::Cancelled => Class::Cancelled,
        Wire::Fenced => Class::Fenced,
    })
}

impl From<Exit> for v1::Exit {
    fn from(exit: Exit) -> Self {
        use v1::exit::How;
        let how = match exit {
            Exit::Code(code) => How::Code(code),
            Exit::Signal(signal) => How::Signal(signal),
            Exit::NotStarted => How::NotStarted(true),
        };
        Self { how: Some(how) }
    }
}

impl TryFrom<v1::Exit> for Exit {
    type Error = FieldError;

    fn try_from(exit: v1::Exit) -> Result<Self, FieldError> {
        use v1::exit::How;
        Ok(match present("exit.how", exit.how)? {
            How::Code(code) => Self::Code(code),
            How::Signal(signal) => Self::Signal(signal),
            How::NotStarted(_) => Self::NotStarted,
        })
    }
}
