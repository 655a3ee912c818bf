"""Faults in the middle of connecting: after every so many bytes of handshakes, of the grant of a
lease, of lanes that join it.

usage: connect.py SEED STEP_BYTES

rramfs must end within its time limit, with a sentence that names the provider and with nothing
mounted, or mount and work; and nothing may be left at the providers.
"""

import os
import subprocess
import sys
import time

import hosts

# More than what two providers and their lanes say to each other before the mount is there.
CONVERSATION_BYTES = 1600
LIMIT_S = 4 * hosts.DEADLINE_S + 2
# The others than the first take the whole time limit of a connection each, or change little.
FAULTS = {"cut": 1, "truncate": 3, "fin": 3, "garbage": 3, "flip": 3, "swallow": 12, "hold": 12}
PROVIDER_OPTIONS = ["--grace", "300ms"]


def is_mounted():
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        return any(line.split()[4] == hosts.MNT for line in mounts)


def attempt(providers, at_bytes, fault):
    """True if it mounted in spite of the fault."""
    struck = providers[0]
    struck.proxy.do(f"after {at_bytes} {fault}")
    began = time.monotonic()
    options = "+".join(provider.endpoint() for provider in providers)
    options = f"providers={options},size=16M,timeout={round(hosts.DEADLINE_S * 1000)}ms"
    options += f",front_end={os.environ['FRONT_END']},log_file={hosts.WORK}/connect.err"
    done = subprocess.run(
        [hosts.REQUESTER_PROGRAM, hosts.MNT, "-o", options],
        capture_output=True, text=True, check=False, timeout=60 * hosts.SLOW,
    )
    took_s = time.monotonic() - began
    struck.proxy.do("pass")
    what = f"{fault} after {at_bytes} bytes"
    if took_s > LIMIT_S:
        raise hosts.Failed(f"{what}: rramfs took {took_s:.1f} s")
    if done.returncode == 0:
        use_and_detach(what)
        return True
    if done.returncode < 0 or is_mounted():
        raise hosts.Failed(f"{what}: status {done.returncode}, mounted: {is_mounted()}")
    if f"127.0.0.1:{struck.proxy.port}" not in done.stderr:
        raise hosts.Failed(f"{what}: rramfs does not name the provider: {done.stderr}")
    return False


def use_and_detach(what):
    """The fault came late: lanes are made again, and the mount is like any other."""
    path = f"{hosts.MNT}/file"
    data = os.urandom(300_000)

    def works():
        try:
            with open(path, "wb") as file:
                file.write(data)
                os.fsync(file.fileno())
            with open(path, "rb") as file:
                return file.read() == data
        except OSError:
            return False

    hosts.wait_until(hosts.RECOVERY_LIMIT_S, f"the mount works ({what})", works)
    pid = hosts.Mount.find_daemon()
    subprocess.run(["fusermount3", "-u", hosts.MNT], check=True)
    hosts.wait_until(
        hosts.UNMOUNT_LIMIT_S, f"rramfs ends ({what})", lambda: not hosts.is_running(pid)
    )


def main():
    seed, step_bytes = int(sys.argv[1]), int(sys.argv[2])
    providers = [hosts.Provider(i, seed, PROVIDER_OPTIONS) for i in range(2)]
    for provider in providers:
        provider.start()
    attempts = mounted = 0
    for fault, factor in FAULTS.items():
        for at_bytes in range(1 + seed % step_bytes, CONVERSATION_BYTES, step_bytes * factor):
            attempts += 1
            mounted += attempt(providers, at_bytes, fault)
        for provider in providers:
            provider.await_idle()
    print(f"{attempts} attempts, {mounted} of them mounted")
    if not 0 < mounted < attempts:
        sys.exit("the faults did not come in the middle of it")
    for provider in providers:
        provider.end()


try:
    main()
except hosts.Failed as failure:
    sys.exit(f"FAILED with seed {sys.argv[1]}: {failure}")
