"""The tasks, one file for each kind of model."""

from benchmarks.task import Task
from benchmarks.tasks import chains, networks, samples, tensors, trees

KINDS = (chains, trees, samples, networks, tensors)
TASKS: dict[str, Task] = {task.name: task for kind in KINDS for task in kind.TASKS}
