"""Every error that this package raises on purpose.

    KronosError
      BarsError         the bars given are not candles: names the row and the column
      TokenError        a token number outside the vocabulary
      ConfigError       a setting or argument is unknown, of the wrong type or out of range
      SourceError       a file or a market-data source could not be read
      CheckpointError   weights are missing, damaged, or do not belong together
      MissingExtra      an optional package is needed: names the pip command

Catch `KronosError` to catch them all. Where Python has a fitting class (ValueError, ImportError), the error is
one of those as well, so code written for the reference keeps catching what it caught.
"""


class KronosError(Exception):
    """The root of every error this package raises on purpose."""


class BarsError(KronosError, ValueError):
    """The bars are not usable candles; the message names the row and the column."""


class TokenError(KronosError, ValueError):
    """A token number lies outside the vocabulary."""


class ConfigError(KronosError, ValueError):
    """A setting or an argument is unknown, of the wrong type or out of range."""


class SourceError(KronosError):
    """A file or a market-data source could not be read."""


class CheckpointError(KronosError):
    """Weights are missing, damaged, or do not belong together."""


class MissingExtra(KronosError, ImportError):  # noqa: N818 - the public name says what is missing
    """An optional package is not installed; the message names the pip command that installs it."""


class KronosWarning(UserWarning):
    """Something that the user should know and that does not stop the work."""
