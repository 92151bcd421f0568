//! Runs a sweep's `setup`: a line for the shell, in the directory of the code and in the environment
//! that trainers get.
//! Invariant: it ends within its time, and nothing that it started goes on after it.

use std::future::Future;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use gridctl_core::protocol::FrozenSweep;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

use super::StagingFault;
use crate::attempt::WorkerMachine;
use crate::marks;
use crate::slot::EnvironmentBase;

/// It may take so long.
const WITHIN: Duration = Duration::from_secs(3_600);
/// What it printed last is read for so long after its end.
const DRAIN: Duration = Duration::from_millis(200);
/// Bytes and lines of its output that are shown where it fails.
const SHOWN_BYTES: usize = 6_000;
const SHOWN_LINES: usize = 40;

/// Runs `command` in `dir`, for the directory of code of this name.
pub(super) async fn run(
    machine: &Arc<WorkerMachine>,
    sweep: &Arc<FrozenSweep>,
    (command, dir, name): (&str, &Path, &str),
) -> Result<(), StagingFault> {
    let version = machine.versions.get(sweep, EnvironmentBase::Caller);
    let version = version.map_err(StagingFault::lasting)?;
    let begun = |error: io::Error| StagingFault::passing(format!("`setup` cannot be started: {error}"));
    tracing::info!("`setup` begins: {command}");
    // Two sweeps may be set up at once, and neither ends what the other started.
    let mark = format!("{}/setup-{name}", machine.mark);
    let (process, output) =
        SetupProcess::start(machine, (command, dir), (mark.clone(), version.environment(&mark)))
            .map_err(begun)?;
    let (how, tail) = follow(process, output, tokio::time::sleep(WITHIN)).await;
    let how = match how {
        Some(status) if status.success() => {
            tracing::info!("`setup` has succeeded");
            return Ok(());
        }
        Some(status) => said(status),
        None => format!("it had not ended after {} minutes", WITHIN.as_secs() / 60),
    };
    let text = String::from_utf8_lossy(&tail);
    let text = version.secrets.mask(&text);
    Err(StagingFault::lasting(format!("`setup` failed ({how}):\n{}", end_of(&text))))
}

fn said(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// The last lines of a text.
fn end_of(text: &str) -> String {
    let start = text.len().saturating_sub(SHOWN_BYTES);
    let start = (start..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let lines: Vec<&str> = text[start..].trim_end().lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}

/// The shell, until this is dropped.
struct SetupProcess {
    machine: Arc<WorkerMachine>,
    mark: String,
    pid: u32,
    child: Child,
}

impl SetupProcess {
    fn start(
        machine: &Arc<WorkerMachine>,
        (command, dir): (&str, &Path),
        (mark, env): (String, Vec<(String, String)>),
    ) -> io::Result<(Self, pipe::Receiver)> {
        let (reader, writer) = io::pipe()?;
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(command).current_dir(dir).env_clear().envs(env);
        shell.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        shell.process_group(0).kill_on_drop(true);
        // Under the lock: whoever ends what dead slots left must not take it for that.
        let mut known = machine.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let child = shell.spawn()?;
        let pid = child.id().unwrap_or_default();
        known.push(pid);
        drop(known);
        let process = Self { machine: Arc::clone(machine), mark, pid, child };
        Ok((process, pipe::Receiver::from_owned_fd(reader.into())?))
    }
}

impl Drop for SetupProcess {
    fn drop(&mut self) {
        marks::end_marked(&self.mark);
        let mut known = self.machine.slots.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|pid| *pid != self.pid);
    }
}

/// Waits for its end, `None` if `late` comes first, and returns the end of what it printed.
async fn follow(
    mut process: SetupProcess,
    mut output: pipe::Receiver,
    late: impl Future<Output = ()>,
) -> (Option<ExitStatus>, Vec<u8>) {
    let mut late = pin!(late);
    let (mut tail, mut buffer, mut is_open) = (Vec::new(), vec![0; 16 << 10], true);
    let take = |bytes: &[u8], tail: &mut Vec<u8>| {
        tail.extend_from_slice(bytes);
        let beyond = tail.len().saturating_sub(2 * SHOWN_BYTES);
        tail.drain(..beyond);
    };
    let status = loop {
        tokio::select! {
            read = output.read(&mut buffer), if is_open => match read {
                Ok(n @ 1..) => take(&buffer[..n], &mut tail),
                Ok(0) | Err(_) => is_open = false,
            },
            status = process.child.wait() => break status.ok(),
            () = &mut late => return (None, tail),
        }
    };
    let drain = async {
        while let Ok(n @ 1..) = output.read(&mut buffer).await {
            take(&buffer[..n], &mut tail);
        }
    };
    // A process that it has left may hold the other end.
    let _ = tokio::time::timeout(DRAIN, drain).await;
    (status, tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_shown() {
        let text: String = (0..100).map(|n| format!("line {n}\n")).collect();
        let shown = end_of(&text);
        assert!(shown.starts_with("line 60\n") && shown.ends_with("line 99"), "{shown}");
        assert!(end_of(&"ä".repeat(10_000)).len() <= SHOWN_BYTES);
        assert_eq!(end_of(""), "");
    }
}
