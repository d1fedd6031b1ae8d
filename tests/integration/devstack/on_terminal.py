"""Runs `on_terminal.py COMMAND...` on a terminal of its own and types Ctrl-C when it says `ready`.

Passes on what the command prints, and ends with its exit status.
"""

import os
import pty
import sys


def main(command: list[str]) -> int:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp(command[0], command)
    seen = b""
    typed = False
    while True:
        try:
            chunk = os.read(terminal, 4096)
        except OSError:  # Linux: nobody has the terminal open any more
            chunk = b""
        if not chunk:
            break
        os.write(1, chunk)
        seen += chunk
        if not typed and b"\nready " in seen:
            os.write(terminal, b"\x03")
            typed = True
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


sys.exit(main(sys.argv[1:]))
