//! What a master can be asked, in process and by its services alike. Invariant: every answer is about durable state.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use gridctl_core::id::{SweepId, Time, TrialId, WorkerId};
use gridctl_core::leaderboard::Brief;
use gridctl_core::sched::{
    Answer, Conn, Core, Input, PauseReason, Refusal, Request, Steer, SweepState, SweepStatus, TrialPlace,
    WorkerView,
};
use gridctl_storage::pack::PackStore;
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::AskError;
use crate::live::{Blow, LiveHub};
use crate::message::{Board, Message};
use crate::query::Readers;
use crate::ship::Shipper;

/// So many sweeps are named where an unknown one was asked for.
const NAMED: usize = 5;

/// A master that can be asked. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    pub(crate) inbox: mpsc::Sender<Message>,
    pub(crate) board: watch::Receiver<Board>,
    pub(crate) shared: Arc<Shared>,
}

/// What all handles share.
pub(crate) struct Shared {
    pub(crate) data_dir: PathBuf,
    pub(crate) readers: Readers,
    pub(crate) shipper: Shipper,
    pub(crate) packs: PackStore,
    /// One submission at a time: who is first claims the results.
    pub(crate) submitting: tokio::sync::Mutex<()>,
    pub(crate) last_conn: AtomicU64,
    /// Output that somebody follows.
    pub(crate) live: LiveHub,
    /// Why the master cannot go on, once that is so.
    pub(crate) failure: Arc<OnceLock<String>>,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("data_dir", &self.shared.data_dir).finish_non_exhaustive()
    }
}

impl Handle {
    /// The data directory.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.shared.data_dir
    }

    pub(crate) fn next_conn(&self) -> Conn {
        Conn(self.shared.last_conn.fetch_add(1, Ordering::Relaxed) + 1)
    }

    pub(crate) async fn tell(&self, message: Message) -> Result<(), AskError> {
        self.inbox.send(message).await.map_err(|_| self.why_no_answer())
    }

    /// Looks at durable state.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Core, Time) -> T + Send + 'static,
    ) -> Result<T, AskError> {
        let (answer, answered) = oneshot::channel();
        let look = move |core: &Core, now| {
            // Nobody may be left who waits for it.
            let _ = answer.send(look(core, now));
        };
        self.tell(Message::Look(Box::new(look))).await?;
        answered.await.map_err(|_| self.why_no_answer())
    }

    fn why_no_answer(&self) -> AskError {
        if let Some(why) = self.shared.failure.get() {
            return AskError::Failed(why.clone());
        }
        self.board.borrow().full.clone().map_or(AskError::Ending, AskError::DiskFull)
    }

    pub(crate) async fn answer(
        &self,
        answered: oneshot::Receiver<Result<Answer, Refusal>>,
    ) -> Result<Answer, AskError> {
        Ok(answered.await.map_err(|_| self.why_no_answer())??)
    }

    pub(crate) async fn ask(
        &self,
        input: impl FnOnce(Request) -> Input + Send + 'static,
    ) -> Result<u64, AskError> {
        let (answer, answered) = oneshot::channel();
        self.tell(Message::Ask(Box::new(input), answer)).await?;
        match self.answer(answered).await? {
            Answer::Done(touched) => Ok(touched),
            Answer::Submitted { .. } => Ok(0),
        }
    }

    /// The sweep of this name; the latest for the empty one.
    ///
    /// # Errors
    /// There is none.
    pub fn resolve(&self, name: &str) -> Result<SweepStatus, AskError> {
        let board = self.board.borrow();
        let mut sweeps = board.sweeps.iter();
        let found = if name.is_empty() { sweeps.next() } else { sweeps.find(|sweep| sweep.sweep == name) };
        match found {
            Some(status) => Ok(self.with_notices(&board, status)),
            None if board.sweeps.is_empty() => Err(AskError::NoSweep),
            None => Err(AskError::UnknownSweep {
                name: name.chars().take(80).collect(),
                there_are: board.sweeps.iter().take(NAMED).map(|sweep| sweep.sweep.clone()).collect(),
                more: board.sweeps.len().saturating_sub(NAMED),
            }),
        }
    }

    /// The number of the sweep of this name.
    pub(crate) fn id_of(&self, name: &str) -> Result<SweepId, AskError> {
        self.resolve(name)?.id.ok_or(AskError::NoSweep)
    }

    /// The status of every sweep, the latest first.
    #[must_use]
    pub fn sweeps(&self) -> Vec<SweepStatus> {
        let board = self.board.borrow();
        board.sweeps.iter().map(|status| self.with_notices(&board, status)).collect()
    }

    fn with_notices(&self, board: &Board, status: &SweepStatus) -> SweepStatus {
        let mut status = board.with_notices(status.clone());
        status.notices.extend(status.id.and_then(|id| self.shared.shipper.notice(id)));
        status
    }

    /// A sweep at this moment.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn status(&self, name: &str) -> Result<SweepStatus, AskError> {
        self.resolve(name)
    }

    /// Waits until a sweep is over or paused, and returns its status.
    ///
    /// # Errors
    /// There is no such sweep, or the master is ending.
    pub async fn wait_turned(&self, sweep: SweepId) -> Result<SweepStatus, AskError> {
        let mut board = self.board.clone();
        loop {
            let status = board.borrow_and_update().status(sweep);
            match status {
                Some(status) if status.state.is_over() || status.state == SweepState::Paused => {
                    return Ok(status);
                }
                Some(_) => {}
                None => return Err(Refusal::UnknownSweep(sweep).into()),
            }
            board.changed().await.map_err(|_| self.why_no_answer())?;
        }
    }

    /// Waits until something changed that everybody may see; at most so long.
    ///
    /// # Errors
    /// The master is ending.
    pub async fn changed(&mut self, at_most: Duration) -> Result<(), AskError> {
        match tokio::time::timeout(at_most, self.board.changed()).await {
            Ok(Err(_)) => Err(self.why_no_answer()),
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }

    /// Records from before this master's start that it has shipped since the last call, by sweep.
    #[must_use]
    pub fn shipped_late(&self) -> Vec<(String, u64)> {
        self.shared.shipper.take_late()
    }

    /// Pauses, resumes, stops or cancels a sweep; returns whether that made a difference.
    ///
    /// # Errors
    /// There is no such sweep, or it is over.
    pub async fn steer(&self, name: &str, steer: Steer) -> Result<u64, AskError> {
        let sweep = self.id_of(name)?;
        self.ask(move |request| Input::Steer(request, sweep, steer)).await
    }

    /// Tries trials again that ended without success; returns how many.
    ///
    /// # Errors
    /// There is no such sweep or trial, or one of them did not end so.
    pub async fn retry(&self, name: &str, trials: Vec<TrialId>) -> Result<u64, AskError> {
        let sweep = self.id_of(name)?;
        let places = self.read(move |reader| {
            let place = |trial: TrialId| {
                let last = reader.attempts_of(sweep.0, trial)?.pop();
                let brief = last.and_then(|row| serde_json::from_str::<Brief>(&row.record).ok());
                Ok(TrialPlace { trial, point: brief.map(|brief| (brief.params.clone(), brief.seed())) })
            };
            trials.into_iter().map(place).collect::<Result<Vec<_>, AskError>>()
        });
        let places = places.await?;
        self.ask(move |request| Input::Retry(request, sweep, places)).await
    }

    /// Ends trials that run; returns how many.
    ///
    /// # Errors
    /// There is no such sweep, or one of the trials does not run.
    pub async fn cancel_trials(&self, name: &str, trials: Vec<TrialId>) -> Result<u64, AskError> {
        let sweep = self.id_of(name)?;
        self.ask(move |request| Input::CancelTrials(request, sweep, trials)).await
    }

    /// Every worker that is connected or holds leases.
    ///
    /// # Errors
    /// The disk is full, or the master is ending.
    pub async fn workers(&self) -> Result<Vec<WorkerView>, AskError> {
        self.look(|core, _| core.workers()).await
    }

    /// The fleet knows that this worker's process has ended.
    ///
    /// # Errors
    /// The master is ending.
    pub async fn gone(&self, worker: WorkerId) -> Result<(), AskError> {
        self.tell(Message::Input(Input::Gone(worker))).await
    }

    /// Does this to a worker; false if none of this name can be asked.
    #[must_use]
    pub fn strike(&self, worker: WorkerId, blow: Blow) -> bool {
        self.shared.live.strike(worker, blow)
    }

    /// Pauses every sweep that is granted from, but the one of this name.
    ///
    /// # Errors
    /// The master is ending.
    pub async fn set_aside(&self, except: &str) -> Result<(), AskError> {
        self.tell(Message::Input(Input::SetAside { except: except.to_owned() })).await
    }

    /// Pauses every sweep that is granted from, because nothing more can be done without a person.
    ///
    /// # Errors
    /// The master is ending.
    pub async fn pause_all(&self, reason: PauseReason) -> Result<(), AskError> {
        self.tell(Message::Input(Input::PauseAll(reason))).await
    }

    /// Every worker that held leases before this start has been ended.
    ///
    /// # Errors
    /// The master is ending.
    pub async fn orphans_ended(&self) -> Result<(), AskError> {
        self.tell(Message::Input(Input::OrphansEnded)).await
    }

    /// Asks every worker to end what it runs within `grace`, and to go.
    ///
    /// # Errors
    /// The master is ending.
    pub async fn ask_to_drain(&self, grace: Duration) -> Result<(), AskError> {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        self.tell(Message::Input(Input::Drain { grace_ms })).await
    }

    /// Asks every worker to end, and waits until all have gone; at most `grace` and ten seconds.
    /// Returns whether they have.
    ///
    /// # Errors
    /// The disk is full, or the master is ending.
    pub async fn drain(&self, grace: Duration) -> Result<bool, AskError> {
        self.ask_to_drain(grace).await?;
        let gone = async {
            while self.workers().await?.iter().any(|worker| worker.connected) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        };
        match tokio::time::timeout(grace + Duration::from_secs(10), gone).await {
            Ok(gone) => gone.map(|()| true),
            Err(_) => Ok(false),
        }
    }
}
