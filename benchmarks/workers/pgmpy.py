"""pgmpy: its Chow-Liu search on one job, so that it uses the threads that all have."""

from __future__ import annotations

import logging

import pandas
from pgmpy.estimators import TreeSearch

from benchmarks.protocol import Arrays, Case, information

logging.getLogger("pgmpy").setLevel(logging.ERROR)


def tree(arrays: Arrays) -> Case:
    """`TreeSearch.estimate`; giving the root spares it a search for one."""
    search = TreeSearch(pandas.DataFrame(arrays["x"]), root_node=0, n_jobs=1)

    def run() -> list[tuple[int, int]]:
        return list(search.estimate(estimator_type="chow-liu", show_progress=False).edges())

    return Case(run, lambda edges: {"information": information(arrays["x"], edges)})


CASES = {"chow-liu-40": tree}
DISTRIBUTIONS = ("pgmpy", "scikit-learn")
