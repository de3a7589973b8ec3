"""One set of cases, run through a small adapter for guardrail and for each peer: who does what it says, and what it leaves as it was.

python -m benchmarks.gauntlet [--only guardrail,tenacity] [--case NAME] [--out docs/gauntlet.md]
"""
