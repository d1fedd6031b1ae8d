"""The code blocks of `docs/operations.md`, and how each block is checked.

A comment before each block names its check, such as `<!-- check: stack -->`. The checks are:

- `stack`: the block runs with a stack of processes.
- `cluster`: the block runs with an API server, on the release that Helm has installed.
- `manifests`: the block runs with an API server, in a namespace without the release.
- `values`: Helm renders the chart `svgx` with the production values and the values in the block.
- `parse: REASON`: bash parses the block, but does not run it.
- `skip: REASON`: the block is not run.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[3]
GUIDE: Final = ROOT / "docs" / "operations.md"

_BLOCK = re.compile(
    r"^(?:<!-- check: (?P<way>\w+)(?:: (?P<reason>[^>]+?))? -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_HEADING = re.compile(r"^#{2,} (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """One code block. `way` names its check, and is empty for drawings, which contain no command."""

    heading: str
    number: int
    way: str
    reason: str
    language: str
    text: str

    @property
    def name(self) -> str:
        """The heading above the block, and the block's number in the guide."""
        return f"{self.number}-{re.sub(r'[^a-z0-9]+', '-', self.heading.lower()).strip('-')}"

    @property
    def commands(self) -> list[str]:
        """The commands of the block, each on one line. A block in a language other than bash is one command."""
        if self.language != "bash":
            return [self.text]
        joined = re.sub(r"\\\n\s*", "", self.text)
        joined = re.sub(r"<<EOF\n.*?^EOF$", "<<EOF", joined, flags=re.MULTILINE | re.DOTALL)
        joined = re.sub(
            r"'\{.*?\}'", lambda json: json[0].replace("\n", " "), joined, flags=re.DOTALL
        )
        lines = (line.strip() for line in joined.splitlines())
        return [line for line in lines if line and not line.startswith("#")]


def read_blocks() -> list[Block]:
    """Return all code blocks of the guide, in their order."""
    text = GUIDE.read_text(encoding="utf-8")
    blocks = []
    for number, match in enumerate(_BLOCK.finditer(text), start=1):
        headings = ["start", *_HEADING.findall(text[: match.start()])]
        blocks.append(
            Block(
                heading=headings[-1],
                number=number,
                way=match["way"] or "",
                reason=match["reason"] or "",
                language=match["language"],
                text=match["text"],
            )
        )
    return blocks


def checked_by(*ways: str) -> list[Block]:
    """Return the blocks with one of these checks."""
    return [block for block in read_blocks() if block.way in ways]


def names(blocks: list[Block]) -> list[str]:
    """Return the names of the blocks, for test ids."""
    return [block.name for block in blocks]
