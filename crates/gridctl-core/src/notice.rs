//! What a person should know of a sweep beside its phase: conditions that hold now and need a look,
//! or a hand.
//! Invariant: a notice never changes a phase, and the sentence for it is made by the binary alone.

use serde::{Deserialize, Serialize};

use crate::fleet::machines::Hold;
use crate::id::{Time, TrialId};
use crate::record::Doubt;

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Notice {
    /// The journal's disk is full: nothing is decided until there is space; workers go on.
    JournalFull {
        /// What the system says.
        error: String,
    },
    /// The results volume lacks records that the journal holds.
    RecordsNotShipped {
        /// What keeps them from it.
        error: String,
    },
    /// Files that trainers left are not in the results volume: too many, too large, or no ordinary
    /// ones.
    FilesLeftOut {
        /// So many.
        files: u64,
        /// Of so many attempts.
        attempts: u64,
        /// The trial of the first of these attempts.
        first: TrialId,
    },
    /// What trainers printed can be read in two ways.
    Unsure {
        /// Of so many attempts.
        attempts: u64,
        /// The trial of the first of these attempts.
        first: TrialId,
        /// The two ways, for that trial.
        doubt: Doubt,
    },
    /// What trainers on a machine left cannot be written to the results volume. It is kept there
    /// and published when it can be; until then the machine takes no trial.
    ResultsWait {
        /// Its name.
        host: String,
        /// What the volume says.
        error: String,
    },
    /// Attempts were ended by a fault of their machine, a slot that did not answer, say. None cost
    /// its trial's budget for failures.
    MachineFaults {
        /// So many.
        attempts: u64,
        /// The trial of the last one.
        last: TrialId,
        /// What its fault was.
        fault: String,
    },
    /// One file of the workdir changed more than once while several attempts ran there: they
    /// may disturb each other.
    MayDisturb {
        /// The file, relative to the workdir, and others that changed nearly as often.
        files: Vec<String>,
        /// Each has a copy of the workdir, and so reached them by another way.
        isolated: bool,
    },
    /// The same of versions before, in which trials had no copies of the workdir, or otherwise had
    /// some: outcomes of theirs count in this version.
    MayHaveDisturbed {
        /// The files.
        files: Vec<String>,
    },
    /// Trials that differ in one of these axes alone have had the same metrics, to the last bit:
    /// the program may not read it.
    MayBeUnread {
        /// The axes.
        axes: Vec<String>,
    },
    /// A machine could not start a trainer, and takes no trial for a while.
    MachineRests {
        /// Its name.
        host: String,
        /// What it lacked.
        fault: String,
    },
    /// A machine could not start trainers after several rests, and takes no more trials.
    MachineGivenUp {
        /// Its name.
        host: String,
        /// What it lacked.
        fault: String,
    },
    /// A machine cannot prepare what the trials need before they start, and gets none of them.
    CannotRun {
        /// Its name.
        host: String,
        /// What it lacks, or the end of what said so.
        why: String,
    },
    /// No machines are started, though some are missing.
    NoMachines {
        /// What holds the fleet.
        hold: Hold,
        /// What the cloud, or the machines, said last.
        why: Option<String>,
    },
    /// The spot market had no machines, so that some are paid on demand.
    MachinesOnDemand {
        /// So many.
        machines: u64,
    },
    /// No connected worker has what one trial asks for.
    NoWorkerFits {
        /// Thousandths of a processor.
        cpu_milli: u32,
        /// MiB of memory.
        mem_mib: u64,
        /// GPUs.
        gpus: u32,
    },
}

impl Notice {
    /// Whether it speaks of numbers that were recorded: they may not be what was meant.
    #[must_use]
    pub fn is_of_numbers(&self) -> bool {
        matches!(
            self,
            Self::Unsure { .. }
                | Self::MayDisturb { .. }
                | Self::MayHaveDisturbed { .. }
                | Self::MayBeUnread { .. }
        )
    }
}

/// Whether results have waited to be published for longer than is borne where nobody watches.
#[derive(Debug)]
pub struct ResultsPatience {
    longest_ms: u64,
    since: Option<Time>,
}

impl ResultsPatience {
    /// They may wait so many milliseconds without a break.
    #[must_use]
    pub fn new(longest_ms: u64) -> Self {
        Self { longest_ms, since: None }
    }

    /// Whether it is over at `now`, when `notices` hold.
    pub fn is_over(&mut self, now: Time, notices: &[Notice]) -> bool {
        if !notices.iter().any(|notice| matches!(notice, Notice::ResultsWait { .. })) {
            self.since = None;
            return false;
        }
        now.ms_since(*self.since.get_or_insert(now)) >= self.longest_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_may_wait_for_some_time_without_a_break() {
        let wait = [Notice::ResultsWait { host: "m".to_owned(), error: "full".to_owned() }];
        let mut patience = ResultsPatience::new(100);
        let looks: [(u64, &[Notice], bool); 6] = [
            (0, &[], false),
            (50, &wait, false),
            (149, &wait, false),
            (150, &[], false),
            (160, &wait, false),
            (260, &wait, true),
        ];
        for (ms, notices, expected) in looks {
            assert_eq!(patience.is_over(Time(ms), notices), expected, "at {ms}");
        }
    }
}
