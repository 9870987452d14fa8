"""Parses PowerShell scripts: no PowerShell is at hand where the tests run, so a grammar says whether they could run at all.

    <clients>/py/bin/python powershell.py SCRIPT…      leaves with 1 and the places if one does not parse
"""

import pathlib
import sys

import tree_sitter
import tree_sitter_powershell

PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_powershell.language()))


def faults(script: bytes) -> list[str]:
    found, nodes = [], [PARSER.parse(script).root_node]
    while nodes:
        node = nodes.pop()
        if node.type == "ERROR" or node.is_missing:
            found.append(f"line {node.start_point.row + 1}: {script[node.start_byte:node.end_byte][:80]!r}")
        nodes += node.children
    return found


def main() -> int:
    all_faults = [f"{name}: {fault}" for name in sys.argv[1:] for fault in faults(pathlib.Path(name).read_bytes())]
    for fault in all_faults:
        print(fault)
    return 1 if all_faults else 0


if __name__ == "__main__":
    sys.exit(main())
