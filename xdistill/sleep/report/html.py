"""Pieces of HTML that need nothing from elsewhere: tables, pictures, one page."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem 1.25rem 3rem; max-width: 62rem; color: #1a1a1a;
  background: #fff; font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0.5rem 0 0.25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 0.5rem; padding-bottom: 0.2rem;
  border-bottom: 1px solid #ccc; }
p { margin: 0.5rem 0; max-width: 46rem; overflow-wrap: break-word; }
.about { color: #555; margin-top: 0; }
.note { border-left: 4px solid #0072B2; background: #eef5fa; padding: 0.5rem 0.8rem;
  margin: 0.8rem 0; max-width: none; }
.warning { border-left-color: #D55E00; background: #fdf1ea; }
.tiles { display: grid; gap: 0.6rem; margin: 1rem 0;
  grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); }
.tile { border: 1px solid #ddd; border-radius: 6px; padding: 0.5rem 0.7rem; }
.tile b { display: block; font-size: 1.35rem; line-height: 1.3; }
.tile span { color: #555; font-size: 0.85rem; display: block; line-height: 1.3; }
.scroll { overflow-x: auto; margin: 0.6rem 0; }
table { border-collapse: collapse; font-size: 0.92rem; min-width: 20rem; }
th, td { text-align: left; padding: 0.3rem 0.9rem 0.3rem 0; border-bottom: 1px solid #e4e4e4;
  vertical-align: top; }
th { font-weight: 600; color: #444; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums;
  white-space: nowrap; }
th.number { white-space: normal; vertical-align: bottom; }
tbody th { font-weight: 400; color: inherit; min-width: 6.5rem; }
.explained tbody th { min-width: 10.5rem; }
small { color: #555; display: block; line-height: 1.25; }
figure { margin: 0.8rem 0; }
figure img { width: 100%; height: auto; display: block; }
figure.small img { max-width: 26rem; }
figcaption { color: #555; font-size: 0.88rem; max-width: 46rem; }
@media (max-width: 600px) {
  body { padding: 0.6rem 0.9rem 2rem; }
  th, td { padding-right: 0.6rem; font-size: 0.86rem; }
}
@media print { h2 { break-after: avoid; } figure, .note, tr { break-inside: avoid; } }
"""


def escape(text: str) -> str:
    """Text as HTML, a per cent sign not parted from its number."""
    return html.escape(text).replace(" %", "\u00a0%")


def page(title: str, parts: Iterable[str]) -> str:
    """A whole page, which loads nothing and runs nothing."""
    body = "\n".join(part for part in parts if part)
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n"
        "</body>\n</html>\n"
    )


def section(title: str, *parts: str) -> str:
    """A heading and what stands below it."""
    return "\n".join([f"<h2>{escape(title)}</h2>", *(part for part in parts if part)])


def paragraph(text: str, kind: str = "") -> str:
    """Text; of the kind "about", "note" or "note warning"."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], texts: int = 1) -> str:
    """A table whose first column names its rows; columns from `texts` on are numbers.

    A line break in a cell puts what follows below it, in small letters.
    """
    body = [_row("td", row, texts) for row in rows]
    kind = ' class="explained"' if any("<small>" in row for row in body) else ""
    head = f"<thead>{_row('th', header, texts, scope='col')}</thead>\n" if any(header) else ""
    lines = "\n".join(body)
    return (
        f'<div class="scroll" tabindex="0"><table{kind}>\n{head}<tbody>\n{lines}\n</tbody>'
        "</table></div>"
    )


def _row(tag: str, cells: Sequence[str], texts: int, scope: str = "") -> str:
    made: list[str] = []
    for at, cell in enumerate(cells):
        kind = ' class="number"' if at >= texts else ""
        first, _, rest = cell.partition("\n")
        small = f"<small>{escape(rest)}</small>" if rest else ""
        own, attribute = ("th", ' scope="row"') if at == 0 and not scope else (tag, "")
        attribute = f' scope="{scope}"' if scope else attribute
        made.append(f"<{own}{attribute}{kind}>{escape(first)}{small}</{own}>")
    return f"<tr>{''.join(made)}</tr>"


def tiles(values: Iterable[tuple[str, str, str]]) -> str:
    """Numbers to be seen first: label, value, and what is to be known about it."""
    made = (
        f'<div class="tile"><span>{escape(label)}</span><b>{escape(value)}</b>'
        f"<span>{escape(below)}</span></div>"
        for label, value, below in values
    )
    return f'<div class="tiles">{"".join(made)}</div>'


def picture(
    wide: bytes, alternative: str, caption: str = "", *, narrow: bytes | None = None
) -> str:
    """A PNG inside the page, and another one for narrow screens.

    Without the other one it is shown no wider than it is on a phone.
    """
    source = (
        f'<source media="(max-width: 600px)" srcset="{_data(narrow)}">'
        if narrow is not None
        else ""
    )
    kind = "" if narrow is not None else ' class="small"'
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return (
        f'<figure{kind}><picture>{source}<img src="{_data(wide)}" alt="{escape(alternative)}">'
        f"</picture>{below}</figure>"
    )


def _data(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"
