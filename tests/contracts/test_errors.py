from __future__ import annotations

import pickle
from concurrent.futures import ProcessPoolExecutor

import pytest

from contracts.errors import ConfigError, GateError, InputError, IntegrityError, ResourceError, SmolflowError, StageError

KINDS = [ConfigError, InputError, IntegrityError, GateError, ResourceError, StageError]


def fail(kind: type[SmolflowError]) -> None:
    raise kind("the disk is full", do="free some space", where="store")


def test_an_error_says_what_where_and_what_to_do() -> None:
    error = ResourceError("the disk is full", do="free some space", where="store")
    assert str(error) == "resource: the disk is full [store]\n  What to do: free some space"
    assert str(InputError("no text", do="give some")) == "input: no text\n  What to do: give some"


@pytest.mark.parametrize("kind", KINDS)
def test_errors_survive_pickling(kind: type[SmolflowError]) -> None:
    error = kind("the disk is full", do="free some space", where="store")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (again.what, again.do, again.where, str(again)) == (error.what, error.do, error.where, str(error))


def test_errors_come_whole_out_of_another_process() -> None:
    with ProcessPoolExecutor(1) as pool, pytest.raises(ConfigError, match="free some space") as caught:
        pool.submit(fail, ConfigError).result()
    assert caught.value.where == "store"


def test_codes_are_stable_and_distinct() -> None:
    assert [kind.code for kind in KINDS] == ["config", "input", "integrity", "gate", "resource", "stage"]


def test_an_error_without_advice_cannot_be_made() -> None:
    with pytest.raises(TypeError):
        SmolflowError("something")  # type: ignore[call-arg]
