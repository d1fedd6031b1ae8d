"""The results of the checks, as text for people and as JSON for programs."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from svgx_common.configuration.build import BuildId


class Status(StrEnum):
    """The outcome of a check."""

    OK = "ok"
    WARNING = "warning"
    """The service works, with a restriction or a risk."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One result. `fix` says in one sentence how to correct the fault, and is empty without a fault.

    `detail` and `fix` never contain a secret.
    """

    check: str
    status: Status
    detail: str
    fix: str = ""


def ok(check: str, detail: str) -> Finding:
    """Return the result of a check that found nothing wrong."""
    return Finding(check, Status.OK, detail)


def warning(check: str, detail: str, fix: str) -> Finding:
    """Return a result that needs attention."""
    return Finding(check, Status.WARNING, detail, fix)


def failed(check: str, detail: str, fix: str) -> Finding:
    """Return the result of a failed check.

    The service cannot work, or it must do without the server that was checked, such as Redis.
    """
    return Finding(check, Status.FAILED, detail, fix)


def count(findings: Iterable[Finding], status: Status) -> int:
    """Return the number of results with this status."""
    return sum(each.status is status for each in findings)


def as_text(program: str, findings: Sequence[Finding]) -> str:
    """Return the results for people, one line each, and a line with the fix under each problem."""
    width = max(len(each.check) for each in findings)
    lines = [program]
    for each in findings:
        lines.append(f"  {each.status.value:<8} {each.check:<{width}}  {each.detail}")
        if each.fix:
            lines.append(f"  {'':<8} {'':<{width}}  → {each.fix}")
    failures, warnings = count(findings, Status.FAILED), count(findings, Status.WARNING)
    lines.append(f"{len(findings)} checks: {failures} failed, {warnings} with a warning")
    return "\n".join(lines)


def as_json(service: str, build: BuildId, findings: Sequence[Finding]) -> str:
    """Return the results for programs."""
    content = {
        "service": service,
        "version": build.version,
        "revision": build.revision,
        "ok": not count(findings, Status.FAILED),
        "checks": [{**asdict(each), "status": each.status.value} for each in findings],
    }
    return json.dumps(content, indent=2, ensure_ascii=False)
