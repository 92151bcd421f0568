//! Follows a trainer from its start to its end: output, metrics, the clock, checkpoints.
//! Invariant: nothing is done about time before the trainer has begun.

use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};

use gridctl_core::attempt::stop::Stop;
use gridctl_core::id::Time;
use gridctl_core::metrics::{self, Extractor};
use gridctl_core::protocol::Grant;
use gridctl_core::record::Exit;
use gridctl_core::spec::signal_number;
use gridctl_core::worker;
use gridctl_storage::dataset::StagedDataset;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::task::spawn_blocking;

use super::log::Log;
use super::prepare::{self, Prepared};
use super::publish::Checkpoints;
use super::tail::MetricsFile;
use super::{AttemptOrder, SlotNews, WorkerMachine};
use crate::clock::{self, unix_ms};
use crate::scratch::Scratch;
use crate::slot::{self, OutputStream, SlotEvent, TrainerExit};
use crate::workdir::{WorkdirStay, Workdirs};

/// The most bytes of output that are read without a thread of their own: a fraction of a
/// millisecond's work.
const AT_ONCE: usize = 16 << 10;
/// Between looks at the metrics file, in milliseconds.
const LOOK_MS: u64 = 500;

/// An attempt that goes on, or waits to be started.
#[derive(Debug)]
pub(super) struct FollowedAttempt {
    pub(super) start: Box<worker::AttemptStart>,
    pub(super) scratch: Scratch,
    pub(super) extractor: Extractor,
    pub(super) log: Log,
    pub(super) metrics: MetricsFile,
    pub(super) checkpoints: Checkpoints,
    pub(super) started: Time,
    pub(super) started_unix_ms: u64,
    pub(super) workdirs: Arc<Workdirs>,
    /// While its trainer runs.
    stay: Option<WorkdirStay>,
    pub(super) orders: UnboundedReceiver<AttemptOrder>,
    pub(super) said: UnboundedSender<SlotNews>,
    /// What it reads stays here as long as it runs.
    _data: Option<Arc<StagedDataset>>,
    look_at: Time,
    progress: Option<(i64, f64)>,
    /// What is started.
    pub(super) program: Option<String>,
}

/// What is known when the trainer is gone.
#[derive(Debug)]
pub(super) struct TrainerEnd {
    pub(super) exit: Exit,
    /// It was asked to stop while it went on.
    pub(super) asked: bool,
    pub(super) cpu_ms: u64,
    /// Processes that it left, and that were ended.
    pub(super) left_behind: u32,
    pub(super) peak_rss_kib: u64,
    /// Why it never started.
    pub(super) not_started: Option<(slot::StartFault, String)>,
    /// How far it was stopped.
    pub(super) stop: Stop,
}

impl FollowedAttempt {
    /// An attempt that begins now, unless [`Self::begin`] says later that it begins then.
    pub(super) fn new(
        start: Box<worker::AttemptStart>,
        orders: UnboundedReceiver<AttemptOrder>,
        scratch: Scratch,
        (machine, said): (&WorkerMachine, &UnboundedSender<SlotNews>),
        prepared: &Prepared,
    ) -> Self {
        let started = clock::now();
        let log = Log::new(scratch.root().to_owned(), Arc::clone(&prepared.version.secrets));
        machine.live.add(start.grant.token.lease, log.tail());
        Self {
            extractor: Extractor::new(Arc::clone(&prepared.version.patterns)),
            log,
            metrics: MetricsFile::new(scratch.metrics.clone(), Arc::clone(&prepared.version.patterns)),
            checkpoints: Checkpoints::new(
                scratch.checkpoint.clone(),
                &start,
                &prepared.restored,
                (started, machine.checkpoint_every_ms),
            ),
            started,
            started_unix_ms: unix_ms(),
            look_at: started.after_ms(LOOK_MS),
            progress: None,
            said: said.clone(),
            workdirs: Arc::clone(&machine.workdirs),
            stay: None,
            _data: prepared.data.clone(),
            program: prepared.program.clone(),
            start,
            scratch,
            orders,
        }
    }

    pub(super) fn grant(&self) -> &Grant {
        &self.start.grant
    }

    /// The next thing that is said to it.
    pub(super) fn poll_order(&mut self, cx: &mut Context<'_>) -> Poll<Option<AttemptOrder>> {
        self.orders.poll_recv(cx)
    }

    /// Its trainer is not followed any further.
    pub(super) fn give_up(self) -> (Grant, Scratch) {
        (self.start.grant, self.scratch)
    }

    /// Says something of our own in the attempt's log.
    pub(super) async fn note(&mut self, text: &str) {
        self.log.keep(format!("[gridctl: {text}]\n").as_bytes()).await;
    }

    /// Its trainer runs in the workdir from now on.
    pub(super) fn enter(&mut self) {
        // In a container it has a copy, and nothing else of the machine's to write to.
        if self.start.sweep.spec.image.is_some() {
            return;
        }
        let dir = Path::new(prepare::workdir(&self.start.sweep));
        self.stay = Some(self.workdirs.enter(dir, self.start.grant.token.lease));
    }

    /// Whether a look at the workdir is due; it is taken at the end of this attempt then.
    pub(super) fn claim_look(&self) -> bool {
        self.stay.is_some() && self.workdirs.claim_look(Path::new(prepare::workdir(&self.start.sweep)))
    }

    /// It waited for another's end, and has begun now.
    pub(super) fn begin(&mut self, now: Time) {
        (self.started, self.started_unix_ms) = (now, unix_ms());
        self.enter();
        self.look_at = now.after_ms(LOOK_MS);
        self.checkpoints.begin(now);
    }

    /// When something is due next; one that is stopped has no more time that could be over.
    pub(super) fn wake(&self, is_stopped: bool) -> Time {
        let times = [self.timeout().filter(|_| !is_stopped), Some(self.checkpoints.due())];
        times.into_iter().flatten().fold(self.look_at, Time::min)
    }

    /// When its time is over.
    pub(super) fn timeout(&self) -> Option<Time> {
        self.start.sweep.spec.timeout_ms.map(|ms| self.started.after_ms(ms))
    }

    /// Looks at the files for which it is time.
    pub(super) async fn look(&mut self, now: Time) {
        if now >= self.look_at {
            self.look_at = now.after_ms(LOOK_MS);
            self.metrics.look().await;
            self.tell_progress();
        }
        if now >= self.checkpoints.due() {
            self.checkpoints.check(now).await;
        }
    }

    fn tell_progress(&mut self) {
        let latest = self.metrics.latest().or_else(|| self.extractor.latest());
        if let Some((step, value)) = latest
            && latest != self.progress
        {
            self.progress = latest;
            let said = SlotNews::Progress { lease: self.start.grant.token.lease, step, value };
            // Nobody listens only when the worker itself is at its end.
            let _ = self.said.send(said);
        }
    }

    /// How long its last checkpoint took to publish, in milliseconds.
    pub(super) fn upload_ms(&self) -> u64 {
        self.checkpoints.upload_ms()
    }

    /// Its machine is about to be taken: the trainer finds a notice, and gets the signal that is
    /// returned, if the sweep names one.
    pub(super) fn announce_preemption(&mut self, now: Time) -> Option<i32> {
        self.checkpoints.announce_preemption(now);
        self.start.sweep.spec.preempt_signal.as_deref().and_then(signal_number)
    }

    /// Reads output: a little at once, more on a thread for what takes time, so that leases are
    /// kept meanwhile.
    async fn read(&mut self, stream: metrics::Stream, bytes: Vec<u8>) -> Vec<u8> {
        if self.extractor.waiting(stream) + bytes.len() <= AT_ONCE {
            self.extractor.feed(stream, &bytes, &|| self.metrics.size());
            return bytes;
        }
        let size = self.metrics.size();
        let patterns = Arc::clone(self.extractor.patterns());
        let mut extractor = std::mem::replace(&mut self.extractor, Extractor::broken(patterns));
        let read = spawn_blocking(move || {
            extractor.feed(stream, &bytes, &|| size);
            (extractor, bytes)
        });
        match read.await {
            Ok((extractor, bytes)) => {
                self.extractor = extractor;
                bytes
            }
            Err(error) => {
                tracing::error!("what a trainer prints cannot be read: {error}");
                Vec::new()
            }
        }
    }

    /// Takes what the slot says of it, which it knows as `own`; its end, if it is that.
    pub(super) async fn take(&mut self, own: u64, event: SlotEvent) -> Option<TrainerEnd> {
        match event {
            SlotEvent::Output { id, stream, bytes } if id == own => {
                let stream = match stream {
                    OutputStream::Out => metrics::Stream::Stdout,
                    OutputStream::Err => metrics::Stream::Stderr,
                };
                let bytes = self.read(stream, bytes).await;
                self.log.push(stream, &bytes).await;
                None
            }
            SlotEvent::NotStarted { id, fault, text } if id == own => Some(TrainerEnd {
                exit: Exit::NotStarted,
                asked: false,
                cpu_ms: 0,
                left_behind: 0,
                peak_rss_kib: 0,
                not_started: Some((fault, text)),
                stop: Stop::default(),
            }),
            SlotEvent::Exited { id, exit, asked, cpu_ms, peak_rss_kib, left_behind } if id == own => {
                self.log.end().await;
                if left_behind > 0 {
                    tracing::debug!(
                        "{} left {left_behind} processes, which were ended",
                        self.start.grant.trial
                    );
                }
                let exit = match exit {
                    TrainerExit::Code(code) => Exit::Code(code),
                    TrainerExit::Signal(signal) => Exit::Signal(signal),
                };
                let stop = Stop::default();
                Some(TrainerEnd { exit, asked, cpu_ms, left_behind, peak_rss_kib, not_started: None, stop })
            }
            _ => None,
        }
    }
}
