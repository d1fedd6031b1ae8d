"""The errors of jobs that have no result for a reason other than a refused file."""


class WorkerError(Exception):
    """A job has no result, for a reason other than a refused file."""


class WorkerTimeout(WorkerError):
    """The jobs of the turn took longer than the time limit. Their process was killed. The content is the cause."""


class WorkerDied(WorkerError):
    """The job ended its process, mostly because the memory limit was reached. The content is the cause."""


class WorkerUnavailable(WorkerError):
    """No process could be started, or the workers are closed. The content is not the cause."""


class WorkersBusy(WorkerError):
    """Too many jobs of all accounts wait, or other jobs kept this one waiting as long as the caller permits."""


class AccountBusy(WorkersBusy):
    """Too many jobs of this account wait, or its other jobs kept this one waiting as long as the caller permits."""
