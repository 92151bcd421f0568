//! A sweep's `setup` with an image: run once in a container, whose state is kept as an image that slots
//! start from.
//! Invariant: what it may do is what a line of a Dockerfile may do; metadata addresses are closed to it.

use std::path::Path;
use std::time::Duration;

use gridctl_core::id::CodeHash;
use gridctl_core::launch::BaseEnv;
use gridctl_core::protocol::FrozenSweep;

use super::engine::{Engine, NewContainer, Privilege};
use super::site::Labels;
use super::{BINARY, ContainerError, StagedImage, start};

/// The images that are kept are called so.
const REPO: &str = "gridctl-setup";
/// It may take so long.
const WITHIN: Duration = Duration::from_secs(3_600);
/// Where it finds the code.
const CODE: &str = "/grid/code";
/// It works in a copy of the code that stays in the image, so that what it installs may lie there.
const SCRIPT: &str = "set -e; mkdir -p /opt/gridctl-setup 2>/dev/null || true; dir=/opt/gridctl-setup; \
    [ -w \"$dir\" ] || { dir=/tmp/gridctl-setup; mkdir -p \"$dir\"; }; \
    if [ -d /grid/code ]; then cp -R /grid/code/. \"$dir\"; fi; cd \"$dir\"; exec /bin/sh -c \"$1\"";
/// Lines of its output that are shown where it fails.
const SHOWN_LINES: usize = 40;

/// The image after `command`, which another worker of this machine may have run already.
pub(super) async fn run(
    engine: &Engine,
    image: StagedImage,
    (command, sweep, code): (&str, &FrozenSweep, Option<&Path>),
    (binary, labels): (&Path, Labels<'_>),
) -> Result<StagedImage, ContainerError> {
    // The code's mark stands for the files, the image, the command and the variables.
    let tag = CodeHash::of(&[image.id.as_str(), &sweep.code.to_string()]).to_string();
    let name = format!("{REPO}:{tag}");
    if let Some(ready) = engine.image(&name).await? {
        return Ok(StagedImage { id: ready.id.unwrap_or(name), ..image });
    }
    tracing::info!("`setup` begins in a container of {}: {command}", image.name);
    let caller = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let base = BaseEnv::in_image(sweep, std::iter::empty(), caller);
    let words = [BINARY, "slot", "--once-closed", "--", "/bin/sh", "-c", SCRIPT, "sh", command];
    let new = NewContainer {
        image: &image.id,
        argv: words.map(str::to_owned).to_vec(),
        binary,
        user: None,
        env: base.iter().map(|(name, value)| format!("{name}={value}")).collect(),
        network: "bridge".to_owned(),
        mounts: code.map(|code| (code.to_owned(), CODE.into(), false)).into_iter().collect(),
        privilege: Privilege::Build,
        mem_mib: 0,
        shm_mib: 0,
        gpus: &[],
        labels: labels.all(),
        removes_itself: false,
    };
    let id = engine.create(new).await?;
    engine.start(&id).await?;
    let closed = start::close_metadata(engine, &id, (image.id.as_str(), binary), &labels).await;
    let ended = match closed {
        Ok(()) => engine.ended(&id, WITHIN).await,
        Err(error) => Err(error),
    };
    let made = match ended {
        Ok(0) => engine.commit(&id, (REPO, &tag)).await,
        Ok(exit) => {
            let printed = engine.printed(&id).await.1;
            let printed = base.secrets(sweep).mask(printed.trim_end()).into_owned();
            let lines: Vec<&str> = printed.lines().collect();
            let tail = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n");
            Err(ContainerError::Setup { image: image.name.clone(), how: format!("exit {exit}"), tail })
        }
        Err(error) => Err(error),
    };
    engine.remove(&id).await;
    made?;
    tracing::info!("`setup` has succeeded");
    let ready = engine.image(&name).await?;
    Ok(StagedImage { id: ready.and_then(|ready| ready.id).unwrap_or(name), ..image })
}
