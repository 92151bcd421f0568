//! Where read commands read: a living master, or the journal of a data directory without one.
//! Invariant: both answer alike, in the same types.

pub(crate) mod fold;
pub(crate) mod live;
pub(crate) mod results;
pub(crate) mod target;

use std::path::{Path, PathBuf};

use gridctl_core::sched::SweepStatus;
use gridctl_master::{Handle, Leaderboard, TrialDetails, Trials};
use gridctl_proto::ask::{LeaderboardQuery, TrialsQuery};
use tokio::runtime::Runtime;

use crate::address::{self, Place};
use crate::exit::{Exit, Failure};
use crate::settings::Settings;
use gridctl_core::spec::Diagnostic;
use live::Live;

/// Something that can be asked.
pub(crate) struct Source {
    runtime: Runtime,
    asked: Asked,
    /// The data directory, where it is known.
    pub(crate) dir: Option<PathBuf>,
}

enum Asked {
    /// A master.
    Master(Live),
    /// The journal.
    Journal(Handle),
}

impl Source {
    /// The source for someone who looks from `from`: a master that was named, the data directory's, or its journal.
    pub(crate) fn open(settings: &Settings, from: &Path) -> Result<Self, Failure> {
        let runtime = runtime()?;
        if let Some(master) = &settings.master {
            let master = runtime.block_on(Live::connect(&address::named(&master.value)?))?;
            let dir = settings.data_dir.find(from).ok();
            return Ok(Self { runtime, asked: Asked::Master(master), dir });
        }
        let dir = settings.data_dir.find(from)?;
        if let Some(place) = address::advertised(&dir)?
            && let Ok(master) = runtime.block_on(Live::connect(&place))
        {
            return Ok(Self { runtime, asked: Asked::Master(master), dir: Some(dir) });
        }
        let inside = runtime.enter();
        let journal = gridctl_master::reading(&dir).map_err(|error| master_failure(&error))?;
        drop(inside);
        Ok(Self { runtime, asked: Asked::Journal(journal), dir: Some(dir) })
    }

    /// The master alone: for what only a master can do.
    pub(crate) fn master(settings: &Settings, from: &Path) -> Result<(Runtime, Live), Failure> {
        let runtime = runtime()?;
        let place = place(settings, from)?;
        let live = runtime.block_on(Live::connect(&place))?;
        Ok((runtime, live))
    }

    /// Whether a master answers, and not just the journal.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.asked, Asked::Master(_))
    }

    /// Every sweep, the latest first.
    pub(crate) fn sweeps(&mut self) -> Result<Vec<SweepStatus>, Failure> {
        match &mut self.asked {
            Asked::Master(live) => self.runtime.block_on(live.sweeps()),
            Asked::Journal(handle) => Ok(handle.sweeps()),
        }
    }

    /// A sweep at this moment; the latest for the empty name.
    pub(crate) fn status(&mut self, sweep: &str) -> Result<SweepStatus, Failure> {
        match &mut self.asked {
            Asked::Master(live) => self.runtime.block_on(live.status(sweep)),
            Asked::Journal(handle) => handle.status(sweep).map_err(|error| ask_failure(&error)),
        }
    }

    /// The best points.
    pub(crate) fn leaderboard(&mut self, query: LeaderboardQuery) -> Result<Leaderboard, Failure> {
        match &mut self.asked {
            Asked::Master(live) => self.runtime.block_on(live.leaderboard(query)),
            Asked::Journal(handle) => {
                self.runtime.block_on(handle.leaderboard(query)).map_err(|error| ask_failure(&error))
            }
        }
    }

    /// A page of trials.
    pub(crate) fn trials(&mut self, query: TrialsQuery) -> Result<Trials, Failure> {
        match &mut self.asked {
            Asked::Master(live) => self.runtime.block_on(live.trials(query)),
            Asked::Journal(handle) => {
                self.runtime.block_on(handle.trials(query)).map_err(|error| ask_failure(&error))
            }
        }
    }

    /// One trial with its attempts.
    pub(crate) fn trial(&mut self, sweep: &str, trial: &str) -> Result<TrialDetails, Failure> {
        match &mut self.asked {
            Asked::Master(live) => self.runtime.block_on(live.trial(sweep, trial)),
            Asked::Journal(handle) => {
                self.runtime.block_on(handle.trial(sweep, trial)).map_err(|error| ask_failure(&error))
            }
        }
    }
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
