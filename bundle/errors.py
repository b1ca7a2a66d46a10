"""Every error this product raises on purpose, named after its cause.

Exception
└── ModelyardError
    ├── BadInput                the caller's bytes or options cannot be answered
    │   ├── InputTooLarge       ... because they are over a stated limit
    │   ├── InputTooSlow        ... because they did not arrive in time
    │   └── UnsupportedMedia    ... because their media type is not read here
    ├── Unauthenticated         the caller showed no key, or one that is not known
    ├── Forbidden               the caller is known, and may not do this
    ├── ModelNotFound           no such model, version or task in the repository
    ├── ModelNotReady           known, but not answering (loading, or refused; the message says why)
    ├── BundleError             a folder is not a bundle that can be trusted
    ├── ParityError             an artefact does not give the checkpoint's answers
    ├── RuntimeFailed           an inference engine cannot do what was asked of it
    ├── DataError               a data set is missing, damaged or not in the form it claims
    ├── UnusableModel           somebody's model file or folder cannot become a bundle
    └── RunError                a training run cannot be started, resumed or read

Knows nothing of HTTP: serving/errors.py maps these to status codes, modelyard.py to exit codes.
"""


class ModelyardError(Exception):
    """Base of all; its text is written for the person who has to act on it."""


class BadInput(ModelyardError):
    """The caller's bytes or options cannot be answered."""


class InputTooLarge(BadInput):
    """The input is over a stated limit (bytes, pixels, instances)."""


class InputTooSlow(BadInput):
    """The input did not arrive within a stated time."""


class UnsupportedMedia(BadInput):
    """The media type is not one this model reads."""


class Unauthenticated(ModelyardError):
    """The caller showed no key, or one that is not known."""


class Forbidden(ModelyardError):
    """The caller may not do this."""


class ModelNotFound(ModelyardError):
    """No such model, version or task in the repository."""


class ModelNotReady(ModelyardError):
    """The model is known but does not answer now."""


class BundleError(ModelyardError):
    """A folder is not a bundle that can be trusted."""


class ParityError(ModelyardError):
    """An artefact does not give the checkpoint's answers within its limits."""


class RuntimeFailed(ModelyardError):
    """An inference engine cannot do what was asked of it."""


class DataError(ModelyardError):
    """A data set is missing, damaged or not in the form it claims."""


class UnusableModel(ModelyardError):
    """Somebody's model file or folder cannot become a bundle."""


class RunError(ModelyardError):
    """A training run cannot be started, resumed or read."""
