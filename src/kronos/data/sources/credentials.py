"""Keys for private endpoints, from the environment or a `.env` file; public bars never ask for them.

Nothing here is written anywhere, and no error, no log line and no `repr` shows a value.
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from kronos.errors import ConfigError

VARIABLES = ("OKX_API_KEY", "OKX_API_SECRET", "OKX_API_PASSPHRASE")

_ASSIGNMENT = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


@dataclass(frozen=True)
class Credentials:
    """What signs private requests to OKX."""

    key: str = field(repr=False)
    secret: str = field(repr=False)
    passphrase: str = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse what no header can carry, here, where the message need not show it."""
        for name, value in zip(VARIABLES, (self.key, self.secret, self.passphrase), strict=True):
            if not value or not value.isascii() or not value.isprintable() or value != value.strip():
                raise ConfigError(f"{name} is empty or holds blanks at its ends, line breaks or signs beyond ASCII")

    def __repr__(self) -> str:
        """Shows nothing."""
        return "Credentials(hidden)"

    @classmethod
    def find(cls, env_file: str | Path | None = None) -> "Credentials":
        """OKX_API_KEY, OKX_API_SECRET and OKX_API_PASSPHRASE from the environment, else from `env_file`.

        Without an `env_file` it is `.env` in the working folder, where there is one. The environment wins.
        """
        path = Path(".env") if env_file is None else Path(env_file)
        if env_file is not None and not path.is_file():
            raise ConfigError(f"{path}: no such file")
        listed = read_env(path) if path.is_file() else {}
        found = {name: os.environ.get(name) or listed.get(name, "") for name in VARIABLES}
        missing = [name for name, value in found.items() if not value]
        if missing:
            looked = f"in {path.absolute()}" if path.is_file() else f"there is no {path.absolute()}"
            raise ConfigError(
                f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing: not in the environment, and "
                f"{'not ' if path.is_file() else ''}{looked}; only private endpoints need them, public bars do not"
            )
        return cls(*found.values())


def read_env(path: Path) -> dict[str, str]:
    """The assignments in a `.env` file: comments, `export`, single quotes (as is) and double quotes (with escapes)."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigError(f"{path}: cannot be read ({why})") from None
    values = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _ASSIGNMENT.fullmatch(line.strip())
        value = _value(found[2]) if found else None
        if found is None or value is None:
            raise ConfigError(f"{path}, line {number}: expected NAME=VALUE, with quotes closed on the same line")
        values[found[1]] = value
    return values


def _value(text: str) -> str | None:
    """The value behind the equals sign, None where its quotes are not closed."""
    if text[:1] not in ("'", '"'):
        return re.split(r"(?:^|\s)#", text, maxsplit=1)[0].strip()
    body = r"[^']*" if text[0] == "'" else r"(?:[^\"\\]|\\.)*"
    found = re.fullmatch(rf"{text[0]}({body}){text[0]}\s*(?:#.*)?", text)
    if found is None:
        return None
    if text[0] == "'":
        return found[1]
    return re.sub(r"\\(.)", lambda sign: _ESCAPES.get(sign[1], sign[1]), found[1])
