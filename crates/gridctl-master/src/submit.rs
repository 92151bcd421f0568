//! Submitting a sweep: what changed, whose results volume it is, and then the core's word.
//! Invariant: a sweep stands only if its results volume is its own.

use gridctl_core::protocol::FrozenSweep;
use gridctl_core::record::TrialState;
use gridctl_core::sched::Answer;
use gridctl_proto::ask::{Submit, Submitted};
use tokio::sync::oneshot;

use crate::error::AskError;
use crate::handle::Handle;
use crate::know::{self, Before};
use crate::message::{Message, Plan};

/// So many differences are named one by one.
const DIFFERENCES: usize = 20;

impl Handle {
    /// Submits a sweep, or a new version of one, or finds that it stands as it is and lets it go on.
    ///
    /// # Errors
    /// The grid or the results volume cannot be used, or the master is ending.
    pub async fn submit(&self, submit: Submit) -> Result<Submitted, AskError> {
        let Submit { mut frozen, changed, retry_failed, rerun } = submit;
        let _one_at_a_time = self.shared.submitting.lock().await;
        let name = frozen.spec.name.clone();
        let wanted = name.clone();
        let before = self.look(move |core, _| Before::of(core, &wanted)).await?;
        if let Some(Before { sweep, version, frozen: old }) = before {
            frozen.uuid.clone_from(&old.uuid);
            if changed.is_none() && !rerun && !old.is_same(&frozen) {
                let lines = know::differences(&old, &frozen);
                if let Some(asked) = self.ask_about((sweep.0, version), lines).await? {
                    return Ok(asked);
                }
            }
        }
        if frozen.uuid.is_empty() {
            frozen.uuid = uuid::Uuid::now_v7().to_string();
        }
        self.claim(frozen.clone()).await?;
        let (answer, answered) = oneshot::channel();
        let plan = Plan { frozen, changed, retry_failed, rerun };
        self.tell(Message::Submit(Box::new(plan), answer)).await?;
        match self.answer(answered).await? {
            Answer::Submitted { sweep, version, new, known } => {
                self.shared.shipper.wake();
                Ok(Submitted::Stands { sweep, name, version, new, known })
            }
            Answer::Done(_) => Err(AskError::Ending),
        }
    }

    /// What to ask the person, if code or objective changed and there are outcomes that it matters for.
    async fn ask_about(&self, at: (u32, u32), mut lines: Vec<String>) -> Result<Option<Submitted>, AskError> {
        if lines.is_empty() {
            return Ok(None);
        }
        let counts = self.read(move |reader| Ok(reader.counts(at)?)).await?;
        let count = |state: TrialState| counts.get(state.as_str()).copied().unwrap_or(0);
        let succeeded = count(TrialState::Succeeded);
        let failed = count(TrialState::Failed) + count(TrialState::Quarantined);
        if succeeded + failed == 0 {
            return Ok(None);
        }
        let more = lines.len().saturating_sub(DIFFERENCES);
        lines.truncate(DIFFERENCES);
        if more > 0 {
            lines.push(format!("and {more} more"));
        }
        Ok(Some(Submitted::CodeChanged { version: at.1, lines, succeeded, failed }))
    }

    /// Makes sure that the sweep's directory in the results volume is its own.
    async fn claim(&self, frozen: FrozenSweep) -> Result<(), AskError> {
        let handle = self.clone();
        let claim = tokio::task::spawn_blocking(move || handle.shared.shipper.claim(&frozen));
        Ok(claim.await.map_err(|_| AskError::Ending)??)
    }
}
