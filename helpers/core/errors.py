"""The kinds of fault a user can act on. Each message is one sentence: what is wrong, where, what to do."""


class CaptionLabError(Exception):
    """Any fault whose message is meant for the user; the command line prints it without a traceback."""


class InputError(CaptionLabError):
    """A file, picture, sample or option that cannot be used."""


class ProfileError(CaptionLabError):
    """A profile that does not exist, or a value in one that cannot be used."""


class TeacherError(CaptionLabError):
    """The endpoint gave a final answer that no retry will change: wrong key, no money, no such model."""


class StoreError(CaptionLabError):
    """A label store that cannot be used: damaged, or written by another version."""


class TrainingError(CaptionLabError):
    """A training run that ended before its end."""


class ResourceError(CaptionLabError):
    """Something of the machine is missing or used up: disk, port, Java, compiler."""
