//! `down`, `gc` and `doctor --aws`, against moto, which stands in for AWS. It wants `pip install 'moto[server]'`, for `python3`
//! or for the Python that GRIDCTL_TEST_MOTO names.
//! Invariant: whatever a command says is gone, moto does not show any more, and what is not gridctl's it shows still.
mod lab;

use lab::Lab;
use lab::moto::Moto;
use serde_json::Value as Json;

#[test]
fn down_ends_what_bears_the_sweeps_name_and_nothing_else() {
    let lab = Lab::new();
    let Some(moto) = Moto::start(&lab) else { return };
    moto.script(
        "
run(1, **tags('instance', 'wine', role='master')); run(54, **tags('instance', 'wine'))
run(1, **tags('instance', 'beer')); run(1, **tags('instance', 'wine', owner='arn:aws:iam::1:user/other')); run(1)
ec2.create_launch_template(LaunchTemplateName='a', LaunchTemplateData={'ImageId': image}, **tags('launch-template', 'wine'))
ec2.create_security_group(GroupName='a', Description='x', **tags('security-group', 'wine'))
ec2.create_volume(AvailabilityZone='us-east-1a', Size=8, **tags('volume', 'wine'))",
    );
    let unnamed = moto.run(&lab, &["down"]);
    assert_eq!(unnamed.code, Some(2), "{}", unnamed.stderr);
    assert!(unnamed.stderr.contains("there are beer (1 thing), wine (59 things)"), "{}", unnamed.stderr);
    let done = moto.run(&lab, &["down", "wine"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(done.stdout, "what is left of wine in us-east-1: nothing\n");
    assert!(done.stderr.contains("ending 1 launch template, 55 instances"), "{}", done.stderr);
    assert!(done.stderr.contains("1 thing of other callers"), "{}", done.stderr);
    let left = "print(left(), len(ec2.describe_launch_templates()['LaunchTemplates']), len(ec2.describe_security_groups(GroupNames=['a'])['SecurityGroups']) if 'a' in [g['GroupName'] for g in ec2.describe_security_groups()['SecurityGroups']] else 0, len(ec2.describe_volumes(Filters=[dict(Name='tag-key', Values=['gridctl:sweep'])])['Volumes']))";
    assert_eq!(moto.script(left), "beer none wine 0 0 0");
    let all = moto.run(&lab, &["down", "--all", "--any-owner", "-o", "json"]);
    assert_eq!(all.code, Some(0), "{}", all.stderr);
    let json: Json = serde_json::from_str(&all.stdout).unwrap();
    assert_eq!(json, serde_json::json!({"regions": ["us-east-1"], "left": [], "of_others": 0}));
    assert_eq!(moto.script("print(left())"), "none");
}

#[test]
fn gc_ends_what_is_beyond_its_time_in_every_region_that_is_named() {
    let lab = Lab::new();
    let Some(moto) = Moto::start(&lab) else { return };
    moto.script(
        "
run(2, **tags('instance', 'old', expires=1000)); run(1, **tags('instance', 'new')); run(1, **tags('instance', 'odd', expires='soon'))
kw['region_name'] = 'eu-west-1'; ec2 = boto3.client('ec2', **kw)
image = ec2.describe_images(Owners=['amazon'])['Images'][0]['ImageId']
run(1, **tags('instance', 'old', expires=1000))",
    );
    let seen = moto.run(&lab, &["doctor", "--aws"]);
    assert_eq!(seen.code, Some(1), "what is beyond its time is a problem");
    assert!(seen.stdout.contains("2 of these beyond their time: `gridctl gc` ends them"), "{}", seen.stdout);
    let done = moto.run(&lab, &["gc", "--region", "us-east-1", "--region", "eu-west-1"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(done.stdout, "what is left of gridctl beyond its time in us-east-1, eu-west-1: nothing\n");
    assert!(done.stderr.contains("eu-west-1: ending 1 instance"), "{}", done.stderr);
    assert_eq!(moto.script("print(left())"), "new odd");
}

#[test]
fn what_cannot_be_ended_is_listed_and_the_rest_is_ended() {
    let lab = Lab::new();
    let Some(moto) = Moto::start(&lab) else { return };
    let held = moto.script(
        "
held = run(1, **tags('instance', 'wine'))[0]; run(3, **tags('instance', 'wine'))
ec2.modify_instance_attribute(InstanceId=held, DisableApiTermination={'Value': True}); print(held)",
    );
    let done = moto.run(&lab, &["down", "wine", "--wait", "5s"]);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    assert!(done.stdout.starts_with("what is left of wine:\n"), "{}", done.stdout);
    assert!(done.stdout.contains(&held) && done.stdout.lines().count() == 3, "{}", done.stdout);
    assert!(done.stderr.contains(&format!("{held} cannot be ended yet")), "{}", done.stderr);
    assert_eq!(moto.script("print(left())"), "wine");
}

#[test]
fn doctor_says_what_an_account_has_and_lacks() {
    let lab = Lab::new();
    let Some(moto) = Moto::start(&lab) else { return };
    let lacks = moto.run(&lab, &["doctor", "--aws"]);
    assert_eq!(lacks.code, Some(0), "{}", lacks.stderr);
    let lines: Vec<&str> = lacks.stdout.lines().collect();
    for (line, begin) in lines.iter().zip(["ok ", "ok ", "note ", "ok ", "ok ", "note ", "note ", "ok "]) {
        assert!(line.starts_with(begin), "{}", lacks.stdout);
    }
    assert!(lines[0].contains("account 123456789012, as arn:aws:"), "{}", lines[0]);
    for line in [lines[2], lines[5], lines[6]] {
        assert!(line.contains("`gridctl aws init` makes"), "{line}");
    }
    moto.script("iam.create_role(RoleName='AWSServiceRoleForEC2Spot', AssumeRolePolicyDocument='{}')");
    let has = moto.run(&lab, &["doctor", "--aws", "--region", "us-west-2", "-o", "json"]);
    let findings: Vec<Json> = serde_json::from_str(&has.stdout).unwrap();
    assert_eq!((&findings[1]["text"], &findings[2]["verdict"]), (&"us-west-2".into(), &"ok".into()));
}

#[test]
fn init_makes_what_launches_need_once_and_remove_undoes_it() {
    let lab = Lab::new();
    let Some(moto) = Moto::start(&lab) else { return };
    // moto gives that role another name.
    moto.script("iam.create_role(RoleName='AWSServiceRoleForEC2Spot', AssumeRolePolicyDocument='{}')");
    let there = "
s3 = boto3.client('s3', **kw)
print([b['Name'] for b in s3.list_buckets()['Buckets']], [p['InstanceProfileName'] + '/' + p['Roles'][0]['RoleName'] for p in iam.list_instance_profiles()['InstanceProfiles']])";
    let dry = moto.run(&lab, &["aws", "init", "--dry-run"]);
    assert_eq!(dry.code, Some(0), "{}", dry.stderr);
    assert!(
        dry.stdout.contains("would be made") && dry.stderr.contains("7 things would be made"),
        "{}",
        dry.stderr
    );
    assert_eq!(moto.script(there), "[] []", "a dry run makes nothing");
    let init = moto.run(&lab, &["aws", "init", "--read", "s3://data/wine"]);
    assert_eq!(init.code, Some(0), "{}", init.stderr);
    assert!(init.stderr.contains("9 things made or changed"), "{}", init.stderr);
    let made = "['gridctl-123456789012-us-east-1'] ['gridctl-master/gridctl-master', 'gridctl-worker/gridctl-worker']";
    assert_eq!(moto.script(there), made);
    let again = moto.run(&lab, &["aws", "init"]);
    assert!(again.stderr.ends_with("everything is there\n"), "{}", again.stderr);
    assert_eq!(again.stdout.matches("is there").count(), again.stdout.lines().count());
    let kept = "
s3 = boto3.client('s3', **kw)
s3.put_object(Bucket='gridctl-123456789012-us-east-1', Key='results/wine/sweep.json', Body=b'1')
s3.put_object(Bucket='gridctl-123456789012-us-east-1', Key='control/wine/join', Body=b'1')
private = s3.get_public_access_block(Bucket='gridctl-123456789012-us-east-1')['PublicAccessBlockConfiguration']
print(all(private.values()), sorted(iam.list_role_policies(RoleName='gridctl-worker')['PolicyNames']))";
    assert_eq!(moto.script(kept), "True ['gridctl', 'gridctl-data']");
    let doctor = moto.run(&lab, &["doctor", "--aws"]);
    assert!(doctor.stdout.lines().all(|line| line.starts_with("ok ")), "{}", doctor.stdout);
    moto.script("run(1, **tags('instance', 'wine'))");
    let used = moto.run(&lab, &["aws", "remove"]);
    assert_eq!(used.code, Some(1));
    assert!(used.stderr.contains("1 thing of gridctl's is there still"), "{}", used.stderr);
    assert_eq!(moto.run(&lab, &["down", "wine"]).code, Some(0));
    let careful = moto.run(&lab, &["aws", "remove"]);
    assert_eq!(careful.code, Some(1), "{}", careful.stderr);
    assert!(careful.stdout.contains("stays: 1 object of results are in it"), "{}", careful.stdout);
    let gone = moto.run(&lab, &["aws", "remove", "--with-results"]);
    assert_eq!(gone.code, Some(0), "{}", gone.stderr);
    assert!(gone.stdout.contains("removed"), "{}", gone.stdout);
    assert_eq!(moto.script(there), "[] []");
    assert_eq!(moto.run(&lab, &["aws", "remove"]).code, Some(0), "what is not there is no error");
}

#[test]
fn without_region_credentials_or_network_it_says_so() {
    let lab = Lab::new();
    let none = [("HOME", "/nowhere"), ("AWS_EC2_METADATA_DISABLED", "true")];
    let keys = [("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "verysecret")];
    let region = [("AWS_REGION", "us-east-1")];
    let nobody = [("AWS_ENDPOINT_URL", "http://127.0.0.1:1")];
    let run = |args: &[&str], sets: &[&[(&str, &str)]]| {
        let mut command = lab.command(args);
        for set in sets {
            command.envs(set.iter().copied());
        }
        let done = lab.finish(&mut command);
        assert!(!done.stderr.contains("verysecret") && !done.stdout.contains("verysecret"));
        done
    };
    type Tags<'a> = &'a [(&'a str, &'a str)];
    let cases: [(&[Tags<'_>], &str, &str); 3] = [
        (&[&none], "no region of AWS is named", "set AWS_REGION"),
        (&[&none, &region], "no credentials for AWS were found", "aws configure"),
        (
            &[&none, &region, &keys, &nobody],
            "AWS cannot be reached for GetCallerIdentity",
            "look at the network",
        ),
    ];
    for (sets, error, help) in cases {
        let done = run(&["down", "wine"], sets);
        assert_eq!((done.code, done.stdout.as_str()), (Some(1), ""), "{error}");
        assert!(done.stderr.contains(error) && done.stderr.contains(help), "{}", done.stderr);
        let doctor = run(&["doctor", "--aws"], sets);
        assert_eq!(doctor.code, Some(1));
        assert!(doctor.stdout.starts_with("problem ") && doctor.stdout.contains(error), "{}", doctor.stdout);
    }
}
