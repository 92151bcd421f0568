//! `gridctl launch`: checks, the table, the question, and then: upload, security group, one machine, its master, first results.
//! Invariant: each step may be the last one that this process does; what it has made bears the sweep's tags or costs nothing, and the
//! next `launch`, `attach` or `down` goes on from there.

use std::io::{BufRead as _, IsTerminal as _};

use gridctl_core::cloud::{MASTER, ResourceKind, TAG_EXPIRES, TAG_OWNER, TAG_ROLE, TAG_SWEEP};
use gridctl_core::cost::PriceTable;
use gridctl_core::fleet::launch::{LAUNCH_FORMAT, LaunchSpec};
use gridctl_core::fleet::machines::Markets;
use gridctl_core::output::{Output, VolumeUrl};
use gridctl_core::protocol::FrozenSweep;
use gridctl_core::s3_url::SCHEME;
use gridctl_core::view::SubmitRequest;
use gridctl_fleet::ec2::account::{MASTER_ROLE, OWN_POLICY, PartState, WORKER_ROLE, own_policy};
use gridctl_fleet::ec2::{self, Boot, BootRole, Caller, CloudError, Ec2, MasterOrder, SpotRole, Subnet};
use gridctl_storage::volume::s3::AccountBucket;

use super::super::{bucket_failure, failure, setup};
use super::binary::{self, Binary};
use super::follow::{self, Waiting};
use super::{OTHERS, fleet_plan, key};
use crate::cli::{LaunchArgs, PlanArgs};
use crate::commands::{plan, submit};
use crate::datadir::DataDir;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{self, TextOrJson, number};
use crate::runtime;
use crate::settings::Settings;
use crate::source::pointer::{LaunchPointer, LaunchToken};
use crate::source::results::s3_url;
use crate::submit::freeze::RunPlace;
use crate::submit::pack::{self, PackedCode};
use crate::submit::{self as sweep, CheckedFile};

/// The port of every master.
pub(super) const PORT: u16 = 7070;
/// Machines live so long unless somebody says that they may go on, in seconds.
const EXPIRES_S: u64 = 7_200;
/// Most machines where nobody says how many.
const MACHINES: u32 = 16;
/// A start that was asked for is asked for again by its token for so long, in seconds.
const TOKEN_S: u64 = 600;

/// An account that has what a launch needs.
struct Account {
    ec2: Ec2,
    caller: Caller,
    bucket: AccountBucket,
    image: String,
    subnets: Vec<Subnet>,
}

/// A sweep that is ready to be launched.
struct Ready {
    request: SubmitRequest,
    pack: PackedCode,
    dir: DataDir,
    /// Its results, as people write them.
    results: String,
}

/// Runs the command.
pub(crate) fn launch(args: &LaunchArgs, settings: &Settings) -> Outcome {
    sweep::check_again(&args.again)?;
    let checked = sweep::check(&args.file, &settings.data_dir, args.count)?;
    checked.show_warnings();
    launchable(&checked)?;
    let runtime = runtime::shared()?;
    let account = runtime.block_on(look(args, &checked.spec.name))?;
    let binary = binary::find(args.binary.as_deref(), std::env::var_os("AWS_ENDPOINT_URL").is_some())?;
    let ready = ready(args, settings, &checked, &account)?;
    let spec = spec(args, &checked, &account, &binary)?;
    plan::before_launch(&plan_args(args), settings)?;
    say_what(&spec, &ready, &binary);
    agreed(args)?;
    ready.dir.make()?;
    let waiting = runtime.block_on(begin(args, &account, (spec, ready), binary))?;
    runtime.block_on(follow::first_results(waiting))
}

/// Refuses what machines cannot do yet, or not by this name.
fn launchable(checked: &CheckedFile) -> Result<(), Failure> {
    let spec = &checked.spec;
    let refused = |message: String, help: &str| {
        Err(Failure::usage("launch::sweep", message).help(help).within(&checked.file.source))
    };
    if OTHERS.contains(&spec.name.as_str()) {
        let message = format!("a launch cannot be called `{}`", spec.name);
        return refused(message, "give the sweep another `name:`");
    }
    if spec.image.is_some() {
        let help = "take `image` out: machines run the command as a process, with the programs of Amazon Linux and gridctl itself";
        return refused("machines do not run trials in containers yet".to_owned(), help);
    }
    if spec.data.as_ref().is_some_and(|data| !data.starts_with(SCHEME)) {
        let help = "copy it to S3 (`aws s3 sync`), write `data: s3://...`, and let machines read there: `gridctl aws init --read s3://...`";
        return refused("`data` is on this machine, and machines of EC2 do not see it".to_owned(), help);
    }
    if spec.output.as_ref().is_some_and(|output| !output.starts_with(SCHEME)) {
        let help =
            "leave `output` out, which puts results into the account's bucket, or write `output: s3://...`";
        return refused("`output` is on this machine, and machines of EC2 do not see it".to_owned(), help);
    }
    if !spec.secrets.is_empty() {
        return refused("`secrets` do not get to machines yet".to_owned(), "take them out of the file");
    }
    Ok(())
}

/// Looks whether the account has everything, and nothing of this sweep.
async fn look(args: &LaunchArgs, sweep: &str) -> Result<Account, Failure> {
    let (ec2, caller, bucket) = setup::connect(args.region.clone()).await?;
    let cloud = |error: CloudError| failure(&error);
    let lacks = |what: String, help: &str| Err(Failure::error("launch::account", what).help(help));
    if !bucket.exists().await.map_err(|error| bucket_failure(&error))? {
        let what = format!("the account has no bucket {}", bucket.name());
        return lacks(
            what,
            "`gridctl aws init` makes it, and the roles of machines, once an account and region",
        );
    }
    for role in [MASTER_ROLE, WORKER_ROLE] {
        let policy = ec2.policy_state(role, OWN_POLICY, &own_policy(role, &caller.account)).await;
        let profile = ec2.profile_state(role).await.map_err(cloud)?;
        if policy.map_err(cloud)? != PartState::Fine || profile != PartState::Fine {
            let what = format!("the role {role} is not as this gridctl wants it");
            return lacks(what, "`gridctl aws init` makes it so");
        }
    }
    if args.spot && ec2.spot_role().await.map_err(cloud)? == SpotRole::Missing {
        let what =
            "the account has no role AWSServiceRoleForEC2Spot, without which there are no spot machines";
        return lacks(what.to_owned(), "`gridctl aws init` makes it");
    }
    let Some(image) = ec2.image().await.map_err(cloud)? else {
        let what = format!("no Amazon Linux 2023 for x86_64 is offered in {}", ec2.region());
        return lacks(what, "name another region with --region");
    };
    let subnets = ec2.subnets().await.map_err(cloud)?;
    if subnets.is_empty() {
        let what = format!("{} has no default network", ec2.region());
        return lacks(what, "`aws ec2 create-default-vpc` makes one");
    }
    let there = ec2::inventory(&ec2).await.map_err(cloud)?;
    let machines = there.iter().filter(|one| one.sweep == sweep && one.kind == ResourceKind::Instance);
    let alive: Vec<_> = machines.filter(|one| !one.ending).collect();
    if !alive.is_empty() {
        let count = number::of(alive.len() as u64, "machine");
        let has_master = alive.iter().any(|one| one.role.as_deref() == Some(MASTER));
        let what = format!("`{sweep}` has {count} already in {}", ec2.region());
        let help = match has_master {
            true => format!("`gridctl attach {sweep}` follows it; `gridctl down {sweep}` ends it"),
            false => {
                format!("no master is among them: `gridctl down {sweep}` ends them, then launch it again")
            }
        };
        return lacks(what, &help);
    }
    Ok(Account { ec2, caller, bucket, image: image.id, subnets })
}

/// The sweep as its master gets it.
fn ready(
    args: &LaunchArgs,
    settings: &Settings,
    checked: &CheckedFile,
    account: &Account,
) -> Result<Ready, Failure> {
    let dir = settings.data_dir.for_sweep(&checked.file.base)?;
    let mut frozen = submit::prepare(checked, &dir, RunPlace::Launched, None)?;
    if !matches!(frozen.output, Output::At(VolumeUrl::S3(_))) {
        let address = format!("{SCHEME}{}/results", account.bucket.name());
        let url = s3_url(&address)?;
        frozen.output = Output::At(VolumeUrl::S3(url));
    }
    let pack = pack::pack(&mut frozen, &checked.file, &dir)?;
    let results = results(&frozen);
    Ok(Ready { request: submit::request(frozen, &args.again), pack, dir, results })
}

pub(super) fn results(frozen: &FrozenSweep) -> String {
    match &frozen.output {
        Output::At(url) => url.of_sweep(&frozen.spec.name).to_string(),
        Output::InDataDir => String::new(),
    }
}

/// What machines are told. Its security group comes later: it is the first thing that is made.
fn spec(
    args: &LaunchArgs,
    checked: &CheckedFile,
    account: &Account,
    binary: &Binary,
) -> Result<LaunchSpec, Failure> {
    let (sweep, prices) = (&checked.spec, prices(args)?);
    let wishes = sweep.machine_wishes();
    let (pools, subnets) = fleet_plan::pools(args, sweep, &prices, &account.subnets)?;
    let disk_gb = fleet_plan::disk_gib(&wishes);
    let master = prices.get(&args.master_type).ok_or_else(|| {
        Failure::usage("launch::master", format!("no price of {} ships with gridctl", args.master_type))
            .help("`gridctl plan FILE -o json` lists those that do")
    })?;
    let spot = args.spot || wishes.spot == Some(true);
    let (region, bucket) = (account.ec2.region(), account.bucket.name());
    let boot = Boot { role: BootRole::Worker, bucket, region, sweep: &sweep.name, sha256: &binary.sha256 };
    let spec = LaunchSpec {
        format: LAUNCH_FORMAT,
        sweep: sweep.name.clone(),
        region: region.to_owned(),
        account: account.caller.account.clone(),
        bucket: bucket.to_owned(),
        owner: account.caller.arn.clone(),
        expires_after_s: EXPIRES_S,
        binary_sha256: binary.sha256.clone(),
        pools,
        subnets,
        image: account.image.clone(),
        security_group: String::new(),
        instance_profile: WORKER_ROLE.to_owned(),
        user_data: boot.user_data(),
        master_price: fleet_plan::micros(&prices, master.on_demand, disk_gb),
        max_machines: args.max_machines.or(wishes.count).unwrap_or(MACHINES),
        budget: args.budget.or(wishes.budget_usd).map(fleet_plan::to_micros),
        markets: match (spot, wishes.on_demand_fallback) {
            (true, true) => Markets::SpotThenOnDemand,
            (true, false) => Markets::Spot,
            (false, _) => Markets::OnDemand,
        },
        deadline_wall_ms: wishes
            .deadline_ms
            .map(|within| ec2::now_s().saturating_mul(1_000).saturating_add(within)),
        trial_ms: args.trial_time.and_then(|time| u64::try_from(time.as_millis()).ok()),
        disk_gb,
        port: PORT,
        tags: std::collections::BTreeMap::new(),
    };
    spec.check().map_err(|error| Failure::usage("launch::machines", error.to_string()).help(error.help()))?;
    Ok(spec)
}

fn prices(args: &LaunchArgs) -> Result<PriceTable, Failure> {
    let mut prices = PriceTable::shipped();
    for stated in &args.spot_price {
        let set = prices.set_spot(&stated.instance, stated.dollars);
        set.map_err(|error| Failure::usage("plan::price", error.to_string()))?;
    }
    Ok(prices)
}

/// The table that the person says yes to.
fn plan_args(args: &LaunchArgs) -> PlanArgs {
    PlanArgs {
        file: args.file.clone(),
        spot: args.spot,
        trial_time: args.trial_time,
        kept: None,
        machines: args.max_machines,
        instance: args.instance.clone(),
        master_type: args.master_type.clone(),
        spot_price: args.spot_price.clone(),
        interruptions: plan::INTERRUPTIONS,
        count: args.count,
        output: TextOrJson::Text,
    }
}

fn say_what(spec: &LaunchSpec, ready: &Ready, binary: &Binary) {
    let types: std::collections::BTreeSet<&str> = spec.pools.iter().map(|pool| &*pool.instance).collect();
    let limit = spec.budget.map_or_else(
        || "no limit of money (--budget sets one)".to_owned(),
        |budget| format!("${} at most", fleet_plan::dollars(budget)),
    );
    output::say(format_args!(
        "to start in {}: 1 machine for the master, then up to {} of {} in {}; {limit}",
        spec.region,
        number::of(spec.max_machines.into(), "machine"),
        types.into_iter().collect::<Vec<_>>().join(", "),
        spec.subnets.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
    ));
    output::say(format_args!(
        "results go to {}; machines run {} ({})",
        ready.results,
        binary.path.display(),
        number::bytes(binary.bytes.len() as u64),
    ));
}

/// Asks, unless that was said to be needless.
fn agreed(args: &LaunchArgs) -> Result<(), Failure> {
    if args.yes {
        return Ok(());
    }
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::usage("launch::unasked", "nobody is here to say yes to what this costs")
            .help("--yes says it"));
    }
    output::say("start these machines, which costs money? [y/N]");
    let mut line = String::new();
    let read = stdin.lock().read_line(&mut line);
    if read.is_ok() && ["y", "yes"].contains(&line.trim().to_lowercase().as_str()) {
        return Ok(());
    }
    Err(Failure { exit: Exit::Declined, ..Failure::error("launch::declined", "nothing was started") })
}

/// Puts everything where machines find it, and starts the master's.
async fn begin(
    args: &LaunchArgs,
    account: &Account,
    (mut spec, ready): (LaunchSpec, Ready),
    binary: Binary,
) -> Result<Waiting, Failure> {
    let (ec2, bucket, sweep) = (&account.ec2, &account.bucket, spec.sweep.clone());
    let cloud = |error: CloudError| failure(&error);
    let stored = |error| bucket_failure(&error);
    let cidr = match &args.client_cidr {
        Some(cidr) => cidr.clone(),
        None => follow::own_cidr(ec2).await?,
    };
    // What an earlier launch of this name left would be taken for this one's.
    let stale = ["join", "master.json", "status.json"].map(|name| key(&sweep, name));
    bucket.delete(&stale).await.map_err(stored)?;
    let binary_key = key("binary", &binary.sha256);
    if !bucket.has(&binary_key).await.map_err(stored)? {
        output::say(format_args!("uploading gridctl ({})", number::bytes(binary.bytes.len() as u64)));
        bucket.put(&binary_key, binary.bytes).await.map_err(stored)?;
    }
    let PackedCode { pack, bytes, .. } = ready.pack;
    bucket.put(&key(&sweep, &format!("packs/{pack}")), bytes).await.map_err(stored)?;
    follow::put(bucket, &sweep, "submission.json", &ready.request).await?;
    let token = follow::new_operator(bucket).await?;
    let tags = tags(&spec);
    let subnets: Vec<String> = account.subnets.iter().map(|subnet| subnet.id.clone()).collect();
    let group = ec2.security_group(&sweep, &subnets[0], &tags).await.map_err(cloud)?;
    ec2.open_within(&group, PORT).await.map_err(cloud)?;
    ec2.open_to(&sweep, &cidr, PORT).await.map_err(cloud)?;
    spec.security_group = group.clone();
    follow::put(bucket, &sweep, "launch.json", &spec).await?;
    let mut pointer = LaunchPointer {
        sweep: sweep.clone(),
        region: spec.region.clone(),
        bucket: spec.bucket.clone(),
        results: ready.results,
        master: None,
        token: Some(start_token(&ready.dir)?),
    };
    pointer.write(&ready.dir.journal)?;
    let boot = Boot {
        role: BootRole::Master,
        bucket: &spec.bucket,
        region: &spec.region,
        sweep: &sweep,
        sha256: &spec.binary_sha256,
    };
    let order = MasterOrder {
        instance: args.master_type.clone(),
        image: spec.image.clone(),
        subnets,
        security_group: group,
        profile: MASTER_ROLE.to_owned(),
        user_data: boot.user_data(),
        tags,
        token: pointer.token.as_ref().map_or_else(String::new, |token| token.text.clone()),
    };
    let instance = follow::started(ec2, &order).await?;
    output::say(format_args!(
        "the master's machine is {instance}; Ctrl-C leaves it running, `gridctl down {sweep}` ends it"
    ));
    pointer.token = None;
    pointer.write(&ready.dir.journal)?;
    let objective = ready.request.frozen.spec.objective.as_ref();
    let metric = objective.map_or_else(String::new, |objective| objective.metric.name.clone());
    let (ec2, bucket, dir) = (ec2.clone(), bucket.clone(), ready.dir.journal);
    Ok(Waiting { ec2, bucket, pointer, instance, token, dir, metric })
}

/// What makes starting the machine twice the same as starting it once: an earlier launch from here may have been cut off.
fn start_token(dir: &DataDir) -> Result<LaunchToken, Failure> {
    let now = ec2::now_s();
    let earlier = LaunchPointer::read(&dir.journal)?.and_then(|pointer| pointer.token);
    if let Some(token) = earlier.filter(|token| now.saturating_sub(token.made_s) < TOKEN_S) {
        return Ok(token);
    }
    Ok(LaunchToken { text: follow::secret()?[..32].to_owned(), made_s: now })
}

/// The tags of what the launch makes itself.
fn tags(spec: &LaunchSpec) -> Vec<(String, String)> {
    let own = [
        ("Name", format!("gridctl {} {MASTER}", spec.sweep)),
        (TAG_SWEEP, spec.sweep.clone()),
        (TAG_ROLE, MASTER.to_owned()),
        (TAG_OWNER, spec.owner.clone()),
        (TAG_EXPIRES, ec2::now_s().saturating_add(spec.expires_after_s).to_string()),
    ];
    own.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
