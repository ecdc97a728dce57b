"""What a coefficient tensor is besides the numbers in its tables, in a form that JSON can hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar, cast

from torch import nn

from mixtures.tables import Table

Self = TypeVar("Self", bound="Configured")


class Configured:
    """A model that can be written down and built again: the structure here, the numbers in tables.

    A class of one's own needs one hook, `_config`, which returns the arguments of its constructor;
    values may be numbers, strings, lists, tuples, dictionaries with strings as keys, and arrays.
    """

    known: ClassVar[dict[str, dict[str, type[Configured]]]] = {}  # name -> module -> class
    tables: Sequence[Table]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        alike = cls.known.setdefault(cls.__name__, {})
        for module in alike:
            if module != cls.__module__ and _ours(module):
                raise TypeError(f"a model named {cls.__name__} exists already in {module}")
        alike[cls.__module__] = cls

    def config(self) -> dict[str, Any]:
        """Everything but the tables; `from_config` builds the model again from both.

        Raises ValueError for a class that does not say what it is.
        """
        name, module = type(self).__name__, type(self).__module__
        where = {} if _ours(module) else {"module": module}
        return {"class": name, **where, **self._config()}

    @classmethod
    def from_config(cls: type[Self], config: dict[str, Any], tables: Sequence[Table]) -> Self:
        """The model a `config()` describes, with these very tables.

        A class from outside the library is looked for in the module it was in, then by its name
        alone. Raises ValueError where the class is not known, or where the tables are not its own.
        """
        name = config["class"]
        alike = list(cls.known.get(name, {}).values())
        found = cls.known.get(name, {}).get(config.get("module", ""), alike[-1] if alike else None)
        if found is None or not issubclass(found, cls):
            raise ValueError(
                f"there is no model class {name!r}: import the module that defines it first"
            )
        rest = {key: value for key, value in config.items() if key not in ("class", "module")}
        model = found._from_config(rest, tables)
        expected = [tuple(table.logits.shape) for table in model.tables]
        got = [tuple(table.logits.shape) for table in tables]
        if expected != got:
            raise ValueError(f"a {name} of this structure has tables {expected}, got {got}")
        model.tables = cast(Sequence[Table], nn.ModuleList(tables))
        return model

    def _config(self) -> dict[str, Any]:
        raise ValueError(
            f"{type(self).__name__} cannot be written down: give the class a method _config that "
            f"returns the arguments of its constructor"
        )

    @classmethod
    def _from_config(cls: type[Self], config: dict[str, Any], tables: Sequence[Table]) -> Self:
        """Built from the structure; `from_config` puts the tables in afterwards."""
        some = tables[0].logits
        return cls(**config, dtype=some.dtype, device=some.device)  # type: ignore[call-arg]


def _ours(module: str) -> bool:
    return module.partition(".")[0] == "mixtures"
