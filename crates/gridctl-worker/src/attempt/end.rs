//! What follows a trainer's end: the last metrics, the class, and the publication of what it left.
//! Invariant: an attempt's files are published before its report leaves; most leave none, and wait
//! for nothing.

use std::fs::File;
use std::sync::Arc;

use gridctl_core::attempt::{Evidence, StopReason, classify};
use gridctl_core::id::Time;
use gridctl_core::metrics::{Outcome, cuda_oom, error_line};
use gridctl_core::record::{Class, Exit, MetricValue, Report};
use gridctl_core::worker;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use super::follow::{FollowedAttempt, TrainerEnd};
use super::kept::{KeptPlace, KeptResult};
use super::log::Log;
use super::prepare;
use super::publish::{self, Checkpoints, Unpublished};
use super::report::AttemptFault;
use super::waiting::{NextStep, PublishWait, tell_unpublished};
use super::{AttemptOrder, SlotNews};
use crate::scratch::{LeftBehind, Scratch};

/// An attempt whose trainer has ended.
#[derive(Debug)]
pub(super) struct EndedAttempt {
    report: Box<Report>,
    start: Box<worker::AttemptStart>,
    scratch: Scratch,
    log: Log,
    checkpoints: Checkpoints,
    left: LeftBehind,
    /// Its files and its log are published, if there are any.
    published: bool,
    /// They are kept for a worker that comes after this one.
    kept: Option<KeptResult>,
    /// SIGKILL ended it, so what it was writing may be half a thing.
    killed: bool,
    /// Why it was asked to stop. A fenced trial is another attempt's: nothing of this one is to be
    /// published.
    asked: Option<StopReason>,
    orders: UnboundedReceiver<AttemptOrder>,
    said: UnboundedSender<SlotNews>,
}

impl FollowedAttempt {
    /// Whether what the trainer left can be looked at without waiting for its metrics file.
    pub(super) fn is_read(&mut self, gone: &TrainerEnd) -> bool {
        if gone.stop.reason() == Some(StopReason::Fenced) {
            self.metrics.abandon();
        }
        self.metrics.is_read()
    }

    /// As [`Self::end`], once the metrics file is read to its end, and published. Takes the look at
    /// the workdir before, if it `looks`.
    pub(super) async fn end_later(
        mut self,
        gone: TrainerEnd,
        (looks, oom_kills): (bool, bool),
        now: Time,
        place: KeptPlace,
    ) -> (Box<Report>, Option<Scratch>) {
        self.metrics.read_on().await;
        let workdirs = Arc::clone(&self.workdirs);
        let mut over = self.end(gone, oom_kills, now);
        if looks {
            let sweep = &over.start.sweep;
            let (dir, output) = (prepare::workdir(sweep).into(), prepare::output_dir(sweep));
            over.report.changed = workdirs.look(dir, output).await;
        }
        if over.has_files() {
            return over.publish(place).await;
        }
        let (report, scratch) = over.report();
        (report, Some(scratch))
    }

    /// Looks at what the trainer left and classifies its end. What is left in the directories is
    /// for the next attempt to clear.
    pub(super) fn end(mut self, gone: TrainerEnd, oom_kills: bool, now: Time) -> EndedAttempt {
        let killed = gone.stop.killed() || gone.exit == Exit::Signal(9);
        // The notice alone is a request too, if one without a signal that the slot could have seen.
        let asked = gone.stop.reason().filter(|reason| gone.asked || *reason == StopReason::Preempted);
        let left = self.scratch.look();
        let duration_ms = now.ms_since(self.started);
        let Self {
            start,
            scratch,
            log,
            checkpoints,
            extractor,
            metrics,
            started_unix_ms,
            orders,
            said,
            program,
            ..
        } = self;
        let metrics = metrics.finish();
        let seen = EndEvidence {
            gone,
            log_runs: if metrics.bytes() == 0 { log.runs() } else { Vec::new() },
            asked,
            oom_kills,
            outcome: extractor.finish(metrics),
            replaced: scratch.replaced(),
        };
        let report = Report { started_unix_ms, duration_ms, program, ..report(&start, &log, seen) };
        let report = Box::new(report);
        let (published, kept) = (false, None);
        EndedAttempt {
            report,
            start,
            scratch,
            log,
            checkpoints,
            left,
            published,
            kept,
            killed,
            asked,
            orders,
            said,
        }
    }
}

impl EndedAttempt {
    /// Whether there is anything that takes time to publish.
    pub(super) fn has_files(&self) -> bool {
        let files = self.left.output || self.left.checkpoint || self.log.has_file();
        self.asked != Some(StopReason::Fenced) && (files || self.checkpoints.are_going())
    }

    /// The report of an attempt that has no files.
    pub(super) fn report(mut self) -> (Box<Report>, Scratch) {
        self.report.checkpoint_moved = self.checkpoints.moved();
        self.report.left_out += self.checkpoints.left_out();
        (self.report, self.scratch)
    }

    /// Publishes the files, as soon as the results volume takes them, and reports that as well.
    /// Until then it is kept in `place`.
    pub(super) async fn publish(mut self, place: KeptPlace) -> (Box<Report>, Option<Scratch>) {
        let log = self.log.close().await.map(Arc::new);
        self.checkpoints.rest().await;
        let mut waiting = PublishWait::new(self.report.class, self.asked);
        while let Err(error) = self.try_publish(log.as_ref()).await {
            if error.may_wait {
                tell_unpublished(&self.said, &self.start.grant, &error.text);
                if waiting.is_worth_keeping() {
                    self.keep(&place, log.as_ref()).await;
                }
            }
            match waiting.pause(&mut self.orders, error.may_wait).await {
                NextStep::TryAgain(_) => {}
                NextStep::Drop(reason) => {
                    self.report.class = reason.class();
                    break;
                }
                NextStep::GiveUp if self.published => {
                    tracing::warn!("the last checkpoint of {} is not published", self.report.trial);
                    break;
                }
                NextStep::GiveUp if error.may_wait && self.kept.is_some() => {
                    if let Some(kept) = self.kept.take() {
                        kept.leave(&mut self.report);
                    }
                    break;
                }
                NextStep::GiveUp => {
                    AttemptFault::publish(&error.text).spoil(&mut self.report);
                    break;
                }
            }
        }
        if let Some(kept) = self.kept.take() {
            kept.remove().await;
        }
        let (report, scratch) = self.report();
        (report, Some(scratch))
    }

    /// Puts what is not published where the next worker finds it, should this one end.
    async fn keep(&mut self, place: &KeptPlace, log: Option<&Arc<File>>) {
        if self.published || self.kept.is_some() {
            return;
        }
        let (checkpoint_moved, left_out) = (self.checkpoints.moved(), self.checkpoints.left_out());
        let report = Report { checkpoint_moved, left_out, ..(*self.report).clone() };
        let output = self.scratch.output.clone();
        match place.keep((&self.start, report), output, log.cloned()).await {
            Ok(kept) => self.kept = Some(kept),
            Err(error) => tracing::warn!("it lasts only as long as this worker: {error}"),
        }
    }

    async fn try_publish(&mut self, log: Option<&Arc<File>>) -> Result<(), Unpublished> {
        if !self.published && (self.left.output || log.is_some()) {
            let published = match &self.kept {
                Some(kept) => kept.publish(&self.start).await?,
                None => publish::files(&self.start, self.scratch.output.clone(), log.cloned()).await?,
            };
            self.report.files = published.files;
            self.report.left_out = published.left_out;
        }
        self.published = true;
        if self.left.checkpoint && !self.killed {
            self.checkpoints.publish_last().await?;
        }
        Ok(())
    }
}

/// All that is known of an attempt's end, but for its log.
struct EndEvidence {
    gone: TrainerEnd,
    /// Why it was asked to stop, if it went on then.
    asked: Option<StopReason>,
    oom_kills: bool,
    outcome: Outcome,
    /// See [`Report::log_runs`].
    log_runs: Vec<u64>,
    /// What the trainer put in the place of a directory.
    replaced: Option<String>,
}

/// The report but for time and files.
fn report(start: &worker::AttemptStart, log: &Log, seen: EndEvidence) -> Report {
    let spec = &start.sweep.spec;
    let EndEvidence { gone, asked, oom_kills, outcome, log_runs, replaced } = seen;
    let mask = |text: &str| log.mask(text).into_owned();
    let (log_bytes, log_text) = (log.bytes(), log.text());
    let evidence = Evidence {
        exit: gone.exit,
        asked_to_stop: asked,
        oom_kills,
        cuda_oom: gone.exit != Exit::Code(0) && cuda_oom(&log_text),
        has_objective_spec: spec.objective.is_some(),
        objective: outcome.objective,
        done: outcome.done,
        dir_replaced: replaced.is_some(),
    };
    let (class, fatal) = classify(&evidence, &spec.retry);
    let not_started = gone.not_started.map(|(_, text)| mask(&text));
    let error = match class {
        Class::Failed if replaced.is_some() => replaced,
        Class::Failed | Class::Oom | Class::Timeout | Class::Released => error_line(&log_text),
        _ => None,
    };
    let near_misses = outcome.near_misses.iter().filter(|_| class == Class::NoMetric);
    Report {
        token: start.grant.token,
        trial: start.grant.trial,
        class,
        fatal,
        exit: Some(gone.exit),
        objective: outcome.objective.map(MetricValue),
        metrics: outcome.metrics,
        spreads: outcome.spreads,
        curve: outcome.curve,
        log_bytes,
        log_runs,
        log: not_started.clone().unwrap_or(log_text),
        error: not_started.or(error),
        near_misses: near_misses.map(|miss| mask(miss)).collect(),
        doubts: outcome.doubts.into_iter().map(|doubt| doubt.masked(mask)).collect(),
        started_unix_ms: 0,
        duration_ms: 0,
        cpu_ms: gone.cpu_ms,
        peak_rss_kib: gone.peak_rss_kib,
        checkpoint_moved: false,
        files: 0,
        left_out: 0,
        program: None,
        changed: Vec::new(),
        unbegun: false,
    }
}
