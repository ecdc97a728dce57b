"""The tasks, one file for each kind of model."""

from benchmarks.task import Task
from benchmarks.tasks import chains, trees

TASKS: dict[str, Task] = {task.name: task for kind in (chains, trees) for task in kind.TASKS}
