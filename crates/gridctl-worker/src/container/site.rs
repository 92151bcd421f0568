//! What all containers of a worker have in common: Docker, our binary, the labels by which they are
//! found again.
//! Invariant: a container of a dead worker is ended before a new one is made beside it; when the worker
//! ends, none of its own is left.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gridctl_core::protocol::FrozenSweep;
use tokio::net::UnixStream;
use tokio::sync::OnceCell;

use super::engine::Engine;
use super::start::{self, SlotContainer};
use super::{ContainerBody, ContainerError, StagedImage, image, setup};
use crate::leftovers;

/// Whose data directory a container belongs to.
pub(super) const MARK: &str = "gridctl.mark";
/// Whose worker's it is.
pub(super) const WORKER: &str = "gridctl.worker";

/// What a container is found by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Labels<'a> {
    pub(super) mark: &'a str,
    pub(super) worker: &'a str,
}

/// Containers of a worker.
#[derive(Debug)]
pub(crate) struct ContainerSite {
    binary: PathBuf,
    mark: String,
    worker: String,
    /// Where workers of this data directory have their directories.
    work: PathBuf,
    engine: OnceCell<Engine>,
    /// MiB that each may write into its own root.
    disk_mib: u64,
}

impl ContainerSite {
    /// Containers of the worker of this name, with `binary` in them.
    pub(crate) fn new(binary: PathBuf, (mark, worker): (&str, &str), work: &Path, disk_mib: u64) -> Self {
        let (mark, worker, work) = (mark.to_owned(), worker.to_owned(), work.to_owned());
        Self { binary, mark, worker, work, engine: OnceCell::new(), disk_mib }
    }

    fn labels(&self) -> Labels<'_> {
        Labels { mark: &self.mark, worker: &self.worker }
    }

    /// A file that is there once a worker of this data directory has had containers.
    fn trace(&self) -> PathBuf {
        self.work.with_file_name("containers")
    }

    async fn engine(&self) -> Result<&Engine, ContainerError> {
        let connect = async {
            let engine = Engine::connect().await?;
            // Without it orphans are looked for only when containers are wanted again.
            drop(tokio::fs::write(self.trace(), "").await);
            self.end_dead(&engine).await;
            Ok(engine)
        };
        self.engine.get_or_try_init(|| connect).await
    }

    /// At a worker's start: ends the containers of dead ones, if there ever were any here.
    pub(crate) async fn end_orphans(&self) {
        if self.trace().exists()
            && let Err(error) = self.engine().await
        {
            tracing::warn!("what dead workers left in containers is not looked for: {error}");
        }
    }

    async fn end_dead(&self, engine: &Engine) {
        let living = leftovers::living(&self.work);
        for (id, labels) in engine.labelled(&format!("{MARK}={}", self.mark)).await {
            if !labels.get(WORKER).is_some_and(|worker| living.contains(worker)) {
                tracing::warn!("ending the container {id:.12}, which a dead worker left");
                engine.remove(&id).await;
            }
        }
    }

    /// Makes the image of a sweep ready, with its `setup` run in the directory `code`.
    pub(crate) async fn stage(
        &self,
        sweep: &FrozenSweep,
        code: Option<&Path>,
    ) -> Result<StagedImage, ContainerError> {
        let engine = self.engine().await?;
        let image = image::stage(engine, sweep, &self.binary).await?;
        match &sweep.spec.setup {
            Some(command) => {
                setup::run(engine, image, (command, sweep, code), (&self.binary, self.labels())).await
            }
            None => Ok(image),
        }
    }

    /// Starts the container of a slot.
    pub(crate) async fn start(
        &self,
        body: &Arc<ContainerBody>,
        slot: u32,
    ) -> Result<(SlotContainer, UnixStream), ContainerError> {
        let engine = self.engine().await?;
        let started = start::start(engine, (body, &self.binary), self.labels(), self.disk_mib).await?;
        tracing::debug!("slot {slot} is a container of {}", body.image.name);
        Ok(started)
    }

    /// Ends every container of this worker.
    pub(crate) async fn end_all(&self) {
        let Some(engine) = self.engine.get() else { return };
        for (id, labels) in engine.labelled(&format!("{WORKER}={}", self.worker)).await {
            if labels.get(MARK) == Some(&self.mark) {
                engine.remove(&id).await;
            }
        }
    }
}
