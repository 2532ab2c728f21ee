"""Validates submissions with KCIDB's own package; says how many of the files are right, and on the error output why others are not."""

import json
import sys

from kcidb_io.schema import LATEST

valid = 0
for path in sys.argv[1:]:
    with open(path, encoding="utf-8") as file:
        submission = json.load(file)
    try:
        LATEST.validate_exactly(submission)
        valid += 1
    except Exception as error:  # whatever it is, the file is not right
        print(f"{path}: {str(error)[:2000]}", file=sys.stderr)
print(valid, "valid")
