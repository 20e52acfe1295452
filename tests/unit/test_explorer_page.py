"""How the page of answers behaves in a browser, from a file: filters, links, Back, keys, hostile text, 10,000 rows.

Needs a Chromium of the system (`apt-get install chromium`); it is driven without any package of Python.
"""

import json
from collections.abc import Callable, Iterator
from urllib.parse import urlencode

import pytest

from common.results import explorer
from common.results.explorer import page
from tests.unit import browser as browsers
from tests.unit import explorer_records
from tests.unit.browser import LOW_CONTRAST, Browser
from tests.unit.explorer_records import ENDING, HOSTILE, constants, made_up

pytestmark = pytest.mark.skipif(browsers.path() is None, reason="needs a Chromium: apt-get install chromium")
METHODS = ("baseline", "sft-lora", "lucky")
MANY = 4_000  # questions, each with three answers
LINKS = "[...document.querySelectorAll('a.open')]"
STATUS = "document.getElementById('status').textContent"


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    with browsers.browser(tmp_path_factory.mktemp("browser")) as page:
        page.screen(1280, 900)
        yield page


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> str:
    """The address of a page of real records: hostile answers of `baseline`, right ones of `sft-lora`, luck."""
    place = tmp_path_factory.mktemp("records")
    hostile = [
        HOSTILE,
        ENDING,
        "",
        "SELECT 1; SELECT 2",
        "DELETE FROM x",
        "```sql\nSELECT 1;\n```",
        "SELECT 2",
        "VALUES (3)",
    ]
    answers = {
        "baseline": lambda number, example: hostile[number],
        "sft-lora": lambda number, example: f"```sql\n{example.sql}\n```",
        "lucky": lambda number, example: constants(example) if number == 1 else example.sql,
    }
    explorer_records.write(place, answers)
    explorer.write(place)
    return (place / page.NAME).as_uri()


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> str:
    """The address of a page with 12,000 rows."""
    path = tmp_path_factory.mktemp("large") / page.NAME
    path.write_text(page.render(made_up(MANY, METHODS)), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(autouse=True)
def no_errors(browser) -> Iterator[None]:
    """No script fails, no policy is broken, and nothing but the file is loaded."""
    browser.events.clear()
    yield
    browser.ask("1")
    names = ("Runtime.exceptionThrown", "Log.entryAdded")
    assert not [event for event in browser.events if event["method"] in names]
    requests = [event for event in browser.events if event["method"] == "Network.requestWillBeSent"]
    assert {event["params"]["request"]["url"].split(":")[0] for event in requests} <= {"file", "about"}


def address(url: str, **state: str) -> str:
    return f"{url}#/?{urlencode(state)}"


def choose(browser: Browser, name: str, value: str) -> None:
    """What a hand does to a field: its value, and the event that a browser then sends."""
    kind = "input" if name == "q" else "change"
    field = f"document.getElementById('filter-{name}')"
    browser.ask(f"{field}.value = {json.dumps(value)}; {field}.dispatchEvent(new Event('{kind}', {{bubbles: true}}))")


def shown(browser: Browser) -> list[str]:
    """Question's number and method of each row of the list."""
    return browser.ask(LINKS + ".map(link => link.dataset.key.replace('\\n', ' '))")


def focused(browser: Browser) -> str:
    return browser.ask("document.activeElement.dataset.key?.replace('\\n', ' ') ?? document.activeElement.id")


def test_the_list_has_every_answer(browser, small):
    browser.open(small)
    assert browser.ask(STATUS) == "24 of 24 answers."
    assert shown(browser)[:4] == [*(f"test-00000 {name}" for name in METHODS), "test-00001 baseline"]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"method": "baseline", "outcome": "schema_error"}, ["test-00004 baseline"]),
        ({"method": "lucky", "verdicts": "strict-robust"}, ["test-00001 lucky"]),
        ({"method": "sft-lora", "split": "test_unseen"}, ["unseen-00000 sft-lora", "unseen-00001 sft-lora"]),
        ({"q": "onerror="}, ["test-00000 baseline"]),
        ({"q": "ONERROR="}, ["test-00000 baseline"]),
        ({"method": "sft-lora", "other": "lucky", "pair": "differ"}, ["test-00001 sft-lora"]),
        ({"method": "lucky", "other": "sft-lora", "pair": "second"}, ["test-00001 lucky"]),
        ({"method": "lucky", "other": "sft-lora", "pair": "first"}, []),
    ],
    ids=str,
)
def test_a_link_holds_the_filters(browser, small, state, expected):
    browser.open(address(small, **state))
    assert [row.replace("test_unseen", "unseen") for row in shown(browser)] == expected
    assert all(browser.ask(f"document.getElementById('filter-{name}').value") == value for name, value in state.items())


def test_filters_change_the_link_and_back_undoes_them(browser, small):
    browser.open(small)
    choose(browser, "method", "lucky")
    browser.wait(f"{STATUS} === '8 of 24 answers.'")
    choose(browser, "verdicts", "strict-robust")
    browser.wait(f"{STATUS} === '1 of 24 answer.' || {STATUS} === '1 of 24 answers.'")
    assert browser.ask("location.hash") == "#/?method=lucky&verdicts=strict-robust"
    browser.ask("history.back()")
    browser.wait(f"{STATUS} === '8 of 24 answers.'")
    assert browser.ask("document.getElementById('filter-verdicts').value") == ""
    browser.ask("history.back()")
    browser.wait(f"{STATUS} === '24 of 24 answers.'")


def test_typing_filters_and_keeps_the_focus(browser, small):
    browser.open(small)
    browser.press("/")
    assert focused(browser) == "filter-q"
    browser.press(*"img src")
    browser.wait(f"{STATUS} === '1 of 24 answers.'")
    assert focused(browser) == "filter-q" and browser.ask("location.hash") == "#/?q=img+src"
    browser.press("ArrowDown")
    assert focused(browser) == "test-00000 baseline"


def test_keys_open_an_answer_go_on_and_come_back(browser, small):
    browser.open(address(small, method="lucky"))
    browser.press("/", "ArrowDown", "ArrowDown")
    assert focused(browser) == "test-00001 lucky"
    browser.press("Enter")
    browser.wait("document.querySelector('article') !== null")
    assert focused(browser) == "question"
    assert browser.ask("location.hash") == "#/?method=lucky&open=test-00001&by=lucky"
    browser.press("n")
    browser.wait("location.hash.includes('test-00002')")
    browser.press("p")
    browser.wait("location.hash.includes('test-00001')")
    browser.press("Escape")
    browser.wait("document.querySelector('article') === null")
    assert focused(browser) == "test-00001 lucky"
    browser.ask("history.back()")
    browser.wait("document.querySelector('article') !== null")


def test_an_answer_shows_both_results_side_by_side(browser, small):
    browser.open(address(small, open="test-00001", by="lucky", method="lucky", other="baseline"))
    names = browser.ask("[...document.querySelectorAll('.sides > section')].map(part => part.ariaLabel)")
    assert names == ["Reference", "Answer of lucky", "Answer of baseline", "Reference there", "Answer of lucky there"]
    rows = "[...document.querySelectorAll('section[aria-label=\"{}\"] .sides > section')]"
    rows = rows.format("Generated database 1") + ".map(part => part.querySelectorAll('td.sign').length)"
    assert browser.ask(rows) and any(browser.ask(rows)), "what only one side has bears a mark"
    tables = browser.ask("[...document.querySelectorAll('section[aria-label=Schema] caption')].map(c => c.textContent)")
    assert "stations_met: 4 rows, 5 columns" in tables
    text = browser.ask("document.querySelector('section[aria-label=\"Answer of baseline\"]').textContent")
    assert "syntax_error" in text and "No rows: " in text


def test_every_method_is_one_link_away(browser, small):
    browser.open(address(small, open="test-00001", by="lucky"))
    browser.ask("[...document.querySelectorAll('.methods a')].find(a => a.textContent === 'sft-lora').click()")
    browser.wait("document.querySelector('[aria-label=\"Answer of sft-lora\"]') !== null")
    assert browser.ask("location.hash") == "#/?open=test-00001&by=sft-lora"


@pytest.mark.parametrize("number", range(8))
def test_hostile_text_is_shown_and_does_nothing(browser, small, number):
    split = "test" if number < 6 else "test_unseen"
    identity = f"{split}-{number if number < 6 else number - 6:05}"
    browser.open(address(small, open=identity, by="baseline"))
    assert browser.ask("document.querySelector('article') !== null"), browser.ask(STATUS)
    text = browser.ask("document.querySelector('article').textContent")
    assert {0: HOSTILE, 1: ENDING}.get(number, "") in text
    assert browser.ask("window.hacked") is None
    assert browser.ask("document.querySelectorAll('main script, main img, main b').length") == 0


def test_hostile_cells_and_columns_are_text(browser, small):
    browser.open(address(small, open="test-00000", by="baseline"))
    cells = browser.ask(
        "[...document.querySelectorAll('[aria-label=\"Answer of baseline\"] table *')].map(n => n.textContent)"
    )
    assert "<b>x</b>" in cells and any(text.startswith("<script>") for text in cells)


def test_no_hits_say_what_to_change(browser, small):
    browser.open(address(small, method="lucky", q="<i>nowhere", split="test"))
    assert browser.ask(STATUS) == "0 of 24 answers."
    links = "[...document.querySelectorAll('.empty a')]"
    words = ["without text “<i>nowhere”", "without method “lucky”", "without split “test”", "without any filter"]
    assert browser.ask(f"{links}.map(link => link.textContent)") == words
    browser.ask(f"{links}[0].click()")
    browser.wait(f"{STATUS} === '6 of 24 answers.'")
    assert browser.ask("document.getElementById('filter-q').value") == ""


def test_an_answer_that_is_not_there_is_said(browser, small):
    browser.open(address(small, open="test-99999", by="lucky"))
    assert browser.ask(STATUS).startswith("There is no answer of “lucky” to “test-99999” here.")


def test_ten_thousand_rows_stay_quick(browser, large):
    browser.open(large)
    assert browser.ask(STATUS) == "12,000 of 12,000 answers."
    assert len(shown(browser)) == 50, "a page at a time"
    # From the change of the address to the new list, three times; the filter is another one each time.
    states = ["#/?q=9", "#/?method=lucky&other=baseline&pair=differ", "#/?q=-- sft&outcome=mismatch"]
    change = """(hash) => new Promise((resolve) => {
        const start = performance.now();
        addEventListener("hashchange", () => resolve(performance.now() - start), {once: true});
        location.hash = hash;
    })"""
    milliseconds = [browser.ask(f"({change})({json.dumps(state)})") for state in states * 3]
    assert sorted(milliseconds)[len(milliseconds) // 2] < 100, milliseconds


def test_arrows_go_on_over_the_ends_of_pages(browser, large):
    browser.open(address(large, method="lucky"))
    browser.ask(f"{LINKS}.at(-1).focus()")
    browser.press("ArrowDown")
    browser.wait(f"{LINKS}[0].dataset.key.startsWith('test-00050')")
    assert focused(browser) == "test-00050 lucky"
    browser.press("ArrowUp")
    browser.wait(f"{LINKS}[0].dataset.key.startsWith('test-00000')")
    assert focused(browser) == "test-00049 lucky"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize(
    "state", [{}, {"q": "nowhere"}, {"open": "test-00001", "by": "lucky"}], ids=["list", "empty", "open"]
)
def test_every_screen_fits_and_can_be_read(browser, small, state, width, dark):
    """Nothing is wider than the screen, and each text has the contrast of WCAG AA, 4.5, to what lies behind it."""
    try:
        browser.screen(width, 800, dark=dark)
        browser.open(address(small, **state))
        assert browser.ask("document.documentElement.scrollWidth") <= width
        assert browser.ask(LOW_CONTRAST) == []
    finally:
        browser.screen(1280, 900)


def test_those_who_hear_the_page_have_names_for_all(browser, small):
    """The browser's own tree of what a screen reader gets: landmarks, and a name for every field and link."""
    browser.open(small)
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    names: Callable = lambda role: [node["name"]["value"] for node in nodes if node["role"]["value"] == role]  # noqa: E731
    assert {"main", "search", "banner"} <= {node["role"]["value"] for node in nodes}
    assert len(names("combobox")) == 8 and len(names("columnheader")) == 6
    for role in ("combobox", "searchbox", "link", "button", "columnheader"):
        assert names(role) and all(names(role)), role
    assert browser.ask("document.getElementById('status').getAttribute('role')") == "status"
    assert names("cell").count("✓ right") == 0 and names("cell").count("right") > 0
