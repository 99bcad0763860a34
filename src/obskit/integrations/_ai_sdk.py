"""
The description of an SDK: its inference URLs, its hosts and its hooks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import RLock
from types import MappingProxyType
from typing import Any, NamedTuple

from obskit.ai.provider_hosts import provider_of
from obskit.ai.stream import Accumulator
from obskit.integrations._patches import Patches

Wrapper = Callable[["Sdk", Callable[..., Any]], Callable[..., Any]]


class Path(NamedTuple):
    """
    The purpose of an API URL, and how its streams are read.

    Attributes:
        lists: Where it has a price list of its own: provider to the name of that.
    """

    operation: str
    accumulate: Accumulator
    lists: Mapping[str, str] = MappingProxyType({})


@dataclass
class Sdk:
    """
    One SDK: where it sends its requests, and how the provider that is paid is known.

    Attributes:
        name: Of the package, and of the extra.
        paths: The URLs that are inference, without their query.
        patterns: Those that have ids in them.
        polls: Those that are asked for a reply that was not there at first.
        hosts: Host, or its end after a dot, to provider.
        default: The provider of a host that is not known.
        request_id: The header that carries it.
        stream_classes: Further classes with a `close()` that leaves a stream, as (module, class).
        is_wanted: True between `install()` and `remove()`, whether the SDK has been imported by then or not.
        is_on: False once it is taken back; whoever has wrapped our functions still calls them.
        unknown_requests: Another object after each request of which no call is known.
        tells_retries: True where it has a function that waits between attempts; else a header says how many there were.
    """

    name: str
    paths: Mapping[str, Path]
    hosts: Mapping[str, str]
    default: str
    request_id: str
    stream_classes: tuple[tuple[str, str], ...] = ()
    patterns: tuple[tuple[str, Path], ...] = ()
    polls: tuple[tuple[str, Path], ...] = ()
    is_wanted: bool = False
    is_awaited: bool = False
    is_on: bool = False
    unknown_requests: object = None
    tells_retries: bool = False
    mapped: dict[str, str] = field(default_factory=dict)
    patches: Patches = field(default_factory=Patches)
    providers: dict[str, str] = field(default_factory=dict)
    lock: Any = field(default_factory=RLock)

    def provider_of(self, host: str) -> str:
        """
        Return the provider at a host: as the application set it, else by the host's name.
        """
        found = self.providers.get(host)
        if found is None:
            found = provider_of(host, {**self.hosts, **self.mapped}) or self.default
            if len(self.providers) < 1000:
                self.providers[host] = found
        return found

    def path_of(self, method: str, url: str) -> Path | None:
        """
        Return the purpose of a request; None if it is neither inference nor a poll for a reply.
        """
        url = url.partition("?")[0]
        found = self.paths.get(url) if method == "post" else None
        if found is None:
            patterns = {"post": self.patterns, "get": self.polls}.get(method, ())
            found = next((path for pattern, path in patterns if re.fullmatch(pattern, url)), None)
        return found
