"""The machines' metadata, at 169.254.169.254: version 2 alone, and each machine sees its own."""

import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from machines import ACCOUNT, stamp

LIFE = 6 * 3600


class Metadata(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, code, body=b"", headers=()):
        body = body if isinstance(body, bytes) else body.encode()
        self.send_response(code)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self):
        life = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        if self.path != "/latest/api/token" or not life.isdigit():
            return self.answer(400, "Bad Request")
        token = secrets.token_urlsafe(24)
        self.server.tokens[token] = (self.client_address[0], time.monotonic() + int(life))
        self.answer(200, token, [("X-aws-ec2-metadata-token-ttl-seconds", life)])

    def do_GET(self):
        address, until = self.server.tokens.get(self.headers.get("X-aws-ec2-metadata-token"), ("", 0))
        if address != self.client_address[0] or until < time.monotonic():
            return self.answer(401, "Unauthorized")
        machine = self.server.machines.at(address)
        value = machine and valued(machine, self.path.rstrip("/"))
        if value is None:
            return self.answer(404, "404 - Not Found")
        self.answer(200, value if isinstance(value, bytes) else str(value))


def valued(machine, path):
    """What the metadata has at this path; None where there is nothing."""
    instance = machine.instance
    role = role_of(instance)
    root = "/latest/meta-data"
    values = {
        "/latest/user-data": machine.user_data,
        "/latest/dynamic/instance-identity/document": lambda: identity(instance),
        f"{root}/instance-id": lambda: instance.id,
        f"{root}/instance-type": lambda: instance.instance_type,
        f"{root}/instance-life-cycle": lambda: instance.lifecycle or "on-demand",
        f"{root}/local-ipv4": lambda: instance.private_ip,
        f"{root}/public-ipv4": lambda: instance.public_ip or None,
        f"{root}/placement/availability-zone": lambda: instance.availability_zone,
        f"{root}/placement/region": lambda: instance.region_name,
        f"{root}/spot/instance-action": lambda: machine.action and json.dumps(machine.action),
        f"{root}/events/recommendations/rebalance": lambda: machine.rebalance and json.dumps(machine.rebalance),
        f"{root}/iam/security-credentials": lambda: role,
        f"{root}/iam/security-credentials/{role}": lambda: credentials(instance, role),
    }
    value = values.get(path)
    return value and value()


def role_of(instance):
    """The role in the instance's profile."""
    from moto.backends import get_backend

    profile = instance.iam_instance_profile
    if not profile:
        return None
    iam = get_backend("iam")[ACCOUNT]["aws"]
    named = profile.get("Name") or (profile.get("Arn") or "").rsplit("/", 1)[-1]
    found = next((one for one in iam.instance_profiles.values() if one.name == named), None)
    return found.roles[0].name if found and found.roles else None


def credentials(instance, role):
    # The key says whose it is, so that calls can be told apart.
    return json.dumps(
        {
            "Code": "Success",
            "LastUpdated": stamp(),
            "Type": "AWS-HMAC",
            "AccessKeyId": f"ASIA{role}/{instance.id}".replace("/", "."),
            "SecretAccessKey": "secret",
            "Token": "token",
            "Expiration": stamp(LIFE),
        }
    )


def identity(instance):
    return json.dumps(
        {
            "accountId": ACCOUNT,
            "region": instance.region_name,
            "availabilityZone": instance.availability_zone,
            "instanceId": instance.id,
            "instanceType": instance.instance_type,
            "privateIp": instance.private_ip,
            "architecture": "x86_64",
        }
    )


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """Whoever asked has gone away, with its machine or without."""


def serve_metadata(machines):
    server = Server(("169.254.169.254", 80), Metadata)
    server.machines, server.tokens = machines, {}
    threading.Thread(target=server.serve_forever, daemon=True).start()
