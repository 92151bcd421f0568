//! A master's machines on EC2, against moto with a worker for each machine that runs: as many come as the work wants and the caps
//! allow, what is taken away is replaced, and with the sweep everything goes, whatever was cut off or killed meanwhile.
//! Invariant: what is left is counted in moto itself, and no more machines than the cap ever lived.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its ground fails")]

mod lab;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lab::moto::Moto;
use lab::{Lab, now};
use serde_json::{Value as Json, json};

/// Longest that a whole run may take.
const LONGEST: Duration = Duration::from_secs(180);
/// Workers' machines, as moto has them; each line that is read is carried out and answered by one.
const NODES: &str = r#"
import json, subprocess, threading
gridctl, data, base = sys.argv[1:4]
nodes, peak, lock = {}, {}, threading.Lock()
def workers(sweep=None):
    filters = [dict(Name='tag:gridctl:role', Values=['worker'])] + ([dict(Name='tag:gridctl:sweep', Values=[sweep])] if sweep else [])
    pages = ec2.get_paginator('describe_instances').paginate(Filters=filters)
    return {i['InstanceId']: i for p in pages for r in p['Reservations'] for i in r['Instances']}
def alive(sweep=None):
    return sorted(id for id, i in workers(sweep).items() if i['State']['Name'] in ('pending', 'running'))
def play():
    while True:
        with lock:
            all = workers()
            now = sorted(id for id, i in all.items() if i['State']['Name'] in ('pending', 'running'))
            sweeps = [t['Value'] for id in now for t in all[id]['Tags'] if t['Key'] == 'gridctl:sweep']
            for sweep in sweeps:
                peak[sweep] = max(peak.get(sweep, 0), sweeps.count(sweep))
            for id in now:
                if gridctl and id not in nodes:
                    nodes[id] = subprocess.Popen([gridctl, '--data-dir', data, 'worker', '--machine-id', id, '--slots', '2', '--work-dir', base + '/' + id],
                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=open(base + '/' + id + '.log', 'wb'))
            for id, node in nodes.items():
                if id not in now and node.poll() is None:
                    node.kill(); node.wait()
        time.sleep(0.1)
threading.Thread(target=play, daemon=True).start()
def take(id):
    with lock:
        nodes[id].kill(); nodes[id].wait()
        ec2.terminate_instances(InstanceIds=[id])
def left(sweep):
    tagged = [dict(Name='tag:gridctl:sweep', Values=[sweep])]
    group = ec2.describe_security_groups(Filters=tagged)['SecurityGroups']
    return dict(machines=len(alive(sweep)), templates=len(ec2.describe_launch_templates(Filters=tagged)['LaunchTemplates']), groups=len(group))
for line in sys.stdin:
    print(json.dumps(eval(line)), flush=True)
with lock:
    for node in nodes.values(): node.kill(); node.wait()
os._exit(0)
"#;

/// The machines of a moto; gone with the guard.
struct Nodes {
    python: Child,
    ask: ChildStdin,
    said: BufReader<ChildStdout>,
}

impl Nodes {
    /// With a worker of this lab's master for each machine, or without.
    fn start(lab: &Lab, moto: &Moto, has_workers: bool) -> Self {
        fs::create_dir_all(lab.path().join("nodes")).unwrap();
        let program = if has_workers { env!("CARGO_BIN_EXE_gridctl") } else { "" };
        let mut python = moto.python(NODES);
        python.arg(program).arg(lab.data()).arg(lab.path().join("nodes"));
        let mut python = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (ask, said) = (python.stdin.take().unwrap(), BufReader::new(python.stdout.take().unwrap()));
        Self { python, ask, said }
    }

    fn ask(&mut self, expression: &str) -> Json {
        writeln!(self.ask, "{expression}").unwrap();
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{expression}: {error}: {line}"))
    }

    fn alive(&mut self, sweep: &str) -> usize {
        self.ask(&format!("alive('{sweep}')")).as_array().unwrap().len()
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        let _ = self.python.kill();
        let _ = self.python.wait();
    }
}

/// Writes what a launch of this sweep says; its security group is made.
fn launch(lab: &Lab, moto: &Moto, sweep: &str, machines: u32) {
    let made = moto.script(&format!(
        "
group = ec2.create_security_group(GroupName='gridctl-{sweep}', Description='x', **tags('security-group', '{sweep}'))['GroupId']
run(1, SecurityGroupIds=[group], **tags('instance', '{sweep}', role='master'))
print(image, group, *[s['SubnetId'] for s in ec2.describe_subnets()['Subnets'] if s['AvailabilityZone'] in ('us-east-1a', 'us-east-1b')], me)"
    ));
    let words: Vec<&str> = made.split_whitespace().collect();
    let [image, group, first, second, owner] = words[..] else { panic!("{made}") };
    let pool = |instance: &str, zone: &str, spot: u64| json!({"instance": instance, "zone": zone, "slots": 2, "spot": spot, "on_demand": 100_000});
    let spec = json!({
        "format": 1, "sweep": sweep, "region": "us-east-1", "account": "123456789012", "bucket": "none",
        "owner": owner, "expires_after_s": 7_200, "binary_sha256": "", "image": image,
        "pools": [pool("c5.large", "us-east-1a", 40_000), pool("m5.large", "us-east-1b", 30_000)],
        "subnets": {"us-east-1a": first, "us-east-1b": second}, "security_group": group,
        "instance_profile": "gridctl-worker", "user_data": "#!/bin/sh\n", "master_price": 100_000,
        "max_machines": machines, "budget": null, "markets": "spot", "disk_gb": 30, "port": 7_070,
        "tags": {"team": "blue"},
    });
    lab.write("launch.json", spec.to_string());
}

fn master(lab: &Lab, moto: &Moto, endpoint: Option<&str>) -> Child {
    let mut command = moto.command(lab, &["master", "--fleet-spec", "launch.json", "--lease-ttl", "3s"]);
    if let Some(endpoint) = endpoint {
        command.env("AWS_ENDPOINT_URL", endpoint);
    }
    let log = fs::File::options().create(true).append(true).open(lab.path().join("master.log")).unwrap();
    let master = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
    lab.until("the master serves", || lab.run(&["workers", "ls"]).code == Some(0));
    master
}

fn log(lab: &Lab) -> String {
    fs::read_to_string(lab.path().join("master.log")).unwrap_or_default()
}

fn json_of(lab: &Lab, args: &[&str]) -> Json {
    let done = lab.run(args);
    serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("{error}: {done:?}"))
}

/// Machines that have worked, once the master has a fleet.
fn working(lab: &Lab) -> u64 {
    let cost = lab.run(&["cost", "-o", "json"]).stdout;
    serde_json::from_str::<Json>(&cost).ok().and_then(|cost| cost["working"].as_u64()).unwrap_or(0)
}

/// Waits for a master that ends by itself.
fn ended(lab: &Lab, master: &mut Child) {
    let (began, mut code) = (now(), None);
    while code.is_none() {
        assert!(began.elapsed() < LONGEST, "the master does not end: {}", log(lab));
        std::thread::sleep(Duration::from_millis(20));
        code = master.try_wait().unwrap();
    }
    assert_eq!(code.and_then(|status| status.code()), Some(0), "{}", log(lab));
}

#[test]
fn machines_come_with_a_sweep_are_replaced_and_go_with_it() {
    let lab = Lab::new();
    let Some(moto) = Moto::start(&lab) else { return };
    launch(&lab, &moto, "wine", 3);
    lab.write(
        "wine.yaml",
        "name: wine\ncommand: [sh, -c, 'sleep 1; echo s=$HP_X']\nmetric: {name: s, goal: maximize}\n\
         parameters: {x: {min: 1, max: 120}}\n",
    );
    let mut nodes = Nodes::start(&lab, &moto, true);
    let mut master = master(&lab, &moto, None);
    assert_eq!(lab.run(&["submit", "wine.yaml"]).code, Some(0));
    lab.until("three machines work", || working(&lab) == 3 && nodes.alive("wine") == 3);
    let first = nodes.ask("alive('wine')");
    for id in first.as_array().unwrap().iter().take(2) {
        nodes.ask(&format!("take('{}')", id.as_str().unwrap()));
    }
    // Killed, and started again by whoever watches it.
    master.kill().unwrap();
    master.wait().unwrap();
    let mut master = self::master(&lab, &moto, None);
    lab.until("both are replaced", || {
        let now = nodes.ask("alive('wine')");
        now.as_array().unwrap().len() == 3 && now != first
    });
    let cost = json_of(&lab, &["cost", "-o", "json"]);
    assert!(cost["spent"].as_f64() > Some(0.0) && cost["saved"].as_f64() > Some(0.0), "{cost}");
    let text = lab.run(&["cost"]).stdout;
    assert!(text.contains("3 at most") && text.contains("the master's machine included"), "{text}");
    let workers = json_of(&lab, &["workers", "ls", "-o", "json"]);
    let on_machines =
        workers.as_array().unwrap().iter().filter(|worker| worker["machine"].is_string()).count();
    assert!(on_machines > 0, "{workers}");
    ended(&lab, &mut master);
    assert_eq!(nodes.ask("left('wine')"), json!({"machines": 0, "templates": 0, "groups": 0}));
    assert_eq!((nodes.ask("peak['wine']"), nodes.ask("len(workers('wine'))")), (json!(3), json!(5)));
    let status = json_of(&lab, &["status", "-o", "json"]);
    assert_eq!((&status["state"], &status["succeeded"]), (&"finished".into(), &120.into()));
    let tags = nodes.ask("{t['Key']: t['Value'] for t in list(workers('wine').values())[0]['Tags']}");
    for key in ["gridctl:sweep", "gridctl:role", "gridctl:owner", "gridctl:expires", "gridctl:launch", "team"]
    {
        assert!(tags[key].is_string(), "{key} in {tags}");
    }
}

#[test]
fn fewer_machines_are_kept_when_a_person_says_so_and_none_for_a_paused_sweep() {
    let lab = Lab::new();
    let Some(moto) = Moto::start(&lab) else { return };
    launch(&lab, &moto, "beer", 3);
    lab.write(
        "beer.yaml",
        "name: beer\ncommand: [sh, -c, 'sleep 0.5; echo s=$HP_X']\nmetric: {name: s, goal: maximize}\n\
         parameters: {x: {min: 1, max: 5000}}\n",
    );
    let without = lab.run(&["workers", "scale", "1"]);
    assert_ne!(without.code, Some(0));
    let mut nodes = Nodes::start(&lab, &moto, true);
    let mut master = master(&lab, &moto, None);
    assert_eq!(lab.run(&["submit", "beer.yaml"]).code, Some(0));
    lab.until("three machines work", || working(&lab) == 3);
    assert_eq!(lab.run(&["workers", "scale", "1"]).code, Some(0));
    lab.until("one is kept", || nodes.alive("beer") == 1);
    assert_eq!(json_of(&lab, &["status", "-o", "json"])["state"], "running");
    assert_eq!(lab.run(&["pause", "beer"]).code, Some(0));
    lab.until("none is kept", || nodes.alive("beer") == 0);
    assert!(master.try_wait().unwrap().is_none(), "the sweep is not over");
    assert_eq!(lab.run(&["cancel", "beer"]).code, Some(0));
    ended(&lab, &mut master);
    assert_eq!(nodes.ask("left('beer')"), json!({"machines": 0, "templates": 0, "groups": 0}));
}

/// Where a run is cut.
#[derive(Debug, Clone, Copy)]
struct Cut {
    /// The call's number.
    at: u64,
    how: How,
    /// The master is killed there as well, and started again.
    kills: bool,
}

#[derive(Debug, Clone, Copy)]
enum How {
    /// The call never arrives.
    Before,
    /// It is carried out, and nobody hears of it.
    After,
    /// Its answer breaks off.
    Within,
}

impl Cut {
    /// The cut of this seed, somewhere in a run that makes about so many calls.
    fn of(seed: u64) -> Self {
        let lot = blake3::hash(&seed.to_le_bytes());
        let [at, how, kills, ..] = lot.as_bytes();
        let how = [How::Before, How::After, How::Within][usize::from(how % 3)];
        Self { at: 1 + u64::from(at % 20), how, kills: kills % 2 == 0 }
    }
}

/// Stands before moto and cuts once; gone with the process.
struct Proxy {
    endpoint: String,
    /// What was called, the first first.
    calls: Arc<Mutex<Vec<String>>>,
    /// The master is to be killed now.
    kills: Arc<AtomicBool>,
}

impl Proxy {
    fn start(moto: &Moto, cut: Cut) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let proxy = Self { endpoint, calls: Arc::default(), kills: Arc::default() };
        let moto = moto.endpoint.trim_start_matches("http://").to_owned();
        let (calls, kills, count) =
            (Arc::clone(&proxy.calls), Arc::clone(&proxy.kills), Arc::new(AtomicU64::new(0)));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (moto, calls, kills) = (moto.clone(), Arc::clone(&calls), Arc::clone(&kills));
                let count = Arc::clone(&count);
                std::thread::spawn(move || {
                    let Some(request) = request(&client) else { return };
                    let action = request.1.split(['=', '&']).nth(1).unwrap_or("?").to_owned();
                    calls.lock().unwrap().push(action);
                    let is_cut = count.fetch_add(1, Ordering::SeqCst) + 1 == cut.at;
                    if is_cut && cut.kills {
                        kills.store(true, Ordering::SeqCst);
                    }
                    pass(client, &moto, &request, is_cut.then_some(cut.how));
                });
            }
        });
        proxy
    }
}

/// A request's head and body.
fn request(client: &TcpStream) -> Option<(String, String)> {
    let mut reader = BufReader::new(client);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        match line.as_str() {
            "\r\n" => break,
            _ if lower.starts_with("connection:") => {}
            _ => head.push_str(&line),
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((head, String::from_utf8(body).ok()?))
}

/// Carries out one request, and cuts where it is to be cut.
fn pass(mut client: TcpStream, moto: &str, (head, body): &(String, String), cut: Option<How>) {
    if let Some(How::Before) = cut {
        return;
    }
    let mut server = TcpStream::connect(moto).unwrap();
    write!(server, "{head}Connection: close\r\n\r\n{body}").unwrap();
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).unwrap();
    let shown = match cut {
        None => answer.len(),
        Some(How::Within) => answer.len() * 2 / 3,
        Some(_) => 0,
    };
    // The other end may be gone.
    let _ = client.write_all(&answer[..shown]);
}

/// A sweep that gets two machines and is cancelled, cut as the seed says; what is left, in moto's words.
fn crash_point(moto: &Moto, seed: u64) -> Result<(), String> {
    let (lab, cut, sweep) = (Lab::new(), Cut::of(seed), format!("s{seed}"));
    let proxy = Proxy::start(moto, cut);
    launch(&lab, moto, &sweep, 2);
    let spec = format!(
        "name: {sweep}\ncommand: ['true']\nmetric: {{name: s, goal: maximize}}\nparameters: {{x: {{min: 1, max: 9}}}}\n"
    );
    lab.write("s.yaml", spec);
    let mut nodes = Nodes::start(&lab, moto, false);
    let mut master = master(&lab, moto, Some(&proxy.endpoint));
    assert_eq!(lab.run(&["submit", "s.yaml"]).code, Some(0));
    let (began, mut is_cancelled) = (now(), false);
    let told = |what: &str| {
        format!("seed {seed}, {cut:?}: {what}\n{:?}\n{}", proxy.calls.lock().unwrap(), log(&lab))
    };
    let code = loop {
        if proxy.kills.swap(false, Ordering::SeqCst) {
            let _ = master.kill();
            master.wait().unwrap();
            master = self::master(&lab, moto, Some(&proxy.endpoint));
        }
        if !is_cancelled && nodes.alive(&sweep) == 2 {
            is_cancelled = lab.run(&["cancel", &sweep]).code == Some(0);
        }
        if let Some(status) = master.try_wait().unwrap() {
            break status.code();
        }
        if began.elapsed() > LONGEST {
            let _ = master.kill();
            return Err(told("it does not end"));
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let left = nodes.ask(&format!("left('{sweep}')"));
    let peak = nodes.ask(&format!("peak.get('{sweep}', 0)")).as_u64();
    let is_clean = left == json!({"machines": 0, "templates": 0, "groups": 0});
    match code == Some(0) && is_clean && peak == Some(2) {
        true => Ok(()),
        false => Err(told(&format!("exit {code:?}, left {left}, {peak:?} at once"))),
    }
}

/// A sample of cuts; `GRIDCTL_CRASH_POINTS=FIRST..END` plays others.
#[test]
fn wherever_a_call_is_cut_or_the_master_is_killed_nothing_is_left_and_the_cap_holds() {
    let lab = Lab::new();
    let Some(moto) = Moto::start(&lab) else { return };
    let asked = std::env::var("GRIDCTL_CRASH_POINTS").unwrap_or_else(|_| "0..4".to_owned());
    let (first, end) = asked.split_once("..").expect("FIRST..END");
    let (first, end): (u64, u64) = (first.parse().unwrap(), end.parse().unwrap());
    let (next, broken) = (AtomicU64::new(first), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= end {
                        return;
                    }
                    if let Err(what) = crash_point(&moto, seed) {
                        broken.lock().unwrap().push(what);
                    }
                }
            });
        }
    });
    let broken = broken.into_inner().unwrap();
    assert!(broken.is_empty(), "{} of {}:\n{}", broken.len(), end - first, broken.join("\n"));
    println!("{} crash points: nothing is left", end - first);
}
