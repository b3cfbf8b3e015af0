"""From the bytes of a file to HTML that can do nothing.

What comes from a file is either escaped or passes nh3 (ammonia): no scripts, no event handlers, no styles, no addresses
but http, https and mailto, no pictures from elsewhere.
"""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Callable, Iterator
from html import escape
from typing import Any

import nh3
from markdown_it import MarkdownIt
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexer import Lexer
from pygments.lexers import TextLexer, get_lexer_by_name, get_lexer_for_filename
from pygments.util import ClassNotFound

MAX_SHOWN_BYTES = 5 * 2**20
"""Of larger files the first part is shown."""
MAX_ROWS = 1000
_MAX_CELLS = 2000
_MAX_PICTURE = 8 * 2**20
_MAX_CODE = 512 * 2**10
"""Longer texts are shown without colours."""

_ATTRIBUTES = {
    "a": {"href", "title"},
    "img": {"src", "alt", "title"},
    "th": {"align"},
    "td": {"align"},
    "div": {"class"},
}
_ATTRIBUTES |= {"span": {"class"}, "pre": {"class"}, "code": {"class"}}


def sanitize(html: str) -> str:
    """Return HTML without anything that could act or fetch."""
    return nh3.clean(
        html,
        attributes=_ATTRIBUTES,
        attribute_filter=_only_local_pictures,
        url_schemes={"http", "https", "mailto", "data"},
        link_rel="noopener noreferrer nofollow",
    )


def _only_local_pictures(element: str, attribute: str, value: str) -> str | None:
    if element == "img" and attribute == "src":
        return value if value.startswith(("data:image/png;", "data:image/jpeg;", "data:image/gif;")) else None
    return None if value.strip().lower().startswith("data:") else value


def markdown(text: str) -> str:
    """Return Markdown (CommonMark and tables) as HTML."""
    return sanitize(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text))


def code(text: str, filename: str) -> str:
    """Return the text of a program or a configuration, coloured by the language that its name says."""
    return _highlighted(text, _lexer(get_lexer_for_filename, filename))


def _lexer(find: Callable[..., Lexer], name: str) -> Lexer:
    try:
        return find(name)
    except ClassNotFound:
        return TextLexer()


def _highlighted(text: str, lexer: Lexer) -> str:
    if len(text) > _MAX_CODE:
        return f"<pre>{escape(text)}</pre>"
    return str(highlight(text, lexer, HtmlFormatter(cssclass="highlight")))


def formatted_json(text: str) -> str:
    """Return JSON with indents; what is not JSON as it is."""
    try:
        text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return f'<p class="note">This is not valid JSON.</p><pre>{escape(text)}</pre>'
    return _highlighted(text, get_lexer_by_name("json"))


def table(text: str, delimiter: str) -> str:
    """Return the first rows of a text table."""
    rows: list[list[str]] = []
    try:
        for row in csv.reader(io.StringIO(text), delimiter=delimiter):
            if len(rows) > MAX_ROWS:
                break
            rows.append(row)
    except csv.Error:
        return f"<pre>{escape(text)}</pre>"
    if not rows:
        return '<p class="note">The table is empty.</p>'
    head = "".join(f"<th>{escape(cell)}</th>" for cell in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows[1 : MAX_ROWS + 1]
    )
    note = f'<p class="note">The first {MAX_ROWS} rows.</p>' if len(rows) > MAX_ROWS else ""
    return f"{note}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def notebook(text: str) -> str:
    """Return a Jupyter notebook (format 4): its cells and their stored outputs."""
    try:
        document = json.loads(text)
        cells = document["cells"]
        language = str(document.get("metadata", {}).get("kernelspec", {}).get("language", "python"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f'<p class="note">This is not a notebook of format 4.</p><pre>{escape(text[:20_000])}</pre>'
    if not isinstance(cells, list):
        return '<p class="note">The notebook has no cells.</p>'
    lexer = _lexer(get_lexer_by_name, language)
    shown = [_cell(cell, lexer) for cell in cells[:_MAX_CELLS] if isinstance(cell, dict)]
    return "".join(shown) or '<p class="note">The notebook is empty.</p>'


def _cell(cell: dict[str, Any], lexer: Lexer) -> str:
    source = _joined(cell.get("source"))
    if cell.get("cell_type") == "markdown":
        return f'<div class="cell"><div></div><div>{markdown(source)}</div></div>'
    if cell.get("cell_type") != "code":
        return f'<div class="cell"><div></div><pre>{escape(source)}</pre></div>'
    count = cell.get("execution_count")
    prompt = f"In [{count}]:" if isinstance(count, int) else "In [ ]:"
    outputs = cell.get("outputs")
    shown = "".join(_outputs(outputs)) if isinstance(outputs, list) else ""
    body = f'<div>{_highlighted(source, lexer)}<div class="output">{shown}</div></div>'
    return f'<div class="cell"><div class="prompt">{prompt}</div>{body}</div>'


def _outputs(outputs: list[Any]) -> Iterator[str]:
    for output in outputs:
        if not isinstance(output, dict):
            continue
        data = output.get("data")
        if isinstance(data, dict):
            yield _rich(data)
        elif "traceback" in output:
            yield f"<pre>{escape(_plain(_joined(output['traceback'], between=chr(10))))}</pre>"
        elif "text" in output:
            yield f"<pre>{escape(_plain(_joined(output['text'])))}</pre>"


def _rich(data: dict[str, Any]) -> str:
    for media_type in ("image/png", "image/jpeg"):
        picture = "".join(_joined(data.get(media_type)).split())
        if picture and len(picture) <= _MAX_PICTURE and _is_base64(picture):
            return f'<img alt="output" src="data:{media_type};base64,{picture}">'
    if "text/html" in data:
        return sanitize(_joined(data["text/html"]))
    if "text/markdown" in data:
        return markdown(_joined(data["text/markdown"]))
    return f"<pre>{escape(_plain(_joined(data.get('text/plain'))))}</pre>"


def _joined(value: Any, between: str = "") -> str:
    if isinstance(value, list):
        return between.join(str(part) for part in value)
    return "" if value is None else str(value)


def _plain(text: str) -> str:
    """Return text of a terminal without its colours."""
    parts = text.split("\x1b[")
    return parts[0] + "".join(part.partition("m")[2] for part in parts[1:])


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except ValueError:
        return False
    return True
