"""Environment variables that look like misspelt settings.

A slip is one wrong, missing or additional letter, or two swapped letters. A container also has variables of other
programs: of its image, of Kubernetes, and of servers beside the service (`POSTGRES_USER`). So a variable is refused
only if all of this is true:

- its name differs from the name of a setting by one or two slips, or only in its underscores;
- neither the setting nor another known variable with a similar name is set;
- other programs are unlikely to use the variable's name, or the setting is required.

Other names with slips cause a warning. An unknown name that begins with `SVGX_`, or with the first word of one of this
service's settings, causes a warning too, except for the words in `COMMON_WORDS`. See
docs/decisions/0042-misspelt-environment-variables.md.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache

from opentelemetry.sdk import environment_variables as telemetry

from svgx_common import config_file

SVGX_VARIABLES = frozenset(
    {
        config_file.VARIABLE,
        "SVGX_HOME",
        "SVGX_URL",
        "SVGX_VERSION",
        "SVGX_ADMIN_USERNAME",
        "SVGX_ADMIN_EMAIL",
        "SVGX_ADMIN_PASSWORD",
    }
)
"""The variables with the prefix `SVGX_` that every service knows, although only auth has some of them as settings."""

TELEMETRY_VARIABLES = frozenset(name for name in vars(telemetry) if name.startswith("OTEL_"))
"""The variables that OpenTelemetry reads."""

COMMON_WORDS = frozenset(
    {
        *("ACCESS", "API", "DATABASE", "DRAIN", "ENVIRONMENT", "HEALTH", "IMPORT", "JWT", "LOG"),
        *("METRICS", "NATS", "PASSWORD", "POSTGRES", "PROMETHEUS", "PUBLIC", "REDIS", "STATE"),
        "WORKER",
    }
)
"""First words of settings that also begin the names of variables of other programs or other services."""

_KUBERNETES = re.compile(r".+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)")
"""The variables that Kubernetes sets for each service of a namespace, such as `SVGX_AUTH_SERVICE_HOST`."""

TERMINAL_VARIABLES = frozenset({"COLUMNS", "LINES"})
"""Variables that a terminal sets. Their names are short, so they are similar to many other names."""

_CONFUSED_WORDS = (("URI", "URL"),)
"""Words that people write by mistake, each with the word that settings use."""

SHORT_WORD_LETTERS = 3
"""A replaced letter in a word of at most this length makes another word: `APP_PORT` is not a misspelt `API_PORT`."""

MAX_SLIPS = 2
"""A name with more slips than this does not count as a misspelt setting."""

LONG_WORD_LETTERS = 5
"""A word with at least this many letters may have two slips. A shorter word may have one."""


@dataclass(frozen=True, slots=True)
class UnknownVariable:
    """A variable that is not known, and the known variable that it probably means."""

    name: str
    nearest: str
    refused: bool
    """True when the service must not start, unless the configuration file has the setting `nearest`."""


def unknown_variables(
    settings: Collection[str], environ: Mapping[str, str], *, required: Collection[str] = ()
) -> Iterator[UnknownVariable]:
    """Yield the unknown variables that are similar to a known one, or begin with the first word of a setting.

    `settings` are the variable names of the service's settings; those in `required` have no default.
    `SVGX_VARIABLES` and the variables of OpenTelemetry are known too.
    """
    own = {*settings, config_file.VARIABLE}
    known = {*own, *SVGX_VARIABLES, *TELEMETRY_VARIABLES}
    words = {name.partition("_")[0] for name in settings} - COMMON_WORDS | {"SVGX"}
    present = {name.upper() for name, value in environ.items() if value}
    for name in sorted(present - known):
        if name in TERMINAL_VARIABLES or _KUBERNETES.fullmatch(name):
            continue
        similar = sorted(
            (each for each in known if _is_similar(name, each)),
            key=lambda each: (each not in own, edit_distance(name, each), each),
        )
        if similar:
            nearest = similar[0]
            refused = (
                nearest in own
                and present.isdisjoint(similar)
                and (nearest in required or not _is_usual_elsewhere(name, nearest))
            )
            yield UnknownVariable(name, nearest, refused)
        elif name.partition("_")[0] in words and "_" in name:
            close = get_close_matches(name, sorted({*settings, *SVGX_VARIABLES}), n=1, cutoff=0)
            yield UnknownVariable(name, close[0], refused=False)


def _is_usual_elsewhere(name: str, known: str) -> bool:
    """Return whether other programs may use `name`: `LOGLEVEL` for `LOG_LEVEL`, and `NATS_URI` for `NATS_URL`."""
    for word, other in _CONFUSED_WORDS:
        name = re.sub(rf"(?<![A-Z]){word}(?![A-Z])", other, name)
    return _letters(name) == _letters(known)


@lru_cache(maxsize=4096)
def _letters(name: str) -> str:
    """Return a name without the underscores and hyphens between its words."""
    return name.replace("_", "").replace("-", "")


def _is_similar(name: str, known: str) -> bool:
    """Return whether `name` differs from `known` by one or two slips in its words, or only in its underscores."""
    letters, known_letters = _letters(name), _letters(known)
    if letters == known_letters:
        return True
    # Most pairs of names end here. One slip changes the length by at most one letter.
    if abs(len(letters) - len(known_letters)) > MAX_SLIPS:
        return False
    words, known_words = name.replace("-", "_").split("_"), known.split("_")
    if len(words) != len(known_words):
        return False
    slips = 0
    for word, other in zip(words, known_words, strict=True):
        slips += _slips(word, other)
        if slips > MAX_SLIPS:
            return False
    return True


@lru_cache(maxsize=4096)
def _slips(word: str, known: str) -> int:
    """Return the number of slips between two words, and more than `MAX_SLIPS` for words that are too different."""
    if word == known:
        return 0
    if abs(len(word) - len(known)) > MAX_SLIPS:
        return MAX_SLIPS + 1
    if (word, known) in _CONFUSED_WORDS:
        return 1
    has_replaced_letter = len(word) == len(known) and sorted(word) != sorted(known)
    if len(known) <= SHORT_WORD_LETTERS and has_replaced_letter:
        return MAX_SLIPS + 1
    distance = edit_distance(word, known)
    return distance if distance <= (2 if len(known) >= LONG_WORD_LETTERS else 1) else MAX_SLIPS + 1


def edit_distance(one: str, other: str) -> int:
    """Return how many letters of `one` must be inserted, removed, replaced or swapped with the next to get `other`."""
    before: list[int] = []
    last = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        row = [i]
        for j, wanted in enumerate(other, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before, last = last, row
    return last[-1]
