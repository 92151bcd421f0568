//! What goes wrong, and how.
//! Invariant: a fault that finds nothing to hit is not counted.

use gridctl_core::id::{SweepId, WorkerId};
use gridctl_core::sched::{Conn, Input, Steer};
use gridctl_storage::volume::VolumeFault;
use rand::RngExt;

use super::{Happens, World};
use crate::audit::Violation;
use crate::plan::Fault;

impl World {
    pub(super) fn inject(&mut self, fault: Fault) -> Result<(), Violation> {
        let hit = match fault {
            Fault::KillMaster => self.kill_if_alive()?,
            Fault::KillWorker => self.hit_worker(Self::kill_worker),
            Fault::KillAll => {
                let all: Vec<WorkerId> = self.workers.keys().copied().collect();
                all.into_iter().for_each(|worker| self.kill_worker(worker));
                self.kill_if_alive()?
            }
            Fault::Freeze => self.hit_worker(|world, worker| {
                let pause = world.rng.random_range(500..120_000);
                world.queue.after(pause, Happens::Thaws { worker });
                if let Some(process) = world.workers.get_mut(&worker) {
                    process.frozen = true;
                }
            }),
            Fault::Partition => {
                self.befall_machine(500, |world| &mut world.cut, |machine| Happens::Heals { machine })
            }
            Fault::Break => self.hit_conn(Self::break_conn),
            Fault::Duplicate => {
                self.duplicate_next = true;
                true
            }
            Fault::Late => {
                self.late = true;
                self.hit_conn(Self::break_conn)
            }
            Fault::SlowCommit => {
                self.slow = true;
                self.master.is_some()
            }
            Fault::NoSpace => {
                self.full = true;
                let pause = self.rng.random_range(1_000..90_000);
                self.queue.after(pause, Happens::SpaceAgain);
                true
            }
            Fault::SpoilSnapshot => self.spoil_snapshot()?,
            Fault::DamageLog => self.damage_log()?,
            Fault::Stall => self.stall_master(),
            Fault::BadMachine => {
                self.befall_machine(10_000, |world| &mut world.bad, |machine| Happens::Mended { machine })
            }
            Fault::CannotStart => self.befall_machine(
                5_000,
                |world| &mut world.unable,
                |machine| Happens::AbleAgain { machine },
            ),
            Fault::FullResults | Fault::ReadOnlyResults | Fault::UnsureResults | Fault::SlowResults => {
                self.mend_results(Some(fault));
                // It is counted once it hits something.
                false
            }
            Fault::Drain => self.drain()?,
            Fault::Stop => self.hit_sweep(|world, sweep| world.steer(sweep, Steer::Stop)),
            Fault::StopSlot => self.stop_slot(),
            Fault::NewVersion => self.hit_sweep(Self::submit_changed),
            Fault::Retry => self.retry_failed(),
            Fault::PauseResume => self.hit_sweep(|world, sweep| {
                world.steer(sweep, Steer::Pause);
                world.queue.after(20_000, Happens::Resumes);
            }),
            Fault::Cancel => self.hit_sweep(|world, sweep| world.steer(sweep, Steer::Cancel)),
        };
        if hit {
            *self.injected.entry(fault).or_default() += 1;
        }
        Ok(())
    }

    fn stall_master(&mut self) -> bool {
        let until = self.queue.now() + self.rng.random_range(1_000..60_000);
        let Some(master) = self.master.as_mut() else { return false };
        master.stalled_until = until;
        true
    }

    /// A machine is as `flags` say for a while, at least `shortest_ms`.
    fn befall_machine(
        &mut self,
        shortest_ms: u64,
        flags: fn(&mut Self) -> &mut Vec<bool>,
        over: fn(usize) -> Happens,
    ) -> bool {
        let machine = self.rng.random_range(0..self.plan.workers);
        let pause = self.rng.random_range(shortest_ms..120_000);
        flags(self)[machine] = true;
        self.queue.after(pause, over(machine));
        true
    }

    /// What befell the results volume is over; perhaps something else begins.
    pub(super) fn mend_results(&mut self, next: Option<Fault>) {
        if self.volume.take_hits() > 0
            && let Some(fault) = self.volume_fault
        {
            *self.injected.entry(fault).or_default() += 1;
        }
        let fault = match next {
            Some(Fault::FullResults) => Some(VolumeFault::Full),
            Some(Fault::ReadOnlyResults) => Some(VolumeFault::ReadOnly),
            Some(Fault::UnsureResults) => Some(VolumeFault::Unsure),
            Some(Fault::SlowResults) => Some(VolumeFault::Slow(self.rng.random_range(50..3_000))),
            _ => None,
        };
        self.volume.befall(fault);
        self.volume_fault = next;
        if next.is_some() {
            let pause = self.rng.random_range(5_000..120_000);
            self.queue.after(pause, Happens::ResultsMended);
        }
    }

    /// A worker is asked to end, or all of them by their master.
    fn drain(&mut self) -> Result<bool, Violation> {
        if self.rng.random_bool(0.7) {
            let all: Vec<WorkerId> = self.workers.keys().copied().collect();
            return pick(&mut self.rng, &all).map_or(Ok(false), |worker| self.drain_worker(worker));
        }
        let lives = self.master.is_some();
        let grace_ms = self.rng.random_range(0..60_000);
        self.push(Input::Drain { grace_ms })?;
        Ok(lives)
    }

    fn hit_sweep(&mut self, hit: impl FnOnce(&mut Self, SweepId)) -> bool {
        let all: Vec<SweepId> = self.statuses().into_iter().filter_map(|status| status.id).collect();
        let Some(sweep) = pick(&mut self.rng, &all) else { return false };
        hit(self, sweep);
        true
    }

    fn kill_if_alive(&mut self) -> Result<bool, Violation> {
        let lives = self.master.is_some();
        self.kill_master()?;
        Ok(lives)
    }

    fn hit_worker(&mut self, hit: impl FnOnce(&mut Self, WorkerId)) -> bool {
        let all: Vec<WorkerId> = self.workers.keys().copied().collect();
        let Some(worker) = pick(&mut self.rng, &all) else { return false };
        hit(self, worker);
        true
    }

    fn hit_conn(&mut self, hit: impl FnOnce(&mut Self, Conn)) -> bool {
        let living: Vec<Conn> = self.workers.values().filter_map(|process| process.conn).collect();
        let Some(conn) = pick(&mut self.rng, &living) else { return false };
        hit(self, conn);
        true
    }
}

fn pick<T: Copy>(rng: &mut impl rand::Rng, all: &[T]) -> Option<T> {
    (!all.is_empty()).then(|| all[rng.random_range(0..all.len())])
}
