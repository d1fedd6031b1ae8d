"""The child process of the pool. It runs one job at a time, with limits on memory and CPU time.

Usage: `python -m svgx_workers.worker MEMORY_BYTES CPU_SECONDS PARENT_PID`. Jobs are read from standard input and
results are written to standard output, both as frames (`svgx_workers.frames`). The process ends when its input ends,
when its parent ends (on Linux), when a job exceeds the CPU time, and after a job that failed for a reason other than
`SvgRefused`. On Linux, the process can use no network, start no process, write no file, and read only modules,
libraries and fonts, as far as the kernel has these restrictions (`svgx_workers.confinement`).
"""

import svgx_workers.quick_imports  # noqa: F401  # before all other imports

# isort: split

import ctypes
import gc
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from svgx_canvas import (
    Snapshot,
    change_elements,
    compact,
    difference,
    export_json,
    export_svg,
    import_svg,
    render_png,
    replacement,
    state,
    undo,
)
from svgx_canvas.limits import SvgRefused
from svgx_canvas.policy import Dropped, Report
from svgx_workers.confinement import confine
from svgx_workers.frames import (
    PREFIX,
    Frame,
    client_value,
    decode,
    decode_prefix,
    dropped_of,
    encode,
    yjs_client_of,
)

Job = Callable[[Frame], Frame]

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(arguments: list[str]) -> None:
    """Run jobs until standard input ends."""
    memory_bytes, cpu_seconds, parent = map(int, arguments)
    _end_with_parent(parent)
    # Ctrl-C in a terminal reaches all processes. Only the parent handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    jobs_in = sys.stdin.buffer
    results_out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # Redirect prints of the libraries to standard error, because standard output carries frames.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    confinement_parts = confine(memory_bytes)
    # `quick_imports` has stopped the automatic garbage collection. It stays off, because jobs create many objects and
    # no cycles, and the collection would take a third of the jobs' time. Garbage is collected between jobs. `freeze`
    # excludes the modules' objects from that collection, because they live as long as the process. Checking them would
    # take longer than the compaction of 1 MB.
    gc.freeze()
    _write(results_out, Frame({"ready": os.getpid(), "confined": confinement_parts}))
    while (job := _read(jobs_in)) is not None:
        _limit_cpu(cpu_seconds)
        result = run(job)
        del job
        gc.collect()
        result.values["rss"] = _resident_bytes()
        _write(results_out, result)
        if "failed" in result.values:
            sys.exit(1)


def run(job: Frame) -> Frame:
    """Run one job. Return its result, a refusal or a failure as a frame."""
    try:
        return _JOBS[str(job.values["job"])](job)
    except SvgRefused as refusal:
        return Frame(
            {
                "refused": refusal.code,
                "field": refusal.field,
                "limit": refusal.limit,
                "actual": refusal.actual,
                "detail": refusal.detail,
            }
        )
    except BaseException as error:  # noqa: BLE001 - panics of the Rust libraries are BaseExceptions
        # Report only type and place, because the message may contain content of the document.
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
        return Frame({"failed": f"{type(error).__name__} in {place}"})


def _import_svg(job: Frame) -> Frame:
    svg, *current = job.blobs
    charset = job.values["charset"]
    assert isinstance(charset, str | None)
    imported = import_svg(svg, current[0] if current else None, charset=charset)
    dropped = _dropped(imported.dropped)
    return Frame({"elements": imported.elements, "dropped": dropped}, [imported.update])


def _report(job: Frame) -> Report:
    """Return a report with the parts that an earlier job of the same export left out."""
    report = Report()
    report.add_all(dropped_of(job))
    return report


def _dropped(items: Sequence[Dropped]) -> list[list[object]]:
    return [[item.what, item.reason, item.count] for item in items]


def _export_svg(job: Frame) -> Frame:
    report = _report(job)
    svg = export_svg(job.blobs[0], report=report)
    return Frame({"dropped": _dropped(report.dropped())}, [svg])


def _export_json(job: Frame) -> Frame:
    report = _report(job)
    content = export_json(job.blobs[0], report=report)
    return Frame({"dropped": _dropped(report.dropped())}, [content])


def _render_png(job: Frame) -> Frame:
    width, height, scale = (job.values[name] for name in ("width", "height", "scale"))
    assert isinstance(width, int | None)
    assert isinstance(height, int | None)
    assert isinstance(scale, int | float | None)
    return Frame({}, [render_png(job.blobs[0], width, height, scale)])


def _compact(job: Frame) -> Frame:
    blobs = list(job.blobs)
    snapshot = Snapshot(blobs.pop(0), blobs.pop(0)) if job.values["snapshot"] else None
    outlined, trusted = bool(job.values["outlined"]), bool(job.values["trusted"])
    return Frame({}, list(compact(snapshot, blobs, outlined=outlined, trusted=trusted)))


def _state(job: Frame) -> Frame:
    report = Report()
    outline, *updates = job.blobs
    content = state(updates, outline, report.add)
    return Frame({"dropped": _dropped(report.dropped())}, [content])


def _replacement(job: Frame) -> Frame:
    current, wanted = job.blobs
    return Frame({}, [replacement(current, wanted)])


def _change_elements(job: Frame) -> Frame:
    current, operations, earlier_step = job.blobs
    changed = change_elements(
        current, operations, client=yjs_client_of(job), earlier_step=earlier_step
    )
    values: dict[str, object] = {
        "created": changed.created,
        "client": client_value(changed.client),
    }
    return Frame(values, [changed.update, changed.step, changed.joined_step])


def _undo(job: Frame) -> Frame:
    current, step = job.blobs
    undone = undo(current, step, client=yjs_client_of(job))
    values: dict[str, object] = {
        "changed": undone.changed,
        "skipped": undone.skipped,
        "client": client_value(undone.client),
    }
    return Frame(values, [undone.update, undone.step])


def _difference(job: Frame) -> Frame:
    start, limit = job.values["start"], job.values["limit"]
    assert isinstance(start, int)
    assert isinstance(limit, int)
    before, after = job.blobs
    return Frame({}, [difference(before, after, start, limit)])


_JOBS: dict[str, Job] = {
    "import_svg": _import_svg,
    "export_svg": _export_svg,
    "export_json": _export_json,
    "render_png": _render_png,
    "compact": _compact,
    "state": _state,
    "replacement": _replacement,
    "change_elements": _change_elements,
    "undo": _undo,
    "difference": _difference,
}


def _end_with_parent(parent: int) -> None:
    """Let Linux kill this process when the parent ends, even during a job.

    On other systems, this process ends at the end of its input, after a running job.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent ended before the call
        sys.exit(0)


def _limit_cpu(seconds: int) -> None:
    """Limit the CPU time of the next job; 0 sets no limit. The kernel kills a process that uses more."""
    if not seconds:
        return
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = int(usage.ru_utime + usage.ru_stime)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (used + seconds + 1, hard))


def _resident_bytes() -> int:
    """Return the bytes of memory that this process holds, or 0 if the system does not provide the number."""
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


def _read(stream: BinaryIO) -> Frame | None:
    prefix = stream.read(PREFIX.size)
    if len(prefix) < PREFIX.size:
        return None
    head_length, body_length = decode_prefix(prefix)
    head, body = stream.read(head_length), stream.read(body_length)
    if len(head) < head_length or len(body) < body_length:
        return None
    return decode(head, body)


def _write(stream: BinaryIO, frame: Frame) -> None:
    stream.writelines(encode(frame))
    stream.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
