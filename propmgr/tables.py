"""Roll-call: imports every models.py, so that app, migrations and tests see all tables. Decides nothing."""

from propmgr.audit.models import AuditRecord, AuditSeal
from propmgr.identity.models import Tenant
from propmgr.messages.models import Message, MessageDelivery, MessageDue
from propmgr.places.models import Division
from propmgr.work.models import JobRun

__all__ = ["AuditRecord", "AuditSeal", "Division", "JobRun", "Message", "MessageDelivery", "MessageDue", "Tenant"]
