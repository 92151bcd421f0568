//! `gridctl doctor --aws`: what an account has of what machines need.
//! Invariant: only looks; each finding is fine or says what to do.

use gridctl_core::cloud::ResourceKind;
use gridctl_fleet::ec2::account::{MASTER_ROLE, OWN_POLICY, PartState, WORKER_ROLE, own_policy};
use gridctl_fleet::ec2::{self, Caller, CloudError, Ec2, SpotRole};
use gridctl_storage::volume::s3::AccountBucket;

use super::setup::bucket_name;
use crate::commands::doctor::Finding;
use crate::exit::Failure;
use crate::output::number;
use crate::runtime;
use crate::source::chain;

/// Looks at the account.
pub(crate) fn look(region: Option<String>) -> Result<Vec<Finding>, Failure> {
    Ok(runtime::single()?.block_on(findings(region)))
}

async fn findings(region: Option<String>) -> Vec<Finding> {
    let ec2 = match Ec2::connect(region).await {
        Ok(ec2) => ec2,
        Err(error @ CloudError::NoRegion) => return vec![problem("region", &error)],
        Err(error) => return vec![problem("credentials", &error)],
    };
    let mut findings = Vec::new();
    let Caller { account, arn } = match ec2.caller().await {
        Ok(caller) => caller,
        Err(error) => return vec![problem("credentials", &error)],
    };
    findings.push(ok("credentials", format!("account {account}, as {arn}")));
    findings.push(ok("region", ec2.region().to_owned()));
    findings.push(match ec2.spot_role().await {
        Ok(SpotRole::There) => ok("spot role", "AWSServiceRoleForEC2Spot is there".to_owned()),
        Ok(SpotRole::Missing) => {
            note("spot role", "missing: `gridctl aws init` makes it, once an account".to_owned())
        }
        Err(error) => problem("spot role", &error),
    });
    findings.push(match ec2.image().await {
        Ok(Some(image)) => ok("image", format!("{}, {}", image.id, image.name)),
        Ok(None) => note("image", "no Amazon Linux 2023 with Docker is offered in this region".to_owned()),
        Err(error) => problem("image", &error),
    });
    findings.push(subnets(&ec2).await);
    findings.extend(set_up(&ec2, &account).await);
    findings.push(things(&ec2).await);
    findings
}

/// What `gridctl aws init` makes.
async fn set_up(ec2: &Ec2, account: &str) -> [Finding; 2] {
    const INIT: &str = "`gridctl aws init` makes what is missing";
    let bucket = AccountBucket::new(&bucket_name(account, ec2.region()), ec2.region()).await;
    let name = bucket.name();
    let bucket = match bucket.exists().await {
        Ok(true) => ok("bucket", name.to_owned()),
        Ok(false) => note("bucket", format!("there is no {name}: {INIT}")),
        Err(error) => problem_of("bucket", &chain(&error)),
    };
    let mut lacks = Vec::new();
    for role in [MASTER_ROLE, WORKER_ROLE] {
        let policy = ec2.policy_state(role, OWN_POLICY, &own_policy(role, account)).await;
        let state = match policy {
            Ok(PartState::Fine) => ec2.profile_state(role).await,
            policy => policy,
        };
        match state {
            Ok(PartState::Fine) => {}
            Ok(PartState::Differs) => lacks.push(format!("{role} is not as this gridctl wants it")),
            Ok(PartState::Missing) => lacks.push(format!("{role} is missing")),
            Err(error) => return [bucket, problem("roles", &error)],
        }
    }
    let roles = match lacks.is_empty() {
        true => ok("roles", format!("{MASTER_ROLE} and {WORKER_ROLE}, with their profiles")),
        false => note("roles", format!("{}: {INIT}", lacks.join(", "))),
    };
    [bucket, roles]
}

async fn subnets(ec2: &Ec2) -> Finding {
    match ec2.subnets().await {
        Ok(subnets) if subnets.is_empty() => note(
            "subnets",
            "the region has no default network: `aws ec2 create-default-vpc` makes one".to_owned(),
        ),
        Ok(subnets) => {
            let zones: Vec<&str> = subnets.iter().map(|subnet| subnet.zone.as_str()).collect();
            let private = subnets.iter().filter(|subnet| !subnet.public).count();
            let lack = match private {
                0 => String::new(),
                count => format!("; {count} of them give no public address"),
            };
            ok("subnets", format!("one each in {}{lack}", zones.join(", ")))
        }
        Err(error) => problem("subnets", &error),
    }
}

/// What of gridctl is there.
async fn things(ec2: &Ec2) -> Finding {
    match ec2::inventory(ec2).await {
        Ok(all) if all.is_empty() => ok("machines", "nothing of gridctl's is in this region".to_owned()),
        Ok(all) => {
            let now = ec2::now_s();
            let machines = all.iter().filter(|one| one.kind == ResourceKind::Instance).count();
            let expired = all.iter().filter(|one| one.is_expired(now)).count();
            let text = format!(
                "{} of gridctl's, and {}",
                number::of(machines as u64, "machine"),
                number::of((all.len() - machines) as u64, "other thing"),
            );
            match expired {
                0 => ok("machines", text),
                count => Finding {
                    what: "machines",
                    how: "problem",
                    text: format!("{text}; {count} of these beyond their time: `gridctl gc` ends them"),
                },
            }
        }
        Err(error) => problem("machines", &error),
    }
}

fn ok(what: &'static str, text: String) -> Finding {
    Finding { what, how: "ok", text }
}

fn note(what: &'static str, text: String) -> Finding {
    Finding { what, how: "note", text }
}

fn problem(what: &'static str, error: &CloudError) -> Finding {
    problem_of(what, &format!("{error}: {}", error.help()))
}

fn problem_of(what: &'static str, text: &str) -> Finding {
    Finding { what, how: "problem", text: text.to_owned() }
}
