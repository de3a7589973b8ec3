"""Makes the site out of the files that are read in the repository: what docs/ links to outside of itself becomes pages too."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

PAGES = {
    "README.md": "readme.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "examples/README.md": "examples.md",
}
_SOURCES = {page: source for source, page in PAGES.items()}
_FENCE = re.compile(r"^( *```\w+) [^\n]*$(.*?^ *```$)", re.MULTILINE | re.DOTALL)
_PROSE = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that stand outside of docs/."""
    root = Path(config.config_file_path).parent
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(root / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links lead to the same place on the site, and drop what only the tests read behind a block's language."""
    here = page.file.src_uri
    base = posixpath.dirname(_SOURCES.get(here, f"docs/{here}"))

    def link(found: re.Match[str]) -> str:
        picture, text, target, anchor = found[1], found[2], found[3], found[4] or ""
        if re.match(r"[a-z]+:", target):
            return found[0]
        place = posixpath.normpath(posixpath.join(base, target))
        inside = PAGES.get(place) or (place.removeprefix("docs/") if place.startswith("docs/") else None)
        if inside is None:  # a file of the repository that is no page
            return text
        return f"{picture}[{text}]({posixpath.relpath(inside, posixpath.dirname(here) or '.')}{anchor})"

    parts = _PROSE.split(_FENCE.sub(r"\1\2", markdown))
    return "".join(part if at % 2 else _LINK.sub(link, part) for at, part in enumerate(parts))
