#!/usr/bin/python3
"""What only a local file system does, on a mounted directory, one test a kind: locks, handles,
holes, large directories, swap. usage: local_file_system.py DIRECTORY REFERENCE ENTRIES
REFERENCE is a directory of a tmpfs; a large directory has so many ENTRIES. As root."""

import ctypes
import errno
import fcntl
import os
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

ROOT, REFERENCE, ENTRIES = sys.argv[1], sys.argv[2], int(sys.argv[3])
AT_FDCWD = -100
AT_SYMLINK_FOLLOW = 0x400
MAX_HANDLE_BYTES = 128
libc = ctypes.CDLL(None, use_errno=True)


class Dirent(ctypes.Structure):
    _fields_ = [("ino", ctypes.c_uint64), ("off", ctypes.c_int64), ("reclen", ctypes.c_uint16),
                ("type", ctypes.c_uint8), ("name", ctypes.c_char * 256)]


libc.opendir.restype = ctypes.c_void_p
libc.readdir.argtypes = [ctypes.c_void_p]
libc.readdir.restype = ctypes.POINTER(Dirent)
libc.telldir.argtypes = [ctypes.c_void_p]
libc.telldir.restype = ctypes.c_long
libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
libc.closedir.argtypes = [ctypes.c_void_p]


class FileHandle(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_uint32), ("type", ctypes.c_int32),
                ("handle", ctypes.c_ubyte * MAX_HANDLE_BYTES)]


def checked(result):
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def lock(kind, start=0, length=0):
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, start, length, 0)


class Process:
    """Runs a function in a process of its own; `go` ends its waiting."""

    def __init__(self, function):
        self.said, ready = os.pipe()
        waits, self.may_go = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                function(lambda word: os.write(ready, word), lambda: os.read(waits, 1))
                status = 0
            except OSError as error:
                print("in another process:", error, file=sys.stderr, flush=True)
            finally:
                os._exit(status)
        os.close(ready)
        os.close(waits)

    def hear(self):
        return os.read(self.said, 100)

    def go(self):
        os.write(self.may_go, b"g")

    def end(self):
        status = os.waitpid(self.pid, 0)[1]
        os.close(self.said)
        os.close(self.may_go)
        return os.waitstatus_to_exitcode(status)


class LocalFileSystem(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(dir=ROOT)

    def path(self, name):
        return os.path.join(self.dir, name)

    def make(self, name, data=b""):
        with open(self.path(name), "wb") as file:
            file.write(data)
        return self.path(name)

    def assert_errno(self, code, call, *args):
        with self.assertRaises(OSError) as caught:
            call(*args)
        self.assertEqual(errno.errorcode[caught.exception.errno], errno.errorcode[code])

    # --- Locks --------------------------------------------------------------------------------

    def holder(self, path, take):
        """A process that holds a lock until it is told to go."""

        def hold(say, wait):
            file = os.open(path, os.O_RDWR)
            take(file)
            say(b"held")
            wait()

        process = Process(hold)
        self.assertEqual(process.hear(), b"held")
        return process

    def each_kind_of_lock(self):
        def posix(file, wait):
            fcntl.fcntl(file, fcntl.F_SETLKW if wait else fcntl.F_SETLK, lock(fcntl.F_WRLCK))

        def ofd(file, wait):
            fcntl.fcntl(file, fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK,
                        lock(fcntl.F_WRLCK))

        def flock(file, wait):
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))

        return {"posix": posix, "ofd": ofd, "flock": flock}

    def test_lock_excludes_waits_and_goes_with_its_holder(self):
        for name, take in self.each_kind_of_lock().items():
            for ending in ("release", "death"):
                with self.subTest(kind=name, ending=ending):
                    path = self.make("lock")
                    process = self.holder(path, lambda file: take(file, False))
                    with open(path, "r+b") as file:
                        self.assert_errno(errno.EAGAIN, take, file, False)
                        taken = threading.Event()
                        waiter = threading.Thread(target=lambda: (take(file, True), taken.set()))
                        waiter.start()
                        self.assertFalse(taken.wait(0.2))
                        if ending == "death":
                            os.kill(process.pid, signal.SIGKILL)
                        else:
                            process.go()
                        self.assertTrue(taken.wait(20))
                        waiter.join()
                    process.end()

    def test_those_who_wait_for_a_lock_hold_nothing_up(self):
        path = self.make("lock")
        process = self.holder(path, lambda file: fcntl.lockf(file, fcntl.LOCK_EX))

        def wait_for_lock(say, _):
            with open(path, "r+b") as file:
                say(b"w")
                fcntl.lockf(file, fcntl.LOCK_EX)

        waiters = [Process(wait_for_lock) for _ in range(100)]
        for waiter in waiters:
            waiter.hear()
        for i in range(50):
            self.make(f"other{i}", b"x" * 5000)
        with open(path, "r+b") as file:
            self.assertEqual(file.write(b"not locked out"), 14)
        process.go()
        self.assertEqual(process.end(), 0)
        self.assertEqual([waiter.end() for waiter in waiters], [0] * len(waiters))

    def test_deadlock_of_record_locks_is_seen(self):
        path = self.make("lock")

        def other(say, wait):
            file = os.open(path, os.O_RDWR)
            fcntl.fcntl(file, fcntl.F_SETLK, lock(fcntl.F_WRLCK, 1, 1))
            say(b"held")
            wait()
            fcntl.fcntl(file, fcntl.F_SETLKW, lock(fcntl.F_WRLCK, 0, 1))

        file = os.open(path, os.O_RDWR)
        fcntl.fcntl(file, fcntl.F_SETLK, lock(fcntl.F_WRLCK, 0, 1))
        process = Process(other)
        process.hear()
        process.go()
        # Only once the other one waits is it a deadlock.
        while not any(f": -> " in line and f" {process.pid} " in line for line in open("/proc/locks")):
            time.sleep(0.01)
        self.assert_errno(errno.EDEADLK, fcntl.fcntl, file, fcntl.F_SETLKW,
                          lock(fcntl.F_WRLCK, 1, 1))
        os.close(file)
        self.assertEqual(process.end(), 0)

    def test_locks_are_of_the_file_and_not_of_the_name(self):
        path = self.make("lock")
        os.link(path, self.path("other"))
        process = self.holder(path, lambda file: fcntl.lockf(file, fcntl.LOCK_EX))
        os.unlink(path)
        with open(self.path("other"), "r+b") as file:
            self.assert_errno(errno.EAGAIN, fcntl.lockf, file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        process.go()
        process.end()

    # --- Directories --------------------------------------------------------------------------

    def test_large_directory_is_read_once_whole_while_it_changes(self):
        names = {f"entry-{i:07}" for i in range(ENTRIES)}
        for name in names:
            os.mknod(self.path(name))
        stop = threading.Event()

        def change():
            i = 0
            while not stop.is_set():
                other = self.path(f"passing-{i}")
                os.mknod(other)
                os.rename(other, other + "-renamed")
                os.unlink(other + "-renamed")
                i += 1

        changer = threading.Thread(target=change)
        changer.start()
        try:
            seen = [name for name in os.listdir(self.dir) if name.startswith("entry-")]
        finally:
            stop.set()
            changer.join()
        self.assertEqual(len(seen), ENTRIES)
        self.assertEqual(set(seen), names)
        self.assertEqual(os.stat(self.path("entry-0000000")).st_nlink, 1)
        for name in names:
            os.unlink(self.path(name))
        os.rmdir(self.dir)

    def test_links_are_counted_right_while_others_list_and_look(self):
        path = self.make("file")
        os.mkdir(self.path("other"))

        def list_all(say, _):
            say(b"r")
            while True:
                list(os.scandir(self.dir))

        def look(say, _):
            say(b"r")
            while True:
                os.stat(path)

        others = [Process(list_all), Process(look)]
        try:
            for process in others:
                process.hear()
            for _ in range(3000):
                os.link(path, self.path("other/link"))
                os.unlink(self.path("other/link"))
        finally:
            for process in others:
                os.kill(process.pid, signal.SIGKILL)
                process.end()
        self.assertEqual(os.stat(path).st_nlink, 1)

    def test_positions_in_a_directory_stay_good(self):
        for i in range(2000):
            self.make(f"{i}")
        stream = libc.opendir(self.dir.encode())
        positions, names = [], []
        while True:
            positions.append(libc.telldir(stream))
            entry = libc.readdir(stream)
            if not entry:
                break
            names.append(entry.contents.name)
        self.assertEqual(len(set(names)), 2002)
        # Half of them go; a position is still where what is left goes on.
        gone = {name for name in names if name.isdigit() and int(name) % 2 == 0}
        for name in gone:
            os.unlink(self.path(name.decode()))
        for at in (1900, 3, 1001, 0, 1500):
            libc.seekdir(stream, positions[at])
            expected = [name for name in names[at:] if name not in gone]
            rest = []
            while entry := libc.readdir(stream):
                rest.append(entry.contents.name)
            self.assertEqual(rest, expected)
        libc.closedir(stream)

    # --- Data ---------------------------------------------------------------------------------

    def map_of(self, directory, change):
        """Where data and holes begin after `change`, which has not been synced."""
        path = os.path.join(directory, "sparse")
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        change(file)
        size = os.fstat(file).st_size
        runs, at = [], 0
        while at < size:
            try:
                data = os.lseek(file, at, os.SEEK_DATA)
            except OSError as error:
                self.assertEqual(error.errno, errno.ENXIO)
                break
            at = os.lseek(file, data, os.SEEK_HOLE)
            runs.append((data, at))
        os.close(file)
        os.unlink(path)
        return runs

    def test_holes_are_where_they_are_on_tmpfs(self):
        page = b"x" * 4096

        def scattered(file):
            for at in (0, 40960, 1 << 20, 1 << 33):
                os.pwrite(file, page, at)

        def cut(file):
            scattered(file)
            os.ftruncate(file, 500000)
            os.ftruncate(file, 3 << 20)

        def punched(file):
            os.pwrite(file, page * 300, 0)
            checked(libc.fallocate64(file, 3, ctypes.c_int64(8192), ctypes.c_int64(500000)))

        def preallocated(file):
            checked(libc.fallocate64(file, 0, ctypes.c_int64(0), ctypes.c_int64(1 << 20)))
            os.pwrite(file, page, 8192)

        def only_a_hole(file):
            os.ftruncate(file, 1 << 40)

        def partly(file):
            os.pwrite(file, b"xyz", 5000)

        for change in (scattered, cut, punched, preallocated, only_a_hole, partly):
            with self.subTest(change=change.__name__):
                self.assertEqual(self.map_of(self.dir, change), self.map_of(REFERENCE, change))

    def test_mapped_stores_are_data_at_once(self):
        import mmap
        file = os.open(self.path("mapped"), os.O_RDWR | os.O_CREAT)
        os.ftruncate(file, 1 << 20)
        with mmap.mmap(file, 1 << 20) as memory:
            memory[40960] = 1
            self.assertEqual(os.lseek(file, 0, os.SEEK_DATA), 40960)
            self.assertEqual(os.lseek(file, 40960, os.SEEK_HOLE), 45056)
        os.close(file)

    def test_copy_file_range_copies_what_was_just_written(self):
        source = os.open(self.path("source"), os.O_RDWR | os.O_CREAT)
        target = os.open(self.path("target"), os.O_RDWR | os.O_CREAT)
        data = os.urandom(3 << 20)
        os.pwrite(source, data, 1 << 20)
        offset = 0
        while copied := os.copy_file_range(source, target, 8 << 20, offset, offset):
            offset += copied
        self.assertEqual(offset, 4 << 20)
        self.assertEqual(os.pread(target, 4 << 20, 0), bytes(1 << 20) + data)
        # Inside one file, too.
        self.assertEqual(os.copy_file_range(target, target, 5000, 1 << 20, 4 << 20), 5000)
        self.assertEqual(os.pread(target, 5000, 4 << 20), data[:5000])
        os.close(source)
        os.close(target)

    def test_largest_file(self):
        path = self.make("large")
        os.truncate(path, (1 << 63) - 1)
        with open(path, "r+b") as file:
            self.assertEqual(os.pwrite(file.fileno(), b"end", (1 << 63) - 4), 3)
            self.assertEqual(os.pread(file.fileno(), 3, (1 << 63) - 4), b"end")
            os.fsync(file.fileno())
            self.assertEqual(os.pread(file.fileno(), 10, 1 << 62), bytes(10))

    def test_unnamed_file_gets_a_name_and_is_not_found_before(self):
        file = os.open(self.dir, os.O_TMPFILE | os.O_RDWR, 0o600)
        os.write(file, b"ready")
        self.assertEqual(os.listdir(self.dir), [])
        self.assertEqual(os.fstat(file).st_nlink, 0)
        checked(libc.linkat(AT_FDCWD, f"/proc/self/fd/{file}".encode(), AT_FDCWD,
                            self.path("named").encode(), AT_SYMLINK_FOLLOW))
        os.close(file)
        with open(self.path("named"), "rb") as named:
            self.assertEqual(named.read(), b"ready")

    # --- The rest -----------------------------------------------------------------------------

    def test_file_handles_outlive_the_kernels_memory(self):
        for name, make in (("file", lambda path: self.make("file", b"kept")),
                           ("directory", os.mkdir)):
            with self.subTest(kind=name):
                path = self.path(name)
                make(path)
                handle = FileHandle(bytes=MAX_HANDLE_BYTES)
                mount_id = ctypes.c_int()
                checked(libc.name_to_handle_at(AT_FDCWD, path.encode(), ctypes.byref(handle),
                                               ctypes.byref(mount_id), 0))
                ino = os.stat(path).st_ino
                with open("/proc/sys/vm/drop_caches", "w") as drop:
                    drop.write("3")
                mount = os.open(ROOT, os.O_RDONLY)
                opened = checked(libc.open_by_handle_at(mount, ctypes.byref(handle), os.O_RDONLY))
                self.assertEqual(os.fstat(opened).st_ino, ino)
                os.close(opened)
                if name == "file":
                    os.unlink(path)
                    with open("/proc/sys/vm/drop_caches", "w") as drop:
                        drop.write("3")
                    self.assert_errno(errno.ESTALE, lambda: checked(
                        libc.open_by_handle_at(mount, ctypes.byref(handle), os.O_RDONLY)))
                os.close(mount)

    def test_swap_is_refused(self):
        path = self.make("swap", bytes(1 << 20))
        os.chmod(path, 0o600)
        subprocess.run(["mkswap", path], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        if libc.swapon(path.encode(), 0) == 0:
            libc.swapoff(path.encode())
            self.fail("the kernel swaps to a file of a file system that needs memory to write")
        self.assertEqual(ctypes.get_errno(), errno.EINVAL)

    def test_flags_of_chattr_are_refused_and_not_only_kept(self):
        get_flags, set_flags = 0x80086601, 0x40086602
        directory = self.path("flags-directory")
        os.mkdir(directory)
        for path in (self.make("flags"), directory):
            fd = os.open(path, os.O_RDONLY)
            self.addCleanup(os.close, fd)
            for request in (get_flags, set_flags):
                self.assert_errno(errno.ENOTTY, fcntl.ioctl, fd, request, struct.pack("l", 0))

    def test_device_and_pipe_work(self):
        os.mknod(self.path("null"), 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        with open(self.path("null"), "r+b", buffering=0) as null:
            self.assertEqual(null.write(b"gone"), 4)
            self.assertEqual(null.read(), b"")
        os.mkfifo(self.path("pipe"))
        pipe = os.open(self.path("pipe"), os.O_RDWR)
        os.write(pipe, b"through")
        self.assertEqual(os.read(pipe, 100), b"through")
        os.close(pipe)

    def test_trusted_names_are_hidden_from_others(self):
        path = self.make("file")
        os.setxattr(path, "trusted.secret", b"1")
        os.setxattr(path, "user.open", b"1")
        self.assertEqual(sorted(os.listxattr(path)), ["trusted.secret", "user.open"])
        os.chmod(ROOT, 0o755)
        os.chmod(self.dir, 0o755)

        def list_as_nobody(say, _):
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            say(",".join(os.listxattr(path)).encode())

        process = Process(list_as_nobody)
        self.assertEqual(process.hear(), b"user.open")
        process.end()


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
