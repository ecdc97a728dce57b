"""Examples in docstrings (lines after >>>) become blocks of code in the reference."""

from typing import Any

import griffe


class Examples(griffe.Extension):
    """Fences what doctest would run, so that Markdown does not take it for quotations."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called for every module, class, function and attribute that has been read."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(text: str) -> str:
    """Paragraphs that begin with >>> between fences."""
    paragraphs = []
    for paragraph in text.split("\n\n"):
        code = paragraph.lstrip().startswith(">>>")
        paragraphs.append(f"```pycon\n{paragraph}\n```" if code else paragraph)
    return "\n\n".join(paragraphs)
