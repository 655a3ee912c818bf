#!/usr/bin/python3
"""Writes an archive with the shape of a kernel's sources to its standard output: FILES small files in
directories, some programs and symbolic links; the same one every time. usage: kernel_tree.py FILES"""

import io
import random
import sys
import tarfile

FILES_A_DIRECTORY = 15
DEEPEST = 7
# Of 80,000 files: half below 5 KiB, the mean 15 KiB, a few of megabytes; 1.2 GB together.
MEDIAN_BYTES, SPREAD, LARGEST_BYTES = 5000, 1.48, 4 << 20
TIME = 1_700_000_000


def entry(name, chance, **more):
    info = tarfile.TarInfo(name)
    info.mtime = TIME + chance.randrange(10_000_000)
    for key, value in more.items():
        setattr(info, key, value)
    return info


def add_files(archive, directory, count, chance, source):
    for i in range(count):
        name = f"{directory}/file-{i}.c"
        size = min(int(chance.lognormvariate(0, SPREAD) * MEDIAN_BYTES), LARGEST_BYTES)
        start = chance.randrange(len(source) - size + 1)
        mode = 0o755 if chance.random() < 0.02 else 0o644
        archive.addfile(entry(name, chance, size=size, mode=mode),
                        io.BytesIO(source[start:start + size]))
        if chance.random() < 0.002:
            archive.addfile(entry(f"{directory}/link-{i}", chance, type=tarfile.SYMTYPE,
                                  linkname=f"file-{i}.c"))


def main():
    files = int(sys.argv[1])
    chance = random.Random(1)
    source = memoryview(chance.randbytes(2 * LARGEST_BYTES))
    directories = ["tree"]
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(entry("tree", chance, type=tarfile.DIRTYPE, mode=0o755))
        while files > 0:
            parent = chance.choice(directories)
            if parent.count("/") >= DEEPEST:
                continue
            directory = f"{parent}/directory-{len(directories)}"
            directories.append(directory)
            archive.addfile(entry(directory, chance, type=tarfile.DIRTYPE, mode=0o755))
            count = min(files, chance.randint(1, 2 * FILES_A_DIRECTORY))
            add_files(archive, directory, count, chance, source)
            files -= count


main()
