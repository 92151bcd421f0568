"""What the roles may do: their policies, as moto keeps them, held against each call of a machine.

Of the language of policies it knows what deploy/iam uses: Allow and Deny, wildcards, and conditions on tags."""

import fnmatch
import json
import re

from moto.backends import get_backend

from machines import ACCOUNT

KEY = re.compile(r"ASIA(.+)\.(i-[0-9a-f]+)$")


def caller(key):
    """Who has this access key: `role`, or `you`."""
    found = KEY.match(key)
    return found[1] if found else "you"


def s3_action(call):
    """The permission that a call of S3 needs."""
    key = call.path.strip("/").partition("/")[2]
    if key:
        names = {"GET": "GetObject", "HEAD": "GetObject", "PUT": "PutObject", "POST": "PutObject", "DELETE": "DeleteObject"}
        if call.method == "DELETE" and "uploadId" in call.query:
            return "AbortMultipartUpload"
        return names.get(call.method, "?")
    if call.method == "GET" and "location" in call.query:
        return "GetBucketLocation"
    if call.method == "GET" and "uploads" in call.query:
        return "ListBucketMultipartUploads"
    if call.method == "POST" and "delete" in call.query:
        return "DeleteObject"
    if call.method == "PUT" and "publicAccessBlock" in call.query:
        return "PutBucketPublicAccessBlock"
    return {"GET": "ListBucket", "HEAD": "ListBucket", "PUT": "CreateBucket", "DELETE": "DeleteBucket"}.get(call.method, "?")


def denied(call):
    """(code, why) if the caller is a role whose policies do not allow the call."""
    role = caller(call.key)
    if role == "you" or call.service == "sts":
        return None
    statements = list(policies(role))
    action = f"{call.service}:{call.action}"
    resources = resources_of(call)
    for resource in resources:
        fitting = [one for one in statements if fits(one, action, resource, call)]
        effects = {one["Effect"] for one in fitting}
        if "Deny" in effects or "Allow" not in effects:
            code = "UnauthorizedOperation" if call.service == "ec2" else "AccessDenied"
            return code, f"{role} is not allowed to do {action} on {resource}"
    return None


def policies(role):
    found = next((one for one in get_backend("iam")[ACCOUNT]["aws"].roles.values() if one.name == role), None)
    for text in (found.policies if found else {}).values():
        yield from json.loads(text)["Statement"]


def listed(value):
    return value if isinstance(value, list) else [value]


def fits(statement, action, resource, call):
    named = any(fnmatch.fnmatchcase(action.lower(), one.lower()) for one in listed(statement["Action"]))
    meant = any(fnmatch.fnmatchcase(resource, one) for one in listed(statement["Resource"]))
    return named and meant and all(
        holds(operator, key, listed(value), resource, call)
        for operator, keys in statement.get("Condition", {}).items()
        for key, value in keys.items()
    )


def holds(operator, key, values, resource, call):
    found = context(key, resource, call)
    if operator == "Null":
        return (found is None) == (str(values[0]).lower() == "true")
    if operator == "StringEquals":
        return found in values
    if operator == "StringLike":
        return found is not None and any(fnmatch.fnmatchcase(found, one) for one in values)
    raise ValueError(f"the stand-in does not know {operator}")


def context(key, resource, call):
    """The value of a condition's key; None where there is none."""
    name = key.partition("/")[2]
    if key.startswith("aws:RequestTag/"):
        return next((value for tag, value in asked_tags(call) if tag == name), None)
    if key.startswith(("ec2:ResourceTag/", "aws:ResourceTag/")):
        # Of what is made just now there are the tags that it is made with.
        if resource.endswith("/*"):
            return None
        tags = get_backend("ec2")[ACCOUNT][call.region].tags.get(resource.rsplit("/", 1)[-1], {})
        return tags.get(name)
    if key == "iam:PassedToService":
        return "ec2.amazonaws.com"
    if key == "ec2:CreateAction":
        return call.action
    if key == "s3:prefix":
        return call.query.get("prefix", [""])[0]
    raise ValueError(f"the stand-in does not know {key}")


def asked_tags(call):
    """The tags that a call puts on what it makes, or has."""
    for name, value in call.form.items():
        found = re.fullmatch(r"((?:TagSpecification\.\d+\.)?Tag\.\d+)\.Key", name)
        if found:
            yield value, call.form.get(f"{found[1]}.Value")


# What a call makes, and what it makes that from, as policies name it.
MADE = {
    "RunInstances": ("instance", "volume", "network-interface"),
    "CreateFleet": ("fleet", "instance"),
    "CreateLaunchTemplate": ("launch-template",),
    "CreateSecurityGroup": ("security-group",),
}
KINDS = {"i": "instance", "sg": "security-group", "lt": "launch-template", "vol": "volume", "subnet": "subnet", "ami": "image"}
NAMED = re.compile(r"(.*\.)?(InstanceId|ResourceId|GroupId|SecurityGroupId|LaunchTemplateId|SubnetId|ImageId)(\.\d+)?")


def resources_of(call):
    """What a call is about, as policies name it."""
    if call.service == "s3":
        bucket, _, key = call.path.strip("/").partition("/")
        if call.keys:
            return [f"arn:aws:s3:::{bucket}/{one}" for one in call.keys]
        return [f"arn:aws:s3:::{bucket}/{key}" if key else f"arn:aws:s3:::{bucket}"]
    if call.service == "ec2":
        if call.action.startswith("Describe"):
            return ["*"]
        # What a template says is looked at when machines are made from it.
        form = {name: value for name, value in call.form.items() if not name.startswith("LaunchTemplateData.")}
        named = [value for name, value in form.items() if NAMED.fullmatch(name)]
        kinds = [(KINDS.get(one.split("-")[0], "other"), one) for one in named]
        made = [(kind, "*") for kind in MADE.get(call.action, ())]
        return [ec2_name(call.region, kind, one) for kind, one in kinds + made] or ["*"]
    if call.service == "iam":
        return [f"arn:aws:iam::{ACCOUNT}:role/{call.form.get('RoleName', '')}"]
    return ["*"]


def ec2_name(region, kind, one):
    return f"arn:aws:ec2:{region}:{'' if kind == 'image' else ACCOUNT}:{kind}/{one}"
