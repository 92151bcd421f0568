//! Long messages in pieces: reports that a worker kept for hours, grants by the thousand.
//! Invariant: the pieces of a message, taken in order, say what the message said; a `Hello` counts
//! only once it is whole.

use prost::Message as _;

use gridctl_core::protocol::{Hello, ToMaster, ToWorker, WorkerUpdate};

use crate::field::FieldError;
use crate::{limits, v1};

/// A worker's message in pieces of about [`limits::CHUNK_BYTES`].
#[must_use]
pub fn to_master(message: ToMaster) -> Vec<v1::WorkerMessage> {
    use v1::worker_message::Say;
    let message = v1::WorkerMessage::from(message);
    if message.encoded_len() <= limits::CHUNK_BYTES {
        return vec![message];
    }
    match message.say {
        Some(Say::Hello(mut hello)) => {
            let rest = chunks(std::mem::take(&mut hello.reports));
            hello.reports_to_follow = rest.iter().map(|reports| length(reports.len())).sum();
            let mut pieces = vec![piece(Say::Hello(hello))];
            pieces.extend(rest.into_iter().map(|reports| piece(Say::Update(only_reports(reports)))));
            pieces
        }
        Some(Say::Update(mut update)) => {
            let mut parts = chunks(std::mem::take(&mut update.reports));
            update.reports = parts.pop().unwrap_or_default();
            let mut pieces: Vec<_> =
                parts.into_iter().map(|reports| piece(Say::Update(only_reports(reports)))).collect();
            pieces.push(piece(Say::Update(update)));
            pieces
        }
        None => Vec::new(),
    }
}

fn piece(say: v1::worker_message::Say) -> v1::WorkerMessage {
    v1::WorkerMessage { say: Some(say) }
}

fn only_reports(reports: Vec<v1::Report>) -> v1::WorkerUpdate {
    v1::WorkerUpdate { reports, ..v1::WorkerUpdate::default() }
}

fn length(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// A master's message in pieces of about [`limits::CHUNK_BYTES`]: versions of sweeps first, for
/// grants refer to them.
#[must_use]
pub fn to_worker(message: ToWorker) -> Vec<v1::MasterMessage> {
    use v1::master_message::Say;
    let message = v1::MasterMessage::from(message);
    if message.encoded_len() <= limits::CHUNK_BYTES {
        return vec![message];
    }
    let Some(Say::Update(mut update)) = message.say else { return vec![message] };
    let mut updates: Vec<v1::MasterUpdate> = Vec::new();
    for sweep in std::mem::take(&mut update.sweeps) {
        updates.push(v1::MasterUpdate { sweeps: vec![sweep], ..v1::MasterUpdate::default() });
    }
    for grants in chunks(std::mem::take(&mut update.grants)) {
        updates.push(v1::MasterUpdate { grants, ..v1::MasterUpdate::default() });
    }
    updates.push(update);
    updates.into_iter().map(|update| v1::MasterMessage { say: Some(Say::Update(update)) }).collect()
}

/// `items` in order, in groups of about [`limits::CHUNK_BYTES`].
fn chunks<T: prost::Message>(items: Vec<T>) -> Vec<Vec<T>> {
    let mut groups: Vec<Vec<T>> = Vec::new();
    let mut room = 0;
    for item in items {
        let len = item.encoded_len();
        match groups.last_mut() {
            Some(group) if len <= room => {
                group.push(item);
                room -= len;
            }
            _ => {
                groups.push(vec![item]);
                room = limits::CHUNK_BYTES.saturating_sub(len);
            }
        }
    }
    groups
}

/// A worker's opening words, until its `Hello` is whole.
#[derive(Debug)]
pub struct StreamOpening {
    hello: Hello,
    missing: usize,
    bytes: usize,
}

impl StreamOpening {
    /// Begins with a connection's first message.
    ///
    /// # Errors
    /// The message is not a `Hello`, or not a good one.
    pub fn begin(message: v1::WorkerMessage) -> Result<Self, FieldError> {
        use v1::worker_message::Say;
        let Some(Say::Hello(hello)) = message.say else {
            return Err(FieldError::new("say", "a connection begins with `hello`"));
        };
        let missing = usize::try_from(hello.reports_to_follow).unwrap_or(usize::MAX);
        if missing > limits::MAX_HELLO_REPORTS {
            let problem = format!("is {missing}, at most {} are taken", limits::MAX_HELLO_REPORTS);
            return Err(FieldError::new("reports_to_follow", problem));
        }
        let bytes = hello.encoded_len();
        Ok(Self { hello: hello.try_into()?, missing, bytes })
    }

    /// Whether the `Hello` is whole.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.missing == 0
    }

    /// Takes a further message of a `Hello` that is not whole.
    ///
    /// # Errors
    /// The message is not an update with reports, holds more than was announced, or is not a good
    /// one.
    pub fn push(&mut self, message: v1::WorkerMessage) -> Result<(), FieldError> {
        let len = message.encoded_len();
        let ToMaster::Update(WorkerUpdate { reports, .. }) = message.try_into()? else {
            return Err(FieldError::new("say", "`hello` comes once on a connection"));
        };
        if reports.is_empty() || reports.len() > self.missing {
            let problem = format!("{} more of `hello` were announced, {} came", self.missing, reports.len());
            return Err(FieldError::new("reports", problem));
        }
        self.bytes += len;
        if self.bytes > limits::MAX_HELLO_BYTES {
            let problem = format!("`hello` has over {} bytes", limits::MAX_HELLO_BYTES);
            return Err(FieldError::new("reports", problem));
        }
        self.missing -= reports.len();
        self.hello.reports.extend(reports);
        Ok(())
    }

    /// The whole `Hello`; `None` while something is missing.
    #[must_use]
    pub fn finish(self) -> Option<Hello> {
        self.is_whole().then_some(self.hello)
    }
}
