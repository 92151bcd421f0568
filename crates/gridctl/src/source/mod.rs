//! Who answers read commands: a living master, or the very same routes over the journal of a data directory without one.
//! Invariant: both answer alike, in the same documents.

pub(crate) mod api;
pub(crate) mod fold;
mod launched;
pub(crate) mod pointer;
pub(crate) mod results;
pub(crate) mod target;

use std::path::{Path, PathBuf};
use std::time::Duration;

use gridctl_core::id::{PackHash, WorkerId};
use gridctl_core::output::Output;
use gridctl_core::sched::Steer;
use gridctl_core::spec::Diagnostic;
use gridctl_core::view::{
    AttemptsPage, AttemptsQuery, CostView, DrainRequest, LATEST, Leaderboard, LeaderboardQuery, OutputEvent,
    ScaleRequest, SteerRequest, SubmitRequest, Submitted, SweepStatus, TokenMade, TokenRequest, TokenView,
    Touched, TrialDetails, TrialsPage, TrialsQuery, TrialsRequest,
};
pub(crate) use gridctl_master::chain;
use gridctl_master::{Handle, MasterError, RebuildFrom};
use gridctl_storage::journal::{Options, living_master};
use gridctl_worker::Address;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::address::{self, MasterAddress};
use crate::exit::{Exit, Failure};
use crate::output;
use crate::runtime;
use crate::settings::Settings;
use api::ApiClient;
use launched::Launched;
use pointer::LaunchPointer;
use results::ResultsPlace;

/// A master that has not answered within this time stands still, as far as a person can tell.
const PATIENCE: Duration = Duration::from_secs(3);

/// Something that can be asked.
pub(crate) struct DataSource {
    runtime: Runtime,
    client: ApiClient,
    asked: Asked,
    /// The data directory, where it is known.
    pub(crate) dir: Option<PathBuf>,
    /// Where the data directory was sought from.
    pub(crate) from: PathBuf,
    /// Where a journal was made of results, for as long as they are looked at.
    _scratch: Option<TempDir>,
}

/// Who answers.
enum Asked {
    /// A master that was named.
    NamedMaster,
    /// The data directory's master; its journal is read instead when it stands still.
    MasterOf(PathBuf),
    /// The journal, beside a master that stands still or cannot be reached.
    BesideMaster,
    /// The journal, for want of a master.
    Journal,
    /// Results by themselves.
    Results,
}

impl DataSource {
    /// The source for someone who looks from `from`: a master that was named, the data directory's, or its journal.
    pub(crate) fn open(settings: &Settings, from: &Path) -> Result<Self, Failure> {
        let runtime = runtime::single()?;
        if let Some(master) = &settings.master {
            let client = runtime.block_on(ApiClient::connect(&address::of(master)?))?;
            let dir = settings.data_dir.find(from).ok();
            return Ok(Self::new((runtime, client), Asked::NamedMaster, dir, from));
        }
        let dir = settings.data_dir.find(from)?;
        if let Some(place) = address::advertised(&dir)?
            && let Ok(client) = runtime.block_on(ApiClient::connect(&place))
        {
            return Ok(Self::new((runtime, client), Asked::MasterOf(dir.clone()), Some(dir), from));
        }
        let Some(pid) = living_master(&dir) else {
            if let Some(pointer) = LaunchPointer::read(&dir)? {
                return match launched::open(&runtime, pointer, &dir)? {
                    Launched::Master(client) => {
                        Ok(Self::new((runtime, client), Asked::NamedMaster, Some(dir), from))
                    }
                    Launched::Over(place) => Self::of_results(&place),
                };
            }
            let client = journal(&runtime, || gridctl_master::reading(&dir))?;
            return Ok(Self::new((runtime, client), Asked::Journal, Some(dir), from));
        };
        output::say(format_args!(
            "{}, but cannot be reached; this is what its journal holds",
            holds(pid, &dir)
        ));
        let client = journal(&runtime, || gridctl_master::reading_beside_master(&dir))?;
        Ok(Self::new((runtime, client), Asked::BesideMaster, Some(dir), from))
    }

    fn new((runtime, client): (Runtime, ApiClient), asked: Asked, dir: Option<PathBuf>, from: &Path) -> Self {
        Self { runtime, client, asked, dir, from: from.to_owned(), _scratch: None }
    }

    /// The source for results by themselves, wherever they lie: the same routes over a journal that is made of them.
    pub(crate) fn of_results(place: &ResultsPlace) -> Result<Self, Failure> {
        if !target::is_name(&place.sweep) {
            let message = format!("{place} is read under the name of its directory, which no sweep can have");
            return Err(Failure::usage("results", message)
                .help("rename or link the directory: a sweep's name has 1 to 63 of a-z, 0-9 and -"));
        }
        let scratch = tempfile::Builder::new().prefix("gridctl-results-").tempdir().map_err(|error| {
            Failure::error("results", format!("no place for a journal of {place}: {error}"))
                .help("set TMPDIR to a directory with room")
        })?;
        let dir = scratch.path().to_owned();
        let from = RebuildFrom {
            url: place.url.clone(),
            sweep: place.sweep.clone(),
            output: Output::At(place.url.clone()),
        };
        let left_out = gridctl_master::read_results(&dir, &from, Options::default())
            .map_err(|error| Failure::error("results", chain(&error)).maybe_help(error.help()))?;
        results::say_damage(place, &left_out);
        let runtime = runtime::single()?;
        let client = journal(&runtime, || gridctl_master::reading(&dir))?;
        let mut source = Self::new((runtime, client), Asked::Results, Some(dir.clone()), &dir);
        source._scratch = Some(scratch);
        Ok(source)
    }

    /// The master alone: for what only a master can do.
    pub(crate) fn master(settings: &Settings, from: &Path) -> Result<MasterSource, Failure> {
        let runtime = runtime::single()?;
        let place = place(settings, from)?;
        let client = runtime.block_on(ApiClient::connect(&place)).map_err(|failure| {
            let dir = settings.data_dir.find(from).ok().filter(|_| settings.master.is_none());
            dir.and_then(|dir| unreachable(&dir)).unwrap_or(failure)
        })?;
        let is_here = matches!(place.address, Address::Unix(_));
        Ok(MasterSource { runtime, client, is_here })
    }

    /// Whether a master answers, and not just the journal.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.asked, Asked::NamedMaster | Asked::MasterOf(_))
    }

    /// Whether there is no master at all.
    pub(crate) fn is_without_master(&self) -> bool {
        matches!(self.asked, Asked::Journal)
    }

    /// Every sweep, the latest first.
    pub(crate) fn sweeps(&mut self) -> Result<Vec<SweepStatus>, Failure> {
        self.get(&["sweeps"], &())
    }

    /// A sweep at this moment; the latest for the empty name.
    pub(crate) fn status(&mut self, sweep: &str) -> Result<SweepStatus, Failure> {
        self.get(&["sweeps", named(sweep)], &())
    }

    /// Hands over a sweep's status as it changes, until the sweep is over or `each` says no.
    pub(crate) fn follow(
        &mut self,
        sweep: &str,
        each: impl FnMut(SweepStatus) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let route = api::route(&["sweeps", named(sweep), "events"]);
        self.runtime.block_on(self.client.follow(&route, each))
    }

    /// Hands over what a trial's present attempt prints, until that is over or `each` says no.
    pub(crate) fn output(
        &mut self,
        sweep: &str,
        trial: &str,
        each: impl FnMut(OutputEvent) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let route = api::route(&["sweeps", named(sweep), "trials", trial, "output"]);
        self.runtime.block_on(self.client.follow(&route, each))
    }

    /// The same for a while at most, and whatever goes wrong; `each` says whether it wants more.
    pub(crate) fn output_within(
        &mut self,
        within: Duration,
        (sweep, trial): (&str, &str),
        mut each: impl FnMut(&OutputEvent) -> bool,
    ) {
        let route = api::route(&["sweeps", named(sweep), "trials", trial, "output"]);
        let follow = self.client.follow(&route, |event: OutputEvent| Ok(each(&event)));
        let limited = async { tokio::time::timeout(within, follow).await };
        drop(self.runtime.block_on(limited));
    }

    /// The best points.
    pub(crate) fn leaderboard(
        &mut self,
        sweep: &str,
        query: &LeaderboardQuery,
    ) -> Result<Leaderboard, Failure> {
        self.get(&["sweeps", named(sweep), "leaderboard"], query)
    }

    /// A page of trials.
    pub(crate) fn trials(&mut self, sweep: &str, query: &TrialsQuery) -> Result<TrialsPage, Failure> {
        self.get(&["sweeps", named(sweep), "trials"], query)
    }

    /// A page of attempts, in the order in which they ended.
    pub(crate) fn attempts(&mut self, sweep: &str, after: u64) -> Result<AttemptsPage, Failure> {
        self.get(&["sweeps", named(sweep), "attempts"], &AttemptsQuery { after })
    }

    /// One trial with its attempts.
    pub(crate) fn trial(&mut self, sweep: &str, trial: &str) -> Result<TrialDetails, Failure> {
        self.get(&["sweeps", named(sweep), "trials", trial], &())
    }

    /// The answer to a question. Where the data directory's master stands still, its journal answers.
    fn get<T: DeserializeOwned>(&mut self, segments: &[&str], query: &impl Serialize) -> Result<T, Failure> {
        let route = api::route(segments);
        let answer = self.client.get(&route, query);
        match &self.asked {
            Asked::NamedMaster => return self.runtime.block_on(patiently(answer)),
            Asked::Journal | Asked::BesideMaster | Asked::Results => return self.runtime.block_on(answer),
            Asked::MasterOf(dir) => {
                // The timer is made inside of the runtime.
                let answer = async { tokio::time::timeout(PATIENCE, answer).await };
                if let Ok(answer) = self.runtime.block_on(answer) {
                    return answer;
                }
                output::say(format_args!(
                    "the master of {} does not answer: it stands still, or is very busy; this is what its \
                     journal holds",
                    dir.display()
                ));
                self.client = journal(&self.runtime, || gridctl_master::reading_beside_master(dir))?;
            }
        }
        self.asked = Asked::BesideMaster;
        self.runtime.block_on(self.client.get(&route, query))
    }
}

/// The routes over a journal.
fn journal(
    runtime: &Runtime,
    read: impl FnOnce() -> Result<Handle, MasterError>,
) -> Result<ApiClient, Failure> {
    let _inside = runtime.enter();
    let handle = read().map_err(|error| master_failure(&error))?;
    Ok(ApiClient::here(gridctl_master::api::router(handle)))
}

/// The sweep's name as a route wants it.
fn named(sweep: &str) -> &str {
    if sweep.is_empty() { LATEST } else { sweep }
}

/// A master, for what only a master can do. A person who waits for it is told so.
pub(crate) struct MasterSource {
    runtime: Runtime,
    client: ApiClient,
    /// It is asked by its socket, and sees the files that are seen here.
    pub(crate) is_here: bool,
}

impl MasterSource {
    /// A sweep at this moment; the latest for the empty name.
    pub(crate) fn status(&mut self, sweep: &str) -> Result<SweepStatus, Failure> {
        let route = api::route(&["sweeps", named(sweep)]);
        self.runtime.block_on(patiently(self.client.get(&route, &())))
    }

    /// Brings a pack, unless the master has it; whether it had it.
    pub(crate) fn bring(&mut self, pack: PackHash, bytes: Vec<u8>) -> Result<bool, Failure> {
        if self.runtime.block_on(patiently(self.client.has_pack(pack)))? {
            return Ok(true);
        }
        self.runtime.block_on(self.client.bring_pack(pack, bytes.into()))?;
        Ok(false)
    }

    /// Submits a sweep.
    pub(crate) fn submit(&mut self, request: &SubmitRequest) -> Result<Submitted, Failure> {
        self.post(&["sweeps"], request)
    }

    /// Pauses, resumes, stops or cancels a sweep.
    pub(crate) fn steer(&mut self, sweep: &str, steer: Steer) -> Result<Touched, Failure> {
        self.post(&["sweeps", named(sweep), "steer"], &SteerRequest { steer })
    }

    /// Tries trials again; how many.
    pub(crate) fn retry(&mut self, sweep: &str, trials: &[String]) -> Result<Touched, Failure> {
        let request = TrialsRequest { trials: trials.to_vec() };
        self.post(&["sweeps", named(sweep), "retry"], &request)
    }

    /// Ends trials that run; how many.
    pub(crate) fn cancel_trials(&mut self, sweep: &str, trials: &[String]) -> Result<Touched, Failure> {
        let request = TrialsRequest { trials: trials.to_vec() };
        self.post(&["sweeps", named(sweep), "cancel-trials"], &request)
    }

    /// The workers.
    pub(crate) fn workers(&mut self) -> Result<Vec<serde_json::Value>, Failure> {
        let route = api::route(&["workers"]);
        self.runtime.block_on(patiently(self.client.get(&route, &())))
    }

    /// What the machines have cost.
    pub(crate) fn cost(&mut self) -> Result<CostView, Failure> {
        let route = api::route(&["cost"]);
        self.runtime.block_on(patiently(self.client.get(&route, &())))
    }

    /// Allows so many machines at most.
    pub(crate) fn scale(&mut self, machines: u32) -> Result<(), Failure> {
        self.post(&["workers", "scale"], &ScaleRequest { machines })
    }

    /// Shuts a worker out.
    pub(crate) fn revoke_worker(&mut self, worker: WorkerId) -> Result<Touched, Failure> {
        self.post(&["workers", &worker.to_string(), "revoke"], &())
    }

    /// Has a worker kill itself, or act as if its machine would be taken away.
    pub(crate) fn strike(&mut self, worker: WorkerId, interrupts: bool) -> Result<Touched, Failure> {
        self.post(&["workers", &worker.to_string(), if interrupts { "interrupt" } else { "kill" }], &())
    }

    /// Makes a token.
    pub(crate) fn make_token(&mut self, request: &TokenRequest) -> Result<TokenMade, Failure> {
        self.post(&["tokens"], request)
    }

    /// The tokens that are good.
    pub(crate) fn tokens(&mut self) -> Result<Vec<TokenView>, Failure> {
        let route = api::route(&["tokens"]);
        self.runtime.block_on(patiently(self.client.get(&route, &())))
    }

    /// Takes a token back.
    pub(crate) fn revoke_token(&mut self, id: &str) -> Result<Touched, Failure> {
        self.post(&["tokens", id, "revoke"], &())
    }

    /// Asks every worker to end.
    pub(crate) fn drain(&mut self, grace: Duration) -> Result<(), Failure> {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        self.post(&["workers", "drain"], &DrainRequest { grace_ms })
    }

    fn post<T: DeserializeOwned>(
        &mut self,
        segments: &[&str],
        document: &impl Serialize,
    ) -> Result<T, Failure> {
        let route = api::route(segments);
        self.runtime.block_on(patiently(self.client.post(&route, document)))
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
        api::ANSWER_WITHIN.as_secs()
    ));
    answer.await
}

/// The master that was named, or the data directory's.
pub(crate) fn place(settings: &Settings, from: &Path) -> Result<MasterAddress, Failure> {
    if let Some(master) = &settings.master {
        return address::of(master);
    }
    let dir = settings.data_dir.find(from)?;
    let launched = match living_master(&dir) {
        Some(_) => None,
        None => LaunchPointer::read(&dir)?,
    };
    if let Some(place) = launched.map(|pointer| pointer.place()).transpose()?.flatten() {
        return Ok(place);
    }
    address::advertised(&dir)?.ok_or_else(|| no_master(&dir))
}

/// A master that holds `dir`, in words.
fn holds(pid: u32, dir: &Path) -> String {
    format!("a master, process {pid}, holds {}", dir.display())
}

/// A master holds this directory, and its socket leads nowhere.
fn unreachable(dir: &Path) -> Option<Failure> {
    let pid = living_master(dir)?;
    let problem =
        Diagnostic::error("master::unreachable", format!("{}, but cannot be reached", holds(pid, dir))).help(
            format!(
                "its socket was removed or is not readable: end it with `kill {pid}`, which loses nothing, \
                 and start it again"
            ),
        );
    Some(Failure::new(Exit::Unreachable, problem))
}

/// Nobody serves this directory.
pub(crate) fn no_master(dir: &Path) -> Failure {
    if let Some(failure) = unreachable(dir) {
        return failure;
    }
    let problem =
        Diagnostic::error("master::unreachable", format!("no master is running for {}", dir.display()))
            .help("`gridctl master` starts one; `gridctl run FILE` needs none");
    Failure::new(Exit::Unreachable, problem)
}

/// What a master in process, or the journal, says no to.
pub(crate) fn ask_failure(error: &gridctl_master::AskError) -> Failure {
    Failure::error("ask", chain(error)).maybe_help(error.help())
}

/// Why a master did not start.
pub(crate) fn master_failure(error: &gridctl_master::MasterError) -> Failure {
    Failure::error("master", chain(error)).maybe_help(error.help())
}
