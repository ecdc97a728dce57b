"""A report as one HTML file that needs nothing else: text, tables and pictures inside it."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

STYLE = """
body { font: 16px/1.55 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; background: #fff }
h1 { font-size: 1.7rem } h2 { font-size: 1.25rem; margin-top: 2.4rem }
table { border-collapse: collapse; margin: 1rem 0; font-size: 0.92rem }
th, td { padding: 0.25rem 0.8rem; border-bottom: 1px solid #ddd; text-align: right }
th:first-child, td:first-child { text-align: left }
img { max-width: 100% } figure { margin: 1rem 0 } figcaption { color: #555; font-size: 0.9rem }
code, pre { font-size: 0.88rem; background: #f5f5f5; padding: 0.1rem 0.25rem }
pre { padding: 0.7rem; overflow-x: auto }
"""


class Report:
    """Parts are added in order; `write` puts them into one file."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._parts: list[str] = [f"<h1>{html.escape(title)}</h1>"]

    def heading(self, text: str) -> None:
        """A new chapter."""
        self._parts.append(f"<h2>{html.escape(text)}</h2>")

    def text(self, text: str) -> None:
        """A paragraph; what is between backticks is code."""
        pieces = html.escape(text).split("`")
        marked = [f"<code>{piece}</code>" if n % 2 else piece for n, piece in enumerate(pieces)]
        self._parts.append(f"<p>{''.join(marked)}</p>")

    def code(self, text: str) -> None:
        """Lines of code, as they are."""
        self._parts.append(f"<pre>{html.escape(text)}</pre>")

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table of texts."""
        head = "".join(f"<th>{html.escape(name)}</th>" for name in headings)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in rows
        )
        self._parts.append(f"<table><tr>{head}</tr>{body}</table>")

    def picture(self, ax: Any, caption: str) -> None:
        """The figure that axes belong to, closed afterwards."""
        from matplotlib import pyplot

        buffer = io.BytesIO()
        ax.figure.savefig(buffer, format="png", dpi=110)
        pyplot.close(ax.figure)
        data = base64.b64encode(buffer.getvalue()).decode("ascii")
        words = html.escape(caption)
        self._parts.append(
            f'<figure><img alt="{words}" src="data:image/png;base64,{data}">'
            f"<figcaption>{words}</figcaption></figure>"
        )

    def write(self, path: Path) -> None:
        """One file, UTF-8."""
        body = "\n".join(self._parts)
        path.write_text(
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
            f"<title>{html.escape(self.title)}</title><style>{STYLE}</style></head>\n"
            f"<body>\n{body}\n</body></html>\n",
            encoding="utf-8",
        )
