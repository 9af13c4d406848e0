"""The README says what docs/smollm2 holds."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PUBLISHED = ROOT / "docs/smollm2"
SHOWN = ("Base held to the form", "Form taught", "Ours (OOD)")


def rows(text, first):
    """The rows of the Markdown table whose heading starts with `first`, as lists of cells."""
    lines = text[text.index(f"| {first} |") :].split("\n\n")[0].splitlines()
    table = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]
    return [table[0], *table[2:]]


def test_its_numbers_are_those_of_table_6():
    heads, *published = rows((PUBLISHED / "table-6.md").read_text(encoding="utf-8"), "Task")
    places = {name: i for i, head in enumerate(heads) for name in SHOWN if head.endswith(name)}
    _, *shown = rows(README, "Mean entropy (nats)")
    assert [row[0] for row in shown] == [row[0] for row in published]
    for of_readme, of_table in zip(shown, published, strict=True):
        for name, cell in zip(SHOWN, of_readme[1:], strict=True):
            value, low, high, valid = re.fullmatch(
                r"\**([\d.]+)\** \[([\d.]+), ([\d.]+)\], (\d+%) valid", cell
            ).groups()
            found = of_table[places[name]].replace("*", "")
            assert found.startswith(f"{value} [{low}, {high}] {valid} valid"), (name, of_table[0])


def test_what_it_shows_and_links_to_is_there():
    for target in re.findall(r"\]\(((?!http)[^)#\s]+)", README):
        assert (ROOT / target).exists(), target
    assert "docs/smollm2/figure-3.png" in README


def test_the_published_run_is_of_a_clean_commit_and_small():
    made = (PUBLISHED / "README.md").read_text(encoding="utf-8")
    assert re.search(r"commit: [0-9a-f]{40} \(clean\)", made)
    assert sum(file.stat().st_size for file in PUBLISHED.iterdir()) < 3 * 2**20
