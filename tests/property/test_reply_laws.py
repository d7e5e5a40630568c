"""Whatever nonsense a REST answer holds, it is read or refused by name."""

import importlib
import inspect
import pkgutil
from datetime import UTC, date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trading.wire
from trading.errors import TradingError

NOW = datetime(2024, 1, 5, 1, 0, tzinfo=UTC)
# What a reader may be given beside the body.
MORE = {"received": NOW, "symbol": "AAPL", "limit": 1, "today": date(2024, 1, 5), "width": 100}

texts = st.one_of(
    st.sampled_from(("", " ", "0", "-1", "1.5", "Y", "N", "20240105", "093000", "NASD", "02")),
    st.sampled_from(("99999999", "1E99999999", "NaN", "Infinity", "9" * 5000, "²", "1_0", "가")),
    st.text(max_size=12),
)
scalars = st.one_of(texts, st.none(), st.booleans(), st.integers(), st.floats())


class Nonsense(dict):
    """An object that has every field, each drawn when somebody asks for it."""

    def __init__(self, data, depth=0):
        super().__init__(known=1)
        self._data = data
        self._depth = depth
        self._absent = set()

    def _drawn(self):
        kinds = ["scalar", "scalar", "scalar", "object", "list"] if self._depth < 2 else ["scalar"]
        match self._data.draw(st.sampled_from(kinds)):
            case "object":
                return Nonsense(self._data, self._depth + 1)
            case "list":
                count = self._data.draw(st.integers(0, 2))
                deeper = [Nonsense(self._data, self._depth + 1) for _ in range(count)]
                return [*deeper, *self._data.draw(st.lists(scalars, max_size=1))]
            case _:
                return self._data.draw(scalars)

    def __contains__(self, key):
        if key not in self._absent and not super().__contains__(key):
            if self._data.draw(st.integers(0, 9)) == 0:
                self._absent.add(key)
            else:
                self[key] = self._drawn()
        return key not in self._absent

    def __getitem__(self, key):
        if key not in self:
            raise KeyError(key)
        return super().__getitem__(key)

    def get(self, key, default=None):
        return self[key] if key in self else default  # noqa: SIM401


def readers():
    """Return every function of ``trading.wire`` that reads an answer's body."""
    found = {}
    for module in pkgutil.iter_modules(trading.wire.__path__):
        for name, function in vars(importlib.import_module(f"trading.wire.{module.name}")).items():
            if not (name.startswith("parse_") and inspect.isfunction(function)):
                continue
            first, *rest = inspect.signature(function).parameters
            if first == "body" and set(rest) <= MORE.keys():
                found[f"{function.__module__.rpartition('.')[2]}.{name}"] = (function, rest)
    return found


READERS = readers()


@pytest.mark.parametrize("name", sorted(READERS))
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_nonsense_is_refused_by_name(name, data):
    """No reader fails but with an error of our own."""
    function, rest = READERS[name]

    try:
        function(Nonsense(data), **{argument: MORE[argument] for argument in rest})
    except TradingError as error:
        assert str(error)
