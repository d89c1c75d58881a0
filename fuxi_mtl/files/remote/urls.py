"""URLs such as ``s3://bucket/day=1/part.parquet``: told from paths, opened, and shown without secrets."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_URL = re.compile(r"([a-z][a-z0-9+.-]+)://(?=\S)", re.IGNORECASE)
_PATH = re.compile(r"([a-z][a-z0-9+.-]+):/(?!/)", re.IGNORECASE)  # what pathlib makes of one
_USER = re.compile(r"([a-z][a-z0-9+.-]+://)[^\s/@]*@", re.IGNORECASE)
_QUERY = re.compile(r"([a-z][a-z0-9+.-]+://[^\s?]*)\?[\w.%-]+=\S*", re.IGNORECASE)  # no pattern part_?.csv
_NEEDS = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "hdfs": "pyarrow with Hadoop's libhdfs"}


class RemoteError(ValueError):
    """What a URL names cannot be used."""


def is_url(name: str | Path) -> bool:
    """Whether this names something elsewhere, as a URL or as the path that :func:`as_path` makes of it."""
    return bool(_URL.match(name) if isinstance(name, str) else _PATH.match(str(name)))


def as_path(url: str) -> Path:
    """A URL as a path, whose names, suffix and folders such as ``day=1`` are those of the URL."""
    return Path(url)


def as_url(name: str | Path) -> str:
    """The URL of such a path."""
    return name if isinstance(name, str) else _PATH.sub(r"\1://", str(name), count=1)


def name_of(file: Path) -> str:
    """What messages call a file: its path, or its URL without secrets."""
    return without_secrets(as_url(file)) if is_url(file) else str(file)


def without_secrets(text: str) -> str:
    """A text in which URLs have neither users with passwords nor queries, which may be signatures."""
    return _QUERY.sub(r"\1?***", _USER.sub(r"\1***@", text))


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
        RemoteError: The service cannot be asked.
    """
    system, path = file_system(pattern, key)
    system.invalidate_cache()
    with errors_of(pattern, key):
        if not re.search(r"[*?\[]", path):
            return [pattern] if system.isfile(path) else []
        found = system.glob(path, detail=True)
    files = [name for name, about in found.items() if about.get("type") == "file"]
    scheme = pattern.partition("://")[0]
    return [f"{scheme}://{system._strip_protocol(name).lstrip('/')}" for name in sorted(files)]


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
