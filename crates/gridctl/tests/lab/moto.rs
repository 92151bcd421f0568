//! moto, which stands in for AWS, for as long as a test lasts.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use super::{Done, Lab, skipped};

/// What each script begins with.
const PRELUDE: &str = "
import boto3, os, sys, time
kw = dict(endpoint_url=os.environ['AWS_ENDPOINT_URL'], region_name='us-east-1', aws_access_key_id='x', aws_secret_access_key='y')
ec2, iam = boto3.client('ec2', **kw), boto3.client('iam', **kw)
me = boto3.client('sts', **kw).get_caller_identity()['Arn']
image = ec2.describe_images(Owners=['amazon'])['Images'][0]['ImageId']
later = int(time.time()) + 7200
def tags(kind, sweep, role='worker', owner=me, expires=later):
    tags = {'sweep': sweep, 'role': role, 'owner': owner, 'expires': str(expires)}
    return dict(TagSpecifications=[dict(ResourceType=kind, Tags=[dict(Key='gridctl:' + k, Value=v) for k, v in tags.items()])])
def run(count, **more):
    return [i['InstanceId'] for i in ec2.run_instances(ImageId=image, MinCount=count, MaxCount=count, **more)['Instances']]
def left():
    all = [i for r in ec2.describe_instances()['Reservations'] for i in r['Instances'] if i['State']['Name'] == 'running']
    named = lambda i: next((t['Value'] for t in i.get('Tags', []) if t['Key'] == 'gridctl:sweep'), 'none')
    return ' '.join(sorted(named(i) for i in all))
";

/// A stand-in for AWS; gone with the guard.
pub(crate) struct Moto {
    python: String,
    server: Child,
    pub(crate) endpoint: String,
}

impl Moto {
    pub(crate) fn start(lab: &Lab) -> Option<Self> {
        let python = std::env::var("GRIDCTL_TEST_MOTO").unwrap_or_else(|_| "python3".to_owned());
        let mut has = Command::new(&python);
        has.args(["-c", "import moto.server, boto3"]).stdout(Stdio::null()).stderr(Stdio::null());
        if !has.status().is_ok_and(|status| status.success()) {
            skipped(
                "AWS: no moto for python3 (pip install 'moto[server]'), nor for what GRIDCTL_TEST_MOTO names",
            );
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Command::new(&python);
        server.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()]);
        let server = server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let moto = Self { python, server, endpoint: format!("http://127.0.0.1:{port}") };
        lab.until("moto answers", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Some(moto)
    }

    /// A script that has [`PRELUDE`] before it.
    pub(crate) fn python(&self, script: &str) -> Command {
        let mut python = Command::new(&self.python);
        python.arg("-c").arg(format!("{PRELUDE}{script}")).env("AWS_ENDPOINT_URL", &self.endpoint);
        python
    }

    /// What a script prints that has [`PRELUDE`] before it.
    pub(crate) fn script(&self, script: &str) -> String {
        let done = self.python(script).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    pub(crate) fn run(&self, lab: &Lab, args: &[&str]) -> Done {
        lab.finish(&mut self.command(lab, args))
    }

    /// A command that takes this for AWS.
    pub(crate) fn command(&self, lab: &Lab, args: &[&str]) -> Command {
        let mut command = lab.command(args);
        let keys = [("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "y"), ("AWS_REGION", "us-east-1")];
        command.envs(keys).env("AWS_ENDPOINT_URL", &self.endpoint);
        command
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
