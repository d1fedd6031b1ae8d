"""The sections of CHANGELOG.md."""

import re

UNRELEASED = "Unreleased"


def section(text: str, version: str) -> str:
    """Return the section of a version. Without one, return the unreleased changes under a heading with the version.

    Raise `ValueError` if there is neither section, or if the section has no entry.
    """
    sections = dict(_sections(text))
    title = version if version in sections else UNRELEASED
    body = sections.get(title, "")
    if not re.search(r"^- ", body, re.MULTILINE):
        if title == version:
            raise ValueError(f"CHANGELOG.md has a section {version} without an entry")
        raise ValueError(f"CHANGELOG.md has no section {version}, and no entry under {UNRELEASED}")
    return f"## {version}\n\n{body}\n"


def _sections(text: str) -> list[tuple[str, str]]:
    """Return the title and the text of each section. A title is a version, which a date may follow."""
    _, *parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    titles = [title.partition(" ")[0] for title in parts[::2]]
    return [(title, body.strip()) for title, body in zip(titles, parts[1::2], strict=True)]
