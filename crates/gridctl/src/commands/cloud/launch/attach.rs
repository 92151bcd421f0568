//! `gridctl attach`: finds the master of a launch from any machine with the account's credentials; and what is asked of launches whose
//! master does not answer.
//! Invariant: who can write to the account's bucket may do everything with its launches, and nobody else.

use std::path::Path;

use gridctl_storage::volume::s3::AccountBucket;

use super::super::{bucket_failure, setup};
use super::start::PORT;
use super::{CONTROL, LaunchReport, OTHERS, follow};
use crate::address;
use crate::cli::{AttachArgs, StatusArgs};
use crate::commands::status;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{self, Format};
use crate::runtime;
use crate::settings::Settings;
use crate::source::pointer::LaunchPointer;

/// Runs the command.
pub(crate) fn attach(args: &AttachArgs, settings: &Settings) -> Outcome {
    let dir = settings.data_dir.for_sweep(&settings.cwd)?;
    let pointer = runtime::shared()?.block_on(find(args))?;
    dir.make()?;
    pointer.write(&dir.journal)?;
    let sweep = pointer.sweep;
    output::say(format_args!("{} asks the master of `{sweep}` from now on", dir.journal.display()));
    if args.detach {
        return Ok(Exit::Ok);
    }
    let status = StatusArgs { sweep: Some(sweep.into()), all: false, output: Format::Table, watch: true };
    status::run(&status, settings)
}

async fn find(args: &AttachArgs) -> Result<LaunchPointer, Failure> {
    let (ec2, _, bucket) = setup::connect(args.region.clone()).await?;
    let sweep = match &args.sweep {
        Some(sweep) => sweep.clone(),
        None => only(launched(&bucket).await?, &bucket)?,
    };
    let Some(place) = follow::place_of(&bucket, &sweep).await? else {
        return Err(no_launch(&sweep, &bucket).await?);
    };
    let found =
        place.url.parse().map_err(|_| Failure::error("attach", "the master's address is not understood"))?;
    if address::kept_for(&found)?.is_none() {
        let token = follow::new_operator(&bucket).await?;
        address::keep_for(&found, &token)?;
    }
    let cidr = match &args.client_cidr {
        Some(cidr) => Ok(cidr.clone()),
        None => follow::own_cidr(&ec2).await,
    };
    // Whoever set the rules up in another way needs none of ours.
    match cidr {
        Ok(cidr) => {
            if let Err(error) = ec2.open_to(&sweep, &cidr, PORT).await {
                follow::passed_over("its machines were not opened to this one", &error);
            }
        }
        Err(failure) => output::say(failure.problems.first().map_or("", |problem| &problem.message)),
    }
    let results =
        follow::get::<gridctl_core::view::SubmitRequest>(&bucket, &sweep, "submission.json").await?;
    let results = results.map_or_else(String::new, |request| super::start::results(&request.frozen));
    Ok(LaunchPointer {
        sweep,
        region: ec2.region().to_owned(),
        bucket: bucket.name().to_owned(),
        results,
        master: Some(place.url),
        token: None,
    })
}

/// The sweeps whose masters have said where they are.
async fn launched(bucket: &AccountBucket) -> Result<Vec<String>, Failure> {
    let keys = bucket.keys(&format!("{CONTROL}/")).await.map_err(|error| bucket_failure(&error))?;
    let sweep = |key: &String| {
        let (sweep, name) = key.strip_prefix(CONTROL)?.strip_prefix('/')?.split_once('/')?;
        (name == "master.json" && !OTHERS.contains(&sweep)).then(|| sweep.to_owned())
    };
    Ok(keys.iter().filter_map(sweep).collect())
}

fn only(mut sweeps: Vec<String>, bucket: &AccountBucket) -> Result<String, Failure> {
    match sweeps.len() {
        1 => Ok(sweeps.remove(0)),
        0 => Err(Failure::error("attach", format!("no launch has a master in s3://{}", bucket.name()))
            .help("`gridctl launch FILE --spot` starts one; --region names another region")),
        _ => Err(Failure::usage("attach", format!("there are several launches: {}", sweeps.join(", ")))
            .help("name one")),
    }
}

/// Nothing of this name has a master; how it stood last, if that is known.
async fn no_launch(sweep: &str, bucket: &AccountBucket) -> Result<Failure, Failure> {
    let report: Option<LaunchReport> = follow::get(bucket, sweep, "status.json").await?;
    let message = match report {
        Some(LaunchReport { over: true, .. }) => format!("the launch of `{sweep}` is over"),
        Some(_) => format!("`{sweep}` was launched, and has no master now"),
        None => format!("no `{sweep}` is launched in s3://{}", bucket.name()),
    };
    let help =
        format!("its results, if it has any: `gridctl leaderboard s3://{}/results/{sweep}`", bucket.name());
    Ok(Failure::error("attach", message).help(help))
}

/// Looks where the master of a launch is now, and keeps that; whether it is at another place than before.
pub(crate) fn look_again(pointer: &mut LaunchPointer, dir: &Path) -> Result<bool, Failure> {
    let runtime = runtime::shared()?;
    let place = runtime.block_on(async {
        let bucket = AccountBucket::new(&pointer.bucket, &pointer.region).await;
        follow::place_of(&bucket, &pointer.sweep).await
    })?;
    let Some(url) = place.map(|place| place.url).filter(|url| pointer.master.as_ref() != Some(url)) else {
        return Ok(false);
    };
    pointer.master = Some(url);
    pointer.write(dir)?;
    Ok(true)
}

/// How a launch stood when its master reported last.
pub(crate) fn last_report(pointer: &LaunchPointer) -> Result<Option<LaunchReport>, Failure> {
    runtime::shared()?.block_on(async {
        let bucket = AccountBucket::new(&pointer.bucket, &pointer.region).await;
        follow::get(&bucket, &pointer.sweep, "status.json").await
    })
}
