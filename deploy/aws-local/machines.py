"""Machines: a process tree, a network namespace and a root of its own for each instance that moto calls running."""

import base64
import datetime
import os
import shutil
import signal
import subprocess
import threading
import time
import traceback

from moto.backends import get_backend

ACCOUNT = "123456789012"
STANDINS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "machine")
EVERY = 0.1


def instances():
    """All of moto's, of every region that was asked for."""
    for backend in list(get_backend("ec2")[ACCOUNT].values()):
        for reservation in list(backend.reservations.values()):
            yield from list(reservation.instances)


def stamp(after=0.0):
    when = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=after)
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


class Machine:
    """One machine, from its start to its end."""

    def __init__(self, instance, number, directory, endpoint):
        self.instance, self.number, self.directory = instance, number, directory
        self.action = None
        self.rebalance = None
        self.addresses = [instance.private_ip] + ([instance.public_ip] if instance.public_ip else [])
        root = os.path.join(directory, "root")
        os.makedirs(root)
        self.console = open(os.path.join(directory, "console.log"), "ab")
        # Its network is there before it begins: it waits for a line on its stdin.
        begin = 'read -r _; exec unshare --pid --mount --uts --ipc --fork --kill-child -- "$0" "$@"'
        self.process = subprocess.Popen(
            ["unshare", "--net", "--", "bash", "-c", begin, os.path.join(STANDINS, "boot"), root, STANDINS],
            stdin=subprocess.PIPE,
            stdout=self.console,
            stderr=self.console,
            env={"PATH": os.environ["PATH"], "AWS_ENDPOINT_URL": endpoint},
            start_new_session=True,
        )
        self.plug()
        self.process.stdin.write(b"go\n")
        self.process.stdin.close()

    def plug(self):
        """Connects it. The namespace is there as soon as `unshare` is bash."""
        pid = self.process.pid
        own = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{pid}/ns/net") == own and self.process.poll() is None:
            time.sleep(0.005)
        outside = f"m{self.number}"
        ip("link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
        ip("link", "set", outside, "master", "aws0", "up")
        inside = ["nsenter", "--net", "--target", str(pid), "--", "ip"]
        subprocess.run([*inside, "link", "set", "lo", "up"], check=True)
        subprocess.run([*inside, "link", "set", "eth0", "up"], check=True)
        subprocess.run([*inside, "addr", "add", f"{self.addresses[0]}/16", "dev", "eth0"], check=True)
        for public in self.addresses[1:]:
            subprocess.run([*inside, "addr", "add", f"{public}/32", "dev", "eth0"], check=True)
            ip("route", "replace", f"{public}/32", "dev", "aws0")
        subprocess.run([*inside, "route", "add", "default", "via", "172.31.255.254"], check=True)

    def user_data(self):
        text = self.instance.user_data
        return base64.b64decode(str(text)) if text else None

    def init(self):
        """Its first process, by this namespace's number; None before it is there."""
        try:
            with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as file:
                return int(file.read().split()[0])
        except (OSError, IndexError):
            return None

    def is_over(self):
        return self.process.poll() is not None

    def end(self, gently=False):
        """Ends all that runs on it: at once, or as somebody does who presses its power button."""
        if gently and not self.is_over():
            try:
                os.kill(self.init() or self.process.pid, signal.SIGTERM)
                self.process.wait(10)
            except (OSError, subprocess.TimeoutExpired):
                pass
        if not self.is_over():
            self.process.kill()
        self.process.wait()
        self.console.close()
        for public in self.addresses[1:]:
            subprocess.run(["ip", "route", "del", f"{public}/32"], stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(os.path.join(self.directory, "root"), ignore_errors=True)


def ip(*words):
    subprocess.run(["ip", *words], check=True)


class Machines:
    """All machines. What moto calls running has one; one that ends by itself is ended in moto."""

    def __init__(self, directory, endpoint):
        self.directory, self.endpoint = directory, endpoint
        self.living = {}
        self.known = set()
        self.lock = threading.RLock()
        self.over = False

    def keep(self):
        while not self.over:
            try:
                self.look()
            except Exception:
                traceback.print_exc()
            time.sleep(EVERY)

    def look(self):
        for instance in instances():
            with self.lock:
                machine = self.living.get(instance.id)
                if instance.state == "running" and instance.id not in self.known and not self.over:
                    self.known.add(instance.id)
                    directory = os.path.join(self.directory, instance.id)
                    self.living[instance.id] = Machine(instance, len(self.known), directory, self.endpoint)
                elif machine and instance.state in ("terminated", "stopped"):
                    del self.living[instance.id]
                    threading.Thread(target=machine.end, args=(True,), daemon=True).start()
                elif machine and machine.is_over():
                    del self.living[instance.id]
                    machine.end()
                    self.shut_down(instance)

    def shut_down(self, instance):
        """The machine has shut itself down: what it was told at its start says what that means."""
        if instance.instance_initiated_shutdown_behavior == "terminate":
            terminate(instance, "Client.InstanceInitiatedShutdown", "Instance initiated shutdown")
        else:
            instance.stop()

    def interrupt(self, ids, lead):
        """Takes spot machines away, after so many seconds of notice, or at once for None."""
        with self.lock:
            machines = [self.living[id] for id in ids]
        for machine in machines:
            if lead is not None:
                machine.rebalance = {"noticeTime": stamp()}
                machine.action = {"action": "terminate", "time": stamp(lead)}
            timer = threading.Timer(lead or 0, self.take, args=(machine,))
            timer.daemon = True
            timer.start()

    def take(self, machine):
        with self.lock:
            if self.living.pop(machine.instance.id, None) is None:
                return
        reason = "Server.SpotInstanceTermination"
        machine.end()
        terminate(machine.instance, reason, "Spot instance termination")

    def init(self, id):
        """The first process of a machine."""
        with self.lock:
            machine = self.living.get(id)
        return machine and machine.init()

    def at(self, address):
        """The machine of this address."""
        with self.lock:
            return next((one for one in self.living.values() if address in one.addresses), None)

    def listed(self):
        with self.lock:
            living = set(self.living)
        return [
            {
                "id": instance.id,
                "state": instance.state,
                "why": instance.state_reason.code,
                "type": instance.instance_type,
                "zone": instance.availability_zone,
                "lifecycle": instance.lifecycle or "on-demand",
                "address": instance.private_ip,
                "runs": instance.id in living,
                "tags": {tag["key"]: tag["value"] for tag in instance.get_tags()},
            }
            for instance in instances()
        ]

    def end_all(self):
        with self.lock:
            self.over = True
            machines, self.living = list(self.living.values()), {}
        for machine in machines:
            machine.end()


def terminate(instance, code, why):
    instance.terminate()
    instance.state_reason.code = code
    instance.state_reason.message = f"{code}: {why}"
    instance._reason = f"{code} ({stamp()})"
