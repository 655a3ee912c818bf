#!/usr/bin/python3
"""Everyday operations on a mounted directory, one test a kind. usage: everyday.py DIRECTORY"""

import ctypes
import errno
import fcntl
import mmap
import os
import stat
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = sys.argv[1]
RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4
AT_FDCWD = -100
AT_SYMLINK_FOLLOW = 0x400
libc = ctypes.CDLL(None, use_errno=True)


def rename_with_flags(source, target, flags):
    if libc.renameat2(AT_FDCWD, source.encode(), AT_FDCWD, target.encode(), flags) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), target)


class Everyday(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(dir=ROOT)

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, data=b"hello"):
        with open(self.path(name), "wb") as file:
            file.write(data)
        return self.path(name)

    def read(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def assert_errno(self, code, call, *args, **named):
        with self.assertRaises(OSError) as caught:
            call(*args, **named)
        self.assertEqual(errno.errorcode[caught.exception.errno], errno.errorcode[code])

    def test_create_read_append_truncate(self):
        path = self.write("file")
        with open(path, "ab") as file:
            file.write(b" world")
        self.assertEqual(self.read("file"), b"hello world")
        os.truncate(path, 3)
        self.assertEqual(self.read("file"), b"hel")
        os.truncate(path, 6)
        self.assertEqual(self.read("file"), b"hel\0\0\0")
        self.assert_errno(errno.EEXIST, os.open, path, os.O_CREAT | os.O_EXCL)
        self.assert_errno(errno.ENOENT, os.open, self.path("none"), os.O_RDONLY)
        with open(path, "wb"):
            self.assertEqual(os.stat(path).st_size, 0)

    def test_rename_replaces_and_its_flags(self):
        a, b = self.write("a", b"aaa"), self.write("b", b"bb")
        self.assert_errno(errno.EEXIST, rename_with_flags, a, b, RENAME_NOREPLACE)
        rename_with_flags(a, b, RENAME_EXCHANGE)
        self.assertEqual((self.read("a"), self.read("b")), (b"bb", b"aaa"))
        rename_with_flags(a, self.path("c"), RENAME_NOREPLACE)
        os.rename(self.path("c"), b)
        self.assertEqual(self.read("b"), b"bb")
        self.assertEqual(os.listdir(self.dir), ["b"])

    def test_rename_of_directories(self):
        os.makedirs(self.path("d/sub"))
        os.mkdir(self.path("empty"))
        self.write("file")
        self.assert_errno(errno.EINVAL, os.rename, self.path("d"), self.path("d/sub/x"))
        self.assert_errno(errno.ENOTDIR, os.rename, self.path("d"), self.path("file"))
        self.assert_errno(errno.EISDIR, os.rename, self.path("file"), self.path("d"))
        self.assert_errno(errno.ENOTEMPTY, os.rename, self.path("empty"), self.path("d"))
        os.rename(self.path("d"), self.path("empty"))
        self.assertEqual(os.listdir(self.path("empty")), ["sub"])
        rename_with_flags(self.path("empty"), self.path("file"), RENAME_EXCHANGE)
        self.assertTrue(os.path.isfile(self.path("empty")))

    def test_link_counts_of_directories(self):
        before = os.stat(self.dir).st_nlink
        os.mkdir(self.path("one"))
        os.mkdir(self.path("two"))
        self.assertEqual(os.stat(self.dir).st_nlink, before + 2)
        os.rename(self.path("one"), self.path("two/one"))
        self.assertEqual(os.stat(self.dir).st_nlink, before + 1)
        self.assertEqual(os.stat(self.path("two")).st_nlink, 3)
        os.rmdir(self.path("two/one"))
        os.rmdir(self.path("two"))
        self.assertEqual(os.stat(self.dir).st_nlink, before)

    def test_hard_links(self):
        path = self.write("a")
        os.link(path, self.path("b"))
        first, second = os.stat(path), os.stat(self.path("b"))
        self.assertEqual((first.st_ino, first.st_nlink), (second.st_ino, 2))
        with open(self.path("b"), "ab") as file:
            file.write(b"!")
        self.assertEqual(self.read("a"), b"hello!")
        os.unlink(path)
        self.assertEqual(os.stat(self.path("b")).st_nlink, 1)
        self.assert_errno(errno.EPERM, os.link, self.dir, self.path("directory-link"))

    def test_symbolic_links(self):
        self.write("target", b"found")
        os.symlink("target", self.path("relative"))
        self.assertEqual(self.read("relative"), b"found")
        self.assertEqual(os.readlink(self.path("relative")), "target")
        self.assertEqual(os.lstat(self.path("relative")).st_size, len("target"))
        os.symlink("x" * 4000, self.path("long"))
        self.assertEqual(os.readlink(self.path("long")), "x" * 4000)
        os.symlink("loop", self.path("loop"))
        self.assert_errno(errno.ELOOP, open, self.path("loop"))

    def test_unlinked_file_stays_while_open(self):
        path = self.write("file", b"still here")
        with open(path, "r+b") as file:
            os.unlink(path)
            self.assert_errno(errno.ENOENT, os.stat, path)
            self.assertEqual(os.fstat(file.fileno()).st_nlink, 0)
            self.assertEqual(file.read(), b"still here")
            file.write(b" and grows")
            file.flush()
            file.seek(0)
            self.assertEqual(file.read(), b"still here and grows")
        self.assertEqual(os.listdir(self.dir), [])

    def test_temporary_files_without_a_name(self):
        try:
            fd = os.open(self.dir, os.O_TMPFILE | os.O_RDWR)
        except OSError as error:
            self.skipTest(f"O_TMPFILE: {error}")
        os.write(fd, b"nameless")
        made = libc.linkat(AT_FDCWD, f"/proc/self/fd/{fd}".encode(), AT_FDCWD,
                           self.path("named").encode(), AT_SYMLINK_FOLLOW)
        self.assertEqual(made, 0, os.strerror(ctypes.get_errno()))
        os.close(fd)
        self.assertEqual(self.read("named"), b"nameless")

    def test_directories(self):
        os.mkdir(self.path("d"))
        self.write("d/file")
        self.assert_errno(errno.ENOTEMPTY, os.rmdir, self.path("d"))
        self.assert_errno(errno.EEXIST, os.mkdir, self.path("d"))
        self.assert_errno(errno.EISDIR, os.unlink, self.path("d"))
        self.assert_errno(errno.ENOTDIR, os.rmdir, self.path("d/file"))
        self.assert_errno(errno.ENAMETOOLONG, os.mkdir, self.path("n" * 256))
        os.mkdir(self.path("n" * 255))
        os.unlink(self.path("d/file"))
        os.rmdir(self.path("d"))

    def test_large_directory_is_listed_once_each(self):
        names = [f"file-{i:05}-{'x' * (i % 50)}" for i in range(3000)]
        for name in names:
            os.close(os.open(self.path(name), os.O_CREAT | os.O_WRONLY))
        self.assertEqual(sorted(os.listdir(self.dir)), sorted(names))
        with os.scandir(self.dir) as entries:
            for i, entry in enumerate(entries):  # removed while it is read
                self.assertTrue(entry.is_file())
                if i % 2:
                    os.unlink(entry.path)
        self.assertEqual(len(os.listdir(self.dir)), 1500)

    def test_modes_and_owners(self):
        path = self.write("file")
        for mode in (0o600, 0o755, 0o4711, 0o1644, 0):
            os.chmod(path, mode)
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), mode)
        if os.getuid() == 0:
            os.chown(path, 1234, 5678)
            self.assertEqual((os.stat(path).st_uid, os.stat(path).st_gid), (1234, 5678))
            os.chown(path, -1, 99)
            self.assertEqual((os.stat(path).st_uid, os.stat(path).st_gid), (1234, 99))

    def test_owner_change_and_write_take_setuid_away(self):
        path = self.write("file")
        os.chmod(path, 0o6755)
        if os.getuid() == 0:
            os.chown(path, 1, 1)
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o755)

    def test_times(self):
        path = self.write("file")
        os.utime(path, ns=(1_000_000_000_123_456_789, 1_500_000_000_987_654_321))
        status = os.stat(path)
        self.assertEqual(status.st_atime_ns, 1_000_000_000_123_456_789)
        self.assertEqual(status.st_mtime_ns, 1_500_000_000_987_654_321)
        before = time.time() - 2
        with open(path, "ab") as file:
            file.write(b"x")
        self.assertGreater(os.stat(path).st_mtime, before)
        directory_before = os.stat(self.dir).st_mtime_ns
        time.sleep(0.02)
        self.write("another")
        self.assertGreater(os.stat(self.dir).st_mtime_ns, directory_before)

    def test_xattrs(self):
        path = self.write("file")
        os.setxattr(path, "user.one", b"1")
        os.setxattr(path, "user.two", b"\0" * 3000)
        self.assertEqual(os.getxattr(path, "user.two"), b"\0" * 3000)
        self.assertLessEqual({"user.one", "user.two"}, set(os.listxattr(path)))
        self.assert_errno(errno.EEXIST, os.setxattr, path, "user.one", b"", os.XATTR_CREATE)
        self.assert_errno(errno.ENODATA, os.setxattr, path, "user.no", b"", os.XATTR_REPLACE)
        os.removexattr(path, "user.one")
        self.assert_errno(errno.ENODATA, os.getxattr, path, "user.one")
        os.setxattr(self.dir, "user.of-a-directory", b"yes")
        self.assertEqual(os.getxattr(self.dir, "user.of-a-directory"), b"yes")

    def test_sparse_files(self):
        path = self.path("sparse")
        with open(path, "wb") as file:
            file.seek(5 << 30)
            file.write(b"end")
        status = os.stat(path)
        self.assertEqual(status.st_size, (5 << 30) + 3)
        self.assertLess(status.st_blocks * 512, 1 << 20)
        fd = os.open(path, os.O_RDONLY)
        self.assertEqual(os.pread(fd, 8192, 1 << 30), b"\0" * 8192)
        self.assertEqual(os.pread(fd, 10, (5 << 30) - 2), b"\0\0end")
        os.close(fd)

    def test_shared_mapping(self):
        path = self.write("file", b"a" * 10000)
        with open(path, "r+b") as file:
            with mmap.mmap(file.fileno(), 0) as shared:
                shared[5000:5005] = b"mmap!"
                self.assertEqual(os.pread(file.fileno(), 5, 5000), b"mmap!")
                os.pwrite(file.fileno(), b"pwrite", 9000)
                self.assertEqual(shared[9000:9006], b"pwrite")
                shared.flush()
        self.assertEqual(self.read("file")[5000:5005], b"mmap!")

    def test_private_mapping_does_not_reach_the_file(self):
        path = self.write("file", b"a" * 5000)
        with open(path, "rb") as file:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as private:
                private[0:3] = b"bbb"
                self.assertEqual(private[0:4], b"bbba")
        self.assertEqual(self.read("file"), b"a" * 5000)

    def test_execution(self):
        script = self.write("script", b"#!/bin/sh\necho from the mount\n")
        self.assert_errno(errno.EACCES, subprocess.run, [script], check=True)
        os.chmod(script, 0o755)
        self.assertEqual(subprocess.check_output([script]), b"from the mount\n")
        with open("/bin/true", "rb") as file:
            program = self.write("program", file.read())
        os.chmod(program, 0o755)
        subprocess.run([program], check=True)

    def test_special_files(self):
        os.mkfifo(self.path("pipe"))
        self.assertTrue(stat.S_ISFIFO(os.stat(self.path("pipe")).st_mode))

    def test_locks(self):
        path = self.write("file")
        with open(path, "r+b") as first, open(path, "r+b") as second:
            fcntl.flock(first, fcntl.LOCK_EX)
            self.assert_errno(errno.EAGAIN, fcntl.flock, second, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(first, fcntl.LOCK_UN)
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with open(path, "r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            child = subprocess.run(
                [sys.executable, "-c", "import fcntl, sys\n"
                 "fcntl.lockf(open(sys.argv[1], 'r+b'), fcntl.LOCK_EX | fcntl.LOCK_NB)", path],
                capture_output=True)
            self.assertNotEqual(child.returncode, 0)

    def test_file_system_numbers(self):
        numbers = os.statvfs(self.dir)
        self.assertEqual(numbers.f_namemax, 255)
        self.assertGreater(numbers.f_files, 0)
        self.assertLessEqual(numbers.f_bfree, numbers.f_blocks)

    def test_copies_within_the_kernel(self):
        self.write("a", os.urandom(300_000))
        source = os.open(self.path("a"), os.O_RDONLY)
        target = os.open(self.path("b"), os.O_CREAT | os.O_WRONLY)
        left = 300_000
        while left > 0:
            left -= os.copy_file_range(source, target, left)
        os.close(source)
        os.close(target)
        self.assertEqual(self.read("a"), self.read("b"))


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=1)
