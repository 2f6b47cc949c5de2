"""Keys and conf files: the key web.conf is the file /etc/sockreg/etcd-web.conf."""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Mapping

from sockreg.errors import ConfigError
from sockreg.terms import CONF_DIRECTORIES

PREFIX = f"{CONF_DIRECTORIES[0]}/etcd-"
_SUFFIX = ".conf"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,199}")


def wanted(values: Mapping[str, bytes]) -> dict[str, str]:
    """The files that keys mean: path -> text. Raises ConfigError for a key that names none."""
    files = {}
    for name, value in sorted(values.items()):
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"the key rules/{name} names no file: letters, digits and _.@- are allowed"
            )
        path = f"{PREFIX}{name.removesuffix(_SUFFIX)}{_SUFFIX}"
        if path in files:
            raise ConfigError(f"two keys name {path}")
        files[path] = value.decode("utf-8", "surrogateescape")
    return files


def present() -> dict[str, str]:
    """The files that are there."""
    files = {}
    for path in glob.glob(f"{glob.escape(PREFIX)}*{_SUFFIX}"):
        try:
            with open(path, "rb") as file:
                files[path] = file.read().decode("utf-8", "surrogateescape")
        except FileNotFoundError:
            continue
    return files


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str | None]:
    """What to write to come from one to the other; None for a file that goes."""
    gone = dict.fromkeys(before.keys() - after.keys())
    return {**gone, **{path: text for path, text in after.items() if before.get(path) != text}}


def digest(files: Mapping[str, str]) -> str:
    """A short name for these files: the same on all hosts that have the same."""
    hashed = hashlib.sha256()
    for path, text in sorted(files.items()):
        name = os.path.basename(path)
        for part in (name, text):
            data = part.encode("utf-8", "surrogateescape")
            hashed.update(b"%d:%b" % (len(data), data))
    return hashed.hexdigest()[:12]
