//! Where read commands read: a living master, or the journal of a data directory without one.
//! Invariant: both answer alike, in the same types.

pub(crate) mod fold;
pub(crate) mod live;
pub(crate) mod results;
pub(crate) mod target;

use std::path::{Path, PathBuf};
use std::time::Duration;

use gridctl_core::sched::SweepStatus;
use gridctl_master::{Handle, Leaderboard, TrialDetails, Trials};
use gridctl_proto::ask::{LeaderboardQuery, TrialsQuery};
use tokio::runtime::Runtime;

use crate::address::{self, Place};
use crate::exit::{Exit, Failure};
use crate::output;
use crate::settings::Settings;
use gridctl_core::spec::Diagnostic;
use live::Live;

/// A master that has not answered within this time stands still, as far as a person can tell.
const PATIENCE: Duration = Duration::from_secs(3);

/// Something that can be asked.
pub(crate) struct Source {
    runtime: Runtime,
    asked: Asked,
    /// The data directory, where it is known.
    pub(crate) dir: Option<PathBuf>,
}

enum Asked {
    /// A master; its journal is read instead when it stands still, if it was found through its data directory.
    Master { live: Live, journal: Option<PathBuf> },
    /// The journal, for want of a master, or beside one that stands still.
    Journal { handle: Handle, beside_master: bool },
}

impl Source {
    /// The source for someone who looks from `from`: a master that was named, the data directory's, or its journal.
    pub(crate) fn open(settings: &Settings, from: &Path) -> Result<Self, Failure> {
        let runtime = runtime()?;
        if let Some(master) = &settings.master {
            let live = runtime.block_on(Live::connect(&address::named(&master.value)?))?;
            let dir = settings.data_dir.find(from).ok();
            return Ok(Self { runtime, asked: Asked::Master { live, journal: None }, dir });
        }
        let dir = settings.data_dir.find(from)?;
        if let Some(place) = address::advertised(&dir)?
            && let Ok(live) = runtime.block_on(Live::connect(&place))
        {
            let asked = Asked::Master { live, journal: Some(dir.clone()) };
            return Ok(Self { runtime, asked, dir: Some(dir) });
        }
        let inside = runtime.enter();
        let journal = gridctl_master::reading(&dir).map_err(|error| master_failure(&error))?;
        drop(inside);
        let asked = Asked::Journal { handle: journal, beside_master: false };
        Ok(Self { runtime, asked, dir: Some(dir) })
    }

    /// The master alone: for what only a master can do.
    pub(crate) fn master(settings: &Settings, from: &Path) -> Result<MasterSource, Failure> {
        let runtime = runtime()?;
        let place = place(settings, from)?;
        let live = runtime.block_on(Live::connect(&place))?;
        Ok(MasterSource { runtime, live })
    }

    /// Whether a master answers, and not just the journal.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.asked, Asked::Master { .. })
    }

    /// Whether there is no master at all.
    pub(crate) fn is_without_master(&self) -> bool {
        matches!(self.asked, Asked::Journal { beside_master: false, .. })
    }

    /// Every sweep, the latest first.
    pub(crate) fn sweeps(&mut self) -> Result<Vec<SweepStatus>, Failure> {
        match self.ask_master(async |live| live.sweeps().await)? {
            Answer::Master(sweeps) => Ok(sweeps),
            Answer::Ask(handle, _) => Ok(handle.sweeps()),
        }
    }

    /// A sweep at this moment; the latest for the empty name.
    pub(crate) fn status(&mut self, sweep: &str) -> Result<SweepStatus, Failure> {
        match self.ask_master(async |live| live.status(sweep).await)? {
            Answer::Master(status) => Ok(status),
            Answer::Ask(handle, _) => handle.status(sweep).map_err(|error| ask_failure(&error)),
        }
    }

    /// The best points.
    pub(crate) fn leaderboard(&mut self, query: LeaderboardQuery) -> Result<Leaderboard, Failure> {
        match self.ask_master(async |live| live.leaderboard(query.clone()).await)? {
            Answer::Master(board) => Ok(board),
            Answer::Ask(handle, runtime) => {
                runtime.block_on(handle.leaderboard(query)).map_err(|error| ask_failure(&error))
            }
        }
    }

    /// A page of trials.
    pub(crate) fn trials(&mut self, query: TrialsQuery) -> Result<Trials, Failure> {
        match self.ask_master(async |live| live.trials(query.clone()).await)? {
            Answer::Master(page) => Ok(page),
            Answer::Ask(handle, runtime) => {
                runtime.block_on(handle.trials(query)).map_err(|error| ask_failure(&error))
            }
        }
    }

    /// One trial with its attempts.
    pub(crate) fn trial(&mut self, sweep: &str, trial: &str) -> Result<TrialDetails, Failure> {
        match self.ask_master(async |live| live.trial(sweep, trial).await)? {
            Answer::Master(details) => Ok(details),
            Answer::Ask(handle, runtime) => {
                runtime.block_on(handle.trial(sweep, trial)).map_err(|error| ask_failure(&error))
            }
        }
    }

    /// The master's answer. Where there is no master, or one that stands still, the journal is to be asked.
    fn ask_master<T>(
        &mut self,
        call: impl AsyncFnOnce(&mut Live) -> Result<T, Failure>,
    ) -> Result<Answer<'_, T>, Failure> {
        if let Asked::Master { live, journal } = &mut self.asked {
            let Some(dir) = journal else {
                return self.runtime.block_on(patiently(call(live))).map(Answer::Master);
            };
            // The timer is made inside of the runtime.
            let answer = async { tokio::time::timeout(PATIENCE, call(live)).await };
            if let Ok(answer) = self.runtime.block_on(answer) {
                return answer.map(Answer::Master);
            }
            output::say(format_args!(
                "the master of {} does not answer: it stands still, or is very busy; this is what its \
                 journal holds",
                dir.display()
            ));
            let inside = self.runtime.enter();
            let read = gridctl_master::reading_beside_master(dir);
            drop(inside);
            let handle = read.map_err(|error| master_failure(&error))?;
            self.asked = Asked::Journal { handle, beside_master: true };
        }
        match &self.asked {
            Asked::Journal { handle, .. } => Ok(Answer::Ask(handle, &self.runtime)),
            Asked::Master { .. } => Err(no_master(self.dir.as_deref().unwrap_or(Path::new(".")))),
        }
    }
}

/// What [`Source::ask_master`] came to.
enum Answer<'a, T> {
    /// The master's answer.
    Master(T),
    /// The journal is to be asked.
    Ask(&'a Handle, &'a Runtime),
}

/// A master, for what only a master can do.
pub(crate) struct MasterSource {
    runtime: Runtime,
    live: Live,
}

impl MasterSource {
    /// The master's answer; a person who waits for it is told so.
    pub(crate) fn ask<T>(
        &mut self,
        call: impl AsyncFnOnce(&mut Live) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.runtime.block_on(patiently(call(&mut self.live)))
    }
}

/// Waits for an answer, and says so if it takes long.
async fn patiently<T>(answer: impl Future<Output = T>) -> T {
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => return answer,
        () = tokio::time::sleep(PATIENCE) => {}
    }
    output::say(format_args!(
        "the master does not answer yet: it stands still, or is very busy; waiting for {} s at most, \
         Ctrl-C ends it",
        live::ANSWER_WITHIN.as_secs()
    ));
    answer.await
}

/// The master that was named, or the data directory's.
pub(crate) fn place(settings: &Settings, from: &Path) -> Result<Place, Failure> {
    if let Some(master) = &settings.master {
        return address::named(&master.value);
    }
    let dir = settings.data_dir.find(from)?;
    address::advertised(&dir)?.ok_or_else(|| no_master(&dir))
}

/// Nobody serves this directory.
pub(crate) fn no_master(dir: &Path) -> Failure {
    let problem =
        Diagnostic::error("master::unreachable", format!("no master is running for {}", dir.display()))
            .help("`gridctl master` starts one; `gridctl run FILE` needs none");
    Failure::new(Exit::Unreachable, problem)
}

fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::error("runtime", format!("cannot start: {error}")))
}

/// What a master in process, or the journal, says no to.
pub(crate) fn ask_failure(error: &gridctl_master::AskError) -> Failure {
    Failure::error("ask", chain(error)).maybe_help(error.help())
}

/// Why a master did not start.
pub(crate) fn master_failure(error: &gridctl_master::MasterError) -> Failure {
    Failure::error("master", chain(error)).maybe_help(error.help())
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
