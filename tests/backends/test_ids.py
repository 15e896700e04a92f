"""The table of IDs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sseparse_backends._ids import IDTable


@given(st.lists(st.integers() | st.text()))
def test_a_table_is_a_dict_of_first_lines(ids: list[int | str]) -> None:
    table = IDTable()
    expected: dict[int | str, int] = {}
    for number, item in enumerate(ids, 1):
        assert table.add(item, number) == expected.get(item)
        expected.setdefault(item, number)
    assert {item: table.line(item) for item in table} == expected
    assert len(table) == len(expected)
    table.close()


def test_a_number_is_not_its_digits() -> None:
    table = IDTable()
    assert table.add(1, 1) is None
    assert "1" not in table
    assert 1 in table
    table.close()
