"""A credit model on real mortgage applications, guarded; `python -m examples.lending` scores applicants it has never seen."""
