"""Every cell is text, whatever it begins with."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.attendance.csv_export import COLUMNS, escape_formula, to_csv
from app.attendance.schemas import AttendanceView, MissingView
from app.events.settings import AttendanceThreshold


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r=", "\n=", " =", "\u3000=", "\uff1d", "\uff0b"])
def test_what_a_spreadsheet_would_run_is_text(start: str) -> None:
    assert escape_formula(f"{start}1+1") == f"'{start}1+1"


@pytest.mark.parametrize("text", ["Mia Member", "mia@members.example", "O'Neill", "", "1+1"])
def test_what_it_would_not_run_stays(text: str) -> None:
    assert escape_formula(text) == text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_name_is_one_cell_of_one_row_and_never_a_formula(name: str) -> None:
    missing = MissingView(member_id="m-1", name=name, clicked_at=None, waited=False)
    view = AttendanceView(
        event_id="0b6f6d0e-8c1a-4a44-9f0d-3f5c5b0e9a51",
        status="ended",
        held_minutes=60,
        threshold=AttendanceThreshold(),
        items=[],
        unknown=[],
        clicked_never_seen=[],
        no_shows=[missing],
        possible_shared_links=[],
    )
    head, row = csv.reader(io.StringIO(to_csv(view).decode("utf-8-sig"), newline=""))
    assert tuple(head) == COLUMNS
    cell = row[COLUMNS.index("name")]
    assert cell in {name, f"'{name}"}
    assert not cell.strip().startswith(("=", "+", "-", "@"))
