"""Work on a stream of batches, spread over threads, with results in order and bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

from app.ports.source import CancelCheck

AHEAD = 4  # batches waiting for each thread

Take = Callable[[int, CancelCheck], None]
"""Called with the bytes that were just read from a source. It may wait, to keep a limit, until the check raises."""

T = TypeVar("T")
R = TypeVar("R")


def in_order(
    work: Callable[[T], R], batches: Iterable[T], *, workers: int, cancel: Callable[[], None], abort: Callable[[], None]
) -> Generator[R, None, None]:
    """work(batch) for each batch, in `workers` threads; yields the results in the order of the batches.

    `cancel` is called in the caller's thread for every batch and while waiting. When anything raises, `abort` is
    called, which must make running work end, and no thread is left when the error reaches the caller. Use it with
    contextlib.closing, so that an error in the caller's loop counts too.
    """
    pending: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="transfer") as executor:
        try:
            for batch in batches:
                cancel()
                pending.append(executor.submit(work, batch))
                while len(pending) > workers * AHEAD or (pending and pending[0].done()):
                    yield _wait(pending.popleft(), cancel)
            while pending:
                yield _wait(pending.popleft(), cancel)
        except BaseException:
            abort()
            executor.shutdown(wait=False, cancel_futures=True)
            raise


def _wait(future: Future[R], cancel: Callable[[], None]) -> R:
    while not wait([future], timeout=0.2).done:
        cancel()
    return future.result()
