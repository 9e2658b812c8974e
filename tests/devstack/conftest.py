"""A folder for stacks."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that other users can write to, unlike pytest's own."""
    path = Path(tempfile.mkdtemp(prefix="test-stack-"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)
