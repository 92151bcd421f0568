//! The master's fleet of machines, for whoever carries out what it wants, and for people who ask what it costs.
//! Invariant: a call is handed out only once the record that it follows from is durable.

use std::time::Duration;

use gridctl_core::fleet::machines::{CloudCall, FleetSetup};
use gridctl_core::sched::{Core, FleetInput, FleetOver, Input, Request};
use gridctl_core::view::CostView;
use tokio::sync::mpsc;

use crate::clock;
use crate::error::AskError;
use crate::handle::Handle;
use crate::message::Message;

/// The plan is looked at so often.
const TICK: Duration = Duration::from_secs(1);

/// What the fleet asks of the cloud.
#[derive(Debug)]
pub struct CloudCalls {
    handle: Handle,
    calls: mpsc::UnboundedReceiver<CloudCall>,
    tick: tokio::time::Interval,
}

impl CloudCalls {
    /// The next call; the plan goes on while it is waited for.
    ///
    /// # Errors
    /// The master is ending.
    pub async fn next(&mut self) -> Result<CloudCall, AskError> {
        loop {
            tokio::select! {
                call = self.calls.recv() => return call.ok_or(AskError::Ending),
                _ = self.tick.tick() => {
                    self.handle.fleet(FleetInput::Tick { wall_ms: clock::unix_ms() }).await?;
                }
            }
        }
    }
}

impl Handle {
    /// From now on this master has a fleet that may do so much, and whoever has the calls carries them out.
    ///
    /// # Errors
    /// The master is ending.
    pub async fn begin_fleet(&self, setup: FleetSetup) -> Result<CloudCalls, AskError> {
        let (sender, calls) = mpsc::unbounded_channel();
        self.tell(Message::Fleet(sender)).await?;
        self.fleet(FleetInput::Begin { setup, wall_ms: clock::unix_ms() }).await?;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        Ok(CloudCalls { handle: self.clone(), calls, tick })
    }

    /// Says what the cloud has answered.
    ///
    /// # Errors
    /// The master is ending.
    pub async fn fleet(&self, input: FleetInput) -> Result<(), AskError> {
        self.tell(Message::Input(Input::Fleet(input))).await
    }

    /// The journal's own name, by which launches of one journal are told from those of another.
    #[must_use]
    pub fn journal(&self) -> &str {
        self.shared.shipper.journal()
    }

    /// Why the fleet is over, once it is.
    ///
    /// # Errors
    /// The master is ending.
    pub async fn fleet_over(&self) -> Result<Option<FleetOver>, AskError> {
        self.look(Core::fleet_over).await
    }

    /// What the fleet has cost.
    ///
    /// # Errors
    /// This master has no fleet, or is ending.
    pub async fn cost(&self) -> Result<CostView, AskError> {
        self.look(Core::cost).await?.ok_or(AskError::NoFleet)
    }

    /// At most so many machines from now on; those that do trials finish them.
    ///
    /// # Errors
    /// This master has no fleet, or is ending.
    pub async fn scale(&self, machines: u32) -> Result<(), AskError> {
        self.ask_fleet(move |request| FleetInput::Scale(request, machines)).await
    }

    async fn ask_fleet(
        &self,
        input: impl FnOnce(Request) -> FleetInput + Send + 'static,
    ) -> Result<(), AskError> {
        match self.ask(|request| Input::Fleet(input(request))).await? {
            0 => Err(AskError::NoFleet),
            _ => Ok(()),
        }
    }
}
