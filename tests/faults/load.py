"""A load that knows which bytes were acknowledged, and since when each provider is to blame.

A file of the load has blocks of a stripe unit, so that each lies on one provider. A block is in one
version, all of its bytes telling which; a write that failed leaves it in the old version, the new
one, or partly both, until a later write is acknowledged.
"""

import mmap
import os
import random
import struct
import threading
import time

import hosts

BLOCK_BYTES = 64 * 1024
BLOCKS = 24
GRANULE_BYTES = 4096
MOST_BLOCKS = 4  # of one request, over several providers
# From an operation's start to its answer, however many faults come; and to leave an idle system.
ANSWER_LIMIT_S = 8 * hosts.SLOW
EIO = 5


class Blame:
    """When operations on which provider may fail."""

    def __init__(self, provider_count):
        self.lock = threading.Lock()
        self.times = [[] for _ in range(provider_count)]  # [begin, end or None]
        self.requester_is_dead = False

    def begin(self, provider):
        with self.lock:
            self.times[provider].append([time.monotonic(), None])

    def end_all(self, provider):
        with self.lock:
            for one in self.times[provider]:
                one[1] = one[1] or time.monotonic()

    def explains(self, providers, began):
        """Whether a failure now of what began then is the fault of one of them."""
        with self.lock:
            return self.requester_is_dead or any(
                end is None or end >= began for p in providers for _, end in self.times[p]
            )


def pattern(file, block, version, size=BLOCK_BYTES):
    if version == 0:
        return bytes(size)
    return struct.pack("<HHI", file, block, version) * (size // 8)


class Block:
    def __init__(self):
        self.acked = 0
        self.maybe = []  # versions of writes that failed since

    def explains(self, file, index, data):
        versions = [self.acked, *self.maybe]
        candidates = [pattern(file, index, v, len(data)) for v in versions]
        if data in candidates:
            return True
        return bool(self.maybe) and all(byte in options for byte, *options in zip(data, *candidates))


class Worker(threading.Thread):
    """Does one operation after the other until it is ended, and stops at the first that is wrong."""

    def __init__(self, number, seed, blame):
        super().__init__(daemon=True)
        self.number = number
        self.chance = random.Random(f"{seed}.{number}")
        self.blame = blame
        self.may_run = threading.Event()
        self.is_idle = threading.Event()
        self.is_idle.set()
        self.is_ended = False
        self.failure = None
        self.operations = 0
        self.errors = 0
        self.slowest_s = 0.0

    def run(self):
        while not self.is_ended:
            if not self.may_run.wait(0.1):
                continue
            self.is_idle.clear()
            try:
                while self.may_run.is_set():
                    self.step()
            except Exception as error:  # whatever it is, the test must say it and not only this thread
                if not (isinstance(error, OSError) and self.blame.requester_is_dead):
                    self.failure = f"{type(self).__name__} {self.number}: {error!r}"
                self.may_run.clear()
            self.is_idle.set()

    def attempt(self, what, providers, work):
        """The result of `work`, or None if it failed and somebody is to blame."""
        began = time.monotonic()
        try:
            result = work()
        except OSError as error:
            is_allowed = error.errno == EIO or self.blame.requester_is_dead
            if not is_allowed or not self.blame.explains(providers, began):
                raise hosts.Failed(f"{what} on {sorted(providers)}: {error}") from error
            self.errors += 1
            result = None
        took_s = time.monotonic() - began
        self.operations += 1
        self.slowest_s = max(self.slowest_s, took_s)
        if took_s > ANSWER_LIMIT_S:
            raise hosts.Failed(f"{what} took {took_s:.1f} s")
        return result

    def close_file(self, file):
        try:
            os.close(file)
        except OSError:
            if not self.blame.requester_is_dead:
                raise

    def step(self):
        raise NotImplementedError


class BlockWorker(Worker):
    """Overwrites and reads pieces of its own file in place, past the page cache."""

    def __init__(self, number, seed, blame, provider_count):
        super().__init__(number, seed, blame)
        self.blocks = [Block() for _ in range(BLOCKS)]
        # Where each block lies; everywhere, as long as nobody knows.
        self.places = [set(range(provider_count)) for _ in range(BLOCKS)]
        self.version = 0
        self.buffer = mmap.mmap(-1, MOST_BLOCKS * BLOCK_BYTES)  # aligned, as O_DIRECT asks
        self.file = os.open(f"{hosts.MNT}/file{number}", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
        for first in range(0, BLOCKS, MOST_BLOCKS):
            self.write(first, MOST_BLOCKS)

    def step(self):
        first = self.chance.randrange(BLOCKS)
        count = self.chance.randint(1, min(MOST_BLOCKS, BLOCKS - first))
        if self.chance.random() < 0.5:
            self.write(first, count)
        else:
            self.read(first, count)

    def places_of(self, first, count):
        return set().union(*self.places[first : first + count])

    def write(self, first, count):
        self.version += 1
        indices = range(first, first + count)
        view = memoryview(self.buffer)[: count * BLOCK_BYTES]
        view[:] = b"".join(pattern(self.number, i, self.version) for i in indices)
        for i in indices:
            self.blocks[i].maybe.append(self.version)
        written = self.attempt(
            f"write of {count} blocks", self.places_of(first, count),
            lambda: os.pwrite(self.file, view, first * BLOCK_BYTES),
        )
        if written is None:
            return
        if written != len(view):
            raise hosts.Failed(f"a short write: {written} of {len(view)}")
        for i in indices:
            self.blocks[i] = Block()
            self.blocks[i].acked = self.version

    def read(self, first, count):
        view = memoryview(self.buffer)[: count * BLOCK_BYTES]
        got = self.attempt(
            f"read of {count} blocks", self.places_of(first, count),
            lambda: os.preadv(self.file, [view], first * BLOCK_BYTES),
        )
        if got is None:
            return False
        if got != len(view):
            raise hosts.Failed(f"a short read: {got} of {len(view)}")
        for i in range(count):
            data = bytes(view[i * BLOCK_BYTES : (i + 1) * BLOCK_BYTES])
            block = self.blocks[first + i]
            if not block.explains(self.number, first + i, data):
                raise hosts.Failed(
                    f"file{self.number}, block {first + i}: not version {block.acked} or one of "
                    f"{block.maybe}, but (file, block, version) "
                    f"{sorted(set(struct.iter_unpack('<HHI', data)))[:8]}"
                )
        return True

    def can_read(self, index):
        """Whether a block can be read now; its content is not looked at."""
        try:
            with mmap.mmap(-1, BLOCK_BYTES) as room:
                return os.preadv(self.file, [room], index * BLOCK_BYTES) == BLOCK_BYTES
        except OSError:
            return False

    def close(self):
        self.close_file(self.file)


class GrowingWorker(Worker):
    """Files that grow granule by granule, so that their blocks move, and that are deleted again."""

    MOST_GRANULES = 40

    def __init__(self, number, seed, blame, provider_count):
        super().__init__(number, seed, blame)
        self.everywhere = set(range(provider_count))
        self.buffer = mmap.mmap(-1, self.MOST_GRANULES * GRANULE_BYTES)
        self.path = f"{hosts.MNT}/growing{number}"
        self.file = None
        self.versions = 0
        self.content = b""

    def step(self):
        if self.file is None:
            self.file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_DIRECT)
        if len(self.content) < self.MOST_GRANULES * GRANULE_BYTES and self.chance.random() < 0.8:
            self.append()
        else:
            self.check()
        if self.chance.random() < 0.02:
            self.close()
            os.unlink(self.path)

    def append(self):
        self.versions += 1
        view = memoryview(self.buffer)[:GRANULE_BYTES]
        view[:] = pattern(self.number, 0, self.versions, GRANULE_BYTES)
        at = len(self.content)
        if self.attempt("append", self.everywhere, lambda: os.pwrite(self.file, view, at)):
            self.content += bytes(view)
        elif os.fstat(self.file).st_size != at:
            raise hosts.Failed("an append that failed has made the file longer")

    def check(self):
        view = memoryview(self.buffer)
        got = self.attempt("read", self.everywhere, lambda: os.preadv(self.file, [view], 0))
        if got is not None and bytes(view[:got]) != self.content:
            raise hosts.Failed(f"a growing file of {len(self.content)} bytes is not what was written")

    def close(self):
        if self.file is not None:
            self.close_file(self.file)
        self.file = None
        self.content = b""


class Load:
    """All workers on one mount."""

    BLOCK_WORKERS = 3

    def __init__(self, seed, blame, provider_count):
        numbers = range(self.BLOCK_WORKERS)
        self.block_workers = [BlockWorker(n, seed, blame, provider_count) for n in numbers]
        self.workers = [*self.block_workers, GrowingWorker(99, seed, blame, provider_count)]
        for worker in self.workers:
            worker.start()

    def resume(self):
        for worker in self.workers:
            worker.may_run.set()

    def pause(self):
        for worker in self.workers:
            worker.may_run.clear()
        for worker in self.workers:
            if not worker.is_idle.wait(ANSWER_LIMIT_S):
                raise hosts.Failed(f"an operation hangs: {worker.name}")

    def check(self):
        for worker in self.workers:
            if worker.failure:
                raise hosts.Failed(worker.failure)

    def verify(self):
        """Reads everything; how many blocks could not be read."""
        self.pause()
        self.check()
        unread = 0
        for worker in self.block_workers:
            unread += sum(not worker.read(i, 1) for i in range(BLOCKS))
        self.check()
        return unread

    def end(self):
        """Leaves the mount; what fails from now on is not looked at."""
        for worker in self.workers:
            worker.is_ended = True
            worker.may_run.clear()
        for worker in self.workers:
            worker.join(ANSWER_LIMIT_S)
            if worker.is_alive():
                raise hosts.Failed(f"an operation hangs: {worker.name}")
            worker.close()
