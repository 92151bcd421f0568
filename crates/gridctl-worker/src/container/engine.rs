//! Docker as it is needed here: a dozen calls, each of which says what it was for when it fails.
//! Invariant: only the socket of this machine is talked to; no container shares a namespace of the
//! host's, is privileged, or gains privileges.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::models::{
    ContainerConfig, ContainerCreateBody, DeviceRequest, HealthConfig, HostConfig, HostConfigLogConfig,
    ImageInspect, Mount, MountType, ResourcesUlimits,
};
use bollard::query_parameters::{
    CommitContainerOptions, CreateContainerOptions, CreateImageOptions, InspectContainerOptions,
    ListContainersOptions, LogsOptions, RemoveContainerOptions,
};
use bollard::{API_DEFAULT_VERSION, Docker};
use tokio_stream::StreamExt;

use super::{BINARY, ContainerError, login};

/// A call that has nothing to wait for may take so long, in seconds.
const ANSWERS_WITHIN_S: u64 = 120;
/// Between looks whether a container has ended.
const LOOK: Duration = Duration::from_millis(10);
/// Processes and threads of a container.
const PIDS: i64 = 2_048;
/// Open files of a process.
const FILES: i64 = 16_384;
/// Of Docker's disk so much stays free, in MiB.
const KEPT_FREE_MIB: u64 = 1_024;

/// What the processes of a container may do beyond what any process may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Privilege {
    /// Nothing.
    None,
    /// Change the network of the container that it shares.
    Network,
    /// What `docker build` lets the commands of a Dockerfile do.
    Build,
}

/// A container to be made. Our binary is in each.
#[derive(Debug, Clone)]
pub(super) struct NewContainer<'a> {
    pub(super) image: &'a str,
    /// Program and arguments.
    pub(super) argv: Vec<String>,
    pub(super) binary: &'a Path,
    /// `None`: as the image says.
    pub(super) user: Option<&'a str>,
    pub(super) env: Vec<String>,
    /// Docker's word for it: `none`, `bridge`, `container:ID`.
    pub(super) network: String,
    /// What it sees of the host, where, and whether it may write there.
    pub(super) mounts: Vec<(PathBuf, PathBuf, bool)>,
    pub(super) privilege: Privilege,
    /// MiB; 0: no limit.
    pub(super) mem_mib: u64,
    /// MiB of `/dev/shm`; 0: Docker's 64.
    pub(super) shm_mib: u64,
    pub(super) gpus: &'a [String],
    pub(super) labels: HashMap<String, String>,
    /// Docker removes it as soon as it has ended.
    pub(super) removes_itself: bool,
}

/// The connection.
#[derive(Debug, Clone)]
pub(super) struct Engine {
    docker: Docker,
}

fn failed(what: &'static str) -> impl Fn(Error) -> ContainerError {
    move |error| ContainerError::Docker { what, why: told(&error) }
}

/// What Docker says, without our own words around it.
fn told(error: &Error) -> String {
    match error {
        Error::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        Error::DockerStreamError { error } => error.trim().to_owned(),
        other => other.to_string(),
    }
}

fn is_missing(error: &Error) -> bool {
    matches!(error, Error::DockerResponseServerError { status_code: 404, .. })
}

/// Where Docker listens.
fn socket() -> Result<String, ContainerError> {
    if let Ok(host) = std::env::var("DOCKER_HOST")
        && !host.is_empty()
    {
        return match host.strip_prefix("unix://") {
            Some(path) => Ok(path.to_owned()),
            None => Err(ContainerError::Elsewhere(host)),
        };
    }
    let usual = "/var/run/docker.sock".to_owned();
    let own = std::env::var("XDG_RUNTIME_DIR").map(|dir| format!("{dir}/docker.sock"));
    let rootless = own.ok().filter(|own| !Path::new(&usual).exists() && Path::new(own).exists());
    Ok(rootless.unwrap_or(usual))
}

impl Engine {
    /// Docker of this machine, which has answered.
    pub(super) async fn connect() -> Result<Self, ContainerError> {
        let socket = socket()?;
        let silent = |error: Error| {
            // The innermost reason is the one that a person can act on.
            let mut why: &dyn std::error::Error = &error;
            while let Some(source) = why.source() {
                why = source;
            }
            ContainerError::NoDocker { socket: format!("unix://{socket}"), why: why.to_string() }
        };
        let found = std::os::unix::net::UnixStream::connect(&socket);
        found.map_err(|error| silent(Error::IOError { err: error }))?;
        let docker =
            Docker::connect_with_unix(&socket, ANSWERS_WITHIN_S, API_DEFAULT_VERSION).map_err(silent)?;
        let docker = docker.negotiate_version().await.map_err(silent)?;
        Ok(Self { docker })
    }

    /// What is known of an image, if it is here.
    pub(super) async fn image(&self, name: &str) -> Result<Option<ImageInspect>, ContainerError> {
        match self.docker.inspect_image(name).await {
            Ok(image) => Ok(Some(image)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(failed("look at the image")(error)),
        }
    }

    /// Fetches an image with the caller's login, unless it has no room.
    pub(super) async fn pull(&self, image: &str) -> Result<(), ContainerError> {
        let slash = image.rfind('/').map_or(0, |at| at + 1);
        let is_tagged = image[slash..].contains([':', '@']);
        let whole = if is_tagged { image.to_owned() } else { format!("{image}:latest") };
        let options = CreateImageOptions { from_image: Some(whole), ..CreateImageOptions::default() };
        let (dir, free_mib) = self.room().await?;
        let mut pulling =
            Box::pin(self.docker.create_image(Some(options), None, login::credentials(image).await));
        let mut layers: HashMap<String, u64> = HashMap::new();
        while let Some(progress) = pulling.next().await {
            let progress = progress.map_err(|error| refused(image, &told(&error)))?;
            let total = progress.progress_detail.and_then(|detail| detail.total);
            if let (Some(layer), Some(total)) =
                (progress.id, total.and_then(|total| u64::try_from(total).ok()))
            {
                layers.insert(layer, total);
            }
            let needs_mib = layers.values().sum::<u64>() >> 20;
            // What is given up here Docker gives up too.
            if free_mib.is_some_and(|free| needs_mib + KEPT_FREE_MIB.min(free / 20) > free) {
                let free_mib = free_mib.unwrap_or_default();
                return Err(ContainerError::TooLarge { image: image.to_owned(), needs_mib, free_mib, dir });
            }
        }
        Ok(())
    }

    /// Where Docker keeps images, and how many MiB are free there, as far as that can be seen.
    async fn room(&self) -> Result<(String, Option<u64>), ContainerError> {
        let info = self.docker.info().await.map_err(failed("say how it is"))?;
        let dir = info.docker_root_dir.unwrap_or_default();
        let seen = Path::new(&dir).ancestors().find_map(|dir| rustix::fs::statvfs(dir).ok());
        Ok((dir, seen.map(|disk| (disk.f_bavail * disk.f_frsize) >> 20)))
    }

    /// Makes a container; its id.
    pub(super) async fn create(&self, new: NewContainer<'_>) -> Result<String, ContainerError> {
        let mut argv = new.argv.into_iter();
        let mounts = new.mounts.iter().map(|(from, to, writes)| bind(from, to, *writes));
        let mounts = mounts.chain([bind(new.binary, Path::new(BINARY), false)]).collect();
        let limit = |mib: u64| i64::try_from(mib << 20).ok().filter(|bytes| *bytes > 0);
        let gpus = DeviceRequest {
            driver: Some("nvidia".to_owned()),
            device_ids: Some(new.gpus.to_vec()),
            capabilities: Some(vec![vec!["gpu".to_owned()]]),
            ..DeviceRequest::default()
        };
        let all = || Some(vec!["ALL".to_owned()]);
        let (cap_drop, cap_add) = match new.privilege {
            Privilege::None => (all(), None),
            Privilege::Network => (all(), Some(vec!["NET_ADMIN".to_owned()])),
            Privilege::Build => (None, None),
        };
        let host = HostConfig {
            memory: limit(new.mem_mib),
            memory_swap: limit(new.mem_mib),
            shm_size: limit(new.shm_mib),
            pids_limit: Some(PIDS),
            ulimits: Some(vec![ResourcesUlimits {
                name: Some("nofile".to_owned()),
                soft: Some(FILES),
                hard: Some(FILES),
            }]),
            device_requests: (!new.gpus.is_empty()).then(|| vec![gpus]),
            log_config: Some(HostConfigLogConfig {
                typ: Some("json-file".to_owned()),
                config: Some(HashMap::from([("max-size".to_owned(), "1m".to_owned())])),
            }),
            network_mode: Some(new.network),
            auto_remove: Some(new.removes_itself),
            mounts: Some(mounts),
            cap_add,
            cap_drop,
            init: Some(false),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            ..HostConfig::default()
        };
        let body = ContainerCreateBody {
            image: Some(new.image.to_owned()),
            entrypoint: argv.next().map(|program| vec![program]),
            cmd: Some(argv.collect()),
            user: new.user.map(str::to_owned),
            env: Some(new.env),
            healthcheck: Some(HealthConfig {
                test: Some(vec!["NONE".to_owned()]),
                ..HealthConfig::default()
            }),
            labels: Some(new.labels),
            host_config: Some(host),
            ..ContainerCreateBody::default()
        };
        let options = None::<CreateContainerOptions>;
        let made = self.docker.create_container(options, body).await;
        Ok(made.map_err(failed("make a container"))?.id)
    }

    /// Starts a container; one that cannot be started is removed.
    pub(super) async fn start(&self, id: &str) -> Result<(), ContainerError> {
        let started = self.docker.start_container(id, None).await;
        if started.is_err() {
            self.remove(id).await;
        }
        started.map_err(failed("start a container"))
    }

    /// The exit code of a container that ends `within` a time; else it is removed.
    pub(super) async fn ended(&self, id: &str, within: Duration) -> Result<i64, ContainerError> {
        let end = async {
            loop {
                let options = None::<InspectContainerOptions>;
                let found = self.docker.inspect_container(id, options).await;
                let state = found.map_err(failed("look at a container"))?.state.unwrap_or_default();
                if state.running != Some(true) {
                    return Ok(state.exit_code.unwrap_or_default());
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        if let Ok(ended) = tokio::time::timeout(within, end).await {
            return ended;
        }
        self.remove(id).await;
        let why = format!("it had not ended after {} s", within.as_secs());
        Err(ContainerError::Docker { what: "wait for a container", why })
    }

    /// The process of a container on this machine, if it runs.
    pub(super) async fn pid(&self, id: &str) -> Option<u32> {
        let found = self.docker.inspect_container(id, None::<InspectContainerOptions>).await.ok()?;
        u32::try_from(found.state?.pid?).ok().filter(|pid| *pid > 0)
    }

    /// Bytes that a container has written into its own root.
    pub(super) async fn written(&self, id: &str) -> Option<u64> {
        let options = InspectContainerOptions { size: true };
        let found = self.docker.inspect_container(id, Some(options)).await.ok()?;
        u64::try_from(found.size_rw?).ok()
    }

    /// The end of what a container printed: standard output, and all of it.
    pub(super) async fn printed(&self, id: &str) -> (String, String) {
        let options =
            LogsOptions { stdout: true, stderr: true, tail: "200".to_owned(), ..LogsOptions::default() };
        let mut lines = Box::pin(self.docker.logs(id, Some(options)));
        let (mut out, mut all) = (Vec::new(), Vec::new());
        while let Some(Ok(line)) = lines.next().await {
            if let LogOutput::StdOut { message } = &line {
                out.extend_from_slice(message);
            }
            all.extend_from_slice(&line.into_bytes());
        }
        (String::from_utf8_lossy(&out).into_owned(), String::from_utf8_lossy(&all).into_owned())
    }

    /// Ends and removes a container, if it is there.
    pub(super) async fn remove(&self, id: &str) {
        let options = RemoveContainerOptions { v: true, force: true, link: false };
        match self.docker.remove_container(id, Some(options)).await {
            Ok(()) => {}
            // It is gone, or going by itself.
            Err(Error::DockerResponseServerError { status_code: 404 | 409, .. }) => {}
            Err(error) => tracing::warn!("a container stays ({id}): {}", told(&error)),
        }
    }

    /// Containers with a label, and all labels of each.
    pub(super) async fn labelled(&self, label: &str) -> Vec<(String, HashMap<String, String>)> {
        let filters = HashMap::from([("label".to_owned(), vec![label.to_owned()])]);
        let options =
            ListContainersOptions { all: true, filters: Some(filters), ..ListContainersOptions::default() };
        let found = self.docker.list_containers(Some(options)).await.unwrap_or_default();
        let known = found.into_iter().filter_map(|it| Some((it.id?, it.labels.unwrap_or_default())));
        known.collect()
    }

    /// Makes an image of what a container has become.
    pub(super) async fn commit(&self, id: &str, (repo, tag): (&str, &str)) -> Result<(), ContainerError> {
        let options = CommitContainerOptions {
            container: Some(id.to_owned()),
            repo: Some(repo.to_owned()),
            tag: Some(tag.to_owned()),
            ..CommitContainerOptions::default()
        };
        let made = self.docker.commit_container(options, ContainerConfig::default()).await;
        made.map(drop).map_err(failed("keep what `setup` has made"))
    }
}

fn bind(from: &Path, to: &Path, writes: bool) -> Mount {
    Mount {
        target: Some(to.to_string_lossy().into_owned()),
        source: Some(from.to_string_lossy().into_owned()),
        typ: Some(MountType::BIND),
        read_only: Some(!writes),
        ..Mount::default()
    }
}

/// What a registry's refusal is.
fn refused(image: &str, why: &str) -> ContainerError {
    let (image, lower) = (image.to_owned(), why.to_ascii_lowercase());
    let busy = ["toomanyrequests", "429", "503", "timeout", "connection refused", "no such host"];
    let why = why.to_owned();
    if busy.iter().any(|word| lower.contains(word)) {
        ContainerError::Registry { image, why }
    } else {
        ContainerError::NoImage { image, why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k93_a_registry_that_is_busy_is_told_from_one_that_does_not_have_it() {
        let busy = refused("a", "toomanyrequests: You have reached your pull rate limit");
        assert!(busy.is_passing() && busy.help().unwrap().contains("docker login"), "{busy}");
        let missing = refused("nonesuch", "pull access denied for nonesuch, repository does not exist");
        assert!(!missing.is_passing() && missing.help().unwrap().contains("docker build -t nonesuch"));
    }
}
