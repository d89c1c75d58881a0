"""Files that lie elsewhere: URLs of fsspec, read by way of local copies, written locally and uploaded.

Nothing here knows a credential: those libraries find theirs themselves (profiles, environment, instance
roles). A URL that holds one is refused.
"""

from fuxi_mtl.files.remote.copies import Copies, about, version_of
from fuxi_mtl.files.remote.uploads import (
    MANIFEST,
    download_folder,
    put_text,
    read_manifest,
    same_as,
    upload_file,
    upload_folder,
    uploaded,
)
from fuxi_mtl.files.remote.urls import (
    RemoteError,
    as_path,
    as_url,
    check_url,
    file_system,
    files_at,
    is_url,
    name_of,
    without_secrets,
)

__all__ = [
    "MANIFEST",
    "Copies",
    "RemoteError",
    "about",
    "as_path",
    "as_url",
    "check_url",
    "download_folder",
    "file_system",
    "files_at",
    "is_url",
    "name_of",
    "put_text",
    "read_manifest",
    "same_as",
    "upload_file",
    "upload_folder",
    "uploaded",
    "version_of",
    "without_secrets",
]
