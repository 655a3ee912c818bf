#!/usr/bin/python3
"""The fault proxy does each harm that it is told to, and no other. usage: fault_proxy_test.py PROGRAM"""

import socket
import struct
import sys
import time
import unittest

import network

PROGRAM = sys.argv.pop(1)
HEADER_BYTES = 16
SEED = 7
SHORT_S = 0.2
LIMIT_S = 5


def frame(body):
    return struct.pack("<IHHQ", len(body), 32, 0, 1) + body


def received(end, wanted):
    """`wanted` bytes, or fewer if the stream ends."""
    data = b""
    while len(data) < wanted:
        piece = end.recv(wanted - len(data))
        if not piece:
            break
        data += piece
    return data


def is_silent(end):
    end.settimeout(SHORT_S)
    try:
        end.recv(1)
        return False
    except TimeoutError:
        return True
    finally:
        end.settimeout(LIMIT_S)


class FaultProxyTest(unittest.TestCase):
    def setUp(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(LIMIT_S)
        self.proxy = network.FaultProxy(PROGRAM, self.listener.getsockname()[1], SEED)
        self.addCleanup(self.listener.close)
        self.addCleanup(self.proxy.end)
        self.near, self.far = self.connect()

    def connect(self):
        near = socket.create_connection(("127.0.0.1", self.proxy.port), LIMIT_S)
        far, _ = self.listener.accept()
        far.settimeout(LIMIT_S)
        self.addCleanup(near.close)
        self.addCleanup(far.close)
        return near, far

    def both_send(self, data):
        """What arrives at the far and at the near end."""
        self.near.sendall(data)
        self.far.sendall(data)
        self.near.shutdown(socket.SHUT_WR)
        self.far.shutdown(socket.SHUT_WR)
        return received(self.far, 1 << 20), received(self.near, 1 << 20)

    def test_fair_weather_changes_nothing(self):
        data = frame(b"x" * 300_000) + frame(b"")
        self.assertEqual(self.both_send(data), (data, data))
        self.assertEqual(self.proxy.do("count"), (0, 0))

    def test_hold_loses_nothing(self):
        self.proxy.do("hold")
        self.near.sendall(b"held")
        self.assertTrue(is_silent(self.far))
        self.proxy.do("pass")
        self.assertEqual(received(self.far, 4), b"held")

    def test_delay_keeps_the_order(self):
        self.proxy.do("delay 30")
        data = b"".join(struct.pack("<I", i) for i in range(20))
        for at in range(0, len(data), 4):
            self.near.sendall(data[at : at + 4])
        self.assertEqual(received(self.far, len(data)), data)

    def test_swallowed_bytes_never_come_and_their_connection_ends(self):
        other_near, other_far = self.connect()
        self.proxy.do("swallow")
        self.near.sendall(b"gone")
        self.assertTrue(is_silent(self.far))
        self.proxy.do("pass")
        self.assertRaises(ConnectionResetError, self.far.recv, 1)
        other_near.sendall(b"here")
        self.assertEqual(received(other_far, 4), b"here")

    def test_cut_resets_what_is_there_and_nothing_that_comes(self):
        self.assertEqual(self.proxy.do("cut")[0], 0)
        self.assertRaises(ConnectionResetError, self.near.recv, 1)
        self.assertRaises(ConnectionResetError, self.far.recv, 1)
        near, far = self.connect()
        near.sendall(b"new")
        self.assertEqual(received(far, 3), b"new")

    def test_refuse_resets_what_comes_until_it_ends(self):
        self.proxy.do("refuse")
        with self.assertRaises(ConnectionResetError):  # at once, or a moment later
            refused = socket.create_connection(("127.0.0.1", self.proxy.port), LIMIT_S)
            self.addCleanup(refused.close)
            refused.recv(1)
        self.proxy.do("pass")
        self.connect()

    def test_fin_ends_one_direction_only(self):
        self.proxy.do("fin")
        ended = [end for end in (self.near, self.far) if not is_silent(end)]
        self.assertEqual(len(ended), 1)
        other = self.far if ended[0] is self.near else self.near
        ended[0].sendall(b"still")
        self.assertEqual(received(other, 5), b"still")

    def test_flip_changes_one_bit_of_a_header(self):
        data = frame(b"a" * 40) + frame(b"b" * 40)
        self.proxy.do("flip")
        differing = []
        for got in self.both_send(data):
            self.assertEqual(len(got), len(data))
            differing += [(i, a ^ b) for i, (a, b) in enumerate(zip(got, data)) if a != b]
        self.assertEqual(len(differing), 1)
        position, bits = differing[0]
        self.assertLess(position % (HEADER_BYTES + 40), HEADER_BYTES)
        self.assertEqual(bits.bit_count(), 1)
        self.assertEqual(self.proxy.do("count")[1], 1)

    def test_flip_finds_the_header_behind_a_body_in_pieces(self):
        first = frame(b"a" * 1000)
        self.near.sendall(first[:500])
        received(self.far, 500)
        self.far.sendall(first[:500])
        received(self.near, 500)
        self.proxy.do("flip")
        rest = first[500:] + frame(b"")
        changed = [got for got in self.both_send(rest) if got != rest]
        self.assertEqual(len(changed), 1)
        self.assertEqual(changed[0][:516], first[500:])

    def test_garbage_stands_between_frames(self):
        data = frame(b"a" * 40)
        self.proxy.do("garbage")
        longer = [got for got in self.both_send(data) if got != data]
        self.assertEqual(len(longer), 1)
        self.assertTrue(longer[0].endswith(data) or longer[0].startswith(data))
        self.assertGreater(len(longer[0]), len(data))

    def test_truncate_ends_in_the_middle(self):
        data = frame(b"a" * 4000)
        self.proxy.do("truncate")
        self.near.sendall(data)
        try:
            self.far.sendall(data)
            got = received(self.far, 1 << 20)
            self.assertTrue(data.startswith(got))
        except ConnectionError:
            pass  # it was the other direction that ended first
        self.assertEqual(self.proxy.do("count"), (0, 1))

    def test_a_trap_springs_after_so_many_bytes(self):
        self.proxy.do("after 10 cut")
        self.near.sendall(b"x" * 100)
        got = b""
        try:
            got = received(self.far, 100)
        except ConnectionResetError:
            pass
        self.assertLessEqual(len(got), 10)
        self.assertEqual(self.proxy.do("count")[0], 0)

    def test_an_unknown_command_is_said_to_be_one(self):
        self.assertRaises(RuntimeError, self.proxy.do, "rain")
        self.assertRaises(RuntimeError, self.proxy.do, "delay much")


unittest.main()
