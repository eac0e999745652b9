"""One lab for a module of tests."""

from collections.abc import Iterator
from typing import Any

import pytest
from pyVim.connect import Disconnect

from tests.component.lab.support import connect
from tests.lab import Lab


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("lab"), lease_timeout=60) as running:
        yield running


@pytest.fixture(autouse=True)
def _undisturbed(lab: Lab) -> Iterator[None]:
    yield
    lab.clear()


@pytest.fixture
def api(lab: Lab) -> Iterator[Any]:
    instance = connect(lab)
    yield instance
    Disconnect(instance)
