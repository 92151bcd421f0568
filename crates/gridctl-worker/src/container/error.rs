//! Why there is no container, told to people with what to do.
//! Invariant: what another machine, or a later moment, would not have either is told from what it may.

/// Why an image cannot be used, or a container not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContainerError {
    /// Built without the feature.
    #[error("this gridctl was built without containers")]
    NotBuilt,
    /// Nobody answers.
    #[error("no Docker answers at {socket}: {why}")]
    NoDocker {
        /// Where it was looked for.
        socket: String,
        /// What the system says.
        why: String,
    },
    /// `DOCKER_HOST` leads elsewhere.
    #[error("DOCKER_HOST names {0}, and slots are containers of this machine")]
    Elsewhere(String),
    /// It is not here, and no registry gives it.
    #[error("there is no image `{image}`: {why}")]
    NoImage {
        /// Its name.
        image: String,
        /// What the registry says.
        why: String,
    },
    /// It was pinned to what only the submitting machine has.
    #[error("`{image}` is on the machine alone where the sweep was submitted")]
    OnlyThere {
        /// Its name.
        image: String,
    },
    /// The registry is not reached, or does not want to be asked so often.
    #[error("the registry of `{image}` does not give it now: {why}")]
    Registry {
        /// Its name.
        image: String,
        /// What the registry says.
        why: String,
    },
    /// Made for other machines.
    #[error("`{image}` is for {is}, and this machine is {wanted}")]
    Platform {
        /// Its name.
        image: String,
        /// What it is for.
        is: String,
        /// What is wanted.
        wanted: String,
    },
    /// Our supervisor does not start in it.
    #[error("gridctl's own program does not start in `{image}`: {why}")]
    NoLibc {
        /// Its name.
        image: String,
        /// What was seen.
        why: String,
    },
    /// Neither it nor the sweep file says what to start.
    #[error("nothing says what a trial starts: `{image}` has neither an entrypoint nor a command")]
    NothingToStart {
        /// Its name.
        image: String,
    },
    /// What is to be started is not in it.
    #[error("in `{image}`: {why}")]
    Program {
        /// Its name.
        image: String,
        /// What is missing.
        why: String,
    },
    /// It does not fit on the disk.
    #[error(
        "`{image}` has at least {needs_mib} MiB, packed, and {free_mib} MiB are free where Docker keeps images ({dir})"
    )]
    TooLarge {
        /// Its name.
        image: String,
        /// What it needs.
        needs_mib: u64,
        /// What there is.
        free_mib: u64,
        /// Where.
        dir: String,
    },
    /// `setup` failed.
    #[error("`setup` failed in `{image}` ({how}):\n{tail}")]
    Setup {
        /// Its name.
        image: String,
        /// How it ended.
        how: String,
        /// What it printed last.
        tail: String,
    },
    /// Docker does not do it.
    #[error("Docker cannot {what}: {why}")]
    Docker {
        /// What was asked.
        what: &'static str,
        /// What it says.
        why: String,
    },
}

impl ContainerError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        let help = match self {
            Self::NotBuilt => "build it with the feature `docker`, which is on by default".to_owned(),
            Self::NoDocker { why, .. } if why.contains("ermission") => {
                "let your user talk to it: `sudo usermod -aG docker $USER`, and log in again".to_owned()
            }
            Self::NoDocker { .. } => {
                "start Docker, or take `image` out to run the command on this machine as it is".to_owned()
            }
            Self::Elsewhere(_) => "unset it, or name a socket of this machine: unix:///run/docker.sock".to_owned(),
            Self::NoImage { image, .. } => {
                format!("build it (`docker build -t {image} .`), correct its name, or `docker login` where it lies")
            }
            Self::OnlyThere { image } => {
                format!("push it to a registry that all machines reach: `docker push {image}`, and submit again")
            }
            Self::Registry { why, .. } if is_share(why) => "wait, or `docker login` for a larger share".to_owned(),
            Self::Registry { image, .. } => {
                format!("see whether this machine reaches the registry: `docker pull {image}`")
            }
            Self::Platform { wanted, .. } => format!("build it for this machine: `docker build --platform {wanted}`"),
            Self::NoLibc { .. } => {
                "take an image with glibc 2.28 or later (Debian 10, Ubuntu 20.04 and what is made from them; not Alpine), \
                 and a binary of `cargo portable` in GRIDCTL_BINARY"
                    .to_owned()
            }
            Self::NothingToStart { .. } => {
                "write `command: [python, train.py, \"${args}\"]` into the sweep file".to_owned()
            }
            Self::Program { .. } => {
                "correct `command` or `entrypoint` (`entrypoint: []` clears the image's own), or add it to the image".to_owned()
            }
            Self::TooLarge { .. } => "make room (`docker system prune`), or take a smaller image".to_owned(),
            Self::Setup { .. } | Self::Docker { .. } => return None,
        };
        Some(help)
    }

    /// Whether it may be otherwise after a while, with nothing changed in the sweep.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::NoDocker { .. } | Self::Registry { .. } | Self::TooLarge { .. } | Self::Docker { .. }
        )
    }
}

/// Whether a registry says that it was asked too often.
fn is_share(why: &str) -> bool {
    ["toomanyrequests", "429"].iter().any(|word| why.contains(word))
}
