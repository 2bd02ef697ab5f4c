"""What can be wrong with a user's input, as exceptions whose message is one printable line."""

from collections.abc import Sequence


class SegPriorError(Exception):
    """Something the user can mend.

    The message is one line in four beats: which file or key, what was found, what was wanted,
    what to do.
    """


class ImageError(SegPriorError):
    """An image file that cannot be read or segmented."""


class LabelsError(SegPriorError):
    """A label map or a label table that does not fit."""


class ConfigError(SegPriorError):
    """A config file, a config key or a command-line value that does not fit."""


class ExtraError(SegPriorError):
    """An optional package that is asked for and not installed."""


class CheckpointError(SegPriorError):
    """A checkpoint of the wrong kind or version, or one that cannot be read."""


class OutputError(SegPriorError):
    """A file or a folder that cannot be written, whatever is in it."""


def few(values: Sequence[object]) -> str:
    """The first of many ids or names, for a message.

    >>> few(range(100))
    '0, 1, 2, 3, 4, 5, 6, 7, ...'
    """
    shown = ", ".join(str(value) for value in values[:8])
    return shown + (", ..." if len(values) > 8 else "")
