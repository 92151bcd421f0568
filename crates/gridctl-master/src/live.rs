//! Output of attempts that go on: workers send what somebody follows, followers read what is kept of it.
//! Invariant: a worker sends for its own leases alone; nobody waits for a follower, and memory is bounded for each attempt and for
//! their number.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gridctl_core::id::{LeaseSeq, WorkerId};
use gridctl_core::live::{MOST_FOLLOWED, OutputTail};
use tokio::sync::watch;

/// What followers share.
#[derive(Debug, Clone, Default)]
pub(crate) struct LiveHub(Arc<Mutex<Hub>>);

#[derive(Debug, Default)]
struct Hub {
    workers: HashMap<WorkerId, WorkerFeed>,
    followed: HashMap<(WorkerId, LeaseSeq), watch::Sender<Followed>>,
    last: u64,
}

/// A worker that can be asked.
#[derive(Debug)]
struct WorkerFeed {
    /// Which of its connections.
    number: u64,
    wanted: watch::Sender<LiveWish>,
}

/// What is done to a worker on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// It kills itself: what it held is lost, as with its machine.
    Kill,
    /// It acts as if it had been told that its machine will be taken away.
    Interrupt,
}

/// What is asked of a worker beside its trials.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct LiveWish {
    /// Attempts whose output is wanted.
    pub(crate) leases: Vec<LeaseSeq>,
    /// What is done to it, so that a person sees that nothing is lost.
    pub(crate) blow: Option<Blow>,
}

/// One attempt's output.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    pub(crate) tail: OutputTail,
    /// Nothing more comes.
    pub(crate) is_over: bool,
}

/// A worker's connection, for as long as it stands.
#[derive(Debug)]
pub(crate) struct Feed {
    hub: LiveHub,
    worker: WorkerId,
    number: u64,
}

/// Somebody who follows an attempt.
#[derive(Debug)]
pub(crate) struct Follower {
    hub: LiveHub,
    of: (WorkerId, LeaseSeq),
    pub(crate) output: watch::Receiver<Followed>,
}

impl LiveHub {
    /// A worker is there that can be asked; also what is asked of it, as that changes.
    pub(crate) fn join(&self, worker: WorkerId) -> (Feed, watch::Receiver<LiveWish>) {
        let mut hub = self.lock();
        hub.last += 1;
        let number = hub.last;
        let (wanted, wants) = watch::channel(LiveWish { leases: hub.leases(worker), blow: None });
        hub.workers.insert(worker, WorkerFeed { number, wanted });
        (Feed { hub: self.clone(), worker, number }, wants)
    }

    /// Follows an attempt; `None` if the worker has as many followed as it may.
    pub(crate) fn follow(&self, worker: WorkerId, lease: LeaseSeq) -> Option<Follower> {
        let mut hub = self.lock();
        let of = (worker, lease);
        if !hub.followed.contains_key(&of) && hub.leases(worker).len() >= MOST_FOLLOWED {
            return None;
        }
        let output =
            hub.followed.entry(of).or_insert_with(|| watch::Sender::new(Followed::default())).subscribe();
        hub.tell(worker);
        Some(Follower { hub: self.clone(), of, output })
    }

    /// Asks a worker to bear a blow; false if none of this name can be asked.
    pub(crate) fn strike(&self, worker: WorkerId, blow: Blow) -> bool {
        let hub = self.lock();
        let feed = hub.workers.get(&worker);
        feed.inspect(|feed| feed.wanted.send_modify(|wish| wish.blow = Some(blow))).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Hub> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hub {
    fn leases(&self, worker: WorkerId) -> Vec<LeaseSeq> {
        self.followed.keys().filter(|(of, _)| *of == worker).map(|(_, lease)| *lease).collect()
    }

    fn tell(&self, worker: WorkerId) {
        if let Some(feed) = self.workers.get(&worker) {
            feed.wanted.send_modify(|wish| wish.leases = self.leases(worker));
        }
    }
}

impl Feed {
    /// The worker sent more of an attempt's output. What nobody follows is dropped.
    pub(crate) fn put(&self, lease: LeaseSeq, (from, bytes): (u64, &[u8]), is_over: bool) {
        if let Some(followed) = self.hub.lock().followed.get(&(self.worker, lease)) {
            followed.send_modify(|followed| {
                followed.tail.put(from, bytes);
                followed.is_over |= is_over;
            });
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let mut hub = self.hub.lock();
        // A newer connection of this worker's may have taken its place.
        if hub.workers.get(&self.worker).is_some_and(|feed| feed.number == self.number) {
            hub.workers.remove(&self.worker);
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut hub = self.hub.lock();
        // This one is still counted.
        if hub.followed.get(&self.of).is_some_and(|followed| followed.receiver_count() <= 1) {
            hub.followed.remove(&self.of);
            hub.tell(self.of.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn followers_read_what_their_worker_sends_for_its_own_leases_and_leave_nothing() {
        let (hub, mine, other) = (LiveHub::default(), WorkerId([1; 5]), WorkerId([2; 5]));
        let (feed, wants) = hub.join(mine);
        let (hostile, _) = hub.join(other);
        let (first, second) =
            (hub.follow(mine, LeaseSeq(7)).unwrap(), hub.follow(mine, LeaseSeq(7)).unwrap());
        assert_eq!(wants.borrow().leases, [LeaseSeq(7)]);
        feed.put(LeaseSeq(7), (0, b"hello"), false);
        feed.put(LeaseSeq(8), (0, b"nobody follows this"), false);
        hostile.put(LeaseSeq(7), (0, b"forged"), true);
        for follower in [&first, &second] {
            assert_eq!(follower.output.borrow().tail.since(0), (0, &b"hello"[..]));
            assert!(!follower.output.borrow().is_over);
        }
        drop(first);
        assert_eq!(wants.borrow().leases, [LeaseSeq(7)]);
        drop(second);
        assert!(wants.borrow().leases.is_empty() && hub.lock().followed.is_empty());
        // A worker that connects again is told what is wanted; the old connection's end takes nothing away.
        let follower = hub.follow(mine, LeaseSeq(9)).unwrap();
        let (_again, wants) = hub.join(mine);
        drop(feed);
        assert_eq!(wants.borrow().leases, [LeaseSeq(9)]);
        drop(follower);
        assert!(wants.borrow().leases.is_empty());
        assert!(hub.strike(mine, Blow::Kill) && wants.borrow().blow == Some(Blow::Kill));
        assert!(!hub.strike(WorkerId([3; 5]), Blow::Interrupt), "nobody is there");
    }

    #[test]
    fn so_many_attempts_of_one_worker_are_followed() {
        let (hub, worker) = (LiveHub::default(), WorkerId([1; 5]));
        let followers: Vec<_> = (0..100).filter_map(|lease| hub.follow(worker, LeaseSeq(lease))).collect();
        assert_eq!(followers.len(), MOST_FOLLOWED);
        assert!(hub.follow(worker, LeaseSeq(0)).is_some(), "one that is followed may have more followers");
    }
}
