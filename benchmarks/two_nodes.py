"""Kill and restart one of two training nodes, and compare the result with an undisturbed run.

    python benchmarks/two_nodes.py [--kills 3] [--seed 0]

Two `torchrun` agents on this machine with one process each, connected by a loopback port (gloo, on
the CPU), stand for two machines with a shared folder. Node 1 is killed (SIGKILL to the agent and
its worker) after a random time and restarted alone; the other node continues from the last
checkpoint when node 1 is back. The last kill is of node 0, the rendezvous host: then both agents
end and are restarted, as by a job scheduler. Prints the events, the last row of log.csv of both
runs, and whether all logged numbers and the embedder's id are equal; exit code 1 if not.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np

from kill_and_resume import CONFIG, rows
from whichlandmark.core.files import write_json
from whichlandmark.core.json_options import to_json
from whichlandmark.data.synthetic.plan import DrawnWorld
from whichlandmark.data.synthetic.world import draw_world
from whichlandmark.features.embedders.load import load_embedder

MOST_SECONDS = 500.0


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Nodes:
    """The two agents: start, kill and restart."""

    def __init__(self, table: Path, config: Path, out: Path) -> None:
        self.out, self.port = out, free_port()
        self.arguments = ["-m", "whichlandmark.cli", "train", str(table), "-o", str(out),
                          "--config", str(config), "--device", "cpu"]  # fmt: skip
        self.log = open(out.with_suffix(".log"), "ab")  # noqa: SIM115 – closed by `run`
        self.agents: list[subprocess.Popen[bytes]] = []
        self.starts = 0

    def start(self, node: int) -> subprocess.Popen[bytes]:
        self.starts += 1
        command = [
            sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1",
            "--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{self.port}",
            "--rdzv-id", "landmarks", "--rdzv-conf", f"is_host={1 - node}", "--max-restarts", "20",
            "--local-addr", "127.0.0.1", *self.arguments,
        ]  # fmt: skip
        return subprocess.Popen(command, stdout=self.log, stderr=self.log, start_new_session=True,
                                env={**os.environ, "OMP_NUM_THREADS": "1"})  # fmt: skip

    def kill(self, node: int) -> None:
        """Kill the agent and its workers at once."""
        agent = self.agents[node]
        for pid in family(agent.pid):
            os.kill(pid, signal.SIGKILL)
        agent.wait()

    def run(self, waits: list[float]) -> int:
        """Train to the end; kill a node after each wait, when the run has a checkpoint.

        Returns:
            How many times an agent was started.
        """
        began = time.monotonic()
        self.agents = [self.start(0), self.start(1)]
        try:
            for number, wait in enumerate(waits):
                self.until_a_checkpoint(began)
                time.sleep(wait)
                node = 0 if number == len(waits) - 1 else 1
                if any(agent.poll() == 0 for agent in self.agents):
                    print("  it had ended before this kill")
                    break
                self.kill(node)
                print(f"  node {node} killed after {time.monotonic() - began:.1f} s")
                self.supervise(began, until_running=True)
            self.supervise(began, until_running=False)
        finally:
            for node, agent in enumerate(self.agents):
                if agent.poll() is None:
                    self.kill(node)
            self.log.close()
        return self.starts

    def until_a_checkpoint(self, began: float) -> None:
        while not (self.out / "training" / "last.pt").exists():
            self.supervise(began, until_running=True)
            time.sleep(0.2)

    def supervise(self, began: float, *, until_running: bool) -> None:
        """Restart agents that failed; return when all ended well, or when all run."""
        while time.monotonic() - began < MOST_SECONDS:
            ended = [agent.poll() for agent in self.agents]
            if all(code == 0 for code in ended):
                return
            for node, code in enumerate(ended):
                if code not in (None, 0):
                    self.agents[node] = self.start(node)
            if until_running and all(agent.poll() is None for agent in self.agents):
                return
            time.sleep(0.2)
        raise SystemExit(f"not done after {MOST_SECONDS:.0f} s; see {self.log.name}")


def family(leader: int) -> list[int]:
    """A process and all its descendants; the process itself first, to be killed first."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(path.parent.name)] = int(fields[1])
    wanted = {leader}
    while more := {pid for pid, parent in parents.items() if parent in wanted} - wanted:
        wanted |= more
    return [leader, *sorted(wanted - {leader})]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        world = DrawnWorld(landmarks=18, unknown_landmarks=2, photos=360, queries=20,
                           unknown_queries=4, nonlandmark_queries=4, distractors=4)  # fmt: skip
        draw_world(at / "world", world)
        write_json(at / "config.json", to_json(CONFIG))
        table, config = at / "world" / "photos.csv", at / "config.json"
        waits = np.random.default_rng(options.seed).uniform(3, 12, options.kills).tolist()
        print("undisturbed:", flush=True)
        print(f"  agents started: {Nodes(table, config, at / 'whole').run([])}")
        print("killed:", flush=True)
        print(f"  agents started: {Nodes(table, config, at / 'killed').run(waits)}")
        whole, resumed = rows(at / "whole"), rows(at / "killed")
        print(f"undisturbed: {whole[-1]}")
        print(f"killed:      {resumed[-1]}")
        ids = [load_embedder(at / name).id for name in ("whole", "killed")]
        equal = whole == resumed and ids[0] == ids[1]
        print(
            f"all {len(whole)} epochs equal: {whole == resumed}; same embedder: {ids[0] == ids[1]}"
        )
    raise SystemExit(not equal)


if __name__ == "__main__":
    main()
