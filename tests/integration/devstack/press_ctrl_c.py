"""Run a command on a new terminal, and type Ctrl-C when it prints "ready": `press_ctrl_c.py [--close] COMMAND...`.

With `--close`, close the terminal instead of typing. "ready", with a space after it, must begin a line that is not
the first. This script passes on the command's output and exit status.
"""

import os
import pty
import sys


def main(command: list[str]) -> int:
    closes = command[0] == "--close"
    command = command[closes:]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp(command[0], command)
    output = b""
    typed = False
    while True:
        try:
            chunk = os.read(terminal, 4096)
        except OSError:  # on Linux: the last process has closed the terminal
            chunk = b""
        if not chunk:
            break
        os.write(1, chunk)
        output += chunk
        if not typed and b"\nready " in output:
            typed = True
            if closes:
                os.close(terminal)
                break
            os.write(terminal, b"\x03")
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


sys.exit(main(sys.argv[1:]))
