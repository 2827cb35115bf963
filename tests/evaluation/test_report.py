import pytest

from fo1.evaluation.report import Table


def test_a_table_wants_a_cell_per_column() -> None:
    table = Table("Naming", ("top-1", "top-5"))
    table.add("model", 0.5, None)
    assert "| model | 0.5 | - |" in table.markdown()
    with pytest.raises(ValueError, match="1 cells for 2 columns"):
        table.add("chance", 0.1)
