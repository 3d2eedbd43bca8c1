"""Reads an Autobahn report and says "N passed, M failed": verdict.py REPORT/index.json MINIMUM. Exit 1 on a failure.

Fewer than MINIMUM cases is a failure too: a run that tested nothing has not passed.
"""

import json
import sys

with open(sys.argv[1]) as report:
    cases = {case: result for agent in json.load(report).values() for case, result in agent.items()}
GOOD = ("OK", "NON-STRICT", "INFORMATIONAL")
failed = {
    case: result
    for case, result in cases.items()
    if result["behavior"] not in GOOD or result["behaviorClose"] not in GOOD
}
for case, result in sorted(failed.items()):
    print(f"    {case}: {result['behavior']}, close {result['behaviorClose']}")
print(f"    {len(cases) - len(failed)} passed, {len(failed)} failed")
sys.exit(1 if failed or len(cases) < int(sys.argv[2]) else 0)
