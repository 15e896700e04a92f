"""The compiled part: its own rules. The other tests have those that hold for both classes."""

from __future__ import annotations

import copy
import inspect
import os
import pickle
import pydoc
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from sseparse import EventTooLarge, LineDecoder, LocalProtocolError, ServerSentEvent, SSEDecoder
from tests.support.classes import in_python

if in_python(SSEDecoder) is SSEDecoder:
    pytest.skip("the compiled part was not built", allow_module_level=True)

Compiled: Any = SSEDecoder
InPython: Any = in_python(SSEDecoder)
SLOTS = InPython.__slots__

PAIRS = [(cls, in_python(cls)) for cls in (SSEDecoder, LineDecoder)]
PUBLIC = [
    pytest.param(getattr(compiled, name), value, id=f"{compiled.__name__}.{name}")
    for compiled, python in PAIRS
    for name, value in vars(python).items()
    if not name.startswith("_")
]


def python(code: str, **environment: str) -> str:
    """Run `code` in a fresh interpreter and return what it prints."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        check=True,
        text=True,
        env=os.environ | environment,
    )
    return result.stdout.strip()


class TestChoice:
    CODE = (
        "import sseparse as s; print({hasattr(c, '__wrapped__') "
        "for c in (s.SSEDecoder, s.LineDecoder, s.ServerSentEvent, s.Block)})"
    )

    @pytest.mark.slow
    def test_the_compiled_classes_serve(self) -> None:
        assert python(self.CODE, SSEPARSE_PURE_PYTHON="0") == "{True}"

    @pytest.mark.slow
    def test_an_environment_variable_forces_those_in_python(self) -> None:
        assert python(self.CODE, SSEPARSE_PURE_PYTHON="1") == "{False}"

    @pytest.mark.slow
    def test_without_the_compiled_part_those_in_python_serve(self) -> None:
        hidden = "import sys; sys.modules['sseparse._speedups'] = None; "
        assert python(hidden + self.CODE, SSEPARSE_PURE_PYTHON="0") == "{False}"


class TestFace:
    @pytest.mark.parametrize(("compiled", "python"), PAIRS)
    def test_it_has_the_same_names(self, compiled: Any, python: Any) -> None:
        names, expected = (
            {name for name in vars(cls) if not name.startswith("_")} for cls in (compiled, python)
        )
        assert names == expected

    @pytest.mark.parametrize(("compiled", "python"), PUBLIC)
    def test_each_says_the_same_of_itself(self, compiled: Any, python: Any) -> None:
        doc = inspect.getdoc(compiled) or ""
        assert doc == inspect.getdoc(python)
        assert doc.partition("\n")[0] in pydoc.plain(pydoc.render_doc(compiled.__objclass__))

    @pytest.mark.parametrize(("compiled", "python"), PAIRS)
    def test_the_class_says_the_same_of_itself(self, compiled: Any, python: Any) -> None:
        assert compiled.__doc__ == python.__doc__
        for name in ("", "feed", "close"):
            parameters, expected = (
                inspect.signature(
                    getattr(cls(), name) if name else cls, follow_wrapped=False
                ).parameters.values()
                for cls in (compiled, python)
            )
            assert [(p.name, p.kind, p.default) for p in parameters] == [
                (p.name, p.kind, p.default) for p in expected
            ]

    def test_it_can_be_subscripted_as_in_annotations(self) -> None:
        assert Compiled[ServerSentEvent].__origin__ is Compiled

    def test_it_can_be_subclassed(self) -> None:
        class Named(Compiled):  # type: ignore[misc]
            name = "x"

        decoder = Named(comments=True)
        decoder.note = "y"
        assert decoder.feed(b"data: 1\n\n") == [ServerSentEvent(data="1")]

    def test_an_event_is_what_the_class_makes(self) -> None:
        [event] = Compiled().feed(b"event: a\nid: 1\nretry: 2\ndata: b\n\n")
        assert type(event) is ServerSentEvent
        assert event == ServerSentEvent("a", "b", "1", 2)
        assert pickle.loads(pickle.dumps(event)) == copy.deepcopy(event) == event
        with pytest.raises(AttributeError):
            setattr(event, "data", "c")  # noqa: B010


class TestState:
    STREAM = b"id: 7\nretry: 10\nevent: e\ndata: a\ndata: \xff\n: c\nda"

    @pytest.mark.parametrize("end", range(len(STREAM) + 1))
    @pytest.mark.parametrize(("first", "second"), [(Compiled, InPython), (InPython, Compiled)])
    def test_each_class_goes_on_from_the_others(
        self, first: type[Any], second: type[Any], end: int
    ) -> None:
        one = first(last_event_id="é", comments=True)
        one.feed(self.STREAM[:end])
        other = second()
        other.__setstate__(one.__getstate__())
        assert other.__getstate__() == one.__getstate__()
        rest = self.STREAM[end:] + b"ta: z\n\ndata: q\n\n"
        assert other.feed(rest) == one.feed(rest)
        assert other.last_event_id == one.last_event_id
        assert other.reconnection_time == one.reconnection_time

    @pytest.mark.slow
    def test_a_pickle_is_opened_where_nothing_is_compiled(self) -> None:
        decoder = Compiled()
        decoder.feed(b"data: a")
        code = (
            f"import pickle; d = pickle.loads({pickle.dumps(decoder)!r}); print(d.feed(b'\\n\\n'))"
        )
        assert python(code, SSEPARSE_PURE_PYTHON="1") == repr([ServerSentEvent(data="a")])

    @pytest.mark.parametrize(
        "change",
        [
            {"_tail": bytearray(b"x")},
            {"_tail": b"x" * 100},
            {"_tail": b"\xef\xbb\xbf", "_at_start": True},
            {"_data": 7},
            {"_over": "coffee"},
            {"_over": None},
            {"_limit": 0},
            {"_limit": 2**80},
            {"_limit": None},
            {"_size": -1},
            {"_size": 21},
            {"_retry": "1"},
            {"_retry": 2**80},
            {"_last_event_id": b"1"},
            {"_event_type": 7},
        ],
        ids=repr,
    )
    def test_what_is_no_state_is_refused(self, change: dict[str, Any]) -> None:
        decoder = Compiled(max_event_size=20)
        state = dict(zip(SLOTS, decoder.__getstate__(), strict=True))
        with pytest.raises((ValueError, TypeError, OverflowError)):
            decoder.__setstate__(tuple((state | {"_at_start": False} | change).values()))
        assert decoder.feed(b"data: 1\n\n") == [ServerSentEvent(data="1")]

    def test_a_state_has_a_value_for_each_slot(self) -> None:
        state = Compiled().__getstate__()
        with pytest.raises(TypeError, match="state must be a tuple, got NoneType"):
            Compiled().__setstate__(None)
        for wrong in (state[1:], (*state, None)):
            with pytest.raises(TypeError, match="17 arguments"):
                Compiled().__setstate__(wrong)

    def test_strings_of_a_state_become_exact_ones(self) -> None:
        class Name(str):
            __slots__ = ()

        state = [Name(x) if isinstance(x, str) else x for x in Compiled().__getstate__()]
        decoder = Compiled()
        decoder.__setstate__(tuple(state))
        assert type(decoder.last_event_id) is str


def feed_everything() -> None:
    """Run every branch that allocates, errors included."""
    # All texts are new objects: a leaked reference to a literal would not be counted.
    text = b"text".decode()
    decoder = Compiled(comments=True, unknown_fields=True, max_event_size=200, last_event_id=text)
    decoder.feed(b"\xef\xbb")
    decoder.feed(b"\xbf: note\nevent: one\nid: \xc3\xa9\xc3\xa9\nretry: 123456\nfoo: bar\n")
    decoder.feed(b"data: ab\ndata: cd")
    decoder.feed(b"\n\ndata: xy\n\ndata: \xff\xff\n\n")
    decoder.feed(b"event: two\nid: second\ndata: ef\n" + b"x" * 100)
    copy.copy(decoder).__setstate__(decoder.__getstate__())
    for data in (bytearray(b"y"), memoryview(b"y")):
        decoder.feed(data)
    for wrong in ("x", None):
        with pytest.raises(TypeError):
            decoder.feed(wrong)
    with pytest.raises(EventTooLarge) as caught:
        decoder.feed(b"\ndata: gh\n\nevent: three\nid: third\ndata: ij\n" + b"z" * 300)
    assert [event.data for event in caught.value.events if isinstance(event, ServerSentEvent)]
    with pytest.raises(LocalProtocolError):
        decoder.feed(b"")
    decoder.reset()
    decoder.__init__()
    decoder.feed(b"\xefdata\nevent: four\nid: fourth\ndata: kl\ndata")
    decoder.close()
    blocks = Compiled(blocks=True)
    blocks.feed(b"id: 1\n\nevent: \xff\ndata: a\ndata: b\n\nretry: 500000\n\ndata: a\n\n")
    blocks.__setstate__(blocks.__getstate__())
    for is_text in (False, True):
        lines: Any = LineDecoder(max_line_size=30, _text=is_text)
        lines.feed(b"one\r\ntwo\n\xff\n\xc3\xa9\xc3\xa9\nthr")
        copy.copy(lines).__setstate__(lines.__getstate__())
        lines.feed(bytearray(b"ee\nfour"))
        with pytest.raises(TypeError):
            lines.feed("x")
        copy.copy(lines).close()
        with pytest.raises(EventTooLarge):
            lines.feed(b"\nfive\n" + b"x" * 40)
    with pytest.raises(ValueError, match="max_line_size"):
        LineDecoder(max_line_size=0)
    for options in ({"last_event_id": text + "\n"}, {"max_event_size": 0}, {"max_event_size": "x"}):
        with pytest.raises((TypeError, ValueError)):
            Compiled(**options)


@pytest.mark.slow
def test_no_reference_is_lost_or_kept_over_errors_and_early_exits() -> None:
    # In a process of its own: garbage of other tests would be counted.
    code = """
import gc
import itertools
import sys
from tests.core.test_speedups import feed_everything

# The interpreter caches up to 4,096 attribute names, and calls from C make new ones.
clear_caches = getattr(sys, "_clear_internal_caches", None) or sys._clear_type_cache

def count(rounds):
    for _ in range(rounds):
        feed_everything()
    gc.collect()
    clear_caches()
    # Blocks count leaked objects; references count leaks of objects that live anyway.
    return sys.getallocatedblocks() + sum(map(sys.getrefcount, gc.get_objects()))

counts = [count(20), count(1000), count(1000), count(1000)]
print(min((after - before for before, after in itertools.pairwise(counts)), key=abs))
"""
    # A leak in each round would add a thousand to each count. A free-threaded build adds hundreds
    # to some: its allocator frees late.
    assert abs(int(python(code, PYTHONPATH=os.pathsep.join(sys.path)))) < 100


def failing_allocations() -> Callable[[int, int], None]:
    testcapi = pytest.importorskip("_testcapi", reason="CPython was built without its test modules")
    set_nomemory: Callable[[int, int], None] = testcapi.set_nomemory
    return set_nomemory


@pytest.mark.parametrize(
    "stream",
    [
        b"data: ab\n\n",
        b"event: \xc3\xa9\nid: \xc3\xa9\nretry: 123456\ndata: a\ndata: b\n\ndata: c",
        b": comment\nfoo: bar\n\xef\xbb\xbf",
        b"x" * 300,
    ],
)
def test_an_allocation_that_fails_is_a_memory_error(stream: bytes) -> None:
    set_nomemory = failing_allocations()
    testcapi = sys.modules["_testcapi"]
    failures = 0
    for start in range(60):
        decoder = Compiled(comments=True, unknown_fields=True)
        feed = decoder.feed
        try:
            set_nomemory(start, start + 1)
            feed(stream)
        except MemoryError:
            failures += 1
            # Items may be lost: the stream cannot go on.
            testcapi.remove_mem_hooks()
            with pytest.raises(LocalProtocolError, match="feed\\(\\) after a failure"):
                decoder.feed(b"")
        finally:
            testcapi.remove_mem_hooks()
        # Wherever it stopped, it can start over.
        decoder.reset()
        assert decoder.feed(b"data: 1\n\n")[-1].data == "1"
    assert failures > 0


@pytest.mark.slow
def test_a_decoder_that_a_finalizer_finds_at_work_refuses() -> None:
    code = """
import gc
import sys
from sseparse import LocalProtocolError
from sseparse import SSEDecoder

said = []

class Finalized:
    def __init__(self):
        self.me = self

    def __del__(self):
        try:
            decoder.feed(b"data: y\\n\\n")
        except LocalProtocolError as error:
            said.append(str(error))

decoder = SSEDecoder()
gc.set_threshold(1)
kept = []
for _ in range(2000):
    Finalized()
    # Kept, because the list of the items is the one object that may start a collection, and freed
    # lists are used again.
    kept.append(decoder.feed(b"data: x\\n\\n" * 3))
# Since 3.12 garbage is collected after the call.
said_something = bool(said) or sys.version_info >= (3, 12)
print(set(said) <= {"the decoder is already in use"} and said_something)
"""
    assert python(code) == "True"


SUBINTERPRETER = """
import sseparse
decoder = sseparse.SSEDecoder()
assert type(decoder).__module__ == "sseparse"
assert decoder.feed(b"data: x\\\\n\\\\n") == [sseparse.ServerSentEvent(data="x")]
"""


@pytest.mark.slow
def test_subinterpreters_have_a_decoder_each() -> None:
    code = f"""
import threading
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
import sseparse

def run():
    interpreter = interpreters.create()
    failure = interpreters.run_string(interpreter, '''{SUBINTERPRETER}''')
    interpreters.destroy(interpreter)
    assert failure is None, failure
    done.append(1)

done = []
run()
threads = [threading.Thread(target=run) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(done), sseparse.SSEDecoder().feed(b"data: y\\n\\n")[0].data)
"""
    assert python(code) == "5 y"


def test_a_long_event_type_is_not_remembered() -> None:
    decoder = Compiled()
    [short] = decoder.feed(b"event: " + b"x" * 64 + b"\ndata\n\n")
    [long] = decoder.feed(b"event: " + b"x" * 65 + b"\ndata\n\n")
    assert sys.getrefcount(short.event) == sys.getrefcount(long.event) + 1


def test_an_id_of_a_subclass_of_str_is_taken_as_the_str_that_it_is() -> None:
    class Name(str):
        __slots__ = ()

    decoder = Compiled(last_event_id=Name("7"))
    assert type(decoder.last_event_id) is str
    assert decoder.last_event_id == "7"


@pytest.mark.slow
def test_a_part_that_cannot_be_loaded_is_not_used_and_a_warning_says_so() -> None:
    code = """
import sys, types, warnings
sys.modules["sseparse._speedups"] = types.ModuleType("sseparse._speedups")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import sseparse
print(hasattr(sseparse.SSEDecoder, "__wrapped__"), *[w.message for w in caught])
"""
    said = python(code, SSEPARSE_PURE_PYTHON="0")
    assert said.startswith("False sseparse is slow: its compiled part cannot be used: ")


@pytest.mark.slow
def test_a_class_of_another_version_is_not_compiled_and_a_warning_says_so() -> None:
    code = """
import warnings
from dataclasses import dataclass
import sseparse._compiled as c

@dataclass(frozen=True, slots=True)
class Comment:
    text: str
    note: str

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    assert c.compiled(Comment) is Comment
print(*[w.message for w in caught])
"""
    assert python(code, SSEPARSE_PURE_PYTHON="0") == (
        "Comment is slow: the compiled one cannot be used: "
        "Comment has other slots: was this built for another version?"
    )


@pytest.mark.slow
def test_a_decoder_needs_the_compiled_items() -> None:
    code = """
from sseparse import _speedups, SSEDecoder
import importlib.util
spec = _speedups.__spec__
fresh = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fresh)
try:
    fresh.make("SSEDecoder", object, " ".join(SSEDecoder.__wrapped__.__slots__))
except ImportError as error:
    print(error)
"""
    assert python(code, SSEPARSE_PURE_PYTHON="0") == "sseparse.ServerSentEvent is not compiled"


def test_an_idle_decoder_takes_less_than_400_bytes() -> None:
    decoder = Compiled()
    decoder.feed(b"data: x\n\n" * 100 + b"data: " + b"x" * 100_000)
    decoder.feed(b"\ndata: x\n\n")
    assert sys.getsizeof(decoder) < 400
    assert decoder.__sizeof__() < 400


@pytest.mark.slow
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_made_without_the_compiled_part_goes_on_with_it(protocol: int) -> None:
    code = f"""
import pickle, sys
from sseparse import LineDecoder, NDJSONDecoder, SSEDecoder
decoders = SSEDecoder(), LineDecoder(), NDJSONDecoder()
for decoder, data in zip(decoders, (b"data: x\\n", b"1", b"1")):
    decoder.feed(data)
sys.stdout.buffer.write(pickle.dumps(decoders, {protocol}))
"""
    environment = {**os.environ, "SSEPARSE_PURE_PYTHON": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, check=True, env=environment)
    events, lines, values = pickle.loads(done.stdout)
    assert type(events) is SSEDecoder
    assert events.feed(b"\n") == [ServerSentEvent(data="x")]
    assert lines.feed(b"2\n") == [b"12"]
    assert values.feed(b"2\n") == [12]
