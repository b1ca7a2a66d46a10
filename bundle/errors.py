"""Every error this product raises on purpose, named after its cause.

Exception
└── ModelyardError
    ├── BadInput                the caller's bytes or options cannot be answered
    │   ├── InputTooLarge       ... because they are over a stated limit
    │   ├── InputTooSlow        ... because they did not arrive in time
    │   └── UnsupportedMedia    ... because their media type is not read here
    ├── ModelNotFound           no such model, version or task in the repository
    ├── ModelNotReady           known, but not answering (loading, or refused; the message says why)
    ├── Overloaded              the model's queue is full; the message says how long the wait would be
    ├── DeadlineExceeded        the answer was not there when the caller's time was up
    ├── ClientGone              nobody waits for the answer any more
    ├── Unauthenticated         no key, or one that is not known
    ├── Forbidden               known, but not allowed
    ├── Unsupported             a part of a protocol that is not offered here
    ├── BundleError             a folder is not a bundle that can be trusted
    ├── SourceError             bundles cannot be read from where they are kept: not there, not allowed, not in the form
    │   └── SourceInterrupted   ... at this moment: asking again may help
    ├── ParityError             an artefact does not give the checkpoint's answers
    ├── RuntimeFailed           an inference engine cannot do what was asked of it
    │   ├── OutOfMemory         ... because the device's memory does not hold this batch; a smaller one may fit
    │   └── DeviceLost          ... and never will in this process: the device's context is broken
    ├── DataError               a data set is missing, damaged or not in the form it claims
    ├── OutputTaken             another scoring job writes to the same output
    ├── TooManyErrors           a scoring job was stopped: more of its inputs are bad than may be
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


class ModelNotFound(ModelyardError):
    """No such model, version or task in the repository."""


class ModelNotReady(ModelyardError):
    """The model is known but does not answer now."""


class Overloaded(ModelyardError):
    """The model's queue is full; asking again after `retry_after_s` may find room."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DeadlineExceeded(ModelyardError):
    """The answer was not there when the caller's time was up."""


class ClientGone(ModelyardError):
    """The caller went away before the answer was there."""


class Unauthenticated(ModelyardError):
    """The request carries no API key, or one that is not known."""


class Forbidden(ModelyardError):
    """The request may not do this, whoever sends it."""


class Unsupported(ModelyardError):
    """A part of a protocol that is not offered here."""


class BundleError(ModelyardError):
    """A folder is not a bundle that can be trusted."""


class SourceError(ModelyardError):
    """Bundles cannot be read from where they are kept."""


class SourceInterrupted(SourceError):
    """Reading was cut off, or refused for the moment; asking again may help."""


class ParityError(ModelyardError):
    """An artefact does not give the checkpoint's answers within its limits."""


class RuntimeFailed(ModelyardError):
    """An inference engine cannot do what was asked of it."""


class OutOfMemory(RuntimeFailed):
    """The device's memory does not hold this batch; a smaller one may fit."""


class DeviceLost(RuntimeFailed):
    """The device's context is broken: nothing on it answers again in this process."""


class DataError(ModelyardError):
    """A data set is missing, damaged or not in the form it claims."""


class OutputTaken(ModelyardError):
    """Another scoring job writes to the same output."""


class TooManyErrors(ModelyardError):
    """More inputs of a scoring job are bad than may be."""


class UnusableModel(ModelyardError):
    """Somebody's model file or folder cannot become a bundle."""


class RunError(ModelyardError):
    """A training run cannot be started, resumed or read."""
