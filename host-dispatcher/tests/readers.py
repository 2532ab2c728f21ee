#!/usr/bin/python3
"""Reads exported results with readers that others wrote, and prints as JSON what they read.

usage: readers.py FOLDER... : in each results.xml, results.tap, results.csv, results.yaml, log.yaml
"""

import csv
import datetime
import json
import sys
import xml.etree.ElementTree
from pathlib import Path

import junitparser
import yaml
from tap.parser import Parser

from lava_import import imported

csv.field_size_limit(1 << 24)


def junit(path):
    """Cases by junitparser; properties by the standard library, since junitparser 2 reads those of suites only."""
    tree = xml.etree.ElementTree.parse(path)
    measured = []
    for case in tree.iter("testcase"):
        properties = {p.get("name"): p.get("value") for p in case.iter("property")}
        measured.append([properties.get("measurement"), properties.get("units")])
    cases = []
    report = junitparser.JUnitXml.fromfile(str(path))
    for suite in report:
        for case in suite:
            kinds = [type(result).__name__ for result in case.result]
            cases.append([case.classname, case.name, kinds[0] if kinds else "Passed", case.time])
    return {
        "cases": [case + more for case, more in zip(cases, measured, strict=True)],
        "counts": [report.tests, report.failures, report.errors, report.skipped],
    }


def tap(path):
    points, plan, wrong = [], None, []
    for line in Parser().parse_text(path.read_text(encoding="utf-8")):
        if line.category == "test":
            points.append([line.ok, line.skip, line.todo, line.number, line.description, line.yaml_block])
        elif line.category == "plan":
            plan = line.expected_tests
        elif line.category != "version":
            wrong.append(line.category)
    return {"points": points, "plan": plan, "wrong": wrong}


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def load(path):
    """PyYAML by the loader that LAVA uses (libyaml's), and its own: they must agree."""
    text = path.read_text(encoding="utf-8")
    fast, slow = yaml.load(text, yaml.CSafeLoader), yaml.load(text, yaml.SafeLoader)
    assert fast == slow, path
    return fast


def log(path):
    """As lava_scheduler_app and lava_results_app (map_scanned_results) want the items."""
    results = []
    for item in load(path):
        datetime.datetime.fromisoformat(item["dt"])
        assert item["lvl"] in {"target", "feedback", "info", "warning", "error", "debug", "results"}, item
        if item["lvl"] != "results":
            assert isinstance(item["msg"], str), item
            continue
        message = item["msg"]
        assert {"definition", "case", "result"} <= set(message), message
        assert message["result"] in {"pass", "fail", "skip", "unknown"}, message
        assert isinstance(message.get("measurement", 0.0), (int, float)), message
        results.append([message["definition"], message["case"], message["result"], message.get("measurement")])
    return {"results": results, "texts": [item["msg"] for item in load(path) if item["lvl"] == "target"]}


print(
    json.dumps(
        [
            {
                "junit": junit(folder / "results.xml"),
                "tap": tap(folder / "results.tap"),
                "csv": rows(folder / "results.csv"),
                "yaml": load(folder / "results.yaml"),
                "log": log(folder / "log.yaml"),
                "lava": imported((folder / "log.yaml").read_text(encoding="utf-8")),
            }
            for folder in map(Path, sys.argv[1:])
        ]
    )
)
