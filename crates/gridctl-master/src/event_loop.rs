//! The master's loop: take what arrived, step it, make it durable in one commit, and only then let anybody know.
//! Invariant: this thread alone has the core and the store, and nothing that it says is ahead of the disk.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use gridctl_core::fleet::machines::CloudCall;
use gridctl_core::id::Time;
use gridctl_core::output::Output;
use gridctl_core::protocol::ToWorker;
use gridctl_core::sched::commit_pipeline::CommitPipeline;
use gridctl_core::sched::{Conn, Effect, Input, Request};
use gridctl_storage::journal::{Reader, Snapshot, Store, StoreError};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::clock;
use crate::commit::Rows;
use crate::error::{MasterError, chain};
use crate::message::{Answered, Board, Line, Look, Message};
use crate::prior_outcomes;
use crate::rescue;

/// Messages that are taken at once.
const BATCH: usize = 1024;
/// The loop goes round at least so often.
const TICK: Duration = Duration::from_secs(1);
/// The journal's files are looked for at most so often beside each commit.
const LOOK_MS: u64 = 1_000;
/// The board is renewed at most so often, unless somebody waits for what changed.
const BOARD_MS: u64 = 100;
/// While the disk is full the commit is tried again after so long at first, and at last.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// While the disk is full so many messages are kept; the others wait on their connections.
const KEPT: usize = 65_536;

/// The loop's own state.
pub(crate) struct MasterLoop {
    pub(crate) pipeline: CommitPipeline,
    pub(crate) store: Box<dyn Store>,
    pub(crate) reader: Reader,
    /// The number of the next outcome.
    pub(crate) next_outcome: u64,
    pub(crate) snapshot_every: u64,
    pub(crate) board: watch::Sender<Board>,
    /// Outcomes are there to be shipped.
    pub(crate) outcomes: Arc<Notify>,
    pub(crate) data_dir: PathBuf,
    /// Why the loop ended, for those who asked and got no answer.
    pub(crate) failure: Arc<OnceLock<String>>,
    pub(crate) own: Own,
}

/// What only the loop needs.
#[derive(Default)]
pub(crate) struct Own {
    lines: HashMap<Conn, Line>,
    answers: HashMap<Request, Answered>,
    looks: Vec<Look>,
    /// Who carries out what the fleet wants.
    cloud: Option<mpsc::UnboundedSender<CloudCall>>,
    last_request: u64,
    since_snapshot: u64,
    /// Something was written since the store last did its housekeeping.
    untidy: bool,
    shown: Option<Time>,
    /// When the journal's files were last looked for.
    looked: Option<Time>,
    /// What the board shows may be older than what is durable.
    stale: bool,
    turned: bool,
    stop: Option<oneshot::Sender<()>>,
    /// The journal is known to be sound.
    is_sound: bool,
}

impl MasterLoop {
    /// Goes round until somebody says stop, or nobody is left who could say anything.
    ///
    /// # Errors
    /// What is on the disk is unknown: the process must end, and say nothing to anybody.
    pub(crate) async fn go(mut self, mut inbox: mpsc::Receiver<Message>) -> Result<(), MasterError> {
        let error = match self.rounds(&mut inbox).await {
            Ok(()) => {
                let failure = Arc::clone(&self.failure);
                return self.end().inspect_err(|error| _ = failure.set(chain(error)));
            }
            Err(error) => error,
        };
        // Whatever was noticed first.
        let error = match self.store.still_there() {
            Err(StoreError::Gone { path }) => {
                let rescued = rescue::all(self.pipeline.core(), &self.reader, &self.data_dir);
                MasterError::Gone { path, rescued }
            }
            _ => error,
        };
        // Before anybody finds that nobody answers any more.
        let _ = self.failure.set(chain(&error));
        Err(error)
    }

    /// Goes round until there is nothing left to do.
    async fn rounds(&mut self, inbox: &mut mpsc::Receiver<Message>) -> Result<(), MasterError> {
        let mut arrived = Vec::with_capacity(BATCH);
        loop {
            let wait = if self.pipeline.waiting() > 0 { Duration::ZERO } else { self.until_due() };
            let got = tokio::time::timeout(wait, inbox.recv_many(&mut arrived, BATCH)).await;
            let is_quiet = got.is_err() && self.pipeline.waiting() == 0;
            arrived.drain(..).for_each(|message| self.accept(message));
            if got.is_err() {
                self.pipeline.push(Input::Tick);
            }
            self.round(inbox).await?;
            self.look_for_the_files()?;
            self.snapshot_if_due()?;
            if got == Ok(0) || (self.own.stop.is_some() && self.pipeline.waiting() == 0) {
                return Ok(self.store.still_there()?);
            }
            if is_quiet && self.own.untidy {
                self.store.idle();
                self.own.untidy = false;
            }
        }
    }

    /// Now and then, whether the journal can still be found.
    fn look_for_the_files(&mut self) -> Result<(), MasterError> {
        let now = clock::now();
        if self.own.looked.is_none_or(|looked| now.ms_since(looked) >= LOOK_MS) {
            self.own.looked = Some(now);
            self.store.still_there()?;
        }
        Ok(())
    }

    fn until_due(&self) -> Duration {
        let due =
            self.pipeline.core().next_deadline().map(|at| Duration::from_millis(at.ms_since(clock::now())));
        let latest = if self.own.stale { Duration::from_millis(BOARD_MS) } else { TICK };
        due.map_or(latest, |due| due.clamp(Duration::from_millis(1), latest))
    }

    /// Takes a message in; nothing is decided yet.
    fn accept(&mut self, message: Message) {
        match message {
            Message::Opened(conn, hello, line) => {
                self.own.lines.insert(conn, line);
                self.pipeline.push(Input::Opened(conn, hello));
            }
            Message::Said(conn, update) => self.pipeline.push(Input::Said(conn, update)),
            Message::Closed(conn) => {
                self.own.lines.remove(&conn);
                self.pipeline.push(Input::Closed(conn));
            }
            Message::Input(input) => self.pipeline.push(input),
            Message::Ask(input, answered) => {
                let request = self.request(answered);
                self.pipeline.push(input(request));
            }
            Message::Fleet(calls) => self.own.cloud = Some(calls),
            Message::Look(look) => self.own.looks.push(look),
            Message::Stop { is_sound, done } => {
                self.own.is_sound = is_sound;
                self.own.stop = Some(done);
            }
        }
    }

    fn request(&mut self, answered: Answered) -> Request {
        self.own.last_request += 1;
        let request = Request(self.own.last_request);
        self.own.answers.insert(request, answered);
        request
    }

    /// Steps what waits, commits it, and lets its effects out.
    async fn round(&mut self, inbox: &mut mpsc::Receiver<Message>) -> Result<(), MasterError> {
        let mut problem = None;
        let (reader, data_dir) = (&self.reader, &self.data_dir);
        self.pipeline.batch(clock::now(), &mut |candidates| {
            problem = prior_outcomes::look_up(candidates, reader, data_dir).err();
        });
        if let Some(error) = problem {
            return Err(error.into());
        }
        let Some(step) = self.pipeline.underway() else { return Ok(()) };
        let rows = Rows::of(step, self.pipeline.core(), reader, &mut self.next_outcome)?;
        if !rows.group().is_empty() {
            self.commit(&rows, inbox).await?;
            self.own.untidy = true;
            self.own.since_snapshot += rows.events();
        }
        if rows.has_outcomes() {
            self.outcomes.notify_one();
        }
        let effects = self.pipeline.committed();
        self.own.turned |= effects.iter().any(|it| matches!(it, Effect::Reply(..) | Effect::Turned(_)));
        self.show();
        effects.into_iter().for_each(|effect| self.carry_out(effect));
        let now = clock::now();
        for look in self.own.looks.drain(..) {
            look(self.pipeline.core(), now);
        }
        Ok(())
    }

    /// Commits; while the disk is full it waits, and workers that speak meanwhile keep their leases.
    async fn commit(&mut self, rows: &Rows, inbox: &mut mpsc::Receiver<Message>) -> Result<(), MasterError> {
        let mut pause = RETRY.0;
        loop {
            match self.store.append(&rows.group()) {
                Ok(()) => {
                    self.board.send_if_modified(|board| board.full.take().is_some());
                    return Ok(());
                }
                Err(error) if error.is_retryable() && self.own.stop.is_none() => {
                    self.hold_out(&error, pause, inbox).await;
                    pause = (pause * 2).min(RETRY.1);
                }
                Err(source) if source.is_retryable() => return Err(MasterError::Unrecorded { source }),
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn hold_out(&mut self, error: &StoreError, pause: Duration, inbox: &mut mpsc::Receiver<Message>) {
        self.board.send_if_modified(|board| {
            let is_new = board.full.is_none();
            if is_new {
                tracing::error!(%error, "nothing can be recorded until there is space again; workers go on");
                board.full = Some(error.to_string());
            }
            is_new
        });
        let until = tokio::time::Instant::from_std(clock::instant() + pause);
        let mut arrived = Vec::new();
        while self.pipeline.waiting() < KEPT
            && let Ok(1..) = tokio::time::timeout_at(until, inbox.recv_many(&mut arrived, BATCH)).await
        {
            arrived.drain(..).for_each(|message| self.accept(message));
            // Who asks now would wait in vain: the core is ahead of the disk.
            self.own.looks.clear();
            self.pipeline.hold_out(clock::now());
            if self.own.stop.is_some() {
                return;
            }
        }
        tokio::time::sleep_until(until).await;
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Send(conn, message) => self.say(conn, message),
            Effect::Hangup(conn) => drop(self.own.lines.remove(&conn)),
            Effect::Reply(request, answer) => {
                if let Some(answered) = self.own.answers.remove(&request) {
                    // Nobody may be left who waits for it.
                    let _ = answered.send(answer);
                }
            }
            Effect::Turned(_) => {}
            Effect::Cloud(call) => {
                if let Some(cloud) = &self.own.cloud {
                    // Who carried it out may have ended; the next one looks anew.
                    let _ = cloud.send(call);
                }
            }
            Effect::Broken(what) => {
                tracing::error!(what, "the master's state is not as it must be: please report this");
            }
        }
    }

    fn say(&mut self, conn: Conn, message: ToWorker) {
        let message = self.located(message);
        let Some(line) = self.own.lines.get(&conn) else { return };
        if let Err(error) = line.say.try_send(message) {
            if matches!(error, mpsc::error::TrySendError::Full(_)) {
                tracing::warn!(connection = conn.0, "a worker does not read what it is told: hung up");
            }
            self.own.lines.remove(&conn);
            self.pipeline.push(Input::Closed(conn));
        }
    }

    /// The message with absolute results volumes: a worker need not know the data directory.
    fn located(&self, mut message: ToWorker) -> ToWorker {
        if let ToWorker::Update(update) = &mut message {
            let sweeps = update.sweeps.iter_mut().map(|(.., frozen)| frozen);
            for frozen in sweeps.filter(|frozen| frozen.output == Output::InDataDir) {
                let volume = frozen.output.volume_in(&self.data_dir);
                Arc::make_mut(frozen).output = Output::At(volume);
            }
        }
        message
    }

    /// Renews what everybody sees, if it is time or somebody waits for it.
    fn show(&mut self) {
        let now = clock::now();
        let due = self.own.shown.is_none_or(|shown| now.ms_since(shown) >= BOARD_MS);
        self.own.stale = !due && !self.own.turned;
        if self.own.stale {
            return;
        }
        let core = self.pipeline.core();
        let sweeps: Vec<_> =
            core.latest_first().into_iter().filter_map(|sweep| core.status(sweep.id(), now)).collect();
        self.board.send_if_modified(|board| {
            let is_new = *board.sweeps != sweeps;
            if is_new {
                board.sweeps = Arc::new(sweeps);
            }
            is_new
        });
        (self.own.shown, self.own.turned) = (Some(now), false);
    }

    fn snapshot_if_due(&mut self) -> Result<(), MasterError> {
        if self.own.since_snapshot < self.snapshot_every {
            return Ok(());
        }
        self.snapshot()
    }

    /// Keeps the state, so that the next start need not read what led to it. A full disk makes no difference but time.
    fn snapshot(&mut self) -> Result<(), MasterError> {
        let core = self.pipeline.core();
        let bytes = core.snapshot();
        match self.store.snapshot(&Snapshot { seq: core.seq() - 1, bytes: &bytes }) {
            Ok(()) => {}
            Err(error) if error.is_retryable() => tracing::warn!(%error, "no snapshot this time"),
            Err(error) => return Err(error.into()),
        }
        self.own.since_snapshot = 0;
        Ok(())
    }

    fn end(mut self) -> Result<(), MasterError> {
        self.own.lines.clear();
        if self.own.since_snapshot > 0 {
            self.snapshot()?;
        }
        match self.own.is_sound {
            true => self.store.close(),
            false => self.store.idle(),
        }
        drop(self.store);
        if let Some(done) = self.own.stop {
            // Who asked for it may have gone.
            let _ = done.send(());
        }
        Ok(())
    }
}
