"""Passes that lose by a second thread, on one: their calls are so short that threads mostly wait.

torch keeps the number per thread of Python, so others are not affected (but for one that first uses
torch in the meantime: it starts with the number set last).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Have torch work on the calling thread alone; on leaving, on as many as before.

    Costs a microsecond; not to be held across a yield to a caller.
    """
    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
