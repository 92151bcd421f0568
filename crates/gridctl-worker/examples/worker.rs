//! A worker process on its own, as the tests of this crate start it:
//! `worker MASTER DIR SLOTS SLOT_PROGRAM [--parent-pipe]`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use gridctl_core::slot::SILENCE_MS;
use gridctl_worker::slot::SlotProgram;
use gridctl_worker::{MasterPlace, WorkerConfig, run};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [master, dir, slots, slot_program, rest @ ..] = args.as_slice() else {
        eprintln!("worker MASTER DIR SLOTS SLOT_PROGRAM [--parent-pipe]");
        return ExitCode::from(2);
    };
    let (Ok(address), Ok(slots)) = (master.parse(), slots.parse()) else { return ExitCode::from(2) };
    let dir = Path::new(dir);
    let config = WorkerConfig {
        id: None,
        master: MasterPlace::Here { address, token: None },
        machine: None,
        host: "test".to_owned(),
        work_dir: dir.join("work"),
        cache_dir: dir.join("cache"),
        datasets: dir.join("datasets"),
        slots: Some(slots),
        gpus: None,
        mark: dir.display().to_string(),
        slot_program: SlotProgram { path: PathBuf::from(slot_program), args: Vec::new() },
        carried: None,
        container_disk_mib: 1_024,
        own_output: Vec::new(),
        slot_silence: Duration::from_millis(SILENCE_MS),
        parent_pipe: rest.iter().any(|arg| arg == "--parent-pipe"),
        own_process: true,
        taken: None,
        joined: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.map_err(|error| error.to_string());
    match result.and_then(|runtime| runtime.block_on(run(config)).map_err(|error| error.to_string())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("worker: {error}");
            ExitCode::FAILURE
        }
    }
}
