//! `gridctl master` and `gridctl worker`: the daemons.
//! Invariant: what they log goes to stderr; SIGTERM ends either cleanly.

use std::path::Path;
use std::time::Duration;

use gridctl_core::sched::Timing;
use gridctl_master::{Advert, Listen, MasterConfig, Secure};
use gridctl_worker::slot::SlotProgram;
use gridctl_worker::{Address, Join, JoinAddressError, MasterPlace, WorkerConfig, WorkerError};
use tracing_subscriber::EnvFilter;

use crate::cli::{MasterArgs, WorkerArgs};
use crate::exit::{Exit, Failure, Outcome};
use crate::output;
use crate::runtime;
use crate::settings::{self, LEVELS, Settings};
use crate::source::pointer::LaunchPointer;
use crate::source::{self, chain};
use crate::{datadir, mark, own_output};

/// How much a trial's container may write into its own root, where nobody says otherwise.
const CONTAINER_DISK_MIB: u64 = 10 << 10;
/// How long a slot that has work may be silent when it is asked for a sign, where nobody says otherwise.
const SLOT_SILENCE: Duration = Duration::from_secs(30);

/// Runs the master.
pub(crate) fn master(args: &MasterArgs, settings: &Settings) -> Outcome {
    log_to_stderr(settings, "info")?;
    let dir = settings.data_dir.for_sweep(&settings.cwd)?;
    dir.make()?;
    let dir = dir.journal;
    LaunchPointer::remove(&dir);
    let mut config = MasterConfig::new(&dir);
    config.timing = timing(args.lease_ttl)?;
    config.allow_network_fs = args.allow_network_fs;
    if let Some(address) = args.listen {
        let listen = match args.plain {
            true => Listen::Plain(address),
            false => Listen::Secure(Secure {
                address,
                advertise: args.advertise.clone(),
                advertise_workers: args.advertise_workers.clone(),
                join_file: args.join_file.clone(),
                certificate_life: args.certificate_life,
                operators: None,
            }),
        };
        config = config
            .listen_on(listen)
            .map_err(|error| Failure { exit: Exit::Usage, ..source::master_failure(&error) })?;
    }
    let runtime = runtime::shared()?;
    let ready = |advert: &Advert| say_where(advert, &dir, args.join_file.as_deref());
    let ended = match &args.fleet_spec {
        None => runtime.block_on(gridctl_master::run(config, ready)),
        Some(path) => runtime.block_on(super::cloud::master(config, ready, path))?,
    };
    ended.map_err(|error| source::master_failure(&error))?;
    Ok(Exit::Ok)
}

/// Says where the master is, and how others come to it.
fn say_where(advert: &Advert, dir: &Path, join_file: Option<&Path>) {
    output::say(format_args!("serving {} at {}", dir.display(), advert.socket_address()));
    if let Some(address) = advert.tcp {
        output::say(format_args!(
            "and at http://{address}; the token for GRIDCTL_TOKEN is in {}",
            dir.join("master.json").display()
        ));
    }
    let Some(url) = &advert.url else { return };
    output::say(format_args!("people elsewhere: export GRIDCTL_MASTER='{url}'"));
    output::say("with a token of `gridctl token create --role read|submit|admin`, made here");
    match join_file {
        Some(path) => {
            output::say(format_args!("workers elsewhere: gridctl worker --join-file {}", path.display()));
        }
        None => output::say(
            "workers elsewhere: gridctl worker --join URL, with one of `gridctl token create --role worker`, \
             made here",
        ),
    }
}

/// How a worker finds its master: by what it joins with, or where a person or the data directory says.
fn master_place(args: &WorkerArgs, settings: &Settings) -> Result<MasterPlace, Failure> {
    if let Some(path) = &args.join_file {
        return Ok(MasterPlace::Join(Join::File(path.clone())));
    }
    if let Some(text) = &args.join {
        // What was typed may hold a token, and is not shown.
        let address = text.parse().map_err(|error: JoinAddressError| {
            Failure::usage("worker::join", error.to_string())
                .help("`gridctl token create --role worker`, where the master runs, prints one")
        })?;
        return Ok(MasterPlace::Join(Join::Address(address)));
    }
    let place = source::place(settings, &settings.cwd)?;
    if let Address::Secure { .. } = place.address {
        return Err(Failure::usage(
            "worker::join",
            "a worker comes to a master on another machine by a join token",
        )
        .help(
            "--join-file FILE, which `gridctl master --join-file FILE` keeps, or --join URL, which \
                   `gridctl token create --role worker` prints",
        ));
    }
    Ok(MasterPlace::Here { address: place.address, token: place.token })
}

/// Runs a worker.
pub(crate) fn worker(args: &WorkerArgs, settings: &Settings) -> Outcome {
    log_to_stderr(settings, if args.parent_pipe { "warn" } else { "info" })?;
    let master = master_place(args, settings)?;
    let dir = settings.data_dir.for_sweep(&settings.cwd)?.journal;
    let id = args.id.as_deref().map(str::parse).transpose();
    let config = WorkerConfig {
        id: id.map_err(|error: gridctl_core::id::IdError| Failure::usage("worker::id", error.to_string()))?,
        machine: args.machine_id.clone(),
        work_dir: datadir::work_dir(args.work_dir.as_deref(), &dir),
        slots: args.machine.slots,
        gpus: args.machine.gpus.clone().map(|list| list.0),
        own_output: args
            .parent_pipe
            .then(rustix::process::getppid)
            .flatten()
            .map_or_else(Vec::new, own_output::files_of),
        carried: args.machine.binary.clone(),
        container_disk_mib: args.machine.container_disk,
        slot_silence: args.slot_silence,
        parent_pipe: args.parent_pipe,
        ..worker_config(master, &dir)?
    };
    let result = runtime::single()?.block_on(gridctl_worker::run(config));
    match result {
        Ok(()) => Ok(Exit::Ok),
        Err(WorkerError::Stopped) => Ok(Exit::Interrupted),
        Err(error @ (WorkerError::Orphaned | WorkerError::Unreported)) => {
            Err(Failure { exit: Exit::Unreachable, ..Failure::error("worker", chain(&error)) })
        }
        Err(error @ WorkerError::Unfit(_)) => {
            Err(Failure { exit: Exit::Paused, ..Failure::error("worker", chain(&error)) })
        }
        Err(error) => Err(Failure::error("worker", chain(&error))),
    }
}

/// A worker of `master` that has its files in the data directory `dir`, as it is where nobody says otherwise.
pub(crate) fn worker_config(master: MasterPlace, dir: &Path) -> Result<WorkerConfig, Failure> {
    let this = std::env::current_exe()
        .map_err(|error| Failure::error("worker", format!("cannot find the running binary: {error}")))?;
    Ok(WorkerConfig {
        id: None,
        master,
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        machine: None,
        work_dir: datadir::work_dir(None, dir),
        cache_dir: dir.join("cache"),
        datasets: datadir::datasets(dir),
        slots: None,
        gpus: None,
        mark: mark::of(dir),
        own_output: Vec::new(),
        slot_program: SlotProgram { path: this, args: vec!["slot".to_owned()] },
        carried: None,
        container_disk_mib: CONTAINER_DISK_MIB,
        slot_silence: SLOT_SILENCE,
        parent_pipe: false,
        own_process: true,
        taken: None,
        joined: None,
    })
}

/// Leases of this length, with six heartbeats in each.
pub(crate) fn timing(lease: Duration) -> Result<Timing, Failure> {
    let ttl_ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
    Timing::new(ttl_ms, (ttl_ms / 6).max(1), 3_600_000, ttl_ms.max(60_000))
        .map_err(|error| Failure::usage("master::timing", error.to_string()))
}

/// Logs to stderr at the level that was set, or this one.
pub(crate) fn log_to_stderr(settings: &Settings, level: &str) -> Result<(), Failure> {
    let filter = match &settings.log {
        Some(set) => settings::level(&set.value)
            .map_err(|why| Failure::usage("settings::value", format!("{}: {why}", set.by)).help(LEVELS))?,
        None => EnvFilter::new(level),
    };
    // A line that cannot be written, to a full disk for one, is lost: the complaint about it would go
    // to stderr too, and end the task that had something to say.
    let plain = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .log_internal_errors(false);
    // A second call would be a mistake of ours that does no harm.
    let _ = plain.try_init();
    Ok(())
}
