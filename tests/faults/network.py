"""The fault proxy, from Python."""

import random
import socket
import subprocess


# Below those that the kernel gives to connections: a provider that is restarted wants its port back.
PORTS = range(20_000, 32_000)


def free_port():
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


class FaultProxy:
    """Stands before one port of 127.0.0.1; `port` is its own."""

    def __init__(self, program, target_port, seed):
        self.port = free_port()
        command = [program, str(self.port), str(target_port), str(seed)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if self.process.stdout.readline() != "ready\n":
            raise RuntimeError(f"{' '.join(command)} did not start")

    def do(self, line):
        """Carries out a command of the proxy; returns (connections, harms done so far)."""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().split()
        if not answer or answer[0] != "ok":
            raise RuntimeError(f"the fault proxy answers '{line}' with {answer}")
        return int(answer[1]), int(answer[2])

    def end(self):
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()
