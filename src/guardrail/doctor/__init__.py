"""`guardrail doctor`: whether everything that is configured really works, looked at room by room."""

from __future__ import annotations

from guardrail.doctor.examination import examine
from guardrail.doctor.finding import Finding
from guardrail.doctor.inside import guards_seen
from guardrail.doctor.installation import version

__all__ = ["Finding", "examine", "guards_seen", "version"]
