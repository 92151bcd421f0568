//! The supervisor's loop against a pretended process: what it does, in which order.

use super::*;

fn start(id: u64) -> SlotRequest {
    SlotRequest::Start(TrainerStart {
        id,
        argv: Vec::new(),
        env: Vec::new(),
        cwd: String::new(),
        by_ms: 1_000,
    })
}

const EXIT: ReapedTrainer =
    ReapedTrainer { exit: TrainerExit::Code(0), cpu_ms: 0, peak_rss_kib: 0, left_behind: 0 };

/// A process that does what it is told, and notes it.
#[derive(Default)]
struct Process {
    supervisor: SlotSupervisor,
    unsent: usize,
    said: Vec<String>,
}

impl Process {
    /// Does all until the next wait, in which `requests` are there for one read; reads that find
    /// nothing are noted.
    fn until_wait(&mut self, now: u64, mut requests: Vec<SlotRequest>) -> SlotWait {
        loop {
            let todo = self.supervisor.next(self.unsent);
            match todo {
                SupervisorTodo::Wait(wait) => return wait,
                SupervisorTodo::ReadRequests if requests.is_empty() => self.said.push("blocks".to_owned()),
                SupervisorTodo::ReadRequests => {
                    requests.drain(..).for_each(|request| self.supervisor.asked(Time(now), request))
                }
                SupervisorTodo::Start(start) if start.id >= 100 => {
                    let not = NotStarted { fault: StartFault::Command, text: String::new() };
                    self.supervisor.started(Time(now), Err(not));
                }
                SupervisorTodo::Start(start) => {
                    self.said.push(format!("start {}", start.id));
                    self.supervisor.started(Time(now), Ok(7));
                }
                SupervisorTodo::Signal(signal) => {
                    self.said.push(format!("signal {signal}"));
                    self.supervisor.signalled();
                }
                SupervisorTodo::Reap => self.supervisor.reaped(Time(now), EXIT),
                SupervisorTodo::Say(event) => {
                    self.unsent += 10;
                    self.said.push(match event {
                        SlotEvent::Started { id, .. } => format!("started {id}"),
                        SlotEvent::NotStarted { id, .. } => format!("not started {id}"),
                        SlotEvent::Withdrawn { id } => format!("withdrawn {id}"),
                        SlotEvent::Exited { id, asked, .. } => format!("exited {id} {asked}"),
                        SlotEvent::Pong { number } => format!("pong {number}"),
                        SlotEvent::Output { .. } => "output".to_owned(),
                    });
                }
                SupervisorTodo::Send => {
                    self.unsent = 0;
                    self.said.push("send".to_owned());
                    self.supervisor.sent(0);
                }
                SupervisorTodo::Relay(_) | SupervisorTodo::SetBase(_) | SupervisorTodo::ReapStrays => {}
            }
        }
    }

    /// A wait sees `seen`; all that is done then.
    fn sees(&mut self, seen: WaitOutcome, requests: Vec<SlotRequest>) -> Vec<String> {
        self.supervisor.saw(seen);
        self.until_wait(0, requests);
        std::mem::take(&mut self.said)
    }
}

const REQUESTS: WaitOutcome =
    WaitOutcome { requests: true, exit: false, stdout: false, stderr: false, nothing: false };
const ENDED: WaitOutcome = WaitOutcome { exit: true, requests: false, ..REQUESTS };
const BOTH: WaitOutcome = WaitOutcome { exit: true, ..REQUESTS };
const NOTHING: WaitOutcome = WaitOutcome { nothing: true, requests: false, ..REQUESTS };

#[test]
fn what_was_seen_once_is_read_once() {
    let mut process = Process::default();
    assert_eq!(process.sees(REQUESTS, vec![start(1)]), ["start 1", "started 1"]);
    assert_eq!(process.sees(NOTHING, vec![]), ["send"], "the rest is over");
    // The end and a request in one look: the request is read after the end, and once.
    assert_eq!(process.sees(BOTH, vec![start(2)]), ["exited 1 false", "start 2", "started 2", "send"]);
    // The end alone: a glance shows whether something came during the rest.
    process.supervisor.saw(ENDED);
    let glance = SlotWait { requests: true, at_most_ms: Some(0), ..SlotWait::default() };
    assert_eq!(process.until_wait(0, vec![]), glance);
    assert_eq!(process.said, ["exited 2 false"]);
    process.said.clear();
    assert_eq!(process.sees(REQUESTS, vec![start(3)]), ["start 3", "started 3", "send"]);
    process.supervisor.saw(ENDED);
    assert_eq!(process.until_wait(0, vec![]), glance);
    process.said.clear();
    assert_eq!(process.sees(NOTHING, vec![]), ["send"]);
    assert_eq!(process.until_wait(0, vec![]), SlotWait { requests: true, ..SlotWait::default() }, "for ever");
}

#[test]
fn one_waits_behind_another_and_is_started_withdrawn_or_too_late() {
    let mut process = Process::default();
    let said = process.sees(REQUESTS, vec![start(1), start(2), start(3)]);
    assert_eq!(said, ["start 1", "started 1", "not started 3", "send"]);
    assert_eq!(process.sees(ENDED, vec![]), ["exited 1 false", "start 2", "started 2", "send"]);
    process.sees(NOTHING, vec![]);
    let withdraw = SlotRequest::Withdraw { id: 3 };
    assert_eq!(process.sees(REQUESTS, vec![start(3), withdraw.clone(), withdraw]), ["withdrawn 3", "send"]);
    process.sees(REQUESTS, vec![start(4)]);
    process.supervisor.saw(ENDED);
    process.until_wait(1_001, vec![]);
    assert_eq!(process.said, ["exited 2 false", "withdrawn 4", "send"]);
}

#[test]
fn a_signal_is_for_the_trainer_that_it_names_while_that_is_there() {
    let mut process = Process::default();
    let signal = |id| SlotRequest::Signal { id, signal: 15 };
    let said = process.sees(REQUESTS, vec![start(1), signal(1), signal(2), start(2)]);
    assert_eq!(said, ["start 1", "started 1", "signal 15"]);
    assert_eq!(process.sees(BOTH, vec![signal(1)]), ["exited 1 true", "start 2", "started 2", "send"]);
    let mut process = Process::default();
    let said = process.sees(REQUESTS, vec![start(100), signal(100), start(2)]);
    assert_eq!(said, ["not started 100", "start 2", "started 2", "send"], "what waits behind it begins");
}

#[test]
fn a_ping_is_answered_at_once_unless_the_slot_rests() {
    let mut process = Process::default();
    process.sees(REQUESTS, vec![start(1)]);
    let rests = process.until_wait(0, vec![]);
    assert_eq!((rests.requests, rests.exit, rests.at_most_ms), (false, true, Some(REST_MS)));
    process.sees(NOTHING, vec![]);
    assert!(process.until_wait(0, vec![]).requests);
    assert_eq!(process.sees(REQUESTS, vec![SlotRequest::Ping { number: 5 }]), ["pong 5", "send"]);
}

#[test]
fn while_the_worker_does_not_read_neither_is_the_trainer_but_requests_are() {
    let mut process = Process::default();
    process.supervisor.asked(Time(0), start(1));
    assert!(matches!(process.supervisor.next(0), SupervisorTodo::Start(_)));
    process.supervisor.started(Time(0), Ok(1));
    process.supervisor.relayed(Time(0), LOW_WATER);
    assert!(matches!(process.supervisor.next(0), SupervisorTodo::Say(_)));
    assert_eq!(process.supervisor.next(300 << 10), SupervisorTodo::Send);
    process.supervisor.sent(300 << 10);
    let SupervisorTodo::Wait(wait) = process.supervisor.next(300 << 10) else { panic!("a wait follows") };
    assert!(wait.requests && wait.send && wait.exit && !wait.output, "{wait:?}");
}
