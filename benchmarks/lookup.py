"""How fast the lookup API answers: requests per second and latency, beside an application that does nothing.

    python benchmarks/lookup.py [--entities 50000] [--connections 32] [--seconds 6] [--workers 1]

Prints one JSON object. In the same run and on the same machine it measures

- ``floor``: a raw ASGI application that answers an empty body, on uvicorn as the API runs it;
- ``single``: ``GET …/predictions/{carrier}/{flight}``, a random entity each time;
- ``batch``: ``POST …/predictions:lookup`` of 100 random entities.

The client is a closed loop: every connection sends its next request when the last is answered. It runs in this process
and needs a core of its own; ``cpu_us``, the processor time of the *server* per request, does not depend on the client.
Kinds take turns in rounds, so that other work on the machine falls on all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

BATCH = 100
ROUNDS = 3
WARM_UP = 0.5
TABLE = "legs"


@dataclass(slots=True)
class Measured:
    """What one kind of request came to, over all rounds."""

    requests: int = 0
    failed: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    answer_bytes: int = 0
    latencies: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        ordered = sorted(self.latencies)
        return {
            "requests": self.requests,
            "failed": self.failed,
            "per_second": round(self.requests / self.seconds, 1),
            "p50_ms": round(statistics.median(ordered) * 1e3, 3),
            "p99_ms": round(ordered[int(len(ordered) * 0.99)] * 1e3, 3),
            "cpu_us": round(self.cpu_seconds / self.requests * 1e6, 1),
            "answer_bytes": self.answer_bytes,
        }


class Connection(asyncio.Protocol):
    """One connection of the closed loop. Reads just enough HTTP to know when an answer is whole."""

    def __init__(self, next_request: Callable[[], bytes], measured: Measured, until: float) -> None:
        self._next_request = next_request
        self._measured = measured
        self._until = until
        self._buffer = b""
        self._sent = 0.0
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # uvloop's is none by class
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._next_request())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        at = self._buffer.find(b"content-length: ") + 16
        length = head_end + 4 + int(self._buffer[at : self._buffer.find(b"\r\n", at)])
        if len(self._buffer) < length:
            return
        now = time.perf_counter()
        self._measured.requests += 1
        self._measured.latencies.append(now - self._sent)
        self._measured.answer_bytes = length - head_end - 4
        # A batch is 200 whatever its keys came to, so an answer without every prediction counts as failed too.
        if not self._buffer.startswith(b"HTTP/1.1 200") or b'"problem"' in self._buffer:
            self._measured.failed += 1
        self._buffer = b""
        if now < self._until:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self._measured.failed += 1
        self.done.set_result(None)


async def load(port: int, connections: int, seconds: float, next_request: Callable[[], bytes], measured: Measured) -> None:
    """Keep every connection busy for so many seconds."""
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    opened = [
        await loop.create_connection(lambda: Connection(next_request, measured, started + seconds), "127.0.0.1", port)
        for _ in range(connections)
    ]
    await asyncio.wait_for(asyncio.gather(*(protocol.done for _, protocol in opened)), seconds + 10)
    measured.seconds += time.perf_counter() - started


def stage_and_publish(folder: Path, entities: int) -> None:
    """A store with one live table of so many entities, each with five reasons and twenty features."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from batch_scoring.declare import Entity, Key, Schedule, TableName
    from batch_scoring.domain import EXPLANATIONS, FEATURES, MODEL, PREDICTIONS, Column, Draft, Staged, Training
    from batch_scoring.gates import GateResult
    from batch_scoring.store import Store, build_version, create_store, publish

    chance = np.random.default_rng(7)
    names = [f"feature_{n:02d}" for n in range(20)]
    keys = {"carrier": pa.array([f"C{n % 16:X}" for n in range(entities)]), "flight": pa.array(range(entities))}
    scores = chance.uniform(0.01, 0.99, entities)
    contributions = chance.normal(0, 0.3, (entities, len(names)))
    reason = {"feature": names[0], "value": "0.42", "contribution": 0.61, "text": "share of late arrivals over 30 days is 0.42"}
    staged = folder / "staged"
    staged.mkdir()
    (staged / MODEL).write_bytes(b"none")
    written = {
        PREDICTIONS: {
            "score": scores,
            "decision": np.where(scores >= 0.5, "late", "on time"),
            "threshold": np.full(entities, 0.5),
            "rank": np.argsort(np.argsort(-scores)) + 1,
            "margin": np.log(scores / (1 - scores)),
            "reasons": pa.array([[reason] * 5] * entities),
        },
        EXPLANATIONS: {
            "base_value": np.zeros(entities),
            **{name: contributions[:, n].astype(np.float32) for n, name in enumerate(names)},
        },
        FEATURES: {name: contributions[:, n] for n, name in enumerate(names)},
    }
    for name, columns in written.items():
        pq.write_table(pa.table({**keys, **columns}), staged / name)
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    entity = Entity(name="leg", keys=(Key(name="carrier", type="string"), Key(name="flight", type="integer")))
    draft = Draft(
        table=TableName(TABLE),
        description="Made-up scores for a benchmark.",
        entity=entity,
        schedule=Schedule(every="day", at="04:00"),
        as_of=moment,
        built_at=moment,
        rows=entities,
        threshold=0.5,
        columns=(
            Column(name="carrier", type="VARCHAR", role="key"),
            Column(name="flight", type="BIGINT", role="key"),
            *(Column(name=name, type="DOUBLE", role="feature") for name in names),
        ),
        training=Training(
            window="all",
            cutoff=moment,
            train_rows=0,
            train_from=moment,
            train_to=moment,
            rounds=0,
            params={},
            windows=(),
            holdout=(),
        ),
        gates=(GateResult(gate="row_count", passed=True, observed=0.0, limit=0.0, message="made up"),),
        reason="benchmark",
    )
    store = Store(folder / "store")
    create_store(store, who="benchmark", when=moment)
    version = build_version(store, Staged(draft=draft, folder=staged)).version
    publish(store, draft.table, version, who="benchmark", when=moment, why="benchmark")


def requests(entities: int) -> dict[str, Callable[[], bytes]]:
    """For each kind, what makes its next request; prepared beforehand, so that the client does little while it measures."""
    chance = random.Random(7)

    def leg() -> tuple[str, int]:
        flight = chance.randrange(entities)
        return f"C{flight % 16:X}", flight

    def get() -> bytes:
        carrier, flight = leg()
        return f"GET /v1/tables/{TABLE}/predictions/{carrier}/{flight} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()

    def post() -> bytes:
        keys = [{"carrier": carrier, "flight": flight} for carrier, flight in (leg() for _ in range(BATCH))]
        body = json.dumps({"keys": keys})
        return (
            f"POST /v1/tables/{TABLE}/predictions:lookup HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()

    singles, batches = [get() for _ in range(20_000)], [post() for _ in range(500)]
    return {"floor": lambda: singles[0], "single": lambda: chance.choice(singles), "batch": lambda: chance.choice(batches)}


async def nothing(_scope: object, _receive: object, send: Callable[[dict[str, object]], object]) -> None:
    """The least an ASGI application can do."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})  # type: ignore[misc]
    await send({"type": "http.response.body", "body": b""})  # type: ignore[misc]


def serve_nothing(port: int) -> None:
    from uvicorn import Server

    from lookup_api.serve import Serving, bind, configure

    listener = bind(Serving(store=Path(), host="127.0.0.1", port=port, workers=1))
    Server(configure(lambda: nothing)).run(sockets=[listener])


@contextmanager
def running(arguments: list[str], folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "FORETABLE_WORKSPACE": str(folder), "PYTHONPATH": str(Path(__file__).parents[1])}
    process = subprocess.Popen([sys.executable, *arguments], env=environment, stderr=subprocess.DEVNULL)
    try:
        give_up = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
                break
            except ConnectionRefusedError:
                if process.poll() is not None or time.monotonic() > give_up:
                    raise SystemExit("the server did not start") from None
                time.sleep(0.02)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def processes_of(process: int) -> list[int]:
    """A process and its children: whoever of them serves."""
    return [process, *map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split())]


def cpu_seconds(process: int) -> float:
    def of(one: int) -> float:
        user, system = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    return sum(map(of, processes_of(process)))


def private_mb(process: int) -> float:
    """Memory of the largest of them that it shares with nobody, MB."""

    def of(one: int) -> int:
        lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))

    return round(max(map(of, processes_of(process))) / 1024, 1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def measure(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    import uvloop

    made = requests(options.entities)
    measured = {kind: Measured() for kind in made}
    api, floor = free_port(), free_port()
    with (
        running(["-m", "lookup_api", "--port", str(api), "--workers", str(options.workers)], folder, api) as serving,
        running([__file__, "--serve-nothing", str(floor)], folder, floor) as idle,
    ):
        for kind, make in made.items():
            port = floor if kind == "floor" else api
            uvloop.run(load(port, options.connections, WARM_UP, make, Measured()))
        for _ in range(ROUNDS):
            for kind, make in made.items():
                process, port = (idle.pid, floor) if kind == "floor" else (serving.pid, api)
                before = cpu_seconds(process)
                uvloop.run(load(port, options.connections, options.seconds / ROUNDS, make, measured[kind]))
                measured[kind].cpu_seconds += cpu_seconds(process) - before
        memory = private_mb(serving.pid)
    figures = {kind: one.figures() for kind, one in measured.items()}
    single, batch, least = figures["single"], figures["batch"], figures["floor"]
    return {
        "entities": options.entities,
        "batch_keys": BATCH,
        "connections": options.connections,
        "workers": options.workers,
        "seconds_per_kind": options.seconds,
        "cores": os.cpu_count(),
        **figures,
        "summary": {
            "single_vs_floor": round(single["per_second"] / least["per_second"], 3),
            "single_vs_floor_cpu": round(least["cpu_us"] / single["cpu_us"], 3),
            "batch_keys_per_second": round(batch["per_second"] * BATCH, 1),
            "batch_cpu_us_per_key": round(batch["cpu_us"] / BATCH, 2),
            "p99_ms": single["p99_ms"],
            "failed": single["failed"] + batch["failed"] + least["failed"],
            "private_mb_per_worker": memory,
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--entities", type=int, default=50_000)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=6.0, help="of load for each kind of request")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--serve-nothing", type=int, metavar="PORT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve_nothing:
        serve_nothing(options.serve_nothing)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "foretable.toml").touch()
        stage_and_publish(folder, options.entities)
        print(json.dumps(measure(options, folder), indent=2))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
