"""JSON over HTTP: pace, patience, and errors that are clear and hold no secret.

Knows no exchange. Each brings a judge that reads its error codes: what may succeed later is a `BusyError` and is tried
again, what never will is a `RefusedError`. Errors and log lines name host and path; the query is logged only where the
request is not signed, headers never. Redirects are not followed, or a signature could travel to a stranger.
"""

import json
import logging
import random
import re
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPResponse
from typing import Any, NoReturn
from urllib.error import URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request

from kronos.errors import ConfigError, SourceError

log = logging.getLogger("kronos.data")

Judge = Callable[[int, Any], None]
"""Reads the status and the JSON of an answer (None where it is none); raises BusyError or RefusedError, or nothing."""
Sign = Callable[[str], Mapping[str, str]]
"""Headers for "path?query"; called anew for every attempt, because signatures age."""

_LONG_WAIT = 10.0  # seconds; from here on a user wonders what is going on
_UNREACHED_ATTEMPTS = 4  # a server that never answered is more likely misspelt or blocked than busy


class BusyError(Exception):
    """The same question may be answered later, after `wait` seconds where the server says so. Never leaves a client."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        """Say why, and for how long."""
        super().__init__(reason)
        self.wait = wait


class RefusedError(SourceError):
    """The server has understood the question and will never answer it; `code` is its own error code."""

    def __init__(self, message: str, code: int) -> None:
        """Keep the server's code beside the message."""
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Patience:
    """How long a client keeps trying, and the clock it goes by."""

    timeout: float = 20.0
    """Seconds to wait for a connection, and for the next piece of an answer."""
    attempts: int = 8
    longest: float = 600.0
    """The longest wait that a server may ask for; more is an error, because asking earlier prolongs a ban."""
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def pause(self, attempt: int) -> float:
        """Seconds after a failed attempt: twice as long each time, and not in step with other clients."""
        return float(min(2.0 ** (attempt - 1), 60.0) * random.uniform(0.5, 1.0))


@dataclass(frozen=True)
class Budget:
    """A server's count of what was used in the running minute, and how far to let it go."""

    header: str
    limit: int

    def wait(self, headers: Message) -> float:
        """Seconds to the server's next minute where the budget is used up, else 0."""
        used = headers.get(self.header, "")
        if not used.isdecimal() or int(used) < self.limit:
            return 0.0
        date = _date(headers.get("Date"))
        return 61.0 - (date % 60.0 if date is not None else 0.0)


class Client:
    """Asks one server, one question at a time. Its only state is its pace."""

    def __init__(
        self,
        base_url: str,
        judge: Judge,
        *,
        advice: str,
        interval: float = 0.0,
        budget: Budget | None = None,
        patience: Patience | None = None,
    ) -> None:
        """At least `interval` seconds lie between requests; `advice` says what to do where the server serves nobody."""
        self._base = checked_url(base_url)
        self.host = urlsplit(self._base).netloc
        self._judge, self._advice = judge, advice
        self._interval, self._budget, self._patience = interval, budget, patience or Patience()
        self._ready = float("-inf")  # the moment from which the next request may be sent
        self._reached = False
        # Only what is needed: without the usual error and redirect handlers every status comes back as an answer.
        self._opener = OpenerDirector()
        for handler in (ProxyHandler(), HTTPHandler(), HTTPSHandler()):
            self._opener.add_handler(handler)

    def get(self, path: str, params: Mapping[str, object] | None = None, sign: Sign | None = None) -> Any:
        """The JSON at `path`; parameters that are None are left out."""
        query = urlencode({name: value for name, value in (params or {}).items() if value is not None})
        target = f"{path}?{query}" if query else path
        attempt = 0
        while True:
            attempt += 1
            try:
                return self._ask(target, sign)
            except BusyError as busy:
                wait = self._next_wait(path, attempt, busy)
            self._patience.sleep(wait)

    def _next_wait(self, path: str, attempt: int, busy: BusyError) -> float:
        """Seconds until the next attempt, or the error that ends the trying."""
        patience, where = self._patience, f"{self.host}{path}"
        most = patience.attempts if self._reached else min(patience.attempts, _UNREACHED_ATTEMPTS)
        if attempt >= most:
            hint = "" if self._reached else f"; is the network up? Else {self._advice}"
            times = "attempt" if attempt == 1 else "attempts"
            raise SourceError(f"{where}: no usable answer after {attempt} {times}, the last: {busy}{hint}") from None
        wait = max(patience.pause(attempt), busy.wait or 0.0)
        if wait > patience.longest:
            raise SourceError(
                f"{where}: {busy}; the server asks to wait {wait:.0f} s, longer than the {patience.longest:.0f} s that"
                " are waited here; come back after that, asking earlier prolongs a ban"
            ) from None
        log.log(
            logging.WARNING if wait >= _LONG_WAIT else logging.INFO,
            "%s: %s; waiting %.1f s before attempt %d of %d", where, busy, wait, attempt + 1, patience.attempts,
        )  # fmt: skip
        return wait

    def _ask(self, target: str, sign: Sign | None) -> Any:
        """One request and what its answer means."""
        path = target.partition("?")[0]
        headers = {"User-Agent": "kronos-candles", "Accept": "application/json", **(sign(target) if sign else {})}
        status, answer, data = self._send(Request(self._base + target, headers=headers), path)
        self._reached = True
        log.debug("GET %s%s: HTTP %d, %d bytes", self.host, path if sign else target, status, len(data))
        if self._budget is not None and (rest := self._budget.wait(answer)) > 0:
            log.info("%s: the weight for this minute is used up; pausing %.0f s", self.host, rest)
            self._ready = max(self._ready, self._patience.clock() + rest)
        if status in (418, 429):
            raise BusyError(f"HTTP {status}, too many requests", _retry_after(answer))
        if status == 408 or status >= 500:
            raise BusyError(f"HTTP {status}", _retry_after(answer))
        try:
            body = json.loads(data)
        except (ValueError, RecursionError):
            if status < 300:
                kind = answer.get_content_type()
                raise BusyError(f"the answer is not valid JSON ({len(data)} bytes of {kind})") from None
            body = None
        self._judge(status, body)
        if status >= 300:
            self._refuse(path, status)
        return body

    def _send(self, request: Request, path: str) -> tuple[int, Message, bytes]:
        """Wait for the pace, send, and read the whole answer."""
        patience = self._patience
        if (early := self._ready - patience.clock()) > 0:
            patience.sleep(early)
        self._ready = patience.clock() + self._interval
        try:
            response: HTTPResponse = self._opener.open(request, timeout=patience.timeout)
            with response:
                return response.status, response.headers, self._read(response)
        except (OSError, HTTPException) as error:
            reason = error.reason if isinstance(error, URLError) else error
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise SourceError(
                    f"{self.host}{path}: the server's certificate is not trusted ({_line(reason)}); check the address,"
                    " and the proxy where one is used"
                ) from None
            raise BusyError(_line(reason) or type(reason).__name__) from None

    def _read(self, response: HTTPResponse) -> bytes:
        """The whole body; one that trickles in for ever is given up, one that is cut off is no answer."""
        length = response.headers.get("Content-Length", "")
        wanted = int(length) if length.isdecimal() else None
        data, give_up = bytearray(), self._patience.clock() + 6 * self._patience.timeout
        while (wanted is None or len(data) < wanted) and (piece := response.read1(1 << 16)):
            data += piece
            if self._patience.clock() > give_up:
                raise BusyError("the answer takes too long")
        if wanted is not None and len(data) < wanted:
            raise BusyError(f"the answer was cut off after {len(data)} of {wanted} bytes")
        return bytes(data)

    def _refuse(self, path: str, status: int) -> NoReturn:
        where = f"{self.host}{path}: HTTP {status}"
        if status in (403, 451):
            raise SourceError(f"{where}: the server does not serve this network or region; {self._advice}")
        if status < 400:
            raise SourceError(f"{where}: the server sends elsewhere, which is not followed; {self._advice}")
        raise SourceError(f"{where}: the server refuses the request; if its address is wrong, {self._advice}")


def checked_url(text: str) -> str:
    """A base URL without a slash at its end, or an error that does not repeat what may be a password."""
    try:
        parts = urlsplit(text.strip())
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and text.isascii()
    except ValueError:
        good = False
    if not good:
        raise ConfigError("the base URL of an exchange is no web address; write one such as https://api.example.com")
    if parts.username or parts.password or parts.query or parts.fragment or re.search(r"[\s\x00-\x1f]", parts.geturl()):
        raise ConfigError(f"the base URL for {parts.hostname} may hold a host, a port and a path, and nothing else")
    return parts.geturl().rstrip("/")


def _retry_after(headers: Message) -> float | None:
    """The seconds that a server asks to wait, given as a number or as a date of its own clock."""
    text = headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    until, now = _date(text), _date(headers.get("Date"))
    return None if until is None or now is None else max(until - now, 0.0)


def _date(text: str | None) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp() if text else None
    except (TypeError, ValueError, OverflowError):
        return None


def _line(error: object) -> str:
    return " ".join(str(error).split())
