"""A family of one's own: what it takes, and what the base class forbids."""

from __future__ import annotations

import pytest
import scipy.stats as stats
import torch
from torch import Tensor, nn

from mixtures.components import FAMILIES, Components, Family, Gaussian
from mixtures.components.family import kept, whole


class Geometric(Family):
    """f(x) = p (1 - p)^x for x = 0, 1, ..; prior: `pseudo_count` successes and failures more."""

    _discrete = True

    def __init__(self, variables, components, *, pseudo_count=0.01, shared=False, names=None,
                 generator=None, dtype=None, device=None):  # fmt: skip
        super().__init__(
            variables, components, shared=shared, names=names, dtype=dtype, device=device
        )
        self.pseudo_count = pseudo_count
        draws = torch.randn(self._size(), generator=generator, dtype=dtype, device=device)
        self.log_odds = nn.Parameter(draws)

    def _log_prob(self, x: Tensor) -> Tensor:
        log_odds = self.log_odds.unsqueeze(-1)
        return nn.functional.logsigmoid(log_odds) + x * nn.functional.logsigmoid(-log_odds)

    def _sample(self, indices, generator) -> Tensor:
        rate = -nn.functional.logsigmoid(-self._pick(self.log_odds, indices))
        return (torch.empty_like(rate).exponential_(generator=generator) / rate).floor().long()

    def _inside(self, x: Tensor) -> Tensor:
        return whole(x) & (x >= 0)

    def _statistics(self, x: Tensor, weights: Tensor) -> dict[str, Tensor]:
        return {"total": (weights @ x.double().unsqueeze(-1)).squeeze(-1)}

    def _maximise(self, statistics: dict[str, Tensor]) -> None:
        wins, losses = statistics["weight"], statistics["total"]
        log_odds = ((wins + self.pseudo_count) / (losses + self.pseudo_count)).log()
        self.log_odds.copy_(kept(wins, log_odds, self.log_odds))

    def _settings(self, variables) -> dict:
        return {"pseudo_count": self.pseudo_count}


def test_a_family_of_one_s_own_has_everything_the_others_have():
    generator = torch.Generator().manual_seed(0)
    components = Geometric(3, [2, 1, 2], dtype=torch.float64, generator=generator)
    x = torch.tensor([[0.0, 1, 2], [float("nan"), 5, 0]])
    values = components.log_prob(x)
    p = components.log_odds.sigmoid()[0, 1].item()
    assert values[0, 0, 1].item() == pytest.approx(stats.geom(p, loc=-1).logpmf(0))
    assert (values[1, 0] == 0).all() and (values[:, 1, 1] == 0).all()
    with pytest.raises(ValueError, match="column 1, row 0: -1 is outside the domain of Geometric"):
        components.encode([[0, -1, 0]])
    data = components.encode(x)
    components.initialise(data, generator)
    components.maximise(components.statistics(data, torch.ones(3, 2, 2)))
    assert components.log_odds[2].sigmoid().tolist() == pytest.approx([2.01 / 4.02] * 2)
    assert components.num_parameters == 5
    draws = components.sample(torch.ones(4000, 3).long() * torch.tensor([1, 0, 1]), generator)
    p = components.log_odds.sigmoid()[[0, 1, 2], [1, 0, 1]].detach()
    torch.testing.assert_close(draws.double().mean(0), (1 - p) / p, rtol=0.1, atol=0.05)
    again = Components.from_config(components.config())
    again.load_state_dict(components.state_dict())
    assert torch.equal(again.log_prob(x), components.log_prob(x))
    assert components.select([2]).shape == (2,)
    shared = Geometric(2, 2, shared=True).of_length(5)
    assert shared.log_prob(torch.zeros(1, 5)).shape == (1, 5, 2)


def test_what_a_family_does_not_have_it_says():
    components = Geometric(2, 2)
    for ask in (components.mean, components.variance, lambda: components.inner(components)):
        with pytest.raises(ValueError, match="Geometric has no"):
            ask()
    with pytest.raises(ValueError, match="Geometric has no"):
        components.log_prob_box([0.0, 0.0], [1.0, 1.0])


def test_public_methods_are_final():
    for name in ("log_prob", "num_parameters", "from_config", "maximise", "inner"):
        with pytest.raises(TypeError, match=f"Wrong overrides the final {name}"):
            type("Wrong", (Gaussian,), {name: lambda self: None})


def test_families_are_known_by_name_and_names_are_unique():
    assert FAMILIES["Geometric"] is Geometric and FAMILIES["Gaussian"] is Gaussian
    with pytest.raises(TypeError, match="a family named Gaussian exists already"):
        type("Gaussian", (Family,), {"__module__": "elsewhere"})
    with pytest.raises(ValueError, match="expected the name of a Components, got 'Nothing'"):
        Components.from_config({"family": "Nothing"})
    with pytest.raises(ValueError, match="expected the name of a Geometric, got 'Gaussian'"):
        Geometric.from_config(Gaussian(1, 1).config())
