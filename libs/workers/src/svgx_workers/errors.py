"""The errors of jobs that have no result for a reason other than a refused file."""


class WorkerError(Exception):
    """A job has no result, for a reason other than a refused file."""


class WorkerTimeout(WorkerError):
    """The jobs of the turn took longer than the time limit, because of their content. Their process was killed."""


class WorkerDied(WorkerError):
    """The content of the job ended its process, mostly because the memory limit was reached."""


class WorkerUnavailable(WorkerError):
    """No process could be started, or the workers are closed. The content of the job is not the cause."""


class WorkersBusy(WorkerError):
    """Too many jobs of all accounts wait, or other jobs kept this one waiting as long as the caller permits."""


class AccountBusy(WorkersBusy):
    """Too many jobs of this account wait, or its other jobs kept this one waiting as long as the caller permits."""
