"""Providers and a mount as separate processes, each provider behind a fault proxy on TCP.

Whoever starts them gives the paths as run_scenarios.sh does: BUILD, WORK, MNT, TRANSPORT, FRONT_END.
"""

import json
import os
import re
import signal
import subprocess
import time

import network

BUILD = os.environ["BUILD"]
WORK = os.environ["WORK"]
MNT = os.environ["MNT"]
TRANSPORT = os.environ["TRANSPORT"]
SLOW = int(os.environ.get("SLOW", "1"))

PROVIDER_PROGRAM = f"{BUILD}/provider/rram-provider"
REQUESTER_PROGRAM = f"{BUILD}/fusefs/rramfs"
PROXY_PROGRAM = f"{BUILD}/tests/faults/fault_proxy"

POOL = "64M"
# Long enough that a host whose CPUs are all taken does not miss it by itself.
DEADLINE_S = 2.0 * SLOW
UNMOUNT_LIMIT_S = 6 * SLOW
# Until all memory is back. A lease whose control connection fell silent is kept for 30 s, whatever the
# grace time is: the network may heal.
RETURN_LIMIT_S = 45 * SLOW
RECOVERY_LIMIT_S = 15 * SLOW


class Failed(Exception):
    """The system did what it must not; the text says what."""


def wait_until(limit_s, what, condition):
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            raise Failed(f"not within {limit_s} s: {what}")
        time.sleep(0.02)


def open_descriptors(pid):
    """What each leads to."""
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
        except FileNotFoundError:  # closed meanwhile
            pass
    return found


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Provider:
    def __init__(self, index, seed, options=()):
        self.index = index
        self.options = options
        self.name = f"p{index + 1}"
        self.socket = f"{WORK}/{self.name}.sock"
        self.port = network.free_port()
        self.proxy = None
        if TRANSPORT == "tcp":
            self.proxy = network.FaultProxy(PROXY_PROGRAM, self.port, seed + index)
        self.process = None
        self.idle_descriptors = 0

    def endpoint(self):
        return f"tcp://127.0.0.1:{self.proxy.port}" if self.proxy else f"unix://{self.socket}"

    def start(self):
        """An empty pool of a new incarnation; ready when it returns."""
        command = [PROVIDER_PROGRAM, "--size", POOL, "--name", self.name, "--unix", self.socket]
        command += ["--listen", f"tcp://127.0.0.1:{self.port}", *self.options]
        with open(f"{WORK}/{self.name}.err", "ab") as errors:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
        if not self.process.stdout.readline():
            raise Failed(f"{self.name} does not start")
        self.process.stdout.close()
        self.idle_descriptors = len(open_descriptors(self.process.pid))

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        self.process.kill()
        self.process.wait()

    def signal(self, number):
        if self.is_alive():
            self.process.send_signal(number)

    def counters(self):
        command = [PROVIDER_PROGRAM, "--status", f"unix://{self.socket}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failed(f"{self.name} gives no status: {done.stderr}")
        return json.loads(done.stdout)

    def what_is_left(self):
        """What an idle provider must not have, or nothing."""
        counters = self.counters()
        left = {k: counters[k] for k in ("leased_bytes", "reclaiming_bytes", "leases", "connections")}
        left["descriptors"] = len(open_descriptors(self.process.pid)) - self.idle_descriptors
        return {k: v for k, v in left.items() if v != 0}

    def await_idle(self):
        left = {}

        def is_idle():
            left.clear()
            left.update(self.what_is_left())
            return not left

        try:
            wait_until(RETURN_LIMIT_S, f"{self.name} is idle", is_idle)
        except Failed as failure:
            raise Failed(f"{failure}; it still has {left}") from failure

    def end(self):
        """The orderly way."""
        if not self.is_alive():
            return
        self.process.terminate()
        if self.process.wait(20 * SLOW) != 0:
            raise Failed(f"{self.name} ended with status {self.process.returncode}")


class Mount:
    """One run of rramfs over all providers."""

    count = 0

    def __init__(self, providers, options=""):
        Mount.count += 1
        self.providers = providers
        self.log_path = f"{WORK}/daemon{Mount.count}.err"
        self.log_text = ""
        self.states = {provider.name: "up" for provider in providers}
        listed = "+".join(provider.endpoint() for provider in providers)
        settings = f"providers={listed},front_end={os.environ['FRONT_END']},stripe=64K"
        settings += f",timeout={round(DEADLINE_S * 1000)}ms,log_file={self.log_path}{options}"
        done = subprocess.run(
            [REQUESTER_PROGRAM, MNT, "-o", settings],
            capture_output=True, text=True, check=False, timeout=30 * SLOW,
        )
        if done.returncode != 0:
            raise Failed(f"rramfs does not mount: {done.stdout}{done.stderr}")
        self.pid = self.find_daemon()

    @staticmethod
    def find_daemon():
        for process in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{process}/cmdline", "rb") as file:
                    words = file.read().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if words[0] == REQUESTER_PROGRAM.encode() and MNT.encode() in words:
                return int(process)
        raise Failed("no rramfs serves the mount")

    def state_of(self, provider):
        """up, down or lost, as the daemon's log says."""
        with open(self.log_path, encoding="utf-8") as log:
            text = log.read()
        for line in text[len(self.log_text):].splitlines():
            said = re.search(r"\((p\d+)\) (cannot be reached|is back|has lost our)", line)
            if said:
                words = {"cannot be reached": "down", "is back": "up", "has lost our": "lost"}
                self.states[said[1]] = words[said[2]]
        self.log_text = text[: text.rfind("\n") + 1]
        return self.states[provider.name]

    def signal(self, number):
        os.kill(self.pid, number)

    def kill(self):
        """As if the requester's host had died; the stale mount is taken away."""
        self.signal(signal.SIGKILL)
        wait_until(10 * SLOW, "rramfs is gone after SIGKILL", lambda: not is_running(self.pid))
        subprocess.run(["fusermount3", "-u", "-z", MNT], check=False)

    def detach(self):
        began = time.monotonic()
        done = subprocess.run(
            ["fusermount3", "-u", MNT], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise Failed(f"fusermount3 -u: {done.stderr}")
        wait_until(UNMOUNT_LIMIT_S, "rramfs ends after the unmount", lambda: not is_running(self.pid))
        return time.monotonic() - began
