"""Replace the paths, DNS names and addresses of a cluster by paths and addresses of this machine."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_ANY_ADDRESS = r"(?<![\d.])(?:0\.0\.0\.0|127\.0\.0\.1)(?![\d./])"


@dataclass(frozen=True, slots=True)
class Substitution:
    """The replacements in the texts of one pod.

    `paths` maps mount paths to folders or files. `names` maps DNS names, which are replaced only in URLs, to addresses.
    `address` is the address of the pod, which replaces 0.0.0.0 and 127.0.0.1.
    """

    paths: Mapping[str, Path]
    names: Mapping[str, str]
    address: str

    def __call__(self, text: str) -> str:
        """Return the text with all replacements. Inserted text is not searched for further replacements."""
        paths = _alternatives(self.paths)
        names = _alternatives(self.names)
        pattern = (
            rf"(?<![\w./-])(?P<path>{paths})(?![\w.-])"
            rf"|(?<=[/@])(?P<name>{names})(?=[:/,?]|$)"
            rf"|(?P<address>{_ANY_ADDRESS})"
        )
        return re.sub(pattern, self._replacement, text, flags=re.MULTILINE)

    def _replacement(self, match: re.Match[str]) -> str:
        if path := match["path"]:
            return str(self.paths[path])
        if name := match["name"]:
            return self.names[name]
        return self.address


def _alternatives(words: Mapping[str, object]) -> str:
    """Return a pattern of all words, the longest first. It matches nothing if there are no words."""
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True)) or r"(?!)"
