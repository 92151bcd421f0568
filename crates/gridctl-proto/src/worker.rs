//! `worker.proto` to and from `gridctl_core::protocol`.
//! Invariant: what one side makes of a value, the other takes, and reads back as the same value;
//! only texts over their limit are cut.

use std::sync::Arc;

use gridctl_core::id::{Epoch, Fingerprint, LeaseSeq, SweepId, Token, TrialId, WorkerId};
use gridctl_core::machine::MachineHealth;
use gridctl_core::protocol::{
    CannotRun, Capacity, Grant, Hello, MAX_CANNOT_RUN, MasterUpdate, ToMaster, ToWorker, Welcome,
    WorkerUpdate,
};
use gridctl_core::spec::Resources;

use crate::field::{FieldError, all, clip, id, json, present, text};
use crate::{limits, v1};

impl From<ToMaster> for v1::WorkerMessage {
    fn from(message: ToMaster) -> Self {
        use v1::worker_message::Say;
        let say = match message {
            ToMaster::Hello(hello) => Say::Hello(hello.into()),
            ToMaster::Update(update) => Say::Update(update.into()),
        };
        Self { say: Some(say) }
    }
}

impl TryFrom<v1::WorkerMessage> for ToMaster {
    type Error = FieldError;

    fn try_from(message: v1::WorkerMessage) -> Result<Self, FieldError> {
        use v1::worker_message::Say;
        Ok(match present("say", message.say)? {
            Say::Hello(hello) => Self::Hello(hello.try_into()?),
            Say::Update(update) => Self::Update(update.try_into()?),
        })
    }
}

impl From<Hello> for v1::Hello {
    fn from(hello: Hello) -> Self {
        Self {
            protocol: hello.protocol,
            release: clip(hello.release),
            worker: hello.worker.0.to_vec(),
            host: clip(hello.host),
            capacity: Some(hello.capacity.into()),
            held: hello.held.into_iter().map(Into::into).collect(),
            reports: hello.reports.into_iter().map(Into::into).collect(),
            prefetch: hello.prefetch,
            draining: hello.draining,
            reports_to_follow: 0,
            health: (!hello.health.is_fit()).then(|| hello.health.into()),
            cannot_run: hello.cannot_run.into_iter().map(Into::into).collect(),
            machine: hello.machine.map(clip),
            taken: hello.taken,
        }
    }
}

impl TryFrom<v1::Hello> for Hello {
    type Error = FieldError;

    fn try_from(hello: v1::Hello) -> Result<Self, FieldError> {
        Ok(Self {
            protocol: hello.protocol,
            release: text("release", hello.release, limits::MAX_TEXT_BYTES)?,
            worker: WorkerId(id("worker", &hello.worker)?),
            host: text("host", hello.host, limits::MAX_TEXT_BYTES)?,
            capacity: present("capacity", hello.capacity)?.into(),
            held: all("held", hello.held, limits::MAX_HELD, TryInto::try_into)?,
            reports: all("reports", hello.reports, limits::MAX_REPORTS, TryInto::try_into)?,
            prefetch: hello.prefetch,
            draining: hello.draining,
            health: hello.health.map(TryInto::try_into).transpose()?.unwrap_or_default(),
            cannot_run: all("cannot_run", hello.cannot_run, MAX_CANNOT_RUN, TryInto::try_into)?,
            machine: hello
                .machine
                .map(|machine| text("machine", machine, limits::MAX_TEXT_BYTES))
                .transpose()?,
            taken: hello.taken,
        })
    }
}

impl From<CannotRun> for v1::CannotRun {
    fn from(CannotRun { sweep, version, why }: CannotRun) -> Self {
        Self { sweep: sweep.0, version, why: clip(why) }
    }
}

impl TryFrom<v1::CannotRun> for CannotRun {
    type Error = FieldError;

    fn try_from(it: v1::CannotRun) -> Result<Self, FieldError> {
        let why = text("cannot_run.why", it.why, limits::MAX_TEXT_BYTES)?;
        Ok(Self { sweep: SweepId(it.sweep), version: it.version, why })
    }
}

impl From<MachineHealth> for v1::MachineHealth {
    fn from(health: MachineHealth) -> Self {
        use v1::machine_health::How;
        let how = match health {
            MachineHealth::Fit => How::Fit(true),
            MachineHealth::Resting { fault } => How::Resting(clip(fault)),
            MachineHealth::CannotPublish { fault } => How::CannotPublish(clip(fault)),
            MachineHealth::GivenUp { fault } => How::GivenUp(clip(fault)),
        };
        Self { how: Some(how) }
    }
}

impl TryFrom<v1::MachineHealth> for MachineHealth {
    type Error = FieldError;

    fn try_from(health: v1::MachineHealth) -> Result<Self, FieldError> {
        use v1::machine_health::How;
        let fault = |fault| text("health", fault, limits::MAX_TEXT_BYTES);
        Ok(match present("health", health.how)? {
            How::Fit(_) => Self::Fit,
            How::Resting(why) => Self::Resting { fault: fault(why)? },
            How::CannotPublish(why) => Self::CannotPublish { fault: fault(why)? },
            How::GivenUp(why) => Self::GivenUp { fault: fault(why)? },
        })
    }
}

impl From<Capacity> for v1::Capacity {
    fn from(Capacity { cpu_milli, mem_mib, gpus, slots }: Capacity) -> Self {
        Self { cpu_milli, mem_mib, gpus, slots }
    }
}

impl From<v1::Capacity> for Capacity {
    fn from(v1::Capacity { cpu_milli, mem_mib, gpus, slots }: v1::Capacity) -> Self {
        Self { cpu_milli, mem_mib, gpus, slots }
    }
}

impl From<(Token, SweepId, TrialId)> for v1::Held {
    fn from((token, sweep, trial): (Token, SweepId, TrialId)) -> Self {
        Self { token: Some(token.into()), sweep: sweep.0, trial: trial.0.to_vec() }
    }
}

impl TryFrom<v1::Held> for (Token, SweepId, TrialId) {
    type Error = FieldError;

    fn try_from(held: v1::Held) -> Result<Self, FieldError> {
        let token = present("held.token", held.token)?.into();
        Ok((token, SweepId(held.sweep), TrialId(id("held.trial", &held.trial)?)))
    }
}

impl From<Token> for v1::Token {
    fn from(token: Token) -> Self {
        Self { epoch: token.epoch.0, lease: token.lease.0, attempt: token.attempt }
    }
}

impl From<v1::Token> for Token {
    fn from(token: v1::Token) -> Self {
        Self { epoch: Epoch(token.epoch), lease: LeaseSeq(token.lease), attempt: token.attempt }
    }
}

impl From<WorkerUpdate> for v1::WorkerUpdate {
    fn from(update: WorkerUpdate) -> Self {
        let progress =
            |(lease, step, value): (LeaseSeq, i64, f64)| v1::Progress { lease: lease.0, step, value };
        Self {
            reports: update.reports.into_iter().map(Into::into).collect(),
            progress: update.progress.into_iter().map(progress).collect(),
            prefetch: update.prefetch,
            draining: update.draining,
            taken: update.taken,
            bye: update.bye,
            ping: update.ping,
            health: update.health.map(Into::into),
            cannot_run: update.cannot_run.map(|versions| v1::CannotRunList {
                versions: versions.into_iter().map(Into::into).collect(),
            }),
        }
    }
}

impl TryFrom<v1::WorkerUpdate> for WorkerUpdate {
    type Error = FieldError;

    fn try_from(update: v1::WorkerUpdate) -> Result<Self, FieldError> {
        let progress = |item: v1::Progress| Ok((LeaseSeq(item.lease), item.step, item.value));
        Ok(Self {
            reports: all("reports", update.reports, limits::MAX_REPORTS, TryInto::try_into)?,
            progress: all("progress", update.progress, limits::MAX_PROGRESS, progress)?,
            prefetch: update.prefetch,
            draining: update.draining,
            taken: update.taken,
            bye: update.bye,
            ping: update.ping,
            health: update.health.map(TryInto::try_into).transpose()?,
            cannot_run: update
                .cannot_run
                .map(|list| all("cannot_run", list.versions, MAX_CANNOT_RUN, TryInto::try_into))
                .transpose()?,
        })
    }
}

impl From<ToWorker> for v1::MasterMessage {
    fn from(message: ToWorker) -> Self {
        use v1::master_message::Say;
        let say = match message {
            ToWorker::Welcome(welcome) => Say::Welcome(welcome.into()),
            ToWorker::Update(update) => Say::Update(update.into()),
            ToWorker::Refused(why) => Say::Refused(v1::Refused { why: clip(why) }),
        };
        Self { say: Some(say) }
    }
}

impl TryFrom<v1::MasterMessage> for ToWorker {
    type Error = FieldError;

    fn try_from(message: v1::MasterMessage) -> Result<Self, FieldError> {
        use v1::master_message::Say;
        Ok(match present("say", message.say)? {
            Say::Welcome(welcome) => Self::Welcome(welcome.into()),
            Say::Update(update) => Self::Update(update.try_into()?),
            Say::Refused(refused) => Self::Refused(text("why", refused.why, limits::MAX_TEXT_BYTES)?),
        })
    }
}

impl From<Welcome> for v1::Welcome {
    fn from(welcome: Welcome) -> Self {
        Self {
            epoch: welcome.epoch.0,
            ttl_ms: welcome.ttl_ms,
            heartbeat_ms: welcome.heartbeat_ms,
            orphan_after_ms: welcome.orphan_after_ms,
        }
    }
}

impl From<v1::Welcome> for Welcome {
    fn from(welcome: v1::Welcome) -> Self {
        Self {
            epoch: Epoch(welcome.epoch),
            ttl_ms: welcome.ttl_ms,
            heartbeat_ms: welcome.heartbeat_ms,
            orphan_after_ms: welcome.orphan_after_ms,
        }
    }
}

fn numbers(leases: Vec<LeaseSeq>) -> Vec<u64> {
    leases.into_iter().map(|lease| lease.0).collect()
}

fn leases(field: &'static str, numbers: Vec<u64>) -> Result<Vec<LeaseSeq>, FieldError> {
    all(field, numbers, limits::MAX_LEASES, |number| Ok(LeaseSeq(number)))
}

impl From<MasterUpdate> for v1::MasterUpdate {
    fn from(update: MasterUpdate) -> Self {
        let version = |(sweep, version, frozen): (SweepId, u32, _)| {
            let frozen_json =
                serde_json::to_string(&frozen).expect("a frozen sweep has text keys and finite numbers");
            v1::SweepVersion { sweep: sweep.0, version, frozen_json }
        };
        Self {
            sweeps: update.sweeps.into_iter().map(version).collect(),
            grants: update.grants.into_iter().map(Into::into).collect(),
            recorded: numbers(update.recorded),
            fenced: numbers(update.fenced),
            cancel: numbers(update.cancel),
            drain_ms: update.drain_ms,
        }
    }
}

impl TryFrom<v1::MasterUpdate> for MasterUpdate {
    type Error = FieldError;

    fn try_from(update: v1::MasterUpdate) -> Result<Self, FieldError> {
        let version = |version: v1::SweepVersion| {
            let frozen = json("frozen_json", &version.frozen_json, limits::MAX_FROZEN_BYTES)?;
            Ok((SweepId(version.sweep), version.version, Arc::new(frozen)))
        };
        Ok(Self {
            sweeps: all("sweeps", update.sweeps, limits::MAX_SWEEPS, version)?,
            grants: all("grants", update.grants, limits::MAX_GRANTS, TryInto::try_into)?,
            recorded: leases("recorded", update.recorded)?,
            fenced: leases("fenced", update.fenced)?,
            cancel: leases("cancel", update.cancel)?,
            drain_ms: update.drain_ms,
        })
    }
}

impl From<Grant> for v1::Grant {
    fn from(grant: Grant) -> Self {
        Self {
            token: Some(grant.token.into()),
            sweep: grant.sweep.0,
            version: grant.version,
            trial: grant.trial.0.to_vec(),
            index: grant.index,
            params_json: serde_json::to_string(&grant.params)
                .expect("parameters have text keys and finite numbers"),
            repeat: grant.repeat,
            fingerprint: grant.fingerprint.0.to_vec(),
            resources: Some(grant.resources.into()),
        }
    }
}

impl TryFrom<v1::Grant> for Grant {
    type Error = FieldError;

    fn try_from(grant: v1::Grant) -> Result<Self, FieldError> {
        Ok(Self {
            token: present("grant.token", grant.token)?.into(),
            sweep: SweepId(grant.sweep),
            version: grant.version,
            trial: TrialId(id("grant.trial", &grant.trial)?),
            index: grant.index,
            params: json("params_json", &grant.params_json, limits::MAX_PARAMS_BYTES)?,
            repeat: grant.repeat,
            fingerprint: Fingerprint(id("grant.fingerprint", &grant.fingerprint)?),
            resources: present("grant.resources", grant.resources)?.into(),
        })
    }
}

impl From<Resources> for v1::Resources {
    fn from(Resources { cpu_milli, mem_mib, gpus }: Resources) -> Self {
        Self { cpu_milli, mem_mib, gpus }
    }
}

impl From<v1::Resources> for Resources {
    fn from(v1::Resources { cpu_milli, mem_mib, gpus }: v1::Resources) -> Self {
        Self { cpu_milli, mem_mib, gpus }
    }
}
