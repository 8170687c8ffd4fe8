"""docs/node-map.md maps every node of the four ComfyUI graphs once, to code that exists."""

import ast
import json
import re

import pytest

from tests.rules.tree import ROOT, tree

PAGE = (ROOT / "docs" / "node-map.md").read_text()
GRAPHS = json.loads((ROOT / "docs" / "node-map.json").read_text())["graphs"]
NAMES = ["T2V_Distilled", "T2V_Full", "I2V_Distilled", "I2V_Full"]
# Nodes a graph has, so that a list that lost some cannot agree with a page that lost the same.
COUNTS = {"T2V_Distilled": 42, "T2V_Full": 46, "I2V_Distilled": 48, "I2V_Full": 52}
FUNCTION = re.compile(r"`((?:ltx2|pipelines|loras)/[\w/]+\.py):(\w+)`")


def rows():
    """(node type, ids per graph, functions) of each row of the map's own tables."""
    found = []
    for line in PAGE.partition("## The map")[2].partition("## Nodes of later")[0].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 7 and cells[0].startswith("`"):
            ids = [[int(number) for number in re.findall(r"\d+", cell)] for cell in cells[1:5]]
            found.append((cells[0].split("`")[1], dict(zip(NAMES, ids, strict=True)), cells[5]))
    return found


def test_the_list_has_the_four_graphs_whole():
    assert {name: sum(map(len, nodes.values())) for name, nodes in GRAPHS.items()} == COUNTS


@pytest.mark.parametrize("graph", NAMES)
def test_every_node_is_mapped_exactly_once(graph):
    mapped = sorted((node_id, node) for node, ids, _ in rows() for node_id in ids[graph])
    listed = sorted((node_id, node) for node, ids in GRAPHS[graph].items() for node_id in ids)
    assert mapped == listed


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_every_row_names_a_function(row):
    assert FUNCTION.search(row[2]), f"{row[0]} leads nowhere"


@pytest.mark.parametrize("place", sorted(set(FUNCTION.findall(PAGE))), ids=":".join)
def test_every_function_the_page_names_exists(place):
    path, name = place
    assert (ROOT / path).is_file(), f"no file {path}"
    defined = set()
    for node in tree(ROOT / path).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.Assign):
            defined |= {ast.unparse(target) for target in node.targets}
        elif isinstance(node, ast.AnnAssign):
            defined.add(ast.unparse(node.target))
    assert name in defined, f"{path} has no {name}"
