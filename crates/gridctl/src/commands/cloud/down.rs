//! `gridctl down` and `gridctl gc`: ends what is tagged, looks again, and says what is left.
//! Invariant: only what bears gridctl's tags is touched, and what others made only when that was asked for.

use std::collections::BTreeMap;

use gridctl_core::cloud::{CloudResource, Scope, Which};
use gridctl_fleet::ec2::{self, Ec2, TeardownEvent};
use serde_json::json;

use super::failure;
use crate::cli::{CloudArgs, DownArgs, GcArgs};
use crate::exit::{Exit, Failure, Outcome};
use crate::output::table::TableColumns;
use crate::output::{self, TextOrJson, number, sanitise};
use crate::runtime;

/// Runs `gridctl down`.
pub(crate) fn down(args: &DownArgs) -> Outcome {
    let runtime = runtime::single()?;
    runtime.block_on(async {
        let regions = connect(&args.cloud).await?;
        let which = match &args.sweep {
            Some(sweep) => Which::Sweep(sweep.clone()),
            None if args.all => Which::All,
            None => return Err(unnamed(&regions).await?),
        };
        end(&args.cloud, &regions, which).await
    })
}

/// Runs `gridctl gc`.
pub(crate) fn gc(args: &GcArgs) -> Outcome {
    let runtime = runtime::single()?;
    runtime.block_on(async {
        let regions = connect(&args.cloud).await?;
        end(&args.cloud, &regions, Which::Expired(ec2::now_s())).await
    })
}

/// The account in each region that was named, or in the usual one.
async fn connect(args: &CloudArgs) -> Result<Vec<Ec2>, Failure> {
    let first = Ec2::connect(args.region.first().cloned()).await.map_err(|error| failure(&error))?;
    let mut regions = vec![first];
    for region in args.region.iter().skip(1) {
        if regions.iter().all(|known| known.region() != region) {
            let further = regions[0].in_region(region);
            regions.push(further);
        }
    }
    Ok(regions)
}

/// Neither a sweep nor all was named: what there is.
async fn unnamed(regions: &[Ec2]) -> Result<Failure, Failure> {
    let mut sweeps: BTreeMap<String, u64> = BTreeMap::new();
    for region in regions {
        for resource in ec2::inventory(region).await.map_err(|error| failure(&error))? {
            *sweeps.entry(resource.sweep).or_default() += 1;
        }
    }
    let named = |(sweep, count): (&String, &u64)| {
        format!("{} ({})", sanitise::short(&sanitise::line(sweep), 63), number::of(*count, "thing"))
    };
    let there = match sweeps.is_empty() {
        true => "none is there".to_owned(),
        false => format!("there are {}", sweeps.iter().map(named).collect::<Vec<_>>().join(", ")),
    };
    let message = format!("nothing says which sweep to end; in {} {there}", names(regions));
    Ok(Failure::usage("cloud::unnamed", message).help("name one, or all of them with --all"))
}

fn names(regions: &[Ec2]) -> String {
    regions.iter().map(Ec2::region).collect::<Vec<_>>().join(", ")
}

async fn end(args: &CloudArgs, regions: &[Ec2], which: Which) -> Outcome {
    let owner = match args.any_owner {
        true => None,
        false => Some(regions[0].caller().await.map_err(|error| failure(&error))?.arn),
    };
    let scope = Scope { which, owner };
    let (mut left, mut others, mut broken) = (Vec::new(), 0, None);
    for region in regions {
        let mut tell = |event: TeardownEvent<'_>| say(region, &event);
        // One region that does not answer keeps nobody from ending what is in the others.
        let ended = ec2::tear_down(region, &scope, args.wait, &mut tell).await;
        match ended {
            Ok(remains) => left.extend(remains),
            Err(error) => {
                output::say(format_args!("{}: {error}", region.region()));
                broken = broken.or(Some(failure(&error)));
                continue;
            }
        }
        let all = ec2::inventory(region).await.map_err(|error| failure(&error))?;
        others += all.iter().filter(|one| scope.names(one) && !scope.takes(one)).count();
    }
    if let Some(failure) = broken {
        print(args, regions, &scope.which, &left, others)?;
        return Err(failure.help("what is left there is not known: run the same command again"));
    }
    print(args, regions, &scope.which, &left, others)?;
    Ok(if left.is_empty() { Exit::Ok } else { Exit::Error })
}

fn say(region: &Ec2, event: &TeardownEvent<'_>) {
    match event {
        TeardownEvent::Ending(resources) => {
            let mut kinds: BTreeMap<_, u64> = BTreeMap::new();
            resources.iter().for_each(|resource| *kinds.entry(resource.kind).or_default() += 1);
            let kinds: Vec<String> =
                kinds.into_iter().map(|(kind, count)| number::of(count, kind.as_str())).collect();
            output::say(format_args!("{}: ending {}", region.region(), kinds.join(", ")));
        }
        TeardownEvent::Refused(resource, error) => {
            let id = sanitise::line(&resource.id);
            output::say(format_args!("{}: {id} cannot be ended yet: {error}", region.region()));
        }
    }
}

fn print(
    args: &CloudArgs,
    regions: &[Ec2],
    which: &Which,
    left: &[CloudResource],
    others: usize,
) -> Result<(), Failure> {
    if args.output == TextOrJson::Json {
        let regions: Vec<&str> = regions.iter().map(Ec2::region).collect();
        return output::json(&json!({"regions": regions, "left": left, "of_others": others}));
    }
    let what = match which {
        Which::Sweep(sweep) | Which::Fleet(sweep) => {
            format!("of {}", sanitise::short(&sanitise::line(sweep), 63))
        }
        Which::All => "of gridctl".to_owned(),
        Which::Expired(_) => "of gridctl beyond its time".to_owned(),
    };
    if left.is_empty() {
        output::text(&format!("what is left {what} in {}: nothing\n", names(regions)))?;
    } else {
        output::text(&format!("what is left {what}:\n{}", table(left)))?;
    }
    if others > 0 {
        output::say(format_args!(
            "{} of other callers of this account not touched: --any-owner ends these too",
            number::of(others as u64, "thing")
        ));
    }
    Ok(())
}

fn table(left: &[CloudResource]) -> String {
    let mut columns = TableColumns::new(["what", "id", "region", "sweep", "role", "detail"]);
    for one in left {
        let role = one.role.clone().unwrap_or_else(|| "-".to_owned());
        let cells = [one.kind.as_str(), &one.id, &one.region, &one.sweep, &role, &one.detail];
        columns.row(cells.map(str::to_owned).to_vec());
    }
    columns.render()
}
