"""What others wrote is refused in words or taken: no parser fails in any other way, whatever it is given."""

import json
import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))  # the targets stand beside this file, for atheris too

from targets import TARGETS  # noqa: E402

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
FEW = settings(deadline=None, suppress_health_check=list(HealthCheck), database=None)


@st.composite
def bent(draw, seeds):
    """Bytes like those that are right: some cut out, some put in, some doubled."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 4))):
        begin = draw(st.integers(0, len(data)))
        end = draw(st.integers(begin, min(len(data), begin + 20)))
        put = draw(
            st.sampled_from(
                [b"", b"\x00", b"\xff", b"\n\n", b"%", b"$", b"{", b"[", b'"', b"://", b"@", b"9" * 400, data[begin:end] * 2]
            )
        )
        data = data[:begin] + put + data[end:]
    return data


@st.composite
def changed(draw, seeds):
    """JSON like that which is right, with other values, of other types, in some places."""

    def walk(value):
        if draw(st.integers(0, 5)) == 0:
            return draw(ANYTHING)
        if isinstance(value, dict):
            return {name: walk(each) for name, each in value.items() if draw(st.integers(0, 9))}
        if isinstance(value, list):
            return [walk(each) for each in value]
        return value

    return json.dumps(walk(json.loads(draw(st.sampled_from(seeds)))), ensure_ascii=draw(st.booleans())).encode(
        "utf-8", "surrogatepass"
    )


def is_json(seed):
    try:
        json.loads(seed)
    except ValueError:
        return False
    return True


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TARGETS)
def test_a_parser_refuses_in_the_words_that_it_promises(name) -> None:
    """Any bytes, bytes like the right ones, and right JSON with wrong values in it."""
    target = TARGETS[name]
    inputs = [st.binary(max_size=200), bent(target.seeds)]
    if seeds := [seed for seed in target.seeds if is_json(seed)]:
        inputs.append(changed(seeds))

    @settings(FEW, max_examples=int(os.environ.get("FUZZ_EXAMPLES", "15" if target.dear else "80")))
    @given(st.one_of(inputs))
    @example(b"")
    @example(b"[" * 100_000)
    @example(b'{"a":' * 100_000)
    @example(b"9" * 5000)
    @example(b"\xff\xfe")
    def holds(data) -> None:
        target.run(data)

    holds()


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_are_taken_or_known(name) -> None:
    """A target that refused its own seeds would only ever try the way out."""
    for seed in TARGETS[name].seeds:
        TARGETS[name].run(seed)
