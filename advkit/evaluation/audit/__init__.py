"""Audits: the results of a run in the terms of a document for auditors."""

from advkit.evaluation.audit.audit_text import audit_markdown
from advkit.evaluation.audit.auditing import check_audit, make_audit
from advkit.evaluation.audit.profiles import PROFILES, Profile, Term

__all__ = ["PROFILES", "Profile", "Term", "audit_markdown", "check_audit", "make_audit"]
