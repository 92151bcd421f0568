"""What stands before moto: records each call, makes calls fail that are told to, and adds what moto leaves out."""

import io
import json
import random
import re
import threading
import time
import urllib.parse

from moto.backends import get_backend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

import iam
from machines import ACCOUNT, instances

SCOPE = re.compile(r"Credential=([^/]+)/\d+/([^/]+)/([^/]+)/aws4_request")
# Calls of EC2 that are answered anew by the same token.
BY_TOKEN = ("RunInstances", "CreateFleet")
LONGEST_KEPT = 1 << 20


class Call:
    """One call, as far as it can be told."""

    def __init__(self, environ):
        length = int(environ.get("CONTENT_LENGTH") or 0)
        self.method, self.path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "/")
        self.query = urllib.parse.parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        found = SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
        self.key, self.region, self.service = found.groups() if found else ("", "us-east-1", "")
        self.form, self.body, self.keys = {}, None, []
        if self.service != "s3" and environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
            self.body = environ["wsgi.input"].read(length)
            self.form = dict(urllib.parse.parse_qsl(self.body.decode(), keep_blank_values=True))
        if self.service == "s3" and self.method == "POST" and "delete" in self.query:
            listed = environ["wsgi.input"].read(length)
            self.keys = re.findall(r"<Key>(.*?)</Key>", listed.decode())
            environ["wsgi.input"] = io.BytesIO(listed)
        self.action = self.form.get("Action") or (iam.s3_action(self) if self.service == "s3" else "?")

    def put_back(self, environ):
        """The form, for moto, with whatever was changed in it."""
        if self.body is not None:
            body = urllib.parse.urlencode(self.form).encode()
            environ["wsgi.input"], environ["CONTENT_LENGTH"] = io.BytesIO(body), str(len(body))


class Front:
    def __init__(self, machines, log):
        self.machines = machines
        self.moto = DomainDispatcherApplication(create_backend_app)
        self.log = open(log, "a", buffering=1)
        self.lock = threading.Lock()
        self.faults = []
        self.tokens = {}

    def add_fault(self, fault):
        """{"action", "code", "count"}, with "after": true for an answer that is lost; or {"capacity": [[type, zone], ...]},
        pools that have none: an empty zone is every zone."""
        if "capacity" not in fault:
            fault = {"count": 1, "after": False, **fault}
            fault["action"], fault["code"]
        with self.lock:
            if "capacity" in fault:
                self.faults = [one for one in self.faults if "capacity" not in one]
            self.faults.append(fault)

    def fault(self, call):
        with self.lock:
            for fault in self.faults:
                if fault.get("action") == call.action and fault["count"] > 0:
                    fault["count"] -= 1
                    return fault
        return None

    def has_no_capacity(self, instance, zone):
        with self.lock:
            pools = [pool for fault in self.faults for pool in fault.get("capacity", [])]
        return any(kind in ("", instance) and where in ("", zone) for kind, where in pools)

    def __call__(self, environ, start_response):
        call = Call(environ)
        status, headers, body = self.answer(call, environ)
        self.record(call, status)
        start_response(status, headers)
        return body if environ["REQUEST_METHOD"] != "HEAD" else []

    def record(self, call, status):
        line = {"time": time.time(), "who": iam.caller(call.key), "service": call.service, "action": call.action}
        line |= {"status": int(status[:3]), "path": call.path if call.service == "s3" else "", "form": call.form}
        self.log.write(json.dumps(line) + "\n")

    def answer(self, call, environ):
        fault = self.fault(call)
        if fault and not fault["after"]:
            return refusal(call, fault["code"], "a fault that was asked for")
        denied = iam.denied(call)
        if denied:
            return refusal(call, *denied)
        token = call.form.get("ClientToken") if call.action in BY_TOKEN else None
        if token:
            with self.lock:
                kept = self.tokens.get(token)
            if kept and kept[0] != call.body:
                return refusal(call, "IdempotentParameterMismatch", "this token was used with other parameters")
            if kept:
                return kept[1]
        asked = call.body
        answer = self.prepared(call) or self.ask(call, environ)
        self.mended(call, answer)
        if token and answer[0].startswith("200"):
            with self.lock:
                self.tokens[token] = (asked, answer)
        if fault:
            return refusal(call, fault["code"], "a fault that was asked for, after the call was done")
        return answer

    def ask(self, call, environ):
        call.put_back(environ)
        told = {}

        def start(status, headers, _=None):
            told["status"], told["headers"] = status, headers

        parts = self.moto(environ, start)
        body = [b"".join(parts)]
        if hasattr(parts, "close"):
            parts.close()
        return told["status"], told["headers"], body

    def prepared(self, call):
        """What is answered without moto; or None, after the call was changed to what moto makes right."""
        if call.action == "CreateServiceLinkedRole" and call.form.get("AWSServiceName") == "spot.amazonaws.com":
            return self.spot_role(call)
        if call.action == "DeleteSecurityGroup":
            held = [one.id for one in instances() if one.state != "terminated" and holds(one, call.form.get("GroupId"))]
            if held:
                return refusal(call, "DependencyViolation", f"resource {call.form['GroupId']} has a dependent object")
        if call.action == "RunInstances":
            zone = zone_of(call.region, call.form.get("SubnetId"))
            if self.has_no_capacity(call.form.get("InstanceType"), zone):
                return refusal(call, "InsufficientInstanceCapacity", f"there is no capacity in {zone}")
        if call.action == "CreateFleet":
            return self.fleet(call)
        return None

    def spot_role(self, call):
        roles = get_backend("iam")[ACCOUNT]["aws"]
        name, service = "AWSServiceRoleForEC2Spot", "spot.amazonaws.com"
        if any(role.name == name for role in roles.roles.values()):
            return refusal(call, "InvalidInput", f"Service role name {name} has been taken in this account")
        roles.create_role(name, "{}", f"/aws-service-role/{service}/", None, "", [], "3600", service)
        body = f"<CreateServiceLinkedRoleResponse><CreateServiceLinkedRoleResult><Role><RoleName>{name}</RoleName></Role>"
        body += "</CreateServiceLinkedRoleResult></CreateServiceLinkedRoleResponse>"
        return "200 OK", [("Content-Type", "text/xml")], [body.encode()]

    def fleet(self, call):
        """moto takes the first of the pools: one of those that have capacity is put there."""
        pattern = re.compile(r"LaunchTemplateConfigs\.(\d+)\.Overrides\.(\d+)\.(.+)")
        pools = {}
        for name, value in call.form.items():
            found = pattern.fullmatch(name)
            if found:
                pools.setdefault((int(found[1]), int(found[2])), {})[found[3]] = value
        zones = {where: zone_of(call.region, pool.get("SubnetId")) for where, pool in pools.items()}
        able = [where for where, pool in pools.items() if not self.has_no_capacity(pool.get("InstanceType"), zones[where])]
        if pools and not able:
            return fleet_errors(pools, zones)
        if able:
            chosen = random.choice(able)
            kept = {name: value for name, value in call.form.items() if not pattern.fullmatch(name)}
            prefix = f"LaunchTemplateConfigs.{chosen[0]}.Overrides.1."
            call.form = kept | {prefix + name: value for name, value in pools[chosen].items()}
            call.body = call.body or b""
        return None

    def mended(self, call, answer):
        """moto gives the profile to the first of several machines alone, and its fleets drop what the template says of them."""
        if call.action not in BY_TOKEN or not answer[0].startswith("200"):
            return
        if call.action == "RunInstances":
            given = {key: call.form.get(f"IamInstanceProfile.{key}") for key in ("Name", "Arn")}
            profile = {key: value for key, value in given.items() if value}
            told = b"".join(answer[2]).decode()
            for instance in instances():
                if instance.id in told:
                    instance.iam_instance_profile = profile
            return
        ids = set(re.findall(r"i-[0-9a-f]{8,17}", b"".join(answer[2]).decode()))
        reference = next((v for k, v in call.form.items() if re.search(r"LaunchTemplateSpecification\.LaunchTemplate(Id|Name)$", k)), "")
        ec2 = get_backend("ec2")[ACCOUNT][call.region]
        template = ec2.launch_templates.get(reference) or next(
            (one for one in ec2.launch_templates.values() if one.name == reference), None
        )
        data = template.versions[-1].data if template else {}
        groups = [group for group in data.get("SecurityGroupIds", [])]
        for instance in instances():
            if instance.id in ids:
                instance.iam_instance_profile = data.get("IamInstanceProfile")
                instance.instance_initiated_shutdown_behavior = data.get("InstanceInitiatedShutdownBehavior", "stop")
                instance.security_groups = [ec2.get_security_group_from_id(group) for group in groups]
                options = data.get("MetadataOptions", {})
                instance.metadata_options.http_tokens = options.get("HttpTokens", "optional")


def holds(instance, group):
    return any(getattr(one, "id", one) == group for one in instance.security_groups or [])


def zone_of(region, subnet):
    if not subnet:
        return ""
    found = get_backend("ec2")[ACCOUNT][region].get_subnet(subnet)
    return found.availability_zone


def fleet_errors(pools, zones):
    errors = "".join(
        f"<item><errorCode>InsufficientInstanceCapacity</errorCode><errorMessage>no capacity in {zones[where]}</errorMessage>"
        f"<lifecycle>spot</lifecycle><launchTemplateAndOverrides><overrides><instanceType>{pool.get('InstanceType', '')}"
        f"</instanceType></overrides></launchTemplateAndOverrides></item>"
        for where, pool in pools.items()
    )
    body = (
        '<CreateFleetResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>none</requestId>'
        f"<fleetId>fleet-none</fleetId><fleetInstanceSet/><errorSet>{errors}</errorSet></CreateFleetResponse>"
    )
    return "200 OK", [("Content-Type", "text/xml")], [body.encode()]


def refusal(call, code, why):
    status = {"RequestLimitExceeded": "503 Unavailable", "InternalError": "500 Internal Server Error"}.get(code)
    status = status or ("403 Forbidden" if code in ("AccessDenied", "UnauthorizedOperation") else "400 Bad Request")
    if call.service == "ec2":
        body = f"<Response><Errors><Error><Code>{code}</Code><Message>{why}</Message></Error></Errors></Response>"
    elif call.service == "s3":
        body = f"<Error><Code>{code}</Code><Message>{why}</Message></Error>"
    else:
        body = f"<ErrorResponse><Error><Code>{code}</Code><Message>{why}</Message></Error></ErrorResponse>"
    return status, [("Content-Type", "text/xml"), ("Content-Length", str(len(body.encode())))], [body.encode()]
