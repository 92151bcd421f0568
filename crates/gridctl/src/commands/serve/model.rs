//! Processes that answer: a JSON line in, a JSON line out.
//! Invariant: an answer belongs to its request. A process that was late, died, or said something else is ended, with
//! all that it started, and another one begins.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::input::reason;
use crate::output::{self, sanitise};

/// How many requests wait at most.
const WAITING: usize = 256;
/// So much longer than others the first answer of a process may take: it loads its model before.
const START: Duration = Duration::from_secs(120);
/// The longest line of a process, in bytes.
const MAX_LINE: u64 = 16 << 20;
/// Lines that are no JSON and are passed over before an answer.
const MAX_PASSED: usize = 1_000;

/// What answers.
#[derive(Debug)]
pub(super) struct ModelCommand {
    pub(super) argv: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) dir: PathBuf,
    /// Longest that an answer may take.
    pub(super) timeout: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ModelError {
    /// Too many requests wait.
    #[error("too many requests wait for an answer: try again later")]
    Busy,
    /// The process cannot be started.
    #[error("cannot start {program}: {why}")]
    Start { program: String, why: String },
    /// It ended, or closed its output.
    #[error("the model's process ended without an answer ({how}): its stderr may say why")]
    Ended { how: String },
    /// It took too long.
    #[error("the model gave no answer within {} s", .0.as_secs_f64())]
    Late(Duration),
    /// It printed no JSON.
    #[error("the model printed no JSON line, but: {0}")]
    NoJson(String),
    /// Its line is too long.
    #[error("the model's answer is longer than 16 MiB")]
    TooLong,
    /// The request is none that the model can answer.
    #[cfg(feature = "train")]
    #[error(transparent)]
    Request(#[from] gridctl_trainer::RequestError),
    /// It answered what nobody asked.
    #[error("the model printed more than one JSON line for a request")]
    OutOfStep,
}

struct Job {
    request: String,
    answer: oneshot::Sender<Result<Value, ModelError>>,
}

/// The processes, and the requests that wait for them.
pub(super) struct ModelPool {
    jobs: mpsc::Sender<Job>,
    is_well: Arc<AtomicBool>,
    /// Ends with this.
    _workers: JoinSet<()>,
}

impl ModelPool {
    /// Starts so many processes.
    pub(super) async fn start(command: ModelCommand, processes: usize) -> Result<Self, ModelError> {
        let (jobs, waiting) = mpsc::channel(WAITING);
        let (command, waiting) = (Arc::new(command), Arc::new(Mutex::new(waiting)));
        let is_well = Arc::new(AtomicBool::new(true));
        let mut workers = JoinSet::new();
        for _ in 0..processes {
            let process = ModelProcess::start(&command)?;
            let (command, waiting) = (Arc::clone(&command), Arc::clone(&waiting));
            workers.spawn(work(command, Some(process), waiting, Arc::clone(&is_well)));
        }
        Ok(Self { jobs, is_well, _workers: workers })
    }

    /// The answer to a request, a JSON text without line ends.
    pub(super) async fn ask(&self, request: String) -> Result<Value, ModelError> {
        let (answer, answered) = oneshot::channel();
        self.jobs.try_send(Job { request, answer }).map_err(|_| ModelError::Busy)?;
        answered.await.map_err(|_| ModelError::Busy)?
    }

    /// Whether the last answer was one.
    pub(super) fn is_well(&self) -> bool {
        self.is_well.load(Ordering::Relaxed)
    }
}

async fn work(
    command: Arc<ModelCommand>,
    mut process: Option<ModelProcess>,
    waiting: Arc<Mutex<mpsc::Receiver<Job>>>,
    is_well: Arc<AtomicBool>,
) {
    loop {
        let Some(job) = waiting.lock().await.recv().await else { return };
        // Who asked may have gone.
        if job.answer.is_closed() {
            continue;
        }
        if let Some(mut started) = process.take() {
            match timeout(command.timeout, started.pass_chatter()).await {
                Ok(Ok(())) => process = Some(started),
                Ok(Err(error)) => output::say(format_args!("{error}: it is started anew")),
                Err(_) => output::say("the model does not stop printing: it is started anew"),
            }
        }
        let answer = match process.take().map_or_else(|| ModelProcess::start(&command), Ok) {
            Ok(mut started) => {
                let answer = started.answer(&job.request, command.timeout).await;
                process = answer.is_ok().then_some(started);
                answer
            }
            Err(error) => Err(error),
        };
        is_well.store(answer.is_ok(), Ordering::Relaxed);
        drop(job.answer.send(answer));
    }
}

/// A process that answers.
struct ModelProcess {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    has_answered: bool,
}

impl ModelProcess {
    fn start(command: &ModelCommand) -> Result<Self, ModelError> {
        let (program, words) =
            command.argv.split_first().map_or(("", &[][..]), |(first, rest)| (first, rest));
        let failed = |why: String| {
            let program = sanitise::short(program, 80);
            ModelError::Start { program, why }
        };
        let env = command.env.iter().map(|(name, value)| (name, value));
        let mut start = Command::new(program);
        start.args(words).env_clear().envs(env).current_dir(&command.dir).process_group(0);
        start.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = start.spawn().map_err(|error| failed(reason(&error)))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed("it has no pipes".to_owned()));
        };
        Ok(Self { child, input, output: BufReader::new(output), has_answered: false })
    }

    /// Whether it has printed more, or closed its output.
    fn has_more(&self) -> bool {
        let mut output = [PollFd::new(self.output.get_ref(), PollFlags::IN)];
        !self.output.buffer().is_empty() || poll(&mut output, Some(&Timespec::default())).is_ok_and(|n| n > 0)
    }

    /// Reads what it printed since its last answer. A further answer would be taken for that to the next request.
    async fn pass_chatter(&mut self) -> Result<(), ModelError> {
        while self.has_more() {
            let line = self.line().await?;
            if self.has_answered && answer_in(&line).is_some() {
                return Err(ModelError::OutOfStep);
            }
        }
        Ok(())
    }

    /// The next line, with its end.
    async fn line(&mut self) -> Result<Vec<u8>, ModelError> {
        let mut line = Vec::new();
        let read = (&mut self.output).take(MAX_LINE).read_until(b'\n', &mut line).await;
        match read {
            Err(error) => Err(self.ended(Some(error)).await),
            Ok(_) if line.len() as u64 == MAX_LINE => Err(ModelError::TooLong),
            Ok(_) if !line.ends_with(b"\n") => Err(self.ended(None).await),
            Ok(_) => Ok(line),
        }
    }

    async fn answer(&mut self, request: &str, within: Duration) -> Result<Value, ModelError> {
        let within = if self.has_answered { within } else { within + START };
        let answer = timeout(within, self.exchange(request)).await.map_err(|_| ModelError::Late(within))?;
        self.has_answered |= answer.is_ok();
        answer
    }

    async fn exchange(&mut self, request: &str) -> Result<Value, ModelError> {
        let line = format!("{request}\n");
        let sent = async {
            self.input.write_all(line.as_bytes()).await?;
            self.input.flush().await
        };
        if let Err(error) = sent.await {
            return Err(self.ended(Some(error)).await);
        }
        for _ in 0..MAX_PASSED {
            // What libraries print when they are loaded is no answer.
            if let Some(answer) = answer_in(&self.line().await?) {
                return Ok(answer);
            }
        }
        let line = self.line().await?;
        let text = String::from_utf8_lossy(&line);
        Err(ModelError::NoJson(sanitise::short(text.trim(), 120)))
    }

    /// How it ended, if it did so soon.
    async fn ended(&mut self, error: Option<io::Error>) -> ModelError {
        let status = timeout(Duration::from_secs(1), self.child.wait()).await;
        let how = match (status, error) {
            (Ok(Ok(status)), _) => status.to_string(),
            (_, Some(error)) => reason(&error),
            (_, None) => "it closed its output".to_owned(),
        };
        ModelError::Ended { how }
    }
}

fn answer_in(line: &[u8]) -> Option<Value> {
    serde_json::from_slice(line).ok().filter(Value::is_object)
}

impl Drop for ModelProcess {
    fn drop(&mut self) {
        let group = self.child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        if let Some(group) = group {
            // It may have ended meanwhile.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
