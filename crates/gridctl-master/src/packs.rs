//! Packs of code: brought by people who submit, fetched by workers, removed when no sweep uses them.
//! Invariant: a pack that is served has passed every rule of packs, and a sweep's pack is there.

use axum::body::Bytes;
use gridctl_core::id::PackHash;
use gridctl_storage::pack::{PackDraft, PackError, PackedFile};
use tokio::task::spawn_blocking;

use crate::error::AskError;
use crate::handle::Handle;

impl Handle {
    /// The bytes of a pack that is there; it stays for a while from now on.
    pub(crate) async fn find_pack(&self, pack: PackHash) -> Result<Option<u64>, AskError> {
        self.blocking(move |handle| handle.shared.packs.find(pack)).await
    }

    /// A draft for one that comes.
    pub(crate) async fn draft_pack(&self) -> Result<Result<PackDraft, PackError>, AskError> {
        self.blocking(|handle| handle.shared.packs.draft()).await
    }

    /// The draft with more bytes.
    pub(crate) async fn write_pack(
        &self,
        mut draft: PackDraft,
        bytes: Bytes,
    ) -> Result<Result<PackDraft, PackError>, AskError> {
        self.blocking(move |_| draft.write(&bytes).map(|()| draft)).await
    }

    /// Keeps the draft as the pack of this name, if it is that.
    pub(crate) async fn keep_pack(
        &self,
        draft: PackDraft,
        pack: PackHash,
    ) -> Result<Result<(), PackError>, AskError> {
        let kept = self.blocking(move |handle| handle.shared.packs.keep(draft, pack)).await?;
        self.clear_packs().await?;
        Ok(kept)
    }

    /// A pack, to be read; none if it is not there.
    pub(crate) async fn open_pack(&self, pack: PackHash) -> Result<Option<PackedFile>, AskError> {
        self.blocking(move |handle| handle.shared.packs.open(pack).ok()).await
    }

    /// Removes what no sweep uses. A submission that has found its pack goes first.
    async fn clear_packs(&self) -> Result<(), AskError> {
        let _no_submission = self.shared.submitting.lock().await;
        let used = self.look(|core, _| core.packs()).await?;
        let removed = self.blocking(move |handle| handle.shared.packs.clear(&used)).await?;
        if removed > 0 {
            tracing::info!("removed {removed} packs of code that no sweep uses");
        }
        Ok(())
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, AskError> {
        let handle = self.clone();
        let done = spawn_blocking(move || work(&handle)).await;
        done.map_err(|error| AskError::Failed(error.to_string()))
    }
}
