"""`fanin.check`: the check as a call, its job, its header, its baseline, and the report it gives."""
