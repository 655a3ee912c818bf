"""Writes and reads a file past the page cache while a timer's signal interrupts every request.

usage: signal_storm.py PATH SEED
"""

import mmap
import os
import random
import signal
import sys

BLOCK_BYTES = 64 * 1024
BLOCKS = 64
ROUNDS = 1500
SIGNAL_PERIOD_S = 0.0003


def pattern(block, version):
    return bytes([(block * 7 + version * 13 + 1) % 256]) * BLOCK_BYTES


def main():
    path, seed = sys.argv[1], int(sys.argv[2])
    chance = random.Random(seed)
    count = 0

    def on_signal(_number, _frame):
        nonlocal count
        count += 1

    signal.signal(signal.SIGALRM, on_signal)
    signal.setitimer(signal.ITIMER_REAL, SIGNAL_PERIOD_S, SIGNAL_PERIOD_S)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    buffer = mmap.mmap(-1, BLOCK_BYTES)  # aligned, as O_DIRECT asks
    versions = {}
    for step in range(ROUNDS):
        block = chance.randrange(BLOCKS)
        if block not in versions or chance.random() < 0.5:
            version = versions.get(block, 0) + 1
            buffer[:] = pattern(block, version)
            if os.pwritev(file, [buffer], block * BLOCK_BYTES) != BLOCK_BYTES:
                sys.exit(f"step {step}: a short write")
            versions[block] = version
        else:
            if os.preadv(file, [buffer], block * BLOCK_BYTES) != BLOCK_BYTES:
                sys.exit(f"step {step}: a short read")
            if buffer[:] != pattern(block, versions[block]):
                sys.exit(f"step {step}: block {block} is not what was written")
        os.stat(path)
    signal.setitimer(signal.ITIMER_REAL, 0)  # the interpreter ends without its handlers
    if count < ROUNDS // 20:
        sys.exit(f"only {count} signals came")


main()
