//! Follows a trainer from its start to its end: output, metrics, the clock, requests to stop.
//! Invariant: nothing here waits for the trainer without also waiting for a request to stop it.

use std::sync::Arc;
use std::time::Duration;

use gridctl_core::attempt::{Evidence, StopReason, classify};
use gridctl_core::id::Time;
use gridctl_core::metrics::{self, Extractor, cuda_oom, error_line};
use gridctl_core::record::{Class, Exit, MetricValue, Report};
use gridctl_core::spec::signal_number;
use gridctl_core::worker::{self, GRACE_MS};
use tokio::sync::mpsc::UnboundedReceiver;

use super::log::Log;
use super::prepare::Version;
use super::publish::{self, Checkpoints, Restored};
use super::report::Fault;
use super::stop::{Step, Stop};
use super::tail::Tail;
use super::{Order, Said, Seat, event};
use crate::clock::unix_ms;
use crate::handle::SlotError;
use crate::slot::{self, Ended, SlotEvent, SlotRequest, Start, Stream};

/// Between looks at the metrics file, in milliseconds.
const LOOK_MS: u64 = 500;
/// A file of metrics is read to its end when the trainer has ended, but no further than so many pieces.
const MOST_PIECES: usize = 4_096;

/// An attempt that goes on.
pub(super) struct Following<'a> {
    seat: &'a mut Seat,
    start: &'a worker::Start,
    id: u64,
    extractor: Extractor,
    log: Log,
    tail: Tail,
    stop: Stop,
    checkpoints: Checkpoints,
    started: Time,
    started_unix_ms: u64,
    look_at: Time,
    progress: Option<(i64, f64)>,
}

/// What is known when the trainer is gone.
pub(super) struct Gone {
    exit: Exit,
    /// It was asked to stop while it went on.
    asked: bool,
    cpu_ms: u64,
    peak_rss_kib: u64,
    /// Why it never started.
    not_started: Option<(slot::Fault, String)>,
}

impl<'a> Following<'a> {
    pub(super) fn new(
        seat: &'a mut Seat,
        start: &'a worker::Start,
        version: &Version,
        restored: &Restored,
    ) -> Result<Self, Fault> {
        let Some(scratch) = &seat.scratch else { return Err(Fault::unready()) };
        let started = seat.machine.clock.now();
        let every = (started, seat.machine.checkpoint_every_ms);
        Ok(Self {
            id: seat.next_id,
            extractor: Extractor::new(Arc::clone(&version.patterns)),
            log: Log::new(scratch.log.clone()),
            tail: Tail::new(scratch.metrics.clone()),
            stop: Stop::default(),
            checkpoints: Checkpoints::new(scratch.checkpoint.clone(), start, restored, every),
            started,
            started_unix_ms: unix_ms(),
            look_at: started.after_ms(LOOK_MS),
            progress: None,
            seat,
            start,
        })
    }

    /// Says something of our own in the attempt's log.
    pub(super) async fn note(&mut self, text: &str) {
        self.log.push(format!("[gridctl: {text}]\n").as_bytes()).await;
    }

    /// Starts the trainer and stays until it is gone. An error is the slot's: the trainer's end was not seen.
    pub(super) async fn follow(
        &mut self,
        start: Start,
        orders: &mut UnboundedReceiver<Order>,
    ) -> Result<Gone, SlotError> {
        self.send(&SlotRequest::Start(start)).await?;
        loop {
            let now = self.seat.machine.clock.now();
            self.due(now).await?;
            let pause = Duration::from_millis(self.wake().ms_since(now));
            tokio::select! {
                biased;
                event = event(self.seat.handle.as_mut()) => {
                    if let Some(gone) = self.take(event?).await {
                        return Ok(gone);
                    }
                }
                Some(order) = orders.recv() => self.ask(order.reason, order.grace_ms).await?,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// When something is due next.
    fn wake(&self) -> Time {
        let timeout = self.timeout().filter(|_| self.stop.reason().is_none());
        let times = [timeout, self.stop.due(), Some(self.checkpoints.due())];
        times.into_iter().flatten().fold(self.look_at, Time::min)
    }

    fn timeout(&self) -> Option<Time> {
        self.start.sweep.spec.timeout_ms.map(|ms| self.started.after_ms(ms))
    }

    /// Does what is due.
    async fn due(&mut self, now: Time) -> Result<(), SlotError> {
        if self.stop.reason().is_none() && self.timeout().is_some_and(|at| now >= at) {
            self.ask(StopReason::Timeout, GRACE_MS).await?;
        }
        if let Some(step) = self.stop.step(now) {
            self.act(step).await?;
        }
        if now >= self.look_at {
            self.look_at = now.after_ms(LOOK_MS);
            self.look(1);
            self.tell_progress();
        }
        if now >= self.checkpoints.due() {
            self.checkpoints.check(now).await;
        }
        Ok(())
    }

    /// Takes in what was appended to the metrics file.
    fn look(&mut self, pieces: usize) {
        for _ in 0..pieces {
            match self.tail.next() {
                Ok(Some(piece)) => self.extractor.feed_file(&piece),
                Ok(None) => break,
                Err(error) => {
                    tracing::debug!("the metrics file of {}: {error}", self.start.grant.trial);
                    break;
                }
            }
        }
    }

    fn tell_progress(&mut self) {
        let latest = self.extractor.latest();
        if let Some((step, value)) = latest
            && latest != self.progress
        {
            self.progress = latest;
            let said = Said::Progress { lease: self.start.grant.token.lease, step, value };
            // Nobody listens only when the worker itself is at its end.
            let _ = self.seat.said.send(said);
        }
    }

    async fn ask(&mut self, reason: StopReason, grace_ms: u64) -> Result<(), SlotError> {
        let now = self.seat.machine.clock.now();
        if reason == StopReason::Preempted {
            self.checkpoints.announce_preemption();
            let signal = self.start.sweep.spec.preempt_signal.as_deref().and_then(signal_number);
            if let Some(signal) = signal {
                self.act(Step::Signal(signal)).await?;
            }
        }
        match self.stop.ask(now, reason, grace_ms) {
            Some(step) => self.act(step).await,
            None => Ok(()),
        }
    }

    async fn act(&mut self, step: Step) -> Result<(), SlotError> {
        match step {
            Step::Signal(signal) => self.send(&SlotRequest::Signal { id: self.id, signal }).await,
            Step::GiveUp => Err(SlotError::Gone("a trainer did not end after SIGKILL".to_owned())),
        }
    }

    async fn send(&mut self, request: &SlotRequest) -> Result<(), SlotError> {
        match &mut self.seat.handle {
            Some(handle) => handle.send(request).await,
            None => Err(SlotError::Gone("it was ended".to_owned())),
        }
    }

    async fn take(&mut self, event: SlotEvent) -> Option<Gone> {
        match event {
            SlotEvent::Output { id, stream, bytes } if id == self.id => {
                let stream = match stream {
                    Stream::Out => metrics::Stream::Stdout,
                    Stream::Err => metrics::Stream::Stderr,
                };
                self.extractor.feed(stream, &bytes);
                self.log.push(&bytes).await;
                None
            }
            SlotEvent::NotStarted { id, fault, text } if id == self.id => {
                let not_started = Some((fault, text));
                Some(Gone { exit: Exit::NotStarted, asked: false, cpu_ms: 0, peak_rss_kib: 0, not_started })
            }
            SlotEvent::Exited { id, exit, asked, cpu_ms, peak_rss_kib, left_behind } if id == self.id => {
                if left_behind > 0 {
                    tracing::debug!(
                        "{} left {left_behind} processes, which were ended",
                        self.start.grant.trial
                    );
                }
                let exit = match exit {
                    Ended::Code(code) => Exit::Code(code),
                    Ended::Signal(signal) => Exit::Signal(signal),
                };
                Some(Gone { exit, asked, cpu_ms, peak_rss_kib, not_started: None })
            }
            _ => None,
        }
    }

    /// Publishes and classifies; what is left in the slot's directories is for the next attempt to clear.
    pub(super) async fn finish(mut self, gone: Gone) -> Result<Report, Fault> {
        let duration_ms = self.seat.machine.clock.now().ms_since(self.started);
        self.look(MOST_PIECES);
        self.tail.remove();
        if let Some((slot::Fault::Machine, text)) = gone.not_started {
            return Err(Fault::machine(text));
        }
        let oom_kills = self.seat.cgroup.as_mut().is_some_and(|cgroup| cgroup.new_kills() > 0);
        // The notice alone is a request too, if one without a signal that the slot could have seen.
        let asked = self.stop.reason().filter(|reason| gone.asked || *reason == StopReason::Preempted);
        let Some(scratch) = &mut self.seat.scratch else { return Err(Fault::unready()) };
        let left = scratch.look();
        let output = scratch.output.clone();
        let (mut moved, mut published) = (false, Ok(0));
        if asked != Some(StopReason::Fenced) {
            let killed = self.stop.killed() || gone.exit == Exit::Signal(9);
            let log = self.log.close().await;
            moved = self.checkpoints.finish(left.checkpoint && !killed).await;
            if left.output || log.is_some() {
                published = publish::files(self.start, output, log).await;
            }
        }
        let mut report = self.report(gone, asked, oom_kills);
        report.duration_ms = duration_ms;
        report.checkpoint_moved = moved;
        match published {
            Ok(files) => report.files = files,
            Err(text) => Fault::publish(&text).spoil(&mut report),
        }
        Ok(report)
    }

    /// The report but for time and files.
    fn report(self, gone: Gone, asked_to_stop: Option<StopReason>, oom_kills: bool) -> Report {
        let spec = &self.start.sweep.spec;
        let outcome = self.extractor.finish();
        let log = self.log.text();
        let evidence = Evidence {
            exit: gone.exit,
            asked_to_stop,
            oom_kills,
            cuda_oom: gone.exit != Exit::Code(0) && cuda_oom(&log),
            has_objective_spec: spec.objective.is_some(),
            objective: outcome.objective,
            done: outcome.done,
        };
        let (class, fatal) = classify(&evidence, &spec.retry);
        let not_started = gone.not_started.map(|(_, text)| text);
        let error = match class {
            Class::Failed | Class::Oom | Class::Timeout | Class::Released => error_line(&log),
            _ => None,
        };
        Report {
            token: self.start.grant.token,
            trial: self.start.grant.trial,
            class,
            fatal,
            exit: Some(gone.exit),
            objective: outcome.objective.map(MetricValue),
            metrics: outcome.metrics,
            curve: outcome.curve,
            log_bytes: self.log.bytes(),
            log: not_started.clone().unwrap_or(log),
            error: not_started.or(error),
            near_misses: if class == Class::NoMetric { outcome.near_misses } else { Vec::new() },
            started_unix_ms: self.started_unix_ms,
            duration_ms: 0,
            cpu_ms: gone.cpu_ms,
            peak_rss_kib: gone.peak_rss_kib,
            checkpoint_moved: false,
            files: 0,
        }
    }
}
