"""Installs fuxi_mtl and its models; tool settings are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
PACKAGE = (HERE / "fuxi_mtl" / "__init__.py").read_text(encoding="utf-8")
VERSION = re.search(r'^__version__ = "(.+)"$', PACKAGE, re.MULTILINE)[1]

# All lower bounds together were tried on Python 3.10; upper bounds keep out the next release that may
# break something.
REQUIRES = [
    "tensorflow>=2.19,<2.22",
    "keras>=3.12,<4",
    "numpy>=2.0,<3",
    "polars>=1.37.1,<3",
    "pandas>=2.2.2,<4",
    "pyarrow>=18,<27",
    "h5py>=3.11,<4",
    "pyyaml>=6.0.1,<7",
    "rich>=13.7,<16",
    "matplotlib>=3.9,<4",
    "scikit-learn>=1.5,<2",
    "threadpoolctl>=3.1,<4",
    "typing-extensions>=4.12,<5",
]
TENSORBOARD = ["tensorboard>=2.19,<2.22"]
MLFLOW = ["mlflow>=3.17,<4"]
WANDB = ["wandb>=0.31,<1"]
SWANLAB = ["swanlab>=0.10,<0.11"]
BROWSER_TEST = ["playwright>=1.65,<2"]
OPTUNA = ["optuna>=4.3,<6"]  # before, the lock of a killed process is waited for without end
RAY = ["ray[train]>=2.60,<3"]
ONNX = ["onnx>=1.19,<2", "tf2onnx>=1.17,<2"]  # onnx 1.18 cannot write bfloat16, tf2onnx 1.16 not be installed
DOCS = [
    "mkdocs-material>=9.6,<10",
    "mkdocs-static-i18n>=1.3,<2",
    "jieba>=0.42.1,<1",  # finds Chinese words for the search of the site
    "nbclient>=0.10,<1",
    "ipykernel>=6.29,<8",
]
REMOTE = ["fsspec>=2024.6.1,<2027", "s3fs>=2024.6.1,<2027"]
GCS = ["fsspec>=2024.6.1,<2027", "gcsfs>=2024.6.1,<2027"]
SERVING_TEST = [
    *ONNX,
    "onnxruntime>=1.20,<2",
    "openvino>=2026.0,<2027",  # before, an input that a model does not read is none
    "ai-edge-litert>=1.2,<3",
    "tensorflow-serving-api>=2.19,<2.22",
    "grpcio>=1.68,<2",
]
TEST = [
    "pytest>=8.3,<10",
    "pytest-xdist>=3.8.0,<4",
    "scipy>=1.13,<2",
    "ruff>=0.12,<0.18",
    "mypy>=2.0,<3",
    "types-PyYAML>=6.0.12,<7",
    "setuptools>=77.0.1,<90",
    *TENSORBOARD,
    *OPTUNA,
]

setup(
    name="fuxi-mtl",
    version=VERSION,
    description="Multi-task recommender models on TensorFlow and Keras 3, in FuxiCTR's style",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    # Not under the folder's own name, which FuxiCTR's wheel and every clone of it has, too.
    packages=[*find_packages(include=["fuxi_mtl", "fuxi_mtl.*"]), "fuxi_mtl_zoo"],
    package_dir={"fuxi_mtl_zoo": "model_zoo"},
    package_data={"fuxi_mtl": ["py.typed"], "fuxi_mtl_zoo": ["guides/*.md", "py.typed"]},
    python_requires=">=3.10",
    install_requires=REQUIRES,
    extras_require={
        "gpu": ["tensorflow[and-cuda]>=2.19,<2.22"],
        "tensorboard": TENSORBOARD,
        "mlflow": MLFLOW,
        "wandb": WANDB,
        "swanlab": SWANLAB,
        "optuna": OPTUNA,
        "ray": RAY,
        "onnx": ONNX,
        "remote": REMOTE,
        "gcs": GCS,
        "remote-test": [*REMOTE, "moto[server]>=5.1,<6"],
        "serving-test": SERVING_TEST,
        "browser-test": BROWSER_TEST,
        "docs": DOCS,
        "test": TEST,
    },
    entry_points={"console_scripts": ["fuxi-mtl = fuxi_mtl.cli.commands:main"]},
    keywords=[
        "multi-task learning",
        "recommender systems",
        "ranking",
        "click-through rate",
        "conversion rate",
        "MMoE",
        "PLE",
        "ESMM",
        "FuxiCTR",
        "Keras",
        "TensorFlow",
    ],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Natural Language :: English",
        "Natural Language :: Chinese (Simplified)",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
