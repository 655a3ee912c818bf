"""The fault proxy, from Python."""

import socket
import subprocess


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


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
