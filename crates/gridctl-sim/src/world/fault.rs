//! What goes wrong, and how.
//! Invariant: a fault that finds nothing to hit is not counted.

use gridctl_core::id::WorkerId;
use gridctl_core::sched::{Conn, Steer};
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
            Fault::Stall => self.hit_master(|world| {
                let until = world.queue.now() + world.rng.random_range(1_000..60_000);
                if let Some(master) = world.master.as_mut() {
                    master.stalled_until = until;
                }
            }),
            Fault::BadMachine => {
                self.befall_machine(10_000, |world| &mut world.bad, |machine| Happens::Mended { machine })
            }
            Fault::CannotStart => self.befall_machine(
                5_000,
                |world| &mut world.unable,
                |machine| Happens::AbleAgain { machine },
            ),
            Fault::FullResults => self.fill_results(),
            Fault::StopSlot => self.stop_slot(),
            Fault::NewVersion => self.hit_master(Self::submit_changed),
            Fault::Retry => self.retry_failed(),
            Fault::PauseResume => self.hit_master(|world| {
                world.steer(Steer::Pause);
                world.queue.after(20_000, Happens::Resumes);
            }),
            Fault::Cancel => self.hit_master(|world| world.steer(Steer::Cancel)),
        };
        if hit {
            *self.injected.entry(fault).or_default() += 1;
        }
        Ok(())
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

    fn fill_results(&mut self) -> bool {
        self.results_full = true;
        let pause = self.rng.random_range(5_000..120_000);
        self.queue.after(pause, Happens::ResultsFit);
        true
    }

    fn kill_if_alive(&mut self) -> Result<bool, Violation> {
        let lives = self.master.is_some();
        self.kill_master()?;
        Ok(lives)
    }

    fn hit_master(&mut self, hit: impl FnOnce(&mut Self)) -> bool {
        let lives = self.master.is_some();
        if lives {
            hit(self);
        }
        lives
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
