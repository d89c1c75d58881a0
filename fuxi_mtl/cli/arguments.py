"""Types of arguments."""

import argparse

from fuxi_mtl.files.remote import is_url, without_secrets


def folder_here(text: str) -> str:
    """A folder of this machine.

    Raises:
        ArgumentTypeError: It is a URL.
    """
    if is_url(text):
        raise argparse.ArgumentTypeError(
            f"{without_secrets(text)} is a URL: name a folder of this machine, and copy it from there."
        )
    return text
