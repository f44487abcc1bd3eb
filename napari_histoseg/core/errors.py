"""The family of errors whose text is meant for the person at the microscope."""


class HistosegError(Exception):
    """Base of every expected failure.

    The message is one sentence or two that say what is wrong, where, and what to do. It is shown as it is,
    in the window and on standard error, without a traceback.
    """


class InputError(HistosegError):
    """An image, label file or argument that cannot be used."""


class ProjectError(HistosegError):
    """A project folder that cannot be opened, read or written."""


class ProjectLockedError(ProjectError):
    """The project is open in another window or process."""


class WeightsError(HistosegError):
    """A weights file that is damaged, foreign or does not fit its model."""


class ModelError(HistosegError):
    """A model that does not exist or cannot take the input it was given."""


class ResourceError(HistosegError):
    """Memory, disk or device ran out."""
