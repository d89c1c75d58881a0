"""Writes the lower bounds of setup.py, those of the extra ``test`` too, as exact versions, one a line."""

import re
import runpy
import sys

import setuptools

setuptools.setup = lambda **_: None  # what stands in the file is read, nothing is built
package = runpy.run_path("setup.py")
for requirement in (*package["REQUIRES"], *package["TEST"]):
    sys.stdout.write(re.sub(r"^([\w-]+)>=([\d.]+),<[\d.]+$", r"\1==\2", requirement) + "\n")
