"""Bits that flip anywhere, in payload too, where nobody can notice it: data is not looked at, but
nothing crashes, hangs or is left behind, and only EIO is answered.

usage: scramble.py COUNT SEED
"""

import os
import random
import sys
import threading
import time

import hosts

PROVIDERS = 2
FILE_BYTES = 4 << 20
PIECE_BYTES = 200_000
EIO = 5


class Careless(threading.Thread):
    """Reads and writes, and does not look at the bytes."""

    def __init__(self, seed):
        super().__init__(daemon=True)
        self.chance = random.Random(seed)
        self.file = os.open(f"{hosts.MNT}/file", os.O_RDWR | os.O_CREAT)
        self.is_over = False
        self.counts = {"answered": 0, "EIO": 0}
        self.failure = None

    def run(self):
        while not self.is_over:
            offset = self.chance.randrange(FILE_BYTES)
            try:
                if self.chance.random() < 0.5:
                    os.pwrite(self.file, bytes(PIECE_BYTES), offset)
                else:
                    os.pread(self.file, PIECE_BYTES, offset)
                self.counts["answered"] += 1
            except OSError as error:
                self.counts["EIO"] += 1
                if error.errno != EIO:
                    self.failure = str(error)


def main():
    count, seed = int(sys.argv[1]), int(sys.argv[2])
    print(f"seed {seed}")
    chance = random.Random(seed)
    providers = [hosts.Provider(i, seed) for i in range(PROVIDERS)]
    for provider in providers:
        provider.start()
    # Past the page cache: every call goes out.
    mount = hosts.Mount(providers, ",direct_io")
    threads = [Careless(f"{seed}.{i}") for i in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(count):
        time.sleep(chance.uniform(0.005, 0.05))
        chance.choice(providers).proxy.do("scramble")
    harms = sum(provider.proxy.do("pass")[1] for provider in providers)
    for thread in threads:
        thread.is_over = True
        thread.join(4 * hosts.DEADLINE_S)
        if thread.is_alive() or thread.failure:
            raise hosts.Failed(f"alive: {thread.is_alive()}, failure: {thread.failure}")
        os.close(thread.file)
    mount.detach()
    for provider in providers:
        provider.await_idle()
        provider.end()
    print(f"{harms} bits flipped; {[thread.counts for thread in threads]}")
    if harms < count / 4:
        sys.exit("hardly a bit was flipped")


try:
    main()
except hosts.Failed as failure:
    sys.exit(f"FAILED: {failure}")
