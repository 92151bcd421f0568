"""The stand-in for AWS: moto's API, and a machine for each running instance, in a network of their own.

`aws-local up` starts this in a network namespace; whoever enters that is where a person's laptop would be.
"""

import json
import os
import shutil
import signal
import socketserver
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler

from moto.moto_server.werkzeug_app import MotoRequestHandler
from werkzeug.serving import make_server

from front import Front
from machines import Machines
from metadata import serve_metadata

# The laptop's address, and the API's. moto's subnets have the lower addresses of 172.31.0.0/16.
HERE = "172.31.255.254"
PORT = 4566


def network():
    for command in (
        "link set lo up",
        # Without an address of its own it would have a new one with each machine that comes or goes.
        "link add aws0 address 02:00:00:00:00:01 type bridge",
        f"addr add {HERE}/16 dev aws0",
        "addr add 169.254.169.254/32 dev aws0",
        "link set aws0 up",
    ):
        subprocess.run(["ip", *command.split()], check=True)


class Control(BaseHTTPRequestHandler):
    """What `aws-local` asks, over a Unix socket."""

    def log_message(self, *_):
        pass

    def address_string(self):
        return "local"

    def answer(self, code, body):
        body = (json.dumps(body) + "\n").encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/machines":
            return self.answer(200, self.server.machines.listed())
        if self.path.startswith("/init/"):
            init = self.server.machines.init(self.path.removeprefix("/init/"))
            return self.answer(200, init) if init else self.answer(404, {"error": "no such machine runs"})
        self.answer(404, {"error": "there is no such thing"})

    def do_POST(self):
        text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            asked = json.loads(text or b"{}")
            if self.path == "/interrupt":
                self.server.machines.interrupt(asked["ids"], asked["lead"])
            elif self.path == "/fault":
                self.server.front.add_fault(asked)
            else:
                return self.answer(404, {"error": "there is no such thing"})
        except (KeyError, TypeError, ValueError) as error:
            return self.answer(400, {"error": repr(error)})
        self.answer(200, {})


class ControlServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


def main():
    state = sys.argv[1]
    os.chdir(state)
    for stale in ("pid", "control", "calls.jsonl"):
        if os.path.exists(stale):
            os.remove(stale)
    shutil.rmtree("machines", ignore_errors=True)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: ended.set())
    network()
    endpoint = f"http://{HERE}:{PORT}"
    machines = Machines(os.path.join(state, "machines"), endpoint)
    front = Front(machines, os.path.join(state, "calls.jsonl"))
    api = make_server(HERE, PORT, front, threaded=True, request_handler=Quiet)
    control = ControlServer("control", Control)
    control.machines, control.front = machines, front
    for serve in (api.serve_forever, control.serve_forever, machines.keep):
        threading.Thread(target=serve, daemon=True).start()
    serve_metadata(machines)
    with open("endpoint", "w") as file:
        file.write(endpoint)
    with open("pid.new", "w") as file:
        file.write(str(os.getpid()))
    os.rename("pid.new", "pid")
    print(f"AWS is stood in for at {endpoint}; `aws-local shell` is where it can be reached", flush=True)
    while not ended.wait(1):
        pass
    machines.end_all()
    shutil.rmtree("machines", ignore_errors=True)
    os.remove("pid")


class Quiet(MotoRequestHandler):
    def log_request(self, *_, **__):
        pass


if __name__ == "__main__":
    main()
