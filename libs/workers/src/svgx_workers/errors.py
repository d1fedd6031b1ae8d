"""The errors of jobs that end without a result. A file that a job refuses raises `SvgRefused` instead."""


class WorkerError(Exception):
    """A job ended without a result, for a reason other than a refused file."""


class WorkerTimeout(WorkerError):
    """The jobs of one turn (see `pool`) took longer than the turn's time. Their process was killed.

    `seconds` is the time that the turn had: the workers' limit, or less because of the caller's deadline.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__("no result in time")
        self.seconds = round(max(0.0, seconds), 1)


class WorkerDied(WorkerError):
    """The job failed because of its content, mostly because the memory limit was reached. Its process has ended."""


class WorkerUnavailable(WorkerError):
    """No process could be started, or the workers are closed. The content of the job is not the cause."""


class WorkersBusy(WorkerError):
    """Too many jobs of all accounts wait, or this job waited for other jobs as long as the caller permits."""


class AccountBusy(WorkersBusy):
    """Too many jobs of this account wait, or this job waited too long for other jobs of the account.

    The caller sets how long the job may wait.
    """
