//! What master and worker say to each other, as plain types: `gridctl-proto` puts them on the wire,
//! the simulator delivers them as they are.
//! Invariant: durations and never wall times; a `Hello` is the whole truth about the worker, an
//! `Update` what changed since.

use serde::{Deserialize, Serialize};

use crate::id::{CodeHash, Epoch, Fingerprint, LeaseSeq, PackHash, SweepId, Token, TrialId, WorkerId};
use crate::machine::MachineHealth;
use crate::output::Output;
use crate::record::Report;
use crate::s3_url::S3Url;
use crate::spec::{Resources, SweepSpec};
use crate::value::Params;

/// The protocol's version; a master refuses a worker of another one.
pub const PROTOCOL: u32 = 2;

/// Attempts that a worker can hold: as many as one `Hello` can name.
pub const MAX_HELD: usize = 65_536;

/// One version of a sweep, frozen when it was submitted: everything that its trials need beside
/// their parameters. One that is read back from bytes has been checked again, whoever wrote them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct FrozenSweep {
    /// The sweep's own name for ever, made when it was first submitted; claims the results volume.
    pub uuid: String,
    /// What the file says.
    pub spec: SweepSpec,
    /// The text of the file, kept for people.
    pub source: String,
    /// The sweep file, relative to the data directory: by it a sweep is told from another file's of
    /// the same name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Where code and data are: never compared, since content is what makes a version.
    pub sources: Sources,
    /// The results volume, never compared.
    pub output: Output,
    /// `env:` with the values that are passed on filled in; no secrets.
    pub env: Vec<(String, String)>,
    /// The code's mark.
    pub code: CodeHash,
    /// [`crate::metrics::READER_RULE`] of the release that froze it; 0 of one that did not say.
    #[serde(default)]
    pub reader: u32,
    /// What `code` was made from, so that a change can be named: files of the workdir by relative
    /// path, the data as the sweep file names it, each with its hash.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<(String, String)>,
}

impl FrozenSweep {
    /// Where the data lies in S3, and the version that was found there, if it does.
    #[must_use]
    pub fn s3_data(&self) -> Option<(S3Url, &str)> {
        let name = self.spec.data.as_ref()?;
        let url = name.parse().ok()?;
        let (_, version) = self.files.iter().find(|(file, _)| file == name)?;
        Some((url, version))
    }

    /// What the image was pinned to when the sweep was submitted: `name@sha256:...` where a registry
    /// has it, else the `sha256:...` that names it on the machine where it was made.
    #[must_use]
    pub fn image_pin(&self) -> Option<&str> {
        let name = self.spec.image.as_ref()?;
        self.files.iter().find(|(file, _)| file == name).map(|(_, pin)| pin.as_str())
    }
}

/// Where a version's code and data are found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sources {
    /// The absolute directory of the sweep file, where trials start that have no code.
    pub base: String,
    /// The code, if there is some.
    #[serde(rename = "workdir")]
    pub code: Option<Code>,
    /// The absolute directory of the data, if there is one.
    pub data: Option<String>,
}

/// Where code is found. Older versions of gridctl know directories alone, and refuse a pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Code {
    /// An absolute directory, which every worker sees.
    Dir(String),
    /// A pack that the master keeps: each attempt starts in a copy of what is in it.
    Pack {
        /// Its name.
        pack: PackHash,
    },
}

impl Sources {
    /// The directory of the code, if it is one.
    #[must_use]
    pub fn workdir(&self) -> Option<&str> {
        match &self.code {
            Some(Code::Dir(dir)) => Some(dir),
            Some(Code::Pack { .. }) | None => None,
        }
    }

    /// The pack that the code is in, if it is in one.
    #[must_use]
    pub fn pack(&self) -> Option<PackHash> {
        match &self.code {
            Some(Code::Pack { pack }) => Some(*pack),
            Some(Code::Dir(_)) | None => None,
        }
    }

    /// The directory in which trials start whose code is in no pack.
    #[must_use]
    pub fn start_dir(&self) -> &str {
        self.workdir().unwrap_or(&self.base)
    }
}

/// What a worker can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// Thousandths of a processor; with `--slots N` it is N times 1000 and a trial takes 1000
    /// whatever it asks.
    pub cpu_milli: u32,
    /// MiB of memory.
    pub mem_mib: u64,
    /// GPUs.
    pub gpus: u32,
    /// `--slots N`: exactly so many trials at once, whatever processors they ask for; 0: as many as
    /// fit.
    pub slots: u32,
}

/// From a worker to its master.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToMaster {
    /// First on every connection.
    Hello(Hello),
    /// At each heartbeat, and when there is something to say.
    Update(WorkerUpdate),
}

/// The whole truth about a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// The version of gridctl.
    pub release: String,
    /// Who it is.
    pub worker: WorkerId,
    /// The machine's name: two workers on one machine say the same.
    pub host: String,
    /// What it can hold.
    pub capacity: Capacity,
    /// Every attempt that it holds, queued or running, and has not reported.
    pub held: Vec<(Token, SweepId, TrialId)>,
    /// Every report that it has not heard to be recorded.
    pub reports: Vec<Report>,
    /// How many trials it will hold beyond what fits at once.
    pub prefetch: u32,
    /// It takes no new trials.
    pub draining: bool,
    /// How its machine is.
    pub health: MachineHealth,
    /// Versions that it cannot run.
    pub cannot_run: Vec<CannotRun>,
    /// The machine of a fleet that it is on.
    pub machine: Option<String>,
    /// Its machine is to be taken away.
    pub taken: bool,
}

/// A version of a sweep that a worker cannot run, through no fault of any trial's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CannotRun {
    /// The sweep.
    pub sweep: SweepId,
    /// The version.
    pub version: u32,
    /// What it lacks, or the end of what said so.
    pub why: String,
}

/// So many versions that it cannot run are remembered by a worker, the last ones.
pub const MAX_CANNOT_RUN: usize = 16;

/// What changed. An empty one is a heartbeat.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct WorkerUpdate {
    /// Ends of attempts.
    pub reports: Vec<Report>,
    /// Latest objective values of attempts that go on, for people: (lease, step, value).
    pub progress: Vec<(LeaseSeq, i64, f64)>,
    /// A new `prefetch`.
    pub prefetch: Option<u32>,
    /// It takes no new trials from now on.
    pub draining: bool,
    /// How its machine is from now on.
    pub health: Option<MachineHealth>,
    /// All versions that it cannot run from now on.
    pub cannot_run: Option<Vec<CannotRun>>,
    /// Its machine is to be taken away.
    pub taken: bool,
    /// It holds nothing and goes; the master closes.
    pub bye: bool,
    /// The master answers at once, if only with an empty update: a heartbeat asks, so that a dead
    /// link is noticed.
    pub ping: bool,
}

/// From the master to a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToWorker {
    /// First on every connection.
    Welcome(Welcome),
    /// What changed.
    Update(MasterUpdate),
    /// The last word on a connection: the worker is not wanted, and why. It ends.
    Refused(String),
}

/// The master's timing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The master's epoch; a worker that has seen a higher one hangs up.
    pub epoch: Epoch,
    /// A lease ends after so much silence.
    pub ttl_ms: u64,
    /// Between heartbeats.
    pub heartbeat_ms: u64,
    /// After so long without a master a worker ends its trials and itself.
    pub orphan_after_ms: u64,
}

/// What the master has to say; an empty one is an answer to a ping.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct MasterUpdate {
    /// Versions that grants here or later refer to, each sent once on a connection before its first
    /// grant.
    pub sweeps: Vec<(SweepId, u32, std::sync::Arc<FrozenSweep>)>,
    /// New trials.
    pub grants: Vec<Grant>,
    /// Reports that are recorded: the worker forgets them.
    pub recorded: Vec<LeaseSeq>,
    /// Leases that are no longer the worker's: it ends the attempt, if it goes on, and forgets it.
    pub fenced: Vec<LeaseSeq>,
    /// Attempts to end by SIGTERM, grace, SIGKILL; they end as `cancelled` and are reported.
    pub cancel: Vec<LeaseSeq>,
    /// Take nothing more, end what runs within so many milliseconds as `drained`, report, say bye.
    pub drain_ms: Option<u64>,
}

/// A trial on lease.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Grant {
    /// The token.
    pub token: Token,
    /// The sweep.
    pub sweep: SweepId,
    /// The version that `index` is a place in.
    pub version: u32,
    /// The trial.
    pub trial: TrialId,
    /// Its place in this version.
    pub index: u64,
    /// Its parameters.
    pub params: Params,
    /// `GRID_REPEAT`.
    pub repeat: u32,
    /// Its fingerprint: the name of its checkpoints.
    pub fingerprint: Fingerprint,
    /// What it takes.
    pub resources: Resources,
}
