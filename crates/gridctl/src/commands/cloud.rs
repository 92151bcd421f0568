//! `gridctl down`, `gridctl gc` and `gridctl doctor --aws`: what gridctl has on EC2, found by its tags alone.
//! Invariant: "nothing is left" is said after AWS was asked again, in every region that was named; whatever is left is exit 1.

#[cfg(feature = "ec2")]
mod account;
#[cfg(feature = "ec2")]
mod down;
#[cfg(feature = "ec2")]
pub(crate) mod fleet;

#[cfg(not(feature = "ec2"))]
pub(crate) use self::unbuilt::{down, gc, look, master};
#[cfg(feature = "ec2")]
pub(crate) use self::{account::look, down::down, down::gc, fleet::master};

/// What a gridctl says that was built without these commands.
#[cfg(not(feature = "ec2"))]
mod unbuilt {
    use std::path::Path;

    use gridctl_master::{Advert, MasterConfig, MasterError};

    use crate::cli::{DownArgs, GcArgs};
    use crate::commands::doctor::Finding;
    use crate::exit::{Failure, Outcome};

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
