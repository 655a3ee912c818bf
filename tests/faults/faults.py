"""Random faults, or all pairs of faults, under a load that knows what must be read back.

usage: faults.py random COUNT SEED | faults.py pairs SEED [SHARE]

Prints its seed; the same seed makes the same faults in the same order (not the same timing). After
each fault everything must work again; at the end of each mount nothing may be left behind.
"""

import os
import random
import signal
import sys
import time

import hosts
import load

PROVIDERS = 3
FAULTS_PER_MOUNT = 25
# Blocks that are read to see whether a provider is back; where nobody knows the places, so many
# neighbours are on all providers.
PROBES = 2 * PROVIDERS
# A network that resets connections looks like a requester that is gone: it has so long to come back.
GRACE = ("--grace", f"{5 * hosts.SLOW}s")
# Shorter than half of the deadline: nothing may fail by it.
SHORT_S = (0.05, 0.4)
LONG_S = (1.1 * hosts.DEADLINE_S, 1.3 * hosts.DEADLINE_S)
BETWEEN_S = (0.05, 0.8)


class Fault:
    """What may go wrong with one provider. `is_end`: the mount does not get over it."""

    def __init__(self, name, weight, duration_s, begin, end=None, blames="its provider", is_end=False):
        self.name = name
        self.weight = weight
        self.duration_s = duration_s
        self.begin = begin
        self.end = end or (lambda world, provider: None)
        self.blames = blames
        self.is_end = is_end


def network_fault(name, duration_s, command=None, weight=6, **more):
    def begin(_world, provider):
        provider.proxy.do(command or name)

    def end(_world, provider):
        provider.proxy.do("pass")

    return Fault(name, weight, duration_s, begin, end, **more)


def stopped_provider(name, duration_s, **more):
    return Fault(
        name, 4, duration_s,
        lambda _world, provider: provider.signal(signal.SIGSTOP),
        lambda _world, provider: provider.signal(signal.SIGCONT),
        **more,
    )


def kill_provider(_world, provider):
    provider.kill()


def restart_provider(world, provider):
    # Starting a process closes this one's files in it, and a stopped requester would not answer that.
    signal_requester(signal.SIGCONT)(world, provider)
    if not provider.is_alive():  # both faults of a pair may be this one
        provider.start()


def kill_requester(world, _provider):
    if world.blame.requester_is_dead:
        return
    world.blame.requester_is_dead = True
    world.mount.kill()


def signal_requester(number):
    def send(world, _provider):
        if not world.blame.requester_is_dead:
            world.mount.signal(number)

    return send


def stopped_requester(name, weight, duration_s, blames):
    return Fault(
        name, weight, duration_s, signal_requester(signal.SIGSTOP), signal_requester(signal.SIGCONT),
        blames,
    )


# Faults that hit processes; with shm there is no network between.
PROCESS_FAULTS = [
    stopped_provider("provider stops shortly", SHORT_S, blames="nobody"),
    stopped_provider("provider stops for longer than the deadline", LONG_S),
    stopped_requester("requester stops shortly", 3, SHORT_S, "nobody"),
    # As a rule nobody notices (requester_paused), but on a host without a free CPU the answers may
    # not be read in the time that is left.
    stopped_requester("requester stops for longer than the deadline", 2, LONG_S, "everybody"),
    Fault("provider dies", 0.5, BETWEEN_S, kill_provider, is_end=True),
    Fault("provider is restarted empty", 0.5, BETWEEN_S, kill_provider, restart_provider, is_end=True),
    Fault("requester dies", 0.5, BETWEEN_S, kill_requester, blames="everybody", is_end=True),
]
NETWORK_FAULTS = [
    network_fault("hold shortly", SHORT_S, "hold", blames="nobody"),
    network_fault("hold for longer than the deadline", LONG_S, "hold", weight=2),
    network_fault("delay", SHORT_S, "delay 20", blames="nobody"),
    network_fault("swallow", BETWEEN_S),
    network_fault("swallow for longer than the deadline", LONG_S, "swallow", weight=2),
    network_fault("refuse", BETWEEN_S),
    network_fault("cut", SHORT_S),
    network_fault("fin", SHORT_S),
    network_fault("flip", SHORT_S),
    network_fault("garbage", SHORT_S),
    network_fault("truncate", SHORT_S),
]
FAULTS = PROCESS_FAULTS + (NETWORK_FAULTS if hosts.TRANSPORT == "tcp" else [])


class World:
    """Providers for the whole run, and one mount with its load after the other."""

    def __init__(self, seed):
        self.seed = seed
        self.chance = random.Random(seed)
        self.providers = [hosts.Provider(i, seed, GRACE) for i in range(PROVIDERS)]
        self.mount = None
        self.load = None
        self.blame = None
        self.mounts = 0
        self.totals = {"operations": 0, "errors": 0, "faults": 0, "slowest_s": 0.0, "unmount_s": 0.0}

    # ---- one mount -------------------------------------------------------------------------------

    def begin_mount(self):
        for provider in self.providers:
            if not provider.is_alive():
                provider.start()
        self.mounts += 1
        self.blame = load.Blame(PROVIDERS)
        self.mount = hosts.Mount(self.providers)
        self.load = load.Load(f"{self.seed}.{self.mounts}", self.blame, PROVIDERS)
        if hosts.TRANSPORT == "tcp":
            self.find_places()
        self.descriptors = hosts.open_descriptors(self.mount.pid)
        self.load.resume()

    def find_places(self):
        """Which block lies where: those that cannot be read while their provider is cut off."""
        for worker in self.load.block_workers:
            worker.places = [set() for _ in range(load.BLOCKS)]
        for provider in self.providers:
            provider.proxy.do("refuse")
            for worker in self.load.block_workers:
                for i in range(load.BLOCKS):
                    if not worker.can_read(i):
                        worker.places[i].add(provider.index)
            provider.proxy.do("pass")
            self.await_recovery(provider)
        for worker in self.load.block_workers:
            if any(len(places) != 1 for places in worker.places):
                raise hosts.Failed(f"blocks that are not on one provider: {worker.places}")

    def await_recovery(self, provider, dead=frozenset()):
        """Every worker of rramfs, whichever CPU it serves, reaches the provider again. `dead`: those
        that do not come back, which rramfs may not have noticed yet if it was stopped itself."""
        # Without places, what cannot be read may lie on another one.
        can_tell = hosts.TRANSPORT == "tcp" or (not dead and all(map(self.is_up, self.providers)))
        for cpu in os.sched_getaffinity(0) if can_tell else ():
            hosts.wait_until(
                hosts.RECOVERY_LIMIT_S, f"{provider.name} can be read again from CPU {cpu}",
                lambda cpu=cpu: self.can_read_from(cpu, provider),
            )
        hosts.wait_until(
            hosts.RECOVERY_LIMIT_S, f"rramfs says that {provider.name} is back",
            lambda: self.is_up(provider),
        )

    def is_up(self, provider):
        return self.mount.state_of(provider) == "up"

    def can_read_from(self, cpu, provider):
        self.load.check()
        cpus = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {cpu})
        try:
            worker = self.load.block_workers[0]
            there = [i for i in range(load.BLOCKS) if provider.index in worker.places[i]]
            return all(worker.can_read(i) for i in there[:PROBES])
        finally:
            os.sched_setaffinity(0, cpus)

    def end_mount(self):
        """What is left after it is an error."""
        if self.blame.requester_is_dead:
            self.load.end()
            self.load.check()  # what was found before it died
        else:
            self.load.verify()
            self.load.end()
            if all(map(self.is_up, self.providers)):
                self.expect_nothing_kept()
            self.totals["unmount_s"] = max(self.totals["unmount_s"], self.mount.detach())
        for worker in self.load.workers:
            self.totals["operations"] += worker.operations
            self.totals["errors"] += worker.errors
            self.totals["slowest_s"] = max(self.totals["slowest_s"], worker.slowest_s)
        for provider in filter(hosts.Provider.is_alive, self.providers):
            provider.await_idle()
        self.mount = self.load = None

    def expect_nothing_kept(self):
        """No descriptor more than at its start, and without files every byte is free again."""
        try:
            hosts.wait_until(
                hosts.RECOVERY_LIMIT_S, "rramfs has no more descriptors than at its start",
                lambda: len(hosts.open_descriptors(self.mount.pid)) <= len(self.descriptors),
            )
        except hosts.Failed as failure:
            now = hosts.open_descriptors(self.mount.pid)
            raise hosts.Failed(f"{failure}: {self.descriptors} then, {now} now") from failure
        for name in os.listdir(hosts.MNT):
            os.unlink(f"{hosts.MNT}/{name}")

        def is_empty():
            figures = os.statvfs(hosts.MNT)
            return figures.f_bfree == figures.f_blocks

        hosts.wait_until(hosts.RECOVERY_LIMIT_S, "all space is free without files", is_empty)

    # ---- faults ----------------------------------------------------------------------------------

    def strike(self, hits):
        """Faults that overlap: (fault, provider). True if the mount goes on."""
        events = []  # (when, what, its provider)
        at_s = 0.0
        for fault, provider in hits:
            duration_s = self.chance.uniform(*fault.duration_s)
            events.append((at_s, fault.begin, provider))
            events.append((at_s + duration_s, fault.end, provider))
            at_s = self.chance.uniform(0, duration_s)
        blamed = self.begin_blame(hits)
        began = time.monotonic()
        for when_s, act, provider in sorted(events, key=lambda event: event[0]):
            time.sleep(max(0.0, began + when_s - time.monotonic()))
            act(self, provider)
        self.totals["faults"] += len(hits)
        if any(fault.is_end for fault, _ in hits):
            self.look_at_what_is_left({p for f, p in hits if f.is_end and f.blames != "everybody"})
            return False
        for provider in self.providers:
            self.await_recovery(provider)
        for index in blamed:
            self.blame.end_all(index)
        self.load.check()
        return True

    def begin_blame(self, hits):
        blamed = set()
        for fault, provider in hits:
            if fault.blames == "its provider":
                blamed.add(provider.index)
            elif fault.blames == "everybody":
                blamed.update(range(PROVIDERS))
        for index in blamed:
            self.blame.begin(index)
        return blamed

    def look_at_what_is_left(self, dead):
        """Blocks of the providers that are gone are gone, the others are all there."""
        if self.blame.requester_is_dead:
            return
        for provider in self.providers:
            if provider not in dead:
                self.await_recovery(provider, dead)
                self.blame.end_all(provider.index)
            elif provider.is_alive():  # it was restarted
                hosts.wait_until(
                    hosts.RECOVERY_LIMIT_S, f"rramfs says that {provider.name} has lost its data",
                    lambda provider=provider: self.mount.state_of(provider) == "lost",
                )
        unread = self.load.verify()
        share = unread / (load.BLOCKS * load.Load.BLOCK_WORKERS)
        expected = len(dead) / PROVIDERS
        if not 0.5 * expected <= share <= 1.5 * expected:
            raise hosts.Failed(f"{share:.0%} of the blocks are lost with {expected:.0%} of the memory")

    # ---- runs ------------------------------------------------------------------------------------

    def pick(self):
        fault = self.chance.choices(FAULTS, [fault.weight for fault in FAULTS])[0]
        return fault, self.chance.choice(self.providers)

    def random_hits(self, count):
        while count > 0:
            hits = [self.pick() for _ in range(min(count, self.chance.choice([1, 1, 1, 2])))]
            count -= len(hits)
            yield hits

    def all_pairs(self, share):
        """Each fault alone, and a share of the pairs of two faults, in one order or the other."""
        for fault in FAULTS:
            yield [(fault, self.chance.choice(self.providers))]
        pairs = [(a, b) for i, a in enumerate(FAULTS) for b in FAULTS[: i + 1]]
        for pair in self.chance.sample(pairs, round(share * len(pairs))):
            first, second = self.chance.sample(pair, 2)
            yield [(first, self.chance.choice(self.providers)), (second, self.chance.choice(self.providers))]

    def run(self, all_hits):
        self.begin_mount()
        struck = 0
        for hits in all_hits:
            names = " + ".join(f"{fault.name} ({provider.name})" for fault, provider in hits)
            print(f"{time.monotonic() - START:7.2f} {names}", flush=True)
            struck += 1
            if not self.strike(hits) or struck >= FAULTS_PER_MOUNT:
                self.end_mount()
                self.begin_mount()
                struck = 0
        self.end_mount()
        for provider in self.providers:
            provider.end()
        print(
            "{faults} faults, {operations} operations, {errors} of them answered with EIO, the slowest "
            "after {slowest_s:.1f} s; the slowest unmount took {unmount_s:.1f} s".format(**self.totals)
        )


START = time.monotonic()


def main():
    kind, *words = sys.argv[1:]
    if kind == "random":
        count, seed = int(words[0]), int(words[1])
    else:
        seed, share = int(words[0]), float(words[1]) if len(words) > 1 else 1.0
    print(f"seed {seed}, {hosts.TRANSPORT}", flush=True)
    sys.setswitchinterval(0.0005)  # this thread must get its turn beside those of the load
    world = World(seed)
    try:
        world.run(world.random_hits(count) if kind == "random" else world.all_pairs(share))
    except hosts.Failed as failure:
        sys.exit(f"FAILED with seed {seed} after {time.monotonic() - START:.2f} s: {failure}")


main()
