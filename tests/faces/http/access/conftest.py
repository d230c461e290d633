"""What tests of access share."""

import pytest

from tests.support.bench import Bench
from tests.support.visitors import House


@pytest.fixture
def house(bench: Bench) -> House:
    return House(bench)
