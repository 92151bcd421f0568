//! A memory cgroup for each slot, version 2 or else 1: it sets the sweep's `mem`, and tells a kill
//! for memory from any other. What a killed worker left alive in one is ended by the next worker,
//! even if it has cleared its environment.
//! Invariant: only cgroups that this module made are changed, and those of another worker only once
//! [`crate::leftovers`] knows that it is dead; where none can be made, [`CgroupSupport::None`] says
//! why.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Every cgroup made here is called so, and then by worker and slot.
const PREFIX: &str = "gridctl-";
/// How often a leftover is looked through for processes that were born meanwhile.
const MOST_ROUNDS: u32 = 100;
/// A process that has just ended still counts for a moment.
const PAUSE: Duration = Duration::from_millis(5);

/// Whether slots can have a memory cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CgroupSupport {
    /// They can.
    Memory(Cgroups),
    /// They cannot: `mem` is not enforced, and a kill for memory looks like any SIGKILL.
    None {
        /// What is missing, and what would help.
        why: String,
    },
}

/// Where slots' cgroups are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroups {
    version: CgroupVersion,
    /// The worker's own cgroup.
    own: PathBuf,
    /// The mount, above which there is nothing to look at.
    mount: PathBuf,
    /// The cgroup under which those of the slots are made.
    parent: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CgroupVersion {
    One,
    Two,
}

impl CgroupVersion {
    fn limit_file(self) -> &'static str {
        match self {
            Self::One => "memory.limit_in_bytes",
            Self::Two => "memory.max",
        }
    }

    /// The limit of memory and swap together (1), or of swap alone (2): a trial over its `mem` must
    /// end, not crawl.
    fn swap_file(self) -> &'static str {
        match self {
            Self::One => "memory.memsw.limit_in_bytes",
            Self::Two => "memory.swap.max",
        }
    }

    fn unlimited(self) -> &'static str {
        match self {
            Self::One => "-1",
            Self::Two => "max",
        }
    }

    fn kills_file(self) -> &'static str {
        match self {
            Self::One => "memory.oom_control",
            Self::Two => "memory.events",
        }
    }
}

impl CgroupSupport {
    /// Looks, and makes and removes a cgroup to be sure.
    #[must_use]
    pub fn detect() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let found = Cgroups::find(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"));
        let groups = match found {
            Ok(groups) => groups,
            Err(why) => return Self::None { why },
        };
        let name = getrandom::u64().unwrap_or_else(|_| std::process::id().into());
        match groups.create(&format!("probe-{name:x}")) {
            Ok(_) => Self::Memory(groups),
            Err(error) => {
                let parent = groups.parent.display();
                let why = format!(
                    "cannot make a memory cgroup under {parent}: {error}; being root or a delegated cgroup helps"
                );
                Self::None { why }
            }
        }
    }

    /// The cgroup under which those of the slots are made.
    pub(crate) fn parent(&self) -> Option<&Path> {
        match self {
            Self::Memory(groups) => Some(&groups.parent),
            Self::None { .. } => None,
        }
    }

    /// The least memory limit that already holds for this process, in bytes.
    #[must_use]
    pub fn limit(&self) -> Option<u64> {
        match self {
            Self::Memory(groups) => groups.limit(),
            Self::None { .. } => None,
        }
    }
}

impl Cgroups {
    /// Finds the memory controller by the texts of `/proc/self/cgroup` and `/proc/self/mountinfo`.
    fn find(own: &str, mounts: &str) -> Result<Self, String> {
        let two = Self::locate(CgroupVersion::Two, own, mounts).and_then(Self::second_version);
        let one = || Self::locate(CgroupVersion::One, own, mounts);
        two.or_else(one).ok_or_else(|| {
            "no cgroup with a memory controller is in reach: `mem` is not enforced, and out of memory is not told from other kills".to_owned()
        })
    }

    fn locate(version: CgroupVersion, own: &str, mounts: &str) -> Option<Self> {
        let own = own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            let wanted = match version {
                CgroupVersion::One => controllers.split(',').any(|name| name == "memory"),
                CgroupVersion::Two => number == "0" && controllers.is_empty(),
            };
            wanted.then_some(path)
        })?;
        let (root, mount) = mounts.lines().find_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let mut after = after.split(' ');
            let (kind, options) = (after.next()?, after.nth(1)?);
            let wanted = match version {
                CgroupVersion::One => kind == "cgroup" && options.split(',').any(|name| name == "memory"),
                CgroupVersion::Two => kind == "cgroup2",
            };
            let mut before = before.split(' ').skip(3);
            wanted.then_some((before.next()?, before.next()?))
        })?;
        let mount = PathBuf::from(mount);
        // In a container the path may be told from the host's root, of which the mount shows a
        // part.
        let below = own.strip_prefix(root.trim_end_matches('/')).unwrap_or(own).trim_start_matches('/');
        let own = if below.is_empty() { mount.clone() } else { mount.join(below) };
        Some(Self { version, parent: own.clone(), own, mount })
    }

    /// In version 2 a cgroup that holds processes gives its children no memory controller, so
    /// siblings are made instead.
    fn second_version(mut self) -> Option<Self> {
        let gives_memory = |dir: &Path| {
            let text = fs::read_to_string(dir.join("cgroup.subtree_control")).unwrap_or_default();
            text.split_ascii_whitespace().any(|name| name == "memory")
        };
        if !gives_memory(&self.own) {
            let above =
                self.own.parent().filter(|above| above.starts_with(&self.mount) && gives_memory(above))?;
            self.parent = above.to_owned();
        }
        Some(self)
    }

    /// Makes a cgroup for `name`, say `<worker>-<slot>`; dropping it removes it.
    ///
    /// # Errors
    /// As the system says: not allowed, mostly.
    pub fn create(&self, name: &str) -> io::Result<SlotCgroup> {
        let dir = self.parent.join(format!("{PREFIX}{name}"));
        match fs::create_dir(&dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let made = File::open(dir.join(self.version.kills_file())).and_then(|events| {
            let mut made = SlotCgroup {
                dir: dir.clone(),
                version: self.version,
                events,
                is_ours: true,
                limit_mib: 0,
                kills: 0,
            };
            made.kills = made.read_kills()?;
            fs::OpenOptions::new().write(true).open(dir.join("cgroup.procs"))?;
            Ok(made)
        });
        if made.is_err() {
            drop(fs::remove_dir(&dir));
        }
        made
    }

    fn limit(&self) -> Option<u64> {
        let dirs = self.own.ancestors().take_while(|dir| dir.starts_with(&self.mount));
        let texts = dirs.filter_map(|dir| fs::read_to_string(dir.join(self.version.limit_file())).ok());
        texts.filter_map(|text| text.trim().parse().ok()).min()
    }
}

/// One slot's cgroup.
#[derive(Debug)]
pub struct SlotCgroup {
    dir: PathBuf,
    version: CgroupVersion,
    events: File,
    /// It was made here, and goes with this.
    is_ours: bool,
    limit_mib: u64,
    /// Kills for memory that have been told.
    kills: u64,
}

impl SlotCgroup {
    /// The cgroup that another has made for the process `pid`, to tell kills for memory there.
    pub(crate) fn of_process(pid: u32) -> Option<Self> {
        let read = |path: String| fs::read_to_string(path).unwrap_or_default();
        let (own, mounts) = (read(format!("/proc/{pid}/cgroup")), read("/proc/self/mountinfo".to_owned()));
        let versions = [CgroupVersion::Two, CgroupVersion::One];
        let found = versions.into_iter().filter_map(|version| Cgroups::locate(version, &own, &mounts));
        found.into_iter().find_map(|Cgroups { version, own: dir, .. }| {
            let events = File::open(dir.join(version.kills_file())).ok()?;
            let mut made = Self { dir, version, events, is_ours: false, limit_mib: 0, kills: 0 };
            made.kills = made.read_kills().ok()?;
            Some(made)
        })
    }

    /// Moves a process here; what it starts from then on is here as well.
    ///
    /// # Errors
    /// As the system says.
    pub fn enter(&self, pid: u32) -> io::Result<()> {
        fs::write(self.dir.join("cgroup.procs"), pid.to_string())
    }

    /// Sets the limit in MiB; 0 is none. Costs nothing when it is set already.
    ///
    /// # Errors
    /// As the system says.
    pub fn set_limit(&mut self, mib: u64) -> io::Result<()> {
        if mib == self.limit_mib {
            return Ok(());
        }
        let limit = self.dir.join(self.version.limit_file());
        let swap = self.dir.join(self.version.swap_file());
        let unlimited = self.version.unlimited();
        let bytes = mib.saturating_mul(1 << 20).to_string();
        // CgroupVersion 1 keeps the limit with swap at or above the one without, at every moment;
        // machines without swap accounting lack the file.
        drop(fs::write(&swap, unlimited));
        if mib == 0 {
            fs::write(&limit, unlimited)?;
        } else {
            fs::write(&limit, &bytes)?;
            let with_swap = if self.version == CgroupVersion::One { bytes.as_str() } else { "0" };
            drop(fs::write(&swap, with_swap));
        }
        self.limit_mib = mib;
        Ok(())
    }

    /// Processes that the kernel killed here for memory since the last call. One system call.
    pub fn new_kills(&mut self) -> u64 {
        let kills = self.read_kills().unwrap_or(self.kills);
        let new = kills.saturating_sub(self.kills);
        self.kills = kills;
        new
    }

    fn read_kills(&self) -> io::Result<u64> {
        let mut text = [0; 512];
        let n = self.events.read_at(&mut text, 0)?;
        let kills = kills(&String::from_utf8_lossy(&text[..n]));
        kills.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "the kernel counts no kills for memory here")
        })
    }
}

/// Ends what is left in the cgroups below `parent` that the worker of this name made for its slots,
/// and removes them. For workers that are known to be dead.
pub(crate) fn end_left(parent: &Path, worker: &str) {
    let prefix = format!("{PREFIX}{worker}-");
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix)) {
            end_all(&entry.path());
            drop(fs::remove_dir(entry.path()));
        }
    }
}

/// Ends every process in the cgroup `dir`.
fn end_all(dir: &Path) {
    let members = || -> Vec<Pid> {
        let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect()
    };
    for _ in 0..MOST_ROUNDS {
        let found = members().into_iter();
        // The handle is taken before the second look, so that the number cannot pass to a stranger
        // between.
        let handles: Vec<_> =
            found.filter_map(|pid| Some((pid, pidfd_open(pid, PidfdFlags::empty()).ok()?))).collect();
        if handles.is_empty() {
            return;
        }
        let still = members();
        for (_, handle) in handles.iter().filter(|(pid, _)| still.contains(pid)) {
            let _ = pidfd_send_signal(handle, Signal::KILL);
        }
        thread::sleep(PAUSE);
    }
    tracing::warn!("{} still has processes that a killed worker left", dir.display());
}

/// The count, by the text of `memory.events` or `memory.oom_control`.
fn kills(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

impl Drop for SlotCgroup {
    fn drop(&mut self) {
        for _ in 0..if self.is_ours { 20 } else { 0 } {
            match fs::remove_dir(&self.dir) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => thread::sleep(PAUSE),
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_controller_is_found_in_every_layout() {
        let v1 = "31 23 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let v2 = "38 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let in_container = "31 23 0:29 /docker/ab /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        let cases = [
            ("4:memory:/a/b\n0::/\n", format!("{v2}{v1}"), "/sys/fs/cgroup/memory/a/b"),
            ("4:cpu,memory:/\n", v1.to_owned(), "/sys/fs/cgroup/memory"),
            ("4:memory:/docker/ab\n", in_container.to_owned(), "/sys/fs/cgroup/memory"),
            ("4:memory:/docker/ab/c\n", in_container.to_owned(), "/sys/fs/cgroup/memory/c"),
        ];
        for (own, mounts, expected) in cases {
            let found = Cgroups::find(own, &mounts).unwrap();
            assert_eq!(found.parent, Path::new(expected), "{own}");
        }
        for (own, mounts) in [("", v1), ("0::/x\n", v2), ("4:memory:/x\n", v2), ("nonsense", "nonsense")] {
            assert!(Cgroups::find(own, mounts).unwrap_err().contains("memory"), "{own}");
        }
    }

    #[test]
    fn in_version_2_slots_get_the_place_that_gives_memory_to_its_children() {
        let temp = tempfile::tempdir().unwrap();
        let scope = temp.path().join("app.slice/a.scope");
        fs::create_dir_all(&scope).unwrap();
        fs::write(scope.join("cgroup.subtree_control"), "").unwrap();
        fs::write(scope.join("memory.max"), "max\n").unwrap();
        fs::write(temp.path().join("app.slice/cgroup.subtree_control"), "cpu memory pids\n").unwrap();
        fs::write(temp.path().join("app.slice/memory.max"), "1048576\n").unwrap();
        let mounts = format!("38 31 0:38 / {} rw - cgroup2 cgroup2 rw\n", temp.path().display());
        let found = Cgroups::find("0::/app.slice/a.scope\n", &mounts).unwrap();
        assert_eq!(found.parent, temp.path().join("app.slice"));
        assert_eq!(found.limit(), Some(1 << 20));
        fs::write(scope.join("cgroup.subtree_control"), "memory\n").unwrap();
        assert_eq!(Cgroups::find("0::/app.slice/a.scope\n", &mounts).unwrap().parent, scope);
    }

    #[test]
    fn kills_are_counted_in_both_versions_files() {
        assert_eq!(kills("low 0\nhigh 0\nmax 9\noom 2\noom_kill 3\noom_group_kill 0\n"), Some(3));
        assert_eq!(kills("oom_kill_disable 0\nunder_oom 0\noom_kill 5\n"), Some(5));
        assert_eq!(kills("oom_kill_disable 0\nunder_oom 0\n"), None);
    }
}
