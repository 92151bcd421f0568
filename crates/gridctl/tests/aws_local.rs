//! The stand-in for AWS in deploy/aws-local: a machine runs its user data, is restarted, interrupted and ended as on EC2.
//! Invariant: what ends a machine is what moto says of it afterwards, and nothing of it runs on.

mod lab;
mod stand_in;

use lab::Lab;
use stand_in::StandIn;

/// What each script begins with. `run` starts machines that have this user data.
const PRELUDE: &str = r##"
import boto3, json, sys
ec2, iam, s3 = (boto3.client(name) for name in ("ec2", "iam", "s3"))
image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
subnet = ec2.describe_subnets(Filters=[dict(Name="availability-zone", Values=["us-east-1a"])])["Subnets"][0]["SubnetId"]
def template(data, **more):
    return ec2.create_launch_template(LaunchTemplateName=data[:8].strip("#!/ \n") + "x", LaunchTemplateData=dict(
        ImageId=image, UserData=__import__("base64").b64encode(data.encode()).decode(), InstanceType="c6i.large",
        InstanceInitiatedShutdownBehavior="terminate", **more))["LaunchTemplate"]["LaunchTemplateId"]
def fleet(template, count, token="t"):
    return ec2.create_fleet(Type="instant", ClientToken=token, LaunchTemplateConfigs=[dict(
        LaunchTemplateSpecification=dict(LaunchTemplateId=template, Version="1"),
        Overrides=[dict(InstanceType="c6i.large", SubnetId=subnet), dict(InstanceType="c5.large", SubnetId=subnet)])],
        TargetCapacitySpecification=dict(TotalTargetCapacity=count, DefaultTargetCapacityType="spot"))
def ids(answer):
    return [id for one in answer.get("Instances", []) for id in one["InstanceIds"]]
"##;

/// A machine that says its name, looks for its notice, and has a service that is restarted.
const USER_DATA: &str = r#"#!/bin/bash
set -eu
metadata=http://169.254.169.254/latest
token=$(curl -sf -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' $metadata/api/token)
about() { curl -sf -H "X-aws-ec2-metadata-token: $token" $metadata/meta-data/$1; }
echo "unasked: $(curl -s -o /dev/null -w '%{http_code}' $metadata/meta-data/instance-id)"
echo "I am $(about instance-id) at $(about local-ipv4)"
printf '[Service]\nExecStart=/bin/bash -c "echo serving; exec sleep 1000"\nRestart=always\nRestartSec=1s\n' >/etc/systemd/system/own.service
sed -i 's/-c .*/\/root\/serve/' /etc/systemd/system/own.service
printf 'echo serving; exec sleep 1000\n' >/root/serve
systemctl enable --now own.service
sleep 0.5
systemctl kill own.service
until about spot/instance-action; do sleep 0.2; done
echo " is the notice"
"#;

#[test]
fn machines_live_and_end_as_those_of_ec2_do() {
    let lab = Lab::new();
    let Some(cloud) = StandIn::start(&lab) else { return };
    let script = |text: &str| cloud.script(&format!("{PRELUDE}{text}"));
    lab.write("user-data", USER_DATA);
    let path = lab.path().join("user-data").display().to_string();
    let begun = script(&format!("one = template(open('{path}').read()); print(one, *ids(fleet(one, 3)))"));
    let words: Vec<&str> = begun.split(' ').collect();
    let [template, noticed, silent, ended] = words[..] else { panic!("{begun}") };
    for id in [noticed, silent, ended] {
        lab.until("it serves again after it was killed", || {
            cloud.console(id).matches("\nserving\n").count() == 2
        });
        let console = cloud.console(id);
        assert!(console.contains("unasked: 401\n"), "{console}");
        assert!(console.contains(&format!("I am {id} at 172.31.")), "{console}");
    }
    let again = script(&format!("print(*ids(fleet('{template}', 3)))"));
    assert_eq!(again, [noticed, silent, ended].join(" "), "the same token starts nothing more");
    cloud.ask(&["interrupt", noticed, "--lead", "3"]);
    lab.until("it hears of it", || cloud.console(noticed).contains(" is the notice\n"));
    assert!(cloud.console(noticed).contains("{\"action\": \"terminate\", \"time\": \""));
    cloud.ask(&["interrupt", silent, "--silent"]);
    script(&format!("ec2.terminate_instances(InstanceIds=['{ended}'])"));
    let reason = |id: &str| {
        let machines = cloud.machines();
        let machine = machines.iter().find(|machine| machine["id"] == id).unwrap();
        let ended = machine["state"] == "terminated" && machine["runs"] == false;
        ended.then(|| machine["why"].as_str().unwrap().to_owned())
    };
    for (id, why) in [
        (noticed, "Server.SpotInstanceTermination"),
        (silent, "Server.SpotInstanceTermination"),
        (ended, "Client.UserInitiatedShutdown"),
    ] {
        lab.until("it ends", || reason(id).is_some());
        assert_eq!(reason(id).unwrap(), why);
    }
    cloud.nothing_runs(&lab);
}

#[test]
fn a_machine_that_shuts_down_is_gone_and_its_timer_does_that() {
    let lab = Lab::new();
    let Some(cloud) = StandIn::start(&lab) else { return };
    let user_data = r"#!/bin/bash
printf '[Service]\nExecStart=shutdown -h now\n' >/etc/systemd/system/end.service
printf '[Timer]\nOnActiveSec=1s\n' >/etc/systemd/system/end.timer
systemctl enable --now end.timer
sleep 1000";
    lab.write("user-data", user_data);
    let path = lab.path().join("user-data").display().to_string();
    cloud.script(&format!("{PRELUDE}fleet(template(open('{path}').read()), 2)"));
    lab.until("both are gone", || {
        let machines = cloud.machines();
        machines.len() == 2
            && machines.iter().all(|machine| machine["why"] == "Client.InstanceInitiatedShutdown")
    });
    cloud.nothing_runs(&lab);
}

#[test]
fn calls_fail_as_they_are_told_to_and_roles_may_do_what_their_policies_say() {
    let lab = Lab::new();
    let Some(cloud) = StandIn::start(&lab) else { return };
    cloud.ask(&["fault", r#"{"capacity": [["c6i.large", ""], ["c5.large", "us-east-1a"]]}"#]);
    let told = cloud.script(&format!(
        "{PRELUDE}answer = fleet(template('#!/bin/true'), 2); print(ids(answer), *[e['ErrorCode'] for e in answer['Errors']])"
    ));
    assert_eq!(told, "[] InsufficientInstanceCapacity InsufficientInstanceCapacity");
    cloud.ask(&["fault", r#"{"action": "CreateBucket", "code": "AccessDenied"}"#]);
    let script = r##"
try: s3.create_bucket(Bucket="first"); print("made")
except s3.exceptions.ClientError as error: print(error.response["Error"]["Code"])
s3.create_bucket(Bucket="first")
old = "2012-10-17"
trust = json.dumps({"Version": old, "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]})
iam.create_role(RoleName="reader", AssumeRolePolicyDocument=trust)
iam.put_role_policy(RoleName="reader", PolicyName="own", PolicyDocument=json.dumps({"Version": old, "Statement": [
    {"Effect": "Allow", "Action": "s3:*Object", "Resource": "arn:aws:s3:::first/*"},
    {"Effect": "Deny", "Action": "s3:*", "Resource": "arn:aws:s3:::first/control/*"}]}))
iam.create_instance_profile(InstanceProfileName="reader")
iam.add_role_to_instance_profile(InstanceProfileName="reader", RoleName="reader")
for key in ("control/secret", "data"): s3.put_object(Bucket="first", Key=key, Body=b"yes")
group = ec2.create_security_group(GroupName="g", Description="g")["GroupId"]
print(ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, SubnetId=subnet, SecurityGroupIds=[group],
    IamInstanceProfile={"Name": "reader"}, UserData=open(sys.argv[1]).read())["Instances"][0]["InstanceId"])
try: ec2.delete_security_group(GroupId=group)
except ec2.exceptions.ClientError as error: print(error.response["Error"]["Code"])
"##;
    let user_data = r#"#!/bin/bash
metadata=http://169.254.169.254/latest
token=$(curl -sf -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' $metadata/api/token)
keys=$(curl -sf -H "X-aws-ec2-metadata-token: $token" $metadata/meta-data/iam/security-credentials/reader)
key=$(sed -n 's/.*"AccessKeyId": "\([^"]*\)".*/\1/p' <<<"$keys")
for path in data control/secret; do
  curl -s -o /dev/null -w "$path %{http_code}\n" --aws-sigv4 aws:amz:us-east-1:s3 --user "$key:secret" \
    -H 'x-amz-security-token: token' -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' "$AWS_ENDPOINT_URL/first/$path"
done
"#;
    lab.write("user-data", user_data);
    let path = lab.path().join("user-data");
    let told = cloud.script_with(&format!("{PRELUDE}{script}"), &[path.to_str().unwrap()]);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!((lines[0], lines[2]), ("AccessDenied", "DependencyViolation"), "{told}");
    lab.until("it has asked", || cloud.console(lines[1]).contains("control/secret 403\n"));
    assert!(cloud.console(lines[1]).contains("data 200\n"));
    let denied = cloud.calls().into_iter().find(|call| call["who"] == "reader" && call["status"] == 403);
    assert_eq!(denied.unwrap()["path"], "/first/control/secret");
}
