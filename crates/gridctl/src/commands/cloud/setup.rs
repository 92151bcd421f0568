//! `gridctl aws init` and `gridctl aws remove`: what an account has for all launches.
//! Invariant: says each thing that it makes or removes; done twice, the second time changes nothing. Results are removed only when
//! that was asked for.

use gridctl_fleet::ec2::account::{
    DATA_POLICY, MASTER_ROLE, OWN_POLICY, PartState, WORKER_ROLE, data_policy, own_policy,
};
use gridctl_fleet::ec2::{Caller, CloudError, Ec2, SpotRole};
use gridctl_storage::volume::s3::AccountBucket;

use super::{bucket_failure, failure};
use crate::cli::{AccountArgs, AwsCommand, RemoveArgs};
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{self, number};
use crate::runtime;

/// The name of the account's own bucket in a region.
pub(super) fn bucket_name(account: &str, region: &str) -> String {
    format!("gridctl-{account}-{region}")
}

/// Runs `gridctl aws`.
pub(crate) fn aws(command: &AwsCommand) -> Outcome {
    let runtime = runtime::single()?;
    match command {
        AwsCommand::Init(args) => runtime.block_on(init(args)),
        AwsCommand::Remove(args) => runtime.block_on(remove(args)),
    }
}

/// The account, who asks, and its bucket.
pub(super) async fn connect(region: Option<String>) -> Result<(Ec2, Caller, AccountBucket), Failure> {
    let ec2 = Ec2::connect(region).await.map_err(|error| failure(&error))?;
    let caller = ec2.caller().await.map_err(|error| failure(&error))?;
    let bucket = AccountBucket::new(&bucket_name(&caller.account, ec2.region()), ec2.region()).await;
    Ok((ec2, caller, bucket))
}

/// Says what is, or would be, made.
struct Teller {
    dry: bool,
    made: u64,
}

impl Teller {
    fn there(what: &str, name: &str) -> Result<(), Failure> {
        output::text(&format!("{what:<10} {name:<40} is there\n"))
    }

    fn made(&mut self, what: &str, name: &str, how: &str) -> Result<(), Failure> {
        self.made += 1;
        let verb = if self.dry { "would be " } else { "" };
        output::text(&format!("{what:<10} {name:<40} {verb}{how}\n"))
    }
}

async fn init(args: &AccountArgs) -> Outcome {
    let (ec2, caller, bucket) = connect(args.region.clone()).await?;
    let cloud = |error: CloudError| failure(&error);
    let mut teller = Teller { dry: args.dry_run, made: 0 };
    let Caller { account, arn } = &caller;
    output::say(format_args!("the account {account} in {}, as {arn}", ec2.region()));
    if bucket.exists().await.map_err(|error| bucket_failure(&error))? {
        Teller::there("bucket", bucket.name())?;
    } else {
        if !args.dry_run {
            bucket.create().await.map_err(|error| bucket_failure(&error))?;
            bucket.keep_private().await.map_err(|error| bucket_failure(&error))?;
        }
        teller.made("bucket", bucket.name(), "made, and closed to the public")?;
    }
    const SPOT: &str = "AWSServiceRoleForEC2Spot";
    if ec2.spot_role().await.map_err(cloud)? == SpotRole::There {
        Teller::there("role", SPOT)?;
    } else {
        if !args.dry_run {
            ec2.make_spot_role().await.map_err(cloud)?;
        }
        teller.made("role", SPOT, "made: EC2 wants it before the first spot machine")?;
    }
    for role in [MASTER_ROLE, WORKER_ROLE] {
        init_role(&ec2, args, (role, account), &mut teller).await?;
    }
    output::say(match (teller.made, args.dry_run) {
        (0, _) => "everything is there".to_owned(),
        (made, true) => format!("{} would be made or changed", number::of(made, "thing")),
        (made, false) => {
            format!("{} made or changed; `gridctl aws remove` undoes it", number::of(made, "thing"))
        }
    });
    Ok(Exit::Ok)
}

/// One role of machines, with its policies and the profile that gives it to them.
async fn init_role(
    ec2: &Ec2,
    args: &AccountArgs,
    (role, account): (&str, &str),
    teller: &mut Teller,
) -> Result<(), Failure> {
    let cloud = |error: CloudError| failure(&error);
    if ec2.has_role(role).await.map_err(cloud)? {
        Teller::there("role", role)?;
    } else {
        if !args.dry_run {
            ec2.make_role(role).await.map_err(cloud)?;
        }
        teller.made("role", role, "made: machines of EC2 may have it")?;
    }
    let own = Some((OWN_POLICY, own_policy(role, account)));
    let data = data_policy(&args.read, &args.write).map(|policy| (DATA_POLICY, policy));
    for (name, policy) in own.into_iter().chain(data) {
        let shown = format!("{role}/{name}");
        let state = ec2.policy_state(role, name, &policy).await.map_err(cloud)?;
        if state == PartState::Fine {
            Teller::there("policy", &shown)?;
            continue;
        }
        if !args.dry_run {
            ec2.set_policy(role, name, &policy).await.map_err(cloud)?;
        }
        teller.made("policy", &shown, "set")?;
    }
    let state = ec2.profile_state(role).await.map_err(cloud)?;
    if state == PartState::Fine {
        return Teller::there("profile", role);
    }
    if !args.dry_run {
        ec2.make_profile(role, state).await.map_err(cloud)?;
    }
    teller.made("profile", role, "made, with the role in it")
}

async fn remove(args: &RemoveArgs) -> Outcome {
    let (ec2, _, bucket) = connect(args.region.clone()).await?;
    let machines = gridctl_fleet::ec2::inventory(&ec2).await.map_err(|error| failure(&error))?;
    if !machines.is_empty() {
        let count = number::of(machines.len() as u64, "thing");
        return Err(Failure::error(
            "cloud::in_use",
            format!("{count} of gridctl's is there still in {}", ec2.region()),
        )
        .help("`gridctl down --all` ends everything first"));
    }
    for role in [MASTER_ROLE, WORKER_ROLE] {
        let any = ec2.remove_role(role).await.map_err(|error| failure(&error))?;
        output::text(&format!("role       {role:<40} {}\n", if any { "removed" } else { "is not there" }))?;
    }
    let name = bucket.name();
    let failed = |error| bucket_failure(&error);
    if !bucket.exists().await.map_err(failed)? {
        output::text(&format!("bucket     {name:<40} is not there\n"))?;
        return Ok(Exit::Ok);
    }
    let (control, results): (Vec<String>, Vec<String>) =
        bucket.keys("").await.map_err(failed)?.into_iter().partition(|key| key.starts_with("control/"));
    bucket.delete(&control).await.map_err(failed)?;
    if !results.is_empty() && !args.with_results {
        let count = number::of(results.len() as u64, "object");
        output::text(&format!("bucket     {name:<40} stays: {count} of results are in it\n"))?;
        output::say(format_args!(
            "--with-results removes them too; `aws s3 sync s3://{name}/results DIR` copies them"
        ));
        return Ok(Exit::Error);
    }
    bucket.delete(&results).await.map_err(failed)?;
    bucket.remove().await.map_err(failed)?;
    output::text(&format!("bucket     {name:<40} removed\n"))?;
    Ok(Exit::Ok)
}
