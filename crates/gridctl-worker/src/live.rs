//! What attempts print while they go on, for who follows them: read now and then, and sent if there is room.
//! Invariant: no attempt waits for a follower, nor does the stream of heartbeats; what does not fit is shed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use gridctl_core::id::{LeaseSeq, WorkerId};
use gridctl_core::live::{MOST_FOLLOWED, OutputTail};
use gridctl_proto::v1;
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use crate::connection::Client;
use crate::event_loop::Wish;

/// Between looks at what is followed.
const LOOK: Duration = Duration::from_millis(200);
/// Pieces that wait for a master that is slow to read.
const WAITING: usize = 8;

/// The end of one attempt's output.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedTail(Arc<Mutex<OutputTail>>);

impl SharedTail {
    pub(crate) fn lock(&self) -> MutexGuard<'_, OutputTail> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The outputs of a worker's attempts, for as long as those go on.
#[derive(Debug, Clone, Default)]
pub(crate) struct LiveOutputs(Arc<Mutex<HashMap<LeaseSeq, Weak<Mutex<OutputTail>>>>>);

impl LiveOutputs {
    /// An attempt begins.
    pub(crate) fn add(&self, lease: LeaseSeq, tail: &SharedTail) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, tail| tail.strong_count() > 0);
        all.insert(lease, Arc::downgrade(&tail.0));
    }

    fn find(&self, lease: LeaseSeq) -> Option<SharedTail> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&lease)?.upgrade().map(SharedTail)
    }
}

/// What a master may ask of a worker beside its trials.
#[derive(Debug)]
pub(crate) struct LiveSide {
    pub(crate) worker: WorkerId,
    pub(crate) outputs: LiveOutputs,
    /// The worker's own loop.
    pub(crate) wish: UnboundedSender<Wish>,
}

/// Does what the master asks for, until either end has had enough.
pub(crate) async fn serve(mut client: Client, LiveSide { worker, outputs, wish }: LiveSide) {
    let (to, said) = mpsc::channel(WAITING);
    let first = v1::live_output::Say::Worker(worker.0.to_vec());
    // The other end of the channel is here.
    let _ = to.try_send(v1::LiveOutput { say: Some(first) });
    let mut asked = match client.live(ReceiverStream::new(said)).await {
        Ok(asked) => asked.into_inner(),
        Err(status) => return tracing::debug!("nobody can follow output: {status}"),
    };
    let mut followed: HashMap<LeaseSeq, u64> = HashMap::new();
    loop {
        tokio::select! {
            message = asked.next() => match message {
                Some(Ok(v1::LiveRequest { kill: true, .. })) => die(),
                Some(Ok(v1::LiveRequest { interrupt: true, .. })) => {
                    // The loop is at its end already if nobody listens.
                    let _ = wish.send(Wish::Leave { lead_ms: 0 });
                }
                Some(Ok(v1::LiveRequest { leases, .. })) => {
                    let leases = leases.into_iter().take(MOST_FOLLOWED).map(LeaseSeq);
                    followed = leases.map(|it| (it, followed.get(&it).copied().unwrap_or(0))).collect();
                }
                Some(Err(_)) | None => return,
            },
            () = tokio::time::sleep(LOOK), if !followed.is_empty() => {
                followed.retain(|lease, sent| send(&to, &outputs, *lease, sent));
            }
        }
    }
}

/// Ends this process as a failure of its machine would: nothing is told, and nothing is put in order.
fn die() {
    tracing::warn!("killed, as `gridctl chaos` asked for");
    // A process may always kill itself.
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
}

/// Sends as much as there is room for; false if nothing more will come.
fn send(to: &mpsc::Sender<v1::LiveOutput>, outputs: &LiveOutputs, lease: LeaseSeq, sent: &mut u64) -> bool {
    let Some(tail) = outputs.find(lease) else {
        return to.try_send(piece(lease, *sent, &[], true)).is_err();
    };
    let tail = tail.lock();
    loop {
        let (from, bytes) = tail.since(*sent);
        if bytes.is_empty() || to.try_send(piece(lease, from, bytes, false)).is_err() {
            return true;
        }
        *sent = from + bytes.len() as u64;
    }
}

fn piece(lease: LeaseSeq, from: u64, bytes: &[u8], over: bool) -> v1::LiveOutput {
    let piece = v1::OutputPiece { lease: lease.0, from, data: bytes.to_vec(), over };
    v1::LiveOutput { say: Some(v1::live_output::Say::Piece(piece)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn output_is_sent_as_far_as_there_is_room_and_its_end_is_told() {
        let (to, mut said) = mpsc::channel(2);
        let (outputs, lease) = (LiveOutputs::default(), LeaseSeq(7));
        let tail = SharedTail::default();
        outputs.add(lease, &tail);
        let mut sent = 0;
        tail.lock().push(&[b'x'; 150 << 10]);
        tail.lock().trim();
        assert!(send(&to, &outputs, lease, &mut sent), "the rest is for later");
        assert!(send(&to, &outputs, lease, &mut sent), "a full line holds nobody up");
        let mut next = || said.try_recv().ok().and_then(|it| it.say);
        let Some(v1::live_output::Say::Piece(first)) = next() else { panic!("a piece") };
        assert_eq!((first.from, first.data.len()), (86 << 10, 32 << 10), "what was shed is passed over");
        assert!(next().is_some() && next().is_none());
        assert_eq!(sent, 150 << 10);
        drop(tail);
        assert!(!send(&to, &outputs, lease, &mut sent));
        assert!(matches!(next(), Some(v1::live_output::Say::Piece(piece)) if piece.over));
    }
}
