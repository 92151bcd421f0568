//! Submitting a sweep: what changed, whose results volume it is, and then the core's word.
//! Invariant: a sweep stands only if its results volume is its own.

use std::sync::Arc;

use gridctl_core::id::LeaseSeq;
use gridctl_core::protocol::FrozenSweep;
use gridctl_core::sched::{Answer, Input, Submission};
use gridctl_core::view::{SubmitRequest, Submitted};
use tokio::sync::oneshot;

use crate::error::AskError;
use crate::handle::Handle;
use crate::message::Message;

/// So many differences are named one by one.
const DIFFERENCES: usize = 20;

impl Handle {
    /// Submits a sweep, or a new version of one, or finds that it stands as it is and lets it go on.
    ///
    /// # Errors
    /// The grid or the results volume cannot be used, or the master is ending.
    pub async fn submit(&self, submit: SubmitRequest) -> Result<Submitted, AskError> {
        let SubmitRequest { mut frozen, changed, retry_failed, rerun } = submit;
        if let Some(pack) = frozen.sources.pack()
            && self.shared.packs.find(pack).is_none()
        {
            return Err(AskError::NoPack(pack));
        }
        let _one_at_a_time = self.shared.submitting.lock().await;
        let name = frozen.spec.name.clone();
        let wanted = name.clone();
        let before = self.look(move |core, now| {
            let sweep = core.sweep_named(&wanted)?;
            let status = core.status(sweep.id(), now)?;
            let counts = (status.succeeded, status.failed + status.quarantined);
            let frozen = Arc::clone(sweep.frozen());
            Some((sweep.version(), counts, frozen, (sweep.written().clone(), sweep.disturbed_by().to_vec())))
        });
        let mut beside = Vec::new();
        if let Some((version, counts, old, (written, disturbed))) = before.await? {
            frozen.uuid.clone_from(&old.uuid);
            if changed.is_none() && !rerun && !old.is_same(&frozen) {
                // Where nothing but failures is there, a new file may be what was missing.
                beside = frozen.leave_beside(&old, &written, counts.0 > 0 || counts.1 == 0);
                if let Some(asked) = ask_about((version, disturbed), counts, old.differences_to(&frozen)) {
                    return Ok(asked);
                }
            }
        }
        let (wanted, files) = (name.clone(), beside.clone());
        let untold = self.look(move |core, _| Some(core.sweep_named(&wanted)?.untold(&files)));
        let left = untold.await?.unwrap_or_default();
        let is_new = frozen.uuid.is_empty();
        if is_new {
            frozen.uuid = self.shared.shipper.uuid_of(&name);
        }
        let since = if rerun { Some(self.look(|core, _| core.next_lease()).await?) } else { None };
        self.claim(frozen.clone(), is_new, since).await?;
        let (answer, answered) = oneshot::channel();
        let (known, looked_up) = (Vec::new(), None);
        let submission = Submission { frozen, known, looked_up, changed, retry_failed, rerun, beside };
        let looked_up = self.look_up(&submission).await?;
        let submission = Box::new(Submission { looked_up, ..submission });
        self.tell(Message::Ask(Box::new(|request| Input::Submit(request, submission)), answer)).await?;
        match self.answer(answered).await? {
            Answer::Submitted { version, new, known, read_again, lost, unread, .. } => {
                self.shared.shipper.wake();
                Ok(Submitted::Stands { sweep: name, version, new, known, read_again, lost, unread, left })
            }
            Answer::Done(_) => Err(AskError::Failed("it answered another question".to_owned())),
        }
    }

    /// Makes sure that the sweep's directory in the results volume is its own; checkpoints from before the lease `since` are
    /// for nobody from then on.
    async fn claim(
        &self,
        frozen: FrozenSweep,
        is_new: bool,
        since: Option<LeaseSeq>,
    ) -> Result<(), AskError> {
        let handle = self.clone();
        let claim = tokio::task::spawn_blocking(move || handle.shared.shipper.claim(&frozen, is_new, since));
        claim.await.map_err(|error| AskError::Failed(error.to_string()))?
    }
}

/// What to ask the person, if code or objective changed and there are outcomes that it matters for.
fn ask_about(
    (version, disturbed): (u32, Vec<String>),
    (succeeded, failed): (u64, u64),
    mut lines: Vec<String>,
) -> Option<Submitted> {
    if lines.is_empty() || succeeded + failed == 0 {
        return None;
    }
    let more = lines.len().saturating_sub(DIFFERENCES);
    lines.truncate(DIFFERENCES);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    Some(Submitted::CodeChanged { version, lines, succeeded, failed, disturbed })
}
