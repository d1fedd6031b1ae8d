"""Run a command on a terminal of its own, and type Ctrl-C after its line `ready`: `press_ctrl_c.py COMMAND...`.

The output of the command is passed on. The exit status is the command's.
"""

import os
import pty
import sys


def main(command: list[str]) -> int:
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
            os.write(terminal, b"\x03")
            typed = True
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


sys.exit(main(sys.argv[1:]))
