//! What stands for containers in a build without them: nothing can be had.
//! Invariant: no value of [`SlotContainer`] exists.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gridctl_core::protocol::FrozenSweep;
use tokio::net::UnixStream;

use super::{ContainerBody, ContainerError, StagedImage};

/// No containers.
#[derive(Debug)]
pub(crate) struct ContainerSite;

impl ContainerSite {
    pub(crate) fn new(_binary: PathBuf, _labels: (&str, &str), _work: &Path, _disk_mib: u64) -> Self {
        Self
    }

    pub(crate) async fn end_orphans(&self) {}

    pub(crate) async fn stage(
        &self,
        _sweep: &FrozenSweep,
        _code: Option<&Path>,
    ) -> Result<StagedImage, ContainerError> {
        Err(ContainerError::NotBuilt)
    }

    pub(crate) async fn start(
        &self,
        _body: &Arc<ContainerBody>,
        _slot: u32,
    ) -> Result<(SlotContainer, UnixStream), ContainerError> {
        Err(ContainerError::NotBuilt)
    }

    pub(crate) async fn end_all(&self) {}
}

/// There is none.
#[derive(Debug)]
pub(crate) enum SlotContainer {}

impl SlotContainer {
    pub(crate) fn pid(&self) -> Option<u32> {
        match *self {}
    }

    pub(crate) fn is_full(&self) -> bool {
        match *self {}
    }

    pub(crate) async fn remove(&self) {
        match *self {}
    }
}

/// Looks at the image of a sweep.
///
/// # Errors
/// [`ContainerError::NotBuilt`].
pub async fn examine(_sweep: &FrozenSweep, _binary: &Path) -> Result<StagedImage, ContainerError> {
    Err(ContainerError::NotBuilt)
}
