"""
Text tables.
"""

from obskit.text_table import table_lines


def test_columns_are_aligned():
    """
    The first column is aligned to the left, the others to the right, each as wide as its longest cell.
    """
    rows = [("table", "rows", "size"), ("plants", "12", "548.0 kB"), ("a", "2,000", "?")]

    assert ["table    rows      size", "plants     12  548.0 kB", "a       2,000         ?"] == list(table_lines(rows))


def test_a_long_last_column_is_not_padded():
    """
    A last column that is aligned to the left ends where its cell ends, however long others are.
    """
    rows = [("1 ms", "SELECT"), ("12 ms", "SELECT plants shelves")]

    assert [" 1 ms  SELECT", "12 ms  SELECT plants shelves"] == list(table_lines(rows, left={1}))


def test_no_rows_are_no_lines():
    """
    An empty table is empty.
    """
    assert [] == list(table_lines([]))
