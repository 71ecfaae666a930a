"""The report as HTML: no scripts, nothing from a network, text escaped."""

from collections.abc import Collection, Sequence
from html import escape
from typing import NamedTuple

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #2b2d31; background: #fafaf8; margin: 2rem auto;
       max-width: 72rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0.2rem; } h2 { font-size: 1.1rem; margin-top: 2.2rem; }
p.lead { color: #6a6d73; margin-top: 0; } img { max-width: 100%; display: block; }
video { max-width: 100%; background: #000; border-radius: 6px; } figure { margin: 0.6rem 0; }
figcaption { color: #6a6d73; font-size: 0.85rem; }
table { border-collapse: collapse; font-size: 0.9rem; } td, th { padding: 0.25rem 1.2rem 0.25rem 0;
       text-align: left; border-bottom: 1px solid #e4e4e0; vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
code { font-size: 0.85em; color: #55585e; overflow-wrap: anywhere; }
.figures { display: flex; flex-wrap: wrap; gap: 0.8rem; }
.figure { background: #fff; border: 1px solid #e4e4e0; border-radius: 6px; padding: 0.6rem 1rem;
       min-width: 8rem; }
.figure b { display: block; font-size: 1.3rem; font-variant-numeric: tabular-nums; }
.figure span { color: #6a6d73; font-size: 0.85rem; } .figure.bad b { color: #c0392b; }
"""


class Figure(NamedTuple):
    """A number worth a box."""

    value: str
    """With its unit."""
    meaning: str
    """A few words."""
    is_good: bool = True
    """Whether it is within what it should be."""


class Table(NamedTuple):
    """Rows of text; columns named in ``numeric`` are set to the right."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: Sequence[str] = ()
    empty: str = "none"
    strong: Collection[tuple[int, int]] = ()
    """Row and column of the cells that are set in bold."""


class Section(NamedTuple):
    """A heading with videos, pictures and a table."""

    title: str
    text: str = ""
    pictures: Sequence[tuple[str, str]] = ()
    """File beside the page, and what it shows."""
    table: Table | None = None
    videos: Sequence[tuple[str, str]] = ()
    """File beside the page, and what it shows."""


def page(title: str, lead: str, figures: Sequence[Figure], sections: Sequence[Section]) -> str:
    """The whole page."""
    boxes = "".join(
        f'<div class="figure{"" if figure.is_good else " bad"}"><b>{escape(figure.value)}</b>'
        f"<span>{escape(figure.meaning)}</span></div>"
        for figure in figures
    )
    body = "".join(_section(section) for section in sections)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>"
        f'<h1>{escape(title)}</h1><p class="lead">{escape(lead)}</p><div class="figures">{boxes}</div>'
        f"{body}</body></html>\n"
    )


def _section(section: Section) -> str:
    text = f"<p>{escape(section.text)}</p>" if section.text else ""
    pictures = "".join(
        f'<figure><a href="{escape(name)}"><img src="{escape(name)}" alt="{escape(shows)}"></a>'
        f"<figcaption>{escape(shows)}</figcaption></figure>"
        for name, shows in section.pictures
    )
    videos = "".join(
        f'<figure><video src="{escape(name)}" controls loop preload="metadata"></video>'
        f"<figcaption>{escape(shows)}</figcaption></figure>"
        for name, shows in section.videos
    )
    table = _table(section.table) if section.table is not None else ""
    return f"\n<h2>{escape(section.title)}</h2>{text}{videos}{pictures}{table}"


def _table(table: Table) -> str:
    if not table.rows:
        return f"<p>{escape(table.empty)}</p>"
    head = "".join(f"<th>{escape(name)}</th>" for name in table.head)
    rows = "".join(
        "<tr>"
        + "".join(
            _cell(cell, is_number=name in table.numeric, is_strong=(line, column) in table.strong)
            for column, (name, cell) in enumerate(zip(table.head, row, strict=True))
        )
        + "</tr>"
        for line, row in enumerate(table.rows)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _cell(text: str, *, is_number: bool, is_strong: bool) -> str:
    shown = f"<b>{escape(text)}</b>" if is_strong else escape(text)
    return f'<td class="number">{shown}</td>' if is_number else f"<td>{shown}</td>"
