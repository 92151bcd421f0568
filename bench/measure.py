"""What the benchmarks share: building, timing whole processes, medians, the machine's facts. Python 3 and its library alone."""

import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
# One place for what the benchmarks write: beside the checkout's other files, so on a disk and not in memory.
OUT = BENCH / "out"


def build(*arguments):
    """The path of the release binary that `cargo build ARGUMENTS` makes."""
    command = ["cargo", "build", "--release", "--locked", "--message-format=json-render-diagnostics", *arguments]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"bench: `{' '.join(command)}` failed")
    made = [line["executable"] for line in map(json.loads, done.stdout.splitlines()) if line.get("executable")]
    return made[-1]


def gridctl(asked):
    """The binary that was asked for, or this checkout's."""
    return Path(asked).resolve() if asked else build("--package", "gridctl")


def scratch(name):
    """An empty directory of its own, removed at the end by `shutil.rmtree`."""
    OUT.mkdir(exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=OUT))


def environment():
    """A small, fixed environment for whatever is measured, so that the caller's does not count."""
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": os.environ.get("HOME", "/"), "LANG": "C.UTF-8"}


def used(command, log, **options):
    """(Wall, processor) seconds of `command` with all that it waited for; its output goes to the file `log`. Ends the
    benchmark if it fails."""
    with open(log, "wb") as out:
        begun = time.perf_counter()
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, **options)
        _, child.returncode, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - begun
    if child.returncode != 0:
        sys.stderr.write(Path(log).read_text(errors="replace")[-2000:])
        sys.exit(f"bench: `{' '.join(map(str, command))}` ended with status {child.returncode}")
    return seconds, usage.ru_utime + usage.ru_stime


def timed(command, log, **options):
    """The wall seconds alone."""
    return used(command, log, **options)[0]


def peak_kib(command, log, **options):
    """Peak resident memory of `command`'s largest process, by GNU time; None where that is not installed."""
    gnu = shutil.which("time")
    if gnu is None:
        return None
    figure = Path(str(log) + ".kib")
    timed([gnu, "-f", "%M", "-o", figure, *command], log, **options)
    return int(figure.read_text().split()[-1])


def status(pid):
    """The fields of /proc/PID/status, or {} if it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return {}
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def role(pid, binary):
    """The subcommand that process `pid` of `binary` is; None if it is another program or gone."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        same = os.path.samefile(f"/proc/{pid}/exe", binary)
    except OSError:
        return None
    return words[1] if same and len(words) > 1 else None


def descendants(pid):
    """`pid` and every living process below it."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            parents.setdefault(int(status(entry).get("PPid", "0")), []).append(int(entry))
    found = [pid]
    for known in found:
        found.extend(parents.get(known, []))
    return found


def median(values):
    return statistics.median(values)


def spread(values):
    return f"{min(values):.3f} to {max(values):.3f}"


def mib(kib):
    return "not measured" if kib is None else f"{kib / 1024:.1f} MiB"


def git(*arguments):
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip()


def limits():
    """How many descriptors a process may have: now, at most."""
    return ", ".join(map(str, resource.getrlimit(resource.RLIMIT_NOFILE)))


def machine():
    """One line that says what the figures were measured on."""
    cpu = next((line.split(": ", 1)[1] for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), platform.machine())
    OUT.mkdir(exist_ok=True)
    disk = subprocess.run(["stat", "-f", "-c", "%T", OUT], capture_output=True, text=True).stdout.strip()
    dirty = " with changes" if git("status", "--porcelain", "--untracked-files=no") else ""
    return f"{cpu}, {os.cpu_count()} cores, Linux {platform.release()}, {disk}, commit {git('rev-parse', '--short', 'HEAD')}{dirty}"
