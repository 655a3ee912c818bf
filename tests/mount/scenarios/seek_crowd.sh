# shellcheck shell=bash disable=SC2034
# More programs look for holes at once than a queue of requests has entries, each in a file of which
# the kernel still holds what was written: every answer needs a write, and the writes need entries.
matrix=cover
limit_s=120

scenario() {
  volume_start 1 256M
  timeout 60 taskset -c 0 python3 - "$MNT" <<'PYTHON'
import errno, os, sys, threading

CROWD, ROUNDS, FAR = 100, 5, 1 << 29

def seek(number, wrong):
    fd = os.open(f"{sys.argv[1]}/sparse-{number}", os.O_RDWR | os.O_CREAT)
    for turn in range(ROUNDS):
        data = FAR + (turn * CROWD + number) * 4096
        os.pwrite(fd, b"x" * 4096, data)
        try:
            found = os.lseek(fd, turn * CROWD * 4096 + FAR // 2, os.SEEK_DATA)
            if found > data:
                wrong.append(f"data at {data} is passed over: {found}")
        except OSError as error:
            # Too many at once, and the end is not known: ask again.
            if error.errno != errno.EAGAIN:
                wrong.append(f"data at {data} is not found: {error}")
    os.close(fd)

wrong = []
crowd = [threading.Thread(target=seek, args=(n, wrong)) for n in range(CROWD)]
for one in crowd:
    one.start()
for one in crowd:
    one.join()
sys.exit("\n".join(wrong) or None)
PYTHON
  step "one that is alone is told exactly"
  python3 - "$MNT" <<'PYTHON'
import os, sys
fd = os.open(f"{sys.argv[1]}/alone", os.O_RDWR | os.O_CREAT)
os.pwrite(fd, b"x" * 4096, 1 << 29)
assert os.lseek(fd, 0, os.SEEK_DATA) == 1 << 29
assert os.lseek(fd, 0, os.SEEK_HOLE) == 0
PYTHON
}
