"""URLs such as ``s3://bucket/day=1/part.parquet``: told from paths, opened, and shown without secrets."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_URL = re.compile(r"([a-z][a-z0-9+.-]+)://(?=\S)", re.IGNORECASE)
_PATH = re.compile(r"([a-z][a-z0-9+.-]+):/(?!/)", re.IGNORECASE)  # what pathlib makes of one
_LOST = re.compile(r":*\.?")  # parts that pathlib drops, empty ones and dots, and what stands for them
_USER = re.compile(r"([a-z][a-z0-9+.-]+)://([^\s/]*)@", re.IGNORECASE)
_AZURE = ("abfs", "abfss", "az", "wasb", "wasbs")  # a container stands where others have a user
_QUERY = re.compile(r"([a-z][a-z0-9+.-]+://[^\s?]*)\?[\w.%-]+=\S*", re.IGNORECASE)  # no pattern part_?.csv
_NEEDS = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "hdfs": "pyarrow with Hadoop's libhdfs"}
_NEEDS |= dict.fromkeys(("abfs", "az"), "adlfs")


class RemoteError(ValueError):
    """What a URL names cannot be used."""


def is_url(name: str | Path) -> bool:
    """Whether this names something elsewhere, as a URL or as the path that :func:`as_path` makes of it."""
    return bool(_URL.match(name) if isinstance(name, str) else _PATH.match(str(name)))


def as_path(name: str | Path) -> Path:
    """A URL as a path, whose names, suffix and folders such as ``day=1`` are those of the URL.

    Parts that pathlib would drop have a colon before them: ``file:///a`` is ``file:/:/a``. What is no URL
    is itself.
    """
    if not (isinstance(name, str) and is_url(name)):
        return Path(name)
    scheme, _, rest = name.partition("://")
    parts = (f":{part}" if _LOST.fullmatch(part) else part for part in rest.rstrip("/").split("/"))
    return Path(f"{scheme}:/{'/'.join(parts)}")


def as_url(name: str | Path) -> str:
    """The URL of such a path."""
    found = None if isinstance(name, str) else _PATH.match(str(name))
    if found is None:
        return str(name)
    parts = str(name)[found.end() :].split("/")
    return f"{found[1]}://{'/'.join(part[1:] if _LOST.fullmatch(part) else part for part in parts)}"


def name_of(file: Path) -> str:
    """What messages call a file: its path, or its URL without secrets."""
    return without_secrets(as_url(file)) if is_url(file) else str(file)


def without_secrets(text: str) -> str:
    """A text in which URLs have neither users with passwords nor queries, which may be signatures."""
    return _QUERY.sub(r"\1?***", _USER.sub(_without_user, text))


def _without_user(found: re.Match[str]) -> str:
    scheme, user = found.groups()
    is_container = scheme.lower() in _AZURE and user and not set(user) & set(":@")
    return found[0] if is_container else f"{scheme}://***@"


def check_url(key: str, url: str) -> None:
    """Refuses a URL that holds a secret: it would stand in stanzas, logs and runs.

    Raises:
        RemoteError: It does.
    """
    if is_url(url) and without_secrets(url) != url:
        raise RemoteError(
            f"{key}: {without_secrets(url)} holds a user, password or signature, which would stand in logs "
            "and runs. Leave it out: the library of the scheme finds credentials in profiles and environment "
            "variables of its own, such as AWS_PROFILE."
        )


def file_system(url: str, key: str = "") -> tuple[Any, str]:
    """The file system of a URL, and the path in it.

    Args:
        url: The URL.
        key: What errors call it.

    Raises:
        RemoteError: A package is missing, or nobody knows the scheme.
    """
    place = f"{key}: " if key else ""
    check_url(key, url)
    try:
        import fsspec  # An extra.
    except ImportError as error:
        raise RemoteError(
            f"{place}{url} needs the package fsspec: pip install 'fuxi-mtl[remote]'."
        ) from error
    scheme = urlsplit(url).scheme.lower()
    try:
        return fsspec.core.url_to_fs(url)
    except ImportError as error:
        package = _NEEDS.get(scheme, "a package")
        raise RemoteError(f"{place}{url} needs {package}: {str(error).splitlines()[0]}") from error
    except ValueError as error:
        raise RemoteError(
            f"{place}{url}: {scheme}:// is no scheme that fsspec knows ({str(error).splitlines()[0]})."
        ) from error


def files_at(pattern: str, key: str = "") -> list[str]:
    """The URLs of the files that a pattern names, which may be one file; ``**`` stands for any folders.

    Raises:
        RemoteError: The service cannot be asked, or no URL opens a file that it names.
    """
    system, path = file_system(pattern, key)
    system.invalidate_cache()
    with errors_of(pattern, key):
        if not re.search(r"[*?\[]", path):
            return [pattern] if system.isfile(path) else []
        found = system.glob(path, detail=True)
    files = sorted(name for name, about in found.items() if about.get("type") == "file")
    try:
        return list(_urls_of(files, pattern, system, path))
    except RemoteError as error:
        raise RemoteError(f"{f'{key}: ' if key else ''}{pattern} finds {error}") from None


def _urls_of(files: Iterable[str], pattern: str, system: Any, path: str) -> Iterator[str]:
    """What opens the files that a pattern has found, on the host that it names.

    Some systems have the host in their paths (the bucket of s3), others not (hdfs), or elsewhere (abfs). So
    the beginning in which a pattern and its path differ is exchanged.

    Raises:
        RemoteError: Nothing opens one: a ``?`` in its name begins a query.
    """
    url, *archive = pattern.partition("::")  # what a file lies in
    url, path = url.rstrip("/"), path.rstrip("/")
    backwards = zip(reversed(url), reversed(path), strict=False)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], backwards))
    host, own = url[: len(url) - same], path[: len(path) - same]
    options = system._get_kwargs_from_urls(url)
    for name in map(system._strip_protocol, files):
        for each in (host + name.removeprefix(own), system.unstrip_protocol(name)):
            if system._strip_protocol(each) == name and system._get_kwargs_from_urls(each) == options:
                yield each + "".join(archive)
                break
        else:
            raise RemoteError(f"{name!r}, which no URL opens: rename it.")


@contextmanager
def errors_of(url: str, key: str = "", done: str = "read") -> Iterator[None]:
    """Turns errors of a file system into ours, with the URL and without secrets.

    Raises:
        RemoteError: What is behind the URL cannot be used.
    """
    try:
        yield
    except RemoteError:
        raise
    except FileNotFoundError as error:
        raise RemoteError(f"{f'{key}: ' if key else ''}{without_secrets(url)} is not there.") from error
    # Of the service: no credentials, no such bucket, no network. Its libraries have no common class for them.
    except Exception as error:
        if not _is_of_service(error):
            raise
        reason = without_secrets((str(error).strip() or type(error).__name__).splitlines()[0])
        raise RemoteError(
            f"{f'{key}: ' if key else ''}{without_secrets(url)} cannot be {done}: {reason}"
        ) from error


def _is_of_service(error: Exception) -> bool:
    libraries = ("botocore", "aiobotocore", "aiohttp", "gcsfs", "google", "s3fs", "fsspec", "pyarrow", "hdfs")
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] in libraries
