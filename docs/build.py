"""Pages of the documentation that the code itself writes; called by mkdocs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parent.parent
MARK = re.compile(r"<!-- generated: (\w+) -->")


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """Put what is generated where a page asks for it."""
    return MARK.sub(lambda found: GENERATED[found.group(1)](), markdown)


def queries() -> str:
    """Which class answers which query: every one is called, on an instance of every class."""
    from mixtures import HMM, HT, LTM, SPN, TMM, Dense, Mixture, Tree
    from mixtures.components import Categorical

    models = {
        "TMM": TMM(4, 2, 2),
        "HMM": HMM(4, 2, 2, shared=True),
        "LTM": LTM(Tree.balanced(4), 2, 2),
        "HT": HT(Tree.balanced(4), 2, 2),
        "SPN": SPN.random(4, 2, depth=1),
        "Dense": Dense(torch.ones(2, 2, 2, 2) / 16),
        "combination": 0.5 * TMM(4, 2, 2) + 0.5 * HMM(4, 2, 2),
    }
    x = torch.tensor([[0, 1, 0, 1], [1, 1, 0, 0]])
    holes = torch.tensor([[True, False, True, False], [True] * 4])
    asked: dict[str, Callable[[Mixture], Any]] = {
        "`log_prob`, missing values included": lambda m: m.log_prob(x, observed=holes),
        "gradients of `log_prob`": lambda m: m.log_prob(x).sum().backward(),
        "`posterior` of components": lambda m: m.posterior(x, observed=holes),
        "`states`: posteriors of latents": lambda m: m.states(x),
        "`states(how='best')`, `explain`": lambda m: (m.states(x, how="best"), m.explain(x)),
        "`sample`": lambda m: m.sample(3),
        "`complete`": lambda m: m.complete(x, observed=holes),
        "`marginal`": lambda m: m.marginal([2, 0]),
        "`condition`": lambda m: m.condition(x[0], observed=holes[0]),
        "`mean`, `covariance`, `expectation`": lambda m: (m.mean(), m.covariance()),
        "`entropy`, `kl`, `inner`": lambda m: (m.entropy(), m.kl(m), m.inner(m)),
        "`aic`, `bic` (identifiable dimension)": lambda m: (m.aic(x), m.bic(x)),
        "`learn.em` and `learn.fit`": _learned,
        "`filter`": lambda m: m.filter(x),
        "`forecast`": lambda m: m.forecast(x, 2, 3),
        "`of_length`": lambda m: m.of_length(6),
        "`transforms.rank`": _ranked,
        "`convert(.., SPN)`": _converted,
    }
    head = f"| query | {' | '.join(models)} |\n|---|{'---|' * len(models)}\n"
    rows = []
    for name, ask in asked.items():
        marks = []
        for W in models.values():
            model = Mixture(W, Categorical(4, 2, 2, shared=True))
            marks.append("yes" if _answers(ask, model) else "—")
        rows.append(f"| {name} | {' | '.join(marks)} |")
    return head + "\n".join(rows)


def _learned(model: Any) -> None:
    from mixtures.learn import em

    next(em(model, torch.tensor([[0, 1, 0, 1], [1, 1, 0, 0]])))


def _ranked(model: Any) -> None:
    from transforms import rank

    rank(model.coefficients, [0, 2])


def _converted(model: Any) -> None:
    from mixtures import SPN
    from transforms import convert

    convert(model.coefficients, SPN)


def _answers(ask: Callable[[Any], Any], model: Any) -> bool:
    try:
        ask(model)
    except (ValueError, TypeError):
        return False
    return True


def claims() -> str:
    """The catalogue of claims, every test run just now."""
    from transforms.catalogue import find, run

    rows = ["| claim | source | status | verdict | how |", "|---|---|---|---|---|"]
    for claim in find([]):
        verdict = run(claim)
        cells = [claim.statement, claim.source, claim.status, verdict.kind, _how(verdict)]
        rows.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def _how(verdict: Any) -> str:
    return f"at {verdict.sizes}: {verdict.found}"


def changes() -> str:
    """CHANGELOG.md, which lives at the top."""
    return (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


GENERATED: dict[str, Callable[[], str]] = {"queries": queries, "claims": claims, "changes": changes}
