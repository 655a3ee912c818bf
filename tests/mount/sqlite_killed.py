#!/usr/bin/python3
"""Two writers of one SQLite database are killed at random points, again and again. After each time
the database is whole, and every commit that a writer was told of is in it, with its content.
usage: sqlite_killed.py DATABASE JOURNAL_MODE KILLS SEED"""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
import traceback

WRITERS = 2
KEPT = 40  # contents of so many commits of a writer; older ones are deleted, so that pages come free
LONGEST_LIFE_S = 0.3
TABLES = """
CREATE TABLE IF NOT EXISTS done (writer INTEGER, number INTEGER, PRIMARY KEY (writer, number));
CREATE TABLE IF NOT EXISTS content (writer INTEGER, number INTEGER, body BLOB);
CREATE INDEX IF NOT EXISTS content_place ON content (writer, number);
CREATE INDEX IF NOT EXISTS content_body ON content (body);
"""


def connect(path, mode):
    database = sqlite3.connect(path, timeout=60, isolation_level=None)
    answer = database.execute(f"PRAGMA journal_mode={mode}").fetchone()[0]
    assert answer == mode, f"journal mode {answer}"
    database.execute("PRAGMA synchronous=FULL")
    return database


def bodies(writer, number):
    """What commit NUMBER of a writer holds: from a few bytes to several pages."""
    chance = random.Random(writer << 32 | number)
    return [chance.randbytes(chance.choice([10, 300, 9000])) for _ in range(chance.randint(1, 5))]


def commit(database, writer, number):
    database.execute("BEGIN IMMEDIATE")
    database.execute("INSERT INTO done VALUES (?, ?)", (writer, number))
    database.executemany("INSERT INTO content VALUES (?, ?, ?)",
                         [(writer, number, body) for body in bodies(writer, number)])
    database.execute("DELETE FROM content WHERE writer = ? AND number <= ?",
                     (writer, number - KEPT))
    database.execute("COMMIT")


def write_until_killed(path, mode, writer, number, tell):
    database = connect(path, mode)
    while True:
        number += 1
        commit(database, writer, number)
        os.write(tell, b".")  # one for each commit that this process knows of


class Writer:
    def __init__(self, path, mode, writer, number):
        self.hear, tell = os.pipe()
        self.process = os.fork()
        if self.process == 0:
            try:
                write_until_killed(path, mode, writer, number, tell)
            except BaseException:
                traceback.print_exc()
            os._exit(1)
        os.close(tell)
        self.told = 0

    def wait_for_commit(self):
        self.told += len(os.read(self.hear, 65536))

    def kill(self):
        """The number of commits that it knew of."""
        os.kill(self.process, signal.SIGKILL)
        status = os.waitpid(self.process, 0)[1]
        assert os.WIFSIGNALED(status), f"a writer ended by itself, with status {status}"
        while some := os.read(self.hear, 65536):
            self.told += len(some)
        os.close(self.hear)
        return self.told


def check(path, mode, last):
    """last: of each writer, the last commit that must be there. Returns those that are there."""
    database = connect(path, mode)
    problems = database.execute("PRAGMA integrity_check").fetchall()
    assert problems == [("ok",)], problems
    there = []
    for writer in range(WRITERS):
        numbers = [row[0] for row in database.execute(
            "SELECT number FROM done WHERE writer = ? ORDER BY number", (writer,))]
        assert numbers == list(range(1, len(numbers) + 1)), f"writer {writer}: a commit is missing"
        # The one it was killed in may be there or not.
        assert last[writer] <= len(numbers) <= last[writer] + 1, (writer, last, len(numbers))
        for number in range(max(1, len(numbers) - KEPT + 1), len(numbers) + 1):
            found = [row[0] for row in database.execute(
                "SELECT body FROM content WHERE writer = ? AND number = ? ORDER BY rowid",
                (writer, number))]
            assert found == bodies(writer, number), f"content of commit {number} of {writer}"
        there.append(len(numbers))
    database.close()
    return there


def drop_caches(path):
    subprocess.run(["sync", "-f", path], check=True)
    if os.access("/proc/sys/vm/drop_caches", os.W_OK):
        with open("/proc/sys/vm/drop_caches", "w") as drop:
            drop.write("3")


def main():
    path, mode, kills, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    chance = random.Random(seed)
    database = connect(path, mode)
    database.executescript(TABLES)
    database.close()
    last = [0] * WRITERS
    rounds = kills // WRITERS
    for round_number in range(rounds):
        writers = [Writer(path, mode, i, last[i]) for i in range(WRITERS)]
        # In the other rounds they may die while they open the database and repair it.
        if round_number % 2 == 0:
            for writer in writers:
                writer.wait_for_commit()
        # One after the other: the second goes on after the first has left its locks and its journal.
        for i in chance.sample(range(WRITERS), WRITERS):
            time.sleep(chance.uniform(0.01, LONGEST_LIFE_S))
            last[i] += writers[i].kill()
        if chance.random() < 0.5:
            drop_caches(path)
        last = check(path, mode, last)
    assert min(last) >= rounds // 2, f"hardly anything was committed: {last}"
    print(f"{mode}: seed {seed}, {kills} kills, {sum(last)} commits")


main()
