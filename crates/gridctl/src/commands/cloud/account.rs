//! `gridctl doctor --aws`: what an account has of what machines need.
//! Invariant: only looks; each finding is fine or says what to do.

use gridctl_core::cloud::ResourceKind;
use gridctl_fleet::ec2::{self, CloudError, Ec2, SpotRole};

use crate::commands::doctor::Finding;
use crate::exit::Failure;
use crate::output::number;
use crate::runtime;

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
    match ec2.caller().await {
        Ok(caller) => {
            findings.push(ok("credentials", format!("account {}, as {}", caller.account, caller.arn)));
        }
        Err(error) => return vec![problem("credentials", &error)],
    }
    findings.push(ok("region", ec2.region().to_owned()));
    findings.push(match ec2.spot_role().await {
        Ok(SpotRole::There) => ok("spot role", "AWSServiceRoleForEC2Spot is there".to_owned()),
        Ok(SpotRole::Missing) => note(
            "spot role",
            "missing: `aws iam create-service-linked-role --aws-service-name spot.amazonaws.com` makes it, once an account"
                .to_owned(),
        ),
        Err(error) => problem("spot role", &error),
    });
    findings.push(match ec2.image().await {
        Ok(Some(image)) => ok("image", format!("{}, {}", image.id, image.name)),
        Ok(None) => note("image", "no Amazon Linux 2023 with Docker is offered in this region".to_owned()),
        Err(error) => problem("image", &error),
    });
    findings.push(subnets(&ec2).await);
    findings.push(things(&ec2).await);
    findings
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
    Finding { what, how: "problem", text: format!("{error}: {}", error.help()) }
}
