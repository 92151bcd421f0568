//! Makes an image ready: here, pinned, for this machine, and our supervisor has run in it once.
//! Invariant: what is wrong with an image is found here, before a trial is lost to it.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use bollard::models::ImageInspect;
use gridctl_core::protocol::FrozenSweep;
use rustix::process::{getegid, geteuid};

use super::engine::{Engine, NewContainer, Privilege};
use super::{BINARY, ContainerError, ImageConfig, StagedImage};
use crate::scratch::Owner;
use crate::slot::ProbeReport;

/// Our supervisor's first start in an image may take so long.
const PROBES_WITHIN: Duration = Duration::from_secs(60);

/// `HOME`, where the image's is not to be written, or another user's.
const HOME: &str = "/grid/slot/home";
/// `TMPDIR`, where the image's `/tmp` is not to be written.
const TMP: &str = "/grid/slot/tmp";
const NO_LOADER: &str = "it has no loader for programs of glibc";

/// Looks at the image of a sweep as a worker of this machine would before its first trial, fetching it
/// if need be; `binary` is what is to run in it.
///
/// # Errors
/// [`ContainerError`]: it cannot be used here.
pub async fn examine(sweep: &FrozenSweep, binary: &Path) -> Result<StagedImage, ContainerError> {
    let engine = Engine::connect().await?;
    stage(&engine, sweep, binary).await
}

/// The same, with Docker that has answered.
pub(super) async fn stage(
    engine: &Engine,
    sweep: &FrozenSweep,
    binary: &Path,
) -> Result<StagedImage, ContainerError> {
    let name = sweep.spec.image.as_deref().unwrap_or_default();
    let inspected = find(engine, name, sweep.image_pin()).await?;
    let id = inspected.id.clone().unwrap_or_default();
    check_platform(name, &inspected)?;
    let pin = pin(name, inspected.repo_digests.as_deref().unwrap_or_default()).unwrap_or(&id).to_owned();
    let config = config(inspected);
    // A worker that is not root could not tidy up after another user.
    let user = (!geteuid().is_root()).then(|| format!("{}:{}", geteuid().as_raw(), getegid().as_raw()));
    let mut image = StagedImage {
        name: name.to_owned(),
        pin,
        config,
        id,
        owner: Owner { uid: 0, gid: 0 },
        user,
        home: HOME.to_owned(),
        tmp: None,
        interpreter: "python",
    };
    let program = program(&image, sweep)?;
    let report = probe(engine, &image, binary, program.as_slice()).await?;
    if let Some(why) = report.missing {
        return Err(ContainerError::Program { image: name.to_owned(), why });
    }
    image.owner = Owner { uid: report.uid, gid: report.gid };
    image.home = report.home.filter(|_| image.user.is_none()).unwrap_or(image.home);
    image.tmp = (!report.has_tmp).then(|| TMP.to_owned());
    image.interpreter = if report.has_only_python3 { "python3" } else { "python" };
    Ok(image)
}

/// The image, here.
async fn find(engine: &Engine, name: &str, pin: Option<&str>) -> Result<ImageInspect, ContainerError> {
    let wanted = pin.unwrap_or(name);
    if let Some(image) = engine.image(wanted).await? {
        return Ok(image);
    }
    if wanted.starts_with("sha256:") {
        return Err(ContainerError::OnlyThere { image: name.to_owned() });
    }
    tracing::info!("fetching the image {wanted}");
    engine.pull(wanted).await?;
    engine.image(wanted).await?.ok_or_else(|| ContainerError::NoImage {
        image: name.to_owned(),
        why: "it was fetched, and is not there".to_owned(),
    })
}

/// Of the digests by which registries have an image that of the repository which `name` is of.
fn pin<'a>(name: &str, digests: &'a [String]) -> Option<&'a str> {
    let usual = |repository: &str| {
        let short = repository.strip_prefix("docker.io/").unwrap_or(repository);
        short.strip_prefix("library/").unwrap_or(short).to_owned()
    };
    let whole = name.split_once('@').map_or(name, |(whole, _)| whole);
    let slash = whole.rfind('/').map_or(0, |at| at + 1);
    let repository = whole[slash..].find(':').map_or(whole, |colon| &whole[..slash + colon]);
    let is_its =
        |digest: &&String| digest.split_once('@').is_some_and(|(of, _)| usual(of) == usual(repository));
    digests.iter().find(is_its).map(String::as_str)
}

fn config(image: ImageInspect) -> ImageConfig {
    let config = image.config.unwrap_or_default();
    let pair = |text: String| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    ImageConfig {
        env: config.env.into_iter().flatten().filter_map(pair).collect(),
        entrypoint: config.entrypoint.unwrap_or_default(),
        command: config.cmd.unwrap_or_default(),
        workdir: config.working_dir.filter(|dir| !dir.is_empty()).unwrap_or_else(|| "/".to_owned()),
    }
}

fn check_platform(name: &str, image: &ImageInspect) -> Result<(), ContainerError> {
    let machine = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let os = image.os.as_deref().filter(|os| !os.is_empty()).unwrap_or("linux");
    let architecture = image.architecture.as_deref().filter(|it| !it.is_empty()).unwrap_or(machine);
    if (os, architecture) == ("linux", machine) {
        return Ok(());
    }
    let (is, wanted) = (format!("{os}/{architecture}"), format!("linux/{machine}"));
    Err(ContainerError::Platform { image: name.to_owned(), is, wanted })
}

/// The program that trials start in the image, where it is known before a trial is: not one of the
/// code, of gridctl, or of a parameter.
fn program(image: &StagedImage, sweep: &FrozenSweep) -> Result<Option<String>, ContainerError> {
    let mut words = image.entrypoint(sweep);
    match sweep.spec.command.is_empty() {
        true => words.extend(image.own_command(sweep)),
        false => words.extend(sweep.spec.command.iter().cloned()),
    }
    let Some(first) = words.into_iter().next() else {
        return Err(ContainerError::NothingToStart { image: image.name.clone() });
    };
    let is_of_code = sweep.sources.code.is_some() && first.contains('/') && !first.starts_with('/');
    Ok(Some(first).filter(|first| !first.contains("${") && !is_of_code && first != "gridctl"))
}

/// Runs our supervisor in the image, to see whether it starts, and as whom.
async fn probe(
    engine: &Engine,
    image: &StagedImage,
    binary: &Path,
    programs: &[String],
) -> Result<ProbeReport, ContainerError> {
    let words = [BINARY, "slot", "--probe", "--"].map(str::to_owned);
    let new = NewContainer {
        image: &image.id,
        argv: words.into_iter().chain(programs.iter().cloned()).collect(),
        binary,
        user: image.user.as_deref(),
        env: Vec::new(),
        network: "none".to_owned(),
        mounts: Vec::new(),
        privilege: Privilege::None,
        mem_mib: 0,
        shm_mib: 0,
        gpus: &[],
        labels: HashMap::new(),
        removes_itself: false,
    };
    let no_libc = |why: String| ContainerError::NoLibc { image: image.name.clone(), why };
    let id = engine.create(new).await?;
    match engine.start(&id).await {
        Err(ContainerError::Docker { why, .. }) if why.contains("no such file") => {
            return Err(no_libc(NO_LOADER.to_owned()));
        }
        started => started?,
    }
    let code = engine.ended(&id, PROBES_WITHIN).await?;
    let (out, all) = engine.printed(&id).await;
    engine.remove(&id).await;
    match serde_json::from_str(out.trim()) {
        Ok(report) if code == 0 => Ok(report),
        _ => {
            if all.contains(BINARY) && all.contains("no such file") {
                return Err(no_libc(NO_LOADER.to_owned()));
            }
            let last = all.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it printed nothing");
            Err(no_libc(format!("exit {code}, {}", last.trim())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_pinned_to_the_digest_of_the_registry_that_it_is_named_after() {
        let digests =
            ["other:5000/env@sha256:1", "localhost:5000/env@sha256:2", "python@sha256:3"].map(str::to_owned);
        for (name, expected) in [
            ("localhost:5000/env:1", Some("localhost:5000/env@sha256:2")),
            ("localhost:5000/env@sha256:2", Some("localhost:5000/env@sha256:2")),
            ("python:3.13-slim", Some("python@sha256:3")),
            ("docker.io/library/python", Some("python@sha256:3")),
            ("mine", None),
        ] {
            assert_eq!(pin(name, &digests), expected, "{name}");
        }
    }
}
