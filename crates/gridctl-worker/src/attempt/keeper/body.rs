//! What the keeper's slot is made of: a process, or a container of an image; and its directories.
//! Invariant: a slot takes another's place only while no attempt is in line, and no set of directories
//! is used by two kinds of slots.

use std::sync::{Arc, PoisonError};

use super::super::report::AttemptFault;
use super::{SlotKeeper, forget};
use crate::cgroup::{CgroupSupport, SlotCgroup};
use crate::client::{SlotClient, SlotError};
use crate::container::ContainerBody;
use crate::scratch::Scratch;
use crate::slot::SlotBody;

impl SlotKeeper {
    pub(super) async fn close_slot(&mut self) {
        if let Some(client) = self.client.take() {
            forget(&self.machine, client.pid());
            client.close().await;
        }
        (self.base, self.is_spent) = (None, false);
    }

    /// Makes this the slot that the next attempt asks for.
    pub(super) async fn become_body(&mut self, body: SlotBody) {
        if self.body == body && !self.is_spent {
            return;
        }
        let is_elsewhere = match (&self.body, &body) {
            (SlotBody::Process, SlotBody::Process) => false,
            (SlotBody::Container(old), SlotBody::Container(new)) => old.image.owner != new.image.owner,
            _ => true,
        };
        self.close_slot().await;
        self.cgroup = None;
        self.body = body;
        if is_elsewhere {
            // Sets that are still read from come back, and are dropped then.
            self.free.clear();
            self.sets = 0;
        }
    }

    pub(super) fn free_set(&mut self) -> Result<Scratch, AttemptFault> {
        if let Some(scratch) = self.free.pop() {
            return Ok(scratch);
        }
        let work = &self.machine.work;
        let scratch = match &self.body {
            SlotBody::Process => work.slot(self.number, self.made),
            SlotBody::Container(body) => work.container_set(&body.dirs, self.made, body.image.owner),
        };
        let scratch = scratch.map_err(AttemptFault::scratch)?;
        (self.sets, self.made) = (self.sets + 1, self.made + 1);
        Ok(scratch)
    }

    pub(super) async fn start_container(&mut self, body: &Arc<ContainerBody>) -> Result<(), SlotError> {
        let (container, stream) = self.machine.containers.start(body, self.number).await?;
        self.cgroup = container.pid().and_then(SlotCgroup::of_process);
        if self.cgroup.is_none() {
            tracing::warn!("slot {}: a kill for memory will look like any other", self.number);
        }
        self.client = Some(SlotClient::in_container(container, stream));
        Ok(())
    }

    pub(super) fn start_process(&mut self) -> Result<(), SlotError> {
        if let (CgroupSupport::Memory(groups), None) = (&self.machine.cgroups, &self.cgroup) {
            match groups.create(&format!("{}-{}", self.machine.name, self.number)) {
                Ok(cgroup) => self.cgroup = Some(cgroup),
                Err(error) => tracing::warn!("slot {} has no memory cgroup: {error}", self.number),
            }
        }
        // Under the lock: whoever ends what dead slots left must not take a new one for it.
        let mut slots = self.machine.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let client = SlotClient::start(&self.machine.program, self.cgroup.as_ref())?;
        slots.extend(client.pid());
        drop(slots);
        self.client = Some(client);
        Ok(())
    }

    /// Whether a set is of the kind that the slot is of now.
    pub(super) fn is_own(&self, scratch: &Scratch) -> bool {
        let owner = match &self.body {
            SlotBody::Process => None,
            SlotBody::Container(body) => Some(body.image.owner),
        };
        scratch.owner() == owner
    }
}
