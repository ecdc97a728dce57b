"""The components of several sets side by side: what a mixture of mixtures mixes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from mixtures.components.base import Components
from mixtures.components.encoding import Data
from mixtures.components.hooks import Statistics
from mixtures.components.mixed import check_alike, split
from mixtures.components.quadrature import side_by_side


class Concatenated(Components):
    """Variable j has part 0's components first, then part 1's, and so on, without gaps.

    The domain is what lies in the domain of every part. Parts that are themselves concatenated are
    taken apart. Parts that are one object are learned together and count once.

    >>> from mixtures.components import Gaussian, LogNormal
    >>> both = Concatenated([Gaussian(2, [1, 3]), LogNormal(2, 2)])
    >>> both.shape
    (3, 5)
    """

    families: nn.ModuleList
    _places: Tensor | None

    def __init__(self, parts: Sequence[Components], *, names: Sequence[str] | None = None) -> None:
        parts = [leaf for part in parts for leaf in part._parts()]
        check_alike(parts)
        if len({part.variables for part in parts}) > 1:
            raise ValueError(
                "expected parts over the same variables, got "
                f"{', '.join(str(part.variables) for part in parts)} of them"
            )
        shapes = zip(*[part.shape for part in parts], strict=True)
        super().__init__(
            parts[0].variables,
            [sum(counts) for counts in shapes],
            event=parts[0].event,
            shared=all(part.shared for part in parts),
            names=names,
            dtype=parts[0].dtype,
            device=parts[0].device,
        )
        self._partial = all(part._partial for part in parts)
        self.families = nn.ModuleList(parts)
        starts = torch.tensor([part.shape for part in parts]).cumsum(0).roll(1, 0)
        starts[0] = 0
        self.register_buffer("_starts", starts.to(parts[0].device), persistent=False)
        places = None if all(len(set(part.shape)) == 1 for part in parts) else self._gaps()
        self.register_buffer("_places", places, persistent=False)

    _starts: Tensor

    def _gaps(self) -> Tensor:
        """Where, in the parts laid side by side with their padding, each component is (d, k)."""
        places = torch.zeros(self.variables, self.largest, dtype=torch.long)
        offset = 0
        for start, part in zip(self._starts.tolist(), self._each(), strict=True):
            for j, (first, count) in enumerate(zip(start, part.shape, strict=True)):
                places[j, first : first + count] = offset + torch.arange(count)
            offset += part.largest
        return places.to(self.device)

    def _each(self) -> list[Components]:
        return [cast(Components, part) for part in self.families]

    def _owners(self) -> list[int]:
        """For each part the place of the first that is the same object."""
        first: dict[int, int] = {}
        return [first.setdefault(id(part), number) for number, part in enumerate(self._each())]

    def _once(self) -> dict[int, Components]:
        """Every part once, by the place where it comes first."""
        parts = self._each()
        return {number: parts[number] for number in dict.fromkeys(self._owners())}

    def _parts(self) -> list[Any]:
        return list(self.families)

    def _gapless(self, values: Tensor, axis: int) -> Tensor:
        if self._places is None:
            return values
        shape = [1] * values.ndim
        shape[0], shape[axis] = self._places.shape
        sizes = list(values.shape)
        sizes[axis] = self.largest
        return values.gather(axis, self._places.reshape(shape).expand(sizes))

    def _joined(self, values: list[Tensor]) -> Tensor:
        return self._gapless(torch.cat(values, 1), 1)

    def _locally(self, indices: Tensor) -> list[tuple[Tensor, Tensor]]:
        """For each part, which indices (d, n) name a component of it, and its number there."""
        local = []
        for start, part in zip(self._starts, self._each(), strict=True):
            counts = torch.tensor(part.shape, device=indices.device).unsqueeze(-1)
            inside = indices - start.unsqueeze(-1)
            mine = (inside >= 0) & (inside < counts)
            local.append((mine, inside.where(mine, 0)))
        return local

    def _chosen(self, masks: list[Tensor], draws: list[Tensor]) -> Tensor:
        chosen = draws[0]
        for mask, draw in zip(masks[1:], draws[1:], strict=True):
            mask = mask.reshape(mask.shape + (1,) * (draw.ndim - 2))
            chosen = torch.where(mask, draw, chosen)
        return chosen

    def _evaluate(self, data: Data) -> Tensor:
        return self._joined([part.log_prob_encoded(data) for part in self._each()])

    def _sample(self, indices: Tensor, generator: torch.Generator | None) -> Tensor:
        local = self._locally(indices)
        pairs = zip(self._each(), local, strict=True)
        draws = [part._sample(own, generator) for part, (_, own) in pairs]
        return self._chosen([mine for mine, _ in local], draws)

    def _complete(self, indices: Tensor, data: Data, generator: torch.Generator | None) -> Tensor:
        local = self._locally(indices)
        pairs = zip(self._each(), local, strict=True)
        draws = [part._complete(own, data, generator) for part, (_, own) in pairs]
        return self._chosen([mine for mine, _ in local], draws)

    def _inside(self, x: Tensor) -> Tensor:
        return torch.stack([part._inside(x) for part in self._each()]).all(0)

    def _title(self, variable: int) -> str:
        return " and ".join(dict.fromkeys(part._title(variable) for part in self._each()))

    def _domain(self, variable: int) -> str:
        return " and ".join(dict.fromkeys(part._domain(variable) for part in self._each()))

    def _collect(self, data: Data, weights: Tensor) -> Statistics:
        sums: Statistics = {}
        for number, start, part in zip(self._owners(), self._starts, self._each(), strict=True):
            columns = start.unsqueeze(-1) + torch.arange(part.largest, device=start.device)
            columns = columns.clamp(max=self.largest - 1).unsqueeze(-1)  # the part masks the rest
            own = weights.gather(1, columns.expand(-1, -1, weights.shape[-1]))
            for name, value in part.statistics(data, own).items():
                key = f"{number}.{name}"
                sums[key] = sums[key] + value if key in sums else value
        return sums

    def _pooled(self, statistics: Statistics) -> Statistics:
        return statistics  # each part pools its own

    def _maximise(self, statistics: Statistics) -> None:
        for number, part in self._once().items():
            part.maximise(split(statistics, number))

    def _prior(self) -> Tensor:
        return torch.stack([part.log_prior() for part in self._once().values()]).sum()

    def _initialise(self, data: Data, generator: torch.Generator | None) -> None:
        for part in self._once().values():
            part.initialise(data, generator)

    def _count(self) -> int:
        return sum(part.num_parameters for part in self._once().values())

    def _mean(self) -> Tensor:
        return self._joined([part.mean() for part in self._each()])

    def _mean_given(self, data: Data) -> Tensor:
        return self._joined([part.mean_given(data) for part in self._each()])

    def _variance(self) -> Tensor:
        return self._joined([part.variance() for part in self._each()])

    def _covariance(self) -> Tensor:
        return self._joined([part.covariance() for part in self._each()])

    def _alphabet(self, variable: int) -> tuple[int, ...] | None:
        """What all parts agree on: a value that only some can take is outside the domain."""
        kinds = {part._alphabet(variable) for part in self._each()}
        return kinds.pop() if len(kinds) == 1 else None

    def _nodes(self, variable: int, most: int) -> tuple[Tensor, Tensor]:
        return side_by_side([part._nodes(variable, most) for part in self._each()])

    def _box(self, low: Tensor, high: Tensor) -> Tensor:
        ends = [end.squeeze(1).transpose(0, 1) for end in (low, high)]
        return self._joined([part.log_prob_box(*ends).permute(1, 2, 0) for part in self._each()])

    def _select(self, variables: Sequence[int]) -> Concatenated:
        names = None if self.names is None else [self.names[j] for j in variables]
        made = {number: part.select(variables) for number, part in self._once().items()}
        return Concatenated([made[number] for number in self._owners()], names=names)

    def _of_length(self, variables: int) -> Concatenated:
        made = {number: part.of_length(variables) for number, part in self._once().items()}
        return Concatenated([made[number] for number in self._owners()])

    def _config(self, variables: Sequence[int]) -> dict[str, Any]:
        return {
            "family": type(self).__name__,
            "parts": [part.config() for part in self._each()],
            "owners": self._owners(),  # parts that are one object stay one
            "names": None if self.names is None else list(self.names),
        }

    @classmethod
    def _from_config(cls, config: dict[str, Any]) -> Concatenated:
        parts = [Components.from_config(part) for part in config["parts"]]
        parts = [parts[owner] for owner in config["owners"]]
        return cls(parts, names=config["names"])
