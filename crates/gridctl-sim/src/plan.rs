//! What a seed stands for: sizes, speeds and the faults with their times.
//! Invariant: the same seed is the same plan, on every machine and in every build.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A fault that is injected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// The master is killed; what was not durable is lost, or torn.
    KillMaster,
    /// A worker is killed, and another starts on its machine.
    KillWorker,
    /// Master and workers are killed together, as when a laptop's battery dies.
    KillAll,
    /// A worker stands still, and goes on later as if nothing had happened.
    Freeze,
    /// Nothing gets through between a worker and the master, and nobody is told.
    Partition,
    /// A connection breaks, with what was on its way.
    Break,
    /// A message comes twice.
    Duplicate,
    /// A message of a broken connection arrives late.
    Late,
    /// A commit takes ten seconds.
    SlowCommit,
    /// The disk is full for a while.
    NoSpace,
    /// The master is killed, and the newest snapshot is damaged or of another format.
    SpoilSnapshot,
    /// The master is killed, and an event of its log is changed or gone, or the log is cut; a
    /// backup is put back after a while.
    DamageLog,
    /// The master stands still.
    Stall,
    /// A machine fails whatever it is given, at once.
    BadMachine,
    /// A machine can start nothing for a while: it has no processes left, or no room.
    CannotStart,
    /// The results volume is full for a while.
    FullResults,
    /// Nothing may be written to the results volume for a while.
    ReadOnlyResults,
    /// What is written to the results volume is answered with an error, and may be stored.
    UnsureResults,
    /// The results volume takes its time.
    SlowResults,
    /// A worker is asked to end, or all of them.
    Drain,
    /// A person stops a sweep: what is running finishes.
    Stop,
    /// A slot process stands still, and goes on later unless it was given up.
    StopSlot,
    /// A person submits a changed sweep file.
    NewVersion,
    /// A person has trials that failed tried again.
    Retry,
    /// A person pauses the sweep and resumes it.
    PauseResume,
    /// A person cancels the sweep.
    Cancel,
}

/// Every kind of fault.
pub const FAULTS: [Fault; 26] = [
    Fault::KillMaster,
    Fault::KillWorker,
    Fault::KillAll,
    Fault::Freeze,
    Fault::Partition,
    Fault::Break,
    Fault::Duplicate,
    Fault::Late,
    Fault::SlowCommit,
    Fault::NoSpace,
    Fault::SpoilSnapshot,
    Fault::DamageLog,
    Fault::Stall,
    Fault::BadMachine,
    Fault::CannotStart,
    Fault::FullResults,
    Fault::ReadOnlyResults,
    Fault::UnsureResults,
    Fault::SlowResults,
    Fault::Drain,
    Fault::Stop,
    Fault::StopSlot,
    Fault::NewVersion,
    Fault::Retry,
    Fault::PauseResume,
    Fault::Cancel,
];

/// A seed, spelled out.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Sweeps at once.
    pub sweeps: usize,
    /// Trials in each sweep.
    pub trials: i64,
    /// Machines, each with one worker.
    pub workers: usize,
    /// Trials at once on each.
    pub slots: u32,
    /// How long a trial takes at most, in milliseconds.
    pub longest_ms: u64,
    /// The longest way of a message, in milliseconds.
    pub delay_ms: u64,
    /// How long a commit takes at most, in milliseconds.
    pub commit_ms: u64,
    /// Faults with their times, in milliseconds.
    pub faults: Vec<(u64, Fault)>,
    /// No fault after this time, in milliseconds.
    pub calm_ms: u64,
}

impl Plan {
    /// The plan of `seed`.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let calm_ms = rng.random_range(30_000..400_000);
        // A few kinds a seed, so that each is also seen without the others' noise.
        let kinds: Vec<Fault> = FAULTS
            .into_iter()
            .filter(|fault| {
                rng.random_bool(if matches!(fault, Fault::Cancel | Fault::Stop) { 0.1 } else { 0.35 })
            })
            .collect();
        let mut faults = Vec::new();
        for kind in kinds {
            let times = match kind {
                Fault::Cancel | Fault::Stop => 1,
                Fault::NewVersion => rng.random_range(1..3),
                Fault::Duplicate | Fault::Late | Fault::Break => rng.random_range(2..12),
                _ => rng.random_range(1..5),
            };
            for _ in 0..times {
                faults.push((rng.random_range(1_000..calm_ms), kind));
            }
        }
        faults.sort_unstable();
        Self {
            seed,
            sweeps: if rng.random_bool(0.2) { 2 } else { 1 },
            trials: rng.random_range(5..60),
            workers: rng.random_range(1..5),
            slots: rng.random_range(1..4),
            longest_ms: *[20, 300, 5_000, 60_000, 200_000].get(rng.random_range(0..5)).unwrap_or(&5_000),
            delay_ms: *[2, 50, 800].get(rng.random_range(0..3)).unwrap_or(&50),
            commit_ms: *[1, 20, 400].get(rng.random_range(0..3)).unwrap_or(&20),
            faults,
            calm_ms,
        }
    }
}
