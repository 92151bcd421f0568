//! What gridctl does on EC2: an account is set up, sweeps are launched and found again, and everything is ended.
//! Invariant: "nothing is left" is said after AWS was asked again, in every region that was named; whatever is left is exit 1.

#[cfg(feature = "ec2")]
mod account;
#[cfg(feature = "ec2")]
mod down;
#[cfg(feature = "ec2")]
pub(crate) mod fleet;
#[cfg(feature = "ec2")]
mod launch;
#[cfg(feature = "ec2")]
mod machine;
#[cfg(feature = "ec2")]
mod setup;

#[cfg(not(feature = "ec2"))]
pub(crate) use self::unbuilt::{attach, aws, down, gc, launch, look, machine, master};
#[cfg(feature = "ec2")]
pub(crate) use self::{
    account::look, down::down, down::gc, fleet::master, launch::attach, launch::last_report, launch::launch,
    launch::look_again, machine::machine, setup::aws,
};

/// What a gridctl says that was built without these commands.
#[cfg(not(feature = "ec2"))]
mod unbuilt {
    use std::path::Path;

    use gridctl_master::{Advert, MasterConfig, MasterError};

    use crate::cli::{AttachArgs, AwsCommand, DownArgs, GcArgs, LaunchArgs, MachineCommand};
    use crate::commands::doctor::Finding;
    use crate::exit::{Failure, Outcome};
    use crate::settings::Settings;

    pub(crate) fn aws(_: &AwsCommand) -> Outcome {
        Err(unbuilt("`gridctl aws`"))
    }

    pub(crate) fn launch(_: &LaunchArgs, _: &Settings) -> Outcome {
        Err(unbuilt("`gridctl launch`"))
    }

    pub(crate) fn attach(_: &AttachArgs, _: &Settings) -> Outcome {
        Err(unbuilt("`gridctl attach`"))
    }

    pub(crate) fn machine(_: &MachineCommand, _: &Settings) -> Outcome {
        Err(unbuilt("`gridctl machine`"))
    }

    pub(crate) fn down(_: &DownArgs) -> Outcome {
        Err(unbuilt("`gridctl down`"))
    }

    pub(crate) fn gc(_: &GcArgs) -> Outcome {
        Err(unbuilt("`gridctl gc`"))
    }

    pub(crate) fn look(_: Option<String>) -> Result<Vec<Finding>, Failure> {
        Err(unbuilt("`gridctl doctor --aws`"))
    }

    pub(crate) async fn master(
        _: MasterConfig,
        _: impl FnOnce(&Advert),
        _: &Path,
    ) -> Result<Result<(), MasterError>, Failure> {
        Err(unbuilt("`gridctl master --fleet-spec`"))
    }

    fn unbuilt(what: &str) -> Failure {
        Failure::usage("cloud::unbuilt", format!("{what} is not in this gridctl: it was built without EC2"))
            .help("`cargo build --release --features ec2` builds one with it, which takes some minutes more")
    }
}

/// Why AWS did not do what it was asked, for a person.
#[cfg(feature = "ec2")]
fn failure(error: &gridctl_fleet::ec2::CloudError) -> crate::exit::Failure {
    use gridctl_fleet::ec2::CloudError;
    let failure = crate::exit::Failure::error("cloud", error.to_string()).help(error.help());
    match error {
        CloudError::NotAllowed { .. } | CloudError::Refused { .. } => {
            crate::exit::Failure { exit: crate::exit::Exit::NotAllowed, ..failure }
        }
        _ => failure,
    }
}

/// Why the account's bucket did not do what it was asked, for a person.
#[cfg(feature = "ec2")]
fn bucket_failure(error: &gridctl_storage::volume::VolumeError) -> crate::exit::Failure {
    crate::exit::Failure::error("cloud", crate::source::chain(error))
        .maybe_help(error.help().map(str::to_owned))
}
