"""The Great Expectations suites: the only home of that library."""

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from trading.domain.arrays import IntArray
from trading.errors import ConfigError
from trading.store.quality.settings import Expectation

if TYPE_CHECKING:
    import pandas as pd

_NONE: IntArray = np.zeros(0, dtype=np.int64)


def run_suite(
    kind: str,
    numbers: Mapping[str, "np.ndarray"],
    texts: Mapping[str, tuple[IntArray, list[str]]],
    expectations: Sequence[Expectation],
) -> list[tuple[Expectation, IntArray]]:
    """Run one kind's suite once; return the failing row numbers of each expectation.

    Parameters
    ----------
    numbers : mapping of str to ndarray
        The columns that hold numbers.
    texts : mapping of str to (codes, values)
        The columns that hold text, as the code of each row and the text of each code: a check
        of a text is made once for each of its values.
    """
    import pandas as pd

    by_value = [item for item in expectations if item.kwargs.get("column") in texts]
    by_row = [item for item in expectations if item.kwargs.get("column") not in texts]
    failing = _failing_values(
        kind,
        tuple(item.model_dump_json() for item in by_value),
        tuple((name, tuple(values)) for name, (_, values) in texts.items()),
    )
    found = []
    for item, values in zip(by_value, failing, strict=True):
        codes = texts[item.kwargs["column"]][0]
        found.append((item, np.flatnonzero(np.isin(codes, values)) if values else _NONE))
    rows = _run(kind, pd.DataFrame(dict(numbers)), by_row)
    return found + [(by_row[at], failed) for at, failed in rows]


@lru_cache(maxsize=16)
def _failing_values(
    kind: str, expectations: tuple[str, ...], texts: tuple[tuple[str, tuple[str, ...]], ...]
) -> tuple[tuple[int, ...], ...]:
    """Return the values that fail each expectation, by number.

    Batches of one source share their values, and a run of the suite costs as much as a year of
    rows.
    """
    import pandas as pd

    frame = pd.DataFrame({name: pd.Series(values, dtype="object") for name, values in texts})
    items = [Expectation.model_validate_json(text) for text in expectations]
    found = dict(_run(f"{kind} 값", frame, items))
    return tuple(tuple(found.get(at, _NONE).tolist()) for at in range(len(items)))


def load() -> None:
    """Import what the checks are made with, ahead of the first batch: it takes seconds."""
    # Great Expectations reports its use over the network unless it is told not to before import.
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations  # noqa: F401


def _run(
    name: str, frame: "pd.DataFrame", expectations: Sequence[Expectation]
) -> list[tuple[int, IntArray]]:
    if not expectations or frame.empty:
        return []
    load()
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig
    from great_expectations.expectations.expectation_configuration import (
        ExpectationConfiguration,
    )

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    suite = context.suites.add(
        gx.ExpectationSuite(
            name=name,
            expectations=[
                ExpectationConfiguration(type=item.type, kwargs=item.kwargs)
                for item in expectations
            ],
        )
    )
    data = (
        context.data_sources.add_pandas(name)
        .add_dataframe_asset(name)
        .add_batch_definition_whole_dataframe(name)
    )
    definition = gx.ValidationDefinition(name=name, data=data, suite=suite)
    outcome = context.validation_definitions.add(definition).run(
        batch_parameters={"dataframe": frame}, result_format={"result_format": "COMPLETE"}
    )
    # Results come grouped by column, so each is found again by its own configuration.
    return [
        (position, _failing(item, _result_of(item, outcome.results)))
        for position, item in enumerate(expectations)
    ]


def _result_of(item: Expectation, results: Sequence[Any]) -> Any:
    return next(
        entry
        for entry in results
        if (made := entry.expectation_config) is not None
        and made.type == item.type
        and item.kwargs.items() <= made.kwargs.items()
    )


def _failing(item: Expectation, result: Any) -> IntArray:
    # One exception, or one for each metric that could not be computed.
    told = result.exception_info
    if any(
        isinstance(info, dict) and info.get("raised_exception") for info in (told, *told.values())
    ):
        raise ConfigError(f"config/quality의 검사를 할 수 없음: {item.title}")
    failing = result.result.get("unexpected_index_list") or []
    return np.unique(np.array(failing, dtype=np.int64))
