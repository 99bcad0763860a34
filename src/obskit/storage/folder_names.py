"""
Write the name of a service as that of a folder, one to one: two services never share one, on any file system.

File systems differ in what they tell apart (`Shop` and `shop`, composed and decomposed letters), in what they cut off
(a dot at the end), in what they give a meaning (`..`, `CON`) and in how long a name may be (255 bytes). So a folder's
name is made of small letters, digits, `_`, `-` and inner dots; each other byte of the service's name in UTF-8 is `%`
and two digits, and what is too long ends in `~` and a hash of the whole.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from obskit.late_patterns import late

MAX_LENGTH = 100  # of a folder's name; paths below it stay short of Windows' 260 characters
_KEPT_OF_LONG = 34  # characters that people know it by
_PLAIN = re.compile(rb"[a-z0-9_.-]")
_DEVICES = late(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)")  # of Windows, also with an ending
_FILES_BESIDE = "ai-budgets-"  # what once lay between the folders


def folder_name(service: str) -> str:
    """
    Return the folder's name of a service.
    """
    raw = service.encode("utf-8", "surrogatepass")
    name = "".join(chr(byte) if _PLAIN.match(bytes([byte])) else f"%{byte:02x}" for byte in raw)
    if name[:1] in ("", ".", "-") or _DEVICES.match(name) or name.startswith(_FILES_BESIDE):
        name = f"%{ord(name[0]):02x}{name[1:]}" if name else "%"
    if name.endswith("."):
        name = f"{name[:-1]}%2e"
    if len(name) > MAX_LENGTH:
        import hashlib

        name = f"{name[:_KEPT_OF_LONG]}~{hashlib.sha256(raw).hexdigest()}"
    return name


def service_name(folder: str) -> str | None:
    """
    Return the service that a folder is named after; None where its name was too long, or is no service's.
    """
    try:
        service = unquote_to_bytes(folder).decode("utf-8", "surrogatepass") if folder != "%" else ""
    except UnicodeDecodeError:
        return None
    return service if folder_name(service) == folder and "~" not in folder else None
