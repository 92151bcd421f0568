//! Virtual time: what happens next.
//! Invariant: two events of one time happen in the order in which they were scheduled.

use std::collections::BTreeMap;

/// A queue of events by time, in milliseconds.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    events: BTreeMap<(u64, u64), E>,
    scheduled: u64,
    now: u64,
}

impl<E> Queue<E> {
    pub(crate) fn new() -> Self {
        Self { events: BTreeMap::new(), scheduled: 0, now: 0 }
    }

    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    pub(crate) fn at(&mut self, time: u64, event: E) {
        self.scheduled += 1;
        self.events.insert((time.max(self.now), self.scheduled), event);
    }

    pub(crate) fn after(&mut self, ms: u64, event: E) {
        self.at(self.now + ms, event);
    }

    pub(crate) fn next(&mut self) -> Option<E> {
        let ((time, _), event) = self.events.pop_first()?;
        self.now = time;
        Some(event)
    }
}
