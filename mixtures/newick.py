"""Newick notation for trees."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from mixtures.errors import StructureError

TOKEN = re.compile(r"\s*(?:'((?:[^']|'')*)'|([(),;:])|([^\s(),;:']+))")


def parse(text: str, names: Sequence[str] | None = None) -> dict[Any, list[Any]]:
    """{inner node: children} of a Newick string; see `Tree.from_newick`."""
    variable = None if names is None else {name: j for j, name in enumerate(names)}
    stack: list[list[Any]] = [[]]
    tops: list[Any] = []  # inner nodes as lists [children, label], in the order they close
    label_of: Any = None
    for token, quoted in _tokens(text):
        if quoted or token not in "(),;:":
            label_of = _label(token, label_of, stack, variable)
        elif token == "(":
            stack.append([])
            label_of = None
        elif token == ")":
            if len(stack) == 1:
                raise StructureError(f"unbalanced brackets in {text!r}: a ')' too many")
            group = _Group(stack.pop())
            tops.append(group)
            stack[-1].append(group)
            label_of = group
        elif token == ":":
            label_of = _LENGTH
        else:
            label_of = None
    if len(stack) > 1:
        raise StructureError(f"unbalanced brackets in {text!r}: a ')' is missing")
    if len(stack[0]) != 1 or not isinstance(stack[0][0], _Group):
        raise StructureError(f"expected one tree like '((0,1),2);', got {text!r}")
    return _named(tops)


PLAIN = re.compile(r"[^\s(),;:']+")


def text(tree: Any, names: Sequence[str] | None = None) -> str:
    """The Newick string of a tree; see `Tree.to_newick`. Nothing recurses, however deep."""
    known = [str(j) for j in range(tree.variables)] if names is None else [str(n) for n in names]
    if len(known) != tree.variables or len(set(known)) < len(known):
        raise ValueError(f"expected {tree.variables} different names, got {known}")
    below: dict[Any, str] = {j: _quoted(name) for j, name in enumerate(known)}
    for node in tree.inner:  # children before their parents
        below[node] = f"({','.join(below.pop(child) for child in tree.children[node])})"
    return below[tree.root] + ";"


def _quoted(name: str) -> str:
    if PLAIN.fullmatch(name):
        return name
    return "'" + name.replace("'", "''") + "'"


class _Group:
    def __init__(self, members: list[Any]) -> None:
        self.members = members
        self.label: str | None = None


_LENGTH = object()


def _tokens(text: str) -> list[tuple[str, bool]]:
    found, place = [], 0
    text = text.rstrip()
    while place < len(text):
        match = TOKEN.match(text, place)
        if match is None:
            raise StructureError(f"cannot read {text[place : place + 20]!r} as Newick notation")
        quoted = match.group(1)
        plain = match.group(2) or match.group(3)
        found.append((plain, False) if quoted is None else (quoted.replace("''", "'"), True))
        place = match.end()
    return found


def _label(token: str, owner: Any, stack: list[list[Any]], variable: dict[str, int] | None) -> Any:
    """Read a word: a branch length, the label of the group just closed, or a leaf."""
    if owner is _LENGTH:
        return None
    if isinstance(owner, _Group):
        owner.label = token
        return None
    stack[-1].append(_leaf(token, variable))
    return None


def _leaf(token: str, variable: dict[str, int] | None) -> int:
    if variable is None:
        if not token.isdigit():
            raise StructureError(
                f"leaf {token!r} is no variable number; give names= to say which is which"
            )
        return int(token)
    if token not in variable:
        raise StructureError(f"leaf {token!r} is none of the names given")
    return variable[token]


def _named(groups: list[_Group]) -> dict[Any, list[Any]]:
    """Name the groups: their labels where there are any, else d, d + 1, .. in order of closing."""
    leaves = [member for g in groups for member in g.members if not isinstance(member, _Group)]
    d = len(leaves)
    lost = [leaf for leaf in leaves if leaf >= d]
    if lost:
        raise StructureError(
            f"leaf {lost[0]} is none of the variables 0..{d - 1}: {d} leaves must be the variables"
        )
    name: dict[int, Any] = {}
    for group in groups:
        name[id(group)] = group.label if group.label else d + len(name)
    if len(set(name.values())) < len(name):
        raise StructureError("two inner nodes carry the same label")
    return {
        name[id(group)]: [
            name[id(member)] if isinstance(member, _Group) else member for member in group.members
        ]
        for group in groups
    }
