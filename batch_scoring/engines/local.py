"""The local engine: threads of this process, bounded memory, rows in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

BatchFunction = Callable[["pa.RecordBatch"], "pa.RecordBatch"]


def map_batches(function: BatchFunction, batches: Iterable[pa.RecordBatch], *, threads: int) -> Iterator[pa.RecordBatch]:
    """Apply ``function`` to every batch, in parallel, yielding results in input order.

    At most ``threads + 1`` batches are held at a time, so memory does not grow with the number of batches. The first
    exception of ``function`` is raised here and ends the iteration.
    """
    with ThreadPoolExecutor(max_workers=threads) as pool:
        waiting: deque[Future[pa.RecordBatch]] = deque()
        for batch in batches:
            waiting.append(pool.submit(function, batch))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
